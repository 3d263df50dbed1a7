"""The server as a process: starts, signals, sockets, and the modes of its files."""

import contextlib
import fcntl
import http.client
import json
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from mneme.web.slots import MAX_CONNECTIONS
from tests.daemon import Daemon, free_port, self_signed, wait_until

pytestmark = pytest.mark.integration

KEY = "alpha-key-0123456789"
BEARER = {"Authorization": f"Bearer {KEY}"}
PORT_OVER_TLS = free_port()
CLIENT = {"X-Client-Id": "laptop-0a1b2c3d"}


def twistd(
    home: Path, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run twistd to its end, within 10 s, with `home` as HOME and working directory."""
    command = [str(Path(sys.executable).parent / "twistd"), *arguments]
    own = {name: value for name, value in os.environ.items() if not name.startswith("MNEME_")}
    return subprocess.run(
        command,
        cwd=home,
        env=own | {"HOME": str(home)} | (environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


def refusal(
    home: Path, *arguments: str, environ: dict[str, str] | None = None, daemonized: bool = False
) -> str:
    """The sentence with which the server does not start, in the foreground or daemonized."""
    how = ("--pidfile=own.pid", "--logfile=own.log") if daemonized else ("--pidfile=", "-n")
    ended = twistd(home, *how, "mneme", *arguments, environ=environ)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("mneme: ")
    assert "Traceback" not in ended.stderr + ended.stdout
    assert not (home / "own.pid").exists()
    return ended.stderr


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server answers there."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@pytest.fixture
def daemonized(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A server that twistd has daemonized: its pid and its port."""
    port = free_port()
    files = ("--pidfile", str(tmp_path / "m.pid"), "--logfile", str(tmp_path / "m.log"))
    started = twistd(tmp_path, *files, "mneme", "--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pid = int((tmp_path / "m.pid").read_text())
    yield pid, port
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    """Whether a process that is not our child has ended; a zombie has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_daemonized_server_serves_logs_and_leaves_no_pid_file(
    daemonized: tuple[int, int], tmp_path: Path
) -> None:
    """Answers come on IPv4 and IPv6; SIGTERM ends the server and removes its pid file."""
    pid, port = daemonized
    wait_until(lambda: answers(port) and answers(port, "::1"), within=10)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: gone(pid), within=10)
    assert not (tmp_path / "m.pid").exists()
    log = (tmp_path / "m.log").read_text()
    assert "GET - /health 200" in log
    assert "Stopped; all writes are finished" in log


def test_by_hand_as_the_page_says_no_pid_file_is_in_the_way(tmp_path: Path) -> None:
    """Pid files with the number of a living process lie there."""
    readme = Path(__file__).parent.parent.parent.joinpath("docs", "server.md").read_text()
    start, stop = re.findall(r"```sh\n(.+)\n```", readme.partition("**By hand**")[2])[:2]
    data = tmp_path / ".mneme-server"
    data.mkdir()
    port = free_port()
    (data / "config.json").write_text(json.dumps({"port": port}))
    for left in (tmp_path / "twistd.pid", data / "twistd.pid"):
        left.write_text(str(os.getpid()))

    def shell(command: str) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("MNEME_")}
        here = command.replace(".venv/bin", str(Path(sys.executable).parent))
        subprocess.run(["sh", "-c", here], cwd=tmp_path, env=own | {"HOME": str(tmp_path)}, check=True)

    shell(start)
    pid = int((data / "server.lock").read_text())
    try:
        wait_until(lambda: answers(port), within=10)
        assert (
            f"its data is in {data}, its settings in {data / 'config.json'}"
            in (data / "twistd.log").read_text()
        )
        shell(stop)
        wait_until(lambda: gone(pid), within=10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert (data / "server.lock").read_text() == ""
    assert "Stopped; all writes are finished" in (data / "twistd.log").read_text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_of_a_daemon_that_somebody_truncates_or_moves_goes_on(tmp_path: Path, form: str) -> None:
    """As logrotate does, with copytruncate and without: no hole of NULs, and a new file."""
    log, port = tmp_path / "m.log", free_port()
    files = ("--pidfile=", "--logfile", str(log), "mneme", "--log-format", form)
    twistd(tmp_path, *files, "--port", str(port), "--data-dir", str(tmp_path / "data"))
    pid = int((tmp_path / "data" / "server.lock").read_text())
    try:
        wait_until(lambda: answers(port), within=10)
        os.truncate(log, 0)
        assert answers(port)
        wait_until(lambda: "/health" in log.read_text(), within=10)
        assert b"\0" not in log.read_bytes()
        moved = log.rename(tmp_path / "moved.log")
        os.kill(pid, signal.SIGUSR1)
        wait_until(log.exists, within=10)
        before = moved.read_bytes()
        assert answers(port)
        wait_until(lambda: "/health" in log.read_text(), within=10)
        assert moved.read_bytes() == before
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: gone(pid), within=10)


def test_a_second_server_on_the_directory_is_told_the_pid_of_the_first(
    daemonized: tuple[int, int], tmp_path: Path
) -> None:
    """The pid is that of the daemon, not of its dead parent."""
    pid, port = daemonized
    where = ("--port", str(free_port()), "--data-dir", str(tmp_path / "data"))
    for daemonized_too in (False, True):
        assert f"(pid {pid})" in refusal(tmp_path, *where, daemonized=daemonized_too)
    assert answers(port)


def test_an_endpoint_in_use_ends_the_server_with_a_sentence_and_without_a_pid_file(tmp_path: Path) -> None:
    """This shows only once twistd is under way."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1", "--data-dir", str(tmp_path / "d"))
        ended = twistd(tmp_path, "--pidfile=own.pid", "-n", "mneme", *listen)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "in use" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not (tmp_path / "own.pid").exists()


def test_requests_under_way_are_finished_before_the_server_stops(tmp_path: Path) -> None:
    """Uploads that go on after SIGTERM are stored; endless requests keep nothing up."""
    with Daemon(tmp_path) as daemon:
        assert daemon.ask("POST", "/projects/demo/lock", headers=CLIENT)[0] == 200
        at = ("127.0.0.1", daemon.port)
        upload = (
            b"PUT /projects/demo/files/log.jsonl HTTP/1.1\r\nHost: x\r\nX-Client-Id: laptop-0a1b2c3d\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 10\r\n\r\n"
        )
        with socket.create_connection(at) as endless, socket.create_connection(at, timeout=10) as client:
            endless.sendall(upload)
            client.sendall(upload + b"first")
            wait_until(lambda: answers(daemon.port), within=5)
            os.kill(daemon.pid, signal.SIGTERM)
            wait_until(lambda: not answers(daemon.port), within=5)
            client.sendall(b"-half")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            assert daemon.terminate() == 0
        assert (daemon.projects / "demo" / "log.jsonl").read_text() == "first-half"


def test_sighup_takes_over_a_good_configuration_and_no_bad_one(tmp_path: Path) -> None:
    """The next request counts; a bad file is refused, and no key is logged."""
    with Daemon(tmp_path, {"apiKeys": [KEY], "maxBodyBytes": 1000}) as daemon:
        second = "second-key-0123456789"
        daemon.configure({"apiKeys": [KEY, second], "allowedOrigins": ["https://a.example"]})
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "was reloaded" in daemon.log(), within=5)
        asking = {"Authorization": f"Bearer {second}", "Origin": "https://a.example"}
        status, headers, _ = daemon.ask_raw("GET", "/projects/demo/lock", headers=asking)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://a.example")
        daemon.configure({"apiKeys": [], "port": KEY})
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "the old one stays in force" in daemon.log(), within=5)
        assert daemon.ask("GET", "/projects/demo/lock")[0] == 401
        assert daemon.ask("GET", "/projects/demo/lock", headers=BEARER)[0] == 200
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=5) as client:
            client.sendall(f"GET / HTTP/1.1\r\nAuthorization {KEY}\r\n\r\n".encode())
            client.recv(4096)
        assert KEY not in daemon.log()
        assert second not in daemon.log()


