"""What can be seen of whole projects: all of them at a glance, and what pruning would remove from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
from twisted.logger import LogLevel, capturedLogs

from mneme.model import Millis, digest
from mneme.retention import Retention
from tests.kept import DiskStore, MemoryStore
from tests.results import result_of, started
from tests.stepped import SteppedSteps
from tests.web.connections import Server
from tests.web.stub import TTL, Stub, entry

KEY = "alpha-key-0123456789"
NOTHING_BY_AGE = Retention(Millis(0), Millis(0), Millis(0), 0)
"""Whatever is not needed can go."""


def projects(stub: Stub) -> list[dict[str, Any]]:
    """What is listed."""
    reply = stub.ask("GET", "/projects")
    assert (reply.status, list(reply.json)) == (200, ["projects"])
    return list(reply.json["projects"])


def tree(directory: Path) -> dict[str, bytes | None]:
    """All that lies in a directory, with its content; but for the memory that the connections of a database share."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if not path.name.endswith("-shm")
    }


class BrokenStore(MemoryStore):
    """A store in which no project can be looked for."""

    def overviews(self, now: Millis) -> NoReturn:
        """Fail."""
        raise OSError(5, "Input/output error", "/secret/path")


# Every project at a glance


@pytest.mark.parametrize("path", ["/projects", "/projects/demo/prunable"])
def test_a_look_at_projects_needs_the_key(path: str) -> None:
    """The ids alone say what somebody works on."""
    stub = Stub(keys=[KEY])
    assert stub.ask("GET", path).json == {"error": "Missing or invalid Authorization header"}
    assert stub.ask("GET", path, {"Authorization": "Bearer wrong"}).json == {"error": "Invalid API key"}
    assert stub.ask("GET", path, {"Authorization": f"Bearer {KEY}"}).status == 200


def test_a_server_without_projects_lists_none() -> None:
    """It is no error to have none."""
    assert projects(Stub()) == []


def test_a_project_is_listed_with_its_files_lock_and_waiting_uploads() -> None:
    """The size is that of all files, the mtime that of the newest one, and the lock is as everywhere."""
    stub = Stub()
    stub.acquire()
    stub.upload(content="é\n", name="summary.md")
    stub.clock.advance(5)
    stub.upload(content="one\n")
    stub.upload(client="desk", content="two\n")
    log: dict[str, Any] = {"name": "log.jsonl", "size": 4, "mtime": "2026-02-04T15:00:05.000Z", "version": 2}
    log["sha256"] = digest(b"one\n")
    summary: dict[str, Any] = {
        "name": "summary.md",
        "size": 3,
        "mtime": "2026-02-04T15:00:00.000Z",
        "version": 1,
    }
    summary["sha256"] = digest("é\n".encode())
    assert projects(stub) == [
        {
            "id": "demo",
            "files": [log, summary],
            "size": 7,
            "mtime": "2026-02-04T15:00:05.000Z",
            "lock": stub.ask("GET", "/projects/demo/lock").json["lock"],
            "waiting": [
                {"version": 3, "file": "log.jsonl", "mtime": "2026-02-04T15:00:05.000Z", "clientId": "desk"}
            ],
        }
    ]


def test_all_that_waits_is_listed_as_it_came() -> None:
    """Of whatever file, and both uploads of a client that was sent something in between."""
    stub = Stub()
    stub.acquire()
    stub.upload(content=entry("one"))
    uploads = [("desk", "log.jsonl"), ("attic", "summary.md"), ("desk", "log.jsonl")]
    for number, (client, name) in enumerate(uploads):
        stub.clock.advance(1)
        stub.upload(client=client, name=name, content=entry(f"{number}"))
        stub.download(client="desk")
    [project] = projects(stub)
    assert project["waiting"] == [
        {
            "version": number + 2,
            "file": name,
            "mtime": f"2026-02-04T15:00:0{number + 1}.000Z",
            "clientId": client,
        }
        for number, (client, name) in enumerate(uploads)
    ]
    stub.release()
    assert projects(stub)[0]["waiting"] == []


def test_a_project_that_has_only_a_lock_is_one_without_size_and_mtime() -> None:
    """Zero and null, which no file could have."""
    stub = Stub()
    stub.acquire()
    [project] = projects(stub)
    assert (project["files"], project["size"], project["mtime"]) == ([], 0, None)
    assert project["lock"]["clientId"] == "laptop"


def test_an_expired_lock_is_listed_as_none() -> None:
    """Nobody has to have noticed before; whatever waited for it waits until somebody does."""
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
    """Whatever the order in which they came; ids go by their characters."""
    stub = Stub()
    ids = ["ba", "b", "ab", "org/repo", "org", "Z", "é", "🧠"]
    for one in ids:
        stub.acquire(project=quote(one, safe=""))
    in_order = ["Z", "ab", "b", "ba", "org", "org/repo", "é", "🧠"]
    assert [project["id"] for project in projects(stub)] == in_order


@pytest.mark.parametrize("project", ["org/repo", "..", "書斎", "a\nb", "\x00", '"\\', "\x1b[2J", "%2F", " "])
def test_the_id_in_the_list_is_the_true_one(project: str, tmp_path: Path) -> None:
    """As text, not as it was encoded in the path, nor as its directory is called."""
    stub = Stub(store=DiskStore(tmp_path))
    stub.acquire(project=quote(project, safe=""))
    stub.upload(project=quote(project, safe=""))
    [listed] = projects(stub)
    assert (listed["id"], listed["size"]) == (project, 4)


