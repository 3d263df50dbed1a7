"""The values of the domain: frozen, and parsed once, where a request comes in.

All times are milliseconds since 1970 UTC (`Millis`): stock clients compare times with this precision.
"""

import enum
import hashlib
import unicodedata
from collections.abc import Collection
from functools import cached_property
from typing import NewType, Self, TypeAlias
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from mneme.errors import InvalidClientId, InvalidProjectId

Millis = NewType("Millis", int)

SLACK = Millis(60 * 60 * 1000)
"""Largest difference between two right clocks. A time further in the future was set by a wrong clock."""

MAX_PROJECT_ID = 512
MAX_CLIENT_ID = 200


class ProjectId(Struct, frozen=True):
    """The name under which machines share one memory: any text of 1 to 512 characters."""

    value: str

    def __str__(self) -> str:
        """The id for people and logs. Characters that could fake a log line are percent-encoded."""
        return _printable(self.value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidProjectId` if it is empty or too long."""
        if not 1 <= len(text) <= MAX_PROJECT_ID:
            raise InvalidProjectId(
                f"A project id has 1 to {MAX_PROJECT_ID} characters, this one has {len(text)}"
            )
        return cls(text)


class ClientId(Struct, frozen=True):
    """The name of a machine: `<hostname>-<8 hex>` for the stock client."""

    value: str

    def __str__(self) -> str:
        """The id for people and logs. Characters that could fake a log line are percent-encoded."""
        return _printable(self.value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidClientId` if too long or with control characters."""
        if len(text) > MAX_CLIENT_ID or any(unicodedata.category(c) == "Cc" for c in text):
            raise InvalidClientId
        return cls(text)


class Unnamed(enum.Enum):
    """A reader that sends no client id."""

    STOCK = "stock"
    """The stock client, recognized by its headers."""
    OTHER = "other"
    """Any other program, such as curl or a browser."""


Reader: TypeAlias = ClientId | Unnamed
"""The reader that downloads a file: a client, or a reader without a client id."""


class FileName(enum.Enum):
    """The names of the files of a project, in the order of every list."""

    LOG = "log.jsonl"
    SUMMARY_JSON = "summary.json"
    SUMMARY_MD = "summary.md"
    REMEMBERED = "remembered.json"
    ENTITIES = "entities.json"
    BRIEFING = "briefing.json"
    HANDOFF = "handoff.json"

    __hash__ = (
        object.__hash__
    )  # Each step uses them as keys, and the hash of `enum` is slow: it is written in Python.


BRIEFINGS = (FileName.BRIEFING, FileName.HANDOFF)
"""Files with which a session briefs the next one.

They are not merged, and no stock client knows them.
"""

FILES = tuple(FileName)
"""All files, in the order of every list."""

MEMORY = tuple(file for file in FileName if file not in BRIEFINGS)
"""The five files of a memory, which are merged."""


class Kind(enum.Enum):
    """The origin of a version."""

    UPLOAD = "upload"
    """A client uploaded it under its lock."""
    FOUND = "found"
    """Found in the working copy: an edit by hand, or a file of the Node server."""
    RESCUED = "rescued"
    """A client uploaded it without holding the lock: refused, but kept to be merged."""
    MERGED = "merged"
    """The merge of the old head with an upload or an edit."""
    RESTORED = "restored"
    """An older version, made the head again by a client under its lock."""
    REMOVED = "removed"
    """The content of a head that a client removed."""


class Lock(Struct, frozen=True):
    """A lock on a project, held by a client until it expires.

    Each new lock of a project has a larger `token`; it is 0 for a lock written by the Node server. `last_acquired_at`
    is when the client last acquired the lock, for the first time or again; each is later than the one before. It is
    None for a lock that was not acquired on this server. `extended_at` is the time of the last heartbeat.
    """

    client: ClientId
    acquired_at: Millis
    expires_at: Millis
    token: int
    last_acquired_at: Millis | None = None
    extended_at: Millis | None = None


class Role(enum.Enum):
    """The relation of a version to the head at the time when it was stored."""

    HEAD = "head"
    """The version became the head of its file."""
    WAITING = "waiting"
    """The version waited to be merged with the head."""
    BESIDE = "beside"
    """The version was stored only as history."""


class Appended(Struct, frozen=True):
    """Facts about a version made by an append.

    `key` is the idempotency key, if any. `lines` is the digest of the added lines.
    """

    key: str | None
    lines: str


class Version(Struct, frozen=True):
    """A stored version of a file: immutable, and numbered from 1 in each project.

    `size` is in bytes, `sha256` in hex. `mtime` is the time that clients get, `time` is when the server accepted the
    version. `client` is None for an edit by hand. `base` is the number of the version that the upload was made from, or
    that an append added to; None if not known. `parents` are the versions that were merged or restored, or the waiting
    upload that was replaced. `names_base` is whether the client itself named the base. `is_unrelated` is whether the
    upload shared nothing with the versions that its client had.
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
    parents: tuple[int, ...] = ()
    role: Role = Role.HEAD
    appended: Appended | None = None
    names_base: bool = False
    is_unrelated: bool = False
    stored: int = 0
    """The bytes that the version takes in the database."""


class VersionContent(Struct, frozen=True):
    """A version with its content."""

    version: Version
    content: bytes


class Head(Struct, frozen=True):
    """The current version of a file; `size` in bytes, `sha256` in hex."""

    file: FileName
    version: int
    size: int
    mtime: Millis
    sha256: str


class Document(Struct, frozen=True):
    """A head with its content."""

    head: Head
    content: bytes


class Receipt(Struct, frozen=True):
    """A receipt for a version sent to a client, its base once received."""

    client: ClientId
    file: FileName
    version: int


class Served(Struct, frozen=True):
    """A document to be sent, with a receipt.

    The receipt is None if the client is unknown, or surely has this version.
    """

    document: Document
    receipt: Receipt | None


class Unmodified(Struct, frozen=True):
    """The outcome of a download if the client already has the head."""

    head: Head


class Precondition(Struct, frozen=True):
    """A condition on the head of a file, without which a request has no effect.

    The digest of the head must be one of `digests`, SHA-256 in hex. None means any head. With `absent`, there must be
    no head.
    """

    digests: frozenset[str] | None
    absent: bool = False

    def holds(self, head: Head | None) -> bool:
        """Whether the head meets the condition."""
        if self.absent or head is None:
            return self.absent and head is None
        return self.admits(head.sha256)

    def admits(self, sha256: str) -> bool:
        """Whether a head with this content meets the condition."""
        return self.digests is None or sha256 in self.digests

    def names(self, sha256: str) -> bool:
        """Whether this content is named, alone or with others."""
        return self.digests is not None and sha256 in self.digests

    def names_only(self, sha256: str) -> bool:
        """Whether only this content is named, so that the client surely has it."""
        return self.digests == frozenset({sha256})

    @property
    def is_exact(self) -> bool:
        """Whether a single content is named, or that there must be none."""
        return self.absent or (self.digests is not None and len(self.digests) == 1)


NOT_THERE = Precondition(frozenset(), absent=True)
"""The condition that there is no such file yet."""


class Upload(Struct, frozen=True, dict=True):
    """A content that a client uploads as the new head of a file.

    `token` is the token of the client's lock, if it sends one. `only_if` names the head that the client has made the
    upload from: that must still be the head.
    """

    file: FileName
    content: bytes
    client: ClientId
    token: int | None = None
    only_if: Precondition | None = None
    appended: Appended | None = None
    """Facts about the append, if the upload was made from one."""

    @cached_property
    def sha256(self) -> str:
        """The digest of the content, computed at first use, off the reactor thread."""
        return digest(self.content)


class Append(Struct, frozen=True):
    """Lines that a client adds at the end of a file; `token` as in `Upload`.

    `only_if` must name the content that the lines follow. An append with a `key` that its client has used before is a
    repetition.
    """

    file: FileName
    lines: bytes
    client: ClientId
    token: int | None = None
    only_if: Precondition | None = None
    key: str | None = None


class Removal(Struct, frozen=True):
    """A removal of the head by a client that knows its content: one of `BRIEFINGS`."""

    file: FileName
    client: ClientId
    only_if: Precondition | None


class Restore(Struct, frozen=True):
    """A version that a client makes the head again; `token` as in `Upload`."""

    file: FileName
    version: int
    client: ClientId
    token: int | None = None


class Merging(Struct, frozen=True):
    """Settings for merges: whether uploads are merged, and the largest merged file.

    `max_bytes` is the size, in bytes, of the answer with which a stock client would download the file.
    """

    enabled: bool = True
    max_bytes: int = 10 * 1024 * 1024


class Granted(Struct, frozen=True):
    """The outcome if the client holds the lock."""

    lock: Lock


class HeldBy(Struct, frozen=True):
    """The outcome if another client holds the lock."""

    lock: Lock


class NotLocked(Struct, frozen=True):
    """The outcome if nobody holds the lock."""


class Released(Struct, frozen=True):
    """The outcome of a release. `leaves_waiting` is whether uploads are waiting."""

    lock: Lock
    leaves_waiting: bool = False


class StaleToken(Struct, frozen=True):
    """The outcome if the request names an older lock than the held one."""

    lock: Lock


class Changed(Struct, frozen=True):
    """The outcome of an upload whose precondition does not hold; `head` is the current one."""

    head: Head | None


class Accepted(Struct, frozen=True):
    """The outcome of an upload that is durable, with the new head.

    `merged` is whether the head is a merge, and so may differ from the upload.
    """

    head: Head
    merged: bool = False


class Removed(Struct, frozen=True):
    """The outcome of a removal that is durable; `version` has the content that was removed."""

    version: int


class Bygone(Struct, frozen=True):
    """The outcome of an upload whose content was the head before: nothing was changed.

    `version` is the newest with that content.
    """

    version: int


class Linked(Struct, frozen=True):
    """The outcome of a link: the project that both ids name now.

    `merged` are the files that both ids had, and that were merged. `unmerged` are those that could not be merged: the
    head of the project stays, and the other file is in its history.
    """

    project: ProjectId
    merged: tuple[FileName, ...] = ()
    unmerged: tuple[FileName, ...] = ()


class Rescued(Struct, frozen=True):
    """The outcome of an upload whose client does not hold the lock.

    The content is kept as `version`; None if there was no space for it.
    """

    refusal: HeldBy | NotLocked
    version: int | None


class Overview(Struct, frozen=True):
    """An overview of a project: its waiting uploads, and its other ids."""

    project: ProjectId
    heads: tuple[Head, ...]
    lock: Lock | None
    waiting: tuple[Version, ...]
    aliases: tuple[ProjectId, ...] = ()

    def only(self, files: Collection[FileName]) -> Self:
        """The overview without the files that are not in `files`."""
        heads = tuple(one for one in self.heads if one.file in files)
        return replace(self, heads=heads, waiting=tuple(one for one in self.waiting if one.file in files))


class Pruned(Struct, frozen=True):
    """Versions that were or can be removed from a project's history, oldest first."""

    project: ProjectId
    versions: tuple[Version, ...]

    @property
    def size(self) -> int:
        """The space of the versions in bytes."""
        return sum(version.stored for version in self.versions)

    def only(self, files: Collection[FileName]) -> Self:
        """The versions of `files` among these."""
        return replace(self, versions=tuple(one for one in self.versions if one.file in files))


class Usage(Struct, frozen=True):
    """The bytes that the database takes, and the free bytes of its disk."""

    data_bytes: int
    free_bytes: int


class TwoPlaces(Struct, frozen=True):
    """A project id that a client seems to use in two places.

    At `time`, its upload of `file` shared nothing with the versions that the client had.
    """

    project: ProjectId
    client: ClientId
    file: FileName
    time: Millis


class Condition(Struct, frozen=True):
    """The condition of the server: start time, current time, and disk usage.

    Both times are by the server's time of day. `in_two_places` has the ids that a client seems to have used in two
    places in the last seven days.
    """

    started_at: Millis
    now: Millis
    usage: Usage
    in_two_places: tuple[TwoPlaces, ...] = ()


def _printable(text: str) -> str:
    return quote(text, safe="/!#$&'()*+,:;=?@^~")


def digest(content: bytes) -> str:
    """SHA-256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()


class EventKind(enum.Enum):
    """Kinds of changes of which the server tells its listeners."""

    HEAD = "head"
    """A file has a new head, or was removed."""
    LOCK = "lock"
    """The lock was acquired, extended or freed."""
    WAITING = "waiting"
    """A refused upload was kept, and waits to be merged."""


class EventId(Struct, frozen=True):
    """The id of an event: `number` grows within its `line`, which is a random text.

    A restored database begins a new line, since its numbers may be used again.
    """

    line: str
    number: int


class Event(Struct, frozen=True):
    """A change in a project.

    A removed file has no `version`. `sha256` and `client` are those of the version, and None once it is pruned. `lock`
    is the lock that is held when the event is read.
    """

    number: int
    project: ProjectId
    kind: EventKind
    file: FileName | None = None
    version: int | None = None
    sha256: str | None = None
    client: ClientId | None = None
    lock: Lock | None = None
    aliases: tuple[ProjectId, ...] = ()
    """The other ids of the project."""


class EventPage(Struct, frozen=True):
    """Some events in order; `last` is the id to go on from.

    With `is_reset`, events are missing before these: everything may have changed.
    """

    events: tuple[Event, ...]
    last: EventId
    is_reset: bool = False
