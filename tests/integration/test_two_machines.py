"""Two machines at once on the real server: what it refuses is on disk before it says so, and is merged later."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.daemon import Daemon, wait_until
from tests.often import now_and_then, times
from tests.plugin_files import log, log_lines
from tests.stock_client import Answer, Machine, StockClient

pytestmark = pytest.mark.integration

PROJECT, LOG = "-home-ana-src-my.app", "log.jsonl"
PLACE = f"/projects/{PROJECT}"
NO_RATE_LIMIT = {"rateLimitPerMinute": 0}
SHORT_TTL = 1.5
"""Seconds."""
KILLS, RANDOM_KILLS = times(4, 60), times(8, 200)

Interruption = Callable[[Daemon], object]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A server whose locks live long."""
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as running:
        yield running
        assert "Traceback" not in running.log()


def machine(tmp_path: Path, name: str, daemon: Daemon) -> Machine:
    """A machine of the person's."""
    return Machine(tmp_path / name, daemon.url, client_id=f"{name}-0a1b2c3d", delays=())


def note(machine: Machine, *contents: str) -> None:
    """Append to the log of a machine, as the agent does."""
    for content in contents:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"ts": moment, "type": "note", "content": content}
        machine.append(PROJECT, LOG, json.dumps(entry).encode() + b"\n")


def entries(content: bytes | str | None) -> list[str]:
    """The contents of the lines of a log."""
    return [json.loads(line)["content"] for line in (content or b"").splitlines()]


def head(daemon: Daemon) -> list[str]:
    """What the server serves."""
    status, body = daemon.ask("GET", f"{PLACE}/files/{LOG}")
    assert status == 200, body
    return entries(body["content"])


def uploads(answers: list[Answer]) -> list[Answer]:
    """The answers to uploads."""
    return [answer for answer in answers if answer.method == "PUT"]


@pytest.mark.parametrize(
    ("interrupt", "holder_ends_first"),
    [
        pytest.param(Daemon.restart, True, id="restarted"),
        pytest.param(Daemon.kill_and_restart, False, id="killed"),
    ],
)
def test_both_sessions_are_kept_though_the_server_goes_between_requests(
    daemon: Daemon, tmp_path: Path, interrupt: Interruption, holder_ends_first: bool
) -> None:
    """One machine is locked out by the other; both have everything at their next session."""
    laptop, desktop = machine(tmp_path, "laptop", daemon), machine(tmp_path, "desktop", daemon)

    between = now_and_then(lambda: interrupt(daemon))
    laptop.pull(PROJECT, between)
    note(laptop, "one")
    laptop.push(PROJECT, between)
    desktop.pull(PROJECT, between)
    desktop.push(PROJECT, between)
    laptop.pull(PROJECT, between)
    *_, locked_out = desktop.pull(PROJECT, between)
    assert locked_out.status == 409
    note(laptop, "by the holder")
    note(desktop, "locked out")
    for each in (laptop, desktop) if holder_ends_first else (desktop, laptop):
        each.push(PROJECT, between)
    assert head(daemon) == ["one", "by the holder", "locked out"]
    for each in (laptop, desktop):
        each.pull(PROJECT, between)
        assert entries(each.read(PROJECT, LOG)) == ["one", "by the holder", "locked out"]
        each.push(PROJECT, between)


def test_a_lock_that_was_outlived(tmp_path: Path) -> None:
    """The session's upload is refused, kept and merged, and the reaper of a real clock is in nobody's way."""
    with Daemon(tmp_path / "server", {**NO_RATE_LIMIT, "lockTTLMinutes": SHORT_TTL / 60}) as daemon:
        laptop, desktop = machine(tmp_path, "laptop", daemon), machine(tmp_path, "desktop", daemon)
        laptop.pull(PROJECT)
        note(laptop, "a long session")
        wait_until(lambda: daemon.ask("GET", f"{PLACE}/lock")[1]["locked"] is False, within=10 * SHORT_TTL)
        [refused] = uploads(laptop.push(PROJECT))
        assert (refused.status, refused.body["rescued"]) == (403, True)
        desktop.pull(PROJECT)
        assert entries(desktop.read(PROJECT, LOG)) == ["a long session"]
        assert "Traceback" not in daemon.log()


