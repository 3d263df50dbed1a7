"""Crowds: many connections, uploads and downloads at once, in bounded time and memory."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from tests.daemon import Daemon, wait_until
from tests.integration import wire
from tests.integration.wire import LIMIT, NAME, NO_RATE_LIMIT
from tests.plugin_files import log, memory
from tests.stock_client import Machine, TcpConnection, envelope

pytestmark = pytest.mark.integration

MEMORY_BOUND = 850_000_000


@pytest.mark.alone
@pytest.mark.parametrize("addresses", [1, 10])
def test_500_slow_connections_keep_nobody_out(daemon: Daemon, tmp_path: Path, addresses: int) -> None:
    """Half a request each, a byte now and then: a session from elsewhere is quick."""
    project = f"slow-{addresses}"
    with ExitStack() as crowd:
        slow = [
            crowd.enter_context(_from(daemon, f"127.0.1.{number % addresses + 1}")) for number in range(500)
        ]
        for one in slow:
            with suppress(OSError):
                one.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        crowd.callback(_trickle(slow))
        laptop = Machine(
            tmp_path / "ana-laptop",
            daemon.url,
            delays=(),
            connect=partial(TcpConnection, "127.0.0.1", daemon.port, 10.0, "127.0.0.2"),
        )
        moments = [time.monotonic()]
        answers = laptop.pull(project, lambda: moments.append(time.monotonic()))
        for name, content in memory(5).items():
            laptop.write(project, name, content)
        moments.append(time.monotonic())
        answers += laptop.push(project, lambda: moments.append(time.monotonic()))
        assert {answer.status for answer in answers} == {200}
        assert len(answers) >= 10
        assert max(after - before for before, after in pairwise(moments)) < 1


@pytest.mark.alone
def test_a_flood_of_requests_makes_nobody_wait_and_fills_no_log(tmp_path: Path) -> None:
    """Twenty connections send 3,000 requests each; another's request is answered soon."""
    with Daemon(tmp_path) as daemon, ExitStack() as crowd, ThreadPoolExecutor(20) as pool:
        flood = [crowd.enter_context(_from(daemon, "127.0.0.2")) for _ in range(20)]

        def pour(one: socket.socket) -> None:
            with suppress(OSError):
                one.settimeout(3)
                one.sendall(b"OPTIONS / HTTP/1.1\r\n\r\n" * 3000)

        pouring = [pool.submit(pour, one) for one in flood]
        longest = 0.0
        for _ in range(50):
            began = time.monotonic()
            assert daemon.ask("GET", "/health")[0] == 200
            longest = max(longest, time.monotonic() - began)
        assert longest < 0.5
        for one in pouring:
            one.result()
        assert len(daemon.log()) < 1_000_000


def test_a_server_that_may_open_few_files_answers_beside_a_hundred_idle_connections(tmp_path: Path) -> None:
    """The log says so, the disk has files left, and idle connections give way."""
    with ExitStack() as open_ones, Daemon(tmp_path, open_files=64) as daemon:
        assert "At most 32 connections" in daemon.log()
        for _ in range(100):
            open_ones.enter_context(wire.connect(daemon))
        # A busy machine may accept all at one go, before any has given way; then some are reset, ours perhaps.
        wait_until(lambda: _answers(daemon), within=5)
        laptop = Machine(tmp_path / "ana-laptop", daemon.url, delays=())
        for name, content in memory(3).items():
            laptop.write("crowded", name, content)
        answers = laptop.pull("crowded") + laptop.push("crowded")
        assert {answer.status for answer in answers} == {200}
        assert laptop.memory("crowded") == memory(3)
        assert "Traceback" not in daemon.log()


def test_a_thousand_connections_one_after_the_other_leave_nothing(daemon: Daemon) -> None:
    """Connections that come and go, answered or not, leave no open file behind."""
    wire.wait_until_alone(daemon)
    before = _open_files(daemon)
    for number in range(1000):
        with wire.connect(daemon) as connection:
            connection.sendall(wire.head("GET", "/health")[: number % 60 + 1])
            wire.hang_up(connection, reset=number % 2 == 0)
    wire.wait_until_alone(daemon)
    assert daemon.ask("GET", "/health")[0] == 200
    wait_until(lambda: _open_files(daemon) <= before + 5, within=10)


def test_32_uploads_of_10_mb_at_once_are_all_answered_in_bounded_memory(tmp_path: Path) -> None:
    """The server's memory stays under `MEMORY_BOUND`."""
    projects = [f"large-{number}" for number in range(32)]
    content = log(8, 9_200_000).decode("utf-8")
    body = envelope(content)
    assert 9_200_000 < len(body) <= LIMIT
    assert "🧠" in content
    with Daemon(tmp_path, NO_RATE_LIMIT) as daemon:
        with wire.client(daemon) as client:
            for project in projects:
                assert client.acquire(project).status == 200

        all_but_sent = Barrier(len(projects), timeout=60)

        def upload(project: str) -> int:
            request = wire.upload(body, project=project)
            with wire.connect(daemon, timeout=60) as connection:
                connection.sendall(request[:-100])
                all_but_sent.wait()
                connection.sendall(request[-100:])
                answer = wire.read(connection)
            return answer.status if answer is not None else 0

        with ThreadPoolExecutor(len(projects)) as pool:
            statuses = list(pool.map(upload, projects))
        assert statuses == [200] * len(projects)
        assert daemon.peak_rss_bytes() < MEMORY_BOUND
        for project in projects:
            status, answer = daemon.ask("GET", f"/projects/{project}/files/{NAME}")
            assert status == 200
            assert answer["content"] == content, project
        assert daemon.peak_rss_bytes() < MEMORY_BOUND
        assert "Traceback" not in daemon.log()


def test_downloads_that_nobody_reads_stay_within_bounded_memory(tmp_path: Path) -> None:
    """The server holds some of 64 answers of 9 MB, and turns others away."""
    with Daemon(tmp_path, {"rateLimitPerMinute": 0}) as daemon:
        assert daemon.ask("POST", "/projects/demo/lock", headers={"X-Client-Id": "laptop"})[0] == 200
        headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain"}
        path = "/projects/demo/files/log.jsonl"
        assert daemon.ask("PUT", path, headers=headers, body=b"x" * 9_200_000)[0] == 200
        with ExitStack() as connections:
            for _ in range(64):
                client = connections.enter_context(
                    socket.create_connection(("127.0.0.1", daemon.port), timeout=10)
                )
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: daemon.log().count("GET demo files/log.jsonl") == 64, within=30)
            assert daemon.ask("GET", "/health")[0] == 200
            assert daemon.peak_rss_bytes() < MEMORY_BOUND
        wait_until(lambda: daemon.ask("GET", path)[0] == 200, within=10)


def _answers(daemon: Daemon) -> bool:
    try:
        return daemon.ask("GET", "/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _from(daemon: Daemon, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), 10, (source, 0))


def _trickle(slow: list[socket.socket]) -> Callable[[], None]:
    """Send bytes on these connections until the returned function is called."""
    over = Event()

    def send() -> None:
        while not over.wait(0.2):
            for one in slow:
                with suppress(OSError):
                    one.sendall(b"x")

    sending = Thread(target=send)
    sending.start()

    def end() -> None:
        over.set()
        sending.join()

    return end


def _open_files(daemon: Daemon) -> int:
    return sum(1 for _ in Path(f"/proc/{daemon.pid}/fd").iterdir())
