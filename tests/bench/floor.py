"""The least that is possible here: the bare HTTP servers, and the bare system calls of a session."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from tests.bench import data, disk, sessions
from tests.bench.loads import Load
from tests.bench.revisions import HERE
from tests.bench.rounds import Bench, Job, Tally, in_turns, loaded, turns
from tests.bench.servers import Running, Started
from tests.bench.tables import Row, Table
from tests.bench.throughput import CONNECTIONS, each, warm

THREADS = (1, 8)
RATE, EACH = "requests/s", "µs a request"
ELAPSED, PROCESSOR = "elapsed, µs", "processor, µs"


def measure_floor(bench: Bench) -> list[Table]:
    """Both, as tables."""
    servers = _servers()
    bench.progress.begin("floor", turns(bench, servers, [0]) + bench.scale.rounds * len(THREADS))
    return [_bare_http(bench, servers), *_bare_disk(bench)]


def _servers() -> list[Started]:
    found = [
        Started("bare twisted.web", (sys.executable, "-m", "tests.bench.bare_twisted", "{port}"), cwd=HERE)
    ]
    if node := shutil.which("node"):
        found.append(Started("bare node http", (node, "tests/bench/bare_node.mjs", "{port}"), cwd=HERE))
    return found


def _bare_http(bench: Bench, servers: Sequence[Started]) -> Table:
    tally = bench.tally()
    with bench.running(servers) as running:
        for server in running:
            warm(bench, tally, server, (sessions.health(server.url),))
        rates, times = in_turns(bench, running, [_health(bench, tally)])
    rows = (
        Row(server.label, {RATE: rates.values[server.label], EACH: times.values[server.label]})
        for server in servers
    )
    title = f"The least: a small answer by a bare server, over {CONNECTIONS} connections"
    note = "" if len(servers) > 1 else " Node is not installed."
    return Table(title, (RATE, EACH), tuple(rows), note=str(tally) + note)


def _health(bench: Bench, tally: Tally) -> Job:
    def measure(server: Running) -> dict[str, float]:
        load = Load(server.url, (sessions.health(server.url),), CONNECTIONS, bench.scale.seconds)
        rate = loaded(bench, tally, server, load).requests_per_second
        return {RATE: rate, EACH: each(rate) * 1e6}

    return Job("a small answer", measure)


def _bare_disk(bench: Bench) -> list[Table]:
    sizes = {name: len(content.encode()) for name, content in data.memory().items()}
    costs: dict[int, list[disk.Cost]] = {threads: [] for threads in THREADS}
    # What a round has written goes when all are done: ext4 is slow to make files for seconds after many were removed.
    with bench.directory() as directory:
        for turn in range(bench.scale.rounds):
            for threads, found in costs.items():
                bench.progress.step(
                    f"round {turn + 1} of {bench.scale.rounds}, system calls, {threads} threads"
                )
                place = directory / f"{turn}-{threads}"
                found.append(disk.measure(place, sizes, threads, bench.scale.seconds))
    return [_disk_table(threads, found) for threads, found in costs.items()]


def _disk_table(threads: int, costs: Sequence[disk.Cost]) -> Table:
    rows = [
        Row(
            step,
            {
                ELAPSED: [cost.elapsed[step] * 1e6 for cost in costs],
                PROCESSOR: [cost.processor[step] * 1e6 for cost in costs],
            },
        )
        for step in costs[0].elapsed
    ]
    whole = Row(
        "all of a session",
        {
            ELAPSED: [sum(cost.elapsed.values()) * 1e6 for cost in costs],
            PROCESSOR: [sum(cost.processor.values()) * 1e6 for cost in costs],
        },
    )
    who = "one thread" if threads == 1 else f"{threads} threads"
    return Table(f"The least: the system calls of a session, by {who}", (ELAPSED, PROCESSOR), (*rows, whole))
