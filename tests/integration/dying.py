"""`twistd`, killed at the last of the steps that the file `kill-at` names.

The steps are counted from the moment a write is asked for; exports wait then for the file `export`. Without these files
the server is like any other.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.scripts.twistd import run

from mneme.model import FILES
from mneme.service import SyncService
from mneme.store import layout
from mneme.store.workingcopy import WorkingCopy

ORDER, EXPORT = "kill-at", "export"
"""The names of the files, in the working directory of the server."""

_EXPORTED = {layout.IDENTITY, layout.LOCK, *(file.value for file in FILES)}
_left: list[str] = []
"""The steps that are yet to come before the kill."""


class _Connection(sqlite3.Connection):
    """A connection with steps before (`COMMIT`) and after (`committed`) each commit of a change."""

    before = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """See `sqlite3.Connection`."""
        if sql.startswith("BEGIN"):
            self.before = self.total_changes
        if sql != "COMMIT" or self.total_changes == self.before:
            return super().execute(sql, *parameters)
        _take("COMMIT")
        cursor = super().execute(sql)
        _take("committed")
        return cursor


def _take(step: str) -> None:
    if not _left:
        return
    if (expected := _left.pop(0)) != step:
        print(f"{step} came where {expected} was to come", file=sys.__stderr__, flush=True)
        os._exit(1)
    if not _left:
        os.kill(os.getpid(), signal.SIGKILL)


def _asked(call: Callable[..., Any]) -> Callable[..., Any]:
    def asked(*arguments: Any) -> Any:
        if Path(ORDER).exists():
            _left[:] = Path(ORDER).read_text(encoding="ascii").split()
        _take("asked")
        return call(*arguments)

    return asked


def _when_let(has_changes: property) -> property:
    return property(lambda sync: (not _left or Path(EXPORT).exists()) and has_changes.__get__(sync))


def _before_export(call: Callable[..., Any]) -> Callable[..., Any]:
    def export(*arguments: Any) -> Any:
        _take("export")
        return call(*arguments)

    return export


def _after_file(call: Callable[..., Any]) -> Callable[..., Any]:
    def changed(*paths: Any, **options: Any) -> Any:
        call(*paths, **options)
        name = Path(paths[-1]).name
        if name in _EXPORTED:
            _take(name)

    return changed


if __name__ == "__main__":
    sqlite3.connect = partial(sqlite3.connect, factory=_Connection)  # type: ignore[assignment]  # it has overloads
    for method in ("acquire", "upload", "append", "release"):
        setattr(SyncService, method, _asked(getattr(SyncService, method)))
    for owner, name, told in (
        (SyncService, "has_changes", _when_let),
        (WorkingCopy, "export", _before_export),
        (os, "rename", _after_file),
        (os, "unlink", _after_file),
    ):
        setattr(owner, name, told(getattr(owner, name)))
    run()
