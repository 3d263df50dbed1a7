"""Where the versions of a project lie, and how one gets there with few syncs.

Syncing a file does not make its name sure. So some files are made before the versions that will be written into them,
spares, and their names are synced while they are empty. A version is sure to be found again as soon as its spare is
synced, whatever a power cut does to its other names; when those are sure, too, the spare is retired.
"""

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from twisted.logger import Logger

from mneme import files
from mneme.model import Version, digest
from mneme.store import layout


class Spares:
    """The versions in the history of one project, and their spares, which are numbered as they are."""

    _log = Logger()

    def __init__(self, history: str) -> None:
        """Know of no spares: what an earlier process has left is for `recover`."""
        self._history = history
        self._empty: set[int] = set()
        self._written: dict[int, Version] = {}
        self._unnamed: set[int] = set()
        self._lost: set[int] = set()

    @property
    def written(self) -> tuple[Version, ...]:
        """The committed versions of which only the spare is sure to be there after a power cut."""
        return tuple(self._written.values())

    def numbers(self) -> set[int]:
        """The numbers of the versions that are there."""
        return {*layout.numbered(layout.names(self._history)), *self._unnamed}

    def highest(self) -> int:
        """The highest number that a version has, or may have had; 0 if there is none."""
        return max(self.numbers() | self._lost, default=0)

    def find(self, version: Version) -> str:
        """Where the content of a version lies."""
        return self.path(version.number) if version.number in self._unnamed else self._named(version)

    def path(self, number: int) -> str:
        """Where the spare of a version lies, if there is one."""
        return layout.spare_path(self._history, number)

    def write(self, number: int, content: bytes, mtime_ns: int, ahead: int) -> str:
        """Write what is to be version `number` into its spare, durably, and return where that lies.

        If there is none, `ahead` of them are made, for this version and those that follow.
        """
        if number not in self._empty:
            self._make(set(range(number, number + ahead)) - self._empty)
        path = self.path(number)
        try:
            files.fill(path, content, mtime_ns)
        except FileNotFoundError:
            # A hand has removed it.
            self._make([number])
            files.fill(path, content, mtime_ns)
        self._empty.discard(number)
        return path

    def name(self, version: Version) -> None:
        """Give a committed version its name in the history.

        Without space for one, or where a hand has put something else there, it stays in its spare until there is.
        """
        self._written[version.number] = version
        self._unnamed.discard(version.number)
        spare, named = self.path(version.number), self._named(version)
        try:
            files.link(spare, named)
        except FileExistsError:
            if _content(spare) != _content(named):
                self._unnamed.add(version.number)
        except OSError as error:
            if not files.means_no_space(error):
                raise
            self._unnamed.add(version.number)

    def retire(self) -> None:
        """Make the names in the history durable, and remove the spares. Those of heads must be durable by then."""
        for number in tuple(self._unnamed):
            self.name(self._written[number])
        if self._written:
            files.sync_directory(self._history)
        for number in {*self._written, *self._empty} - self._unnamed:
            # One that cannot be removed now serves the next version, or is removed another time.
            with suppress(OSError):
                self._remove(number)

    def drop(self, version: Version) -> None:
        """Remove the content of a version, whatever names it has in the history."""
        place = self.find(version)
        self._remove(version.number)
        _unlink(place)

    def recover(self, numbers: Iterable[int], known: Mapping[int, Version], last: int) -> None:
        """Take over the spares that an earlier process has left: of the `known` versions, which are committed.

        The others are removed, but for those that hold what may have been committed and is nowhere else: if the journal
        was damaged, whose last number is `last`.
        """
        left = set(numbers)
        committed = [known[number] for number in sorted(left & known.keys()) if self._holds(known[number])]
        others = left - {version.number for version in committed}
        strange = {number for number in others if files.look(self.path(number)) is None}
        alone = {number for number in others - strange if self._is_alone(number)}
        # One version is committed after the other: one that was not has the next number, and none follows it.
        self._lost = strange | alone if alone != {last + 1} else strange
        for number in others - self._lost:
            self._remove_if_writable(number)
        for number in sorted(self._lost):
            self._log.warn(
                "{path} holds what may be an upload that the journal has lost: look at it, then remove it",
                path=self.path(number),
            )
        for version in committed:
            self._adopt(version)

    def _holds(self, version: Version) -> bool:
        """Whether a spare holds the content of its version, or what a hand has made of that at another of its names.

        It does not if it was copied, for a backup, before the content was written, and the journal after that.
        """
        found = files.read(self.path(version.number))
        return found is not None and (found[1].st_nlink > 1 or digest(found[0]) == version.sha256)

    def _is_alone(self, number: int) -> bool:
        """Whether a spare has content that has no other name."""
        state = files.look(self.path(number))
        return state is not None and state.st_size > 0 and state.st_nlink == 1

    def _adopt(self, version: Version) -> None:
        whole, there = _content(self.path(version.number)), _content(self._named(version))
        if whole is not None and there is not None and whole != there and whole.startswith(there):
            # A copy that a crash has cut off, where there are no hard links.
            _unlink(self._named(version))
        self.name(version)

    def _remove_if_writable(self, number: int) -> None:
        """Remove a spare, or leave it where the disk is read-only: that is no reason not to read what is there."""
        try:
            self._remove(number)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise

    def _remove(self, number: int) -> None:
        _unlink(self.path(number))
        self._written.pop(number, None)
        self._empty.discard(number)
        self._unnamed.discard(number)

    def _named(self, version: Version) -> str:
        return layout.version_path(self._history, version.number, version.file)

    def _make(self, numbers: Collection[int]) -> None:
        for number in numbers:
            files.create(self.path(number))
        files.sync_directory(self._history)
        self._empty.update(numbers)


def _content(path: str) -> bytes | None:
    found = files.read(path)
    return found[0] if found else None


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
