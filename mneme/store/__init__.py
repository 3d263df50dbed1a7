"""Where memory is kept: the `Store` protocol and its two forms, on disk and in memory.

A store's methods are plain blocking code. Each is one atomic step: it checks the lock, writes and commits, and says
what came of it. Nothing above a store may assume that it is the only process; what keeps the steps of one project apart
(a lane, a transaction) is the store's affair or its caller's, and `DiskStore` says which.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Protocol

from mneme.model import (
    Accepted,
    Append,
    AtHand,
    Changed,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Overview,
    Precondition,
    ProjectId,
    Pruned,
    Reader,
    Receipt,
    Released,
    Rescued,
    Restore,
    Served,
    StaleToken,
    TwoPlaces,
    Unmodified,
    Upload,
    Usage,
    Version,
    VersionContent,
)
from mneme.retention import Retention


def nothing(_sha256: str) -> None:
    """What somebody has at hand who has nothing."""


class Store(Protocol):
    """Memory by project. Any method may raise `DiskFull` or `OSError`, which is a fault.

    Where it is `DiskFull` nothing was changed, but that an upload of the holder may have been kept, and waits.

    Uploads that wait to be merged are merged by whatever step finds that nobody holds the lock, before it does what it
    is there for, and by the step that frees the lock after that.
    """

    merging: Merging
    """May be exchanged at any time; counts from the next step."""

    def lock(self, project: ProjectId, now: Millis, /) -> Lock | None:
        """The lock held at `now`. An expired one is none, whether or not anything has reaped it yet."""
        ...

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /) -> Granted | HeldBy:
        """Lock the project for `client` until `now + ttl`, or extend its own lock. Durable when it returns.

        Whoever gets a new lock gets it with all waiting uploads merged.
        """
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

    def stock_heads(self, project: ProjectId, now: Millis, /, *, again: bool = False) -> tuple[Head, ...]:
        """What `heads` says, for a list of the stock client.

        The first one after an acquire is that of a pull, and true. Any other is that of a push, which uploads only what
        is newer than the mtimes listed: all of these are 0 then, so that the machine uploads what it has. A list that
        is asked for `again`, because its answer was lost, is what the last one was.

        A pull of a client that lacks the head, and pushes its base all the same, is told a later mtime: see `Base`.
        """
        ...

    def download(
        self,
        project: ProjectId,
        file: FileName,
        reader: Reader,
        now: Millis,
        /,
        *,
        unless: Precondition | None = None,
        at_hand: Callable[[str], bytes | None] = nothing,
    ) -> Served | AtHand | Unmodified | None:
        """The head of `file` with its content, for a reader that may make its next upload from it.

        What the caller has `at_hand`, by the digest of a content, is not read. It is asked on the store's thread.

        Where the head is such that `unless` holds, the reader has it already, and is told so. If it says who it is, and
        names that content, it is its base; named with others, it is a candidate.

        From now on the version is one that the reader was sent: the client that names itself, or for the stock client
        the one that has just acquired the lock. The receipt is for `confirm` and `doubt`.
        """
        ...

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        """Take note that the client has taken the whole answer: it has this version, and none older."""
        ...

    def doubt(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        """Take note that the client has perhaps not received what it was sent."""
        ...

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis, /
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Make the upload the head of its file, or part of it, if its client holds the lock; else keep it.

        Durable when it returns `Accepted` or `Rescued`: it survives a crash at any later instant.

        An upload whose base is the head becomes the head, byte for byte, unless it is a log that lacks lines which its
        client never had. One with another base, or none that is known, is merged with the head; where that cannot be
        done, and where merging is off, it replaces the head. Which version is the base, `mneme.bases` says. A new
        head's mtime is `now`, or one millisecond past the file's last one if that is later, and not to come. Content
        identical to the head, or to its base while merging is on, makes no version and changes nothing.

        An upload with a precondition that names the head's content has the head as its base. One whose precondition
        does not hold is `Changed` and makes no version, unless it is a repetition as above, or refused for its lock:
        its base is then the version that it names.

        A refused upload is kept beside the head and waits to be merged, the newest of each client and file. Where there
        is no space to keep it, this returns the bare refusal in a `Rescued` whose version is None.
        """
        ...

    def append(
        self, project: ProjectId, append: Append, now: Millis, /
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Make the head with these lines at its end the head, as `upload` does; a file that is not there is made.

        Under a precondition that names an older version it is that version with these lines, which is news only if the
        append is refused for its lock, and then kept; so are the lines alone where what it names is not known. If an
        upload of its client waits already, the lines are added to that. What comes of it is the base of its client only
        if that is known to have all of it: it had the head, or names it.

        A repetition by the key of an append changes nothing and comes to the same; `KeyReused` if it has other lines.
        `FileTooLarge` if no stock client could download the outcome.
        """
        ...

    def history(self, project: ProjectId, file: FileName, now: Millis, /) -> tuple[Version, ...]:
        """Every version of a file that there still is, newest first."""
        ...

    def versions(self, project: ProjectId, /) -> tuple[Version, ...]:
        """Every version of the project that there still is, oldest first."""
        ...

    def version(self, project: ProjectId, number: int, /) -> VersionContent | None:
        """A version with its content; None if there is none, `DamagedVersion` if its content is not as accepted."""
        ...

    def restore(
        self, project: ProjectId, restore: Restore, now: Millis, /
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        """Make an older version the head again, as a new version, if its client holds the lock.

        None if the file has no such version, `DamagedVersion` as for `version`.
        """
        ...

    def prunable(self, project: ProjectId, retention: Retention, now: Millis, /) -> Pruned:
        """The versions that `prune` would remove, were it not for its limit."""
        ...

    def prune(self, project: ProjectId, retention: Retention, now: Millis, limit: int, /) -> Pruned:
        """Remove at most `limit` of the versions that need not be kept, the oldest first.

        These are never a head, nor a waiting upload, nor what may be the base of a client seen in the last 30 days.
        """
        ...

    def overview(self, project: ProjectId, now: Millis, /) -> Overview | None:
        """The project at a glance; None if it was never written."""
        ...

    def projects(self) -> Iterator[ProjectId]:
        """Every project that has been written, in no order."""
        ...

    def usage(self) -> Usage:
        """The space that all there is takes now, history and bookkeeping included; costs by the number of files."""
        ...

    def in_two_places(self) -> tuple[TwoPlaces, ...]:
        """The ids that seem to be used in two places, in no order; costs by the number of these."""
        ...

    def days(self) -> AbstractSet[int]:
        """The latest days, since 1970, on which what was there when a project was opened was kept."""
        ...

    def recover(self, project: ProjectId, /) -> None:
        """Finish what a crash left half done in a project: what was committed is rolled forward, the rest dropped."""
        ...

    def expired(self, now: Millis, /) -> tuple[ProjectId, ...]:
        """The projects that may have an expired lock to reap; costs by the number of locks, not of projects."""
        ...

    def reap(self, project: ProjectId, now: Millis, /) -> Lock | None:
        """Remove the project's lock if it has expired, and return it then. What waits is merged."""
        ...
