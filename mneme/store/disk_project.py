"""A project on disk: where its lock, its heads and its history lie, and how they get there.

Plain blocking code for one caller at a time; the lane of the project sees to that. A head is a hard link to its newest
version, so that accepting a version writes its content once and frees nothing.

A version becomes the head in this order, and a crash after any step leaves the old head or the new one:

1. the content goes into the version's spare, `.history/<number>.spare`, whose name is durable already, and is synced;
2. `.<file>.next`, beside the head, is made a second name of it;
3. a line in the journal commits it, synced;
4. `.history/<number>-<file>` is made a third name of it, and `.<file>.next` is renamed to the head.

What is found at a head, or kept beside it, is committed likewise without `.<file>.next`, and the head stays.

The names of steps 2 and 4 are not synced for each version, but when the lock goes, and then the spares go, too. Until
then a power cut may put the file of an older version back at a head, by which that is told from what a person did. Only
where it could leave something else there, or nothing, or there are no hard links, `.<file>.next` is synced before step
3; what is found at a head has its name synced, too. Opening a project does step 4 again for each spare whose version
was committed, and removes the others. What has its name in the history was committed, and stays even if the journal
lacks it; so do spares that it should have, as far as can be told.
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
from mneme.store.spares import Spares

_AHEAD = 4
"""How many spares a session makes at a time: it uploads as many files, as a rule."""

_COARSE_MS = 2000
"""The coarsest mtimes of a file system in use, in milliseconds."""


@frozen
class _Seen:
    """A head as it was when last looked at, the mark that it had, and whether it was the very file of a version."""

    head: Head
    mark: files.Mark
    is_ours: bool


class DiskProject(Project):
    """A project whose directory exists."""

    _log = Logger()

    def __init__(self, directory: Path, name: ProjectId, merging: Merging) -> None:
        """Open the project in `directory` and recover it from a crash; `UnsafePath` if that is no directory."""
        self.merging = merging
        self._name = name
        self._places = layout.Places.of(directory)
        self._seen: dict[FileName, _Seen] = {}
        self._sure: frozenset[FileName] = frozenset()
        """Heads where a power cut leaves a version, if perhaps an older one."""
        self._lock: tuple[files.Mark, Lock] | None = None
        self._inode = check_directory(directory)
        self._has_history = self._finds_history()
        self._journal = Journal(self._places.journal)
        self._spares = Spares(self._places.history)
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
        there = self._spares.numbers()
        return tuple(version for version in self._journal.read_versions() if version.number in there)

    def _content(self, version: Version) -> bytes | None:
        path = self._spares.find(version)
        found = files.read(path)
        if found is None:
            return None
        if digest(found[0]) != version.sha256:
            self._log.warn(
                "{path} no longer holds what was accepted as version {n}: it was changed by hand",
                path=path,
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
        if versions:
            # By the file of an older version it is seen that a power cut has put that back.
            self._make_names_durable()
        for version in versions:
            self._spares.drop(version)

    def _tidy(self) -> None:
        there = self._spares.numbers()
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
            self._forget(file)
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
        return self._remember(newest, state, is_ours=False)

    def _known(self, file: FileName, state: os.stat_result) -> Head | None:
        seen = self._seen.get(file)
        if seen:
            return seen.head if seen.mark == files.mark(state) else None
        newest = self.ledger.newest.get(file)
        if newest is None or not self._is_linked(newest, state):
            return None
        return self._remember(newest, state, is_ours=True)

    def _is_linked(self, version: Version, head: os.stat_result) -> bool:
        """Whether a head is the very file of its version, unwritten since: then there is no need to read it."""
        unwritten = (version.size, version.mtime) == (head.st_size, _told_mtime(version, head))
        return unwritten and self._is_file_of(version, head)

    def _is_file_of(self, version: Version, head: os.stat_result) -> bool:
        ours = files.look(self._spares.find(version))
        return ours is not None and ours.st_ino == head.st_ino

    def _take_in(self, file: FileName, content: bytes, state: os.stat_result, now: Millis) -> Version:
        version = self._new(file, digest(content), len(content), Kind.FOUND, now)
        version = evolve(version, mtime=files.millis(state))
        # What a person has put there stays: no power cut puts an older version back that would be brought forward.
        self._forget(file)
        self._sync_directory()
        self._keep_beside(version, content, state.st_mtime_ns)
        return version

    def _head_content(self, file: FileName) -> bytes | None:
        found = files.read(self._places.heads[file])
        return found[0] if found else None

    def _keep_beside(self, version: Version, content: bytes, mtime_ns: int | None = None) -> None:
        self._write(version, content, version.mtime * 1_000_000 if mtime_ns is None else mtime_ns)
        self._commit(version)
        self._end_if_free()

    def _advance(self, version: Version, content: bytes) -> Head:
        spare = self._write(version, content, version.mtime * 1_000_000)
        linked = files.link(spare, self._places.next[version.file])
        if not linked or version.file not in self._sure:
            self._sync_directory()
        self._commit(version)
        # What a person has put at the head in the meantime is taken in before it is replaced.
        self._see(version.file, version.time)
        head = self._advance_head(version)
        self._end_if_free()
        return head

    def _write(self, version: Version, content: bytes, mtime_ns: int) -> str:
        self._make_history()
        return self._spares.write(version.number, content, mtime_ns, _AHEAD if self._lock else 1)

    def _commit(self, version: Version) -> None:
        self._journal.add(version)
        self._spares.name(version)

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
            return self._remember(version, state, is_ours=True)
        # A person was quicker; what they did is seen when the head is next looked at.
        self._forget(version.file)
        return _head_of(version, ours)

    def _remember(self, version: Version, state: os.stat_result, *, is_ours: bool) -> Head:
        head = _head_of(version, state)
        self._seen[version.file] = _Seen(head, files.mark(state), is_ours)
        return head

    def _forget(self, file: FileName) -> None:
        self._seen.pop(file, None)
        self._sure -= {file}

    # How names become durable

    def _sync_directory(self) -> None:
        """Make the names of heads durable, and that of the lock."""
        files.sync_directory(self._places.directory)
        self._sure = frozenset(file for file, seen in self._seen.items() if seen.is_ours)

    def _end_if_free(self) -> None:
        """Leave nothing for the end of a session where there is none."""
        if self._lock is None:
            self._make_names_durable()

    def _make_names_durable(self) -> None:
        """Make all names durable, and so need no spare any more."""
        self._sync_directory()
        before = {version.file: self._look_at(version.file) for version in self._spares.written}
        self._spares.retire()
        for file, state in before.items():
            self._note_name_gone(file, state)

    def _look_at(self, file: FileName) -> os.stat_result | None:
        return files.look(self._places.heads[file])

    def _note_name_gone(self, file: FileName, before: os.stat_result | None) -> None:
        """That a head has a name less than before, as its ctime tells, is no reason to read it again."""
        seen, state = self._seen.get(file), self._look_at(file)
        if not (seen and before and state):
            return
        if seen.mark == files.mark(before) and files.same_content(before, state):
            self._seen[file] = evolve(seen, mark=files.mark(state))

    # The lock file

    def _write_lock(self, lock: Lock) -> None:
        self._lock = None
        self._write_free_lock(lockfile.encode(lock))
        os.rename(self._places.free_lock, self._places.lock)
        self._sync_directory()
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
        self._make_names_durable()

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
        names = layout.names(places.history)
        for name in names:
            if name.startswith(layout.JOURNAL) and name.endswith(files.TEMPORARY):
                os.unlink(f"{places.history}/{name}")
        for file in FileName:
            if files.exists(places.next[file]):
                self._finish_or_drop(file)
        if left := layout.spares(names):
            self._recover_spares(left)
        self._skip_unknown_numbers()

    def _recover_spares(self, numbers: list[int]) -> None:
        """Bring to their end the versions that were committed, of which these spares are left."""
        known = {version.number: version for version in self._journal.read_versions()}
        self._spares.recover(numbers, known, self.ledger.last_number)
        for version in self._spares.written:
            if self._is_behind(version):
                files.link(self._spares.path(version.number), self._places.next[version.file])
                self._roll_forward(version)
        self._make_names_durable()

    def _finish_or_drop(self, file: FileName) -> None:
        """Bring what was to become a head to its end, if it is the newest version; else it never was one."""
        staged = self._places.next[file]
        found = files.read(staged)
        newest = self.ledger.newest.get(file)
        committed = found is not None and newest is not None and _is_of(newest, *found)
        if newest and committed and self._head_is_ours(file):
            self._roll_forward(newest)
        else:
            files.clear(Path(staged))

    def _is_behind(self, version: Version) -> bool:
        """Whether a power cut has put an older version back in the place of this one: the head is that very file."""
        found = files.read(self._places.heads[version.file])
        # What was found at the head is a person's to put there.
        if found is None or version.kind is Kind.FOUND or version != self.ledger.newest.get(version.file):
            return False
        content, state = found
        sha256 = digest(content)
        return any(
            (older.file, older.sha256) == (version.file, sha256)
            and older.number < version.number
            and self._was_file_of(older, state)
            for older in self._journal.read_versions()
        )

    def _was_file_of(self, version: Version, head: os.stat_result) -> bool:
        """Whether a head is the file of a version, as far as can be told if a hand has removed that."""
        if files.exists(self._spares.find(version)):
            return self._is_file_of(version, head)
        return version.mtime == _told_mtime(version, head)

    def _roll_forward(self, version: Version) -> None:
        self._advance_head(version)
        # To rename one name of a file to another that it has does nothing.
        files.clear(Path(self._places.next[version.file]))
        self._log.info(
            "Rolled {file} forward to version {n}", file=self._places.heads[version.file], n=version.number
        )

    def _skip_unknown_numbers(self) -> None:
        """What else is in the history without being in the journal may be a version whose line the journal has lost."""
        highest = self._spares.highest()
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
