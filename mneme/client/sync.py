"""Pull and push of one project's memory.

Nothing here trusts a clock of two machines, nor that a version of the server is still the one it was: a base counts
only if the server says that it has that version with that content. So a server that was set up anew, or put back to a
backup, gets what it lacks.
"""

import enum
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from attrs import evolve, frozen

from mneme import wire
from mneme.client.calls import Client, Download, Outdated, Unmodified
from mneme.client.errors import ClientError, Refused, ServerFault, ServerTrouble
from mneme.client.folder import MAX_BYTES, Folder, Kept, Local, Snapshot
from mneme.clocks import WallClock
from mneme.durable import Mark
from mneme.errors import DiskFull
from mneme.merge import is_damaged, is_well_formed, merge
from mneme.model import (
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
from mneme.work import Worker

_ATTEMPTS = 5
"""Attempts at a file that is written in between each time."""

_HISTORY = 100
"""Versions asked for at first, to find out whether a refused upload was merged."""


class Action(enum.Enum):
    """Actions of a pull or push on a file."""

    NOTHING = "nothing"
    FETCHED = "fetched"
    MERGED = "merged"
    """Changes here and on the server were merged."""
    REPLACED = "replaced"
    """The local file could not be merged, and was replaced by the server's."""
    STAYED = "stayed"
    """The server's file could not be merged, and the next push replaces it."""
    SENT = "sent"
    APPENDED = "appended"
    HELD_BACK = "held back"
    """The local file is damaged, unlike its base, and was not sent."""
    KEPT = "kept"
    """The upload was refused for the lock, and the server keeps it to be merged."""
    REFUSED = "refused"
    """The upload was refused for the lock, and the server had no space for it."""
    MISSED = "missed"
    """The file was written during every attempt; the next push tries again."""


Progress: TypeAlias = Callable[[Action, FileName, int], None]
"""A callback before each transfer, with its size before compression."""


def no_progress(_action: Action, _file: FileName, _size: int, /) -> None:
    """Ignore a transfer."""


@frozen
class FileReport:
    """The actions on a file, its version now, and the server's `problem` with it."""

    file: FileName
    actions: tuple[Action, ...] = ()
    version: int | None = None
    problem: str | None = None


@frozen
class Report:
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
        worker: Worker,
        wall: WallClock,
        folder: Folder,
        progress: Progress = no_progress,
    ) -> None:
        """Set up the sync; `progress` is called before each transfer."""
        self.client = client
        self.project = folder.project
        self._worker = worker
        self._wall = wall
        self._folder = folder
        self._progress = progress

    async def marks(self) -> Mapping[FileName, Mark]:
        """Marks of the files, of which a write changes one."""
        return await self._worker.run(self._folder.marks)

    async def pull(self) -> Report:
        """Take the lock, fetch changed files, and merge them with local changes.

        Without the lock what is on the server is fetched all the same: to read it is nobody's privilege.
        """
        outcome = await self.client.acquire(self.project)
        heads = {head.file: head for head in await self.client.heads(self.project)}
        holds = isinstance(outcome, Granted)
        seen = await self._look_at_all()
        reports = [
            await self._unless_refused(file, self._fetch(heads[file], seen[file], holds))
            for file in FileName
            if file in heads
        ]
        return self._report(outcome, reports)

    async def push(self) -> Report:
        """Fetch, merge and send changed files, and give up the lock.

        While another client holds the lock, what has changed is sent as it is: the server keeps it.
        """
        outcome = await self.client.acquire(self.project)
        try:
            report = await self.send(outcome)
        except (OSError, DiskFull, ServerTrouble):
            # The others need not wait for a disk, of this machine or of the server.
            with suppress(ClientError):
                await self._release(outcome)
            raise
        try:
            await self._release(outcome)
        except ClientError:
            # All was sent; the report has the lock that stays.
            return report
        return evolve(report, lock=None)

    async def send(self, outcome: Granted | HeldBy) -> Report:
        """Send changed files; without the lock, the server keeps them to be merged."""
        if isinstance(outcome, HeldBy):
            seen = await self._look_at_all()
            handed_in = [
                await self._unless_refused(file, self._hand_in(file, seen[file])) for file in FileName
            ]
            return self._report(outcome, handed_in)
        heads = {head.file: head for head in await self.client.heads(self.project)}
        seen = await self._look_at_all()
        reports = [
            await self._unless_refused(file, self._exchange(file, heads.get(file), seen[file]))
            for file in FileName
        ]
        return self._report(outcome, reports)

    async def _unless_refused(
        self, file: FileName, work: Coroutine[object, object, FileReport]
    ) -> FileReport:
        """The report of a file, with its `problem` if the server refused or failed."""
        try:
            return await work
        except (Refused, ServerFault) as problem:
            return FileReport(file, problem=str(problem))

    async def _release(self, outcome: Granted | HeldBy) -> None:
        if isinstance(outcome, Granted):
            await self.client.release(self.project)

    async def _fetch(self, head: Head, seen: Snapshot, holds: bool) -> FileReport:
        """Fetch a file and merge it in, if it changed on the server."""
        for _ in range(_ATTEMPTS):
            seen = await self._refreshed(head.file, seen)
            taken = await self._take_in(head, seen, holds)
            if taken:
                action, _ = taken
                return FileReport(head.file, _without_nothing([action]), head.version)
            seen = await self._look(head.file)
        return FileReport(head.file, (Action.MISSED,))

    async def _exchange(self, file: FileName, head: Head | None, seen: Snapshot) -> FileReport:
        """Fetch a file that changed on the server, then send it if it changed here."""
        done: list[Action] = []
        for _ in range(_ATTEMPTS):
            seen = await self._refreshed(file, seen)
            if head:
                taken = await self._take_in(head, seen, holds=True)
                if taken is None:
                    seen = await self._look(file)
                    continue
                action, seen = taken
                done.append(action)
            if seen.local is None or (head and not seen.is_changed):
                return FileReport(file, _without_nothing(done), head.version if head else None)
            sent = await self._send(file, seen, seen.local, seen.base if head else None)
            if sent:
                return evolve(sent, actions=_without_nothing([*done, *sent.actions]))
            head, seen = await self._head(file), await self._look(file)
        return FileReport(file, _without_nothing([*done, Action.MISSED]))

    async def _head(self, file: FileName) -> Head | None:
        return next((head for head in await self.client.heads(self.project) if head.file is file), None)

    # What is on the server

    async def _take_in(self, head: Head, seen: Snapshot, holds: bool) -> tuple[Action, Snapshot] | None:
        """Make the head the base and merge it in; None if the file was written.

        `holds` is whether this machine has the lock: then nothing of what the server has kept waits to be merged.
        """
        if seen.base and seen.base.sha256 == head.sha256 and not seen.refused:
            if seen.local is not None:
                if seen.base.version == head.version:
                    return Action.NOTHING, seen
                # After the server was restored from a backup, the content has another number.
                renumbered = Kept(head.version, seen.base.content, head.sha256)
                return await self._received(head.file, renumbered, seen.local.content, seen, Action.NOTHING)
            return await self._received(head.file, seen.base, seen.base.content, seen, Action.FETCHED)
        if seen.local and digest(seen.local.content) == head.sha256:
            same = Kept(head.version, seen.local.content, head.sha256)
            return await self._received(head.file, same, same.content, seen, Action.NOTHING)
        merged = seen.refused and await self._is_merged(head.file, seen.refused)
        if seen.local and seen.refused and not (merged or holds):
            # Fetched now, the refused upload would be merged twice: here and on the server.
            return Action.NOTHING, seen
        self._progress(Action.FETCHED, head.file, head.size)
        there = await self._there(head, seen.base)
        if there is None:
            return Action.NOTHING, seen
        if seen.local is None:
            action, content = Action.FETCHED, there.content
        else:
            base = seen.refused if merged else await self._confirmed(head.file, seen.base)
            action, content = await self._both(head.file, base, seen.local, there)
        return await self._received(
            head.file, Kept(there.version, there.content, there.sha256), content, seen, action
        )

    async def _there(self, head: Head, base: Kept | None) -> Download | None:
        """The head's content, not transferred if it is the base; None if gone."""
        known = base.sha256 if base else None
        there = await self.client.download(self.project, head.file, known, head.size)
        if base and isinstance(there, Unmodified):
            return Download(base.content, base.version, head.mtime, base.sha256)
        return there if isinstance(there, Download) else None

    async def _received(
        self, file: FileName, base: Kept, content: bytes, seen: Snapshot, action: Action
    ) -> tuple[Action, Snapshot] | None:
        received = await self._worker.run(lambda: self._folder.receive(file, base, content, seen))
        return (action, received) if received else None

    async def _both(
        self, file: FileName, base: Kept | None, local: Local, there: Download
    ) -> tuple[Action, bytes]:
        """The action and content for a file that changed on the server, and perhaps here."""
        if base and base.content == local.content:
            return Action.FETCHED, there.content
        if base and _is_spoiled(file, local, base):
            return Action.REPLACED, there.content
        merged = await self._worker.run(lambda: self._merged(file, base, local, there))
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

    async def _is_merged(self, file: FileName, refused: Kept) -> bool:
        """Whether a refused upload, or the one that replaced it, was merged."""
        history = await self._history_since(file, refused.version)
        number = refused.version
        # After the server was restored from a backup, the number may be another upload's.
        if not any((one.version, one.sha256) == (number, refused.sha256) for one in history):
            return False
        for version in reversed(history):
            # The last parent is the upload that was merged in.
            if version.parents[-1:] == (number,) and version.kind == Kind.MERGED.value:
                return True
            if number in version.parents and version.kind == Kind.RESCUED.value:
                number = version.version
        return False

    async def _history_since(self, file: FileName, version: int) -> Sequence[wire.WireVersion]:
        limit = _HISTORY
        while True:
            history = await self.client.history(self.project, file, limit)
            if len(history) < limit or history[-1].version <= version:
                return history
            limit *= 4

    async def _confirmed(self, file: FileName, base: Kept | None) -> Kept | None:
        """The base, if the server has that version, and has it still."""
        if base is None:
            return None
        found = await self.client.version(self.project, file, base.version, base.sha256)
        return base if isinstance(found, Unmodified) else None

    def _is_later_here(self, local: Local, there: Download) -> bool:
        """Whether the local file is the younger one, each by its own clock."""
        here_ago = Millis(round(self._wall.seconds() * 1000)) - local.mtime
        return here_ago <= self.client.server_now() - there.mtime

    # What is here

    async def _send(
        self, file: FileName, seen: Snapshot, local: Local, base: Kept | None
    ) -> FileReport | None:
        """Send a file that was made from `base`; None if the head has changed."""
        if base and _is_spoiled(file, local, base):
            return FileReport(file, (Action.HELD_BACK,), base.version)
        added = _lines_added(file, local.content, base)
        self._progress(Action.SENT, file, len(added or local.content))
        if base and added:
            action = Action.APPENDED
            outcome = await self.client.append(self.project, added, base.sha256, base.version)
        else:
            only_if = Precondition(frozenset({base.sha256})) if base else NOT_THERE
            action = Action.SENT
            outcome = await self.client.upload(self.project, file, local.content, only_if)
        if isinstance(outcome, Outdated):
            return None
        if isinstance(outcome, Rescued):
            return await self._note_refused(file, seen, local, outcome.version)
        if outcome.merged is True:
            # The upload came again after a lost answer, and the head has moved on.
            return None
        sent = Kept(outcome.version, local.content, digest(local.content))
        await self._worker.run(lambda: self._folder.settle(file, sent, seen))
        return FileReport(file, (action,), sent.version)

    async def _note_refused(
        self, file: FileName, seen: Snapshot, local: Local, version: int | None
    ) -> FileReport:
        if version is None:
            return FileReport(file, (Action.REFUSED,))
        kept = Kept(version, local.content, digest(local.content))
        await self._worker.run(lambda: self._folder.note_refused(file, kept, seen))
        return FileReport(file, (Action.KEPT,), version)

    async def _hand_in(self, file: FileName, seen: Snapshot) -> FileReport:
        """Send a changed file without the lock, so that the server keeps it."""
        seen = await self._refreshed(file, seen)
        local = seen.local
        if local is None or not seen.is_changed:
            return FileReport(file, version=seen.base.version if seen.base else None)
        if seen.refused and seen.refused.content == local.content:
            return FileReport(file, (Action.KEPT,), seen.refused.version)
        merged = seen.refused and await self._is_merged(file, seen.refused)
        sent = await self._send(file, seen, local, seen.refused if merged else seen.base)
        # The lock has become free, or ours, in the meantime.
        return sent or await self._exchange(file, await self._head(file), await self._look(file))

    async def _look_at_all(self) -> Mapping[FileName, Snapshot]:
        return await self._worker.run(self._folder.snapshots)

    async def _refreshed(self, file: FileName, seen: Snapshot) -> Snapshot:
        return await self._worker.run(lambda: self._folder.refreshed(file, seen))

    async def _look(self, file: FileName) -> Snapshot:
        return await self._worker.run(lambda: self._folder.snapshot(file))

    def _report(self, outcome: Granted | HeldBy, reports: Sequence[FileReport]) -> Report:
        locked = outcome.lock if isinstance(outcome, HeldBy) else None
        lock = outcome.lock if isinstance(outcome, Granted) else None
        return Report(self.project, tuple(reports), locked, lock)


def _is_spoiled(file: FileName, local: Local, base: Kept) -> bool:
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
