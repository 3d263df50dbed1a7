"""The store: memory by project, in steps of which each is one transaction.

A step checks the lock, applies the rules, writes, and says what came of it. It may fail with `NotYet`: something has to
be done first, after which it is run again. `ComputeFirst` has a large computation, which is to be done outside of the
transaction; `MergeFirst` tells of waiting uploads that `merge_next` merges, one at a time.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from attrs import evolve

from mneme.errors import TooManyProjects
from mneme.model import (
    Accepted,
    Append,
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
from mneme.store import downloads, history, layout, locks, merging, uploads
from mneme.store.apart import ComputeFirst, Results
from mneme.store.queries import FILES, ProjectRow, Queries
from mneme.store.sqlite import Database
from mneme.store.step import MergeFirst, Step
from mneme.store.workingcopy import WorkingCopy

__all__ = ["ComputeFirst", "MergeFirst", "Results", "Store"]

MAX_PROJECTS = 100_000
"""The projects that a server takes, removed ones with a history included."""

_IDLE_FOR = Millis(24 * 60 * 60 * 1000)
"""The time for which a project may be without a version before it is forgotten."""


class Store:
    """The steps. Any may raise `DiskFull`, `DamagedContent`, `DamagedDatabase`, `OSError`, and has changed nothing."""

    def __init__(
        self, database: Database, copy: WorkingCopy | None = None, merging: Merging | None = None
    ) -> None:
        """`copy` is where the plain files lie; without one there are none."""
        self.merging = merging or Merging()
        """May be exchanged at any time; counts from the next step."""
        self.has_changes = False
        """Whether something may be yet to be exported; for whoever exports to reset."""
        self._database = database
        self._copy = copy
        self._results = Results()
        self._merges_first = True

    @contextmanager
    def attempt(self, results: Results, *, merges_first: bool = True) -> Iterator[None]:
        """Run a step with what was computed for it; without `merges_first`, whatever waits to be merged."""
        self._results, self._merges_first = results, merges_first
        try:
            yield
        finally:
            self._results, self._merges_first = Results(), True

    # Locks

    def lock(self, project: ProjectId, now: Millis) -> Lock | None:
        """The lock held at `now`. An expired one is none, whether or not anything has reaped it yet."""
        with self._step(project, now) as step:
            return step.lock if step else None

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis) -> Granted | HeldBy:
        """Lock the project for `client` until `now + ttl`, or extend its own lock.

        Whoever gets a new lock gets it with all waiting uploads merged.
        """
        with self._making(project, now) as step:
            return locks.acquire(step, client, ttl)

    def extend(
        self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis
    ) -> Granted | HeldBy | NotLocked:
        """Move the expiry of the client's own lock."""
        with self._step(project, now) as step:
            return locks.extend(step, client, ttl) if step else NotLocked()

    def release(self, project: ProjectId, client: ClientId, now: Millis) -> Released | HeldBy | NotLocked:
        """Free the client's own lock."""
        with self._step(project, now) as step:
            return locks.release(step, client) if step else NotLocked()

    def expired(self, now: Millis) -> list[ProjectId]:
        """The projects that have an expired lock to reap; costs by the number of locks, not of projects."""
        with self._database.step() as queries:
            return queries.expired(now)

    def reap(self, project: ProjectId, now: Millis) -> Lock | None:
        """Remove the project's lock if it has expired, and return it then."""
        with self._step(project, now) as step:
            return locks.reap(step) if step else None

    # Reading

    def heads(self, project: ProjectId, now: Millis) -> tuple[Head, ...]:
        """The files that the project has, in the order of `FileName`. A project never written has none."""
        with self._step(project, now, *FILES) as step:
            return downloads.heads(step) if step else ()

    def stock_heads(self, project: ProjectId, now: Millis, *, again: bool = False) -> tuple[Head, ...]:
        """The heads for a list of the stock client.

        The first one after an acquire is that of a pull, and true. Any other is that of a push, which uploads only what
        is newer than the mtimes listed: all of these are 0 then, so that the machine uploads what it has. A list that
        is asked for `again`, because its answer was lost, is what the last one was.

        A pull of a client that lacks the head, and pushes its base all the same, is told a later mtime: see `Base`.
        """
        with self._step(project, now, *FILES) as step:
            return downloads.stock_heads(step, again=again) if step else ()

    def read(self, project: ProjectId, file: FileName, now: Millis) -> Document | None:
        """The head of `file` with its content, whole."""
        with self._step(project, now, file) as step:
            return downloads.read(step, file) if step else None

    def download(
        self,
        project: ProjectId,
        file: FileName,
        reader: Reader,
        now: Millis,
        *,
        unless: Precondition | None = None,
    ) -> Served | Unmodified | None:
        """The head of `file` with its content, for a reader that may make its next upload from it.

        Where the head is such that `unless` holds, the reader has it already, and is told so. If it says who it is, and
        names that content, it is its base; named with others, it is a candidate.

        From now on the version is one that the reader was sent: the client that names itself, or for the stock client
        the one that has just acquired the lock. The receipt is for `confirm` and `doubt`.
        """
        with self._step(project, now, file) as step:
            return downloads.download(step, file, reader, unless) if step else None

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis) -> None:
        """Take note that the client has taken the whole answer: it has this version, and none older."""
        with self._step(project, now, merges_first=False) as step:
            if step:
                downloads.confirm(step, receipt)

    def doubt(self, project: ProjectId, receipt: Receipt, now: Millis) -> None:
        """Take note that the client has perhaps not received what it was sent."""
        with self._step(project, now, merges_first=False) as step:
            if step:
                downloads.doubt(step, receipt)

    # Uploads

    def permit(
        self, project: ProjectId, client: ClientId, token: int | None, now: Millis
    ) -> Granted | HeldBy | NotLocked | StaleToken:
        """Whether a client may write now."""
        with self._step(project, now, merges_first=False) as step:
            return locks.permit(step, client, token) if step else NotLocked()

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Make the upload the head of its file, or part of it, if its client holds the lock; else keep it.

        An upload whose base is the head becomes the head, byte for byte, unless it is a log that lacks lines which its
        client never had. One with another base, or none that is known, is merged with the head; where that cannot be
        done, and where merging is off, it replaces the head. Which version is the base, `mneme.bases` says. A new
        head's mtime is `now`, or one millisecond past the file's last one if that is later, and not to come. Content
        identical to the head, or to its base while merging is on, makes no version and changes nothing.

        An upload with a precondition that names the head's content has the head as its base. One whose precondition
        does not hold is `Changed` and makes no version, unless it is a repetition as above, or refused for its lock:
        its base is then the version that it names.

        A refused upload is kept beside the head and waits to be merged, the newest of each client and file.
        """
        with self._making(project, now, upload.file) as step:
            return uploads.upload(step, upload)

    def append(
        self, project: ProjectId, append: Append, now: Millis
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Make the head with these lines at its end the head, as `upload` does; a file that is not there is made.

        `MissingPrecondition` if the append does not name the content that its lines follow. If it names an older
        version and is refused for its lock, that version with these lines is kept, or the lines alone if it is unknown.
        If an upload of its client waits already, the lines are added to that.

        A repetition by the key of an append changes nothing and comes to the same; `KeyReused` if it has other lines.
        `FileTooLarge` if no stock client could download the outcome.
        """
        with self._making(project, now, append.file) as step:
            return uploads.append(step, append)

    def merge_next(self, project: ProjectId, now: Millis) -> bool:
        """Merge the first upload that waits, if nobody holds the lock; whether another waits."""
        with self._step(project, now, *FILES, merges_first=False) as step:
            return merging.merge_next(step) if step else False

    # History

    def history(
        self, project: ProjectId, file: FileName, now: Millis, limit: int | None = None
    ) -> tuple[Version, ...]:
        """The versions of a file that there still are, newest first, were the project removed; at most `limit`."""
        with self._step(project, now, file, removed=True) as step:
            return tuple(step.queries.history(step.key, file, limit)) if step else ()

    def versions(self, project: ProjectId) -> tuple[Version, ...]:
        """Every version of the project that there still is, oldest first."""
        with self._database.step() as queries:
            row = queries.project(project)
            return tuple(queries.versions(row.key)) if row else ()

    def version(self, project: ProjectId, number: int) -> VersionContent | None:
        """A version with its content; None if there is none."""
        with self._database.step() as queries:
            row = queries.project(project)
            return history.version(self._step_of(queries, row, Millis(0)), number) if row else None

    def restore(
        self, project: ProjectId, restore: Restore, now: Millis
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        """Make an older version the head again, as a new version, if its client holds the lock.

        None if the file has no such version.
        """
        with self._step(project, now, restore.file) as step:
            return history.restore(step, restore) if step else NotLocked()

    def prunable(self, project: ProjectId, retention: Retention, now: Millis) -> Pruned:
        """The versions that need not be kept, oldest first.

        These are never a head, nor a waiting upload, nor what may be the base of a client seen in the last 30 days.
        """
        with self._database.step() as queries:
            row = queries.project(project)
            found = history.prunable(self._step_of(queries, row, now), retention) if row else ()
            return Pruned(project, found)

    def remove(self, pruned: Pruned, now: Millis) -> Pruned:
        """Remove versions, those excepted that somebody needs by now; which were removed."""
        with self._database.step() as queries:
            row = queries.project(pruned.project)
            gone = history.remove(self._step_of(queries, row, now), pruned.versions) if row else ()
            if gone:
                queries.give_back()
            return Pruned(pruned.project, gone)

    def forget_idle(self, now: Millis) -> int:
        """Forget some projects that have had neither a version nor a lock for a day; how many."""
        with self._database.step() as queries:
            dropped = 0
            for key, directory in queries.idle_projects(Millis(now - _IDLE_FOR)):
                if self._copy is None or self._copy.remove_empty(directory):
                    queries.drop_project(key)
                    dropped += 1
                else:
                    queries.postpone_idle(key, now)
            return dropped

    # Overviews

    def overviews(self, now: Millis) -> list[Overview]:
        """Every project at a glance, in the order of their ids."""
        with self._database.step() as queries:
            return queries.overviews(now)

    def projects(self) -> list[ProjectId]:
        """Every project that there is, or whose history is."""
        with self._database.step() as queries:
            return list(queries.project_names())

    def usage(self) -> Usage:
        """The space that the database takes now, and what is left."""
        with self._database.step():
            return Usage(*self._database.space())

    def in_two_places(self) -> list[TwoPlaces]:
        """The ids that seem to be used in two places, in no order."""
        with self._database.step() as queries:
            return queries.in_two_places()

    def days(self) -> AbstractSet[int]:
        """The latest days, since 1970, on which a version was kept."""
        with self._database.step() as queries:
            return queries.days()

    # The working copy

    def open_copy(self, boot: str) -> None:
        """Look at the working copy when the server starts; `boot` names the boot of the machine."""
        with self._database.step() as queries:
            if self._copy:
                self._copy.open(queries, boot)
                self._database.after_commit(self._copy.begin)
                self.has_changes = bool(queries.changed_projects())

    def close_copy(self) -> None:
        """Make the working copy durable; all was exported."""
        with self._database.step() as queries:
            if self._copy:
                self._copy.close(queries)

    def begin_epoch(self) -> None:
        """See `WorkingCopy.begin_epoch`."""
        with self._database.step() as queries:
            if self._copy:
                self._copy.begin_epoch(queries)

    def listing(self, before: str) -> tuple[list[ProjectId], list[int], str]:
        """The projects that lie in the working copy alone, and the numbers of those that are not there any more.

        The third is the state of the working copy; where it is as `before`, nothing is looked for.
        """
        with self._database.step() as queries:
            state = self._copy.state() if self._copy else ""
            if self._copy is None or state == before:
                return [], [], state
            return (*self._copy.new_projects(queries), state)

    def look(self, key: int, now: Millis) -> None:
        """Take in what people did to a project, by its number."""
        with self._database.step() as queries:
            row = queries.project_by_key(key)
            if row and self._copy:
                step = self._step_of(queries, row, now)
                self._copy.look(step, FILES)
                self._note_changed(step)

    def changed_projects(self) -> dict[int, str]:
        """Names, by number, of the projects with something yet to be exported."""
        with self._database.step() as queries:
            return queries.changed_projects() if self._copy else {}

    def export(self, key: int, now: Millis) -> None:
        """Export what has changed in a project, by its number."""
        with self._database.step() as queries:
            row = queries.project_by_key(key)
            if row and self._copy and row.is_changed and not row.is_removed:
                step = self._step_of(queries, row, now)
                if self._copy.look(step, ()) and step.row.is_changed:
                    self._copy.export(step)
                self._note_changed(step)

    # How a step is begun

    @contextmanager
    def _step(
        self,
        project: ProjectId,
        now: Millis,
        *wanted: FileName,
        merges_first: bool = True,
        removed: bool = False,
    ) -> Iterator[Step | None]:
        """A step in a project, None if there is no such project; what people did to the `wanted` files is taken in."""
        with self._database.step() as queries:
            step = self._opened(queries, project, now, wanted)
            if step is None or (step.row.is_removed and not removed):
                yield None
                return
            self._merge_before(step, merges_first)
            yield step
            self._note_changed(step)

    @contextmanager
    def _making(self, project: ProjectId, now: Millis, *wanted: FileName) -> Iterator[Step]:
        """A step in a project, which is made if need be."""
        with self._database.step() as queries:
            step = self._opened(queries, project, now, wanted)
            if step is None:
                step = self._made(queries, project, now)
            elif step.row.is_removed:
                queries.set_removed(step.key, False)
                step = self._step_of(queries, evolve(step.row, is_removed=False), now)
            self._merge_before(step, merges_first=True)
            yield step
            self._note_changed(step)

    def _opened(
        self, queries: Queries, project: ProjectId, now: Millis, wanted: tuple[FileName, ...]
    ) -> Step | None:
        row = queries.project(project)
        if (row is None or row.is_removed) and self._copy:
            directory = self._copy.finds(project, is_new=row is None)
            if directory:
                step = self._step_of(queries, row, now) if row else self._made(queries, project, now)
                self._copy.adopt(step, directory)
                self._note_changed(step)
                return step
        if row is None:
            return None
        step = self._step_of(queries, row, now)
        if self._copy and not row.is_removed:
            self._copy.look(step, wanted)
        return step

    def _made(self, queries: Queries, project: ProjectId, now: Millis) -> Step:
        if queries.count_projects() >= MAX_PROJECTS:
            raise TooManyProjects
        directory = layout.directory_name(project)
        row = queries.add_project(project, directory, now, is_changed=self._copy is not None)
        return self._step_of(queries, row, now)

    def _step_of(self, queries: Queries, row: ProjectRow, now: Millis) -> Step:
        return Step(queries, row, now, self.merging, self._results, self._database.after_commit)

    def _merge_before(self, step: Step, merges_first: bool) -> None:
        if merges_first and self._merges_first and merging.has_work(step):
            raise MergeFirst

    def _note_changed(self, step: Step) -> None:
        if self._copy and step.row.is_changed:
            self._database.after_commit(self._tell_changes)

    def _tell_changes(self) -> None:
        self.has_changes = True
