"""The real server, started as by a user: `twistd mneme` in a process."""

from __future__ import annotations

import errno
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

START_WITHIN = 60.0
STOP_WITHIN = 10.0
PATIENCE = 4.0
"""How many times longer than on an idle machine a test waits: others run beside it."""


class DidNotStart(Exception):
    """The server ended, or did not answer in time; the message carries its log."""


class Daemon(AbstractContextManager["Daemon"]):
    """A server on a data directory and a port that stay the same.

    `home` becomes the HOME of the process and holds the configuration, the log and, unless `data_dir` says otherwise,
    the data. `config` is what is written to the configuration file. Entering the context starts the server; leaving it
    kills the server, whatever happened. `open_files` is how many files it may have open, and no more.
    """

    def __init__(
        self,
        home: Path,
        config: Mapping[str, object] | None = None,
        *,
        port: int | None = None,
        data_dir: Path | None = None,
        arguments: Sequence[str] = (),
        open_files: int | None = None,
    ) -> None:
        self.home = home
        self.data_dir = data_dir if data_dir is not None else home / "data"
        self.port = port if port is not None else free_port()
        self._config_file = home / "config.json"
        self._log_file = home / "twistd.log"
        self._arguments = tuple(arguments)
        self._open_files = open_files
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        self.configure(config if config is not None else {})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    @property
    def projects(self) -> Path:
        """The directory that holds a directory for every project."""
        return self.data_dir / "projects"

    def configure(self, config: Mapping[str, object]) -> None:
        """Write the configuration file, which the next start reads."""
        self._config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        assert self._process is None, "the server runs already"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MNEME_")}
        environment["HOME"] = str(self.home)
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env=environment,
            )
        try:
            wait_until(self._answers, within=START_WITHIN / PATIENCE, every=0.005)
        except TimeoutError as error:
            self.kill()
            raise DidNotStart(f"no answer within {START_WITHIN} s\n{self.log()}") from error

    def terminate(self) -> int:
        """Send SIGTERM, wait for the end, kill after 10 s; the exit status."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"SIGTERM did not end the server in {STOP_WITHIN} s\n{self.log()}") from error
        finally:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL, if the server runs, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> int:
        """Stop the server in order, and start it again; the exit status."""
        status = self.terminate()
        self.start()
        return status

    def kill_and_restart(self) -> None:
        """Kill the server and start it again on the same data and port."""
        self.kill()
        self.start()

    def runs(self) -> bool:
        """Whether the process that was started is still there."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """All that the server has written to its standard streams, over all its runs."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def peak_rss_bytes(self) -> int:
        """The most memory that the server ever occupied since its start."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """A request as `ask_raw` makes it: status and JSON body, if any."""
        status, _, raw = self.ask_raw(method, path, **options)
        return status, json.loads(raw) if raw else None

    def ask_raw(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 10.0,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """A request on a connection of its own: status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def _command(self) -> list[str]:
        twistd = Path(sys.executable).parent / "twistd"
        limit = ["sh", "-c", f'ulimit -n {self._open_files}; exec "$@"', "sh"] if self._open_files else []
        return [
            *limit,
            *(str(twistd), "--pidfile", str(self.home / "twistd.pid"), "-n"),
            *("mneme", "--port", str(self.port), "--data-dir", str(self.data_dir)),
            *("--config", str(self._config_file), *self._arguments),
        ]

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def _answers(self) -> bool:
        status = self._running().poll()
        if status is not None:
            self._process = None
            raise DidNotStart(f"the server ended with status {status}\n{self.log()}")
        try:
            return self.ask("GET", "/health", timeout=1.0)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def wait_until(
    condition: Callable[[], bool],
    *,
    within: float,
    every: float = 0.01,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Poll until the condition holds; TimeoutError if it does not in time."""
    end = clock() + within * PATIENCE
    while not condition():
        if clock() > end:
            raise TimeoutError(f"not within {within * PATIENCE} s")
        time.sleep(every)


def free_port() -> int:
    """A free port of IPv4 and IPv6 that no other test gets.

    It lies below the range from which the kernel takes the ports of outgoing connections: nobody's connection can sit
    on it while the server is down, and no client can connect to itself. Each process of pytest-xdist has its own ports.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    for port in random.SystemRandom().sample(range(12_000 + worker, 32_000, _WORKERS), 1000):
        if port not in _GIVEN and _is_free(port):
            _GIVEN.add(port)
            return port
    raise OSError("no free port found")


_WORKERS = 16
_GIVEN: set[int] = set()


def _is_free(port: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    return False
    return True


def self_signed(directory: Path) -> Path:
    """A key and a certificate of its own for `localhost`, in one file."""
    file = directory / "server.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost".split()
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return file
