"""The projects that the store says are to be exported."""

from pathlib import Path

import pytest

from mneme.model import ClientId, FileName, Millis, ProjectId, Upload
from tests.kept import DiskStore

PROJECT, CLIENT = ProjectId("alpha"), ClientId("laptop-0a1b2c3d")
NOW, TTL = Millis(1_770_217_200_000), Millis(1_800_000)
CONTENT = b'{"ts":"2026-02-04T15:00:00.000Z"}\n'


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """A store whose client holds the lock, and whose working copy is up to date."""
    store = DiskStore(tmp_path / "data")
    store.open_copy("boot")
    store.acquire(PROJECT, CLIENT, NOW, TTL)
    exported(store)
    return store


def exported(store: DiskStore) -> None:
    """Export all that is to be exported."""
    for key in tuple(store.changed):
        store.export(key, NOW)
    assert store.changed == set()


def test_an_upload_after_an_export_is_to_be_exported(store: DiskStore, tmp_path: Path) -> None:
    """The upload may be the last that the server hears of the project."""
    store.upload(PROJECT, Upload(FileName.LOG, CONTENT, CLIENT), Millis(NOW + 1))
    exported(store)
    assert (tmp_path / "data" / "projects" / "alpha" / "log.jsonl").read_bytes() == CONTENT
