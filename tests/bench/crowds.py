"""Cost of many projects on disk: the start of a server, and requests among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from tests.bench import data
from tests.bench.loads import Load, ratio
from tests.bench.processes import wait_until_quiet
from tests.bench.rounds import CONNECTIONS, Bench, Measure, in_order, whole_session
from tests.bench.servers import Running, Server
from tests.bench.tables import Row, Table
from tests.bench.throughput import endpoints

START_WITHIN = 300.0
ENDPOINTS = ("list", "lock status", "summary.json")
SESSION = "session"


def measure_starts(bench: Bench) -> list[Table]:
    """Time from start to first answer, without projects and with many."""
    rows = [_starts(bench, count) for count in (0, bench.scale.started_projects)]
    return [bench.table("From start to first answer; the files are in the cache of the system", rows)]


def _starts(bench: Bench, count: int) -> Row:
    taken: dict[str, list[float]] = {server.label: [] for server in bench.servers}
    with ExitStack() as stack:
        homes = [(server, stack.enter_context(bench.directory())) for server in bench.servers]
        for server, home in homes:
            bench.step(f"making {count:,} projects, {server.label}")
            _fill(server, home, count)
        for turn in range(bench.scale.rounds):
            for server, home in in_order(homes, turn):
                bench.step(f"round {turn + 1} of {bench.scale.rounds}, {count:,} projects, {server.label}")
                with server.running(home, START_WITHIN) as running:
                    taken[server.label].append(running.started_in * 1000)
    return Row(f"{count:,} projects, ms", taken)


def measure_projects(bench: Bench) -> list[Table]:
    """Cost of requests and sessions among few projects and among many.

    The numbers of projects take turns, too: each has a server of its own, and all of them run.
    """
    with ExitStack() as stack:
        crowds = [stack.enter_context(_crowd(bench, count)) for count in bench.scale.projects]
        jobs = {
            f"{name}, {crowd.projects}": _among(bench, crowd, name)
            for name in (*ENDPOINTS, SESSION)
            for crowd in crowds
        }
        rows = bench.in_turns(list(crowds[0].running.values()), jobs)
    quiet = [Row(f"start until quiet, s, {crowd.projects}", crowd.quiet_after) for crowd in crowds]
    title = f"Requests among many projects, of which {CONNECTIONS} are in use"
    return [bench.table(title, [*rows, *quiet])]


@frozen
class _Crowd:
    """Servers that have so many projects, by label, and their seconds from start to rest."""

    projects: str
    running: Mapping[str, Running]
    quiet_after: Mapping[str, list[float]]


@contextmanager
def _crowd(bench: Bench, count: int) -> Iterator[_Crowd]:
    """All servers on so many projects, once they have come to rest."""
    crowd = _Crowd(f"{count:,} projects", {}, {})
    running, quiet = {}, {}
    with ExitStack() as stack:
        for server in bench.servers:
            bench.step(f"making {crowd.projects}, {server.label}")
            home = stack.enter_context(bench.directory())
            _fill(server, home, max(0, count - CONNECTIONS))
            one = stack.enter_context(server.running(home, START_WITHIN))
            quiet[server.label] = [one.started_in + wait_until_quiet(one.pid, START_WITHIN)]
            data.seed(one.url, data.memory(), CONNECTIONS)
            bench.warm(one, whole_session(one.url))
            running[server.label] = one
        yield _Crowd(crowd.projects, running, quiet)


def _among(bench: Bench, crowd: _Crowd, name: str) -> Measure:
    """A kind of request, or sessions, among so many projects."""
    unit, factor = ("ms", 1e3) if name == SESSION else ("µs", 1e6)

    def measure(turn: Running) -> dict[str, float]:
        server = crowd.running[turn.label]
        requests = whole_session(server.url) if name == SESSION else (endpoints(server.url)[name],)
        outcome = bench.load(server, Load(server.url, requests, CONNECTIONS, bench.scale.seconds))
        return {f"{name}, {unit}, {crowd.projects}": ratio(factor, outcome.sessions_per_second)}

    return measure


def _fill(server: Server, home: Path, count: int) -> None:
    """Have the server make a project, which also fills the caches, and copy that."""
    with server.running(home) as running:
        if count:
            data.seed_template(running.url)
            data.wait_for_template(home, running.pid)
    if count:
        data.multiply(home, count)
