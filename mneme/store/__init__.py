"""Where memory is kept: the `Store` protocol and its two forms, on disk and in memory.

A store's methods are plain blocking code. Each is one atomic step: it checks the lock, writes and commits, and says
what came of it. Nothing above a store may assume that it is the only process; what keeps the steps of one project apart
(a lane, a transaction) is the store's affair or its caller's, and `DiskStore` says which.
"""

from collections.abc import Iterator
from typing import Protocol

from mneme.model import (
    Accepted,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Lock,
    Millis,
    NotLocked,
    ProjectId,
    Released,
    StaleToken,
    Upload,
    Version,
)


class Store(Protocol):
    """Memory by project. Any method may raise `DiskFull` (then nothing was changed) or `OSError` (a fault)."""

    def lock(self, project: ProjectId, now: Millis, /) -> Lock | None:
        """The lock held at `now`. An expired one is none, whether or not anything has reaped it yet."""
        ...

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /) -> Granted | HeldBy:
        """Lock the project for `client` until `now + ttl`, or extend its own lock. Durable when it returns."""
        ...

    def extend(
        self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /
    ) -> Granted | HeldBy | NotLocked:
        """Move the expiry of the client's own lock. Durable when it returns."""
        ...

    def release(self, project: ProjectId, client: ClientId, now: Millis, /) -> Released | HeldBy | NotLocked:
        """Free the client's own lock. Durable when it returns."""
        ...

    def heads(self, project: ProjectId, now: Millis, /) -> tuple[Head, ...]:
        """The files that the project has, in the order of `FileName`. A project never written has none."""
        ...

    def read(self, project: ProjectId, file: FileName, now: Millis, /) -> Document | None:
        """The head of `file` with its content, whole."""
        ...

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis, /
    ) -> Accepted | HeldBy | NotLocked | StaleToken:
        """Make the upload the head of its file, if its client holds the lock.

        Durable when it returns `Accepted`: it survives a crash at any later instant. The new mtime is `now`, or one
        millisecond past the file's last one if that is later. Content identical to the head makes no version and
        leaves the mtime as it is.
        """
        ...

    def versions(self, project: ProjectId, /) -> tuple[Version, ...]:
        """Every version of the project, oldest first."""
        ...

    def content(self, project: ProjectId, number: int, /) -> bytes | None:
        """The content of a version; None if there is no such version, `DamagedVersion` if it is not as accepted."""
        ...

    def projects(self) -> Iterator[ProjectId]:
        """Every project that has been written, in no order."""
        ...

    def recover(self, project: ProjectId, /) -> None:
        """Finish what a crash left half done in a project: what was committed is rolled forward, the rest dropped."""
        ...

    def expired(self, now: Millis, /) -> tuple[ProjectId, ...]:
        """The projects that may have an expired lock to reap; costs by the number of locks, not of projects."""
        ...

    def reap(self, project: ProjectId, now: Millis, /) -> Lock | None:
        """Remove the project's lock if it has expired, and return it then."""
        ...
