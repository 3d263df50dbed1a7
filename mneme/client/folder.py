"""A project's memory on this machine, and the server's last known versions. Blocking code.

```
<folder>/
  log.jsonl …               the files, which the plugin writes whenever it likes
  log.jsonl.bak             what a file held before it was last replaced
  .mneme/state.json         the project id of the last sync, and which version of each file is the base
  .mneme/00000012-log.jsonl a base, or an upload that the server has kept and is yet to merge
  .mneme/arrivals.json      what came of late, for a session that begins
  .mneme/lock               held during a step, so that no other process of ours writes here meanwhile
```

A step is a whole pull or push, requests included: bases seen at its begin stand to its end. The plugin takes no such
lock, and may write a file at any moment.

A base that is lost, or that does not hold what it should, is no base: nothing is removed by a merge without one.
Nothing here tells the server of a base: it counts where the history of the project has its content.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from mneme import durable
from mneme.client import arrivals, plugin
from mneme.client.news import fresh
from mneme.client.sizes import MAX_BYTES
from mneme.clocks import SleepingClock, TimeOfDay
from mneme.errors import NOT_JSON, DiskFull, MnemeError
from mneme.merge import merge
from mneme.model import MEMORY, FileName, Millis, ProjectId, digest

_BESIDE = ".mneme"
_STATE = "state.json"

_READS_WITHIN = 0.05
"""Seconds from reading the log to making the summarizer's lock, generously."""

_TRY_EVERY = 0.02
"""Seconds between two tries to take the folder's lock."""

PATIENCE = 10.0
"""Seconds that a step waits for another process's, unless a folder is told otherwise."""

Marks: TypeAlias = Mapping[FileName, durable.Mark]
"""Marks of files, of which a write changes one."""


class PluginAtWork(MnemeError):
    """A file that a process of the plugin has read, and will write."""


class FolderBusy(MnemeError):
    """A folder in which another process is at work, or was stopped at it."""


class FolderSpoiled(MnemeError):
    """A state beside the plugin's files that cannot be used."""


class Kept(msgspec.Struct, frozen=True):
    """A version with its content, as the server had it or has kept it."""

    version: int
    content: bytes
    sha256: str

    def __repr__(self) -> str:
        """Without the content, which may be long and private."""
        return f"Kept({self.version}, {self.sha256})"


class Local(msgspec.Struct, frozen=True):
    """A file as it was read: content as text, mtime, and mark."""

    content: bytes
    mtime: Millis
    mark: durable.Mark

    def __repr__(self) -> str:
        """Without the content, which may be long and private."""
        return f"Local({self.mtime}, {self.mark})"


class Snapshot(msgspec.Struct, frozen=True):
    """A file, its base, and its refused upload on the server; each may be None.

    `is_removed` is whether the server was seen to have removed the base.
    """

    local: Local | None
    base: Kept | None
    refused: Kept | None
    is_removed: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether the file holds something that the server was not seen to have."""
        return self.local is not None and (self.base is None or self.local.content != self.base.content)


class _Replaced(msgspec.Struct, frozen=True):
    """A file that was replaced: both contents, and when, by the disk's clock.

    `old` is None where there was no file. `before` is the file with its base before something was fetched.
    """

    old: bytes | None
    new: bytes
    at: float
    before: Snapshot


class _OldLog(msgspec.Struct, frozen=True):
    """The log that was replaced last, and stays as .bak, as it was last read."""

    inode: int
    size: int
    sha256: str

    def added(self, late: bytes) -> bytes:
        """Whole lines that were added to it since; none in another content."""
        is_it = late.endswith(b"\n") and digest(late[: self.size]) == self.sha256
        return late[self.size :] if is_it else b""


class _Known(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    sha256: str
    text: str | None = None
    """The digest of the kept text, if the server's content is no UTF-8."""

    @classmethod
    def of(cls, kept: Kept) -> "_Known":
        text = digest(kept.content)
        return cls(kept.version, kept.sha256, text if text != kept.sha256 else None)


