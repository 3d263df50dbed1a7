"""A data directory with some memory in it, and what it holds."""

from __future__ import annotations

from pathlib import Path

from mneme.model import Accepted, FileName, Millis, ProjectId, Upload
from mneme.store.sqlite import NAME
from tests.store.looking import ANA, NOW, TTL
from tests.store.stores import Patient

PROJECTS = (ProjectId("alpha"), ProjectId("beta"))


def filled(root: Path, versions: int = 3) -> Patient:
    """An open store with some versions of two files in two projects, all exported."""
    root.mkdir(parents=True, exist_ok=True)
    store = Patient(root)
    for project in PROJECTS:
        store.acquire(project, ANA, NOW, TTL)
        for number in range(versions):
            put(store, project, text(project, number))
            put(store, project, text(project, number) * 300, FileName.LOG)
        store.release(project, ANA, NOW)
    return store


def text(project: ProjectId, number: int) -> bytes:
    """The content of a version."""
    return f'{{"content": "note {number} of {project}"}}\n'.encode()


def put(
    store: Patient,
    project: ProjectId,
    content: bytes,
    file: FileName = FileName.SUMMARY_MD,
    now: Millis = NOW,
) -> None:
    """Make a content the head of a file; the lock is held."""
    assert isinstance(store.upload(project, Upload(file, content, ANA), now), Accepted)


def contents(root: Path) -> dict[tuple[str, int], bytes]:
    """Every version that there is, by project and number."""
    store = Patient(root)
    try:
        return {
            (project.value, version.number): store.version(project, version.number).content
            for project in store.projects()
            for version in store.versions(project)
        }
    finally:
        store.close()


def database_of(root: Path) -> Path:
    """The file of the database."""
    return root / NAME
