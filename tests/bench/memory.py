"""Memory that a server takes, and whether it goes on taking more."""

from __future__ import annotations

from tests.bench import data
from tests.bench.loads import Load
from tests.bench.processes import tree_memory
from tests.bench.rounds import Bench, whole_session
from tests.bench.servers import Running, Server
from tests.bench.tables import Row, Table

MACHINES = 8
MEGABYTE = 1_000_000


def measure_memory(bench: Bench) -> list[Table]:
    """Memory of each server at rest, after some sessions, and after as many more."""
    figures = {server.label: _of(bench, server) for server in bench.servers}
    names = next(iter(figures.values()))
    rows = [Row(name, {label: [found[name]] for label, found in figures.items()}) for name in names]
    title = f"Memory (RSS of all processes), sessions over {bench.scale.memory_projects:,} projects"
    return [bench.table(title, rows)]


def _of(bench: Bench, server: Server) -> dict[str, float]:
    count, projects = bench.scale.memory_sessions, bench.scale.memory_projects // MACHINES
    with bench.directory() as directory, server.running(directory) as running:
        sizes = [_megabytes(running)]
        bench.step(f"bringing memory to {running.label}")
        data.seed(running.url, data.memory(), MACHINES, projects)
        load = Load(running.url, whole_session(running.url), MACHINES, 0, count // MACHINES, projects)
        for turn in (1, 2):
            bench.step(f"{count:,} sessions, {running.label}, {turn} of 2")
            bench.load(running, load)
            sizes.append(_megabytes(running))
    return {
        "at rest, MB": sizes[0],
        f"after {count:,} sessions, MB": sizes[1],
        f"after {count:,} more, MB": sizes[2],
        "what the second half added, MB": sizes[2] - sizes[1],
    }


def _megabytes(server: Running) -> float:
    return tree_memory(server.pid) / MEGABYTE
