"""The working copy: heads and locks as plain files that people read and edit.

A directory left by the Node server is a working copy, too.

After a commit the changed files are exported. Each is written to a temporary file, without a sync, and renamed. The
database has the mark of each exported file. If both the mark and the content of a file differ, the file was edited by
hand.

After an unclean end the database is right. Files that may not have been exported are exported again. A file that
differs from all known versions is kept as a version, but never becomes the head.
"""

import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from twisted.logger import Logger

from mneme import durable
from mneme.errors import UnsafePath
from mneme.model import FILES, EventKind, FileName, Kind, Millis, ProjectId, Role, Version, digest
from mneme.store import layout, lockfile, merging, plainfiles
from mneme.store.queries import HeadRow, ProjectRow, Queries
from mneme.store.step import Step

_TEMPORARY = re.compile(r".+\.[0-9a-f]{16}\.tmp")

_SYNC_SECONDS = 4.0

_COARSE_MS = 2000
"""Coarsest precision of mtimes on file systems in use, in milliseconds."""


class _Written(Struct):
    """The files of a project that an export has written.

    `heads` has the version number and the mark of each file. `lock` has the mark and the content of `.lock.json`.
    """

    heads: dict[FileName, tuple[int, str | None]] = {}
    lock: tuple[str | None, str | None] | None = None