def test_a_closed_terminal_ends_the_server_in_it(tmp_path: Path) -> None:
    """The signal is that which otherwise reloads."""
    master, slave = pty.openpty()
    command = [
        str(Path(sys.executable).parent / "twistd"),
        "--pidfile=",
        "-n",
        "mneme",
        "-p",
        str(port := free_port()),
    ]
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path / "data")],
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(0),  # noqa: PLW1509 - no thread is running yet
        env=os.environ | {"HOME": str(tmp_path)},
    )
    os.close(slave)
    try:
        wait_until(lambda: answers(port), within=10)
        os.close(master)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()


def _take_terminal(descriptor: int) -> None:
    """Make the terminal at `descriptor` the controlling one of this process."""
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Home of a server at a socket file, and over TLS at `PORT_OVER_TLS`."""
    home = tmp_path_factory.mktemp("secure")
    secure = f"ssl:{PORT_OVER_TLS}:privateKey={self_signed(home)}:interface=127.0.0.1"
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "twistd"), "--pidfile=", "-n", "mneme"),
            *("--data-dir", str(home / "data"), "--listen", f"unix:{home / 'm.sock'}", "--listen", secure),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(home)},
    )
    try:
        wait_until((home / "m.sock").exists, within=10)
        yield home
        process.terminate()
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()


def connect_securely(home: Path) -> ssl.SSLSocket:
    """A connection to that server over TLS."""
    trusting = ssl.create_default_context(cafile=str(home / "server.pem"))
    plain = socket.create_connection(("127.0.0.1", PORT_OVER_TLS), timeout=10)
    return trusting.wrap_socket(plain, server_hostname="localhost")


def statuses(connection: socket.socket, count: int = 1) -> int:
    """Ask for the health so many times at once; the number of 200s."""
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    connection.sendall((request + b"\r\n") * (count - 1) + request + b"Connection: close\r\n\r\n")
    return b"".join(iter(lambda: connection.recv(65_536), b"")).count(b"HTTP/1.1 200 ")


def test_a_socket_in_the_file_system_is_listened_to(secure: Path) -> None:
    """Beside another endpoint."""
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(5)
        plain.connect(str(secure / "m.sock"))
        assert statuses(plain) == 1


def test_connections_too_many_are_closed_over_tls_too(secure: Path) -> None:
    """Those that never say a word give way to who does."""
    with contextlib.ExitStack() as silent:
        for _ in range(MAX_CONNECTIONS):
            silent.enter_context(socket.create_connection(("127.0.0.1", PORT_OVER_TLS), timeout=5))
        with connect_securely(secure) as connection:
            assert statuses(connection) == 1


def test_requests_at_once_are_all_answered_over_tls_too(secure: Path) -> None:
    """In turns, as they are without it."""
    with connect_securely(secure) as connection:
        assert statuses(connection, 500) == 500