def test_projects_that_cannot_be_looked_for_are_a_fault_in_a_sentence() -> None:
    """An empty list would say that nothing is there."""
    with capturedLogs():
        reply = Stub(store=BrokenStore()).ask("GET", "/projects")
    assert (reply.status, list(reply.json)) == (500, ["error"])
    assert b"secret" not in reply.body


def test_a_server_that_shuts_down_says_so_in_place_of_a_list_with_gaps() -> None:
    """What was left out would look like what is gone."""
    stub = Stub()
    stub.acquire()
    started(stub.sync.stopService())
    reply = stub.ask("GET", "/projects")
    assert (reply.status, "shutting down" in reply.json["error"]) == (503, True)


def test_a_client_that_hangs_up_half_way_through_is_no_fault() -> None:
    """It is a day like any other: nothing but the line of the request is logged."""
    steps = SteppedSteps(MemoryStore(), holding=False)
    server = Server(steps=steps)
    for one in ("a", "b", "c"):
        server.stub.acquire(project=one)
    steps.holding = True
    with capturedLogs() as logged:
        client = server.connect()
        client.get("/projects", "Host: x")
        steps.let_go()
        client.hang_up()
        steps.holding = False
        steps.let_go()
    assert [event["log_level"] for event in logged] == [LogLevel.info]


def test_looking_at_projects_changes_nothing(tmp_path: Path) -> None:
    """Neither on disk nor for the next one who looks."""
    stub = Stub(store=DiskStore(tmp_path))
    stub.acquire()
    stub.upload()
    stub.upload(client="desk")
    before = tree(tmp_path)
    assert projects(stub) == projects(stub)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("path", ["/projects", "/projects/demo/prunable"])
def test_a_look_at_projects_answers_head_and_any_query(path: str) -> None:
    """HEAD without the body, and a query as if there were none."""
    stub = Stub()
    stub.acquire()
    head = stub.ask("HEAD", path)
    assert (head.status, head.body, head.header("Content-Type")) == (200, b"", "application/json")
    assert stub.ask("GET", f"{path}?limit=0&%ZZ&=").json == stub.ask("GET", path).json


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/projects", "/projects/demo/prunable"])
def test_projects_can_only_be_looked_at(method: str, path: str) -> None:
    """Whoever takes the question for the deed is told."""
    reply = Stub().ask(method, path, {"X-Client-Id": "laptop"})
    assert (reply.status, reply.header("Allow")) == (405, "GET, HEAD, OPTIONS")


# What pruning would remove


def test_nothing_can_be_pruned_of_a_project_that_was_never_written(tmp_path: Path) -> None:
    """Asking makes no project."""
    stub = Stub(store=DiskStore(tmp_path), retention=NOTHING_BY_AGE)
    before = tree(tmp_path)
    reply = stub.ask("GET", "/projects/org%2Frepo/prunable")
    assert (reply.status, reply.json) == (200, {"versions": [], "size": 0})
    assert tree(tmp_path) == before


def test_what_can_be_pruned_is_told_as_versions_with_their_files() -> None:
    """Oldest first, each as in the list of its file's versions; the size is what they take in the database."""
    stub = Stub(retention=NOTHING_BY_AGE)
    stub.acquire()
    for name in ("log.jsonl", "summary.md"):
        for content in ("a\n", "a\nbb\n", "a\nbb\nccc\n"):
            stub.upload(name=name, content=content)
    by_file = {name: stub.versions(name) for name in ("log.jsonl", "summary.md")}
    expected = [
        version | {"file": name}
        for name, versions in by_file.items()
        for version in reversed(versions)
        if version["version"] in (1, 2, 4, 5)
    ]
    told = stub.ask("GET", "/projects/demo/prunable").json
    assert told["versions"] == expected
    assert told["size"] > 14


def test_what_could_be_pruned_is_there_as_before(tmp_path: Path) -> None:
    """Asked twice it is the same, on disk nothing has changed, and each of the versions can be had."""
    stub = Stub(store=DiskStore(tmp_path), retention=NOTHING_BY_AGE)
    stub.acquire()
    for content in ("a\n", "a\nb\n", "a\nb\nc\n"):
        stub.upload(content=content)
    before = tree(tmp_path)
    first = stub.ask("GET", "/projects/demo/prunable").json
    assert [version["version"] for version in first["versions"]] == [1, 2]
    assert stub.ask("GET", "/projects/demo/prunable").json == first
    assert tree(tmp_path) == before
    for number in (1, 2):
        assert stub.ask("GET", f"/projects/demo/files/log.jsonl/versions/{number}").status == 200


def test_what_waits_to_be_merged_cannot_be_pruned() -> None:
    """Nor can a head; what the same client had waiting before can."""
    stub = Stub(retention=NOTHING_BY_AGE)
    stub.acquire()
    stub.upload()
    for content in ("two\n", "two\nthree\n"):
        stub.upload(client="desk", content=content)
    pruned = stub.ask("GET", "/projects/demo/prunable").json["versions"]
    assert [version["version"] for version in pruned] == [2]


def test_what_can_be_pruned_follows_the_settings_of_now() -> None:
    """They may be changed while the server runs."""
    stub = Stub()
    stub.acquire()
    for content in ("a\n", "a\nb\n"):
        stub.upload(content=content)
    assert stub.ask("GET", "/projects/demo/prunable").json == {"versions": [], "size": 0}
    stub.sync.retention = NOTHING_BY_AGE
    told = stub.ask("GET", "/projects/demo/prunable").json
    assert [version["version"] for version in told["versions"]] == [1]
