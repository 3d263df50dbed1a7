"""How a project id becomes a directory, and what lies in there.

```
mneme.db                  everything, history included
projects/.working-copy    the mark by which a restored or exchanged working copy is told
projects/<directory>/
  log.jsonl …             the heads, plain files
  .lock.json              the lock, if there is one
  .project.json           the project's true id; the Node server made the directory if it is missing
```
"""

import re
from pathlib import Path

import msgspec

from mneme import files
from mneme.model import ProjectId, digest

PROJECTS = "projects"
LOCK = ".lock.json"
IDENTITY = ".project.json"
MARK = ".working-copy"

MAX_NAME = 255
"""Bytes in the name of a directory, on any file system worth using."""

_OWN_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
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
