"""Contents of a data directory, as a person with ordinary tools sees and edits them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from attrs import frozen

from mneme import times
from mneme.model import FILES, MEMORY, ClientId, Lock, Millis, ProjectId, Version, VersionContent
from mneme.store import layout, lockfile
from mneme.store.base import Base

ANA, BEN, EVE = ClientId("ana-0a1b2c3d"), ClientId("ben-4e5f6a7b"), ClientId("eve-8c9d0e1f")
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)
ALPHA, ORG = ProjectId("alpha"), ProjectId("org/repo")
NAMES = tuple(file.value for file in MEMORY)
ALL_NAMES = tuple(file.value for file in FILES)


class Readable(Protocol):
    """A store, or what stands for one in tests."""

    @property
    def version(self) -> Callable[[ProjectId, int], VersionContent | None]:
        """See `Store`."""
        ...


@frozen
class Seen:
    """A project's directory: its five files and its lock file."""

    heads: Mapping[str, bytes]
    lock: Lock | None


def having(sure: Version | None, *sent: Version) -> Base:
    """The base of a client with one sure version, and later ones that were sent."""
    return Base((sure, *sent), frozenset({sure.number})) if sure else Base(sent)


def content_of(store: Readable, project: ProjectId, number: int) -> bytes | None:
    """The content of a version, None if there is no such version."""
    kept: VersionContent | None = store.version(project, number)
    return kept.content if kept else None


def directory_of(root: Path, project: ProjectId) -> Path:
    """Where a project lies in the data directory `root`."""
    return root / layout.PROJECTS / layout.directory_name(project)


def see(directory: Path) -> Seen:
    """Look at a project's directory, which may be missing."""
    lock = directory / layout.LOCK
    return Seen(
        heads={name: (directory / name).read_bytes() for name in ALL_NAMES if (directory / name).is_file()},
        lock=lockfile.decode(lock.read_bytes()) if lock.is_file() else None,
    )


def leftovers(root: Path) -> list[str]:
    """Files in the working copy that are no part of a project, like temporary ones."""
    own = {*ALL_NAMES, layout.LOCK, layout.IDENTITY}
    return [
        str(path.relative_to(root))
        for directory in (root / layout.PROJECTS).iterdir()
        if directory.is_dir()
        for path in directory.iterdir()
        if path.name not in own and not path.name.startswith(f"{layout.LOCK}.damaged-")
    ]


def node_project(directory: Path, contents: Mapping[str, bytes], lock: Lock | None = None) -> None:
    """Make a project's directory as the Node server leaves it."""
    directory.mkdir(parents=True)
    for number, (name, content) in enumerate(contents.items()):
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o644)
        mtime = (NOW - 86_400_000) * 1_000_000 + number * 1_234_567
        os.utime(directory / name, ns=(mtime, mtime))
    if lock:
        node_lock(directory, lock)


def node_lock(directory: Path, lock: Lock) -> None:
    """Write a lock file as the Node server does, which knows no tokens."""
    plain = {
        "clientId": lock.client.value,
        "acquiredAt": times.to_text(lock.acquired_at),
        "expiresAt": times.to_text(lock.expires_at),
    }
    (directory / layout.LOCK).write_text(json.dumps(plain, indent=2))
    (directory / layout.LOCK).chmod(0o644)


def edit(path: Path, content: bytes, mtime: Millis | None = None) -> None:
    """Put a new file in the place of another, as an editor does."""
    new = path.with_name("new")
    new.write_bytes(content)
    if mtime is not None:
        os.utime(new, ns=(mtime * 1_000_000, mtime * 1_000_000))
    new.rename(path)


def edit_before(patch: pytest.MonkeyPatch, call: str, path: Path, line: bytes) -> None:
    """Add a line to a file just before the next call of this system call."""
    real = getattr(os, call)

    def edit_first(*arguments: Any, **options: Any) -> None:
        patch.undo()
        with path.open("ab") as file:
            file.write(line)
        real(*arguments, **options)

    patch.setattr(os, call, edit_first)
