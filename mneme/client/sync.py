"""Pull and push of one project's memory.

Nothing here trusts a clock of two machines, nor that a server is still the one it was: a base counts only if the server
says that the project's history has that content. So a server that was set up anew, or put back to a backup, gets what
it lacks, and a server that is reached by another name, or a project by another id, is the one that it was.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from mneme import wire
from mneme.client.actions import Action, FileReport
from mneme.client.briefings import Briefings
from mneme.client.calls import Client, Download, Outdated, Unmodified
from mneme.client.errors import ClientError, Refused, ServerFault, StrangeAnswer, TooLarge, Unreachable
from mneme.client.folder import Folder, Kept, Local, PluginAtWork, Snapshot
from mneme.client.sizes import MAX_BYTES, how_to_shorten
from mneme.clocks import SleepingClock
from mneme.errors import MnemeError
from mneme.merge import is_damaged, is_well_formed, merge
from mneme.model import (
    BRIEFINGS,
    MEMORY,
    NOT_THERE,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Millis,
    Precondition,
    ProjectId,
    Rescued,
    digest,
)

_ATTEMPTS = 5
"""Attempts at a file that is written in between each time."""

_PLUGIN_WRITES_WITHIN = 0.1
"""Seconds from reading a file to writing it again, in a process of the plugin."""

_HISTORY = 100
"""Versions asked for at first, to find out whether a refused upload was merged."""


_COMES = (Action.FETCHED, Action.MERGED, Action.REPLACED)
"""Actions on a local file."""

Progress: TypeAlias = Callable[[Action, FileName, int], None]
"""A callback before each transfer, with its size before compression."""


def no_progress(_action: Action, _file: FileName, _size: int, /) -> None:
    """Ignore a transfer."""


class Report(Struct, frozen=True):
    """The result of a pull or a push; `locked` is another client's lock."""

    project: ProjectId
    files: tuple[FileReport, ...] = ()
    locked: Lock | None = None
    lock: Lock | None = None
    """The lock that this machine has now."""

    def files_with(self, action: Action) -> tuple[FileName, ...]:
        """The files with this action."""
        return tuple(one.file for one in self.files if action in one.actions)


