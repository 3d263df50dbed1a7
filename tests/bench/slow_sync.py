"""Sessions with some milliseconds added to each sync, as on a memory card: waits for the disk show then."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve

from tests.bench import data, sessions
from tests.bench.errors import NotMeasured
from tests.bench.loads import Load
from tests.bench.rounds import Bench, Job, Tally, in_turns, loaded, missing, turns
from tests.bench.servers import Running, Server, Started
from tests.bench.tables import Table
from tests.bench.throughput import warm

SOURCE = Path(__file__).with_name("slow_sync.c")
MACHINES = (1, 8)
SYNCS = "syncs a session"


def measure_slow_sync(bench: Bench) -> list[Table]:
    """Sessions of the servers that are started here, with milliseconds added to each sync."""
    memory, tally = data.memory(), bench.tally()
    library = compiled(bench.workspace)
    servers = [slowed(server, library, bench.sync_ms) for server in bench.started]
    jobs = [_job(bench, tally, memory, machines) for machines in MACHINES]
    bench.progress.begin("slow-sync", 2 * len(servers) + turns(bench, servers, jobs))
    with bench.running(servers) as running:
        for server in running:
            bench.progress.step(f"bringing memory to {server.label}")
            data.seed(server.url, memory, max(MACHINES))
            bench.progress.step(f"warming up {server.label}")
            warm(bench, tally, server, sessions.session(server.url, memory))
        rows = in_turns(bench, running, jobs)
    title = f"Sessions with {bench.sync_ms:g} ms added to each sync"
    return [bench.table(title, servers, rows, str(tally) + missing(bench))]


def compiled(directory: Path) -> Path:
    """The library that slows syncs, made in a directory. `NotMeasured` where it cannot be."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not sys.platform.startswith("linux"):
        raise NotMeasured("slow-sync can be measured on Linux only")
    if compiler is None:
        raise NotMeasured("slow-sync needs a C compiler: apt install gcc libc6-dev")
    library = directory / "slow_sync.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        said = made.stderr.strip().splitlines()
        raise NotMeasured(f"slow_sync.c cannot be compiled: {said[-1] if said else made.returncode}")
    return library


def slowed(server: Server, library: Path, milliseconds: float) -> Started:
    """The same server, each of whose syncs takes so many milliseconds more, and is counted."""
    assert isinstance(server, Started), server
    added = {
        "LD_PRELOAD": str(library),
        "SLOW_SYNC_MS": str(milliseconds),
        "SLOW_SYNC_COUNT": "{directory}.syncs",
    }
    return evolve(server, environment={**server.environment, **added})


def syncs(server: Running) -> int:
    """How many syncs a slowed server has made."""
    assert server.directory is not None, server
    place = server.directory.with_name(f"{server.directory.name}.syncs")
    return place.stat().st_size if place.exists() else 0


def _job(bench: Bench, tally: Tally, memory: Mapping[str, str], machines: int) -> Job:
    name = f"{machines} machine{'s' if machines > 1 else ''}"

    def measure(server: Running) -> dict[str, float]:
        requests = sessions.session(server.url, memory)
        before = syncs(server)
        outcome = loaded(bench, tally, server, Load(server.url, requests, machines, bench.scale.seconds))
        made = syncs(server) - before
        return {
            f"{name}: sessions/s": outcome.sessions_per_second,
            f"{name}: session, p50, ms": outcome.session(0.5) * 1000,
            f"{name}: session, p99, ms": outcome.session(0.99) * 1000,
            f"{name}: {SYNCS}": made * outcome.length / outcome.asked if outcome.asked else math.nan,
        }

    return Job(name, measure)
