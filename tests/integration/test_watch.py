"""`mneme watch` as a process: signals, terminals, servers that go; `tests/client/test_watch.py` has its rules."""

from __future__ import annotations

import json
import os
import pty
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.command import LOG, Ended, Home, Watching, entries
from tests.daemon import Daemon, wait_until

pytestmark = pytest.mark.integration

PLACE = "/projects/app"
TTL_SECONDS = 30.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A server whose locks live for longer than a test, however busy the machine."""
    config = {"rateLimitPerMinute": 0, "lockTTLMinutes": TTL_SECONDS / 60}
    with Daemon(tmp_path / "server", config) as running:
        yield running
        if running.runs():
            assert "Traceback" not in running.log()


@pytest.fixture
def laptop(tmp_path: Path, daemon: Daemon) -> Home:
    """A machine that does not wait long for an answer."""
    return Home(tmp_path / "laptop", daemon.url, timeoutMs=1000, retries=1)


@pytest.fixture
def watching(laptop: Home) -> Iterator[Watching]:
    """A watch that has begun."""
    laptop.note("first")
    watch = Watching(laptop)
    try:
        watch.wait_for("pulled")
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


def head(daemon: Daemon) -> list[str]:
    """The entries of the log that the server has; none while it does not answer."""
    with suppress(OSError):
        status, body = daemon.ask("GET", f"{PLACE}/files/{LOG}", timeout=1.0)
        return entries(body["content"]) if status == 200 else []
    return []


def holder(daemon: Daemon) -> str | None:
    """Who holds the lock."""
    lock = daemon.ask("GET", f"{PLACE}/lock")[1]["lock"]
    return lock["clientId"] if lock else None


def wait_for_notes(daemon: Daemon, home: Home, within: float = 30.0) -> None:
    """Wait until the server has what the machine has."""
    wait_until(lambda: head(daemon) == home.notes(), within=within, every=0.05)


def test_changes_are_sent_soon_after_they_are_made(daemon: Daemon, laptop: Home, watching: Watching) -> None:
    """What was there before, and what comes later; at its end the lock is free."""
    wait_for_notes(daemon, laptop, within=10.0)
    for number in range(3):
        laptop.note(f"note {number}")
        wait_for_notes(daemon, laptop, within=10.0)
    assert holder(daemon) == laptop.client_id
    assert watching.end() == 0
    assert holder(daemon) is None
    assert len(head(daemon)) == 4


def test_it_goes_on_when_the_server_is_back(daemon: Daemon, laptop: Home, watching: Watching) -> None:
    """What was written in the meantime is sent, and the trouble was told once."""
    wait_for_notes(daemon, laptop)
    daemon.kill()
    laptop.note("while it was away")
    watching.wait_for("trouble")
    daemon.start()
    wait_for_notes(daemon, laptop, within=60.0)
    watching.wait_for("recovered")
    assert holder(daemon) == laptop.client_id
    assert watching.end() == 0


def test_it_goes_on_when_a_frozen_server_thaws(daemon: Daemon, laptop: Home, watching: Watching) -> None:
    """It took connections all the while, and said nothing."""
    wait_for_notes(daemon, laptop)
    os.kill(daemon.pid, signal.SIGSTOP)
    laptop.note("while it was frozen")
    watching.wait_for("trouble")
    assert "did not answer in time" in watching.events()[-1]["problem"]
    os.kill(daemon.pid, signal.SIGCONT)
    wait_for_notes(daemon, laptop, within=60.0)
    assert watching.end() == 0


def test_what_a_killed_watch_left_is_sent_by_the_next_session(
    daemon: Daemon, laptop: Home, watching: Watching
) -> None:
    """Its lock is the machine's own, so that nobody has to wait for it."""
    wait_for_notes(daemon, laptop)
    watching.process.kill()
    laptop.note("after its death")
    laptop.run("pull", "--strict")
    laptop.run("push", "--strict")
    assert head(daemon) == laptop.notes() == ["first", "after its death"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["TERM", "INT", "HUP"])
def test_a_signal_ends_it_with_a_push(daemon: Daemon, laptop: Home, watching: Watching, number: int) -> None:
    """At once, even if the change has only just been made; the lock is free then."""
    laptop.note("at the last moment")
    assert watching.end(number) == 0
    assert head(daemon) == ["first", "at the last moment"]
    assert holder(daemon) is None


def test_a_closed_terminal_ends_it_with_a_push(daemon: Daemon, laptop: Home) -> None:
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
        wait_until(lambda: holder(daemon) == laptop.client_id, within=20.0)
        laptop.note("at the last moment")
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20.0) == 0
    finally:
        process.kill()
    assert head(daemon) == ["at the last moment"]
    assert holder(daemon) is None


def test_a_push_that_fails_at_its_end_says_what_happens(
    daemon: Daemon, laptop: Home, watching: Watching
) -> None:
    """The server is gone: the memory stays, and the status is that of a hook."""
    wait_for_notes(daemon, laptop)
    daemon.kill()
    laptop.note("last words")
    watching.wait_for("trouble")
    assert watching.end() == 0
    assert "Changes stay on this machine" in watching.log()
    daemon.start()
    laptop.run("push", "--strict")
    assert head(daemon) == ["first", "last words"]


def test_a_second_signal_ends_it_at_once(daemon: Daemon, laptop: Home, watching: Watching) -> None:
    """Whoever does not want to wait for a frozen server need not."""
    wait_for_notes(daemon, laptop)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        watching.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        watching.process.send_signal(signal.SIGINT)
        assert watching.process.wait(20.0) == -signal.SIGINT
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def test_two_watches_on_one_machine_share_its_lock(daemon: Daemon, laptop: Home, watching: Watching) -> None:
    """Neither sends twice what the other has sent, and the end of one is not that of the other."""
    wait_for_notes(daemon, laptop)
    second = laptop.start("watch", "--json")
    laptop.note("for both")
    wait_for_notes(daemon, laptop)
    time.sleep(2.5)
    second.send_signal(signal.SIGTERM)
    assert Ended(second).status == 0
    laptop.note("for the first alone")
    wait_for_notes(daemon, laptop)
    wait_until(lambda: holder(daemon) == laptop.client_id, within=20.0)
    assert laptop.notes() == ["first", "for both", "for the first alone"]


def test_its_events_are_json_one_a_line(laptop: Home, watching: Watching) -> None:
    """For scripts that follow it."""
    watching.wait_for("sent")
    watching.end()
    lines = watching.log().splitlines()
    [sent] = [json.loads(text) for text in lines if text.startswith('{"event":"sent"')]
    assert sent["project"] == "app"
    assert sent["files"][0]["did"] == ["sent"]