class Sync:
    """The sync of one folder with one project on the server."""

    def __init__(
        self,
        client: Client,
        wall: SleepingClock,
        folder: Folder,
        progress: Progress = no_progress,
    ) -> None:
        """Set up the sync; `progress` is called before each transfer."""
        self.client = client
        self.project = folder.project
        self._wall = wall
        self._folder = folder
        self._progress = progress
        self.briefings = Briefings(client, wall, folder)

    def pull(self) -> Report:
        """Take the lock, fetch changed files, and merge them with local changes.

        Without the lock what is on the server is fetched all the same: to read it is nobody's privilege.
        """
        with self._folder.step():
            self._join()
            outcome = self.client.acquire(self.project)
            seen = self._folder.snapshots()
            return self._report(outcome, self._fetched(self._heads(), seen, isinstance(outcome, Granted)))

    def step(self) -> Report:
        """Bring folder and server in step; the lock is held for that moment alone."""
        return self._in_step(_is_to_be_sent)

    def push(self) -> Report:
        """Fetch, merge and send changed files, and give up the lock.

        While another client holds the lock, what has changed is sent as it is: the server keeps it.
        """
        # Also what stays here, or what the server has kept: a person is told of it.
        return self._in_step(lambda _, seen: seen.is_changed, ends=True)

    def join(self) -> ProjectId | None:
        """Link the id by path to the project's id, if the folder went by it.

        The id that was linked now, if any. While another client holds a lock, the folder stays with it until next time.
        """
        with self._folder.step():
            return self._join()

    def _join(self) -> ProjectId | None:
        before, wanted = self._folder.last_id, self._folder.project
        self._go_by(wanted)
        if before is None or before == wanted:
            return None
        linked = None
        if before == self._folder.path_id and self.client.heads(before):
            # Refused if it is another project's: the path of another machine, where that project lies.
            with suppress(Refused):
                if isinstance(self.client.link(before, wanted), HeldBy):
                    self._go_by(before)
                    return None
                linked = before
        self._folder.note_id()
        return linked

    def _go_by(self, project: ProjectId) -> None:
        self.project = self.briefings.project = project

    def _in_step(self, is_news: Callable[[FileName, Snapshot], bool], ends: bool = False) -> Report:
        """Fetch and merge changed files, and send those with news, under the lock."""
        with self._folder.step():
            self._join()
            seen = self._folder.snapshots()
            if any(map(is_news, MEMORY, seen.values())):
                return self._sent()
            heads = self._heads()
            report = Report(self.project, self._fetched(heads, seen, holds=False))
            if self._is_owed(report, is_news) or self._lacks_files(heads, seen):
                return _both_of(report, self._sent())
            if ends:
                with suppress(ClientError):
                    # All is in step, and the lock ends by itself.
                    self.client.release(self.project)
            return report

    def _is_owed(self, report: Report, is_news: Callable[[FileName, Snapshot], bool]) -> bool:
        """Whether the server lacks, after a fetch, what it was taken to have."""
        if report.files_with(Action.KEPT) and self.client.lock(self.project) is None:
            # The lock is free, and the upload was not merged: merging is off, or the server was put back.
            return True
        # A base that the server does not know merges with its head to more than that.
        merged = report.files_with(Action.MERGED)
        return bool(merged) and any(is_news(file, self._folder.snapshot(file)) for file in merged)

    def _lacks_files(self, heads: Mapping[FileName, Head], seen: Mapping[FileName, Snapshot]) -> bool:
        """Whether the server never had some files that did not change here."""
        return any(
            one.local and file not in heads and not one.is_changed and not self._is_removed(file, one)
            for file, one in seen.items()
        )

    def _is_removed(self, file: FileName, seen: Snapshot) -> bool:
        """Whether a file without a head was removed on the server, which is noted."""
        if not is_removed_there(self.client, self.project, file, seen):
            return False
        if not seen.is_removed:
            # Once the history is pruned, nothing else tells of the removal.
            self._folder.note_removed(file)
        return True

    def _fetched(
        self, heads: Mapping[FileName, Head], seen: Mapping[FileName, Snapshot], holds: bool
    ) -> tuple[FileReport, ...]:
        """Fetch and merge changed files; `holds` is whether this machine has the lock."""
        reports = tuple(
            self._unless_refused(file, partial(self._fetch, file, heads.get(file), seen[file], holds))
            for file in MEMORY
            if file in heads or _waits(file, seen[file]) is not Action.NOTHING
        )
        self._check_replaced()
        return (*reports, *self._briefed(heads))

    def _briefed(self, heads: Mapping[FileName, Head]) -> Sequence[FileReport]:
        """Bring the briefings in step, for which nobody needs the lock."""
        reports = [
            self._unless_refused(file, partial(self.briefings.exchange, file, heads.get(file)))
            for file in BRIEFINGS
        ]
        return [one for one in reports if one.version or one.actions or one.problem]

    def _heads(self) -> dict[FileName, Head]:
        return {head.file: head for head in self.client.heads(self.project)}

    def _sent(self) -> Report:
        """Take the lock, fetch, merge and send changed files, and give the lock up."""
        outcome = self.client.acquire(self.project)
        try:
            report = self.send(outcome)
        except Unreachable:
            raise
        except (OSError, MnemeError):
            # The others need not wait for a disk, of this machine or of the server, nor for a proxy.
            with suppress(ClientError):
                self._release(outcome)
            raise
        try:
            self._release(outcome)
        except ClientError:
            # All was sent; the report has the lock that stays.
            return report
        return replace(report, lock=None)

    def send(self, outcome: Granted | HeldBy) -> Report:
        """Fetch and send changed files; without the lock, the server keeps those to be merged."""
        heads, seen = self._heads(), self._folder.snapshots()
        work = self._exchange if isinstance(outcome, Granted) else self._hand_in
        reports = [
            self._unless_refused(file, partial(work, file, heads.get(file), seen[file])) for file in MEMORY
        ]
        self._check_replaced()
        return self._report(outcome, [*reports, *self._briefed(heads)])

    def _check_replaced(self) -> None:
        """Look again at replaced files, a moment later: the plugin may have read the old."""
        if self._folder.has_replaced:
            self._wall.sleep(_PLUGIN_WRITES_WITHIN)
            self._folder.check_replaced()

    def _unless_refused(self, file: FileName, work: Callable[[], FileReport]) -> FileReport:
        """The report of a file, with its `problem` if the server refused or failed."""
        try:
            return work()
        except PluginAtWork:
            return FileReport(file, (Action.WAITING,))
        except TooLarge as problem:
            advice = "" if problem.by_proxy else f". {how_to_shorten(file)}"
            return FileReport(file, problem=f"{problem}{advice}")
        except (Refused, ServerFault, StrangeAnswer) as problem:
            return FileReport(file, problem=str(problem))

    def _release(self, outcome: Granted | HeldBy) -> None:
        if isinstance(outcome, Granted):
            self.client.release(self.project)

    def _fetch(self, file: FileName, head: Head | None, seen: Snapshot, holds: bool) -> FileReport:
        """Fetch a file and merge it in, if it changed on the server."""
        if head is None:
            return FileReport(file, _without_nothing([_waits(file, seen)]))
        for _ in range(_ATTEMPTS):
            seen = self._folder.refreshed(file, seen)
            taken = self._take_in(head, seen, holds)
            if taken:
                action, seen = taken
                return FileReport(file, _without_nothing([action, _waits(file, seen)]), head.version)
            seen = self._folder.snapshot(file)
        return FileReport(file, (Action.MISSED,))

    def _exchange(self, file: FileName, head: Head | None, seen: Snapshot) -> FileReport:
        """Fetch a file that changed on the server, then send it if it changed here."""
        done: list[Action] = []
        for _ in range(_ATTEMPTS):
            seen = self._folder.refreshed(file, seen)
            if head:
                taken = self._take_in(head, seen, holds=True)
                if taken is None:
                    seen = self._folder.snapshot(file)
                    continue
                action, seen = taken
                done.append(action)
            if seen.local is None or (head and not seen.is_changed):
                return FileReport(file, _without_nothing(done), head.version if head else None)
            if head is None and self._is_removed(file, seen):
                return FileReport(file, (Action.REMOVED,))
            sent = self._send(file, seen.local, seen.base if head else None)
            if sent:
                return replace(sent, actions=_without_nothing([*done, *sent.actions]))
            head, seen = self._head(file), self._folder.snapshot(file)
        return FileReport(file, _without_nothing([*done, Action.MISSED]))

    def _head(self, file: FileName) -> Head | None:
        return self._heads().get(file)

    # What is on the server

    def _take_in(self, head: Head, seen: Snapshot, holds: bool) -> tuple[Action, Snapshot] | None:
        """Make the head the base and merge it in; None if the file was written.

        `holds` is whether this machine has the lock: then nothing of what the server has kept waits to be merged.
        """
        if seen.base and seen.base.sha256 == head.sha256 and not seen.refused:
            if seen.local is not None:
                if seen.base.version == head.version and not seen.is_removed:
                    return Action.NOTHING, seen
                # After a restored backup the content has another number; a removed file may be there again.
                renumbered = Kept(head.version, seen.base.content, head.sha256)
                return self._received(head.file, renumbered, seen.local.content, seen, Action.NOTHING)
            return self._received(head.file, seen.base, seen.base.content, seen, Action.FETCHED)
        merged = seen.refused and self._is_merged(head.file, seen.refused)
        if seen.local and seen.refused and not (merged or holds):
            # Fetched now, the refused upload would be merged twice: here and on the server. Forgotten now, because what
            # it added was removed here, it would bring that back.
            return Action.NOTHING, seen
        if seen.local and digest(seen.local.content) == head.sha256:
            same = Kept(head.version, seen.local.content, head.sha256)
            return self._received(head.file, same, same.content, seen, Action.NOTHING)
        self._progress(Action.FETCHED, head.file, head.size)
        there = self._there(head, seen.base)
        if there is None:
            return Action.NOTHING, seen
        if seen.local is None:
            action, content = Action.FETCHED, there.content
        else:
            base = seen.refused if merged else self._confirmed(head.file, seen.base)
            action, content = self._both(head.file, base, seen.local, there)
        return self._received(
            head.file, Kept(there.version, there.content, there.sha256), content, seen, action
        )

    def _there(self, head: Head, base: Kept | None) -> Download | None:
        """The head's content, not transferred if it is the base; None if gone."""
        known = base.sha256 if base else None
        there = self.client.download(self.project, head.file, known, head.size)
        if base and isinstance(there, Unmodified):
            return Download(base.content, base.version, head.mtime, base.sha256)
        return there if isinstance(there, Download) else None

    def _received(
        self, file: FileName, base: Kept, content: bytes, seen: Snapshot, action: Action
    ) -> tuple[Action, Snapshot] | None:
        received = self._folder.receive(file, base, content, seen)
        return (action, received) if received else None

    def _both(self, file: FileName, base: Kept | None, local: Local, there: Download) -> tuple[Action, bytes]:
        """The action and content for a file that changed on the server, and perhaps here."""
        if base and base.content == local.content:
            return Action.FETCHED, there.content
        if base and is_spoiled(file, local, base):
            return Action.REPLACED, there.content
        merged = self._merged(file, base, local, there)
        if merged is not None:
            return Action.MERGED, merged
        if is_well_formed(file, there.content) and not is_well_formed(file, local.content):
            return Action.REPLACED, there.content
        return Action.STAYED, local.content

    def _merged(self, file: FileName, base: Kept | None, local: Local, there: Download) -> bytes | None:
        return merge(
            file,
            base.content if base else None,
            there.content,
            local.content,
            upload_is_later=self._is_later_here(local, there),
            max_bytes=MAX_BYTES,
        )

    def _is_merged(self, file: FileName, refused: Kept) -> bool:
        """Whether a refused upload, or the upload that replaced it, was merged."""
        history = _history_until(
            self.client,
            self.project,
            file,
            lambda one: (one.version, one.sha256) == (refused.version, refused.sha256),
        )
        number = _number_of(refused, history)
        for version in reversed(history):
            # The last parent is the upload that was merged in.
            if version.parents[-1:] == (number,) and version.kind == Kind.MERGED.value:
                return True
            if number in version.parents and version.kind == Kind.RESCUED.value:
                number = version.version
        return False

    def _confirmed(self, file: FileName, base: Kept | None, *, may_wait: bool = False) -> Kept | None:
        """The base, if its content is in the history of the project on the server.

        It may have another number: the server was restored from a backup, or the id has become an alias. Of a backup,
        the history may have it as an upload that was kept, and not merged yet, or never.
        """
        if base is None:
            return None
        found = self.client.version(self.project, file, base.version, base.sha256)
        is_known = isinstance(found, Unmodified) or _was_there(
            self.client, self.project, file, base, may_wait=may_wait
        )
        return base if is_known else None

    def _is_later_here(self, local: Local, there: Download) -> bool:
        """Whether the local file is the younger one, each by its own clock."""
        here_ago = Millis(round(self._wall.seconds() * 1000)) - local.mtime
        return here_ago <= self.client.server_now() - there.mtime

    # What is here

    def _send(self, file: FileName, local: Local, base: Kept | None) -> FileReport | None:
        """Send a file that was made from `base`; None if the head has changed."""
        if base and is_spoiled(file, local, base):
            return FileReport(file, (Action.HELD_BACK,), base.version)
        added = _lines_added(file, local.content, base)
        self._progress(Action.SENT, file, len(added or local.content))
        if base and added:
            action = Action.APPENDED
            outcome = self.client.append(self.project, added, base.sha256, base.version)
        else:
            only_if = Precondition(frozenset({base.sha256})) if base else NOT_THERE
            action = Action.SENT
            outcome = self.client.upload(self.project, file, local.content, only_if)
        if isinstance(outcome, Outdated):
            return None
        if isinstance(outcome, Rescued):
            return self._note_refused(file, local, outcome.version)
        if outcome.merged is True:
            # The upload came again after a lost answer, and the head has moved on.
            return None
        sent = Kept(outcome.version, local.content, digest(local.content))
        self._folder.settle(file, sent)
        return FileReport(file, (action,), sent.version)

    def _note_refused(self, file: FileName, local: Local, version: int | None) -> FileReport:
        if version is None:
            return FileReport(file, (Action.REFUSED,))
        kept = Kept(version, local.content, digest(local.content))
        self._folder.note_refused(file, kept)
        return FileReport(file, (Action.KEPT,), version)

    def _hand_in(self, file: FileName, head: Head | None, seen: Snapshot) -> FileReport:
        """Send a changed file, which the server keeps without the lock; else fetch it."""
        seen = self._folder.refreshed(file, seen)
        local = seen.local
        if local is None or not _is_to_be_sent(file, seen):
            return self._fetch(file, head, seen, holds=False)
        base = seen.base
        if seen.refused:
            # Whether it waits or is merged by now, the server counts what it added once. After a restored backup, the
            # server may know neither.
            base = self._confirmed(file, seen.refused, may_wait=True) or self._confirmed(file, seen.base)
        sent = self._send(file, local, base)
        # The lock has become free, or ours, in the meantime.
        return sent or self._exchange(file, self._head(file), self._folder.snapshot(file))

    def _report(self, outcome: Granted | HeldBy, reports: Sequence[FileReport]) -> Report:
        locked = outcome.lock if isinstance(outcome, HeldBy) else None
        lock = outcome.lock if isinstance(outcome, Granted) else None
        return Report(self.project, tuple(reports), locked, lock)


