"""A picture of where this server's time goes while sessions run."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

from tests.bench.loads import Load
from tests.bench.processes import NotMeasured, last_line, running
from tests.bench.rounds import Bench, whole_session
from tests.bench.servers import Server

MACHINES = 8
GRACE = 30.0
HELP = (
    "py-spy may not look into the server: run scripts/bench as root, or allow it, until the machine starts again, with "
    "`echo 0 | sudo tee /proc/sys/kernel/yama/ptrace_scope`; a container needs --cap-add SYS_PTRACE"
)


def draw(bench: Bench, server: Server, picture: Path) -> None:
    """Run sessions, and write a flame graph of all the server's threads."""
    seconds = max(1, math.ceil(bench.scale.seconds))
    with bench.filled([server], MACHINES, whole_session) as [one]:
        command = [str(Path(sys.executable).parent / "py-spy"), "record", "--pid", str(one.pid), "--threads"]
        command += ["--duration", str(seconds), "--format", "flamegraph", "--output", str(picture)]
        bench.step(f"sessions of {MACHINES} machines")
        with running(command, subprocess.PIPE) as process:
            bench.load(one, Load(one.url, whole_session(one.url), MACHINES, seconds + 1.0))
            try:
                said, _ = process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired as error:
                raise NotMeasured(f"py-spy did not end within {GRACE:g} s") from error
    if process.returncode:
        raise NotMeasured(HELP if b"permi" in said.lower() else f"py-spy failed: {last_line(said)}")
