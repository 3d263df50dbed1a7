"""The layout of the data directory, and the names of project directories.

```
mneme.db                  everything, history included
projects/.working-copy    a mark; another one shows that the working copy was restored or exchanged
projects/<directory>/
  log.jsonl …             the heads, plain files
  .lock.json              the lock, if there is one
  .project.json           the project's full id; missing if the Node server made the directory
```
"""

import re
from pathlib import Path

import msgspec

from mneme.errors import NOT_JSON
from mneme.model import ProjectId, digest

PROJECTS = "projects"
LOCK = ".lock.json"
IDENTITY = ".project.json"
MARK = ".working-copy"

MAX_NAME = 255
"""Longest name of a directory in bytes, on all usual file systems."""

_OWN_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_OTHER_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")
_PREFIX_LENGTH = 60
_DIGEST_LENGTH = 16


class Identity(msgspec.Struct, frozen=True):
    """The content of `.project.json`."""

    id: str


def directory_name(project: ProjectId) -> str:
    """The name of the project's own directory.

    This is the id itself, if it has only safe characters. Else it is a readable prefix, a dot, and a digest of the id.
    The two kinds cannot be confused, because an id with a dot is never a name itself.
    """
    if _OWN_NAME.fullmatch(project.value):
        return project.value
    readable = _OTHER_CHARACTER.sub("_", project.value)[:_PREFIX_LENGTH]
    return f"{readable}.{digest(project.value.encode())[:_DIGEST_LENGTH]}"


def node_name(project: ProjectId) -> str:
    """The name of the directory that the Node server uses.

    JavaScript replaces each UTF-16 unit, so an emoji becomes two `_`.
    """
    return _OTHER_CHARACTER.sub(lambda c: "__" if ord(c[0]) > 0xFFFF else "_", project.value)


def recorded_id(directory: Path, recorded: bytes | None) -> ProjectId | None:
    """The id of the project in `directory`; None if it cannot be known.

    `recorded` is the content of its `.project.json`, None without that file.
    """
    if recorded is not None:
        try:
            return ProjectId(msgspec.json.decode(recorded, type=Identity).id)
        except NOT_JSON:
            return None
    return ProjectId(directory.name) if _OWN_NAME.fullmatch(directory.name) else None
