"""Types of the JSON on the wire. Answers may gain fields, never lose any."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from mneme import times
from mneme.model import (
    ClientId,
    Condition,
    FileName,
    Head,
    Lock,
    Millis,
    Overview,
    Pruned,
    TwoPlaces,
    Version,
)


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /health`."""

    version: str
    auth_required: bool
    status: str = "ok"


class WireTwoPlaces(msgspec.Struct, frozen=True, rename="camel"):
    """A project id that a client seems to use in two places.

    Its upload of `file` at `time` had nothing in common with its base.
    """

    project: str
    client_id: str
    file: str
    time: str

    @classmethod
    def of(cls, found: TwoPlaces) -> "WireTwoPlaces":
        """The id in words of the wire."""
        return cls(found.project.value, found.client.value, found.file.value, times.to_text(found.time))


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /status`: `data_bytes` is the database's size, `free_bytes` the free space.

    `uptime_seconds` go by a clock that nobody sets, unlike that which tells `started_at` and `now`. `in_two_places` are
    the ids that seemed to be used in two places in the last seven days, the newest last.
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
        """The condition in words of the wire."""
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
    """A lock, as every answer that has one shows it."""

    client_id: str
    acquired_at: str
    expires_at: str
    token: int

    @classmethod
    def of(cls, lock: Lock) -> "WireLock":
        """The lock in words of the wire."""
        return cls(
            lock.client.value, times.to_text(lock.acquired_at), times.to_text(lock.expires_at), lock.token
        )

    def to_model(self) -> Lock:
        """The lock in words of the model; raises ValueError."""
        acquired, expires = times.from_text(self.acquired_at), times.from_text(self.expires_at)
        return Lock(ClientId(self.client_id), acquired, expires, self.token)


class LockStatus(msgspec.Struct, frozen=True):
    """`GET …/lock`."""

    locked: bool
    lock: WireLock | None


class LockGranted(msgspec.Struct, frozen=True):
    """An acquire or a heartbeat that went well."""

    lock: WireLock
    success: bool = True


class Success(msgspec.Struct, frozen=True, omit_defaults=True):
    """A release that went well."""

    success: bool
    message: str | None = None


class WireHead(msgspec.Struct, frozen=True):
    """A file in a list; `size` in bytes of UTF-8, `sha256` in hex."""

    name: str
    size: int
    mtime: str
    version: int
    sha256: str

    @classmethod
    def of(cls, head: Head) -> "WireHead":
        """The head in words of the wire."""
        return cls(head.file.value, head.size, times.to_text(head.mtime), head.version, head.sha256)

    def to_model(self) -> Head:
        """The head in words of the model; raises ValueError."""
        mtime = times.from_text(self.mtime)
        return Head(FileName(self.name), self.version, self.size, mtime, self.sha256)


class FileList(msgspec.Struct, frozen=True):
    """`GET …/files`."""

    files: list[WireHead]


class Download(msgspec.Struct, frozen=True):
    """`GET …/files/:name`."""

    content: str
    mtime: str
    version: int


class EncodedDownload(msgspec.Struct, frozen=True):
    """A `Download` whose content is JSON already."""

    content: msgspec.Raw
    mtime: str
    version: int


class Uploaded(msgspec.Struct, frozen=True):
    """`PUT …/files/:name` and `POST …/restore`; `merged` where the head is another than what was uploaded."""

    mtime: str
    version: int
    merged: bool | msgspec.UnsetType = msgspec.UNSET
    success: bool = True


class WireVersion(msgspec.Struct, frozen=True, rename="camel"):
    """A version in a list; `client_id` is null for edits by hand, `base` if unknown."""

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
        """The version in words of the wire."""
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
    """`GET …/files/:name/versions`."""

    versions: list[WireVersion]


class WaitingUpload(msgspec.Struct, frozen=True, rename="camel"):
    """An upload that waits to be merged: version, file, mtime and client."""

    version: int
    file: str
    mtime: str
    client_id: str | None

    @classmethod
    def of(cls, version: Version) -> "WaitingUpload":
        """The version in words of the wire."""
        client = version.client.value if version.client else None
        return cls(version.number, version.file.value, times.to_text(version.mtime), client)


class WireProject(msgspec.Struct, frozen=True):
    """A project in a list: total `size`, newest `mtime`, lock, and waiting uploads."""

    id: str
    files: list[WireHead]
    size: int
    mtime: str | None
    lock: WireLock | None
    waiting: list[WaitingUpload]

    @classmethod
    def of(cls, overview: Overview) -> "WireProject":
        """The project in words of the wire."""
        mtimes: list[Millis] = [head.mtime for head in overview.heads]
        return cls(
            id=overview.project.value,
            files=[WireHead.of(head) for head in overview.heads],
            size=sum(head.size for head in overview.heads),
            mtime=times.to_text(max(mtimes)) if mtimes else None,
            lock=WireLock.of(overview.lock) if overview.lock else None,
            waiting=[WaitingUpload.of(version) for version in overview.waiting],
        )


class ProjectList(msgspec.Struct, frozen=True):
    """`GET /projects`."""

    projects: list[WireProject]


class FileVersion(WireVersion, frozen=True, rename="camel"):
    """A version in a list of more than one file's."""

    file: str

    @classmethod
    def among_others(cls, version: WireVersion, file: str) -> "FileVersion":
        """The version, with the file that it is one of."""
        return cls(**msgspec.structs.asdict(version), file=file)


class Prunable(msgspec.Struct, frozen=True):
    """`GET …/prunable`: what pruning would remove now, and the bytes that it would free."""

    versions: list[FileVersion]
    size: int

    @classmethod
    def of(cls, pruned: Pruned) -> "Prunable":
        """The versions in words of the wire."""
        versions = [FileVersion.among_others(WireVersion.of(one), one.file.value) for one in pruned.versions]
        return cls(versions, pruned.size)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error: a sentence, the lock that is held, the version of a kept upload."""

    error: str
    lock: WireLock | None = None
    rescued: bool = False
    version: int | None = None


class RestoreOrder(msgspec.Struct, frozen=True):
    """The body of `POST …/restore`."""

    version: Annotated[int, msgspec.Meta(ge=1)]


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an upload as the stock client sends it, and of an append.

    An entry of the log has a `content`, too, but never that alone.
    """

    content: str
