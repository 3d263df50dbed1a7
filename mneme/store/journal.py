"""The journal of a project: a line for each entry of its ledger, in order. Its line is what commits a version.

A crash can leave half a line at the end; what it meant was never answered, and it is cut off when the journal is next
opened. A line elsewhere that cannot be read (a hand at work, a bad disk) is passed over and kept.
"""

import os
from collections.abc import Callable, Collection, Container
from contextlib import suppress
from datetime import datetime
from typing import TypeAlias

import msgspec
from twisted.logger import Logger

from mneme import files, times
from mneme.model import Appended, ClientId, FileName, Kind, Place, Version
from mneme.store.ledger import (
    Base,
    BaseKnown,
    Entry,
    Ledger,
    Listed,
    LockGranted,
    Settled,
    compacted,
    still_known,
)

COMPACT_AFTER = 1000
"""How many lines a journal may have, versions apart, before it is written anew with those that still count."""


class _VersionLine(
    msgspec.Struct, frozen=True, tag_field="entry", tag="version", rename="camel", omit_defaults=True
):
    version: int
    file: FileName
    sha256: str
    size: int
    time: datetime
    mtime: datetime
    client_id: str | None
    kind: Kind
    base: int | None
    parents: tuple[int, ...] = ()
    place: Place = Place.HEAD
    appended: Appended | None = None
    names_base: bool = False
    is_unrelated: bool = False


class _LockLine(msgspec.Struct, frozen=True, tag_field="entry", tag="lock", rename="camel"):
    token: int
    client_id: str
    time: datetime


class _ListedLine(msgspec.Struct, frozen=True, tag_field="entry", tag="listed", rename="camel"):
    token: int
    acquired_at: datetime


class _BaseLine(msgspec.Struct, frozen=True, tag_field="entry", tag="base", rename="camel"):
    client_id: str
    file: FileName
    known: tuple[int, ...]
    received: tuple[int, ...]
    lacking: datetime | None
    time: datetime


class _SettledLine(msgspec.Struct, frozen=True, tag_field="entry", tag="settled", rename="camel"):
    version: int
    merged: bool


_Line: TypeAlias = _VersionLine | _LockLine | _ListedLine | _BaseLine | _SettledLine

_DECODER = msgspec.json.Decoder(_Line)


class Journal:
    """The ledger of one project, read once and then kept in step with the file."""

    _log = Logger()

    def __init__(self, path: files.StrPath) -> None:
        """Open the journal at `path`, which need not exist, and cut off what a crash left unfinished."""
        self._path = path
        self._mark: files.Mark | None = None
        self._lines = 0
        self._versions = 0
        self.ledger = Ledger()
        self._load()

    def read_versions(self) -> tuple[Version, ...]:
        """Every version, oldest first. They are read again each time: kept in memory, years of them add up."""
        found = files.read(self._path)
        lines = found[0].split(b"\n") if found else []
        versions = [_version(line) for line in map(_decoded, lines) if isinstance(line, _VersionLine)]
        return tuple(sorted(versions, key=lambda version: version.number))

    def is_current(self) -> bool:
        """Whether nobody else has written the file, or put another in its place, since it was last read or written."""
        return self._look() == self._mark

    def add(self, entry: Entry) -> None:
        """Take an entry into the ledger; it is durable when this returns, and not there at all when this raises."""
        self._append(entry, files.append)

    def jot(self, entry: Entry) -> None:
        """Like `add`, for what may be forgotten in a power cut, though not in a crash of the server."""
        self._append(entry, files.append_unsynced)

    def wants_compaction(self, left: Collection[int]) -> bool:
        """Whether it has lines of other versions than these, or more of other lines than a journal may have."""
        return self._versions > len(left) or self._lines - self._versions > COMPACT_AFTER

    def compact(self, left: Container[int]) -> None:
        """Write the file anew with these versions, and without what says nothing more. All of it, or nothing."""
        found = files.read(self._path)
        lines = found[0].split(b"\n") if found else []
        unreadable = [line for line in lines if line and _decoded(line) is None]
        versions = [version for version in self.read_versions() if version.number in left]
        entries = [_encoded(entry) for entry in compacted(self.ledger, versions)]
        files.replace(self._path, b"".join(line + b"\n" for line in (*unreadable, *entries)))
        self.ledger = Ledger()
        self._load()

    def _look(self) -> files.Mark | None:
        """None also when it cannot be looked at: then it is read anew before it is next used."""
        with suppress(OSError):
            state = files.look(self._path)
            return files.mark(state) if state else None
        return None

    def _append(self, entry: Entry, append: Callable[[files.StrPath, bytes], None]) -> None:
        append(self._path, _encoded(entry) + b"\n")
        self._mark = self._look()
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        self._lines += 1
        self._versions += isinstance(entry, Version)
        self.ledger.take(entry)

    def _load(self) -> None:
        self._lines = self._versions = 0
        found = files.read(self._path)
        self._mark = files.mark(found[1]) if found else None
        lines = self._whole_lines(found[0]) if found else []
        versions: dict[int, Version] = {}
        for number, text in enumerate(lines, start=1):
            line = _decoded(text)
            if line is None:
                self._pass_over(number)
                continue
            entry = _entry(line, versions)
            if isinstance(entry, Version):
                versions[entry.number] = entry
            if entry is not None:
                self._take(entry)

    def _whole_lines(self, content: bytes) -> list[bytes]:
        whole, _, half = content.rpartition(b"\n")
        if _decoded(half):
            # An editor at work: it left the line whole, and took the line break after it.
            files.append(self._path, b"\n")
            whole = content
        elif half:
            self._log.warn("Cut half a line off the end of {path}: a crash left it", path=self._path)
            os.truncate(self._path, len(content) - len(half))
        self._mark = self._look()
        return whole.split(b"\n") if whole else []

    def _pass_over(self, number: int) -> None:
        # It may have been that of a lock, whose token is one more than the last.
        self.ledger.last_token += 1
        self._log.warn("Passed over line {number} of {path}, which is none", number=number, path=self._path)


