"""The store: the memory of each project. Each step is one transaction.

A step checks the lock, applies the rules, writes, and returns the outcome. A step may raise `NotYet`: other work must
be done first, then the step is run again. `ComputeFirst` carries a large computation, to be done outside the
transaction. `MergeFirst` means that uploads are waiting: `merge_next` merges them, one at a time.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from mneme.errors import ProjectUnknown, TooManyProjects
from mneme.model import (
    FILES,
    Accepted,
    Append,
    Bygone,
    Changed,
    ClientId,
    Document,
    EventId,
    EventPage,
    FileName,
    Granted,
    Head,
    HeldBy,
    Linked,
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
    Removal,
    Removed,
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
from mneme.store import aliases, briefings, downloads, history, layout, locks, merging, uploads
from mneme.store.apart import ComputeFirst, Results
from mneme.store.queries import HeadRow, ProjectRow, Queries
from mneme.store.sqlite import Database
from mneme.store.step import MergeFirst, Step
from mneme.store.workingcopy import WorkingCopy

__all__ = ["ComputeFirst", "MergeFirst", "Results", "Store"]

MAX_PROJECTS = 100_000
"""Largest number of projects on a server. Removed projects that still have a history count."""

_IDLE_FOR = Millis(24 * 60 * 60 * 1000)
"""Age, in milliseconds, from which a project without any version is forgotten."""


class Store:
    """The steps of the store.

    Any step may raise `DiskFull`, `DamagedContent`, `DamagedDatabase` or `OSError`. Then nothing was changed.
    """

    def __init__(
        self, database: Database, copy: WorkingCopy | None = None, merging: Merging | None = None
    ) -> None:
        """Create a store; without a `copy`, the server has no working copy."""
        self.merging = merging or Merging()
        """Settings for merges. They may be replaced at any time, and apply from the next step on."""
        self.has_changes = False
        """Whether there may be something to export. The exporter sets this back to False."""
        self.on_event: Callable[[], object] = lambda: None
        """A callback after each commit with events, on the thread of the database."""
        self._database = database
        self._copy = copy
        self._results = Results()
        self._merges_first = True
        self._looks_first = True

    @contextmanager
    def attempt(
        self, results: Results, *, merges_first: bool = True, looks_first: bool = True
    ) -> Iterator[None]:
        """Run a step with the results computed for it.

        With `merges_first`, the step raises `MergeFirst` where waiting uploads must be merged before it. With
        `looks_first`, edits by hand are stored before it; without, they wait for another step.
        """
        self._results, self._merges_first, self._looks_first = results, merges_first, looks_first
        try:
            yield
        finally:
            self._results, self._merges_first, self._looks_first = Results(), True, True

    # Locks

    def lock(self, project: ProjectId, now: Millis) -> Lock | None:
        """The lock held at `now`. An expired lock does not count, reaped or not."""
        with self._step(project, now) as step:
            return step.lock if step else None

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis) -> Granted | HeldBy:
        """Lock the project for `client` until `now + ttl`, or extend its own lock.

        Before a client gets a new lock, all waiting uploads are merged.
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
        """The projects with an expired lock. The cost grows with the locks, not the projects."""
        with self._database.step() as queries:
            return queries.expired(now)

    def reap(self, project: ProjectId, now: Millis) -> Lock | None:
        """Remove the project's lock if it has expired. Return the removed lock, else None."""
        with self._step(project, now) as step:
            return locks.reap(step) if step else None

    # Reading

    def heads(self, project: ProjectId, now: Millis) -> tuple[Head, ...]:
        """The heads of the project, in the order of `FileName`; none without such a project."""
        with self._step(project, now, *FILES) as step:
            return downloads.heads(step) if step else ()

    def stock_heads(self, project: ProjectId, now: Millis, *, again: bool = False) -> tuple[Head, ...]:
        """The heads as a list for the stock client, for a pull or a push.

        The first list after an acquire belongs to a pull: its mtimes are the real ones. Any other list belongs to a
        push. A push uploads only files that are newer than the mtimes in the list. So these are all 0, and the machine
        uploads every file that it has. `again` repeats the last list, because its answer was lost.

        One exception: a client that lacks the head, and keeps pushing its base, gets a later mtime in its pull. See
        `Base.lacking`.
        """
        with self._step(project, now, *FILES) as step:
            return downloads.stock_heads(step, again=again) if step else ()

    def read(self, project: ProjectId, file: FileName, now: Millis) -> Document | None:
        """The head of `file` with its content; None without a head."""
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
        """The head of `file` with its content, for a reader that may upload later.

        The head may then be the base of that upload. If `unless` holds for the head, the reader has it already: the
        outcome is `Unmodified`. If the reader gives its client id and `unless` names only this content, the head
        becomes its base. If `unless` names several contents, the head becomes a candidate for its base.

        Otherwise the version is recorded as sent to the reader. The reader is the client that gives its id, or for a
        stock download, the client that has just acquired the lock. Pass the receipt to `confirm` or `doubt`.
        """
        with self._step(project, now, file) as step:
            return downloads.download(step, file, reader, unless) if step else None

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis) -> None:
        """Record that the client received the whole answer: it has this version, and none older."""
        with self._step(project, now, merges_first=False) as step:
            if step:
                downloads.confirm(step, receipt)

    def doubt(self, project: ProjectId, receipt: Receipt, now: Millis) -> None:
        """Record that the client may not have received the version that it was sent."""
        with self._step(project, now, merges_first=False) as step:
            if step:
                downloads.doubt(step, receipt)

    # Uploads

    def permit(
        self, project: ProjectId, client: ClientId, token: int | None, now: Millis
    ) -> Granted | HeldBy | NotLocked | StaleToken:
        """Say whether a client may write now."""
        with self._step(project, now, merges_first=False) as step:
            return locks.permit(step, client, token) if step else NotLocked()

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Make the upload the head, or merge it; without the lock, rescue it.

        `mneme.bases` finds the base. If the base is the head, the upload becomes the head, byte for byte. (Exception: a
        log that lacks lines which its client never had.) If the base is another version, or is not known, the upload is
        merged with the head. If that is impossible, or merging is off, the upload replaces the head.

        The mtime of a new head is `now`. If the file's last mtime is later, it is one millisecond after that, unless a
        wrong clock set that one in the future. A content equal to the head makes no version. With merging on, neither
        does a content equal to its own base.

        If a precondition names the content of the head, the base is the head. If the precondition does not hold, the
        outcome is `Changed`, and no version is made. (Exceptions: the upload is a repetition as above, or its client
        does not hold the lock. Then its base is the version that the precondition names.)

        A rescued upload waits to be merged: the newest of each client and file. One that names a base replaces only
        what it was made from, or has all of: the machine may have two folders of the project.
        """
        with self._making(project, now, upload.file) as step:
            return uploads.upload(step, upload)

    def append(
        self, project: ProjectId, append: Append, now: Millis
    ) -> Accepted | Rescued | StaleToken | Changed:
        """Add lines at the end of a file, like an upload of the whole file.

        `MissingPrecondition` if the append does not name the content that its lines follow. A client that does not hold
        the lock has its append rescued. If it names an older version, that version with the lines is kept. If the named
        version is not known, the lines alone are kept. If an upload of the client is waiting already, the lines are
        added to that one.

        An append with the same key and lines again changes nothing, and has the same outcome. `KeyReused` if the lines
        differ. `FileTooLarge` if no stock client could download the outcome.
        """
        with self._making(project, now, append.file) as step:
            return uploads.append(step, append)

    def upload_briefing(self, project: ProjectId, upload: Upload, now: Millis) -> Accepted | Changed | Bygone:
        """Make an upload of one of `BRIEFINGS` the head, without a lock.

        Its precondition must hold. `UnnamedHead` if it does not name the content of the head, or that there is none. A
        content equal to the head makes no version. A content that was the head before is `Bygone`.
        """
        with self._making(project, now, upload.file) as step:
            return briefings.upload(step, upload)

    def remove_briefing(self, project: ProjectId, removal: Removal, now: Millis) -> Removed | Changed | None:
        """Remove the head of one of `BRIEFINGS`, without a lock.

        The precondition must name the head. The history stays, with a new version of kind `REMOVED`. None if there is
        no head; but a client that has just removed this very head is told so again.
        """
        with self._step(project, now, removal.file) as step:
            return briefings.remove(step, removal) if step else None

    def merge_next(self, project: ProjectId, now: Millis) -> bool:
        """Merge the first waiting upload, if nobody holds the lock. Return whether another is waiting."""
        with self._step(project, now, *FILES, merges_first=False) as step:
            return merging.merge_next(step) if step else False

    # Aliases

    def link(self, alias: ProjectId, project: ProjectId, client: ClientId, now: Millis) -> Linked | HeldBy:
        """Make an id another name of a project, for all clients and for good.

        If the id had a memory of its own, its versions and bases become those of the project, numbered after its last
        version. Then the heads are merged without a base: nothing is lost, and nothing doubled. The bases stay what
        they were, so that what a client of either id removes is removed.

        `AliasRefused` if the id is the project's own, or another name of a third project. The outcome is `HeldBy` if
        another client holds the lock of either.
        """
        with self._making(project, now, *FILES) as target:
            source = self._opened(target.queries, alias, now, FILES)
            outcome = aliases.link(target, source, alias, client)
            if source and self._copy and source.key != target.key:
                self._database.after_commit(partial(self._copy.forget, source.key))
            return outcome

    def remove_project(self, project: ProjectId, client: ClientId, now: Millis) -> HeldBy | None:
        """Remove a project, as if its directory were removed by hand.

        Its versions stay for as long as retention keeps them, and an upload brings it back. `ProjectUnknown` if there
        is none; the outcome is `HeldBy` if another client holds its lock.
        """
        with self._step(project, now, *FILES, merges_first=False) as step:
            if step is None:
                raise ProjectUnknown
            if step.lock and step.lock.client != client:
                return HeldBy(step.lock)
            if self._copy:
                self._copy.remove(step)
            step.remove_project()
            step.tell(
                "{project} was removed by {client}; its history stays until it is pruned", client=client.value
            )
            return None

    # History

    def history(
        self, project: ProjectId, file: FileName, now: Millis, limit: int | None = None
    ) -> tuple[Version, ...]:
        """The versions of a file, newest first, at most `limit`; also in a removed project."""
        with self._step(project, now, file, removed=True) as step:
            return tuple(step.queries.history(step.key, file, limit)) if step else ()

    def versions(self, project: ProjectId) -> tuple[Version, ...]:
        """Every version of the project, oldest first."""
        with self._database.step() as queries:
            row = queries.project(project)
            return tuple(queries.versions(row.key)) if row else ()

    def version(self, project: ProjectId, number: int) -> VersionContent | None:
        """A version with its content; None without such a version."""
        with self._database.step() as queries:
            row = queries.project(project)
            return history.version(self._step_of(queries, row, Millis(0)), number) if row else None

    def restore(
        self, project: ProjectId, restore: Restore, now: Millis
    ) -> Accepted | HeldBy | NotLocked | StaleToken | None:
        """Make an older version the head again, as a new version.

        The client must hold the lock. None if the file has no such version.
        """
        with self._step(project, now, restore.file) as step:
            return history.restore(step, restore) if step else NotLocked()

    def prunable(self, project: ProjectId, retention: Retention, now: Millis) -> Pruned:
        """The versions that the pruner may remove, oldest first.

        Heads, waiting uploads, and possible bases of clients seen in the last 30 days are never among them.
        """
        with self._database.step() as queries:
            row = queries.project(project)
            found = history.prunable(self._step_of(queries, row, now), retention) if row else ()
            return Pruned(project, found)

    def remove(self, pruned: Pruned, now: Millis) -> Pruned:
        """Remove versions, except those needed by now. Return the removed ones."""
        with self._database.step() as queries:
            row = queries.project(pruned.project)
            gone = history.remove(self._step_of(queries, row, now), pruned.versions) if row else ()
            if gone:
                queries.give_back()
            return Pruned(pruned.project, gone)

    def forget_idle(self, now: Millis) -> int:
        """Forget some projects without a version or a lock for a day. Return their number."""
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
        """An overview of every project, in the order of their ids."""
        with self._database.step() as queries:
            return queries.overviews(now)

    def projects(self) -> list[ProjectId]:
        """Every project. Removed projects that still have a history are included."""
        with self._database.step() as queries:
            return list(queries.project_names())

    def usage(self) -> Usage:
        """The bytes that the database takes, and the free bytes of its disk."""
        with self._database.step():
            return Usage(*self._database.space())

    def server_id(self) -> str:
        """The random id of the server, the same under each of its addresses."""
        with self._database.step() as queries:
            return queries.server_id()

    def last_event(self) -> EventId:
        """The id of the newest event."""
        with self._database.step() as queries:
            return queries.last_event()

    def events_after(self, after: EventId, limit: int, files: Collection[FileName] = FILES) -> EventPage:
        """The events after an id, oldest first, at most `limit`.

        Events of files that are not in `files` are left out.
        """
        with self._database.step() as queries:
            return queries.events_after(after, limit, files)

    def in_two_places(self) -> list[TwoPlaces]:
        """The project ids that a client seems to use in two places, in no order."""
        with self._database.step() as queries:
            return queries.in_two_places()

    def days(self) -> AbstractSet[int]:
        """The latest days on which a version was kept, as days since 1970."""
        with self._database.step() as queries:
            return queries.days()

    # The working copy

    def open_copy(self, boot: str) -> None:
        """Check the working copy when the server starts; `boot` names the boot of the machine."""
        with self._database.step() as queries:
            if self._copy:
                self._copy.open(queries, boot)
                self._database.after_commit(self._copy.begin)
                self.has_changes = bool(queries.changed_projects())

    def close_copy(self) -> None:
        """Make the working copy durable, after the last export."""
        with self._database.step() as queries:
            if self._copy:
                self._copy.close(queries)

    def begin_epoch(self) -> None:
        """See `WorkingCopy.begin_epoch`."""
        with self._database.step() as queries:
            if self._copy:
                self._copy.begin_epoch(queries)

    def listing(self, before: str) -> tuple[list[ProjectId], list[int], str]:
        """The differences between the working copy and the database: new projects and missing ones.

        Returns the ids of projects that only the working copy has, the numbers of projects missing there, and the state
        of the working copy. If the state is the one `before`, nothing is compared.
        """
        with self._database.step() as queries:
            state = self._copy.state() if self._copy else ""
            if self._copy is None or state == before:
                return [], [], state
            return (*self._copy.new_projects(queries), state)

    def look(self, key: int, now: Millis) -> None:
        """Store the edits by hand in a project, given by its number."""
        with self._database.step() as queries:
            row = queries.project_by_key(key)
            if row and self._copy:
                step = self._step_of(queries, row, now)
                self._copy.look(step, FILES)
                self._note_news(step)

    def changed_projects(self) -> dict[int, str]:
        """The projects to export: names by number."""
        with self._database.step() as queries:
            return queries.changed_projects() if self._copy else {}

    def export(self, key: int, now: Millis) -> None:
        """Export the changes in a project, given by its number."""
        with self._database.step() as queries:
            row = queries.project_by_key(key)
            if not self._looks_first:
                self.has_changes = True
            elif row and self._copy and row.is_changed and not row.is_removed:
                step = self._step_of(queries, row, now)
                if self._copy.look(step, ()) and step.row.is_changed:
                    self._copy.export(step)
                self._note_news(step)

    # Beginning a step

    @contextmanager
    def _step(
        self,
        project: ProjectId,
        now: Millis,
        *wanted: FileName,
        merges_first: bool = True,
        removed: bool = False,
    ) -> Iterator[Step | None]:
        """A step in a project; None without such a project.

        Edits by hand of the `wanted` files are stored first.
        """
        with self._database.step() as queries:
            step = self._opened(queries, project, now, wanted)
            if step is None or (step.row.is_removed and not removed):
                yield None
                return
            self._merge_before(step, merges_first)
            yield step
            self._note_news(step)

    @contextmanager
    def _making(self, project: ProjectId, now: Millis, *wanted: FileName) -> Iterator[Step]:
        """A step in a project. A missing project is made."""
        with self._database.step() as queries:
            step = self._opened(queries, project, now, wanted)
            if step is None:
                step = self._made(queries, project, now)
            elif step.row.is_removed:
                queries.set_removed(step.key, False)
                step = self._step_of(queries, replace(step.row, is_removed=False), now)
            self._merge_before(step, merges_first=True)
            yield step
            self._note_news(step)

    def _opened(
        self, queries: Queries, project: ProjectId, now: Millis, wanted: tuple[FileName, ...]
    ) -> Step | None:
        row, heads = _read(queries, project, wanted)
        if row is None and self._copy:
            other = self._copy.linked_with(project)
            step = self._opened(queries, other, now, wanted) if other else None
            if step:
                queries.add_alias(step.key, project)
                return step
        if (row is None or row.is_removed) and self._copy:
            directory = self._copy.finds(row.name if row else project, is_new=row is None)
            if directory:
                step = self._step_of(queries, row, now) if row else self._made(queries, project, now)
                self._copy.adopt(step, directory)
                self._note_news(step)
                return step
        if row is None:
            return None
        step = self._step_of(queries, row, now, heads)
        if self._copy and self._looks_first and not row.is_removed:
            self._copy.look(step, wanted)
        return step

    def _made(self, queries: Queries, project: ProjectId, now: Millis) -> Step:
        if queries.count_projects() >= MAX_PROJECTS:
            raise TooManyProjects
        directory = layout.directory_name(project)
        row = queries.add_project(project, directory, now, is_changed=self._copy is not None)
        return self._step_of(queries, row, now)

    def _step_of(
        self,
        queries: Queries,
        row: ProjectRow,
        now: Millis,
        heads: Mapping[FileName, HeadRow | None] | None = None,
    ) -> Step:
        return Step(queries, row, now, self.merging, self._results, self._database.after_commit, heads or {})

    def _merge_before(self, step: Step, merges_first: bool) -> None:
        if merges_first and self._merges_first and merging.has_work(step):
            raise MergeFirst

    def _note_news(self, step: Step) -> None:
        if self._copy and step.row.is_changed:
            self._database.after_commit(self._tell_changes)
        if step.has_events:
            self._database.after_commit(self._tell_events)

    def _tell_changes(self) -> None:
        self.has_changes = True

    def _tell_events(self) -> None:
        self.on_event()


def _read(
    queries: Queries, project: ProjectId, wanted: tuple[FileName, ...]
) -> tuple[ProjectRow | None, dict[FileName, HeadRow | None]]:
    """The row of a project, and that of the file if one alone is wanted."""
    if len(wanted) != 1:
        return queries.project(project), {}
    row, head = queries.project_and_head(project, *wanted)
    return row, {wanted[0]: head}
