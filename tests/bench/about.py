"""What the figures were measured on, and when."""

from __future__ import annotations

import os
import platform
import shutil
from datetime import datetime
from pathlib import Path

from tests.bench.rounds import Bench


def about(bench: Bench) -> list[str]:
    """A few lines for the top."""
    gigabytes = shutil.disk_usage(bench.workspace).free / 1e9
    rounds = f"{bench.scale.rounds} round{'s' if bench.scale.rounds > 1 else ''}"
    when = f"{datetime.now().astimezone():%Y-%m-%d %H:%M}; {rounds} of {bench.scale.seconds:g} s"
    return [
        f"{os.cpu_count()} × {_processor()}, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}; data on {_file_system(bench.workspace)}, {gigabytes:,.0f} GB free",
        f"{when}; load by {bench.generator.name} on the same machine",
        "Figures are the median, in brackets the least and the most of the rounds; ratios are taken round by round.",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def _file_system(place: Path) -> str:
    """The kind of file system, as far as the system says."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "disk"
    mounts = {Path(line.split()[1]): line.split()[2] for line in lines}
    return next((mounts[one] for one in (place.resolve(), *place.resolve().parents) if one in mounts), "disk")
