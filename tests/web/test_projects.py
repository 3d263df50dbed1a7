"""All projects at a glance, and the versions that pruning would remove."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from twisted.logger import LogLevel, capturedLogs

from mneme.model import Millis, digest
from mneme.retention import Retention
from tests.kept import DiskStore, MemoryStore
from tests.results import result_of, started
from tests.stepped import SteppedSteps
from tests.web.connections import Server
from tests.web.stub import HISTORY, TTL, Stub, entry, written

ALIAS = "/projects/path/alias"
NOTHING_BY_AGE = Retention(Millis(0), Millis(0), Millis(0), 0)
"""Retention that keeps only the versions that are needed."""
PRUNABLE = "/projects/demo/prunable"


def projects(stub: Stub) -> list[dict[str, Any]]:
    """The list of all projects."""
    reply = stub.ask("GET", "/projects")
    assert (reply.status, list(reply.json)) == (200, ["projects"])
    return list(reply.json["projects"])


def tree(directory: Path) -> dict[str, bytes | None]:
    """All files in a directory, without the shared memory of a database."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if not path.name.endswith("-shm")
    }


# Every project at a glance


def test_a_server_without_projects_lists_none() -> None:
    """An empty list is no error."""
    assert projects(Stub()) == []


def test_a_project_is_listed_with_its_files_lock_and_waiting_uploads() -> None:
    """The size is that of all files, the mtime that of the newest one."""
    stub = Stub()
    stub.acquire()
    stub.upload(content="é\n", name="summary.md")
    stub.clock.advance(5)
    stub.upload(content="one\n")
    stub.upload(client="desk", content="two\n")
    first, later = "2026-02-04T15:00:00.000Z", "2026-02-04T15:00:05.000Z"
    log = {"name": "log.jsonl", "size": 4, "mtime": later, "version": 2, "sha256": digest(b"one\n")}
    summary = {
        "name": "summary.md",
        "size": 3,
        "mtime": first,
        "version": 1,
        "sha256": digest("é\n".encode()),
    }
    assert projects(stub) == [
        {
            "id": "demo",
            "files": [log, summary],
            "size": 7,
            "mtime": later,
            "lock": stub.ask("GET", "/projects/demo/lock").json["lock"],
            "waiting": [{"version": 3, "file": "log.jsonl", "mtime": later, "clientId": "desk"}],
            "aliases": [],
        }
    ]


def test_a_project_that_has_only_a_lock_is_one_without_size_and_mtime() -> None:
    """Zero and null, which no file could have."""
    stub = Stub()
    stub.acquire()
    [project] = projects(stub)
    assert (project["files"], project["size"], project["mtime"]) == ([], 0, None)
    assert project["lock"]["clientId"] == "laptop"


def test_an_expired_lock_is_listed_as_none() -> None:
    """Uploads wait on until the lock is reaped."""
    stub = Stub()
    stub.acquire()
    stub.upload(client="desk", content=entry("one"))
    stub.clock.advance(TTL / 1000)
    [project] = projects(stub)
    assert (project["lock"], len(project["waiting"])) == (None, 1)
    result_of(stub.sync.reap())
    [project] = projects(stub)
    assert (project["waiting"], [file["name"] for file in project["files"]]) == ([], ["log.jsonl"])


def test_projects_are_listed_in_the_order_of_their_ids() -> None:
    """By their characters, in whatever order they came."""
    stub = Stub()
    for project in ["ba", "b", "ab", "org/repo", "org", "Z", "é", "🧠"]:
        stub.acquire(project=quote(project, safe=""))
    in_order = ["Z", "ab", "b", "ba", "org", "org/repo", "é", "🧠"]
    assert [project["id"] for project in projects(stub)] == in_order


@pytest.mark.parametrize("project", ["org/repo", "..", "書斎", "a\nb", "\x00", '"\\', "\x1b[2J", "%2F", " "])
def test_the_id_in_the_list_is_the_true_one(project: str, tmp_path: Path) -> None:
    """Neither encoded as in the path, nor the name of its directory."""
    stub = Stub(store=DiskStore(tmp_path))
    stub.acquire(project=quote(project, safe=""))
    stub.upload(project=quote(project, safe=""))
    [listed] = projects(stub)
    assert (listed["id"], listed["size"]) == (project, 4)


def test_a_server_that_shuts_down_says_so_in_place_of_a_list_with_gaps() -> None:
    """Projects that are left out would look as if they were gone."""
    stub = Stub()
    stub.acquire()
    started(stub.sync.stopService())
    reply = stub.ask("GET", "/projects")
    assert (reply.status, "shutting down" in reply.json["error"]) == (503, True)
    assert reply.header("Retry-After") == "5"


def test_a_client_that_hangs_up_half_way_through_is_no_fault() -> None:
    """Nothing but the line of the request is logged."""
    steps = SteppedSteps(MemoryStore(), holding=False)
    server = Server(steps=steps)
    for project in ("a", "b", "c"):
        server.stub.acquire(project=project)
    steps.holding = True
    with capturedLogs() as logged:
        client = server.connect()
        client.get("/projects", "Host: x")
        steps.let_go()
        client.hang_up()
        steps.holding = False
        steps.let_go()
    assert [event["log_level"] for event in logged] == [LogLevel.info]


@pytest.mark.parametrize("path", ["/projects", PRUNABLE])
def test_looking_at_projects_changes_nothing(path: str, tmp_path: Path) -> None:
    """Neither on disk nor for the next one who looks."""
    stub = written(store=DiskStore(tmp_path), retention=NOTHING_BY_AGE)
    stub.upload(client="desk")
    before = tree(tmp_path)
    assert stub.ask("GET", path).json == stub.ask("GET", path).json
    assert tree(tmp_path) == before