def is_removed_there(client: Client, project: ProjectId, file: FileName, seen: Snapshot) -> bool:
    """Whether a file without a head was removed on the server.

    Then the server's history has the content that is here, and nothing is to be sent. A server that was set up anew,
    or put back to an older backup, does not have it, and gets what it lacks.
    """
    if seen.local is None or seen.base is None or seen.is_changed:
        return False
    return seen.is_removed or _was_there(client, project, file, seen.base)


def _was_there(
    client: Client, project: ProjectId, file: FileName, base: Kept, *, may_wait: bool = True
) -> bool:
    """Whether the history of a file has the content of a base, under any number."""

    def is_it(one: wire.WireVersion) -> bool:
        return one.sha256 == base.sha256 and (may_wait or one.kind != Kind.RESCUED.value)

    return any(map(is_it, _history_until(client, project, file, is_it)))


def _history_until(
    client: Client, project: ProjectId, file: FileName, is_wanted: Callable[[wire.WireVersion], bool]
) -> Sequence[wire.WireVersion]:
    """The history of a file, newest first, back to a wanted version."""
    limit = _HISTORY
    while True:
        history = client.history(project, file, limit)
        if len(history) < limit or any(map(is_wanted, history)):
            return history
        limit *= 4


def _number_of(refused: Kept, history: Sequence[wire.WireVersion]) -> int | None:
    """The number of a refused upload on the server, which may have changed."""
    same = [one for one in history if one.sha256 == refused.sha256]
    if any(one.version == refused.version for one in same):
        return refused.version
    return next((one.version for one in same if one.kind == Kind.RESCUED.value), None)


