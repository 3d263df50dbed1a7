"""The store says when something is to be exported, whatever it was that changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mneme.model import FileName, Millis, Upload
from tests.kept import DiskStore
from tests.store.asking import ONE
from tests.store.looking import ALPHA, ANA, NOW, TTL, directory_of

LATER = Millis(NOW + 1)

CHANGES: dict[str, Callable[[DiskStore], object]] = {
    "an upload": lambda store: store.upload(ALPHA, Upload(FileName.LOG, ONE, ANA), LATER),
    "a release": lambda store: store.release(ALPHA, ANA, LATER),
    "a heartbeat": lambda store: store.extend(ALPHA, ANA, LATER, TTL),
}


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """A store whose client holds the lock, and whose working copy is up to date."""
    store = DiskStore(tmp_path)
    store.open_copy("boot")
    store.acquire(ALPHA, ANA, NOW, TTL)
    export(store)
    return store


def export(store: DiskStore) -> None:
    """Export all that is to be exported."""
    store.has_changes = False
    for key in store.changed_projects():
        store.export(key, NOW)
    assert store.changed_projects() == {}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_head_or_a_lock_is_to_be_exported(store: DiskStore, change: str) -> None:
    """The change may be the last that the server hears of the project."""
    CHANGES[change](store)
    assert store.has_changes
    assert len(store.changed_projects()) == 1


def test_steps_that_change_nothing_are_not_to_be_exported(store: DiskStore) -> None:
    """A list, a download, and an upload of what is the head."""
    store.upload(ALPHA, Upload(FileName.LOG, ONE, ANA), NOW)
    export(store)
    store.heads(ALPHA, LATER)
    store.download(ALPHA, FileName.LOG, ANA, LATER)
    store.upload(ALPHA, Upload(FileName.LOG, ONE, ANA), LATER)
    assert not store.has_changes
    assert store.changed_projects() == {}


def test_an_edit_by_hand_is_noted_as_exported(store: DiskStore, tmp_path: Path) -> None:
    """An edit becomes a head like any other."""
    (directory_of(tmp_path, ALPHA) / "log.jsonl").write_bytes(ONE)
    store.heads(ALPHA, LATER)
    assert store.has_changes
