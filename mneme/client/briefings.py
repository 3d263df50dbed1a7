"""The briefings of a folder: what a session leaves for the next one. Blocking code.

The plugin writes `briefing.json` for a person who hands over. The next session is told it, and the plugin moves it into
`briefing-archive/`. `handoff.json` is written at the end of each session, and stays. Of two, the later one stays.

```
<folder>/
  briefing-archive/             briefings that were told, here or elsewhere, and those that a later one replaced
  handoff.json.bak              the handoff that a later one replaced
  .mneme/had-<file>             which version of the server this folder had last, and which content is on its way
```

A briefing that was here and is not any more was told here, and is removed from the server. The server takes no content
that was its head before, and a removal names what it removes. So whichever process dies, and whichever machine was
offline, no briefing comes back.
"""

import secrets
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from mneme import durable, times
from mneme.client.actions import Action, FileReport
from mneme.client.calls import Bygone, Client, Download, Outdated
from mneme.client.folder import Folder
from mneme.clocks import WallClock
from mneme.errors import NOT_JSON, MnemeError
from mneme.merge import is_damaged
from mneme.model import NOT_THERE, FileName, Head, Kind, Millis, Precondition, digest

_BESIDE = ".mneme"
_ARCHIVE = "briefing-archive"

_ATTEMPTS = 5
"""Attempts at a briefing that changes in between each time."""

_WRITTEN_WITHIN = Millis(2000)
"""Milliseconds after which a damaged briefing is not one that is being written."""

_TOLD_FOR = Millis(7 * 24 * 60 * 60 * 1000)
"""Milliseconds after which the plugin tells a briefing to nobody."""


class _Had(msgspec.Struct, frozen=True, omit_defaults=True):
    """The version that the folder had last."""

    version: int = 0
    sha256: str = ""
    coming: str = ""
    """The digest of a content that is being fetched or sent; noted first."""

    def is_of(self, head: Head) -> bool:
        return (self.version, self.sha256) == (head.version, head.sha256)

    def with_coming(self, sha256: str) -> "_Had":
        return replace(self, coming=sha256)


class _Stamped(msgspec.Struct, frozen=True):
    ts: str


class _Local(msgspec.Struct, frozen=True):
    """A file as it was read: content as text, and mtime."""

    content: bytes
    mtime: Millis
    sha256: str


