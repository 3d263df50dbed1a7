"""Everything that takes its turn: the servers, in each round one after the other, and what is made of what they did."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import Factory, frozen

from tests.bench import data
from tests.bench.loads import Generator, Load, Outcome
from tests.bench.options import Scale
from tests.bench.progress import Progress
from tests.bench.servers import THIS, Running, Server
from tests.bench.tables import Row, Table

T = TypeVar("T")


class Tally:
    """How many requests each server was asked, and how many it failed."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._failed: dict[str, int] = {}

    def add(self, label: str, outcome: Outcome) -> None:
        """Count what one load has brought."""
        self._asked[label] = self._asked.get(label, 0) + outcome.asked
        self._failed[label] = self._failed.get(label, 0) + outcome.failed

    @property
    def failed(self) -> int:
        """How many have failed in all."""
        return sum(self._failed.values())

    def __str__(self) -> str:
        """A sentence."""
        each = (f"{label} {self._failed[label]:,} of {asked:,}" for label, asked in self._asked.items())
        return f"Failed requests: {', '.join(each)}."


@frozen
class Bench:
    """What a part measures with. `counting` is the generator for what has to be counted instead of timed."""

    servers: tuple[Server, ...]
    generator: Generator
    counting: Generator
    scale: Scale
    progress: Progress
    workspace: Path
    projects_each: int = 1
    revisions: tuple[str, ...] = ()
    sync_ms: float = 5.0
    tallies: list[Tally] = Factory(list)

    def tally(self) -> Tally:
        """A tally for a part, which is looked at in the end."""
        self.tallies.append(Tally())
        return self.tallies[-1]

    @property
    def started(self) -> tuple[Server, ...]:
        """The servers that can be started and stopped here."""
        return tuple(server for server in self.servers if server.ours)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory for a server's data."""
        made = Path(tempfile.mkdtemp(dir=self.workspace))
        try:
            yield made
        finally:
            data.clear(made)

    @contextmanager
    def running(self, servers: Sequence[Server]) -> Iterator[list[Running]]:
        """All these servers, each on an empty directory."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(server.running(stack.enter_context(self.directory())))
                for server in servers
            ]

    def table(self, title: str, servers: Sequence[Server], rows: tuple[Row, ...], note: str) -> Table:
        """A table with a column for each server, and their ratios to this one."""
        return Table(title, tuple(server.label for server in servers), rows, THIS, note)


@frozen
class Job:
    """One thing to measure of a server that runs: figures, by the names of their rows."""

    name: str
    measure: Callable[[Running], Mapping[str, float]]


def in_order(items: Sequence[T], turn: int) -> Sequence[T]:
    """The order in which these take their turns in a round, every second time in reverse."""
    return items if turn % 2 == 0 else items[::-1]


def in_turns(bench: Bench, running: Sequence[Running], jobs: Sequence[Job]) -> tuple[Row, ...]:
    """Do the jobs with all servers, in as many rounds as are wanted.

    In every second round the servers come in reverse, so that none is always the one who comes after another.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for turn in range(bench.scale.rounds):
        for job in jobs:
            for server in in_order(running, turn):
                bench.progress.step(f"round {turn + 1} of {bench.scale.rounds}, {job.name}, {server.label}")
                for name, value in job.measure(server).items():
                    values.setdefault(name, {}).setdefault(server.label, []).append(value)
    return tuple(Row(name, by_server) for name, by_server in values.items())


def turns(bench: Bench, servers: Sequence[object], jobs: Sequence[object]) -> int:
    """How many steps that is."""
    return bench.scale.rounds * len(servers) * len(jobs)


def loaded(bench: Bench, tally: Tally, server: Running, load: Load) -> Outcome:
    """What came of a load, counted."""
    outcome = bench.generator.run(load)
    tally.add(server.label, outcome)
    return outcome


def missing(bench: Bench) -> str:
    """A sentence on the servers that are left out where one has to be started."""
    others = [server.label for server in bench.servers if not server.ours]
    return f" Not measured, since not started here: {', '.join(others)}." if others else ""
