"""Machines with the stock client, and a real server that comes and goes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon import Daemon, wait_until
from tests.often import now_and_then
from tests.plugin_files import log_lines, memory
from tests.stock_client import FILE_NAMES, Answer, Machine, StockClient, items_in

pytestmark = pytest.mark.integration

LOG = "log.jsonl"
KEY = "alpha-key-0123456789"
MACHINES = 8


def machine(home: Path, daemon: Daemon, key: str | None = None) -> Machine:
    """A machine of the person's."""
    return Machine(home, daemon.url, key, client_id=f"{home.name}-0a1b2c3d", delays=())


def head(daemon: Daemon, project: str) -> list[str]:
    """The items of the log that the server serves."""
    status, body = daemon.ask("GET", f"/projects/{project}/files/{LOG}")
    assert status == 200, body
    return items_in(LOG, body["content"])


def transferred(answers: list[Answer], method: str) -> list[str]:
    """Names of the files that were sent or fetched; all answers must be 200."""
    assert {answer.status for answer in answers} == {200}, answers
    paths = [one.path for one in answers if one.method == method and "/files/" in one.path]
    return [path.rpartition("/")[2] for path in paths]


@pytest.mark.parametrize(
    ("config", "project", "interrupt"),
    [
        pytest.param({}, "org/repo", Daemon.restart, id="restart-slash"),
        pytest.param(
            {"apiKeys": ["beta-key-0123456789", KEY]},
            "μνήμη 記憶 (1)",
            Daemon.kill_and_restart,
            id="kill-other-script",
        ),
    ],
)
def test_memory_travels_though_the_server_goes_between_requests(
    tmp_path: Path, config: Mapping[str, object], project: str, interrupt: Callable[[Daemon], object]
) -> None:
    """Sessions in turn on two machines: each gets what the other wrote, byte for byte."""
    with Daemon(tmp_path / "server", config) as daemon:
        laptop, desktop = (machine(tmp_path / name, daemon, KEY) for name in ("laptop", "desktop"))
        between = now_and_then(lambda: interrupt(daemon))
        laptop.pull(project, between)
        for name, content in memory(11).items():
            laptop.write(project, name, content)
        assert transferred(laptop.push(project, between), "PUT") == list(FILE_NAMES)
        assert transferred(desktop.pull(project, between), "GET") == list(FILE_NAMES)
        assert desktop.memory(project) == memory(11)
        desktop.append(project, LOG, b"".join(next(lines) for lines in [log_lines(12)] * 40))
        desktop.remember(project, "a fact")
        assert {LOG, "remembered.json"} <= set(transferred(desktop.push(project, between), "PUT"))
        assert {LOG, "remembered.json"} <= set(transferred(laptop.pull(project, between), "GET"))
        assert laptop.memory(project) == desktop.memory(project) != memory(11)
        assert "Traceback" not in daemon.log()


def test_the_session_of_a_lock_that_expired_is_kept_and_merged(tmp_path: Path) -> None:
    """By a real clock, by which the lock is reaped."""
    with Daemon(tmp_path / "server", {"lockTTLMinutes": 1.5 / 60}) as daemon:
        laptop, desktop = machine(tmp_path / "laptop", daemon), machine(tmp_path / "desktop", daemon)
        laptop.pull("app")
        laptop.note("app", "a long session")
        wait_until(lambda: daemon.ask("GET", "/projects/app/lock")[1]["locked"] is False, within=15)
        [refused] = [answer for answer in laptop.push("app") if answer.method == "PUT"]
        assert (refused.status, refused.body["rescued"]) == (403, True)
        desktop.pull("app")
        assert desktop.items("app", LOG) == ["a long session"]
        assert "Traceback" not in daemon.log()


def test_uploads_at_one_instant_are_all_in_the_head_at_the_end(daemon: Daemon, project: str) -> None:
    """Each is accepted or kept, whoever holds the lock."""
    barrier = threading.Barrier(MACHINES, timeout=10)

    def session(number: int) -> None:
        with StockClient(daemon.url, f"client{number}-0a1b2c3d", delays=()) as client:
            content = ""
            for turn in range(6):
                barrier.wait()
                client.acquire(project)
                entry = {"ts": "2026-03-10T09:00:00.000Z", "content": f"{turn} of {number}"}
                content += json.dumps(entry) + "\n"
                answer = client.upload(project, LOG, content)
                assert answer.status == 200 or answer.body["rescued"] is True, answer.raw
                client.release(project)

    with ThreadPoolExecutor(MACHINES) as pool:
        list(pool.map(session, range(MACHINES)))
    daemon.ask("POST", f"/projects/{project}/lock", headers={"X-Client-Id": "last"})
    assert set(head(daemon, project)) == {
        f"{turn} of {number}" for turn in range(6) for number in range(MACHINES)
    }
