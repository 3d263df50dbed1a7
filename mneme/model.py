"""The values that everything else is about: frozen, and parsed once, at the edge.

Times are milliseconds since 1970 UTC throughout (`Millis`), because that is the precision at which stock clients
compare them.
"""

import enum
import hashlib
import unicodedata
from functools import cached_property
from typing import NewType, Self, TypeAlias
from urllib.parse import quote

from attrs import field, frozen

from mneme.errors import InvalidClientId, InvalidProjectId

Millis = NewType("Millis", int)

SLACK = Millis(60 * 60 * 1000)
"""The most by which two right clocks differ: an instant further in the future is a wrong clock's."""

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


class Unnamed(enum.Enum):
    """A reader that does not say who it is."""

    STOCK = "stock"
    """The stock client, by its headers."""
    OTHER = "other"
    """Somebody else: a person with curl, a browser."""


Reader: TypeAlias = ClientId | Unnamed
"""A client, or somebody without a name, that downloads a file."""


class FileName(enum.Enum):
    """The five files of a memory, in the order in which they are always listed."""

    LOG = "log.jsonl"
    SUMMARY_JSON = "summary.json"
    SUMMARY_MD = "summary.md"
    REMEMBERED = "remembered.json"
    ENTITIES = "entities.json"

    __hash__ = object.__hash__  # Each is a key at every step, and that of `enum` is written in Python.


class Kind(enum.Enum):
    """How a version came to be."""

    UPLOAD = "upload"
    """A client uploaded it under its lock."""
    FOUND = "found"
    """It lay at the head without having come through the API: edited by hand, or left by the Node server."""
    RESCUED = "rescued"
    """A client uploaded it without holding the lock: refused, and kept until it can be merged."""
    MERGED = "merged"
    """The head as it was, merged with an upload."""
    RESTORED = "restored"
    """An older version, made the head again by a client under its lock."""


@frozen
class Lock:
    """A lease on a project.

    `token` only ever grows per project: each lock that is newly acquired has a larger one. It is 0 for a lock that the
    Node server wrote. `last_acquired_at` is when its client last acquired it here, for the first time or again, each
    time later than before; None if it never has. `extended_at` is when it was last extended by a heartbeat.
    """

    client: ClientId
    acquired_at: Millis
    expires_at: Millis
    token: int
    last_acquired_at: Millis | None = None
    extended_at: Millis | None = None


class Place(enum.Enum):
    """Where a version stood when it was kept."""

    HEAD = "head"
    """It became the head of its file."""
    WAITING = "waiting"
    """It was kept beside the head, to be merged with it."""
    BESIDE = "beside"
    """It was kept beside the head, and that is all."""


@frozen
class Appended:
    """The idempotency key of the append that a content came of, if any, and the digest of its lines."""

    key: str | None
    lines: str


@frozen
class Version:
    """A content of a file that was kept, immutable, numbered per project from 1.

    `mtime` is what clients are told; `time` is when it was accepted here; `base` is the version of this file that the
    client is known to have had before, or that an append added to (None: not known); `client` is None where no client
    was involved. `parents` are the versions that a merge or a restore was made of, or the waiting upload whose place it
    took. `names_base` is whether the client itself said what the base is; `is_unrelated`, whether the upload shared
    nothing with what its client had.
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
    place: Place = Place.HEAD
    appended: Appended | None = None
    names_base: bool = False
    is_unrelated: bool = False
    stored: int = field(default=0, eq=False)
    """The bytes that it takes in the database."""


@frozen
class VersionContent:
    """A version with its content."""

    version: Version
    content: bytes


@frozen
class Head:
    """The newest accepted version of a file; `size` in bytes, `sha256` in hex."""

    file: FileName
    version: int
    size: int
    mtime: Millis
    sha256: str


@frozen
class Document:
    """A head with its content."""

    head: Head
    content: bytes


@frozen
class Receipt:
    """A version that is being sent to a client: its base once the answer was taken."""

    client: ClientId
    file: FileName
    version: int


@frozen
class Served:
    """A document that is about to be sent, and whose receipt would be news, if anybody's."""

    document: Document
    receipt: Receipt | None


@frozen
class Unmodified:
    """What its client has already is the head."""

    head: Head


