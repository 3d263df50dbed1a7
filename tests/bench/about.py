"""The machine on which figures were measured, and the time."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path

from tests.bench.rounds import Bench


def about(bench: Bench) -> list[str]:
    """A few lines for the top."""
    when = f"{datetime.now().astimezone():%Y-%m-%d %H:%M}"
    return [
        f"{os.cpu_count()} × {_processor()}, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}; data in {bench.workspace.parent} on {_file_system(bench.workspace)}",
        f"{when}; rounds: {bench.scale.rounds}, of {bench.scale.seconds:g} s; load from the same machine",
        "Figures are the median, in brackets the least and the most of the rounds; ratios are taken round by round.",
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def _processor() -> str:
    names = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(place: Path) -> str:
    """Kind of file system, as far as the system says."""
    mounts = {Path(line.split()[1]): line.split()[2] for line in _lines("/proc/mounts")}
    return next((mounts[one] for one in (place.resolve(), *place.resolve().parents) if one in mounts), "disk")
