"""The values that everything else is about: frozen, and parsed once, at the edge.

Times are milliseconds since 1970 UTC throughout (`Millis`), because that is the precision at which stock clients
compare them.
"""

import enum
import hashlib
import unicodedata
from typing import NewType, Self
from urllib.parse import quote

from attrs import frozen

from mneme.errors import InvalidClientId, InvalidProjectId

Millis = NewType("Millis", int)

MAX_PROJECT_ID = 512
MAX_CLIENT_ID = 200


@frozen
class ProjectId:
    """The name under which machines share one memory; any text of 1 to 512 characters."""

    value: str

    def __str__(self) -> str:
        """The id for people and logs: what could forge or garble a line is percent-encoded."""
        return _printable(self.value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidProjectId` when it is empty or too long."""
        if not 1 <= len(text) <= MAX_PROJECT_ID:
            raise InvalidProjectId(
                f"A project id has 1 to {MAX_PROJECT_ID} characters, this one has {len(text)}"
            )
        return cls(text)


@frozen
class ClientId:
    """What a machine calls itself: `<hostname>-<8 hex>` for the stock client."""

    value: str

    def __str__(self) -> str:
        """The id for people and logs: what could forge or garble a line is percent-encoded."""
        return _printable(self.value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidClientId` when it is too long or holds control characters."""
        if len(text) > MAX_CLIENT_ID or any(unicodedata.category(c) == "Cc" for c in text):
            raise InvalidClientId
        return cls(text)


class FileName(enum.Enum):
    """The five files of a memory, in the order in which they are always listed."""

    LOG = "log.jsonl"
    SUMMARY_JSON = "summary.json"
    SUMMARY_MD = "summary.md"
    REMEMBERED = "remembered.json"
    ENTITIES = "entities.json"


class Kind(enum.Enum):
    """How a version came to be."""

    UPLOAD = "upload"
    """A client uploaded it under its lock."""
    FOUND = "found"
    """It lay at the head without having come through the API: edited by hand, or left by the Node server."""


@frozen
class Lock:
    """A lease on a project.

    `token` only ever grows per project: each lock that is newly acquired has a larger one. It is 0 for a lock that the
    Node server wrote.
    """

    client: ClientId
    acquired_at: Millis
    expires_at: Millis
    token: int


@frozen
class Version:
    """An accepted content of a file, immutable, numbered per project from 1.

    `mtime` is what clients are told; `time` is when it was accepted here; `base` is the version of this file that the
    client is known to have had before (None: not known); `client` is None where no client was involved.
    """

    number: int
    file: FileName
    sha256: str
    size: int
    time: Millis
    mtime: Millis
    client: ClientId | None
    kind: Kind
    base: int | None


@frozen
class Head:
    """The newest accepted version of a file as it is listed; `size` in bytes of UTF-8.

    `version` is 0 for content put there by hand while there is no space to take it in as a version.
    """

    file: FileName
    version: int
    size: int
    mtime: Millis


@frozen
class Document:
    """A head with its content."""

    head: Head
    content: bytes


@frozen
class Upload:
    """What a client asks to become the head of a file; `token` is that of the lock it believes to hold, if it says."""

    file: FileName
    content: bytes
    client: ClientId
    token: int | None = None


@frozen
class Granted:
    """The client holds the lock."""

    lock: Lock


@frozen
class HeldBy:
    """Another client holds the lock."""

    lock: Lock


@frozen
class NotLocked:
    """Nobody holds the lock."""


@frozen
class Released:
    """The client's lock is gone."""

    lock: Lock


@frozen
class StaleToken:
    """The upload came under an older lock than the one that is held now."""

    lock: Lock


@frozen
class Accepted:
    """The upload is durable, and `head` is what the file is now."""

    head: Head


def _printable(text: str) -> str:
    return quote(text, safe="/!#$&'()*+,:;=?@^~")


def digest(content: bytes) -> str:
    """SHA-256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()
