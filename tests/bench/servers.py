"""Servers to measure: this one, that of another revision, and plain Node servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from attrs import Factory, frozen

from tests.bench.processes import NotMeasured, last_line, running
from tests.bench.revisions import HERE
from tests.daemon import free_port, wait_until
from tests.stock_client import AnswerTooLarge, NoAnswer, StockClient

START_WITHIN = 30.0
THIS = "this"


@frozen
class Running:
    """A server that answers, its first process, and the seconds that its start took."""

    label: str
    url: str
    directory: Path
    pid: int
    started_in: float


@frozen
class Server:
    """A server that a command starts, in whose words `{port}` and `{directory}` are filled in.

    `files` are written into its directory before.
    """

    label: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = Factory(dict)
    files: Mapping[str, str] = Factory(dict)

    @contextmanager
    def running(self, directory: Path, within: float = START_WITHIN) -> Iterator[Running]:
        """The server, with its data in the directory, from its first answer on."""
        for name, content in self.files.items():
            (directory / name).write_text(content, encoding="utf-8")
        port, log = free_port(), directory.with_name(f"{directory.name}.log")

        def fill(text: str) -> str:
            return text.replace("{port}", str(port)).replace("{directory}", str(directory))

        environment = {name: value for name, value in os.environ.items() if not _is_disturbing(name)}
        environment |= {name: fill(value) for name, value in self.environment.items()}
        url, began = f"http://127.0.0.1:{port}", time.monotonic()
        command = [fill(word) for word in self.words]
        with (
            log.open("wb") as output,
            running(command, output, cwd=directory, environment=environment) as process,
        ):
            self._wait(process, url, log, within)
            yield Running(self.label, url, directory, process.pid, time.monotonic() - began)

    def _wait(self, process: subprocess.Popen[bytes], url: str, log: Path, within: float) -> None:
        try:
            wait_until(lambda: process.poll() is not None or _answers(url), within=within, every=0.002)
        except TimeoutError as error:
            raise NotMeasured(f"The server {self.label!r} gave no answer within {within:g} s") from error
        if process.poll() is not None:
            said = last_line(log.read_bytes())
            raise NotMeasured(f"The server {self.label!r} ended before it answered; it said: {said}")


def mneme(label: str, tree: Path = HERE) -> Server:
    """This server as a user starts it, or that of another tree."""
    twistd = Path(sys.executable).parent / "twistd"
    options = "--port {port} --data-dir {directory} --config {directory}/config.json"
    return Server(
        label,
        (str(twistd), "--nodaemon", "--pidfile=", "mneme", *options.split()),
        {"HOME": "{directory}", "PYTHONPATH": str(tree)},
        {"config.json": json.dumps({"rateLimitPerMinute": 0})},
    )


def plain_node(*options: str) -> Server:
    """The plain Node server; with `--durable` it syncs before it answers."""
    program = str(Path(__file__).with_name("plain_server.mjs"))
    return Server(
        "durable node" if options else "plain node", ("node", program, "{port}", "{directory}", *options)
    )


def _answers(url: str) -> bool:
    try:
        with StockClient(url, "machine-waiting", delays=(), timeout=1.0) as client:
            return client.health().status == HTTPStatus.OK
    except (NoAnswer, AnswerTooLarge):
        return False


def _is_disturbing(name: str) -> bool:
    """Whether a variable of the environment would make a server other than users have it.

    Without its cache of bytecode, Python compiles everything at each start.
    """
    return name.startswith("MNEME_") or name == "PYTHONDONTWRITEBYTECODE"
