"""Stores of each kind, and conditions, for tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from mneme import durable
from mneme.errors import UnsafePath
from mneme.model import Merging, Millis, Overview, Precondition, ProjectId, Pruned, digest
from mneme.retention import Retention
from mneme.store import ComputeFirst, MergeFirst, Results, Store, layout
from mneme.store.sqlite import NAME, Database
from mneme.store.workingcopy import WorkingCopy
from tests.store.looking import leftovers

T = TypeVar("T")
BOOT = "this boot"
_TIMELESS = ("version", "versions")
LATE = Millis(1_900_000_000_000)


class Patient:
    """A store that merges, computes and exports as the service does.

    The service does the same, if later and side by side.
    """

    def __init__(self, root: Path | None, merging: Merging | None = None, boot: str = BOOT) -> None:
        if root:
            durable.make_directory(root)
        self.database = Database(root / NAME if root else None)
        copy = WorkingCopy(root / layout.PROJECTS) if root else None
        self.store = Store(self.database, copy, merging)
        self.store.open_copy(boot)
        self.find_all()
        self.export()

    @property
    def merging(self) -> Merging:
        """How uploads are merged."""
        return self.store.merging

    @merging.setter
    def merging(self, merging: Merging) -> None:
        self.store.merging = merging

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.store, name)

        where = list(inspect.signature(method).parameters).index("now") - 1 if name not in _TIMELESS else None

        def step(project: ProjectId, *arguments: Any, **options: Any) -> Any:
            self.last_now = self.last_now if where is None else arguments[where]
            result = self._done(project, lambda: method(project, *arguments, **options))
            if where is not None:
                # Which merges what waits, if nobody holds the lock.
                self._done(project, lambda: self.store.lock(project, self.last_now))
            self.export()
            return result

        return step

    def _done(self, project: ProjectId, step: Callable[[], T]) -> T:
        results = Results()
        while True:
            try:
                with self.store.attempt(results):
                    return step()
            except MergeFirst:
                self._merge(project)
            except ComputeFirst as first:
                results.add(first.call, first.call.result())

    def _merge(self, project: ProjectId) -> None:
        while self._done(project, lambda: self.store.merge_next(project, self.last_now)):
            pass

    last_now = LATE

    def export(self) -> None:
        """Write the working copy, as is done within a second."""
        for key in self.store.changed_projects():
            self._done(ProjectId("any"), lambda key=key: self.store.export(key, self.last_now))  # type: ignore[misc]

    def find_all(self) -> None:
        """Take in what lies in the working copy."""
        found, missing, _ = self.store.listing("")
        for project in found:
            with suppress(UnsafePath):
                self.heads(project, self.last_now)
        for key in missing:
            with suppress(UnsafePath):
                self.store.look(key, self.last_now)

    # What takes no project first, or is not a step of its own.

    def projects(self) -> list[ProjectId]:
        """Every project."""
        self.find_all()
        return [one.project for one in self.store.overviews(LATE)]

    def expired(self, now: Millis) -> tuple[ProjectId, ...]:
        """See `Store`."""
        return tuple(self.store.expired(now))

    def in_two_places(self) -> Any:
        """See `Store`."""
        return tuple(self.store.in_two_places())

    def usage(self) -> Any:
        """See `Store`; the log of changes is moved into the database first."""
        self.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self.store.usage()

    def forget_idle(self, now: Millis) -> int:
        """See `Store`."""
        return self.store.forget_idle(now)

    def days(self) -> Any:
        """See `Store`."""
        return self.store.days()

    def overview(self, project: ProjectId, now: Millis) -> Overview | None:
        """A project at a glance."""
        self.heads(project, now)
        return next((one for one in self.store.overviews(now) if one.project == project), None)

    def prune(self, project: ProjectId, retention: Retention, now: Millis, limit: int) -> Pruned:
        """Remove some versions, the oldest first."""
        found = self.store.prunable(project, retention, now)
        return self.remove(Pruned(project, found.versions[:limit]), now)

    def remove(self, pruned: Pruned, now: Millis) -> Pruned:
        """See `Store`."""
        return self.store.remove(pruned, now)

    def close(self) -> None:
        """End in order."""
        self.store.close_copy()
        self.database.close()


class Restarted:
    """A store on disk that is restarted after every step that has written something."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: Patient | None = None
        self.merging = Merging()

    def __getattr__(self, name: str) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            if not self._open:
                self._open = Patient(self._root, self.merging)
                self._written = self._open.database.connection.total_changes
            opened = self._open
            opened.merging = self.merging
            try:
                return getattr(opened, name)(*arguments, **options)
            finally:
                if opened.database.connection.total_changes != self._written:
                    self._open = None
                    opened.close()

        return step


ANY = Precondition(None)
"""There must be such a file, whatever it holds."""


def named(*contents: bytes) -> Precondition:
    """A condition that one of these contents is the head."""
    return Precondition(frozenset(map(digest, contents)))


STORES = ("memory", "restarted disk")
"""The kinds that all promises are tested on; see `conftest.py`."""


def opened(which: str, root: Path) -> Patient:
    """A new store of one of these kinds, with its data in `root`."""
    match which:
        case "memory":
            return Patient(None)
        case "disk":
            return Patient(root)
        case _:
            return cast(Patient, Restarted(root))


def left_when_recovered(root: Path) -> list[str]:
    """The leftovers once a server has started."""
    store = Patient(root)
    store.close()
    return leftovers(root)
