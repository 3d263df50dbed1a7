"""How much memory a server takes, and whether it goes on taking more."""

from __future__ import annotations

from tests.bench import data, sessions
from tests.bench.loads import Load
from tests.bench.processes import tree_memory
from tests.bench.rounds import Bench, Tally, missing
from tests.bench.servers import Running, Server
from tests.bench.tables import Row, Table

MACHINES = 8
MEGABYTE = 1_000_000


def measure_memory(bench: Bench) -> list[Table]:
    """What each server that was started here occupies after so many sessions, and after as many more."""
    tally = bench.tally()
    bench.progress.begin("memory", 3 * len(bench.started))
    figures = {server.label: _of(bench, tally, server) for server in bench.started}
    names = next(iter(figures.values()))
    rows = tuple(Row(name, {label: [found[name]] for label, found in figures.items()}) for name in names)
    title = f"Memory (RSS of all processes), sessions over {bench.scale.memory_projects:,} projects"
    return [bench.table(title, bench.started, rows, str(tally) + missing(bench))]


def _of(bench: Bench, tally: Tally, server: Server) -> dict[str, float]:
    count, projects = bench.scale.memory_sessions, bench.scale.memory_projects // MACHINES
    memory = data.memory()
    with bench.running([server]) as [running]:
        sizes = [_megabytes(running)]
        bench.progress.step(f"bringing memory to {running.label}")
        data.seed(running.url, memory, MACHINES, projects)
        requests = sessions.session(running.url, memory)
        for turn in (1, 2):
            bench.progress.step(f"{count:,} sessions, {running.label}, {turn} of 2")
            load = Load(running.url, requests, MACHINES, 0, sessions=count // MACHINES, projects=projects)
            tally.add(running.label, bench.counting.run(load))
            sizes.append(_megabytes(running))
    return {
        "at rest, MB": sizes[0],
        f"after {count:,} sessions, MB": sizes[1],
        f"after {count:,} more, MB": sizes[2],
        "what the second half added, MB": sizes[2] - sizes[1],
    }


def _megabytes(server: Running) -> float:
    assert server.pid is not None, server
    return tree_memory(server.pid) / MEGABYTE