# What pruning would remove


def test_prunable_versions_are_told_with_their_files() -> None:
    """Oldest first, each as in its file's list, with the bytes of all."""
    stub = Stub(retention=NOTHING_BY_AGE)
    stub.acquire()
    for name in ("log.jsonl", "summary.md"):
        for content in ("a\n", "a\nbb\n", "a\nbb\nccc\n"):
            stub.upload(name=name, content=content)
    expected = [
        version | {"file": name}
        for name in ("log.jsonl", "summary.md")
        for version in reversed(stub.versions(name)[1:])
    ]
    told = stub.ask("GET", PRUNABLE).json
    assert told["versions"] == expected
    assert told["size"] > 14


def test_prunable_versions_follow_the_settings_of_now() -> None:
    """They may be changed while the server runs."""
    stub = written()
    assert stub.ask("GET", PRUNABLE).json == {"versions": [], "size": 0}
    stub.sync.retention = NOTHING_BY_AGE
    assert [version["version"] for version in stub.ask("GET", PRUNABLE).json["versions"]] == [1, 2]


# Aliases


def test_an_alias_is_made_and_listed() -> None:
    """Its own memory is merged into that of the project."""
    stub = Stub()
    for project, text in (("demo", "one\n"), ("path", "two\n")):
        stub.acquire(project=project)
        stub.upload(content=text, name="summary.md", project=project)
        stub.release(project=project)
    answer = stub.ask("PUT", ALIAS, {"X-Client-Id": "laptop"}, '{"of": "demo"}')
    assert (answer.status, answer.json) == (
        200,
        {"success": True, "project": "demo", "merged": ["summary.md"], "unmerged": []},
    )
    assert [(one["id"], one["aliases"]) for one in projects(stub)] == [("demo", ["path"])]
    assert stub.download("summary.md", project="path").json == stub.download("summary.md").json


@pytest.mark.parametrize(
    ("headers", "body", "status", "sentence"),
    [
        ({}, '{"of": "demo"}', 400, "X-Client-Id header required"),
        ({"X-Client-Id": "a"}, "{}", 400, 'The body must name the project, by its id: {"of": "github'),
        ({"X-Client-Id": "a"}, '{"of": ""}', 400, "A project id has 1 to 512 characters"),
        ({"X-Client-Id": "a"}, '{"of": "path"}', 409, "path cannot be another name of itself"),
        ({"X-Client-Id": "a"}, '{"of": "locked"}', 409, "Lock held by another client"),
    ],
)
def test_an_alias_is_refused(headers: dict[str, str], body: str, status: int, sentence: str) -> None:
    """In one sentence, and nothing is changed."""
    stub = Stub()
    stub.acquire(project="locked")
    before = projects(stub)
    answer = stub.ask("PUT", ALIAS, headers, body)
    assert answer.status == status
    assert answer.json["error"].startswith(sentence)
    assert projects(stub) == before


def test_health_tells_the_id_of_the_server() -> None:
    """By it a client knows that two addresses are one server."""
    store = MemoryStore()
    [first, again, other] = [
        Stub(store=one).ask("GET", "/health").json["id"] for one in (store, store, MemoryStore())
    ]
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert (first == again, first == other) == (True, False)


# Removal


def test_a_project_is_removed_by_whoever_is_asked() -> None:
    """Its versions can be read on, and it is listed no more."""
    stub = written()
    stub.ask("DELETE", "/projects/demo/lock", {"X-Client-Id": "laptop"})
    answer = stub.ask("DELETE", "/projects/demo", {"X-Client-Id": "desk"})
    assert (answer.status, answer.json) == (200, {"success": True})
    assert projects(stub) == []
    assert stub.ask("GET", "/projects/demo/files").json == {"files": []}
    assert stub.ask("GET", "/projects/demo/files/log.jsonl").status == 404
    assert stub.ask("GET", "/projects/demo/files/log.jsonl/versions/1").json["content"] == HISTORY[0]
    assert len(stub.ask("GET", "/projects/demo/files/log.jsonl/versions").json["versions"]) == len(HISTORY)
    again = stub.ask("DELETE", "/projects/demo", {"X-Client-Id": "desk"})
    assert (again.status, again.json) == (404, {"error": "Project not found"})


def test_a_locked_project_is_not_removed() -> None:
    """The answer says who holds the lock."""
    stub = Stub()
    stub.acquire("laptop")
    answer = stub.ask("DELETE", "/projects/demo", {"X-Client-Id": "desk"})
    assert (answer.status, answer.json["lock"]["clientId"]) == (409, "laptop")
    assert len(projects(stub)) == 1


def test_a_removal_needs_a_client_id() -> None:
    """A stock client has no such call."""
    answer = written().ask("DELETE", "/projects/demo")
    assert (answer.status, answer.json) == (400, {"error": "X-Client-Id header required"})


def test_a_removal_is_told_to_listeners() -> None:
    """By an event for each file, without a version."""
    stub = written()
    last = stub.ask("GET", "/events?wait=1&after=x-1").json["last"]
    stub.ask("DELETE", "/projects/demo", {"X-Client-Id": "laptop"})
    told = stub.ask("GET", f"/events?wait=1&after={last}").json["events"]
    assert ("head", "log.jsonl", None) in [(one["kind"], one["file"], one["version"]) for one in told]
