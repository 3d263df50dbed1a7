"""A step in one project: reads and changes the records of the project."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace
from twisted.logger import Logger

from mneme import leases
from mneme.errors import DamagedContent, NotYet
from mneme.model import (
    SLACK,
    ClientId,
    EventKind,
    FileName,
    Head,
    Kind,
    Lock,
    Merging,
    Millis,
    ProjectId,
    Role,
    Version,
)
from mneme.store.apart import Results
from mneme.store.base import Base
from mneme.store.queries import BaseRow, ClientRow, HeadRow, ProjectRow, Queries

MAX_WAITING = 64
"""Most waiting uploads of a project. With one more, the oldest waits no longer, and stays in history."""

MAX_CLIENTS = 1000
"""Most clients on record for a project. With more, those not seen for the longest time are forgotten."""

_DAY = 24 * 60 * 60 * 1000

ONE_PUSH = Millis(60 * 1000)
"""Longest time, in milliseconds, from the first to the last upload of one push."""

_AT_ONCE = Millis(1000)
"""Usual time for all uploads of a push, in milliseconds. Only the first of them is recorded."""

_SEEN_WITHIN = Millis(60 * 1000)
"""Precision, in milliseconds, of the time at which a client was last seen."""

_SEEN_EVERY = Millis(24 * 60 * 60 * 1000)
"""Longest time, in milliseconds, between two records of a client that only reads the same version."""


class MergeFirst(NotYet):
    """A step that must wait: its project has waiting uploads, and nobody holds the lock.

    The uploads are merged first. Then the step is run again.
    """


class Step:
    """A project in a transaction, at the time `now`."""

    log = Logger()

    def __init__(
        self,
        queries: Queries,
        row: ProjectRow,
        now: Millis,
        merging: Merging,
        results: Results,
        after_commit: Callable[[Callable[[], object]], None],
        heads: Mapping[FileName, HeadRow | None],
    ) -> None:
        """Begin a step in a project; `heads` are the files that are read already."""
        self.queries = queries
        self.row = row
        self.now = now
        self.merging = merging
        self.results = results
        self.after_commit = after_commit
        self.has_events = False
        """Whether this step changed something of which listeners are told."""
        self._heads: dict[FileName, HeadRow] | None = None
        self._some_heads = dict(heads)
        self._clients: dict[ClientId, tuple[ClientRow | None, dict[FileName, BaseRow]]] = {}
        self._bases: dict[tuple[ClientId, FileName], Base] = {}

    @property
    def name(self) -> ProjectId:
        """The id of the project."""
        return self.row.name

    @property
    def key(self) -> int:
        """The number of the project in the database."""
        return self.row.key

    def tell(self, sentence: str, *, warn: bool = False, **values: object) -> None:
        """Log a sentence once the step is committed. The value `project` is added."""
        log = self.log.warn if warn else self.log.info
        self.after_commit(lambda: log(sentence, project=str(self.name), **values))

    def note_change(self) -> None:
        """Record that the project must be exported."""
        if not self.row.is_changed:
            self.queries.set_changed(self.key)
            self.row = replace(self.row, is_changed=True)

    def note_event(self, kind: EventKind, file: FileName | None = None, version: int | None = None) -> None:
        """Record a change of which listeners are told."""
        self.queries.add_event(self.key, kind, file, version)
        self.has_events = True

    def remove_project(self) -> None:
        """Remove the project, with its lock and without its waiting uploads; its versions stay."""
        for row in self.heads.values():
            if row.is_there:
                self.queries.set_there(self.key, row.newest.file, False, row.mtime)
                self.note_event(EventKind.HEAD, row.newest.file)
            self.queries.set_mark(self.key, row.newest.file, None, None)
        self.forget_heads()
        self.set_lock(None)
        # Else the next upload would bring the waiting uploads back.
        self.queries.give_up_waiting(self.key)
        self.queries.set_removed(self.key, True)
        self.row = replace(self.row, is_removed=True, is_exported=False, lock_mark=None, has_waiting=False)

    # Locks

    @property
    def lock(self) -> Lock | None:
        """The lock that is held now; None if expired or missing."""
        return leases.current(self.row.lock, self.now)

    def set_lock(self, lock: Lock | None) -> None:
        """Write the lock, or remove it."""
        self.queries.set_lock(self.key, lock)
        self.note_event(EventKind.LOCK)
        self.row = replace(self.row, lock=lock, is_changed=True)

    # Heads

    @property
    def heads(self) -> dict[FileName, HeadRow]:
        """The files of the project in the order of `FileName`, removed ones included."""
        if self._heads is None:
            self._heads = self.queries.heads(self.key)
        return self._heads

    def forget_heads(self) -> None:
        """Drop the cached files, because they were changed."""
        self._heads = None
        self._some_heads.clear()

    def head_row(self, file: FileName) -> HeadRow | None:
        """Row of one file, removed or not; most steps need no other."""
        if self._heads is not None:
            return self._heads.get(file)
        if file not in self._some_heads:
            self._some_heads[file] = self.queries.heads(self.key, file).get(file)
        return self._some_heads[file]

    def head(self, file: FileName) -> Head | None:
        """The head of a file; None without one."""
        row = self.head_row(file)
        return row.head if row else None

    def newest(self, file: FileName) -> Version | None:
        """The newest version that became the head of a file, even if removed since."""
        row = self.head_row(file)
        return row.newest if row else None

    def head_version(self, file: FileName) -> Version | None:
        """The version that is the head of a file; None without a head."""
        return self.newest(file) if self.head(file) else None

    # Versions

    def new(self, file: FileName, sha256: str, size: int, kind: Kind) -> Version:
        """A new version, with the next number. It is not stored yet."""
        number = self.row.last_number + 1
        return Version(
            number, file, sha256, size, time=self.now, mtime=self.now, client=None, kind=kind, base=None
        )

    def version(self, number: int | None) -> Version | None:
        """The version of this number; None if there is none, or it was pruned."""
        if number is None:
            return None
        rows = (self._some_heads if self._heads is None else self._heads).values()
        known = next((row.newest for row in rows if row and row.newest.number == number), None)
        return known or self.queries.version(self.key, number)

    def content(self, version: Version | None) -> bytes | None:
        """The content of a version; None without a version, or if the content is damaged."""
        try:
            return self.queries.content(version) if version else None
        except DamagedContent:
            return None

    def keep(self, version: Version, content: bytes) -> None:
        """Store a version, and leave the head unchanged."""
        waits = version.role is Role.WAITING
        self._add(version, content, waits=waits, unmerged=True)
        if waits:
            self.row = replace(self.row, has_waiting=True)
            self.queries.bound_waiting(self.key, MAX_WAITING)
            if version.kind is Kind.RESCUED:
                # Any other upload that is kept is merged in the same step.
                self.note_event(EventKind.WAITING, version.file, version.number)

    def advance(self, version: Version, content: bytes) -> Head:
        """Store a version, and make it the head."""
        if version.kind is not Kind.FOUND:
            version = self._with_next_mtime(version)
        self._add(version, content, waits=False, unmerged=False)
        self.queries.set_head(self.key, version)
        self.note_event(EventKind.HEAD, version.file, version.number)
        self.note_change()
        self.forget_heads()
        return Head(version.file, version.number, version.size, version.mtime, version.sha256)

    def remove_head(self, version: Version, content: bytes) -> None:
        """Store a version of kind `REMOVED`, and remove the head that has its content."""
        self._add(version, content, waits=False, unmerged=False)
        row = self.head_row(version.file)
        self.queries.set_there(self.key, version.file, False, row.mtime if row else version.mtime)
        self.note_event(EventKind.HEAD, version.file)
        self.note_change()
        self.forget_heads()

    def _add(self, version: Version, content: bytes, *, waits: bool, unmerged: bool) -> None:
        self.queries.add_version(self.key, version, content, waits=waits, unmerged=unmerged)
        self._note_day(version.time // _DAY)
        self.row = replace(self.row, last_number=version.number, is_removed=False)
        if version.client is not None and version.kind in (Kind.UPLOAD, Kind.RESCUED):
            self._note_upload(version, version.client, unmerged)

    def _note_day(self, day: int) -> None:
        if day != self.queries.last_day:
            self.queries.add_day(day)
            self.after_commit(lambda: setattr(self.queries, "last_day", day))

    def _note_upload(self, version: Version, client: ClientId, unmerged: bool) -> None:
        self._note_stranger(version, client, self.see(client))
        for replaced in version.parents:
            self.queries.settle(self.key, replaced, merged=False)
        if not unmerged:
            self._write_base(client, version.file, Base.of(version))

    def _with_next_mtime(self, version: Version) -> Version:
        """The version, with an mtime later than those of all earlier heads.

        Mtimes in the future are left out: a wrong clock has set them.
        """
        row = self.head_row(version.file)
        earlier = (row.latest_mtime, row.mtime) if row else ()
        last = [mtime + 1 for mtime in earlier if not is_from_future(mtime, version.time)]
        return replace(version, mtime=Millis(max(version.time, *last))) if last else version

    def settle(self, waiting: Version, *, merged: bool) -> None:
        """End the waiting of an upload, after a merge, or because no merge is possible.

        If it was merged, the upload may now be the base of its client. If not, it stays in history.
        """
        overtaken = self.queries.settle(self.key, waiting.number, merged=merged)
        self.row = replace(self.row, has_waiting=self.queries.has_waiting(self.key))
        if not merged or waiting.client is None or waiting.kind is Kind.FOUND:
            return
        base = self.base(waiting.client, waiting.file)
        if overtaken:
            self._write_base(waiting.client, waiting.file, base.with_sent(waiting))
        elif base.sure is None or base.sure.number < waiting.number:
            self._write_base(waiting.client, waiting.file, Base.of(waiting))

    # Clients

    def see(self, client: ClientId) -> ClientRow | None:
        """Record that a client was seen; its record so far, None for a new client."""
        known, _ = self._client(client)
        if known is None:
            self.queries.add_client(self.key, client, self.now)
            self.queries.bound_clients(self.key, MAX_CLIENTS)
        elif self.now - known.last_seen > _SEEN_WITHIN:
            self.queries.see(self.key, client, self.now)
        else:
            return known
        self._clients.pop(client)
        return known

    def _client(self, client: ClientId) -> tuple[ClientRow | None, dict[FileName, BaseRow]]:
        if client not in self._clients:
            self._clients[client] = self.queries.client(self.key, client)
        return self._clients[client]

    def base(self, client: ClientId, file: FileName) -> Base:
        """The base of a client for a file."""
        if (client, file) not in self._bases:
            row = self._client(client)[1].get(file)
            self._bases[client, file] = self.queries.base(self.key, row, self.newest(file)) if row else Base()
        return self._bases[client, file]

    def note_base(self, client: ClientId, file: FileName, base: Base) -> None:
        """Record a base, and that its client was seen.

        Nothing is written if the base is unchanged, nothing of the client is waiting, and the client was seen today.
        """
        waits = self.row.has_waiting and self.queries.replaceable(self.key, client, file) is not None
        if not waits and base == self.base(client, file):
            known, _ = self._client(client)
            if known and self.now - known.last_seen <= _SEEN_EVERY:
                return
        if waits:
            self.queries.overtake(self.key, client, file)
        self.see(client)
        self._write_base(client, file, base)

    def _write_base(self, client: ClientId, file: FileName, base: Base) -> None:
        self.queries.set_base(self.key, client, file, base)
        self._bases[client, file] = base

    def _note_stranger(self, version: Version, client: ClientId, known: ClientRow | None) -> None:
        """Record an upload that shares nothing with its client's versions, for `TwoPlaces`.

        Nothing is recorded if another upload of the same push shares something: a long session may have summarized away
        every line of the old log.
        """
        if not version.is_unrelated and version.base is None:
            return
        self._clients.pop(client, None)
        if known is None:
            known = ClientRow(self.now)
        if version.is_unrelated:
            if known.familiar_at is None or abs(version.time - known.familiar_at) >= ONE_PUSH:
                self.queries.set_stranger(self.key, client, version.file, version.time)
            return
        if known.familiar_at is None or abs(version.time - known.familiar_at) > _AT_ONCE:
            self.queries.set_familiar(self.key, client, version.time)
        stranger_at, stranger_file = known.stranger_at, known.stranger_file
        if (
            stranger_at is not None
            and stranger_file is not version.file
            and version.time - stranger_at < ONE_PUSH
        ):
            self.queries.set_stranger(self.key, client, None, None)


def is_from_future(mtime: Millis, now: Millis) -> bool:
    """Whether a time is over `SLACK` in the future: a wrong clock has set it."""
    return mtime > now + SLACK