class _FileState(msgspec.Struct, frozen=True, omit_defaults=True):
    base: _Known | None = None
    refused: _Known | None = None
    coming: _Known | None = None
    """The base once the file has the digest `written`, noted before the file is replaced."""
    written: str | None = None
    removed: bool = False


class _State(msgspec.Struct, frozen=True):
    project: str
    files: dict[FileName, _FileState] = {}


class Folder:
    """The files of a project on this machine.

    `project` is its id. `path_id` is another id of it, if the folder may have been in step under that before.

    Whatever writes belongs into a `step`, and so does a look that is to hold. If the disk is full, each file is whole,
    and so is its base, which is no newer than the file.
    """

    def __init__(
        self,
        path: Path,
        project: ProjectId,
        wall: SleepingClock | None = None,
        patience: float = PATIENCE,
        path_id: ProjectId | None = None,
    ) -> None:
        """Set up the folder; by `wall` the locks of the plugin's processes grow old.

        A step waits for another process's for at most `patience` seconds.
        """
        self.path = path
        self._patience = patience
        self._wall = wall or TimeOfDay()
        self._replaced: dict[FileName, _Replaced] = {}
        self._old_log: _OldLog | None = None
        self.project = project
        self.path_id = path_id
        self._beside = path / _BESIDE

    @property
    def last_id(self) -> ProjectId | None:
        """The project id of the last sync; None before the first."""
        return last_id(self.path)

    def note_id(self) -> None:
        """Note the project id as that of the last sync.

        The bases stay. Removals were those of the other id.
        """
        state = self._state()
        files = {file: replace(one, removed=False) for file, one in state.files.items()}
        self._write_state(replace(state, project=self.project.value, files=files))

    def note_removed(self, file: FileName) -> None:
        """Note that the server has removed the base, in case its history is pruned."""
        base = self.snapshot(file).base
        self._note(file, _FileState(_known(base), removed=True), base)

    def marks(self) -> Marks:
        """Marks of the files, of which a write changes one."""
        states = {file: _state(self._local_path(file)) for file in FileName}
        return {file: durable.mark(state) for file, state in states.items() if state}

    def snapshots(self) -> dict[FileName, Snapshot]:
        """All files of the memory as they are now.

        Bytes that are no UTF-8 are replaced, as the plugin does when it reads them.
        """
        self._replaced = {}
        return {file: self.snapshot(file) for file in MEMORY}

    def look(self) -> dict[FileName, Snapshot]:
        """The `snapshots`, as they are between two steps; makes no `.mneme` where there was none."""
        if not durable.exists(self._beside):
            return self.snapshots()
        with self.step():
            return self.snapshots()

    def refreshed(self, file: FileName, seen: Snapshot) -> Snapshot:
        """A file as it is now, read only if it was written since `seen`."""
        state = _state(self._local_path(file))
        mark = durable.mark(state) if state else None
        return seen if mark == (seen.local.mark if seen.local else None) else self.snapshot(file)

    def snapshot(self, file: FileName) -> Snapshot:
        """A file as it is now."""
        known, local = self._state().files.get(file, _FileState()), self._local(file)
        if known.coming and local and digest(local.content) == known.written:
            return Snapshot(local, self._kept(file, known.coming), None)
        return Snapshot(local, self._kept(file, known.base), self._kept(file, known.refused), known.removed)

    def receive(self, file: FileName, base: Kept, content: bytes, seen: Snapshot) -> Snapshot | None:
        """The file after it was given a new base and `content`, merged from both.

        `PluginAtWork`, and nothing is changed, while a process of the plugin holds the file.

        None, and nothing is changed, if the file is not what was `seen` any more; but lines that were added to the log
        since are added to `content`, too, so that a busy plugin keeps nothing from coming in.
        """
        now = replace(seen, local=self._local(file))
        added = _added_since(file, seen.local, now.local, content)
        if added is None:
            return None
        whole = content + added
        if now.local is None or whole != now.local.content:
            # First, for a session is told what waits, and rather something twice than not at all.
            news = fresh(file, now.local.content if now.local else b"", whole)
            arrivals.note(self.path, self._wall.seconds(), news)
            if plugin.held(self.path, file, self._wall.seconds()):
                raise PluginAtWork
            coming = _FileState(_known(now.base), _known(now.refused), _known(base), digest(whole))
            self._note(file, coming, base)
            if not self._write(file, whole, now.local, now):
                return None
        self._note(file, _FileState(_known(base)), base)
        return Snapshot(self._local(file), base, None)

    @property
    def has_replaced(self) -> bool:
        """Whether files were replaced since the last `snapshots`, and not checked."""
        return bool(self._replaced)

    def check_replaced(self) -> None:
        """Mend what the plugin has made of old contents of files that were replaced.

        A process of the plugin that read a file just before may have written it just after. Its file lacks all that
        was fetched, as if a person had removed it. A summarizer drops lines by their position in the log that it read.
        """
        self._catch_late()
        for file, replaced in tuple(self._replaced.items()):
            self._check_replaced(file, replaced)
        self._replaced = {}

    def _check_replaced(self, file: FileName, replaced: _Replaced) -> None:
        now = self._local(file)
        if now is None:
            return
        old, new, before = replaced.old, replaced.new, replaced.before
        is_as_written = now.content == new or (file is FileName.LOG and now.content.startswith(new))
        has_read_old = self._may_be_summed_up(replaced.at)
        if file is FileName.LOG and has_read_old:
            wanted = _with_first(old or b"", now.content)
        elif file is FileName.SUMMARY_JSON and has_read_old and is_as_written:
            self._put_back(file, now, replaced)
            return
        elif is_as_written:
            return
        else:
            merged = merge(file, old, new, now.content, upload_is_later=True, max_bytes=MAX_BYTES)
            wanted = now.content if merged is None else merged
        if wanted != now.content:
            self._write(file, wanted, now, before)

    def _put_back(self, file: FileName, now: Local, replaced: _Replaced) -> None:
        """Undo a replacement; the new content comes again after the summarizer's."""
        before = replaced.before
        # In this order, for with the newer base the old content would be a removal, after a crash in between.
        self._note(file, _FileState(_known(before.base), _known(before.refused)), before.base, before.refused)
        if replaced.old is None:
            self._local_path(file).unlink(missing_ok=True)
        else:
            self._write(file, replaced.old, now, before)

    def _may_be_summed_up(self, at: float) -> bool:
        """Whether a summarizer may have read a file before it was replaced.

        It reads the log just before it makes its lock, and the summary after that.
        """
        lock = plugin.held(self.path, FileName.SUMMARY_MD, self._wall.seconds())
        with suppress(OSError):
            return lock is not None and lock.stat().st_mtime < at + _READS_WITHIN
        return False

    def settle(self, file: FileName, base: Kept) -> None:
        """Note a sent content as the base."""
        self._note(file, _FileState(_known(base)), base)

    def note_refused(self, file: FileName, refused: Kept) -> None:
        """Note a refused upload that the server keeps."""
        base = self.snapshot(file).base
        self._note(file, _FileState(_known(base), _known(refused)), base, refused)

    # The files

    def _local(self, file: FileName) -> Local | None:
        path = self._local_path(file)
        found = durable.read(path)
        if found is None:
            return None
        content, state = found
        return Local(_text(content), durable.millis(state), durable.mark(state))

    def _write(self, file: FileName, content: bytes, seen: Local | None, before: Snapshot) -> bool:
        """Replace a file, whole or not at all, and keep the old content as .bak.

        False if it is not the file that was `seen` any more. `before` is the file before something was fetched.
        """
        path = self._local_path(file)
        if file is FileName.LOG:
            self._catch_late()
        staged = path.with_name(f".{path.name}.next")
        durable.clear(staged)
        durable.write_new(staged, content)
        if seen is None:
            staged.rename(path)
            durable.sync_directory(path.parent)
            self._replaced[file] = _Replaced(None, content, path.stat().st_ctime, before)
            return True
        with path.open("rb") as old:
            is_seen = os.fstat(old.fileno()).st_ino == seen.mark[0]
            late = _text(old.read())
            if is_seen and file is FileName.LOG and _is_appended(seen.content, late, content):
                # The disk was slow: lines that came meanwhile stay in front of those that come now.
                added = late[len(seen.content) :]
                durable.append(staged, added)
                seen, content = replace(seen, content=late), content + added
            if not is_seen or not self._replace(path, staged, seen.mark[0]):
                staged.unlink()
                return False
            first = self._replaced.get(file) or _Replaced(seen.content, content, path.stat().st_ctime, before)
            self._replaced[file] = replace(first, new=content)
            # A process that has the old file open may have written to it until now.
            old.seek(0)
            late = _text(old.read())
            if file is FileName.LOG:
                self._old_log = _OldLog(seen.mark[0], len(late), digest(late))
            self._catch_up(file, content, seen, late, before)
        durable.sync_directory(path.parent)
        return True

    def _replace(self, path: Path, staged: Path, inode: int) -> bool:
        """Rename a new file onto the one that was seen, which stays as .bak."""
        staged.chmod(stat.S_IMODE(path.stat().st_mode))
        backup = path.with_name(f"{path.name}.bak")
        durable.clear(backup)
        durable.link(path, backup)
        if path.lstat().st_ino != inode:
            return False
        staged.rename(path)
        return True

    def _catch_up(self, file: FileName, written: bytes, seen: Local, late: bytes, before: Snapshot) -> None:
        """Take over writes to the old file between the last look and its replacement."""
        if late == seen.content:
            return
        if file is FileName.LOG and _is_appended(seen.content, late, written):
            # Appended as the plugin does, so that no concurrent append is lost.
            durable.append(self._local_path(file), late[len(seen.content) :])
            return
        now = self._local(file)
        if now is None:
            return
        merged = merge(file, seen.content, now.content, late, upload_is_later=True, max_bytes=MAX_BYTES)
        if merged is not None and merged != now.content:
            self._write(file, merged, now, before)

    def _catch_late(self) -> None:
        """Take over lines that were added to the log after it was replaced.

        On a busy machine, much time may pass in a process of the plugin from opening the log to writing to it.
        """
        old, path = self._old_log, self._local_path(FileName.LOG)
        found = durable.read(path.with_name(f"{path.name}.bak")) if old else None
        if old is None or found is None or found[1].st_ino != old.inode:
            return
        late, now = _text(found[0]), self._local(FileName.LOG)
        added = old.added(late)
        if not added or now is None or not now.content.endswith(b"\n"):
            return
        # The plugin's own sync may have put a copy of the log there.
        known = set(now.content.splitlines(keepends=True))
        durable.append(path, b"".join(line for line in added.splitlines(keepends=True) if line not in known))
        self._old_log = _OldLog(old.inode, len(late), digest(late))

    def _local_path(self, file: FileName) -> Path:
        # A file may be a symbolic link to one kept elsewhere.
        return Path(os.path.realpath(self.path / file.value))

    # What the server had

    def _kept(self, file: FileName, known: _Known | None) -> Kept | None:
        found = durable.read(self._kept_path(file, known.version)) if known else None
        if known is None or found is None or digest(found[0]) != (known.text or known.sha256):
            return None
        return Kept(known.version, found[0], known.sha256)

    def _note(self, file: FileName, state: _FileState, *kept: Kept | None) -> None:
        """Write the state of a file; old bases are removed only after that."""
        for one in filter(None, kept):
            if self._kept(file, _Known.of(one)) is None:
                durable.replace(self._kept_path(file, one.version), one.content)
        before = self._state()
        self._write_state(replace(before, files={**before.files, file: state}))
        self._clear_away(file, state)

    def _write_state(self, state: _State) -> None:
        content = msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n"
        durable.replace(self._beside / _STATE, content)

    def _clear_away(self, file: FileName, state: _FileState) -> None:
        known = filter(None, (state.base, state.refused, state.coming))
        needed = {self._kept_path(file, one.version) for one in known}
        kept = self._beside.glob(f"*-{file.value}")
        # Temporary files were left by processes that died.
        unfinished = self._beside.glob(f"*{durable.TEMPORARY}")
        for path in {*kept, *unfinished} - needed:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _state(self) -> _State:
        """The state; empty if there is none, or it is unreadable."""
        return _state_in(self.path) or _State(self.project.value)

    def _kept_path(self, file: FileName, version: int) -> Path:
        return self._beside / f"{version:08}-{file.value}"

    @contextmanager
    def step(self, patience: float = inf) -> Iterator[None]:
        """A step, in which no other process of ours changes this folder.

        Raises `FolderBusy` if it cannot begin within `patience` seconds, `DiskFull` or `FolderSpoiled` if it fails.
        """
        try:
            with durable.naming_disk_full(), self._locked(min(patience, self._patience)):
                yield
        except DiskFull:
            raise DiskFull(
                f"Nothing can be written to {self.path}: the disk of this machine is full, over a quota, or read-only"
            ) from None
        except OSError as error:
            if not str(error.filename).startswith(str(self._beside)):
                # A write or a sync that fails does not say where.
                error.filename = error.filename or str(self.path)
                raise
            raise FolderSpoiled(
                f"{error.filename} is not as it should be ({error.strerror}): remove {self._beside}, it is made anew"
            ) from None

    @contextmanager
    def _locked(self, patience: float) -> Iterator[None]:
        durable.make_directory(self._beside)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._beside / "lock", flags, durable.FILE_MODE)
        try:
            self._take(descriptor, patience)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int, patience: float) -> None:
        """Take the lock, once the process that has it lets it go."""
        # Sleeps are counted, for a clock may be set meanwhile.
        for _ in range(1 + round(patience / _TRY_EVERY)):
            with suppress(BlockingIOError):
                durable.lock(descriptor)
                return
            self._wall.sleep(_TRY_EVERY)
        raise FolderBusy(
            f"Another mneme process has been at work on {self.path} for over {patience:g} s: try again later; "
            f"if it hangs, `fuser {self._beside / 'lock'}` says which it is"
        )


