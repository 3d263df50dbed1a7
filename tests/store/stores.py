"""The stores that there are, for promises that are tested on each of them, and conditions to test them with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mneme.model import Merging, Precondition, digest
from mneme.store import Store
from mneme.store.disk import DiskStore
from mneme.store.memory import MemoryStore
from tests.store.looking import leftovers


class Restarted:
    """A `DiskStore` that is opened anew for every step, as if the server had been restarted in between."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.merging = Merging()

    def __getattr__(self, name: str) -> Callable[..., object]:
        step: Callable[..., object] = getattr(DiskStore(self._root, self.merging), name)
        return step


ANY = Precondition(None)
"""There must be such a file, whatever it holds."""


def named(*contents: bytes) -> Precondition:
    """One of these must be the head."""
    return Precondition(frozenset(map(digest, contents)))


STORES = ("memory", "disk", "restarted disk")


def opened(which: str, root: Path) -> Store:
    """A new store of one of these kinds; the data of those on disk is in `root`."""
    match which:
        case "memory":
            return MemoryStore()
        case "disk":
            return DiskStore(root)
        case _:
            return Restarted(root)  # type: ignore[return-value]  # it has the methods of a store, only not by name


def left_when_recovered(root: Path) -> list[str]:
    """The leftovers once a server has started, which removes what a session under way has made for itself."""
    store = DiskStore(root)
    for project in store.projects():
        store.recover(project)
    return leftovers(root)
