"""The journal of a project: a line per version and per lock granted, in order. Its line is what commits a version.

A crash can leave half a line at the end; what it meant was never answered, and it is cut off when the journal is next
opened. A line elsewhere that cannot be read (a hand at work, a bad disk) is passed over and kept.
"""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
from twisted.logger import Logger

from mneme import times
from mneme.model import ClientId, FileName, Kind, Lock, Millis, Version
from mneme.store import files


class _VersionLine(msgspec.Struct, frozen=True, tag_field="entry", tag="version", rename="camel"):
    version: int
    file: FileName
    sha256: str
    size: int
    time: datetime
    mtime: datetime
    client_id: str | None
    kind: Kind
    base: int | None


class _LockLine(msgspec.Struct, frozen=True, tag_field="entry", tag="lock", rename="camel"):
    token: int
    client_id: str
    time: datetime


_DECODER = msgspec.json.Decoder(_VersionLine | _LockLine)


class Journal:
    """The versions and the last lock token of one project, read once and then kept in step with the file."""

    _log = Logger()

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`, which need not exist, and cut off what a crash left unfinished."""
        self._path = path
        self._mark: files.Mark | None = None
        self.newest: dict[FileName, Version] = {}
        self.latest_mtime: dict[FileName, Millis] = {}
        """The latest mtime that any version of a file has had; an older file may have been put back by hand."""
        self.bases: dict[tuple[ClientId, FileName], int] = {}
        """The version of a file that a client last uploaded itself."""
        self.last_number = 0
        self.last_token = 0
        self._load()

    def read_versions(self) -> tuple[Version, ...]:
        """Every version, oldest first. They are read again each time: kept in memory, years of them add up."""
        found = files.read(self._path)
        lines = found[0].splitlines() if found else []
        return tuple(_version(line) for line in map(_decoded, lines) if isinstance(line, _VersionLine))

    def is_current(self) -> bool:
        """Whether nobody else has written the file, or put another in its place, since it was last read or written."""
        return self._look() == self._mark

    def _look(self) -> files.Mark | None:
        """None also when it cannot be looked at: then it is read anew before it is next used."""
        with suppress(OSError):
            state = files.look(self._path)
            return files.mark(state) if state else None
        return None

    def add_version(self, version: Version) -> None:
        """Commit a version: it is durable when this returns, and not there at all when this raises."""
        line = _VersionLine(
            version=version.number,
            file=version.file,
            sha256=version.sha256,
            size=version.size,
            time=times.to_datetime(version.time),
            mtime=times.to_datetime(version.mtime),
            client_id=version.client.value if version.client else None,
            kind=version.kind,
            base=version.base,
        )
        self._append(line)
        self._note(version)

    def add_lock(self, lock: Lock) -> None:
        """Record that a lock was newly granted, so that its token is never given again."""
        self._append(_LockLine(lock.token, lock.client.value, times.to_datetime(lock.acquired_at)))
        self.last_token = lock.token

    def _append(self, line: _VersionLine | _LockLine) -> None:
        files.append(self._path, msgspec.json.encode(line) + b"\n")
        self._mark = self._look()

    def _load(self) -> None:
        found = files.read(self._path)
        self._mark = files.mark(found[1]) if found else None
        lines = self._whole_lines(found[0]) if found else []
        for number, line in enumerate(lines, start=1):
            self._take(number, line)

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

    def _take(self, number: int, text: bytes) -> None:
        line = _decoded(text)
        if isinstance(line, _VersionLine):
            self._note(_version(line))
        elif isinstance(line, _LockLine):
            self.last_token = max(self.last_token, line.token)
        else:
            # It may have been that of a lock, whose token is one more than the last.
            self.last_token += 1
            self._log.warn(
                "Passed over line {number} of {path}, which is none", number=number, path=self._path
            )

    def _note(self, version: Version) -> None:
        self.newest[version.file] = version
        self.latest_mtime[version.file] = max(
            version.mtime, self.latest_mtime.get(version.file, version.mtime)
        )
        self.last_number = max(self.last_number, version.number)
        if version.client is not None:
            self.bases[version.client, version.file] = version.number


def _decoded(text: bytes) -> _VersionLine | _LockLine | None:
    try:
        line: _VersionLine | _LockLine = _DECODER.decode(text)
    except files.NOT_JSON:
        return None
    return line


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
    )