def _both_of(first: Report, second: Report) -> Report:
    """Two reports as one: of each file what came first, and what was done then."""
    came = {one.file: [action for action in one.actions if action in _COMES] for one in first.files}
    files = [
        replace(one, actions=tuple(dict.fromkeys([*came.get(one.file, ()), *one.actions])))
        for one in second.files
    ]
    return replace(second, files=tuple(files))


def _is_to_be_sent(file: FileName, seen: Snapshot) -> bool:
    """Whether a file has changes that the server was not sent."""
    return seen.is_changed and _waits(file, seen) is Action.NOTHING


def _waits(file: FileName, seen: Snapshot) -> Action:
    """The reason for which changes in a file are not sent; else `NOTHING`."""
    if seen.local is None:
        return Action.NOTHING
    if seen.base and is_spoiled(file, seen.local, seen.base):
        return Action.HELD_BACK
    if seen.refused and seen.refused.content == seen.local.content:
        return Action.KEPT
    return Action.NOTHING


def is_spoiled(file: FileName, local: Local, base: Kept) -> bool:
    """Whether a file is damaged, or half written, and its base is not."""
    if is_damaged(file, base.content):
        return False
    # The plugin writes whole lines.
    is_cut = file is FileName.LOG and base.content.startswith(local.content)
    return is_damaged(file, local.content) or (
        is_cut and not local.content.endswith(b"\n") and local.content != base.content
    )


def _lines_added(file: FileName, content: bytes, base: Kept | None) -> bytes:
    """Lines added to the end of a log, if nothing else changed."""
    if file is not FileName.LOG or base is None or not base.content.endswith(b"\n"):
        return b""
    if not content.startswith(base.content) or not content.endswith(b"\n"):
        return b""
    if digest(base.content) != base.sha256:
        # The server's content is no UTF-8, and an append would keep it so.
        return b""
    return content[len(base.content) :]


def _without_nothing(action: Sequence[Action]) -> tuple[Action, ...]:
    return tuple(dict.fromkeys(one for one in action if one is not Action.NOTHING))
