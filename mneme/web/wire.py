"""The JSON that goes over the wire, as types. Answers may gain fields, never lose any."""

import msgspec

from mneme import times
from mneme.model import Head, Lock


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """`GET /health`."""

    version: str
    auth_required: bool
    status: str = "ok"


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
    """A file in a list; `size` in bytes of UTF-8."""

    name: str
    size: int
    mtime: str
    version: int

    @classmethod
    def of(cls, head: Head) -> "WireHead":
        """The head in words of the wire."""
        return cls(head.file.value, head.size, times.to_text(head.mtime), head.version)


class FileList(msgspec.Struct, frozen=True):
    """`GET …/files`."""

    files: list[WireHead]


class Download(msgspec.Struct, frozen=True):
    """`GET …/files/:name`."""

    content: str
    mtime: str
    version: int


class Uploaded(msgspec.Struct, frozen=True):
    """`PUT …/files/:name`."""

    mtime: str
    version: int
    success: bool = True


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every error: one sentence, and for a refused lock the lock that is held."""

    error: str
    lock: WireLock | None = None


class Envelope(msgspec.Struct, frozen=True):
    """The body of an upload as the stock client sends it."""

    content: str
