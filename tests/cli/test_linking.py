"""`link`: two ids become one project if a person agrees."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mneme.cli import linking
from mneme.cli.commands import mneme
from mneme.cli.linking import Both, End, linked
from mneme.client.errors import Refused
from mneme.model import ProjectId
from tests.cli.asked import DEMO, Asked
from tests.web.stub import Stub, entry

PATH, NEW = ProjectId("-home-ana-app"), ProjectId("new")
LINK = "PUT /projects/-home-ana-app/alias"


class Person:
    """Somebody who is asked, and says the same each time."""

    def __init__(self, answer: bool) -> None:
        self.asked_about: list[Both] = []
        self._answer = answer

    def agrees(self, both: Both) -> bool:
        """Whether the ids are to be one."""
        self.asked_about.append(both)
        return self._answer


def write(stub: Stub, project: ProjectId, content: str, name: str = "log.jsonl") -> None:
    """An upload of a session."""
    stub.acquire("laptop", project.value)
    assert stub.upload("laptop", content, name, project.value).status == 200
    stub.release("laptop", project.value)


@pytest.fixture
def asked() -> Asked:
    """A server that has memory by two ids."""
    stub = Stub()
    write(stub, DEMO, entry("one", 1))
    write(stub, PATH, entry("two", 2))
    return Asked(stub)


def typed(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, *words: str, answer: str | None = None
) -> tuple[int, str]:
    """Status and output of the command; a person gives the `answer`, if any."""
    monkeypatch.setattr(linking, "ask_as_machine", asked.ask)
    monkeypatch.setattr(linking, "is_attended", lambda: answer is not None)
    done = CliRunner().invoke(mneme, ["link", *words], input=answer)
    return done.exit_code, done.output


def test_two_ids_become_one_if_somebody_agrees(asked: Asked) -> None:
    """Who has seen what both have."""
    ana = Person(True)
    done = linked(asked.client, PATH, DEMO, ana.agrees)
    assert done.end is End.LINKED
    assert done.linked
    assert list(done.linked.merged) == ["log.jsonl"]
    [both] = ana.asked_about
    assert both.old
    assert both.new
    assert (both.old.id, both.new.id) == (PATH.value, DEMO.value)
    assert asked.stub.download(project=PATH.value, client="x").json["content"] == entry("one", 1) + entry(
        "two", 2
    )


def test_ids_stay_apart_if_nobody_agrees(asked: Asked) -> None:
    """Nothing is asked of the server but what it has."""
    assert linked(asked.client, PATH, DEMO, Person(False).agrees).end is End.LEFT
    assert asked.requests == ["GET /projects"]


@pytest.mark.parametrize(("old", "new"), [(NEW, DEMO), (PATH, NEW)])
def test_an_id_may_be_new(asked: Asked, old: ProjectId, new: ProjectId) -> None:
    """A machine that is yet to come has it, or a person likes it better."""
    assert linked(asked.client, old, new, Person(True).agrees).end is End.LINKED


def test_two_unknown_ids_are_not_linked(asked: Asked) -> None:
    """They are mistyped."""
    ana = Person(True)
    assert linked(asked.client, NEW, ProjectId("newer"), ana.agrees).end is End.UNKNOWN
    assert ana.asked_about == []


def test_what_is_one_already_is_not_asked_about(asked: Asked) -> None:
    """In either order."""
    linked(asked.client, PATH, DEMO, Person(True).agrees)
    for pair in ((PATH, DEMO), (DEMO, PATH)):
        assert linked(asked.client, *pair, Person(False).agrees).end is End.ONE_ALREADY


def test_a_lock_of_another_machine_is_in_the_way(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says whose it is."""
    asked.stub.acquire("desktop-5e6f7a8b", DEMO.value)
    status, shown = typed(asked, monkeypatch, PATH.value, DEMO.value, "--yes")
    assert status == 1
    assert "One of them is locked by desktop-5e6f7a8b" in shown
    assert "nothing was changed: link them when that session has ended" in shown


def test_what_the_server_refuses_is_one_sentence(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that is another name of a third project."""
    linked(asked.client, PATH, DEMO, Person(True).agrees)
    write(asked.stub, NEW, entry("three", 3))
    with pytest.raises(Refused):
        linked(asked.client, PATH, NEW, Person(True).agrees)
    status, shown = typed(asked, monkeypatch, PATH.value, NEW.value, "--yes")
    assert (status, shown.count("\n")) == (1, 1)
    assert f"{PATH.value} is another name of demo already: link demo instead" in shown


@pytest.mark.parametrize(
    ("answer", "status", "said"), [("y\n", 0, "from now on; merged: log.jsonl"), ("n\n", 1, "stay apart")]
)
def test_a_person_sees_what_both_have_and_is_asked(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, said: str
) -> None:
    """Files, sizes and when they changed."""
    found, shown = typed(asked, monkeypatch, PATH.value, DEMO.value, answer=answer)
    assert found == status
    assert "-home-ana-app  log.jsonl" in shown
    assert "Make -home-ana-app another name of demo, for good, and merge what both have? [y/N]" in shown
    assert said in shown


def test_without_a_person_and_without_yes_nothing_is_changed(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says what to give."""
    status, shown = typed(asked, monkeypatch, PATH.value, DEMO.value)
    assert status == 1
    assert "to make them one without a question, give --yes" in shown
    assert LINK not in asked.requests


def test_what_cannot_be_merged_is_named(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where it is now."""
    write(asked.stub, DEMO, "no json", "entities.json")
    write(asked.stub, PATH, "none either", "entities.json")
    status, shown = typed(asked, monkeypatch, PATH.value, DEMO.value, "--yes")
    assert status == 0
    assert "merged: log.jsonl; not to be merged: entities.json, of which demo keeps its own" in shown


def test_a_script_gets_a_document(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was done."""
    status, shown = typed(asked, monkeypatch, PATH.value, DEMO.value, "--yes", "--json")
    assert status == 0
    assert json.loads(shown) == {
        "old": PATH.value,
        "new": "demo",
        "did": "linked",
        "merged": ["log.jsonl"],
        "unmerged": [],
        "lock": None,
    }


def test_a_list_of_projects_has_the_other_names(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the projects."""
    linked(asked.client, PATH, DEMO, Person(True).agrees)
    monkeypatch.setattr("mneme.cli.serving.ask", asked.ask)
    shown = CliRunner().invoke(mneme, ["projects"]).output.split()
    assert shown[-6:] == ["another", "name", "of", "project", PATH.value, "demo"]