class WorkingCopy:
    """The working copy of all projects, in the directory `root`."""

    _log = Logger()

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._boot = ""
        self._epoch = 1
        self._is_open = False
        self._lost_power = False
        """Whether the machine was restarted after an unclean end, so that files may be missing or damaged."""
        self._unsure: set[int] = set()
        """Numbers of projects whose files may differ from the record of their export, after an unclean end."""
        self._unrecorded: dict[int, _Written] = {}
        """The files written by exports that are not committed yet, by project number."""
        self._outdated: list[str] = []
        """Paths of links that were made for ids which are projects again: a backup was restored."""

    # All projects

    def open(self, queries: Queries, boot: str) -> None:
        """Check the working copy when the server starts. Call `begin` once this is committed."""
        self.make_root()
        last_boot, epoch, mark = queries.server()
        self._lost_power = last_boot not in ("", boot)
        is_own = self._is_exported_from(mark)
        if not is_own:
            self._forget_exports(queries)
        elif self._lost_power:
            # Files of earlier epochs are on the disk: the system has had minutes to write them.
            queries.doubt_exports_since(epoch - 1)
        self._outdated = [path for name, path in self._links() if queries.forget_export(name)]
        is_in_doubt = self._lost_power or (is_own and last_boot)
        self._unsure = set(queries.changed_projects()) if is_in_doubt else set()
        self._boot, self._epoch = boot, epoch
        if last_boot == boot:
            queries.set_server(boot=boot)
        else:
            self.begin_epoch(queries)

    def begin(self) -> None:
        """Start to look for edits by hand. The changes of `open` are committed."""
        for path in self._outdated:
            os.unlink(path)
        self._is_open = True

    def begin_epoch(self, queries: Queries) -> None:
        """Begin a new epoch of exports. Call this every few minutes.

        After a power cut, only exports of the last two epochs are uncertain.
        """
        _, epoch, _ = queries.server()
        self._epoch = epoch + 1
        queries.set_server(boot=self._boot, epoch=self._epoch)

    def _forget_exports(self, queries: Queries) -> None:
        """Record that the files were not exported from this database."""
        queries.forget_exports()
        queries.set_server(working_copy=self._mark_root())

    def close(self, queries: Queries) -> None:
        """Make the latest exports durable, and record a clean end if all is exported."""
        is_durable = not queries.has_exports_since(self._epoch - 1) or _synced()
        if is_durable and not queries.changed_projects():
            queries.set_server(boot="")

    def make_root(self) -> None:
        """Make the directory if missing; `UnsafePath` for another kind of file, or a link."""
        durable.make_directory(self._root)
        check_directory(self._root)

    def _is_exported_from(self, mark: str) -> bool:
        """Whether the working copy has this mark, and so was exported from the same database."""
        found = durable.read(f"{self._root}/{layout.MARK}") if mark else None
        return found is not None and found[0].decode("ascii", "replace").strip() == mark

    def _mark_root(self) -> str:
        mark = secrets.token_hex(8)
        durable.replace(f"{self._root}/{layout.MARK}", f"{mark}\n".encode())
        return mark

    def new_projects(self, queries: Queries) -> tuple[list[ProjectId], list[int]]:
        """The projects that only the working copy has, and the numbers of missing ones.

        The directory of an id that is an alias by now is replaced by a link to that of its project.
        """
        known = queries.directories()
        found: list[ProjectId] = []
        with os.scandir(self._root) as entries:
            unknown = [
                entry.name
                for entry in entries
                if known.pop(entry.name, None) is None and entry.is_dir(follow_symlinks=False)
            ]
        for name in unknown:
            project = self._project_in(name)
            row = queries.project(project) if project else None
            if row and row.name != project:
                self._exchange_for_link(queries, name, row)
            elif project and (row is None or row.is_removed):
                found.append(project)
        return found, list(known.values())

    def _exchange_for_link(self, queries: Queries, name: str, row: ProjectRow) -> None:
        """Replace a directory by a link to that of a project, and keep it aside.

        If the server died just after the link was committed, somebody may have edited files there since.
        """
        path = f"{self._root}/{name}"
        aside = f"{path}.linked-{secrets.token_hex(4)}"
        os.rename(path, aside)
        # Not all file systems have links. Without one, only people miss the directory.
        with suppress(OSError):
            os.symlink(row.directory, path)
        self._log.info(
            "{path} is a link to the plain files of {project} now; its own were moved to {aside}",
            path=path,
            project=str(row.name),
            aside=aside,
        )
        for file, edited in _paths(aside, FILES).items():
            found = durable.read(edited)
            if found and not queries.versions_with(row.key, file, [digest(found[0])]):
                self._log.warn(
                    "{path} was edited after {project} had taken its memory over, and no history has that: put what "
                    "is to stay into the file of {project}",
                    path=edited,
                    project=str(row.name),
                )

    def _links(self) -> Iterator[tuple[str, str]]:
        """The links that were made for aliases, as names and paths."""
        with os.scandir(self._root) as entries:
            for entry in entries:
                if _is_our_link(entry.path):
                    yield entry.name, entry.path

    def linked_with(self, project: ProjectId) -> ProjectId | None:
        """The project to which the link of an id leads; the database is lost."""
        path = f"{self._root}/{layout.directory_name(project)}"
        if not os.path.islink(path):
            return None
        directory, name = os.path.split(os.path.realpath(path))
        return self._project_in(name) if directory == os.path.realpath(self._root) else None

    def forget(self, key: int) -> None:
        """Forget what was uncertain of a project: it was exported, or joined with another."""
        self._unsure.discard(key)
        self._unrecorded.pop(key, None)

    def _project_in(self, directory: str) -> ProjectId | None:
        recorded = durable.read(f"{self._root}/{directory}/{layout.IDENTITY}")
        project = layout.recorded_id(Path(directory), recorded[0] if recorded else None)
        return project if project and layout.directory_name(project) == directory else None

    def state(self) -> str:
        """A text that changes when a project directory is added or removed."""
        state = os.lstat(self._root)
        return f"{state.st_ino}:{state.st_mtime_ns}"

    # Projects that only the working copy has

    def finds(self, project: ProjectId, *, is_new: bool) -> str | None:
        """The directory with the files of a project that the database lacks; None without one.

        The Node server maps several ids to one directory, so its files may belong to any of them. Each project with
        such an id gets a copy.
        """
        own = f"{self._root}/{layout.directory_name(project)}"
        if _is_our_link(own) and not os.path.exists(own):
            # The database that knew the alias is lost, and so is the project.
            os.unlink(own)
        if durable.exists(own):
            check_directory(own)
            return own
        if not is_new:
            return None
        name = layout.node_name(project)
        shared = f"{self._root}/{name}"
        if shared == own or len(name) > layout.MAX_NAME or not _is_directory(shared):
            return None
        return None if durable.look(f"{shared}/{layout.IDENTITY}") else shared

    def adopt(self, step: Step, directory: str) -> None:
        """Store the files and the lock of a project that is new to the database."""
        own = f"{self._root}/{step.row.directory}"
        step.queries.set_removed(step.key, False)
        for file in FILES:
            path = f"{directory}/{file.value}"
            found = _read(path) if directory == own else durable.read(path)
            if found:
                self._adopt_file(step, file, *found, is_own=directory == own)
        found = durable.read(f"{directory}/{layout.LOCK}")
        lock = lockfile.decode(found[0]) if found else None
        if lock:
            # The token and the time of the acquire may belong to another project with the same directory.
            is_ours = directory == own
            step.set_lock(lock if is_ours else replace(lock, token=0, last_acquired_at=None))
        if directory == own:
            self._note_lock(step)
            step.queries.set_exported(step.key, self._epoch)
        else:
            step.tell(
                "Copied the memory that the Node server kept for {project} from {shared}", shared=directory
            )
        step.queries.set_changed(step.key)
        step.row = replace(step.row, is_removed=False, is_changed=True, is_exported=directory == own)

    def _adopt_file(
        self, step: Step, file: FileName, content: bytes, state: os.stat_result, *, is_own: bool
    ) -> None:
        row = step.head_row(file)
        if row is None or not self._is_known(step, row, digest(content), state):
            self._store_edit(step, file, content, state, row)
        if not is_own:
            step.queries.set_mark(step.key, file, None, None)
            step.forget_heads()

    # Edits by hand

    def look(self, step: Step, wanted: Iterable[FileName]) -> bool:
        """Store edits by hand of the lock and some files; False for a removed project."""
        row = step.row
        if not (self._is_open and row.is_exported):
            # Before the first export, a missing file does not mean that somebody removed it.
            return True
        self._record(step)
        directory = f"{self._root}/{row.directory}"
        paths = _paths(directory, wanted)
        is_unsure = row.key in self._unsure
        if is_unsure and (self._lost_power or durable.exists(directory)):
            return True
        if not is_unsure and self._is_as_exported(step, directory, paths):
            return True
        if not self._is_own(step):
            return True
        try:
            check_directory(directory)
        except FileNotFoundError:
            self._note_project_removed(step)
            return False
        self._look_at_lock(step, f"{directory}/{layout.LOCK}")
        for file, path in paths.items():
            self._look_at(step, file, path)
        return True

    def _is_as_exported(self, step: Step, directory: str, paths: Mapping[FileName, str]) -> bool:
        """Whether the lock and some files are unchanged since they were exported."""
        known = [(f"{directory}/{layout.LOCK}", step.row.lock_mark)]
        # Several files are read by one statement.
        rows = step.heads if len(paths) > 1 else {file: step.head_row(file) for file in paths}
        known += [(path, row.mark if (row := rows.get(file)) else None) for file, path in paths.items()]
        is_there = False
        for path, mark in known:
            state = _state(path)
            if (_mark(state) if state and stat.S_ISREG(state.st_mode) else None) != mark:
                return False
            if state and mark is None:
                return False
            is_there = is_there or state is not None
        return is_there or _is_directory(directory)

    def _is_own(self, step: Step) -> bool:
        """Whether the working copy was exported from this database.

        If not, or if it is missing, all projects will be exported again.
        """
        if self.is_of(step.queries):
            return True
        self.make_root()
        self._forget_exports(step.queries)
        step.row = replace(step.row, is_exported=False, is_changed=True, lock_mark=None)
        step.forget_heads()
        return False

    def _note_project_removed(self, step: Step) -> None:
        step.remove_project()
        step.tell("{project} was removed by hand; its history stays until it is pruned")

    def _look_at_lock(self, step: Step, path: str) -> None:
        state = durable.look(path)
        mark = _mark(state)
        row = step.row
        if mark == row.lock_mark and (mark or not durable.exists(path)):
            return
        if mark is None and not durable.exists(path):
            # Removing the file frees the lock, even a newer lock that is not exported yet.
            self._set_lock_mark(step, None, None)
            if row.lock:
                step.set_lock(None)
            return
        found = durable.read(path)
        if found and row.lock_mark and found[0].decode(errors="replace") == row.lock_exported:
            self._set_lock_mark(step, _mark(found[1]), row.lock_exported)
            return
        lock = lockfile.decode(found[0]) if found else None
        if found is None or lock is None:
            self._set_aside(path)
            self._set_lock_mark(step, None, None)
            if row.lock:
                step.set_lock(None)
            return
        if lock != row.lock:
            step.set_lock(lock)
        self._set_lock_mark(step, _mark(found[1]), found[0].decode(errors="replace"))

    def _note_lock(self, step: Step) -> None:
        """Record `.lock.json` as exported. Move it aside if it holds no lock."""
        path = f"{self._root}/{step.row.directory}/{layout.LOCK}"
        found = durable.read(path)
        if found and lockfile.decode(found[0]):
            self._set_lock_mark(step, _mark(found[1]), found[0].decode(errors="replace"))
        elif durable.exists(path):
            self._set_aside(path)

    def _set_lock_mark(self, step: Step, mark: str | None, exported: str | None) -> None:
        step.queries.set_lock_mark(step.key, mark, exported)
        step.row = replace(step.row, lock_mark=mark, lock_exported=exported)

    def _look_at(self, step: Step, file: FileName, path: str) -> None:
        state = durable.look(path)
        row = step.head_row(file)
        if _mark(state) == (row.mark if row else None):
            return
        found = _read(path) if state else None
        if found is None:
            if row:
                self._note_removed(step, row)
            return
        content, state = found
        sha256 = digest(content)
        if row is None or not self._is_known(step, row, sha256, state):
            self._store_edit(step, file, content, state, row)

    def _note_removed(self, step: Step, row: HeadRow) -> None:
        """Record that a file was removed by hand.

        This removes the head, unless a newer head is not exported yet.
        """
        file = row.newest.file
        if row.is_there and row.exported == row.newest.number:
            step.queries.set_there(step.key, file, False, row.mtime)
            step.note_event(EventKind.HEAD, file)
        step.queries.set_mark(step.key, file, None, None)
        step.forget_heads()

    def _is_known(self, step: Step, row: HeadRow, sha256: str, state: os.stat_result) -> bool:
        """Whether a file has the head's or the exported content; then record its mark."""
        newest, file = row.newest, row.newest.file
        if sha256 == newest.sha256:
            mtime = _client_mtime(row, state)
            if not row.is_there and row.mark is not None:
                # A client removed the head, and the file is touched before an export removes it.
                self._set_mark(step, file, newest.number, state)
                return True
            if not row.is_there or mtime != row.mtime:
                step.queries.set_there(step.key, file, True, mtime)
                step.note_event(EventKind.HEAD, file, newest.number)
            self._set_mark(step, file, newest.number, state)
            return True
        if not row.is_there or row.exported == newest.number:
            return False
        # The exported version may only have been touched. If it is not known which was exported, any version will do.
        exported = step.version(row.exported)
        known = [exported] if step.row.is_exported else step.queries.versions_with(step.key, file, [sha256])
        number = next((one.number for one in known if one and one.sha256 == sha256), None)
        if number is None:
            return False
        self._set_mark(step, file, number, state)
        return True

    def _store_edit(
        self, step: Step, file: FileName, content: bytes, state: os.stat_result, row: HeadRow | None
    ) -> None:
        """Make an edit by hand the head, or merge it with a newer head."""
        version = replace(
            step.new(file, digest(content), len(content), Kind.FOUND),
            mtime=durable.millis(state),
            base=row.exported if row and row.is_there else None,
        )
        merged = self._merged(step, version, content, row)
        if merged is None or merged == content:
            if merged is None and row and row.is_there and version.base != row.newest.number:
                step.tell(
                    "An edit of {file} by hand replaced version {n} of {project}: they could not be merged",
                    warn=True,
                    file=file.value,
                    n=row.newest.number,
                )
            step.advance(version, content)
        else:
            kept = replace(version, role=Role.WAITING)
            step.keep(kept, content)
            merging.advance_merged(step, kept, merged, step.head(file))
        self._set_mark(step, file, version.number, state)

    def _merged(self, step: Step, found: Version, content: bytes, row: HeadRow | None) -> bytes | None:
        """The merge of the head and an edit; None if the edit becomes the head."""
        if row is None or not row.is_there or found.base == row.newest.number or not step.merging.enabled:
            return None
        base = step.content(step.version(found.base))
        head = step.content(row.newest)
        return merging.merged(step, found.file, base, head, content, upload_is_later=found.mtime >= row.mtime)

    def _set_mark(self, step: Step, file: FileName, number: int, state: os.stat_result) -> None:
        step.queries.set_mark(step.key, file, number, _mark(state))
        step.forget_heads()

    # Exports

    def export(self, step: Step) -> None:
        """Write the changed files and the lock. Edits by hand are stored first."""
        directory = f"{self._root}/{step.row.directory}"
        if not self._make_directory(step, directory):
            return
        self._record(step)
        lock_path = f"{directory}/{layout.LOCK}"
        if step.key in self._unsure or not step.row.is_exported:
            self._look_at_doubtful_lock(step, lock_path)
        if step.key in self._unsure:
            self._keep_what_differs(step, directory)
        elif not self._is_as_exported(step, directory, paths := _paths(directory, FILES)):
            for file, path in paths.items():
                self._look_at(step, file, path)
        self._unrecorded.setdefault(step.key, _Written())
        step.after_commit(lambda: self.forget(step.key))
        is_whole = all(
            self._export_head(step, directory, row) for row in step.heads.values()
        ) and self._export_lock(step, lock_path)
        step.forget_heads()
        step.queries.set_exported(step.key, self._epoch)
        step.row = replace(step.row, is_changed=False, is_exported=True)
        if not is_whole:
            step.note_change()

    def _record(self, step: Step) -> None:
        """Record the files that an earlier export wrote, but whose record was not committed."""
        written = self._unrecorded.get(step.key)
        if written is None:
            return
        for file, (number, mark) in written.heads.items():
            step.queries.set_mark(step.key, file, number, mark)
        step.forget_heads()
        if written.lock:
            self._set_lock_mark(step, *written.lock)
        step.after_commit(lambda: self._unrecorded.pop(step.key, None))

    def _export_head(self, step: Step, directory: str, row: HeadRow) -> bool:
        """Write a head that is not exported, or remove the file of a removed head.

        False for an edit by hand meanwhile: it is stored first, by the next export.
        """
        if not row.is_there:
            return row.mark is None or self._remove_file(step, directory, row)
        if row.exported == row.newest.number and row.mark is not None:
            return True
        content = step.content(row.newest)
        if content is None:
            return True
        file = row.newest.file
        state = self._write(f"{directory}/{file.value}", content, row.mtime, row.mark)
        if state:
            exported = row.newest.number, _mark(state)
            self._unrecorded[step.key].heads[file] = exported
            step.queries.set_mark(step.key, file, *exported)
        return state is not None

    def _remove_file(self, step: Step, directory: str, row: HeadRow) -> bool:
        """Remove the file of a removed head; False for an edit by hand meanwhile."""
        file = row.newest.file
        if not plainfiles.remove(f"{directory}/{file.value}", _numbers(row.mark)):
            return False
        step.queries.set_mark(step.key, file, None, None)
        return True

    def _make_directory(self, step: Step, directory: str) -> bool:
        """Make the directory of a project; False if somebody has just removed it."""
        if not durable.exists(directory):
            if step.row.is_exported and step.key not in self._unsure:
                return False
            os.mkdir(directory, durable.DIRECTORY_MODE)
        check_directory(directory)
        if step.row.is_exported:
            return True
        identity = f"{directory}/{layout.IDENTITY}"
        if not durable.exists(identity):
            content = msgspec.json.encode(layout.Identity(step.name.value)) + b"\n"
            self._write(identity, content, step.now, None)
        return True

    def _keep_what_differs(self, step: Step, directory: str) -> None:
        """Keep files that match no known version, after an unclean end.

        If it is certain which version was exported, a file that differs is an edit by hand, and is stored as one.
        """
        for name in filter(_TEMPORARY.fullmatch, os.listdir(directory)):
            with suppress(OSError):
                os.unlink(f"{directory}/{name}")
        for file in FILES:
            path = f"{directory}/{file.value}"
            row = step.head_row(file)
            if row and row.exported == row.newest.number:
                self._look_at(step, file, path)
                continue
            found = _read(path)
            if found is None:
                if row:
                    step.queries.set_mark(step.key, file, None, None)
                continue
            content, state = found
            if row is None:
                self._store_edit(step, file, content, state, row)
                continue
            if not step.queries.versions_with(step.key, file, [digest(content)]):
                version = replace(
                    step.new(file, digest(content), len(content), Kind.FOUND),
                    mtime=durable.millis(state),
                    base=row.exported,
                    role=Role.BESIDE,
                )
                step.keep(version, content)
                step.tell(
                    "After an unclean end, {file} of {project} was not the file that was exported; it is kept as "
                    "version {n}, and the head is exported again",
                    warn=True,
                    file=file.value,
                    n=version.number,
                )
            step.queries.set_mark(step.key, file, None, _mark(state))
        step.forget_heads()

    def _look_at_doubtful_lock(self, step: Step, path: str) -> None:
        """Mark the lock to be written again; free it if removed by hand.

        After an unclean end, `.lock.json` may be an older one, so its content does not count. If the exported lock is
        the one still held, and the file is missing, somebody has removed it.
        """
        state, row = durable.look(path), step.row
        was_there = row.is_exported and not self._lost_power
        if (
            was_there
            and state is None
            and row.lock
            and lockfile.encode(row.lock).decode() == row.lock_exported
        ):
            step.set_lock(None)
        self._set_lock_mark(step, _mark(state), None)

    def _export_lock(self, step: Step, path: str) -> bool:
        """Write a lock that is not exported yet; False for an edit by hand meanwhile.

        The edit is stored first, by the next export.
        """
        row = step.row
        if row.lock is None:
            if durable.look(path):
                os.unlink(path)
                self._unrecorded[step.key].lock = None, None
            if row.lock_mark is not None:
                self._set_lock_mark(step, None, None)
            return True
        content = lockfile.encode(row.lock)
        if row.lock_mark is not None and row.lock_exported == content.decode():
            return True
        state = self._write(path, content, step.now, row.lock_mark)
        if state:
            exported = _mark(state), content.decode()
            self._unrecorded[step.key].lock = exported
            self._set_lock_mark(step, *exported)
        return state is not None

    def _write(self, path: str, content: bytes, mtime: Millis, mark: str | None) -> os.stat_result | None:
        """Put a content at a path, in place of the file with this mark: `plainfiles.exchange`.

        A directory at the path is moved aside.
        """
        mtime_ns = mtime * 1_000_000
        try:
            return plainfiles.exchange(path, content, mtime_ns, _numbers(mark))
        except IsADirectoryError:
            self._set_aside(path)
            return plainfiles.exchange(path, content, mtime_ns, None)

    def remove(self, step: Step) -> None:
        """Remove the directory of a project, before the project is removed from the database.

        It is moved aside at once. After a crash before the commit, it is one that somebody has removed by hand. Files
        in it that were not exported, such as an edit of this moment, stay in the directory beside.
        """
        path = f"{self._root}/{step.row.directory}"
        aside = f"{path}.removed-{secrets.token_hex(4)}"
        exported = {file.value: row.mark for file, row in step.heads.items()}
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
        step.after_commit(partial(self._discard, aside, {**exported, layout.LOCK: step.row.lock_mark}))
        step.after_commit(partial(self.forget, step.key))

    def _discard(self, directory: str, exported: Mapping[str, str | None]) -> None:
        """Remove a directory with the files that were exported; others stay, and are logged."""
        try:
            for name, mark in exported.items():
                if mark and _mark(durable.look(f"{directory}/{name}")) == mark:
                    os.unlink(f"{directory}/{name}")
            if os.listdir(directory) in ([], [layout.IDENTITY]):
                Path(directory, layout.IDENTITY).unlink(missing_ok=True)
                os.rmdir(directory)
                return
        except OSError:
            self._log.failure("Could not remove {path}", path=directory)
            return
        self._log.info("{path} has files that are not the server's: they stay there", path=directory)

    def remove_empty(self, directory: str) -> bool:
        """Remove the directory of a project without files. Return whether it is gone."""
        path = f"{self._root}/{directory}"
        try:
            if set(os.listdir(path)) - {layout.IDENTITY}:
                return False
            with suppress(FileNotFoundError):
                os.unlink(f"{path}/{layout.IDENTITY}")
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def is_of(self, queries: Queries) -> bool:
        """Whether the working copy was exported from this database."""
        _, _, mark = queries.server()
        return self._is_exported_from(mark)

    def file_in_place(self, directory: str, file: FileName) -> tuple[str, bytes] | None:
        """The mark and the content of a file in the working copy; None if missing."""
        found = durable.read(f"{self._root}/{directory}/{file.value}")
        return (_mark(found[1]) or "", found[0]) if found else None

    def _set_aside(self, path: str) -> None:
        """Rename a directory or a damaged file that is in the way of a file."""
        aside = f"{path}.damaged-{secrets.token_hex(4)}"
        os.rename(path, aside)
        state = durable.look(aside)
        if state:
            plainfiles.close_to_others(aside, state)
        self._log.warn("{path} is in the way and cannot be read: moved to {aside}", path=path, aside=aside)


