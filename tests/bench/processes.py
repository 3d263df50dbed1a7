"""Processes that end with all that they have started, and how much they take."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.daemon import wait_until

QUIET_FOR = 0.5
"""A process is quiet that took not a hundredth of a second in so many seconds."""


class NotMeasured(Exception):
    """Something could not be measured; the message is all that a person needs to know."""


@contextmanager
def running(
    command: Sequence[str],
    output: int | IO[bytes],
    *,
    stderr: int = subprocess.STDOUT,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, which is killed as a group at the end."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=stderr,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise NotMeasured(f"{command[0]} cannot be run: {error.strerror}") from error
    with process:
        try:
            yield process
        finally:
            # The group outlives its first process for as long as anybody is in it, so it is asked for by number.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def last_line(output: bytes) -> str:
    """Last line of an output that names an error, or else the last of all."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return ([line for line in lines if "error" in line.lower()] or lines or ["nothing"])[-1]


def tree_memory(pid: int) -> float:
    """Bytes of memory of a process and its descendants, where the system tells."""
    pages = [int(fields[21]) for fields in _tree(pid)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") if pages else math.nan


def tree_processor_time(pid: int) -> float:
    """Processor time of a process and its descendants, where the system tells."""
    ticks = [_ticks(fields) for fields in _tree(pid)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else math.nan


def wait_until_quiet(pid: int, within: float) -> float:
    """Wait until a process takes no processor time to speak of; the seconds until then."""
    began = busy_until = time.monotonic()
    ticks = sum(map(_ticks, _tree(pid)))

    def is_quiet() -> bool:
        nonlocal busy_until, ticks
        now, then, ticks = time.monotonic(), ticks, sum(map(_ticks, _tree(pid)))
        if ticks > then:
            busy_until = now
        return now >= busy_until + QUIET_FOR

    with contextlib.suppress(TimeoutError):
        wait_until(is_quiet, within=within, every=0.05)
    return busy_until - began


def _tree(pid: int) -> list[list[str]]:
    """Fields of /proc/PID/stat, from the state on, of a process and its descendants."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = place.read_text(encoding="ascii", errors="replace")
            found[int(place.parent.name)] = text.rpartition(")")[2].split()
    return [fields for child, fields in found.items() if _is_under(child, pid, found)]


def _is_under(pid: int, root: int, found: Mapping[int, Sequence[str]]) -> bool:
    while pid in found and pid != root:
        pid = int(found[pid][1])
    return pid == root


def _ticks(fields: Sequence[str]) -> int:
    return int(fields[11]) + int(fields[12])
