"""The types of the JSON in requests and answers.

Answers may gain fields, but never lose any.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from mneme import times
from mneme.model import (
    ClientId,
    Condition,
    Event,
    EventId,
    EventPage,
    FileName,
    Head,
    Linked,
    Lock,
    Millis,
    Overview,
    ProjectId,
    Pruned,
    TwoPlaces,
    Version,
)


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of `GET /health`; the `id` comes once the database is open."""

    version: str
    auth_required: bool
    status: str = "ok"
    id: str | msgspec.UnsetType = msgspec.UNSET


class WireTwoPlaces(msgspec.Struct, frozen=True, rename="camel"):
    """A project id that a client seems to use in two places. See `TwoPlaces`."""

    project: str
    client_id: str
    file: str
    time: str

    @classmethod
    def of(cls, found: TwoPlaces) -> "WireTwoPlaces":
        """Convert from the model."""
        return cls(found.project.value, found.client.value, found.file.value, times.to_text(found.time))


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of `GET /status`.

    `data_bytes` is the size of the database on disk, `free_bytes` the free space there. `uptime_seconds` is measured by
    a clock that nobody sets. `started_at` and `now` are by the time of day, which can be wrong. `in_two_places` has the
    ids that a client seems to have used in two places in the last seven days, the newest last.
    """

    version: str
    started_at: str
    now: str
    uptime_seconds: int
    data_bytes: int
    free_bytes: int
    in_two_places: Sequence[WireTwoPlaces] = ()

    @classmethod
    def of(cls, version: str, condition: Condition, uptime_seconds: int) -> "Status":
        """Convert from the model."""
        return cls(
            version=version,
            started_at=times.to_text(condition.started_at),
            now=times.to_text(condition.now),
            uptime_seconds=uptime_seconds,
            data_bytes=condition.usage.data_bytes,
            free_bytes=condition.usage.free_bytes,
            in_two_places=[WireTwoPlaces.of(one) for one in condition.in_two_places],
        )


class WireLock(msgspec.Struct, frozen=True, rename="camel"):
    """A lock in an answer."""

    client_id: str
    acquired_at: str
    expires_at: str
    token: int

    @classmethod
    def of(cls, lock: Lock) -> "WireLock":
        """Convert from the model."""
        return cls(
            lock.client.value, times.to_text(lock.acquired_at), times.to_text(lock.expires_at), lock.token
        )

    def to_model(self) -> Lock:
        """Convert to the model; raises ValueError."""
        acquired, expires = times.from_text(self.acquired_at), times.from_text(self.expires_at)
        return Lock(ClientId(self.client_id), acquired, expires, self.token)


class LockStatus(msgspec.Struct, frozen=True):
    """The answer of `GET …/lock`."""

    locked: bool
    lock: WireLock | None


class LockGranted(msgspec.Struct, frozen=True):
    """The answer of a successful acquire or heartbeat."""

    lock: WireLock
    success: bool = True


class Success(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of a successful release."""

    success: bool
    message: str | None = None


class WireHead(msgspec.Struct, frozen=True):
    """A file in a list; `size` is in bytes of UTF-8, `sha256` in hex."""

    name: str
    size: int
    mtime: str
    version: int
    sha256: str

    @classmethod
    def of(cls, head: Head) -> "WireHead":
        """Convert from the model."""
        return cls(head.file.value, head.size, times.to_text(head.mtime), head.version, head.sha256)

    def to_model(self) -> Head:
        """Convert to the model; raises ValueError."""
        mtime = times.from_text(self.mtime)
        return Head(FileName(self.name), self.version, self.size, mtime, self.sha256)


class FileList(msgspec.Struct, frozen=True):
    """The answer of `GET …/files`."""

    files: list[WireHead]


class Download(msgspec.Struct, frozen=True):
    """The answer of `GET …/files/:name`."""

    content: str
    mtime: str
    version: int


class EncodedDownload(msgspec.Struct, frozen=True):
    """A `Download` whose content is already encoded as JSON."""

    content: msgspec.Raw
    mtime: str
    version: int


class Uploaded(msgspec.Struct, frozen=True):
    """The answer of `PUT …/files/:name` and `POST …/restore`.

    `merged` is present if the upload was merged, so that the head may differ from it.
    """

    mtime: str
    version: int
    merged: bool | msgspec.UnsetType = msgspec.UNSET
    success: bool = True


class WireVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A version in a list.

    `client_id` is null for an edit by hand. `base` is null if it is not known.
    """

    version: int
    kind: str
    size: int
    sha256: str
    mtime: str
    client_id: str | None
    base: int | None
    parents: tuple[int, ...]

    @classmethod
    def of(cls, version: Version) -> "WireVersion":
        """Convert from the model."""
        return cls(
            version=version.number,
            kind=version.kind.value,
            size=version.size,
            sha256=version.sha256,
            mtime=times.to_text(version.mtime),
            client_id=version.client.value if version.client else None,
            base=version.base,
            parents=version.parents,
        )


class VersionList(msgspec.Struct, frozen=True):
    """The answer of `GET …/files/:name/versions`."""

    versions: list[WireVersion]


class WaitingUpload(msgspec.Struct, frozen=True, rename="camel"):
    """A waiting upload: its version, file, time and client."""

    version: int
    file: str
    mtime: str
    client_id: str | None

    @classmethod
    def of(cls, version: Version) -> "WaitingUpload":
        """Convert from the model."""
        client = version.client.value if version.client else None
        return cls(version.number, version.file.value, times.to_text(version.mtime), client)


class WireProject(msgspec.Struct, frozen=True):
    """A project in a list.

    `size` is the sum of its heads in bytes, `mtime` that of the newest head, `waiting` has the waiting uploads,
    `aliases` its other ids.
    """

    id: str
    files: list[WireHead]
    size: int
    mtime: str | None
    lock: WireLock | None
    waiting: list[WaitingUpload]
    aliases: Sequence[str] = ()

    @classmethod
    def of(cls, overview: Overview) -> "WireProject":
        """Convert from the model."""
        mtimes: list[Millis] = [head.mtime for head in overview.heads]
        return cls(
            id=overview.project.value,
            files=[WireHead.of(head) for head in overview.heads],
            size=sum(head.size for head in overview.heads),
            mtime=times.to_text(max(mtimes)) if mtimes else None,
            lock=WireLock.of(overview.lock) if overview.lock else None,
            waiting=[WaitingUpload.of(version) for version in overview.waiting],
            aliases=[alias.value for alias in overview.aliases],
        )

    @property
    def ids(self) -> Sequence[str]:
        """All ids of the project, its own first."""
        return (self.id, *self.aliases)


def named(project: ProjectId, projects: Iterable[WireProject]) -> WireProject | None:
    """The project with this id or alias; None without one."""
    return next((one for one in projects if project.value in one.ids), None)


class ProjectList(msgspec.Struct, frozen=True):
    """The answer of `GET /projects`."""

    projects: list[WireProject]


class FileVersion(WireVersion, frozen=True, rename="camel"):
    """A version in a list with versions of several files."""

    file: str

    @classmethod
    def among_others(cls, version: WireVersion, file: str) -> "FileVersion":
        """The version with the name of its file."""
        return cls(**msgspec.structs.asdict(version), file=file)


class Prunable(msgspec.Struct, frozen=True):
    """The answer of `GET …/prunable`: the versions to prune, and their size in bytes."""

    versions: list[FileVersion]
    size: int

    @classmethod
    def of(cls, pruned: Pruned) -> "Prunable":
        """Convert from the model."""
        versions = [FileVersion.among_others(WireVersion.of(one), one.file.value) for one in pruned.versions]
        return cls(versions, pruned.size)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of every error, with one sentence.

    For a refused lock, `lock` is the lock that is held. For a rescued upload, `version` is its number; for a briefing
    that was the head before, it is the number of that version.
    """

    error: str
    lock: WireLock | None = None
    rescued: bool = False
    version: int | None = None


class RestoreOrder(msgspec.Struct, frozen=True):
    """The body of `POST …/restore`."""

    version: Annotated[int, msgspec.Meta(ge=1)]


class AliasOrder(msgspec.Struct, frozen=True):
    """The body of `PUT …/alias`: the id of the project."""

    of: str


class WireLinked(msgspec.Struct, frozen=True):
    """The answer of `PUT …/alias`: the project, and what became of its files."""

    project: str
    merged: Sequence[str]
    unmerged: Sequence[str]
    success: bool = True

    @classmethod
    def of(cls, linked: Linked) -> "WireLinked":
        """Convert from the model."""
        merged, unmerged = ([file.value for file in files] for files in (linked.merged, linked.unmerged))
        return cls(linked.project.value, merged, unmerged)


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an upload from the stock client, and of an append.

    A log entry has a `content`, too, but always together with other fields.
    """

    content: str


class WireEvent(msgspec.Struct, frozen=True, rename="camel"):
    """An event of `GET /events`: a new head, a lock, or a waiting upload.

    `version` is null if the file was removed. `sha256` and `client_id` are those of the version; null for a lock, and
    once the version is pruned. `lock` is the lock that is held now. `aliases` are the other ids of the project.
    """

    id: str
    kind: str
    project: str
    file: str | None
    version: int | None
    sha256: str | None
    client_id: str | None
    lock: WireLock | None
    aliases: Sequence[str] = ()

    @classmethod
    def of(cls, event: Event, line: str) -> "WireEvent":
        """Convert from the model."""
        return cls(
            id=event_id_to_text(EventId(line, event.number)),
            kind=event.kind.value,
            project=event.project.value,
            file=event.file.value if event.file else None,
            version=event.version,
            sha256=event.sha256,
            client_id=event.client.value if event.client else None,
            lock=WireLock.of(event.lock) if event.lock else None,
            aliases=[alias.value for alias in event.aliases],
        )

    @property
    def ids(self) -> Sequence[str]:
        """All ids of the project, its own first."""
        return (self.project, *self.aliases)


class WireEvents(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of `GET /events?wait=`. `last` is the id to go on from.

    With `reset`, events are missing before these: everything may have changed.
    """

    events: Sequence[WireEvent]
    last: str
    reset: bool

    @classmethod
    def of(cls, page: EventPage) -> "WireEvents":
        """Convert from the model."""
        events = [WireEvent.of(event, page.last.line) for event in page.events]
        return cls(events, event_id_to_text(page.last), page.is_reset)


def event_id_to_text(event: EventId) -> str:
    """An event id as text: `<line>-<number>`."""
    return f"{event.line}-{event.number}"


def event_id_from_text(text: str) -> EventId:
    """The event id of a text; raises ValueError."""
    line, _, number = text.rpartition("-")
    if not line or not (number.isascii() and number.isdecimal()):
        raise ValueError(text)
    return EventId(line, int(number))
