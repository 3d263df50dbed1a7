"""What it costs a server to have many projects on disk: its start, and requests among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from tests.bench import data, sessions
from tests.bench.loads import Load
from tests.bench.processes import wait_until_quiet
from tests.bench.rounds import Bench, Job, Tally, in_order, in_turns, loaded, missing, turns
from tests.bench.servers import Running, Server
from tests.bench.tables import Row, Table
from tests.bench.throughput import CONNECTIONS, each, endpoints, warm

START_WITHIN = 300.0
ENDPOINTS = ("list", "lock status", "summary.json")
SESSION = "session"


def measure_starts(bench: Bench) -> list[Table]:
    """The time from the start of a process to its first answer, without projects and with many."""
    counts = (0, bench.scale.started_projects)
    servers = bench.started
    bench.progress.begin("startup", len(counts) * len(servers) * (1 + bench.scale.rounds))
    rows = []
    for count in counts:
        with ExitStack() as stack:
            homes = [(server, stack.enter_context(bench.directory())) for server in servers]
            for server, home in homes:
                bench.progress.step(f"making {count:,} projects, {server.label}")
                _fill(server, home, count)
            rows.append(_starts(bench, homes, count))
    note = f"The files are in the cache of the system.{missing(bench)}"
    return [bench.table("From start to first answer", servers, tuple(rows), note)]


def _starts(bench: Bench, homes: Sequence[tuple[Server, Path]], count: int) -> Row:
    taken: dict[str, list[float]] = {server.label: [] for server, _home in homes}
    for turn in range(bench.scale.rounds):
        for server, home in in_order(homes, turn):
            bench.progress.step(
                f"round {turn + 1} of {bench.scale.rounds}, {count:,} projects, {server.label}"
            )
            with server.running(home, START_WITHIN) as running:
                taken[server.label].append(running.started_in * 1000)
    return Row(f"{count:,} projects, ms", taken)


def measure_projects(bench: Bench) -> list[Table]:
    """What a request and a session cost among few projects and among many, of which some machines use one each.

    The numbers of projects take turns, too: each has a server of its own, and all of them run.
    """
    tally, servers, counts = bench.tally(), bench.started, bench.scale.projects
    what = [*ENDPOINTS, SESSION]
    bench.progress.begin("projects", len(servers) * len(counts) + turns(bench, servers, what) * len(counts))
    with ExitStack() as stack:
        crowds = [stack.enter_context(_crowd(bench, tally, servers, count)) for count in counts]
        jobs = [_among(bench, tally, crowd, name) for name in what for crowd in crowds]
        rows = in_turns(bench, list(crowds[0].running.values()), jobs)
    quiet = [Row(f"start until quiet, s, {_projects(crowd.count)}", crowd.quiet_after) for crowd in crowds]
    title = f"Requests among many projects, of which {CONNECTIONS} are in use"
    return [bench.table(title, servers, (*rows, *quiet), str(tally) + missing(bench))]


@frozen
class _Crowd:
    """So many projects, the servers that have them, by label, and after how many seconds each had nothing to do."""

    count: int
    running: Mapping[str, Running]
    quiet_after: Mapping[str, Sequence[float]]


@contextmanager
def _crowd(bench: Bench, tally: Tally, servers: Sequence[Server], count: int) -> Iterator[_Crowd]:
    """All servers on so many projects, once they have done what they do in the background after a start."""
    memory, running, quiet = data.memory(), {}, {}
    with ExitStack() as stack:
        for server in servers:
            bench.progress.step(f"making {_projects(count)}, {server.label}")
            home = stack.enter_context(bench.directory())
            _fill(server, home, max(0, count - CONNECTIONS))
            one = stack.enter_context(server.running(home, START_WITHIN))
            assert one.pid is not None, one
            quiet[server.label] = [one.started_in + wait_until_quiet(one.pid, START_WITHIN)]
            data.seed(one.url, memory, CONNECTIONS)
            warm(bench, tally, one, sessions.session(one.url, memory))
            running[server.label] = one
        yield _Crowd(count, running, quiet)


def _among(bench: Bench, tally: Tally, crowd: _Crowd, name: str) -> Job:
    """One kind of request, or sessions, of whichever server's turn it is, among so many projects."""
    unit, factor = ("ms", 1e3) if name == SESSION else ("µs", 1e6)

    def measure(turn: Running) -> dict[str, float]:
        server, memory = crowd.running[turn.label], data.memory()
        whole = sessions.session(server.url, memory)
        requests = whole if name == SESSION else (endpoints(server.url, memory)[name],)
        outcome = loaded(bench, tally, server, Load(server.url, requests, CONNECTIONS, bench.scale.seconds))
        return {f"{name}, {unit}, {_projects(crowd.count)}": each(outcome.sessions_per_second) * factor}

    return Job(f"{name}, {_projects(crowd.count)}", measure)


def _projects(count: int) -> str:
    return f"{count:,} projects"


def _fill(server: Server, home: Path, count: int) -> None:
    """Have the server make one project, and copy that. The start that this takes has also filled the caches."""
    with server.running(home) as running:
        if count:
            assert running.pid is not None, running
            data.seed_template(running.url)
            data.wait_for_template(home, running.pid)
    if count:
        data.multiply(home, count)