def _decoded(text: bytes) -> _Line | None:
    try:
        line: _Line = _DECODER.decode(text)
    except files.NOT_JSON:
        return None
    return line


def _entry(line: _Line, versions: dict[int, Version]) -> Entry | None:
    """What a line says; None if it is about a version that is no more."""
    match line:
        case _VersionLine():
            return _version(line)
        case _LockLine(token, client, time):
            return LockGranted(token, ClientId(client), times.from_datetime(time))
        case _ListedLine(token, acquired_at):
            return Listed(token, times.from_datetime(acquired_at))
        case _BaseLine(client, file, known, received, lacking, time):
            left = still_known(known, received, versions)
            base = Base(
                tuple(versions[number] for number in left),
                frozenset(received).intersection(left),
                times.from_datetime(lacking) if lacking else None,
            )
            return BaseKnown(ClientId(client), file, base, times.from_datetime(time))
        case _SettledLine(number, merged):
            version = versions.get(number)
            return Settled(version, merged) if version else None


def _version(line: _VersionLine) -> Version:
    return Version(
        number=line.version,
        file=line.file,
        sha256=line.sha256,
        size=line.size,
        time=times.from_datetime(line.time),
        mtime=times.from_datetime(line.mtime),
        client=ClientId(line.client_id) if line.client_id is not None else None,
        kind=line.kind,
        base=line.base,
        parents=line.parents,
        place=line.place,
        appended=line.appended,
        names_base=line.names_base,
        is_unrelated=line.is_unrelated,
    )


def _encoded(entry: Entry) -> bytes:
    return msgspec.json.encode(_line(entry))


def _line(entry: Entry) -> _Line:
    match entry:
        case Version():
            return _version_line(entry)
        case LockGranted(token, client, time):
            return _LockLine(token, client.value, times.to_datetime(time))
        case Listed(token, acquired_at):
            return _ListedLine(token, times.to_datetime(acquired_at))
        case BaseKnown(client, file, base, time):
            return _BaseLine(
                client_id=client.value,
                file=file,
                known=tuple(version.number for version in base.known),
                received=tuple(sorted(base.received)),
                lacking=times.to_datetime(base.lacking) if base.lacking is not None else None,
                time=times.to_datetime(time),
            )
        case Settled(version, merged):
            return _SettledLine(version.number, merged)


def _version_line(version: Version) -> _VersionLine:
    return _VersionLine(
        version=version.number,
        file=version.file,
        sha256=version.sha256,
        size=version.size,
        time=times.to_datetime(version.time),
        mtime=times.to_datetime(version.mtime),
        client_id=version.client.value if version.client else None,
        kind=version.kind,
        base=version.base,
        parents=version.parents,
        place=version.place,
        appended=version.appended,
        names_base=version.names_base,
        is_unrelated=version.is_unrelated,
    )