def test_a_refused_upload_is_on_disk_before_its_answer(daemon: Daemon, tmp_path: Path) -> None:
    """Killed the moment the 403 is here, again and again: it is in history, waits, and is merged in the end."""
    content = log(7).decode()
    lines = log_lines(8)
    with StockClient(daemon.url, "holder-0a1b2c3d", delays=()) as holder:
        assert holder.acquire(PROJECT).status == 200
        assert holder.upload(PROJECT, LOG, content).status == 200
    kept: dict[int, str] = {}
    for number in range(KILLS):
        content += next(lines).decode()
        with StockClient(daemon.url, f"other-{number:08x}", delays=()) as other:
            refused = other.upload(PROJECT, LOG, content)
            daemon.kill()
        assert (refused.status, refused.body["rescued"]) == (403, True)
        kept[refused.body["version"]] = content
        daemon.start()
    for version, wanted in kept.items():
        status, body = daemon.ask("GET", f"{PLACE}/files/{LOG}/versions/{version}")
        assert (status, body["content"]) == (200, wanted)
    assert len(_overview(daemon)["waiting"]) == KILLS
    with StockClient(daemon.url, "holder-0a1b2c3d", delays=()) as holder:
        assert holder.release(PROJECT).status == 200
    assert daemon.ask("GET", f"{PLACE}/files/{LOG}")[1]["content"] == content
    assert _overview(daemon)["waiting"] == []


def test_kills_at_random_instants_lose_no_line(daemon: Daemon, tmp_path: Path) -> None:
    """Four clients upload, with the lock and without; whatever was answered 200, or kept, is in the head at last."""
    random = Random("kills")
    base = log(9)
    with StockClient(daemon.url, "client0-0a1b2c3d", delays=()) as first:
        first.acquire(PROJECT)
        assert first.upload(PROJECT, LOG, base.decode()).status == 200
        first.release(PROJECT)
    logs = [base.decode() for _ in range(4)]
    sent: set[str] = set()
    for round_number in range(RANDOM_KILLS):
        for number, client_log in enumerate(logs):
            logs[number] = client_log + _line(f"{round_number} of {number}")
        timer = threading.Timer(random.uniform(0, 0.03), daemon.kill)
        timer.start()
        for number, client_log in enumerate(logs):
            if _upload(daemon, f"client{number}-0a1b2c3d", client_log, random.random() < 0.4):
                sent |= set(entries(client_log))
        timer.join()
        daemon.start()
    for number, client_log in enumerate(logs):
        assert _upload(daemon, f"client{number}-0a1b2c3d", client_log, acquiring=True)
        sent |= set(entries(client_log))
        with StockClient(daemon.url, f"client{number}-0a1b2c3d", delays=()) as client:
            client.release(PROJECT)
    assert len(sent) >= len(entries(base)) + len(logs)
    assert sent <= set(head(daemon))


def test_two_acquires_and_a_refused_upload_at_one_instant(daemon: Daemon, tmp_path: Path) -> None:
    """Many at once on one project: each upload is accepted or rescued, and the head has all of them at the end."""
    barrier = threading.Barrier(8)
    outcomes: list[int] = []

    def session(number: int) -> None:
        with StockClient(daemon.url, f"client{number}-0a1b2c3d", delays=()) as client:
            content = ""
            for turn in range(6):
                barrier.wait()
                client.acquire(PROJECT)
                content += _line(f"{turn} of {number}")
                answer = client.upload(PROJECT, LOG, content)
                assert answer.status == 200 or answer.body["rescued"] is True, answer.raw
                outcomes.append(answer.status)
                client.release(PROJECT)

    threads = [threading.Thread(target=session, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 48
    daemon.ask("POST", f"{PLACE}/lock", headers={"X-Client-Id": "last"})
    assert set(head(daemon)) == {f"{turn} of {number}" for turn in range(6) for number in range(8)}


def _upload(daemon: Daemon, client_id: str, content: str, acquiring: bool) -> bool:
    """Whether an upload was answered, which it may not be: the server is killed now and then."""
    try:
        with StockClient(daemon.url, client_id, delays=()) as client:
            if acquiring:
                client.acquire(PROJECT)
            answer = client.upload(PROJECT, LOG, content)
    except Exception:  # noqa: BLE001 - killed in any way, at any place
        return False
    assert answer.status == 200 or answer.body["rescued"] is True, answer.raw
    return True


def _line(content: str) -> str:
    return json.dumps({"ts": "2026-03-10T09:00:00.000Z", "type": "note", "content": content}) + "\n"


def _overview(daemon: Daemon) -> dict[str, Any]:
    [project] = daemon.ask("GET", "/projects")[1]["projects"]
    found: dict[str, Any] = project
    return found
