"""`restore`: under a lock of its own, which is given up whatever comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from mneme.cli.lookup import NotThere
from mneme.cli.restoring import Restored, restored
from mneme.client.errors import Refused, ServerTrouble
from mneme.model import FileName, HeldBy, ProjectId
from tests.cli.asked import DEMO, Asked
from tests.web.stub import Stub

TEXT = FileName.SUMMARY_MD
RESTORE = "POST /projects/demo/files/summary.md/restore"
RELEASE = "DELETE /projects/demo/lock"


@pytest.fixture
def asked() -> Asked:
    """A text in two versions, that nobody has locked."""
    stub = Stub()
    stub.acquire("laptop")
    stub.upload("laptop", "# One", TEXT.value)
    stub.upload("laptop", "# Two", TEXT.value)
    stub.release("laptop")
    return Asked(stub)


def restore(asked: Asked, number: int = 1, project: ProjectId = DEMO) -> Restored | HeldBy:
    """Restore a version of the text."""
    return restored(asked.client, project, TEXT, number)


def head(asked: Asked) -> Any:
    """The content of the head, and who holds the lock."""
    lock = asked.stub.ask("GET", "/projects/demo/lock").json["lock"]
    return asked.stub.download(TEXT.value).json["content"], lock and lock["clientId"]


def test_a_version_is_the_head_again_as_a_new_one(asked: Asked) -> None:
    """Restored by nobody that is a machine, and the lock is free again."""
    assert restore(asked) == Restored(3, "2026-02-04T15:00:00.002Z", is_new=True)
    assert head(asked) == ("# One", None)
    assert asked.named == {"mneme-restore"}
    assert asked.stub.versions(TEXT.value)[0]["parents"] == [1]
    again = restore(asked)
    assert isinstance(again, Restored)
    assert not again.is_new


def test_while_a_session_is_at_work_nothing_is_restored(asked: Asked) -> None:
    """Its lock stays."""
    asked.stub.acquire("laptop")
    assert isinstance(restore(asked), HeldBy)
    assert head(asked) == ("# Two", "laptop")


@pytest.mark.parametrize(("project", "number"), [("demo", 9), ("nope", 1)])
def test_a_version_that_there_is_not_takes_no_lock(asked: Asked, project: str, number: int) -> None:
    """A lock would make a project of a slip of the pen."""
    with pytest.raises(NotThere, match=rf"^summary\.md of {project} has no version {number}"):
        restore(asked, number, ProjectId(project))
    assert asked.requests == [f"GET /projects/{project}/files/summary.md/versions"]


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [(410, "It was changed by hand", Refused), (404, "No", NotThere), (507, "Full", ServerTrouble)],
)
def test_the_lock_is_given_up_whatever_goes_wrong(
    asked: Asked, status: int, error: str, raised: type[Exception]
) -> None:
    """The next session of a machine must not wait for it."""
    asked.answer_by_hand(RESTORE, status, {"error": error})
    with pytest.raises(raised):
        restore(asked)
    assert head(asked) == ("# Two", None)


def test_a_lock_that_is_lost_in_between_restores_nothing(asked: Asked) -> None:
    """Whether or not another has it by then."""
    asked.meanwhile[RESTORE] = lambda: asked.stub.release("mneme-restore")
    with pytest.raises(NotThere, match="nothing is restored: try again"):
        restore(asked)
    asked.meanwhile[RESTORE] = lambda: (asked.stub.release("mneme-restore"), asked.stub.acquire("desktop"))
    assert isinstance(restore(asked), HeldBy)
    assert head(asked) == ("# Two", "desktop")


def test_a_lock_that_cannot_be_given_up_is_told(asked: Asked) -> None:
    """But what was restored is."""
    asked.answer_by_hand(RELEASE, 500, {"error": "A fault"})
    done = restore(asked)
    assert isinstance(done, Restored)
    assert not done.released
    assert head(asked) == ("# One", "mneme-restore")
