"""Disks without space for the database, its log of changes, or the plain files."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme.errors import DiskFull
from mneme.model import digest
from mneme.timers import EXPORT_PAUSE as PAUSE
from mneme.timers import Exporter
from tests.kept import DiskStore
from tests.store.faults import FULL as FULL_DISK
from tests.store.faults import Faults
from tests.store.looking import leftovers
from tests.store.space import FULL
from tests.web.stub import Reply, Stub, entry

OLD = entry("first") + entry("old", minute=1)
LARGE = entry(base64.b64encode(Random(1).randbytes(300_000)).decode(), minute=2)
"""A line that cannot be compressed much."""
NEW = entry("new", minute=3)
PLACE = "/projects/demo"
LOG = f"{PLACE}/files/log.jsonl"
LAPTOP = {"X-Client-Id": "laptop", "Content-Type": "application/x-ndjson"}

LARGE_WRITES: dict[str, Callable[[Stub], Reply]] = {
    "upload": lambda stub: stub.upload(content=OLD + LARGE),
    "append": lambda stub: stub.ask(
        "POST",
        f"{LOG}/append",
        {**LAPTOP, "Idempotency-Key": "one", "If-Match": f'"{digest(OLD.encode())}"'},
        LARGE,
    ),
}
WRITES = LARGE_WRITES | {
    "new project": lambda stub: stub.acquire(project="another"),
    "heartbeat": lambda stub: stub.ask("POST", f"{PLACE}/lock/heartbeat", LAPTOP),
    "restore": lambda stub: stub.ask("POST", f"{LOG}/restore", LAPTOP, '{"version": 1}'),
    "release": lambda stub: stub.release(),
}
CASES = [("database", write) for write in LARGE_WRITES] + [("log of changes", write) for write in WRITES]


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """A server on disk with a file of two versions; the laptop has the lock."""
    store = DiskStore(tmp_path)
    stub = Stub(store=store)
    Exporter(stub.clock, stub.sync).startService()
    stub.acquire()
    stub.upload(content=entry("first"))
    stub.upload(content=OLD)
    stub.clock.advance(1)
    yield stub
    store.database.close()


def told(stub: Stub, reader: str = "desk") -> list[Any]:
    """All that a reader is told of the project."""
    places = ("lock", "files", "files/log.jsonl", "files/log.jsonl/versions", "files/log.jsonl/versions/1")
    replies = [stub.ask("GET", f"{PLACE}/{place}", {"X-Client-Id": reader}) for place in places]
    assert [reply.status for reply in replies] == [200] * len(places)
    return [reply.json for reply in replies]


def plain(root: Path, project: str = "demo") -> str:
    """The log, as it lies among the plain files."""
    return (root / "projects" / project / "log.jsonl").read_text()


@pytest.mark.parametrize(("full", "write"), CASES)
def test_a_write_that_finds_no_space_is_507_and_changes_nothing(
    stub: Stub, full: str, write: str, tmp_path: Path
) -> None:
    """The client is told why, reads go on, and the write succeeds with space again."""
    before = told(stub)
    with FULL[full](stub.store.database, 0):
        for reader in ("desk", "phone"):
            reply = WRITES[write](stub)
            assert (reply.status, reply.json) == (507, {"error": DiskFull.sentence})
            assert told(stub, reader) == before
        stub.clock.advance(1)
        assert plain(tmp_path) == OLD
    assert WRITES[write](stub).status == 200
    stub.clock.advance(1)
    assert plain(tmp_path) == stub.download().json["content"]


def test_uploads_go_on_while_the_plain_files_find_no_space(
    stub: Stub, tmp_path: Path, faults: Faults
) -> None:
    """The database has them; the plain files stay whole, and follow when there is space."""
    with faults.failing(0, FULL_DISK), capturedLogs() as events:
        for content in (OLD + LARGE, OLD + LARGE + NEW):
            assert stub.upload(content=content).status == 200
            stub.clock.advance(PAUSE)
            assert stub.download().json["content"] == content
        assert stub.acquire(project="another").status == 200
        assert stub.upload(content=OLD, project="another").status == 200
        stub.clock.advance(PAUSE)
        assert stub.download(project="another").json["content"] == OLD
    assert plain(tmp_path) == OLD
    assert leftovers(tmp_path) == []
    failures = [formatEvent(event) for event in events if "log_failure" in event]
    assert failures == [
        f"Could not write the plain files of {project}; trying again until it works"
        for project in ("demo", "another")
    ]
    stub.clock.advance(PAUSE)
    assert (plain(tmp_path), plain(tmp_path, "another")) == (content, OLD)
