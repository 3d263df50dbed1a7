"""How the server does: since when it runs, what time it has, and the space that is taken and left."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from urllib.parse import unquote

import pytest

from mneme import __version__
from mneme.model import Usage
from tests.kept import DiskStore, MemoryStore
from tests.stepped import SteppedSteps
from tests.web.stub import Stub

KEY = "alpha-key-0123456789"
STATUS = "/status"


class FullStore(MemoryStore):
    """A store that takes so much space, or that cannot tell."""

    def __init__(self, usage: Usage | None) -> None:
        super().__init__()
        self._usage = usage

    def usage(self) -> Usage:
        """Tell, or fail."""
        if self._usage is None:
            raise OSError(5, "Input/output error", "/secret/path")
        return self._usage


def test_the_status_needs_the_key() -> None:
    """It is nobody else's business how full a disk is."""
    stub = Stub(keys=[KEY])
    assert stub.ask("GET", STATUS).json == {"error": "Missing or invalid Authorization header"}
    assert stub.ask("GET", STATUS, {"Authorization": "Bearer wrong"}).json == {"error": "Invalid API key"}
    assert stub.ask("GET", STATUS, {"Authorization": f"Bearer {KEY}"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_status_can_only_be_read(method: str) -> None:
    """By GET, and by HEAD."""
    reply = Stub().ask(method, STATUS)
    assert (reply.status, reply.header("Allow")) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/status/", "/projects/status", "/status/x"])
def test_the_status_is_in_no_other_place(path: str) -> None:
    """No guess."""
    assert Stub().ask("GET", path).status == 404


def test_a_status_that_cannot_be_told_is_a_fault() -> None:
    """The answer tells nothing of the inside."""
    reply = Stub(store=FullStore(None)).ask("GET", STATUS)
    assert (reply.status, b"secret" in reply.body) == (500, False)


def test_the_status_tells_times_and_space() -> None:
    """Seconds are whole ones, and those of the present one do not count yet."""
    stub = Stub(store=FullStore(Usage(123_456, 789_000_000_000)))
    stub.clock.advance(90.9)
    reply = stub.ask("GET", STATUS)
    assert (reply.status, reply.header("Content-Type")) == (200, "application/json")
    assert reply.json == {
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
    assert stub.ask("GET", STATUS).json["inTwoPlaces"] == told
    stub.clock.advance(7 * 24 * 60 * 60 - 60)
    assert stub.ask("GET", STATUS).json["inTwoPlaces"] == told[1:]
    stub.clock.advance(60)
    assert stub.ask("GET", STATUS).json["inTwoPlaces"] == []


def test_head_answers_as_get_does() -> None:
    """Without the body."""
    stub = Stub()
    got, head = stub.ask("GET", STATUS), stub.ask("HEAD", STATUS)
    assert (head.status, head.body) == (200, b"")
    assert head.headers.getRawHeaders("Content-Type") == got.headers.getRawHeaders("Content-Type")


def test_what_is_uploaded_is_in_the_status(tmp_path: Path) -> None:
    """As it lies in the database."""
    stub = Stub(store=DiskStore(tmp_path))
    before = stub.ask("GET", STATUS).json
    stub.acquire()
    stub.upload(content=Random(1).randbytes(100_000).hex())
    stub.clock.advance(1)
    after = stub.ask("GET", STATUS).json
    assert after["dataBytes"] - before["dataBytes"] >= 100_000
    assert 0 < after["freeBytes"] <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize


def test_the_status_takes_one_step_off_the_reactor() -> None:
    """However many files there are to look at."""
    steps = SteppedSteps(MemoryStore(), holding=False)
    stub = Stub(steps=steps)
    steps.holding = True
    with pytest.raises(AssertionError, match="no answer"):
        stub.ask("GET", STATUS)
    assert len(steps) == 1
