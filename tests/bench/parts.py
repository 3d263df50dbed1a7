"""What can be measured, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from tests.bench.crowds import measure_projects, measure_starts
from tests.bench.floor import measure_floor
from tests.bench.memory import measure_memory
from tests.bench.merging import measure_merging
from tests.bench.rounds import Bench
from tests.bench.slow_sync import measure_slow_sync
from tests.bench.tables import Table
from tests.bench.throughput import measure_endpoints, measure_sessions


@frozen
class Part:
    """One of them: what it measures, in a line, and how."""

    what: str
    measure: Callable[[Bench], list[Table]]


PARTS: Mapping[str, Part] = {
    "sessions": Part("sessions/s of 1, 8 and 32 machines, and how long they take", measure_sessions),
    "endpoints": Part(
        "requests/s of single endpoints: downloads, list, lock status, health", measure_endpoints
    ),
    "memory": Part("memory after 1,000 sessions over 200 projects, and after 1,000 more", measure_memory),
    "startup": Part("time from start to first answer, without projects and with 10,000", measure_starts),
    "projects": Part(
        "cost of a request among 10 and 1,000 projects (--all: 100,000, made in minutes)",
        measure_projects,
    ),
    "merging": Part(
        "merges and uploads straight in the store (--against-revision: by turns)", measure_merging
    ),
    "slow-sync": Part(
        "sessions with 5 ms added to each sync, as on a memory card (--sync-ms: more or less)",
        measure_slow_sync,
    ),
    "floor": Part("the least possible here: bare servers, bare system calls", measure_floor),
}
DEFAULT = ("sessions", "endpoints", "floor")
