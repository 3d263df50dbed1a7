"""What lies in a data directory, seen without a store: as a person with ordinary tools would see it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from mneme import times
from mneme.model import ClientId, FileName, Lock, Millis, ProjectId, Version, digest
from mneme.store import Store, layout, lockfile
from mneme.store.base import Base

ANA, BEN, EVE = ClientId("ana-0a1b2c3d"), ClientId("ben-4e5f6a7b"), ClientId("eve-8c9d0e1f")
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)
ALPHA, ORG = ProjectId("alpha"), ProjectId("org/repo")
NAMES = tuple(file.value for file in FileName)

_KEPT = re.compile(r"(\d{8,})-(.+)")


@frozen
class Seen:
    """A project's directory: its five files, what the journal says of its versions, and its lock file.

    `kept` has the numbers of the versions whose files, or spares, hold what the journal says.
    """

    heads: Mapping[str, bytes]
    versions: tuple[tuple[int, str, str], ...]
    lock: Lock | None
    tokens: tuple[int, ...]
    kept: frozenset[int]


def having(sure: Version | None, *sent: Version) -> Base:
    """The base of a client with one sure version, and later ones that were sent."""
    return Base((sure, *sent), frozenset({sure.number})) if sure else Base(sent)


def content_of(store: Store, project: ProjectId, number: int) -> bytes | None:
    """The content of a version, None if there is no such version."""
    kept = store.version(project, number)
    return kept.content if kept else None


def directory_of(root: Path, project: ProjectId) -> Path:
    """Where a project lies in the data directory `root`."""
    return root / layout.PROJECTS / layout.directory_name(project)


def see(directory: Path) -> Seen:
    """Look at a project's directory, which may be missing."""
    lines = journal_lines(directory)
    versions = tuple(
        (one["version"], one["file"], one["sha256"]) for one in lines if one["entry"] == "version"
    )
    lock = directory / layout.LOCK
    return Seen(
        heads={name: (directory / name).read_bytes() for name in NAMES if (directory / name).is_file()},
        versions=versions,
        lock=lockfile.decode(lock.read_bytes()) if lock.is_file() else None,
        tokens=tuple(one["token"] for one in lines if one["entry"] == "lock"),
        kept=frozenset(
            number for number, file, sha256 in versions if _holds(directory, number, file, sha256)
        ),
    )


def _holds(directory: Path, number: int, file: str, sha256: str) -> bool:
    history = directory / layout.HISTORY
    places = layout.version_path(history, number, FileName(file)), layout.spare_path(history, number)
    found = [path.read_bytes() for path in map(Path, places) if path.is_file()]
    return sha256 in map(digest, found)


def journal_path(directory: Path) -> Path:
    """The journal of the project in `directory`."""
    return directory / layout.HISTORY / layout.JOURNAL


def journal_lines(directory: Path) -> list[dict[str, Any]]:
    """The whole lines of the journal, each of which must be JSON."""
    path = journal_path(directory)
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def leftovers(root: Path) -> list[str]:
    """What lies in the data directory and is no part of a project: temporary files and versions without a line."""
    strange = []
    for directory in (root / layout.PROJECTS).iterdir():
        if directory.name.startswith(layout.UNFINISHED):
            strange.append(directory.name)
        known = {number for number, _, _ in see(directory).versions}
        for path in directory.rglob("*"):
            if not _belongs(path.relative_to(directory), known):
                strange.append(str(path.relative_to(root)))  # noqa: PERF401 - a loop in a loop is plainer so
    return strange


def _belongs(path: Path, known: set[int]) -> bool:
    if path.parent == Path(layout.HISTORY):
        kept = _KEPT.fullmatch(path.name)
        return path.name == layout.JOURNAL or bool(kept and int(kept[1]) in known and kept[2] in NAMES)
    own = {*NAMES, layout.LOCK, layout.FREE_LOCK, layout.IDENTITY, layout.HISTORY}
    return path.name in own or path.name.startswith(f"{layout.LOCK}.damaged-")


def node_project(directory: Path, contents: Mapping[str, bytes], lock: Lock | None = None) -> None:
    """Make a project's directory as the Node server leaves it: plain files that all may read, and no history."""
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
