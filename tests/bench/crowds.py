"""What it costs a server to have many projects on disk: its start, and requests among them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import data, sessions
from tests.bench.loads import Load
from tests.bench.rounds import Bench, Job, Tally, in_turns, loaded, missing, turns
from tests.bench.servers import Running, Server
from tests.bench.tables import Row, Table
from tests.bench.throughput import CONNECTIONS, each, endpoints, warm

START_WITHIN = 300.0
ENDPOINTS = ("list", "lock status", "summary.json")


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
        for server, home in homes:
            bench.progress.step(
                f"round {turn + 1} of {bench.scale.rounds}, {count:,} projects, {server.label}"
            )
            with server.running(home, START_WITHIN) as running:
                taken[server.label].append(running.started_in * 1000)
    return Row(f"{count:,} projects, ms", taken)


def measure_projects(bench: Bench) -> list[Table]:
    """What a request and a session cost among few projects and among many, of which some machines use one each."""
    tally, servers = bench.tally(), bench.started
    steps = len(servers) + turns(bench, servers, [*ENDPOINTS, "session"])
    bench.progress.begin("projects", steps * len(bench.scale.projects))
    rows = [row for count in bench.scale.projects for row in _among(bench, tally, servers, count)]
    title = f"Requests among many projects, of which {CONNECTIONS} are in use"
    return [bench.table(title, servers, tuple(rows), str(tally) + missing(bench))]


def _among(bench: Bench, tally: Tally, servers: tuple[Server, ...], count: int) -> tuple[Row, ...]:
    memory = data.memory()
    with ExitStack() as stack:
        running = []
        for server in servers:
            bench.progress.step(f"making {count:,} projects, {server.label}")
            home = stack.enter_context(bench.directory())
            _fill(server, home, max(0, count - CONNECTIONS))
            one = stack.enter_context(server.running(home, START_WITHIN))
            data.seed(one.url, memory, CONNECTIONS)
            warm(bench, tally, one, sessions.session(one.url, memory))
            running.append(one)
        jobs = [_endpoint(bench, tally, memory, count, name) for name in ENDPOINTS]
        return in_turns(bench, running, [*jobs, _session(bench, tally, memory, count)])


def _endpoint(bench: Bench, tally: Tally, memory: dict[str, str], count: int, name: str) -> Job:
    row = f"{count:,} projects: {name}, µs"

    def measure(server: Running) -> dict[str, float]:
        request = endpoints(server.url, memory)[name]
        load = Load(server.url, (request,), CONNECTIONS, bench.scale.seconds)
        return {row: each(loaded(bench, tally, server, load).requests_per_second) * 1e6}

    return Job(f"{count:,} projects, {name}", measure)


def _session(bench: Bench, tally: Tally, memory: dict[str, str], count: int) -> Job:
    row = f"{count:,} projects: session, ms"

    def measure(server: Running) -> dict[str, float]:
        load = Load(server.url, sessions.session(server.url, memory), CONNECTIONS, bench.scale.seconds)
        return {row: each(loaded(bench, tally, server, load).sessions_per_second) * 1000}

    return Job(f"{count:,} projects, sessions", measure)


def _fill(server: Server, home: Path, count: int) -> None:
    """Have the server make one project, and copy that. The start that this takes has also filled the caches."""
    with server.running(home) as running:
        if count:
            data.seed_template(running.url)
    if count:
        data.multiply(home, count)