def _paths(directory: str, files: Iterable[FileName]) -> dict[FileName, str]:
    return {file: f"{directory}/{file.value}" for file in files}


def _synced() -> bool:
    """Sync all file systems. Return whether that was done within `_SYNC_SECONDS`.

    A server must not take longer to stop.
    """
    syncing = threading.Thread(target=os.sync, daemon=True)
    syncing.start()
    syncing.join(_SYNC_SECONDS)
    return not syncing.is_alive()


def check_directory(directory: durable.StrPath) -> None:
    """Close a directory to other users; `UnsafePath` for another kind of file, or a link."""
    state = os.lstat(directory)
    if not stat.S_ISDIR(state.st_mode):
        raise UnsafePath(
            f"{directory} must be a directory, and symbolic links are not followed: put a directory there"
        )
    if stat.S_IMODE(state.st_mode) != durable.DIRECTORY_MODE:
        with suppress(PermissionError):
            os.chmod(directory, durable.DIRECTORY_MODE)


def _is_directory(path: str) -> bool:
    state = _state(path)
    return state is not None and stat.S_ISDIR(state.st_mode)


def _is_our_link(path: str) -> bool:
    """Whether a link leads to a directory beside it, as those of aliases do."""
    return os.path.islink(path) and "/" not in os.readlink(path)


def _state(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read(path: str) -> tuple[bytes, os.stat_result] | None:
    """The content and state of a file, now closed to other users; None if missing."""
    state = durable.look(path)
    if state:
        plainfiles.close_to_others(path, state)
    return durable.read(path) if state else None


def _mark(state: os.stat_result | None) -> str | None:
    """The mark of a file as text; writing or replacing the file changes it."""
    return ":".join(map(str, durable.mark(state))) if state else None


def _numbers(mark: str | None) -> durable.Mark | None:
    return cast(durable.Mark, tuple(map(int, mark.split(":")))) if mark else None


def _client_mtime(row: HeadRow, state: os.stat_result) -> Millis:
    """The mtime for clients: that of the file, or that of the head.

    If the file system keeps only whole seconds, the head's mtime is the precise one.
    """
    on_disk = durable.millis(state)
    rounded = state.st_mtime_ns % 1_000_000_000 == 0 and 0 <= row.mtime - on_disk < _COARSE_MS
    return row.mtime if rounded else on_disk
