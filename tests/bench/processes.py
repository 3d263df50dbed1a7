"""Processes that end when they are no longer needed, whatever happens, with all that they have started."""

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

from tests.bench.errors import NotMeasured
from tests.daemon import wait_until

QUIET_FOR = 0.5
"""A process is quiet that took not a hundredth of a second in so many seconds."""

Stream = int | IO[bytes] | None
"""As `subprocess` has it: None is that of this process."""


@contextmanager
def running(
    command: Sequence[str],
    *,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is killed as a group at the end. `NotMeasured` if it does not begin."""
    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise NotMeasured(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        yield process
    finally:
        # The group outlives its first process for as long as anybody is in it, so it is asked for by number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def tree_memory(pid: int) -> int:
    """The bytes of memory that a process and all that it has started occupy."""
    parents, sizes = {}, {}
    for line in _table():
        child, parent, kilobytes = map(int, line.split())
        parents[child], sizes[child] = parent, kilobytes * 1024
    return sum(size for child, size in sizes.items() if _is_under(child, pid, parents))


def tree_processor_time(pid: int) -> float:
    """The seconds that a process, and all that it has started, have computed; not a number where nothing tells."""
    parents, ticks = {}, {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = _fields(place)
            child = int(place.parent.name)
            parents[child], ticks[child] = int(fields[1]), _ticks_in(fields)
    mine = [taken for child, taken in ticks.items() if _is_under(child, pid, parents)]
    return sum(mine) / os.sysconf("SC_CLK_TCK") if mine else math.nan


def wait_until_quiet(pid: int, within: float) -> float:
    """Wait until a process takes no processor time to speak of, where the system tells; after how long that was so.

    One that never rests is not waited for any longer than it says.
    """
    place = Path(f"/proc/{pid}/stat")
    if not place.exists():
        return 0.0
    began = busy_until = time.monotonic()
    ticks = _ticks(place)

    def is_quiet() -> bool:
        nonlocal busy_until, ticks
        now, then, ticks = time.monotonic(), ticks, _ticks(place)
        if ticks > then:
            busy_until = now
        return now >= busy_until + QUIET_FOR

    with contextlib.suppress(TimeoutError):
        wait_until(is_quiet, within=within, every=0.02)
    return busy_until - began


def _ticks(place: Path) -> int:
    """The processor time of a process, in hundredths of a second."""
    return _ticks_in(_fields(place))


def _fields(place: Path) -> list[str]:
    """What the system says of a process, from its state on."""
    return place.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def _ticks_in(fields: Sequence[str]) -> int:
    return int(fields[11]) + int(fields[12])


def _table() -> list[str]:
    """Process, parent and resident kilobytes of every process."""
    if not Path("/proc/self/status").exists():
        return subprocess.check_output(["ps", "-axo", "pid=,ppid=,rss="], text=True).splitlines()
    lines = []
    for place in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in place.read_text().splitlines() if ":\t" in line)
            lines.append(f"{fields['Pid']} {fields['PPid']} {fields.get('VmRSS', '0').split()[0]}")
    return lines


def _is_under(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid in parents and pid != root:
        pid = parents[pid]
    return pid == root