class Briefings:
    """The briefings of one folder, in step with those of its project."""

    def __init__(self, client: Client, wall: WallClock, folder: Folder) -> None:
        self._client = client
        self._wall = wall
        self._folder = folder
        self._path = folder.path
        self.project = folder.project
        self._not_taken: set[str] = set()
        """Digests of contents that the server did not take: a server that knows no briefings."""

    def exchange(self, file: FileName, head: Head | None) -> FileReport:
        """Bring a briefing in step with the server, where `head` was its head.

        Call this in a step of the folder.
        """
        for _ in range(_ATTEMPTS):
            report = self._attempt(file, head)
            if report:
                return report
            heads = self._client.heads(self.project)
            head = next((one for one in heads if one.file is file), None)
        return FileReport(file, (Action.MISSED,))

    # A session

    @property
    def is_waiting(self) -> bool:
        """Whether a briefing is here, for the plugin to be told."""
        return durable.exists(self._file_path(FileName.BRIEFING))

    def take(self, patience: float) -> bytes | None:
        """The briefing that came from the server, for our hook to tell; None without one.

        It is with the used ones then, so that the plugin tells it to nobody. None, too, if it is too old. The folder is
        waited for at most `patience` seconds: what is taken for a hook that has ended is told to nobody.
        """
        file = FileName.BRIEFING
        with self._folder.step(patience):
            local = self._local(file)
            if local is None or self._had(file).sha256 != local.sha256 or not self._put_away(file, local):
                return None
            durable.sync_directory(self._path)
        written = _written_at(local.content)
        is_fresh = written is not None and self._now() - written < _TOLD_FOR
        return local.content if is_fresh else None

    def claim(self, content: bytes) -> bool:
        """Remove a taken briefing from the server. Return whether to tell it.

        Another machine may have been quicker. If the server does not answer, the next step removes it.
        """
        try:
            return self._client.remove(self.project, FileName.BRIEFING, digest(content)) is True
        except MnemeError:
            return True

    # A step

    def _attempt(self, file: FileName, head: Head | None) -> FileReport | None:
        """Try once; None if something has changed in between."""
        local, had = self._local(file), self._had(file)
        if local is None:
            if head is None or durable.exists(self._file_path(file)):
                return FileReport(file)
            return self._use(head) if self._was_used(head, had) else self._fetch(head)
        if head and local.sha256 == head.sha256:
            return self._in_step(head, had)
        if is_damaged(file, local.content) and abs(self._now() - local.mtime) < _WRITTEN_WITHIN:
            # A process that has it open would go on writing to the one that is put away.
            return FileReport(file, (Action.MISSED,))
        return self._exchange_both(head, local, had) if head else self._leave_or_put_away(file, local, had)

    def _in_step(self, head: Head, had: _Had) -> FileReport:
        has = _Had(head.version, head.sha256)
        if had != has:
            self._note(head.file, has)
        return FileReport(head.file, version=head.version)

    def _leave_or_put_away(self, file: FileName, local: _Local, had: _Had) -> FileReport | None:
        """Send a briefing where the server has none, unless it was removed there."""
        if had.version and had.sha256 == local.sha256:
            newest = next(iter(self._client.history(self.project, file, 1)), None)
            # A server that was set up anew, or put back to a backup, gets what it lacks.
            if newest and newest.version >= had.version:
                return self._give_way(file, local)
        if is_damaged(file, local.content):
            return FileReport(file, (Action.HELD_BACK,))
        return self._leave(file, local, had, NOT_THERE)

    def _exchange_both(self, head: Head, local: _Local, had: _Had) -> FileReport | None:
        """Send the local briefing, or fetch the head.

        One that was written over the head is sent, else the later of both stays.
        """
        is_damaged_here = is_damaged(head.file, local.content)
        if not is_damaged_here and had.is_of(head):
            return self._leave(head.file, local, had, Precondition(frozenset({head.sha256})))
        there = self._client.download(self.project, head.file, size=head.size)
        if not isinstance(there, Download):
            return None
        if there.content == local.content:
            # The server's content is no UTF-8.
            return self._in_step(replace(head, version=there.version, sha256=there.sha256), had)
        is_unchanged = had.sha256 == local.sha256 and had.version < there.version
        if is_unchanged or is_damaged_here or not self._is_later_here(local, there):
            return self._receive(head.file, there, local)
        return self._leave(head.file, local, had, Precondition(frozenset({there.sha256})))

    def _is_later_here(self, local: _Local, there: Download) -> bool:
        """Whether the local briefing is later, by its own time, else by its mtime."""
        ours, theirs = _written_at(local.content), _written_at(there.content)
        if ours is not None and theirs is not None:
            return ours > theirs
        return self._now() - local.mtime <= self._client.server_now() - there.mtime

    # From the server

    def _fetch(self, head: Head) -> FileReport | None:
        there = self._client.download(self.project, head.file, size=head.size)
        return self._receive(head.file, there, None) if isinstance(there, Download) else None

    def _receive(self, file: FileName, there: Download, local: _Local | None) -> FileReport | None:
        """Put the server's briefing in place of the local one; None if that was written."""
        # First, for a folder that had this version and has no file counts as one in which it was used.
        self._note(file, _Had(coming=there.sha256))
        if not self._place(file, there.content, local):
            return None
        self._note(file, _Had(there.version, there.sha256))
        return FileReport(file, (Action.FETCHED,), there.version)

    def _was_used(self, head: Head, had: _Had) -> bool:
        """Whether a briefing that is missing was here, and a session was told it.

        A handoff that is missing was removed by a person, and is fetched again.
        """
        if head.file is not FileName.BRIEFING:
            return False
        # Or a process died before it could note what it had fetched or sent, or the server was put back to a backup.
        is_unsure = had.coming == head.sha256 or head.version < had.version
        if had.is_of(head) or (is_unsure and self._is_archived(head.sha256)):
            return True
        # A link of two ids gives it another number, and so does a person who restores it to be told again.
        return had.sha256 == head.sha256 and had.version < head.version and not self._is_restored(head)

    def _is_restored(self, head: Head) -> bool:
        newest = next(iter(self._client.history(self.project, head.file, 1)), None)
        return newest is not None and newest.kind == Kind.RESTORED.value

    def _use(self, head: Head) -> FileReport | None:
        if isinstance(self._client.remove(self.project, head.file, head.sha256), Outdated):
            return None
        self._in_step(head, self._had(head.file))
        return FileReport(head.file, (Action.USED,), head.version)

    # To the server

    def _leave(self, file: FileName, local: _Local, had: _Had, only_if: Precondition) -> FileReport | None:
        if local.sha256 in self._not_taken:
            return FileReport(file)
        # First, for a session may be told this one while it is being sent.
        self._note(file, had.with_coming(local.sha256))
        outcome = self._client.leave(self.project, file, local.content, only_if)
        match outcome:
            case None:
                self._not_taken.add(local.sha256)
                return FileReport(file)
            case Outdated():
                return None
            case Bygone():
                return self._give_way(file, local)
        self._note(file, _Had(outcome.version, local.sha256))
        return FileReport(file, (Action.SENT,), outcome.version)

    # The files

    def _give_way(self, file: FileName, local: _Local) -> FileReport | None:
        if not self._put_away(file, local):
            return None
        durable.sync_directory(self._path)
        return FileReport(file, (Action.PUT_AWAY,))

    def _put_away(self, file: FileName, local: _Local) -> bool:
        """Move a briefing to the used ones; False if it is not `local` any more."""
        path = self._file_path(file)
        aside = self._archive_path(local) if file is FileName.BRIEFING else path.with_name(f"{path.name}.bak")
        durable.make_directory(aside.parent)
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        found = durable.read(aside)
        is_as_seen = found is not None and _text(found[0]) == local.content
        if not is_as_seen:
            with suppress(FileExistsError):
                durable.link(aside, path)
                aside.unlink()
        return is_as_seen

    def _archive_path(self, local: _Local) -> Path:
        """The name that the plugin gives to a used briefing, or a free one."""
        written = _written_at(local.content)
        name = times.to_text(self._now() if written is None else written).replace(":", "-").replace(".", "-")
        path = self._path / _ARCHIVE / f"{name}.json"
        return path.with_name(f"{name}-{secrets.token_hex(4)}.json") if durable.exists(path) else path

    def _is_archived(self, sha256: str) -> bool:
        found = (durable.read(path) for path in (self._path / _ARCHIVE).glob("*.json"))
        return any(one is not None and digest(_text(one[0])) == sha256 for one in found)

    def _place(self, file: FileName, content: bytes, local: _Local | None) -> bool:
        """Put a briefing in place of `local`; False if that has changed."""
        staged, path = self._path / _BESIDE / "next", self._file_path(file)
        durable.clear(staged)
        durable.write_new(staged, content)
        try:
            if local and not self._put_away(file, local):
                return False
            durable.link(staged, path)
        except FileExistsError:
            return False
        finally:
            staged.unlink()
        durable.sync_directory(self._path)
        return True

    def _local(self, file: FileName) -> _Local | None:
        found = durable.read(self._file_path(file))
        if found is None:
            return None
        content = _text(found[0])
        return _Local(content, durable.millis(found[1]), digest(content))

    def _file_path(self, file: FileName) -> Path:
        return self._path / file.value

    # What this folder had

    def _had(self, file: FileName) -> _Had:
        found = durable.read(self._had_path(file))
        try:
            return msgspec.json.decode(found[0], type=_Had) if found else _Had()
        except NOT_JSON:
            return _Had()

    def _note(self, file: FileName, had: _Had) -> None:
        durable.replace(self._had_path(file), msgspec.json.encode(had))

    def _had_path(self, file: FileName) -> Path:
        return self._path / _BESIDE / f"had-{file.value}"

    def _now(self) -> Millis:
        return Millis(round(self._wall.seconds() * 1000))


def _written_at(content: bytes) -> Millis | None:
    """The time at which a briefing was written, if it says so."""
    try:
        return times.from_text(msgspec.json.decode(content, type=_Stamped).ts)
    except (ValueError, *NOT_JSON):
        return None


def _text(content: bytes) -> bytes:
    """A content without bytes that are no UTF-8, as the plugin reads it."""
    return content.decode(errors="replace").encode()
