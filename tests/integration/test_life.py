"""The server as a process: how it starts and why not, what signals do, where it listens, who can read its files."""

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
import stat
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mneme.web.slots import MAX_CONNECTIONS
from tests.daemon import Daemon, free_port, self_signed, wait_until

pytestmark = pytest.mark.integration

KEY = "alpha-key-0123456789"
BEARER = {"Authorization": f"Bearer {KEY}"}
CLIENT = {"X-Client-Id": "laptop-0a1b2c3d"}


def twistd(
    home: Path, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run twistd to its end, which must come within 10 s, with `home` as HOME and working directory."""
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
    """The one sentence with which the server does not start, in the foreground or daemonized."""
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
    """It answers on IPv4 and IPv6, and on SIGTERM it stops and removes its pid file."""
    pid, port = daemonized
    wait_until(lambda: answers(port) and answers(port, "::1"), within=10)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: gone(pid), within=10)
    assert not (tmp_path / "m.pid").exists()
    log = (tmp_path / "m.log").read_text()
    assert "GET - /health 200" in log
    assert "Stopped; all writes are finished" in log


def test_by_hand_as_the_page_says_no_pid_file_is_in_the_way(tmp_path: Path) -> None:
    """Pid files of twistd's lie there with the number of a living process; `server.lock` has the pid."""
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


def test_a_variable_in_quotes_makes_no_directory(tmp_path: Path) -> None:
    """Of that name, or of any; the sentence names the variable and no key."""
    said = refusal(tmp_path, "--port", "0", environ={"MNEME_DATA_DIR": '"/secret-secret"'})
    assert said == (
        "mneme: environment variable MNEME_DATA_DIR begins or ends with a quote: "
        "give the value itself, without quotes around it\n"
    )
    assert "--data-dir" in refusal(tmp_path, "--data-dir", "$HOME/mneme")
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_on_the_directory_is_told_the_pid_of_the_first(
    daemonized: tuple[int, int], tmp_path: Path
) -> None:
    """In one sentence, at once, and the first goes on; the pid is that of the daemon, not of its dead parent."""
    pid, port = daemonized
    where = ("--port", str(free_port()), "--data-dir", str(tmp_path / "data"))
    for daemonized_too in (False, True):
        assert f"(pid {pid})" in refusal(tmp_path, *where, daemonized=daemonized_too)
    assert answers(port)


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """It says which port, and what to do."""
    with Daemon(tmp_path / "first") as daemon:
        said = refusal(tmp_path, "--port", str(daemon.port), "--data-dir", str(tmp_path / "other"))
    assert f"Port {daemon.port} is in use" in said
    assert "--port" in said


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


def test_a_bad_configuration_is_one_sentence(tmp_path: Path) -> None:
    """With the file and the key, and never with the text of an API key; `tests/test_config.py` has all mistakes."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"apiKeys": "secret-secret-secret"}))
    said = refusal(tmp_path, "--config", str(file), "--data-dir", str(tmp_path / "d"), daemonized=True)
    assert all(part in said for part in [str(file), "apiKeys", "array of strings"]), said
    assert "secret-secret" not in said


def test_requests_under_way_are_finished_before_the_server_stops(tmp_path: Path) -> None:
    """An upload whose second half comes after SIGTERM is stored and answered; the exit status is 0."""
    with Daemon(tmp_path) as daemon:
        assert daemon.ask("POST", "/projects/demo/lock", headers=CLIENT)[0] == 200
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as client:
            client.sendall(
                b"PUT /projects/demo/files/log.jsonl HTTP/1.1\r\nHost: x\r\nX-Client-Id: laptop-0a1b2c3d\r\n"
                b"Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nfirst"
            )
            wait_until(lambda: answers(daemon.port), within=5)
            os.kill(daemon.pid, signal.SIGTERM)
            wait_until(lambda: not answers(daemon.port), within=5)
            client.sendall(b"-half")
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert daemon.terminate() == 0
        assert (daemon.projects / "demo" / "log.jsonl").read_text() == "first-half"


def test_a_request_that_never_ends_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    """Within 10 s, with exit status 0."""
    with Daemon(tmp_path) as daemon, socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.sendall(
            b"PUT /projects/demo/files/log.jsonl HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
        )
        assert daemon.terminate() == 0


def test_sighup_takes_over_new_keys_limits_and_origins(tmp_path: Path) -> None:
    """Without a restart, and at once for the next request."""
    config = {"apiKeys": [KEY], "maxBodyBytes": 1000}
    with Daemon(tmp_path, config) as daemon:
        daemon.configure(
            {
                "apiKeys": [KEY, "second-key-0123456789"],
                "allowedOrigins": ["https://a.example"],
                "lockTTLMinutes": 0.5,
            }
        )
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "was reloaded" in daemon.log(), within=5)
        second = {"Authorization": "Bearer second-key-0123456789", "Origin": "https://a.example"}
        status, headers, _ = daemon.ask_raw("GET", "/projects/demo/lock", headers=second)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://a.example")


def test_sighup_refuses_a_bad_file_and_keeps_what_it_has(tmp_path: Path) -> None:
    """Authentication is gone from it: the log says so, and the key is still asked for."""
    with Daemon(tmp_path, {"apiKeys": [KEY]}) as daemon:
        daemon.configure({"apiKeys": []})
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "the old one stays in force" in daemon.log(), within=5)
        assert daemon.ask("GET", "/projects/demo/lock")[0] == 401
        assert daemon.ask("GET", "/projects/demo/lock", headers=BEARER)[0] == 200


def test_a_closed_terminal_ends_the_server_in_it(tmp_path: Path) -> None:
    """It gets the signal that otherwise reloads."""
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


def test_without_keys_only_this_machine_is_listened_to(tmp_path: Path) -> None:
    """And the log says how to open the server to others."""
    with Daemon(tmp_path) as daemon:
        assert _listening_addresses(daemon.pid) == {"0100007F", "00000000000000000000000001000000"}
        assert '{"apiKeys": ["a long random text"]}' in daemon.log()


def test_with_keys_every_address_is_listened_to_on_ipv4_and_ipv6(tmp_path: Path) -> None:
    """`localhost` is one or the other."""
    with Daemon(tmp_path, {"apiKeys": [KEY]}) as daemon:
        assert _listening_addresses(daemon.pid) == {"0" * 32}
        assert answers(daemon.port)
        assert answers(daemon.port, "::1")


def test_a_host_that_is_one_address_is_the_only_one(tmp_path: Path) -> None:
    """IPv4 only, here."""
    with Daemon(tmp_path, {"host": "127.0.0.1"}) as daemon:
        assert answers(daemon.port)
        assert not answers(daemon.port, "::1")
        assert "beyond loopback" not in daemon.log()
        status, body = daemon.ask("GET", "/projects", headers={"Host": "evil.example"})
        assert (status, "apiKeys" in body["error"]) == (403, True)


def _listening_addresses(pid: int) -> set[str]:
    """The local addresses, in the kernel's hex, of the sockets on which a process listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(entry.readlink()).removeprefix("socket:[").rstrip("]"))
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@contextlib.contextmanager
def listening_at(home: Path, *endpoints: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground that listens at endpoints; killed at the end, if it still runs."""
    listen = [part for endpoint in endpoints for part in ("--listen", endpoint)]
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "twistd"), "--pidfile=", "-n", "mneme"),
            *("--data-dir", str(home / "data"), *listen),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(home)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answers_securely(port: int, certificate: Path) -> bool:
    """Whether a server answers there over TLS with that certificate."""
    trusting = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("localhost", port, timeout=5, context=trusting)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_endpoints_may_be_a_socket_in_the_file_system_and_tls(tmp_path: Path) -> None:
    """Both at once, each with a whole answer."""
    certificate = self_signed(tmp_path)
    port, path = free_port(), tmp_path / "m.sock"
    secure = f"ssl:{port}:privateKey={certificate}:interface=127.0.0.1"
    with listening_at(tmp_path, f"unix:{path}", secure) as process:
        wait_until(path.exists, within=10)
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(5)
            plain.connect(str(path))
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert plain.recv(4096).startswith(b"HTTP/1.1 200")
        assert answers_securely(port, certificate)
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_connections_too_many_are_closed_over_tls_too(tmp_path: Path) -> None:
    """Those that never say a word give way to who does."""
    certificate, port = self_signed(tmp_path), free_port()
    with listening_at(tmp_path, f"ssl:{port}:privateKey={certificate}:interface=127.0.0.1"):
        wait_until(lambda: answers_securely(port, certificate), within=10)
        with contextlib.ExitStack() as silent:
            for _ in range(MAX_CONNECTIONS):
                silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            assert answers_securely(port, certificate)


def test_requests_at_once_are_all_answered_over_tls_too(tmp_path: Path) -> None:
    """In turns, as they are without it."""
    certificate, port = self_signed(tmp_path), free_port()
    with listening_at(tmp_path, f"ssl:{port}:privateKey={certificate}:interface=127.0.0.1"):
        wait_until(lambda: answers_securely(port, certificate), within=10)
        trusting = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            trusting.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
            connection.sendall((request + b"\r\n") * 499 + request + b"Connection: close\r\n\r\n")
            answers = b""
            while received := connection.recv(65_536):
                answers += received
        assert answers.count(b"HTTP/1.1 200 ") == 500


def test_directories_and_files_are_closed_to_other_users(tmp_path: Path) -> None:
    """Whatever the umask, and also what was there with wider permissions."""
    old = tmp_path / "data" / "projects" / "old"
    old.mkdir(parents=True, mode=0o755)
    (old / "log.jsonl").write_text("{}\n")
    (old / "log.jsonl").chmod(0o644)
    before = os.umask(0)
    try:
        with Daemon(tmp_path, {"apiKeys": [KEY]}) as daemon:
            daemon.ask("POST", "/projects/a%2Fb/lock", headers=CLIENT | BEARER)
            body = json.dumps({"content": "x"}).encode()
            daemon.ask("PUT", "/projects/a%2Fb/files/log.jsonl", headers=CLIENT | BEARER, body=body)
            assert daemon.ask("GET", "/projects/old/files", headers=BEARER)[0] == 200
            wait_until(lambda: len(list(daemon.projects.rglob("log.jsonl"))) == 2, within=10)
            modes = {
                p: stat.S_IMODE(p.lstat().st_mode) for p in [daemon.data_dir, *daemon.data_dir.rglob("*")]
            }
    finally:
        os.umask(before)
    assert len(modes) >= 12
    assert {p: m for p, m in modes.items() if m != (0o700 if p.is_dir() else 0o600)} == {}


def test_nothing_of_a_key_is_in_the_log(tmp_path: Path) -> None:
    """Not after good requests, bad ones, malformed ones and a reload."""
    with Daemon(tmp_path, {"apiKeys": [KEY]}) as daemon:
        daemon.ask("GET", "/projects/demo/lock", headers=BEARER)
        daemon.ask("GET", "/projects/demo/lock", headers={"Authorization": f"Bearer {KEY}x"})
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=5) as client:
            client.sendall(f"GET / HTTP/1.1\r\nAuthorization {KEY}\r\n\r\n".encode())
            client.recv(4096)
        daemon.configure({"apiKeys": [KEY], "port": KEY})
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda: "the old one stays in force" in daemon.log(), within=5)
        assert KEY not in daemon.log()


def test_two_acquires_at_one_instant_have_one_winner(tmp_path: Path) -> None:
    """Twenty machines at once, in ten rounds: one is granted, and the others are told who it is."""
    with Daemon(tmp_path, {"rateLimitPerMinute": 0}) as daemon:
        for number in range(10):
            assert sorted(_acquire_at_once(daemon, f"p{number}", 20)) == [200] + [409] * 19


def _acquire_at_once(daemon: Daemon, project: str, machines: int) -> list[int]:
    """The statuses that so many machines get which acquire the lock of a project at one instant."""
    statuses: list[int] = []
    start = threading.Barrier(machines)

    def acquire(name: str) -> None:
        start.wait(timeout=10)
        statuses.append(daemon.ask("POST", f"/projects/{project}/lock", headers={"X-Client-Id": name})[0])

    threads = [threading.Thread(target=acquire, args=(f"machine-{n}",)) for n in range(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return statuses
