"""Small and full disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none can be mounted."""
    at.mkdir(parents=True)
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """A file system that is mounted read-only for a while."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def fill(filler: Path, *, leave: int = 0) -> None:
    """Write to a file until only `leave` bytes of its file system are free."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while (free := shutil.disk_usage(filler.parent).free) > leave:
            file.write(b"\0" * min(free - leave, 1 << 16))
