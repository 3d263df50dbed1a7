"""Commands from their arguments to their output, on a server in this process."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from mneme.cli import comparing, history, restoring, serving
from mneme.cli.commands import mneme
from tests.cli.asked import Asked
from tests.web.stub import Stub

Types = Callable[..., Result]

TEXT = "summary.md"


@pytest.fixture
def asked() -> Asked:
    """A text in two versions, that nobody has locked."""
    stub = Stub()
    stub.acquire("laptop")
    stub.upload("laptop", "# One\n", TEXT)
    stub.upload("laptop", "# Two\n", TEXT)
    stub.release("laptop")
    return Asked(stub)


@pytest.fixture
def types(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Types:
    """Types a command to that server, instead of one over the network."""
    for module in (serving, history, comparing, restoring):
        monkeypatch.setattr(module, "ask", asked.ask)
    return lambda *arguments: CliRunner().invoke(mneme, arguments)


def test_status_is_printed_for_people_and_scripts(types: Types) -> None:
    """Of a server on which nothing is locked and nothing waits."""
    told, document = types("status"), json.loads(types("status", "--json").stdout)
    assert told.exit_code == 0
    facts = [line.split()[-2:] for line in told.stdout.splitlines()]
    assert facts[3:6] == [["projects", "1"], ["locks", "none"], ["uploads", "none"]]
    assert (document["projects"], document["locks"], document["waiting"]) == (1, [], [])


def test_projects_are_printed_for_people_and_scripts(types: Types) -> None:
    """With the same in them."""
    told, document = types("projects"), json.loads(types("projects", "--json").stdout)
    assert told.stdout.splitlines()[1].split()[:4] == ["demo", "1", "6", "B"]
    assert [project["id"] for project in document["projects"]] == ["demo"]


def test_history_is_printed_for_people_and_scripts(types: Types) -> None:
    """And says where there are older ones."""
    told = types("history", "demo", "--limit", "1")
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["version", "2"]
    assert "There are older ones: --limit 2 lists more" in told.stderr
    document = json.loads(types("history", "demo", "--json").stdout)
    assert [version["version"] for version in document["versions"]] == [2, 1]


def test_a_content_is_printed_for_people_and_scripts(types: Types) -> None:
    """Byte for byte, and with what is known of it."""
    assert types("show", "demo", TEXT).stdout_bytes == b"# Two\n"
    document = json.loads(types("show", "demo", TEXT, "--version", "1", "--json").stdout)
    assert (document["content"], document["version"], document["file"]) == ("# One\n", 1, TEXT)


def test_a_content_that_is_no_text_is_warned_of(asked: Asked, types: Types) -> None:
    """Its digest is another than that of what came."""
    body = {"content": "\N{REPLACEMENT CHARACTER}", "mtime": "2026-02-04T15:00:00.000Z", "version": 2}
    request = f"GET /projects/demo/files/{TEXT}/versions/2"
    asked.answer_by_hand(request, 200, body, etag='"' + "0" * 64 + '"')
    told = types("show", "demo", TEXT)
    assert told.stdout == "\N{REPLACEMENT CHARACTER}"
    assert "Version 2 is not UTF-8" in told.stderr


def test_differences_are_printed_for_people_and_scripts(types: Types) -> None:
    """Where there are none, a sentence says so."""
    told = types("diff", "demo", TEXT, "1")
    assert told.stdout.splitlines() == [
        *("summary.md of demo: version 1 → version 2, the head", "line 1", "- # One", "+ # Two")
    ]
    assert json.loads(types("diff", "demo", TEXT, "1", "--json").stdout)["changes"] == [
        {"line": 1, "removed": ["# One\n"], "added": ["# Two\n"]}
    ]
    assert "The two versions are the same" in types("diff", "demo", TEXT, "2", "2").stderr


def test_what_is_too_large_to_compare_is_told_with_status_1(asked: Asked, types: Types) -> None:
    """With the command that prints it."""
    asked.stub.acquire("laptop")
    asked.stub.upload("laptop", "\n" * 250_000, TEXT)
    told = types("diff", "demo", TEXT, "1")
    assert (told.exit_code, told.stdout) == (1, "")
    assert f"Version 1 or 3 of {TEXT} has too many lines to be compared: `mneme show demo" in told.stderr


def test_a_restore_is_told_to_people_and_scripts(asked: Asked, types: Types) -> None:
    """With the new version, and with a lock that could not be given up."""
    told = types("restore", "demo", TEXT, "--version", "1")
    assert (told.exit_code, told.stdout) == (0, "")
    assert "is as in version 1 again, now version 3: machines get it with their next sync" in told.stderr
    told = types("restore", "demo", TEXT, "--version", "1")
    assert "is as in version 1 already: nothing to restore" in told.stderr
    document = json.loads(types("restore", "demo", TEXT, "--version", "2", "--json").stdout)
    assert (document["restored"], document["version"]) == (True, 4)
    asked.answer_by_hand("DELETE /projects/demo/lock", 500, {"error": "A fault"})
    told = types("restore", "demo", TEXT, "--version", "1")
    assert told.exit_code == 0
    assert "The lock of demo could not be given up: `mneme unlock demo` does it" in told.stderr


def test_a_restore_during_a_session_is_told_with_status_1(asked: Asked, types: Types) -> None:
    """With the lock, and advice."""
    asked.stub.acquire("laptop")
    told = types("restore", "demo", TEXT, "--version", "1", "--json")
    assert told.exit_code == 1
    assert "Nothing is restored, for demo is locked by laptop since 2026-02-0" in told.stderr
    assert "wait for the end of that session" in told.stderr
    assert "or release its lock with `mneme unlock demo`" in told.stderr
    assert json.loads(told.stdout)["lock"]["clientId"] == "laptop"


def test_what_goes_wrong_is_told_with_status_1(types: Types) -> None:
    """In one sentence."""
    told = types("show", "nope", TEXT)
    assert (told.exit_code, told.stdout, told.stderr.count("\n")) == (1, "", 1)
