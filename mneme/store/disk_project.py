"""A project on disk: where its lock, its heads and its history lie, and how they get there.

Plain blocking code for one caller at a time; the lane of the project sees to that. A head is a hard link to its newest
version, so that accepting a version writes its content once and frees nothing.

A version becomes the head in this order, and a crash after any step leaves the old head or the new one:

1. the content goes to `.<file>.next`, beside the head, and is synced, the directory too;
2. a second link to it, `.history/<number>-<file>`, is made and synced;
3. a line in the journal commits it;
4. `.<file>.next` is renamed to the head.

Opening a project finishes step 4 if step 3 was reached, and removes the traces of steps 1 and 2 if it was not. Without
`.<file>.next` nothing in the history is ever removed: then it was committed, and it is the journal that was damaged.
What is found at a head, or kept beside it, is committed likewise by way of `.<file>.beside`, and the head stays.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen
from twisted.logger import Logger

from mneme import files
from mneme.errors import DamagedVersion, UnsafePath
from mneme.model import FileName, Head, Kind, Lock, Merging, Millis, ProjectId, Version, digest
from mneme.store import layout, lockfile
from mneme.store.journal import Journal
from mneme.store.ledger import Entry, Ledger
from mneme.store.project import Project

_COARSE_MS = 2000
"""The coarsest mtimes of a file system in use, in milliseconds."""


@frozen
class _Seen:
    """A head as it was when last looked at, and the mark that it had then."""

    head: Head
    mark: files.Mark


class DiskProject(Project):
    """A project whose directory exists."""

    _log = Logger()

    def __init__(self, directory: Path, name: ProjectId, merging: Merging) -> None:
        """Open the project in `directory` and recover it from a crash; `UnsafePath` if that is no directory."""
        self.merging = merging
        self._name = name
        self._places = layout.Places.of(directory)
        self._seen: dict[FileName, _Seen] = {}
        self._lock: tuple[files.Mark, Lock] | None = None
        self._inode = check_directory(directory)
        self._has_history = self._finds_history()
        self._journal = Journal(self._places.journal)
        self._recover()
        self.last_lock()

    def is_current(self) -> bool:
        """Whether this is still the directory, with the journal, that was opened: both can be exchanged by hand."""
        try:
            inode = check_directory(self._places.directory)
        except FileNotFoundError:
            return False
        self._has_history = self._finds_history()
        return inode == self._inode and self._journal.is_current()

    def _finds_history(self) -> bool:
        """Whether there is a history; `UnsafePath` if it is a symbolic link."""
        try:
            state = os.lstat(self._places.history)
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(state.st_mode):
            raise UnsafePath(f"{self._places.history} is a symbolic link, which is not followed")
        return True

    def _make_history(self) -> None:
        if not self._has_history:
            files.make_directory(self._places.history)
            self._has_history = True

    # Locks

    @property
    def known_lock(self) -> Lock | None:
        """The lock that there was when a step last looked."""
        return self._lock[1] if self._lock else None

    def last_lock(self) -> Lock | None:
        """See `Project`. A lock file that holds no lock is set aside."""
        path = self._places.lock
        state = files.look(path)
        if self._lock and state and self._lock[0] == files.mark(state):
            return self._lock[1]
        self._lock = None
        found = files.read(path)
        lock = lockfile.decode(found[0]) if found else None
        if found and lock:
            self._lock = (files.mark(found[1]), lock)
        elif files.exists(path):
            self._set_aside(path)
        return lock

    # History

    @property
    def ledger(self) -> Ledger:
        """See `Project`."""
        return self._journal.ledger

    def versions(self) -> tuple[Version, ...]:
        """See `Store`; what was deleted by hand, or half pruned, is none any more."""
        there = {number for number, _ in layout.numbered(self._places.history)}
        return tuple(version for version in self._journal.read_versions() if version.number in there)

    def _content(self, version: Version) -> bytes | None:
        found = files.read(self._version_path(version))
        if found is None:
            return None
        if digest(found[0]) != version.sha256:
            self._log.warn(
                "{path} no longer holds what was accepted as version {n}: it was changed by hand",
                path=self._version_path(version),
                n=version.number,
            )
            raise DamagedVersion
        return found[0]

    def _add(self, entry: Entry) -> None:
        self._make_history()
        self._journal.add(entry)

    def _jot(self, entry: Entry) -> None:
        self._make_history()
        self._journal.jot(entry)

    def _remove(self, versions: tuple[Version, ...]) -> None:
        for version in versions:
            with suppress(FileNotFoundError):
                os.unlink(self._version_path(version))

    def _tidy(self) -> None:
        there = {number for number, _ in layout.numbered(self._places.history)}
        needed = {version.number for version in (*self.ledger.newest.values(), *self.ledger.waiting.values())}
        left = there | needed | {self.ledger.last_number}
        if self._journal.wants_compaction(left):
            self._journal.compact(left)
            self._skip_unknown_numbers()

    # How a head is looked at, and how one is made

    def _see(
        self, file: FileName, now: Millis, *, taking_in: bool = True, trusting: bool = True
    ) -> Head | None:
        path = self._places.heads[file]
        state = files.look(path)
        if state is None:
            self._seen.pop(file, None)
            return None
        known = self._known(file, state) if trusting else None
        if known:
            return known
        files.close_to_others(path, state)
        found = files.read(path)
        if found is None:
            return None
        content, state = found
        newest = self.ledger.newest.get(file)
        if newest is None or newest.sha256 != digest(content):
            if not taking_in:
                return Head(file, 0, state.st_size, files.millis(state), digest(content))
            newest = self._take_in(file, content, state, now)
        return self._remember(newest, state)

    def _known(self, file: FileName, state: os.stat_result) -> Head | None:
        seen = self._seen.get(file)
        if seen:
            return seen.head if seen.mark == files.mark(state) else None
        newest = self.ledger.newest.get(file)
        return self._remember(newest, state) if newest and self._is_linked(newest, state) else None

    def _is_linked(self, version: Version, head: os.stat_result) -> bool:
        """Whether a head is the very file of its version, unwritten since: then there is no need to read it."""
        ours = files.look(self._version_path(version))
        unwritten = (version.size, version.mtime) == (head.st_size, _told_mtime(version, head))
        return ours is not None and ours.st_ino == head.st_ino and unwritten

    def _take_in(self, file: FileName, content: bytes, state: os.stat_result, now: Millis) -> Version:
        version = self._new(file, digest(content), len(content), Kind.FOUND, now)
        version = evolve(version, mtime=files.millis(state))
        self._keep_beside(version, content, state.st_mtime_ns)
        return version

    def _head_content(self, file: FileName) -> bytes | None:
        found = files.read(self._places.heads[file])
        return found[0] if found else None

    def _keep_beside(self, version: Version, content: bytes, mtime_ns: int | None = None) -> None:
        staged = self._places.beside[version.file]
        self._commit(version, content, version.mtime * 1_000_000 if mtime_ns is None else mtime_ns, staged)
        os.unlink(staged)

    def _advance(self, version: Version, content: bytes) -> Head:
        self._commit(version, content, version.mtime * 1_000_000, self._places.next[version.file])
        # What a person has put at the head in the meantime is taken in before it is replaced.
        self._see(version.file, version.time)
        return self._advance_head(version)

    def _commit(self, version: Version, content: bytes, mtime_ns: int, staged: str) -> None:
        """Make a version durable. Whenever it is in the history without being committed, `staged` is there, too."""
        self._make_history()
        files.write_new(staged, content, mtime_ns)
        files.sync_directory(self._places.directory)
        files.link(staged, self._version_path(version))
        files.sync_directory(self._places.history)
        self._journal.add(version)

    def _advance_head(self, version: Version) -> Head:
        """Put a committed version in the place of the head."""
        head, staged = self._places.heads[version.file], self._places.next[version.file]
        ours = os.lstat(staged)
        try:
            os.rename(staged, head)
        except IsADirectoryError:
            self._set_aside(head)
            os.rename(staged, head)
        state = files.look(head)
        if state and files.same_content(state, ours):
            return self._remember(version, state)
        # A person was quicker; what they did is seen when the head is next looked at.
        self._seen.pop(version.file, None)
        return _head_of(version, ours)

    def _remember(self, version: Version, state: os.stat_result) -> Head:
        head = _head_of(version, state)
        self._seen[version.file] = _Seen(head, files.mark(state))
        return head

    def _version_path(self, version: Version) -> str:
        return layout.version_path(self._places.history, version.number, version.file)

    # The lock file

    def _write_lock(self, lock: Lock) -> None:
        self._lock = None
        self._write_free_lock(lockfile.encode(lock))
        os.rename(self._places.free_lock, self._places.lock)
        files.sync_directory(self._places.directory)
        state = files.look(self._places.lock)
        if state:
            self._lock = (files.mark(state), lock)

    def _write_free_lock(self, content: bytes) -> None:
        try:
            files.rewrite(self._places.free_lock, content)
        except OSError as error:
            if error.errno not in files.IN_THE_WAY:
                raise
            self._set_aside(self._places.free_lock)
            files.rewrite(self._places.free_lock, content)

    def _remove_lock(self) -> None:
        self._lock = None
        lock, free = self._places.lock, self._places.free_lock
        with suppress(FileNotFoundError):
            try:
                os.rename(lock, free)
            except IsADirectoryError:
                self._set_aside(free)
                os.rename(lock, free)
            # To rename one name of a file to another that it has does nothing.
            if files.exists(lock):
                os.unlink(lock)
        files.sync_directory(self._places.directory)

    def _set_aside(self, path: str) -> None:
        """Take what lies in the way of a file out of it, without losing it."""
        aside = f"{path}.damaged-{secrets.token_hex(4)}"
        os.rename(path, aside)
        state = files.look(aside)
        if state:
            files.close_to_others(aside, state)
        self._log.warn(
            "{path} is in the way, holding nothing to be read: moved to {aside}", path=path, aside=aside
        )

    # Recovery

    def _recover(self) -> None:
        places = self._places
        for name in layout.names(places.history):
            if name.startswith(layout.JOURNAL) and name.endswith(files.TEMPORARY):
                os.unlink(f"{places.history}/{name}")
        for file in FileName:
            for staged in (places.next[file], places.beside[file]):
                if files.exists(staged):
                    self._finish_or_drop(file, staged)
        self._skip_unknown_numbers()

    def _finish_or_drop(self, file: FileName, staged: str) -> None:
        """Bring a staged version to its end if the journal has it; else nobody was told of it."""
        found = files.read(staged)
        newest = self.ledger.newest.get(file)
        committed = found is not None and newest is not None and _is_of(newest, *found)
        if found and not committed:
            self._drop_uncommitted(file, found[0])
        if newest and committed and staged == self._places.next[file] and self._head_is_ours(file):
            self._advance_head(newest)
            self._log.info(
                "Rolled {file} forward to version {n}", file=self._places.heads[file], n=newest.number
            )
        else:
            files.clear(Path(staged))

    def _drop_uncommitted(self, file: FileName, content: bytes) -> None:
        """Remove what is in the history of a staged version: it would have the highest number."""
        number, name = max(layout.numbered(self._places.history), default=(0, ""))
        version = layout.version_path(self._places.history, number, file)
        if number > self.ledger.last_number and version.endswith(f"/{name}"):
            there = files.read(version)
            if there and there[0] == content:
                os.unlink(version)

    def _skip_unknown_numbers(self) -> None:
        """What else is in the history without being in the journal was committed, and the journal has lost lines."""
        highest = max((number for number, _ in layout.numbered(self._places.history)), default=0)
        if highest > self.ledger.last_number:
            self.ledger.last_number = highest
            self._log.warn(
                "The journal of {path} lacks versions up to {n}", path=self._places.directory, n=highest
            )

    def _head_is_ours(self, file: FileName) -> bool:
        """Whether nobody has edited the head by hand since the crash, so that nothing is lost by replacing it."""
        found = files.read(self._places.heads[file])
        return found is None or digest(found[0]) in {
            version.sha256 for version in self._journal.read_versions() if version.file is file
        }


def _head_of(version: Version, state: os.stat_result) -> Head:
    mtime = _told_mtime(version, state)
    return Head(version.file, version.number, state.st_size, mtime, version.sha256)


def _is_of(version: Version, content: bytes, state: os.stat_result) -> bool:
    """Whether a staged file was staged for a version, and not for a later one of the same content."""
    return version.sha256 == digest(content) and version.mtime == _told_mtime(version, state)


def _told_mtime(version: Version, state: os.stat_result) -> Millis:
    """The mtime that clients are told: the file's own, or where a file system keeps whole seconds, the version's."""
    on_disk = files.millis(state)
    rounded = state.st_mtime_ns % 1_000_000_000 == 0 and 0 <= version.mtime - on_disk < _COARSE_MS
    return version.mtime if rounded else on_disk


def check_directory(directory: files.StrPath) -> int:
    """Close a directory to other users, and return its inode; `UnsafePath` if it is none, or a link to one."""
    state = os.lstat(directory)
    if not stat.S_ISDIR(state.st_mode):
        raise UnsafePath(
            f"{directory} must be a directory, and symbolic links are not followed: put a directory there"
        )
    if stat.S_IMODE(state.st_mode) != files.DIRECTORY_MODE:
        os.chmod(directory, files.DIRECTORY_MODE)
    return state.st_ino
