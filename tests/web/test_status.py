"""`GET /status`: times, space, and ids that are used in two places."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from urllib.parse import unquote

from mneme import __version__
from mneme.model import Usage
from tests.kept import DiskStore, MemoryStore
from tests.web.stub import Stub


class FullStore(MemoryStore):
    """A store that takes so much space."""

    def usage(self) -> Usage:
        """Numbers that are easy to tell apart."""
        return Usage(123_456, 789_000_000_000)


def test_the_status_tells_times_and_space() -> None:
    """Seconds are whole ones; the present one does not count yet."""
    stub = Stub(store=FullStore())
    stub.clock.advance(90.9)
    assert stub.ask("GET", "/status").json == {
        "version": __version__,
        "startedAt": "2026-02-04T15:00:00.000Z",
        "now": "2026-02-04T15:01:30.900Z",
        "uptimeSeconds": 90,
        "dataBytes": 123_456,
        "freeBytes": 789_000_000_000,
        "inTwoPlaces": [],
    }


def test_the_status_tells_which_ids_are_used_in_two_places() -> None:
    """Each is told for a week after its last such upload, the newest last."""
    stub = Stub()
    told = []
    for project, minute in (("org%2Frepo", 1), ("demo", 2)):
        stub.clock.advance(60)
        stub.acquire("desk", project)
        for word in ("one", "other"):
            assert stub.upload("desk", f'{{"n":"{word}"}}\n', project=project).status == 200
        told.append(
            {
                "project": unquote(project),
                "clientId": "desk",
                "file": "log.jsonl",
                "time": f"2026-02-04T15:0{minute}:00.000Z",
            }
        )
    assert stub.ask("GET", "/status").json["inTwoPlaces"] == told
    stub.clock.advance(7 * 24 * 60 * 60 - 60)
    assert stub.ask("GET", "/status").json["inTwoPlaces"] == told[1:]
    stub.clock.advance(60)
    assert stub.ask("GET", "/status").json["inTwoPlaces"] == []


def test_an_upload_is_in_the_status(tmp_path: Path) -> None:
    """By the bytes that it takes in the database."""
    stub = Stub(store=DiskStore(tmp_path))
    before = stub.ask("GET", "/status").json
    stub.acquire()
    stub.upload(content=Random(1).randbytes(100_000).hex())
    stub.clock.advance(1)
    after = stub.ask("GET", "/status").json
    assert after["dataBytes"] - before["dataBytes"] >= 100_000
    assert 0 < after["freeBytes"] <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
