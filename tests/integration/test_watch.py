"""`mneme watch` as a process: signals, terminals, servers that go; `tests/client/test_keeper.py` has its rules."""

from __future__ import annotations

import os
import pty
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.command import LOG, Home, Watching, entries
from tests.daemon import Daemon, wait_until

pytestmark = pytest.mark.integration

CONFIG = {"rateLimitPerMinute": 0, "lockTTLMinutes": 0.5}
"""Locks live for longer than a test, however busy the machine."""


@pytest.fixture
def laptop(tmp_path: Path, server: Daemon, project: str) -> Home:
    """A machine that does not wait long for an answer."""
    return Home(tmp_path / "laptop", server.url, projectId=project, timeoutMs=1000, retries=1)


@pytest.fixture
def watching(laptop: Home) -> Iterator[Watching]:
    """A watch that has begun."""
    laptop.note("first")
    watch = Watching(laptop)
    try:
        watch.wait_for("synced")
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


def head(server: Daemon, project: str) -> list[str]:
    """The entries of the log that the server has; none while it does not answer."""
    with suppress(OSError):
        status, body = server.ask("GET", f"/projects/{project}/files/{LOG}", timeout=1.0)
        return entries(body["content"]) if status == 200 else []
    return []


def holder(server: Daemon, project: str) -> str | None:
    """The client that holds the lock."""
    lock = server.ask("GET", f"/projects/{project}/lock")[1]["lock"]
    return lock["clientId"] if lock else None


def wait_for_notes(server: Daemon, project: str, home: Home, within: float = 30.0) -> None:
    """Wait until the server has all notes of the machine."""
    wait_until(lambda: head(server, project) == home.notes(), within=within, every=0.05)


def test_changes_are_sent_soon_after_they_are_made(
    server: Daemon, laptop: Home, watching: Watching, project: str
) -> None:
    """Each sending is an event in JSON; no lock is held."""
    for note in ("second", "third"):
        wait_for_notes(server, project, laptop, within=10.0)
        laptop.note(note)
    wait_for_notes(server, project, laptop, within=10.0)
    watching.wait_for("synced", times=3)
    sent = next(event for event in watching.events() if event["event"] == "synced")
    assert (sent["project"], sent["files"][0]["did"]) == (project, ["sent"])
    assert watching.end() == 0
    assert holder(server, project) is None
    assert len(head(server, project)) == 3


def test_the_watch_goes_on_when_the_server_is_back(
    server: Daemon, laptop: Home, watching: Watching, project: str
) -> None:
    """Changes made in the meantime are sent, and the trouble is told once."""
    wait_for_notes(server, project, laptop)
    server.kill()
    try:
        laptop.note("while it was away")
        watching.wait_for("trouble")
    finally:
        server.start()
    wait_for_notes(server, project, laptop, within=60.0)
    watching.wait_for("recovered")
    assert watching.happened().count("trouble") == 1
    assert watching.end() == 0


def test_what_a_killed_watch_left_is_sent_by_the_next_session(
    server: Daemon, laptop: Home, watching: Watching, project: str
) -> None:
    """Nobody has to wait for a lock."""
    wait_for_notes(server, project, laptop)
    watching.process.kill()
    laptop.note("after its death")
    laptop.run("pull", "--strict")
    laptop.run("push", "--strict")
    assert head(server, project) == laptop.notes() == ["first", "after its death"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["TERM", "INT", "HUP"])
def test_a_signal_ends_the_watch_with_a_push(
    server: Daemon, laptop: Home, watching: Watching, project: str, number: int
) -> None:
    """Changes made just before are sent, and the lock is free."""
    laptop.note("at the last moment")
    assert watching.end(number) == 0
    assert head(server, project) == ["first", "at the last moment"]
    assert holder(server, project) is None


def test_a_closed_terminal_ends_the_watch_with_a_push(server: Daemon, laptop: Home, project: str) -> None:
    """There is nobody left to tell, which keeps it from nothing."""
    terminal, its_end = pty.openpty()
    process = laptop.start(
        "watch", stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True, text=False
    )
    os.close(its_end)
    try:
        shown = b""
        while b"Watching" not in shown:
            shown += os.read(terminal, 4096)
        laptop.note("at the last moment")
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20.0) == 0
    finally:
        process.kill()
    assert head(server, project) == ["at the last moment"]
    assert holder(server, project) is None


def test_an_end_without_a_server_says_that_changes_stay(
    server: Daemon, laptop: Home, watching: Watching, project: str
) -> None:
    """The status is that of a hook."""
    wait_for_notes(server, project, laptop)
    server.kill()
    try:
        laptop.note("last words")
        watching.wait_for("trouble")
        assert watching.end() == 0
    finally:
        server.start()
    assert "Changes stay on this machine" in watching.log()
    laptop.run("push", "--strict")
    assert head(server, project) == ["first", "last words"]


def test_a_second_signal_ends_the_watch_at_once(
    server: Daemon, laptop: Home, watching: Watching, project: str
) -> None:
    """Whoever does not want to wait for a frozen server need not."""
    wait_for_notes(server, project, laptop)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        watching.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        watching.process.send_signal(signal.SIGINT)
        assert watching.process.wait(20.0) == -signal.SIGINT
    finally:
        os.kill(server.pid, signal.SIGCONT)
