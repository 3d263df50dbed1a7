"""How a project id becomes a directory, and what lies in there.

```
projects/<directory>/
  log.jsonl …             the heads, plain files
  .lock.json              the lock, if there is one
  .lock.json.free         the same file while nobody holds a lock: the next one is written over it, and it is renamed
  .project.json           the project's true id; the Node server made the directory if it is missing
  .history/journal.jsonl  a line per version, and what else there is to know of locks, bases and waiting uploads
  .history/00000012-log.jsonl
  .history/00000013.spare during a session: what version 13 will be written into, or has been
  .log.jsonl.next         only while a version becomes the head
```
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import msgspec
from attrs import frozen

from mneme import files
from mneme.model import FileName, ProjectId, digest

PROJECTS = "projects"
HISTORY = ".history"
JOURNAL = "journal.jsonl"
LOCK = ".lock.json"
FREE_LOCK = ".lock.json.free"
IDENTITY = ".project.json"
UNFINISHED = ".new-"
"""Prefix of a directory that is still being filled."""

MAX_NAME = 255
"""Bytes in the name of a directory, on any file system worth using."""

_OWN_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_VERSION_NAME = re.compile(r"(\d{8,})-(?:" + "|".join(re.escape(file.value) for file in FileName) + ")")
_SPARE_NAME = re.compile(r"(\d{8,})\.spare")
_OTHER_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")
_PREFIX_LENGTH = 60
_DIGEST_LENGTH = 16


class Identity(msgspec.Struct, frozen=True):
    """What `.project.json` holds."""

    id: str


def directory_name(project: ProjectId) -> str:
    """The project's own directory: its id where that can be one, else a readable prefix plus a digest of the id.

    The dot before the digest keeps the two kinds apart: no id that is its own directory holds one.
    """
    if _OWN_NAME.fullmatch(project.value):
        return project.value
    readable = _OTHER_CHARACTER.sub("_", project.value)[:_PREFIX_LENGTH]
    return f"{readable}.{digest(project.value.encode())[:_DIGEST_LENGTH]}"


def node_name(project: ProjectId) -> str:
    """The directory that the Node server uses: JavaScript replaces each UTF-16 unit, so an emoji becomes two `_`."""
    return _OTHER_CHARACTER.sub(lambda c: "__" if ord(c[0]) > 0xFFFF else "_", project.value)


def recorded_id(directory: Path, recorded: bytes | None) -> ProjectId | None:
    """The id of the project in `directory`, given what its `.project.json` holds; None if it cannot be known."""
    if recorded is not None:
        try:
            return ProjectId(msgspec.json.decode(recorded, type=Identity).id)
        except files.NOT_JSON:
            return None
    return ProjectId(directory.name) if _OWN_NAME.fullmatch(directory.name) else None


def version_path(history: files.StrPath, number: int, file: FileName) -> str:
    """Where the content of a version lies."""
    return f"{history}/{number:08}-{file.value}"


def spare_path(history: files.StrPath, number: int) -> str:
    """Where the content of a version is written, before it has its name."""
    return f"{history}/{number:08}.spare"


def names(directory: files.StrPath) -> list[str]:
    """What lies in a directory, which need not exist."""
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def numbered(names: Iterable[str]) -> list[int]:
    """The numbers of the versions among the names in a history."""
    return [int(match[1]) for match in map(_VERSION_NAME.fullmatch, names) if match]


def spares(names: Iterable[str]) -> list[int]:
    """The numbers of the spares among the names in a history."""
    return [int(match[1]) for match in map(_SPARE_NAME.fullmatch, names) if match]


@frozen
class Places:
    """Where everything of a project lies, worked out once."""

    directory: str
    history: str
    journal: str
    lock: str
    free_lock: str
    heads: Mapping[FileName, str]
    next: Mapping[FileName, str]
    """The second names of versions that are about to become heads; a rename takes them there."""

    @classmethod
    def of(cls, directory: Path) -> Self:
        """The places of the project in `directory`."""
        return cls(
            directory=str(directory),
            history=f"{directory}/{HISTORY}",
            journal=f"{directory}/{HISTORY}/{JOURNAL}",
            lock=f"{directory}/{LOCK}",
            free_lock=f"{directory}/{FREE_LOCK}",
            heads={file: f"{directory}/{file.value}" for file in FileName},
            next={file: f"{directory}/.{file.value}.next" for file in FileName},
        )
