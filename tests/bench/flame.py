"""A picture of where this server's time goes while sessions run."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import data, sessions
from tests.bench.errors import NotMeasured
from tests.bench.loads import Load
from tests.bench.processes import running
from tests.bench.rounds import Bench, loaded
from tests.bench.servers import Running, Server

MACHINES = 8
GRACE = 30.0
HELP = (
    "py-spy may not look into the server: run scripts/bench as root, or allow it, until the machine starts again, with "
    "`echo 0 | sudo tee /proc/sys/kernel/yama/ptrace_scope`; a container needs --cap-add SYS_PTRACE"
)


def draw(bench: Bench, server: Server, picture: Path) -> None:
    """Run sessions, and write a flame graph of the server, all its threads, to the file."""
    bench.progress.begin("profile", 2)
    memory, tally = data.memory(), bench.tally()
    with bench.running([server]) as [one]:
        bench.progress.step("bringing memory")
        data.seed(one.url, memory, MACHINES)
        bench.progress.step(f"sessions of {MACHINES} machines")
        seconds = max(1, math.ceil(bench.scale.seconds))
        load = Load(one.url, sessions.session(one.url, memory), MACHINES, seconds + 1.0)
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(loaded, bench, tally, one, load)
            _record(one, picture, seconds)
            coming.result()


def _record(server: Running, picture: Path, seconds: int) -> None:
    py_spy = str(Path(sys.executable).parent / "py-spy")
    wanted = ["record", "--pid", str(server.pid), "--duration", str(seconds), "--threads"]
    command = [py_spy, *wanted, "--format", "flamegraph", "--output", str(picture)]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            output, _ = process.communicate(timeout=seconds + GRACE)
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"py-spy did not end within {seconds + GRACE:g} s") from error
    if process.returncode:
        said = output.decode("utf-8", "replace").strip()
        raise NotMeasured(
            HELP if "permi" in said.lower() else f"py-spy failed: {said.splitlines()[-1] if said else '?'}"
        )