def adopt(path: Path) -> None:
    """Make the folder of a project that has a session."""
    # Whatever lies in the way is told by the first step.
    with suppress(FileExistsError):
        durable.make_directory(path / _BESIDE)


def was_adopted(path: Path) -> bool:
    """Whether a folder was ever in step, or had a session of ours."""
    return (path / _BESIDE).is_dir()


def last_id(path: Path) -> ProjectId | None:
    """The project id of a folder's last sync; None before the first."""
    with suppress(OSError, MnemeError):
        state = _state_in(path)
        return ProjectId.parse(state.project) if state else None
    return None


def _state_in(path: Path) -> _State | None:
    """The state of a folder; None if there is none, or it is unreadable."""
    found = durable.read(path / _BESIDE / _STATE)
    try:
        return msgspec.json.decode(found[0], type=_State) if found else None
    except NOT_JSON:
        return None


def _text(content: bytes) -> bytes:
    """A content without bytes that are no UTF-8, as the plugin reads it."""
    text = content.decode(errors="replace").encode()
    # A second copy of each file would take memory during the whole step.
    return content if text == content else text


def _is_appended(before: bytes, now: bytes, written: bytes) -> bool:
    """Whether whole lines were added to a log, which could be added to `written`."""
    return now != before and now.startswith(before) and written.endswith(b"\n")


def _known(kept: Kept | None) -> _Known | None:
    return _Known.of(kept) if kept else None


def _added_since(file: FileName, seen: Local | None, now: Local | None, content: bytes) -> bytes | None:
    """Lines added to a log since it was seen; None if anything else changed."""
    if now == seen:
        return b""
    if file is not FileName.LOG or seen is None or now is None or not now.content.startswith(seen.content):
        return None
    added = now.content[len(seen.content) :]
    ended = all(not one or one.endswith(b"\n") for one in (seen.content, content))
    return added if ended or not added else None


def _with_first(first: bytes, log: bytes) -> bytes:
    """A log that begins with some lines, followed by its other lines."""
    # The plugin is about to end a line that has no end.
    first = first[: first.rfind(b"\n") + 1]
    left, rest = Counter(first.splitlines(keepends=True)), []
    for line in log.splitlines(keepends=True):
        if left[line]:
            left[line] -= 1
        else:
            rest.append(line)
    return first + b"".join(rest)


def _state(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return durable.look(path)
    return None
