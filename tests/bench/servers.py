"""The servers that are measured: those that are started for it, and those that run already."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from attrs import Factory, frozen

from tests.bench.errors import NotMeasured
from tests.bench.processes import running
from tests.bench.revisions import HERE
from tests.daemon import free_port, wait_until
from tests.stock_client import AnswerTooLarge, NoAnswer, StockClient

START_WITHIN = 30.0
THIS = "this"


@frozen
class Running:
    """A server that answers. `pid` is that of its first process, None if somebody else has started it."""

    label: str
    url: str
    directory: Path | None
    pid: int | None
    started_in: float


class Server(Protocol):
    """A server that can be measured."""

    @property
    def label(self) -> str:
        """What it is called in the tables."""
        ...

    @property
    def ours(self) -> bool:
        """Whether it is started here, on a directory of its own."""
        ...

    def running(self, directory: Path, within: float = START_WITHIN) -> AbstractContextManager[Running]:
        """The server, with its data in the directory, from its first answer on. `NotMeasured` if there is none."""
        ...


@frozen
class Started:
    """A server that a command starts, in whose words `{port}` and `{directory}` are filled in.

    `files` are written into its directory before. It runs in `cwd`, or else in its directory.
    """

    label: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = Factory(dict)
    files: Mapping[str, str] = Factory(dict)
    cwd: Path | None = None
    ours: bool = True

    @contextmanager
    def running(self, directory: Path, within: float = START_WITHIN) -> Iterator[Running]:
        """See `Server`."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (directory / name).write_text(content, encoding="utf-8")
        port, log = free_port(), directory.with_name(f"{directory.name}.log")

        def filled(text: str) -> str:
            return text.replace("{port}", str(port)).replace("{directory}", str(directory))

        environment = {name: value for name, value in os.environ.items() if not _is_disturbing(name)}
        environment |= {name: filled(value) for name, value in self.environment.items()}
        url, began = f"http://127.0.0.1:{port}", time.monotonic()
        with (
            log.open("wb") as output,
            running(
                [filled(word) for word in self.words],
                stdout=output,
                stderr=output,
                cwd=self.cwd or directory,
                environment=environment,
            ) as process,
        ):
            self._wait(process, url, log, within)
            yield Running(self.label, url, directory, process.pid, time.monotonic() - began)

    def _wait(self, process: subprocess.Popen[bytes], url: str, log: Path, within: float) -> None:
        try:
            wait_until(lambda: process.poll() is not None or answers(url), within=within, every=0.002)
        except TimeoutError as error:
            raise NotMeasured(
                f"The server {self.label!r} gave no answer within {within:g} s{_last_words(log)}"
            ) from error
        if process.poll() is not None:
            raise NotMeasured(
                f"The server {self.label!r} ended with status {process.returncode} before it answered"
                f"{_last_words(log)}"
            )


@frozen
class Elsewhere:
    """A server that runs already."""

    label: str
    url: str
    ours: bool = False

    @contextmanager
    def running(self, directory: Path, within: float = START_WITHIN) -> Iterator[Running]:
        """See `Server`."""
        if not answers(self.url):
            raise NotMeasured(f"No server answers at {self.url}/health: start it first")
        yield Running(self.label, self.url, None, None, 0.0)


def mneme(label: str, tree: Path = HERE) -> Started:
    """This server as a user starts it, or that of another tree, run by the Python that runs this."""
    twistd = Path(sys.executable).parent / "twistd"
    options = "--port {port} --data-dir {directory} --config {directory}/config.json"
    return Started(
        label,
        (str(twistd), "--nodaemon", "--pidfile=", "mneme", *options.split()),
        environment={"HOME": "{directory}", "PYTHONPATH": str(tree)},
        files={"config.json": json.dumps({"rateLimitPerMinute": 0})},
    )


def command(text: str) -> Started:
    """The server that a command line starts, called by the name of its program."""
    words = tuple(shlex.split(text))
    return Started(Path(words[0]).name, words, cwd=HERE)


def plain_node(*, durable: bool) -> Started:
    """The plain Node server: one that overwrites in place, or one that keeps the promise of this server."""
    words = ("node", "tests/bench/plain_server.mjs", "{port}", "{directory}")
    return Started(
        "durable node" if durable else "plain node", (*words, *(["--durable"] if durable else [])), cwd=HERE
    )


def answers(url: str) -> bool:
    """Whether a server is there and well."""
    try:
        with StockClient(url, "machine-waiting", delays=(), timeout=1.0) as client:
            return client.health().status == HTTPStatus.OK
    except (NoAnswer, AnswerTooLarge):
        return False


def _is_disturbing(name: str) -> bool:
    """Whether a variable of the environment would make a server another than users have.

    Without its cache of bytecode, Python compiles everything at each start.
    """
    return name.startswith("MNEME_") or name == "PYTHONDONTWRITEBYTECODE"


def _last_words(log: Path) -> str:
    """What the log says of the end: the last line that names an error, or else the last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line]
    telling = [line for line in lines if "error" in line.lower()] or lines
    return f"; it said: {telling[-1]}" if telling else ""
