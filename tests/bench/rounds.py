"""Rounds, in which the servers take turns, and the tools of all parts."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import Factory, frozen

from tests.bench import data, sessions
from tests.bench.generator import Generator
from tests.bench.loads import Load, Outcome, Request
from tests.bench.servers import THIS, Running, Server
from tests.bench.tables import Row, Table

T = TypeVar("T")
Measure = Callable[[Running], Mapping[str, float]]
"""Figures of a running server, by the names of their rows."""

WARM_SECONDS = 0.5
CONNECTIONS = 8


@frozen
class Scale:
    """How much is measured.

    `projects` are the numbers of projects on disk that requests are timed among.
    """

    seconds: float
    rounds: int
    machines: tuple[int, ...] = (1, 8, 32)
    memory_sessions: int = 1000
    memory_projects: int = 200
    started_projects: int = 10_000
    projects: tuple[int, ...] = (10, 1000)
    uploads: int = 150


USUAL = Scale(seconds=3, rounds=5)
BRIEF = Scale(
    seconds=0.1,
    rounds=1,
    memory_sessions=16,
    memory_projects=16,
    started_projects=20,
    projects=(10,),
    uploads=4,
)


class Tally:
    """Numbers of requests that each server was asked, and that it failed."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.failed: dict[str, int] = {}

    def add(self, label: str, outcome: Outcome) -> None:
        """Count the requests of a load."""
        self.asked[label] = self.asked.get(label, 0) + outcome.asked
        self.failed[label] = self.failed.get(label, 0) + outcome.failed

    def __str__(self) -> str:
        """A sentence."""
        each = (f"{label} {self.failed[label]:,} of {asked:,}" for label, asked in self.asked.items())
        return f"Failed requests: {', '.join(each)}."


@frozen
class Bench:
    """Servers, a generator and a scale to measure with, and the tally of all requests."""

    servers: tuple[Server, ...]
    generate: Generator
    scale: Scale
    workspace: Path
    revisions: tuple[str, ...] = ()
    sync_ms: float = 5.0
    tally: Tally = Factory(Tally)

    def step(self, what: str) -> None:
        """Say on standard error what is being done."""
        print(what, file=sys.stderr)  # noqa: T201 - for whoever waits

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory for a server's data."""
        made = Path(tempfile.mkdtemp(dir=self.workspace))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    @contextmanager
    def filled(
        self, servers: Sequence[Server], machines: int, requests: Callable[[str], Sequence[Request]]
    ) -> Iterator[list[Running]]:
        """All these servers, with memory for some machines, and warm from the requests that come."""
        with ExitStack() as stack:
            running = []
            for server in servers:
                self.step(f"bringing memory to {server.label}")
                one = stack.enter_context(server.running(stack.enter_context(self.directory())))
                data.seed(one.url, data.memory(), machines)
                self.warm(one, requests(one.url))
                running.append(one)
            yield running

    def warm(self, server: Running, requests: Sequence[Request]) -> None:
        """Have a server compile and open what it needs."""
        seconds = min(WARM_SECONDS, self.scale.seconds)
        self.load(server, Load(server.url, tuple(requests), CONNECTIONS, seconds))

    def load(self, server: Running, load: Load) -> Outcome:
        """Outcome of a load, counted."""
        outcome = self.generate(load)
        self.tally.add(server.label, outcome)
        return outcome

    def in_turns(self, running: Sequence[Running], jobs: Mapping[str, Measure]) -> tuple[Row, ...]:
        """Rows of the figures of all jobs, by server, in all rounds."""
        values: dict[str, dict[str, list[float]]] = {}
        for turn in range(self.scale.rounds):
            for job, measure in jobs.items():
                for server in in_order(running, turn):
                    self.step(f"round {turn + 1} of {self.scale.rounds}, {job}, {server.label}")
                    for name, value in measure(server).items():
                        values.setdefault(name, {}).setdefault(server.label, []).append(value)
        return tuple(Row(name, by_server) for name, by_server in values.items())

    def table(self, title: str, rows: Sequence[Row]) -> Table:
        """A table with a column for each server, and their ratios to this one."""
        return Table(title, tuple(server.label for server in self.servers), tuple(rows), THIS)


def in_order(items: Sequence[T], turn: int) -> Sequence[T]:
    """Items in the order of a round: reversed in every second, to favour none."""
    return items if turn % 2 == 0 else items[::-1]


def whole_session(url: str) -> tuple[Request, ...]:
    """Requests of a session with the memory of daily use."""
    return sessions.session(url, data.memory())


def machines_in_words(count: int) -> str:
    """Number of machines, with its noun."""
    return "1 machine" if count == 1 else f"{count} machines"
