"""Sessions with some milliseconds added to each sync, as on a memory card."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from attrs import evolve

from tests.bench.loads import Load, ratio
from tests.bench.processes import NotMeasured, last_line
from tests.bench.rounds import Bench, Measure, machines_in_words, whole_session
from tests.bench.servers import Running, Server
from tests.bench.tables import Table
from tests.bench.throughput import session_times

SOURCE = Path(__file__).with_name("slow_sync.c")
MACHINES = (1, 8)


def measure_slow_sync(bench: Bench) -> list[Table]:
    """Sessions of the servers, with milliseconds added to each sync."""
    library = _compiled(bench.workspace)
    servers = [_slowed(server, library, bench.sync_ms) for server in bench.servers]
    jobs = {machines_in_words(count): _sessions(bench, count) for count in MACHINES}
    with bench.filled(servers, max(MACHINES), whole_session) as running:
        title = f"Sessions with {bench.sync_ms:g} ms added to each sync"
        return [bench.table(title, bench.in_turns(running, jobs))]


def _compiled(directory: Path) -> Path:
    """The library that slows syncs, made in a directory."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NotMeasured("slow-sync needs Linux and a C compiler: apt install gcc libc6-dev")
    library = directory / "slow_sync.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        raise NotMeasured(f"slow_sync.c cannot be compiled: {last_line(made.stderr)}")
    return library


def _slowed(server: Server, library: Path, milliseconds: float) -> Server:
    """A server each of whose syncs takes so many milliseconds more, and is counted."""
    added = {
        "LD_PRELOAD": str(library),
        "SLOW_SYNC_MS": str(milliseconds),
        "SLOW_SYNC_COUNT": "{directory}.syncs",
    }
    return evolve(server, environment={**server.environment, **added})


def _syncs(server: Running) -> int:
    """Number of syncs that a slowed server has made."""
    place = server.directory.with_name(f"{server.directory.name}.syncs")
    return place.stat().st_size if place.exists() else 0


def _sessions(bench: Bench, machines: int) -> Measure:
    def measure(server: Running) -> dict[str, float]:
        before = _syncs(server)
        load = Load(server.url, whole_session(server.url), machines, bench.scale.seconds)
        outcome = bench.load(server, load)
        figures = {
            "sessions/s": outcome.sessions_per_second,
            **session_times(outcome),
            "syncs a session": ratio(_syncs(server) - before, outcome.sessions),
        }
        return {f"{machines_in_words(machines)}: {name}": value for name, value in figures.items()}

    return measure