@frozen
class Precondition:
    """What the head of a file must be for a request to count: one whose content has one of these `digests`.

    `digests` of None are any. If `absent`, there must be no head at all.
    """

    digests: frozenset[str] | None
    absent: bool = False

    def holds(self, head: Head | None) -> bool:
        """Whether the head is what it must be."""
        if self.absent or head is None:
            return self.absent and head is None
        return self.admits(head.sha256)

    def admits(self, sha256: str) -> bool:
        """Whether a head may have this content."""
        return self.digests is None or sha256 in self.digests

    def names(self, sha256: str) -> bool:
        """Whether this content is one of those that are named."""
        return self.digests is not None and sha256 in self.digests

    def names_only(self, sha256: str) -> bool:
        """Whether this content is named and no other, so that whoever names it has it."""
        return self.digests == frozenset({sha256})

    @property
    def is_exact(self) -> bool:
        """Whether a single content is named, or that there must be none."""
        return self.absent or (self.digests is not None and len(self.digests) == 1)


NOT_THERE = Precondition(frozenset(), absent=True)
"""There must be no such file yet."""


@frozen
class Upload:
    """What a client asks to become the head of a file; `token` is that of the lock it believes to hold, if it says.

    `only_if` is what the head must still be: the client says that it made the upload from that.
    """

    file: FileName
    content: bytes
    client: ClientId
    token: int | None = None
    only_if: Precondition | None = None
    appended: Appended | None = None
    """What there is to know of the `Append` that it comes from."""

    @cached_property
    def sha256(self) -> str:
        """The digest of the content, taken when it is first needed: that is a step off the reactor thread."""
        return digest(self.content)


@frozen
class Append:
    """Lines that a client asks to be added at the end of a file; `token` as in `Upload`.

    `only_if` must name the content that the lines follow. A second append of the same client with the same `key` is a
    repetition of the first.
    """

    file: FileName
    lines: bytes
    client: ClientId
    token: int | None = None
    only_if: Precondition | None = None
    key: str | None = None


@frozen
class Restore:
    """What a client asks to become the head of a file again; `token` as in `Upload`."""

    file: FileName
    version: int
    client: ClientId
    token: int | None = None


@frozen
class Merging:
    """Whether uploads are merged with heads that their clients did not know, and how large a merged file may be.

    `max_bytes` is the size of the answer with which a stock client would download it.
    """

    enabled: bool = True
    max_bytes: int = 10 * 1024 * 1024


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
    """The client's lock is gone. `leaves_waiting` is whether uploads wait to be merged now."""

    lock: Lock
    leaves_waiting: bool = field(default=False, eq=False)


@frozen
class StaleToken:
    """The upload came under an older lock than the one that is held now."""

    lock: Lock


@frozen
class Changed:
    """The upload was refused, for the head is not what it was only to replace."""

    head: Head | None


@frozen
class Accepted:
    """The upload is durable, and `head` is what the file is now: the upload, or what it was `merged` into."""

    head: Head
    merged: bool = False


@frozen
class Rescued:
    """The upload was refused for its lock. Its content is kept as `version`; None: there was no space to keep it."""

    refusal: HeldBy | NotLocked
    version: int | None


@frozen
class Overview:
    """What there is to know of a project at a glance; `waiting` are the uploads that are yet to be merged."""

    project: ProjectId
    heads: tuple[Head, ...]
    lock: Lock | None
    waiting: tuple[Version, ...]


@frozen
class Pruned:
    """Versions that were removed from the history of a project, or that would be, oldest first."""

    project: ProjectId
    versions: tuple[Version, ...]

    @property
    def size(self) -> int:
        """How much space they take, in bytes."""
        return sum(version.stored for version in self.versions)


@frozen
class Usage:
    """The bytes that the database takes, and those that are free for more of it."""

    data_bytes: int
    free_bytes: int


@frozen
class TwoPlaces:
    """A project id that a client seems to use in two places, by its upload of `file`."""

    project: ProjectId
    client: ClientId
    file: FileName
    time: Millis


@frozen
class Condition:
    """How the server does: since when it is there, what time it is now, both by its time of day, and how full it is.

    `in_two_places` are the ids that lately seemed to be used in two places.
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
