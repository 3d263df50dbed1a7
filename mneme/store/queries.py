"""The SQL statements of the store, and the values made from their rows.

No other module knows the name of a column.
"""

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from msgspec import Struct

from mneme import leases
from mneme.errors import DamagedContent
from mneme.model import (
    FILES,
    Appended,
    ClientId,
    Event,
    EventId,
    EventKind,
    EventPage,
    FileName,
    Head,
    Kind,
    Lock,
    Millis,
    Overview,
    ProjectId,
    Role,
    TwoPlaces,
    Version,
    digest,
)
from mneme.store.base import Base, still_known
from mneme.store.compression import Compression
from mneme.store.recent import Recent

_NUMBER_OF = {file: number for number, file in enumerate(FILES)}
ROW_BYTES = 256
"""Bytes of a version in the database, without its content. Entries in indexes are included."""

MAX_EVENTS = 10_000
"""Most events on record. Whoever asks for events after an older one must look at everything again."""

_EVENTS_AT_ONCE = 256
"""Number of old events that are removed at a time."""

_GIVEN_BACK_AT_ONCE = 500

_LARGEST = 2**63 - 1
"""The largest integer in SQLite."""

_DIGEST = re.compile(r"[0-9a-f]{64}")

_VERSION = """
    v.number, v.file, c.sha256, c.size, v.time, v.mtime, v.client, v.kind, v.base, v.parents, v.role,
    v.append_key, v.append_lines, v.names_base, v.is_unrelated, length(c.zstd)
"""
_VERSIONS = f"SELECT {_VERSION} FROM versions v JOIN contents c ON c.id = v.content"  # noqa: S608 - no values in it
_WAITING = f"""
    SELECT {_VERSION} FROM versions v INDEXED BY waiting_versions JOIN contents c ON c.id = v.content
    WHERE v.project = ? AND v.is_waiting
"""  # noqa: S608 - no values in it
"""Waiting uploads of a project. The index is named: SQLite itself would choose a slower one, by file."""

_LOCK = "lock_client, lock_acquired_at, lock_expires_at, lock_token, lock_last_acquired_at, lock_extended_at"
_CLIENT = "c.last_seen, c.familiar_at, c.stranger_at, c.stranger_file"
_PROJECT = f"""
    p.id, p.name, p.directory, p.is_removed, p.last_number, p.last_token, {_LOCK},
    p.granted_client, p.granted_at, p.listed_token, p.listed_at, p.is_changed, p.is_exported, p.lock_mark,
    p.lock_exported, EXISTS (SELECT 1 FROM versions WHERE project = p.id AND is_waiting)
"""  # noqa: S608 - no values in it
_PROJECT_COLUMNS = 21
_NAMED = """
    p.id = coalesce((SELECT id FROM projects WHERE name = ?1), (SELECT project FROM aliases WHERE name = ?1))
"""
"""The project of an id, which may be an alias: one or two look-ups in indexes."""
_PROJECTS = f"SELECT {_PROJECT} FROM projects p"  # noqa: S608 - no values in it
_HEAD = f"h.is_there, h.mtime, h.latest_mtime, h.exported, h.mark, {_VERSION}"


class ProjectRow(Struct, frozen=True):
    """A project without its files; `key` is its number in the database.

    `granted` is the client that last got a new lock, and the time. `listed` is the acquire whose pull has had its list:
    the token and the time. `lock_mark` is the mark of `.lock.json` in the working copy, `lock_exported` its content.
    """

    key: int
    name: ProjectId
    directory: str
    is_removed: bool
    last_number: int
    last_token: int
    lock: Lock | None
    granted: tuple[ClientId, Millis] | None
    listed: tuple[int, Millis] | None
    is_changed: bool
    is_exported: bool
    lock_mark: str | None
    lock_exported: str | None
    has_waiting: bool


class HeadRow(Struct, frozen=True):
    """A file of a project: the newest version that became its head, and its export.

    `is_there` is False if the file was removed by hand. `mtime` is the one that clients see, `latest_mtime` the latest
    of all heads of this file. `exported` is the number of the version in the working copy, `mark` the mark of the file
    there.
    """

    newest: Version
    is_there: bool
    mtime: Millis
    latest_mtime: Millis
    exported: int | None
    mark: str | None

    @property
    def head(self) -> Head | None:
        """The head; None if the file was removed."""
        newest = self.newest
        if not self.is_there:
            return None
        return Head(newest.file, newest.number, newest.size, self.mtime, newest.sha256)


class ClientRow(Struct, frozen=True):
    """A client of a project, and the times of its uploads, for `TwoPlaces`.

    `familiar_at` is when an upload last shared something with the versions that the client had. `stranger_at` is when
    an upload of `stranger_file` shared nothing with them.
    """

    last_seen: Millis
    familiar_at: Millis | None = None
    stranger_at: Millis | None = None
    stranger_file: FileName | None = None


class BaseRow(Struct, frozen=True):
    """A base with numbers instead of versions, separated by spaces. See `Base`."""

    known: str
    received: str
    lacking: Millis | None


class Queries:
    """The statements on one connection. The caller begins and ends the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._run_many = connection.executemany
        self._recent = Recent()
        self._compression = Compression()
        self.last_day = 0
        """The day of the last version, as days since 1970, once it is committed. See `add_day`."""

    # Projects

    def project(self, name: ProjectId) -> ProjectRow | None:
        """The project of this id, even if removed; None without such a project."""
        row = self._run(f"{_PROJECTS} WHERE {_NAMED}", (name.value,)).fetchone()
        return _project(row) if row else None

    def project_and_head(self, name: ProjectId, file: FileName) -> tuple[ProjectRow | None, HeadRow | None]:
        """The project of this id, and one of its files; None if missing."""
        row = self._run(
            f"""
            SELECT {_PROJECT}, {_HEAD} FROM projects p
            LEFT JOIN heads h ON h.project = p.id AND h.file = ?2
            LEFT JOIN versions v ON v.project = h.project AND v.number = h.version
            LEFT JOIN contents c ON c.id = v.content
            WHERE {_NAMED}
            """,  # noqa: S608 - no values in it
            (name.value, _NUMBER_OF[file]),
        ).fetchone()
        if row is None:
            return None, None
        project, head = row[:_PROJECT_COLUMNS], row[_PROJECT_COLUMNS:]
        return _project(project), _head(head) if head[-1] is not None else None

    def project_by_key(self, key: int) -> ProjectRow | None:
        """The project of this number; None without such a project."""
        row = self._run(f"{_PROJECTS} WHERE p.id = ?", (key,)).fetchone()
        return _project(row) if row else None

    def add_project(self, name: ProjectId, directory: str, now: Millis, *, is_changed: bool) -> ProjectRow:
        """Add a project. With `is_changed`, its directory will be made by the next export."""
        self._run(
            "INSERT INTO projects (name, directory, created_at, is_changed) VALUES (?, ?, ?, ?)",
            (name.value, directory, now, is_changed),
        )
        return _project(self._run(f"{_PROJECTS} WHERE p.name = ?", (name.value,)).fetchone())

    def drop_project(self, key: int) -> None:
        """Remove a project that has no versions left."""
        for table in ("heads", "bases", "clients", "events", "aliases"):
            self._run(f"DELETE FROM {table} WHERE project = ?", (key,))  # noqa: S608 - a name of ours
        self._run("DELETE FROM projects WHERE id = ?", (key,))

    def count_projects(self) -> int:
        """The number of projects. Removed ones are included."""
        return int(self._run("SELECT count(*) FROM projects").fetchone()[0])

    def project_names(self) -> Iterator[ProjectId]:
        """The ids of all projects. Removed ones with a history are included."""
        return (ProjectId(name) for (name,) in self._run("SELECT name FROM projects ORDER BY id"))

    def idle_projects(self, before: Millis) -> list[tuple[int, str]]:
        """The projects without version and lock, made before a time; numbers and directories."""
        return [
            (key, directory)
            for key, directory in self._run(
                """
                SELECT id, directory FROM projects p WHERE lock_client IS NULL AND created_at < ?
                AND NOT EXISTS (SELECT 1 FROM versions WHERE project = p.id)
                AND NOT EXISTS (SELECT 1 FROM aliases WHERE project = p.id) LIMIT 100
                """,
                (before,),
            )
        ]

    def postpone_idle(self, key: int, now: Millis) -> None:
        """Keep a project for another day: its directory holds files of other programs."""
        self._run("UPDATE projects SET created_at = ? WHERE id = ?", (now, key))

    def directories(self) -> dict[str, int]:
        """The directories of all exported projects, with the numbers of the projects.

        Removed projects are left out.
        """
        return dict(
            self._run("SELECT directory, id FROM projects WHERE is_exported AND NOT is_removed").fetchall()
        )

    def set_removed(self, key: int, removed: bool) -> None:
        """Record that the project was removed by hand, or is back."""
        self._run(
            "UPDATE projects SET is_removed = ?, is_exported = 0, lock_mark = NULL WHERE id = ?",
            (removed, key),
        )

    def set_lock(self, key: int, lock: Lock | None) -> None:
        """Write the lock, or remove it. The project must then be exported."""
        values = _of_lock(lock) if lock else (None,) * 6
        self._run(
            """
            UPDATE projects SET lock_client = ?, lock_acquired_at = ?, lock_expires_at = ?, lock_token = ?,
                lock_last_acquired_at = ?, lock_extended_at = ?, is_changed = 1
            WHERE id = ?
            """,
            (*values, key),
        )

    def grant(self, key: int, lock: Lock) -> None:
        """Record a new lock, so that its token is never used again."""
        self._run(
            "UPDATE projects SET last_token = max(last_token, ?), granted_client = ?, granted_at = ? WHERE id = ?",
            (lock.token, lock.client.value, lock.acquired_at, key),
        )

    def set_listed(self, key: int, token: int, at: Millis) -> None:
        """Record the acquire whose pull has had its list."""
        self._run("UPDATE projects SET listed_token = ?, listed_at = ? WHERE id = ?", (token, at, key))

    def set_lock_mark(self, key: int, mark: str | None, exported: str | None) -> None:
        """Record the mark and the content of `.lock.json` in the working copy."""
        self._run("UPDATE projects SET lock_mark = ?, lock_exported = ? WHERE id = ?", (mark, exported, key))

    def expired(self, now: Millis) -> list[ProjectId]:
        """The projects whose locks have expired, or are dated in the future."""
        rows = self._run(
            f"SELECT name, {_LOCK} FROM projects WHERE lock_client IS NOT NULL",  # noqa: S608 - no values in it
        )
        return [ProjectId(name) for name, *lock in rows if not leases.current(_lock(lock), now)]

    # Aliases

    def add_alias(self, key: int, name: ProjectId) -> None:
        """Record another id of a project. It must not be the name of a project."""
        self._run("INSERT INTO aliases (name, project) VALUES (?, ?)", (name.value, key))

    def aliases(self, key: int) -> tuple[ProjectId, ...]:
        """The other ids of a project."""
        rows = self._run("SELECT name FROM aliases WHERE project = ? ORDER BY name", (key,))
        return tuple(ProjectId(name) for (name,) in rows)

    def join(self, source: int, target: int, moved_by: int) -> None:
        """Move versions, bases and events of a project into another, and remove the project.

        The numbers of the versions grow by `moved_by`. The heads of the target stay as they are.
        """
        for key, parents in self._run(
            "SELECT id, parents FROM versions WHERE project = ? AND parents != ''", (source,)
        ).fetchall():
            self._run("UPDATE versions SET parents = ? WHERE id = ?", (_moved(parents, moved_by), key))
        self._run(
            "UPDATE versions SET project = ?2, number = number + ?3, base = base + ?3 WHERE project = ?1",
            (source, target, moved_by),
        )
        self._run(
            "UPDATE events SET project = ?2, version = version + ?3 WHERE project = ?1",
            (source, target, moved_by),
        )
        self._run(
            """
            INSERT INTO clients (project, client, last_seen, familiar_at)
            SELECT ?2, client, last_seen, familiar_at FROM clients WHERE project = ?1
            ON CONFLICT DO UPDATE SET last_seen = max(last_seen, excluded.last_seen)
            """,
            (source, target),
        )
        self._join_bases(source, target, moved_by)
        self._run(
            """
            UPDATE projects SET (last_number, last_token) = (
                SELECT projects.last_number + s.last_number, max(projects.last_token, s.last_token)
                FROM projects s WHERE s.id = ?1)
            WHERE id = ?2
            """,
            (source, target),
        )
        self._run("UPDATE aliases SET project = ?2 WHERE project = ?1", (source, target))
        self.drop_project(source)

    def _join_bases(self, source: int, target: int, moved_by: int) -> None:
        for client, file, known, received, lacking in self._run(
            "SELECT client, file, known, received, lacking FROM bases WHERE project = ?", (source,)
        ).fetchall():
            # A client that had bases in both has perhaps two folders: each version is then a mere candidate.
            self._run(
                """
                INSERT INTO bases (project, client, file, known, received, lacking) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET known = known || ' ' || excluded.known, received = '', lacking = NULL
                """,
                (target, client, file, _moved(known, moved_by), _moved(received, moved_by), lacking),
            )

    # Heads

    def heads(self, key: int, file: FileName | None = None) -> dict[FileName, HeadRow]:
        """The files of a project, or one of them, removed ones included."""
        rows = self._run(
            f"""
            SELECT {_HEAD} FROM heads h
            JOIN versions v ON v.project = h.project AND v.number = h.version JOIN contents c ON c.id = v.content
            WHERE h.project = ? {"" if file is None else "AND h.file = ?"} ORDER BY h.file
            """,  # noqa: S608 - no values in it
            (key,) if file is None else (key, _NUMBER_OF[file]),
        )
        found = map(_head, rows)
        return {one.newest.file: one for one in found}

    def set_head(self, key: int, version: Version) -> None:
        """Make a version the head of its file. The working copy is not changed."""
        latest = "excluded.mtime" if version.kind is not Kind.FOUND else "max(latest_mtime, excluded.mtime)"
        self._run(
            f"""
            INSERT INTO heads (project, file, version, is_there, mtime, latest_mtime) VALUES (?, ?, ?, 1, ?, ?)
            ON CONFLICT DO UPDATE SET version = excluded.version, is_there = 1, mtime = excluded.mtime,
                latest_mtime = {latest}
            """,  # noqa: S608 - no values in it
            (key, _NUMBER_OF[version.file], version.number, version.mtime, version.mtime),
        )

    def set_there(self, key: int, file: FileName, is_there: bool, mtime: Millis) -> None:
        """Record that a file was removed by hand, put back, or touched."""
        self._run(
            "UPDATE heads SET is_there = ?, mtime = ? WHERE project = ? AND file = ?",
            (is_there, mtime, key, _NUMBER_OF[file]),
        )

    def set_mark(self, key: int, file: FileName, exported: int | None, mark: str | None) -> None:
        """Record the version and the mark of a file in the working copy."""
        self._run(
            "UPDATE heads SET exported = ?, mark = ? WHERE project = ? AND file = ?",
            (exported, mark, key, _NUMBER_OF[file]),
        )

    # Versions

    def add_version(self, key: int, version: Version, content: bytes, *, waits: bool, unmerged: bool) -> None:
        """Add a version, and its content unless the database has that already."""
        key_of_content = self._keep_content(version, content)
        self._recent.keep(version.sha256, content)
        appended = version.appended or Appended(None, "")
        self._run(
            """
            INSERT INTO versions (project, number, file, content, time, mtime, client, kind, role, base, parents,
                append_key, append_lines, names_base, is_unrelated, is_waiting, is_unmerged)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            (
                key,
                version.number,
                _NUMBER_OF[version.file],
                key_of_content,
                version.time,
                version.mtime,
                version.client.value if version.client else None,
                version.kind.value,
                version.role.value,
                version.base,
                " ".join(map(str, version.parents)),
                appended.key,
                appended.lines if version.appended else None,
                version.names_base,
                version.is_unrelated,
                waits,
                unmerged,
            ),
        )
        self._run("UPDATE projects SET last_number = ?, is_removed = 0 WHERE id = ?", (version.number, key))

    def _keep_content(self, version: Version, content: bytes) -> int | None:
        """Store a content, and return its number. A damaged stored content is replaced."""
        sha256 = bytes.fromhex(version.sha256)
        values = sha256, len(content), self._compression.compressed(content)
        added = self._run("INSERT OR IGNORE INTO contents (sha256, size, zstd) VALUES (?, ?, ?)", values)
        if added.rowcount:
            return added.lastrowid
        kept = self._run("SELECT id, zstd FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
        if self._compression.decompressed(kept[1], version.size) != content:
            self._run("UPDATE contents SET zstd = ? WHERE id = ?", (values[2], kept[0]))
        return int(kept[0])

    def version(self, key: int, number: int) -> Version | None:
        """The version of this number; None without such a version."""
        if number > _LARGEST:
            return None
        return self._first_version(f"{_VERSIONS} WHERE v.project = ? AND v.number = ?", (key, number))

    def versions(self, key: int) -> list[Version]:
        """Every version of a project, oldest first."""
        return self._versions(f"{_VERSIONS} WHERE v.project = ? ORDER BY v.number", (key,))

    def history(self, key: int, file: FileName, limit: int | None) -> list[Version]:
        """The versions of a file, newest first; at most `limit`."""
        return self._versions(
            f"{_VERSIONS} WHERE v.project = ? AND v.file = ? ORDER BY v.number DESC LIMIT ?",
            (key, _NUMBER_OF[file], -1 if limit is None else min(limit, _LARGEST)),
        )

    def versions_with(self, key: int, file: FileName, digests: Iterable[str]) -> list[Version]:
        """The versions of a file with one of these contents, newest first.

        Texts that are no SHA-256 in hex are ignored.
        """
        found: list[Version] = []
        for sha256 in filter(_DIGEST.fullmatch, digests):
            found += self._versions(
                f"{_VERSIONS} WHERE c.sha256 = ? AND +v.project = ? AND +v.file = ?",
                (bytes.fromhex(sha256), key, _NUMBER_OF[file]),
            )
        return sorted(found, key=lambda version: version.number, reverse=True)

    def keyed(self, key: int, client: ClientId, file: FileName, append_key: str) -> Version | None:
        """The newest version that came with an idempotency key."""
        return self._first_version(
            f"""
            {_VERSIONS} WHERE v.project = ? AND v.client = ? AND v.append_key = ? AND v.file = ?
            ORDER BY v.number DESC LIMIT 1
            """,
            (key, client.value, append_key, _NUMBER_OF[file]),
        )

    def successor(self, key: int, version: Version) -> Version | None:
        """The upload that replaced a waiting one."""
        return self._first_version(
            f"{_VERSIONS} WHERE v.project = ? AND v.file = ? AND v.number > ? AND v.parents = ?",
            (key, _NUMBER_OF[version.file], version.number, str(version.number)),
        )

    def _versions(self, query: str, values: Sequence[Any]) -> list[Version]:
        return list(map(_version, self._run(query, values)))

    def _first_version(self, query: str, values: Sequence[Any]) -> Version | None:
        return next(map(_version, self._run(query, values)), None)

    def is_unmerged(self, key: int, number: int) -> bool:
        """Whether the content of a version was never part of a head."""
        row = self._run(
            "SELECT is_unmerged FROM versions WHERE project = ? AND number = ?", (key, number)
        ).fetchone()
        return bool(row and row[0])

    def unmerged(self, key: int) -> set[int]:
        """The numbers of the versions whose content was never part of a head."""
        return {
            number
            for (number,) in self._run(
                "SELECT number FROM versions WHERE project = ? AND is_unmerged", (key,)
            )
        }

    def remove_versions(self, key: int, numbers: Iterable[int]) -> None:
        """Remove versions, and the contents that no other version has."""
        for number in numbers:
            (content,) = self._run(
                "DELETE FROM versions WHERE project = ? AND number = ? RETURNING content", (key, number)
            ).fetchone()
            # Only in a removed project can a removed version have been a head.
            self._run("DELETE FROM heads WHERE project = ? AND version = ?", (key, number))
            self._run(
                "DELETE FROM contents WHERE id = ? AND NOT EXISTS (SELECT 1 FROM versions WHERE content = ?)",
                (content, content),
            )

    def give_back(self) -> None:
        """Return empty pages to the file system, at most 500 of them."""
        (free,) = self._run("PRAGMA freelist_count").fetchone()
        for _ in range(min(free, _GIVEN_BACK_AT_ONCE)):
            # Each call frees only one page: Python's module runs one step of a statement without rows, then stops.
            self._run("PRAGMA incremental_vacuum(1)")

    def content(self, version: Version) -> bytes:
        """The content of a version; `DamagedContent` if it does not match its digest."""
        recent = self._recent.get(version.sha256)
        if recent is not None:
            return recent
        row = self._run(
            "SELECT zstd FROM contents WHERE sha256 = ?", (bytes.fromhex(version.sha256),)
        ).fetchone()
        content = self._compression.decompressed(row[0], version.size) if row else None
        if content is None or digest(content) != version.sha256:
            raise DamagedContent(version.number, version.file.value)
        self._recent.keep(version.sha256, content)
        return content

    # Waiting uploads

    def waiting(self, key: int) -> list[Version]:
        """The waiting uploads, oldest first."""
        return self._versions(f"{_WAITING} ORDER BY v.number", (key,))

    def replaceable(self, key: int, client: ClientId, file: FileName) -> Version | None:
        """The newest waiting upload of a client and file, which its next upload may replace."""
        return self._first_version(
            f"""
            {_WAITING} AND NOT v.is_overtaken AND v.client = ? AND v.file = ?
            ORDER BY v.number DESC LIMIT 1
            """,
            (key, client.value, _NUMBER_OF[file]),
        )

    def overtake(self, key: int, client: ClientId, file: FileName) -> None:
        """Record that a client was sent a version after its waiting upload."""
        self._run(
            "UPDATE versions SET is_overtaken = 1 WHERE project = ? AND is_waiting AND client = ? AND +file = ?",
            (key, client.value, _NUMBER_OF[file]),
        )

    def settle(self, key: int, number: int, *, merged: bool) -> bool:
        """End the waiting of an upload; whether its client was sent a version after it."""
        (overtaken,) = self._run(
            """
            UPDATE versions SET is_waiting = 0, is_unmerged = CASE WHEN ? THEN 0 ELSE is_unmerged END
            WHERE project = ? AND number = ? RETURNING is_overtaken
            """,
            (merged, key, number),
        ).fetchone()
        return bool(overtaken)

    def has_waiting(self, key: int) -> bool:
        """Whether uploads of a project are waiting."""
        row = self._run("SELECT 1 FROM versions WHERE project = ? AND is_waiting LIMIT 1", (key,)).fetchone()
        return row is not None

    def give_up_waiting(self, key: int) -> None:
        """End the waiting of all uploads of a project. They stay in history."""
        self._run("UPDATE versions SET is_waiting = 0 WHERE project = ? AND is_waiting", (key,))

    def bound_waiting(self, key: int, most: int) -> None:
        """End the waiting of the oldest rescued uploads beyond the newest `most`."""
        self._run(
            """
            UPDATE versions SET is_waiting = 0 WHERE project = ? AND is_waiting AND number IN (
                SELECT number FROM versions WHERE project = ? AND is_waiting AND kind = 'rescued'
                ORDER BY number DESC LIMIT -1 OFFSET ?)
            """,
            (key, key, most),
        )

    # Clients

    def client(self, key: int, client: ClientId) -> tuple[ClientRow | None, dict[FileName, BaseRow]]:
        """The record of a client, None for a new client, and its bases by file."""
        rows = self._run(
            f"""
            SELECT {_CLIENT}, b.file, b.known, b.received, b.lacking FROM clients c
            LEFT JOIN bases b ON b.project = c.project AND b.client = c.client
            WHERE c.project = ? AND c.client = ?
            """,  # noqa: S608 - no values in it
            (key, client.value),
        ).fetchall()
        bases = {FILES[row[4]]: BaseRow(*row[5:]) for row in rows if row[4] is not None}
        return (_client(rows[0][:4]) if rows else None), bases

    def add_client(self, key: int, client: ClientId, now: Millis) -> None:
        """Record a new client."""
        self._run(
            "INSERT INTO clients (project, client, last_seen) VALUES (?, ?, ?)", (key, client.value, now)
        )

    def see(self, key: int, client: ClientId, now: Millis) -> None:
        """Record that a client was seen."""
        self._run(
            "UPDATE clients SET last_seen = ? WHERE project = ? AND client = ?", (now, key, client.value)
        )

    def bound_clients(self, key: int, most: int) -> None:
        """Forget all clients but `most`, with their bases.

        Clients whose uploads had something of their bases stay before all others: made-up ids have no such uploads.
        """
        gone = self._run(
            """
            DELETE FROM clients WHERE project = ? AND client IN (
                SELECT client FROM clients WHERE project = ?
                ORDER BY familiar_at IS NULL, last_seen DESC LIMIT -1 OFFSET ?)
            RETURNING client
            """,
            (key, key, most),
        ).fetchall()
        self._run_many(
            "DELETE FROM bases WHERE project = ? AND client = ?", [(key, client) for (client,) in gone]
        )

    def set_familiar(self, key: int, client: ClientId, at: Millis) -> None:
        """Record that an upload shared something with the versions that its client had."""
        self._run(
            "UPDATE clients SET familiar_at = ? WHERE project = ? AND client = ?", (at, key, client.value)
        )

    def set_stranger(self, key: int, client: ClientId, file: FileName | None, at: Millis | None) -> None:
        """Record that an upload shared nothing with its client's versions; None clears that."""
        self._run(
            "UPDATE clients SET stranger_file = ?, stranger_at = ? WHERE project = ? AND client = ?",
            (None if file is None else _NUMBER_OF[file], at, key, client.value),
        )

    def in_two_places(self) -> list[TwoPlaces]:
        """The project ids that a client seems to use in two places."""
        rows = self._run(
            """
            SELECT p.name, c.client, c.stranger_file, c.stranger_at FROM clients c JOIN projects p ON p.id = c.project
            WHERE c.stranger_at IS NOT NULL AND NOT p.is_removed
            """
        )
        return [
            TwoPlaces(ProjectId(name), ClientId(client), FILES[file], at) for name, client, file, at in rows
        ]

    # Bases

    def base(self, key: int, row: BaseRow, newest: Version | None) -> Base:
        """The base of a client for a file.

        Usually this is `newest`, the newest version of the file, so one query is saved.
        """
        known, received = _numbers(row.known), _numbers(row.received)
        there = {newest.number: newest} if newest else {}
        for number in known:
            version = there.get(number) or self.version(key, number)
            if version:
                there[number] = version
        left = still_known(known, received, there)
        return Base(
            tuple(there[number] for number in left), frozenset(received).intersection(left), row.lacking
        )

    def set_base(self, key: int, client: ClientId, file: FileName, base: Base) -> None:
        """Record the base of a client."""
        self._run(
            "REPLACE INTO bases (project, client, file, known, received, lacking) VALUES (?, ?, ?, ?, ?, ?)",
            (
                key,
                client.value,
                _NUMBER_OF[file],
                " ".join(str(version.number) for version in base.known),
                " ".join(map(str, sorted(base.received))),
                base.lacking,
            ),
        )

    def known_numbers(self, key: int, seen_after: Millis, seen_before: Millis) -> set[int]:
        """The possible bases of clients seen after a time, or before another time."""
        rows = self._run(
            """
            SELECT b.known FROM bases b JOIN clients c ON c.project = b.project AND c.client = b.client
            WHERE b.project = ? AND (c.last_seen > ? OR c.last_seen < ?)
            """,
            (key, seen_after, seen_before),
        )
        return {number for (known,) in rows for number in _numbers(known)}

    # The working copy

    def set_changed(self, key: int) -> None:
        """Record that the project must be exported."""
        self._run("UPDATE projects SET is_changed = 1 WHERE id = ?", (key,))

    def set_exported(self, key: int, epoch: int) -> None:
        """Record that the project was exported, in this epoch."""
        self._run("UPDATE projects SET is_changed = 0, is_exported = 1, epoch = ? WHERE id = ?", (epoch, key))

    def changed_projects(self) -> dict[int, str]:
        """The projects to export: names by number."""
        return dict(self._run("SELECT id, name FROM projects WHERE is_changed AND NOT is_removed").fetchall())

    def doubt_exports_since(self, epoch: int) -> None:
        """Mark all exports since an epoch as uncertain, so that they are done again.

        After a power cut, files written lately may be missing or damaged.
        """
        self._run("UPDATE projects SET is_changed = 1 WHERE epoch >= ?", (epoch,))
        self._run(
            "UPDATE heads SET exported = NULL, mark = NULL WHERE project IN (SELECT id FROM projects WHERE is_changed)"
        )

    def has_exports_since(self, epoch: int) -> bool:
        """Whether anything was exported since an epoch."""
        return self._run("SELECT 1 FROM projects WHERE epoch >= ? LIMIT 1", (epoch,)).fetchone() is not None

    def forget_exports(self) -> None:
        """Record that nothing was exported: the working copy is new, or not from this database."""
        self._run("UPDATE heads SET exported = NULL, mark = NULL")
        self._run("UPDATE projects SET is_exported = 0, lock_mark = NULL, is_changed = NOT is_removed")

    def forget_export(self, directory: str) -> bool:
        """Record that the project of a directory was not exported; False without such a project."""
        row = self._run("SELECT id FROM projects WHERE directory = ?", (directory,)).fetchone()
        if row is None:
            return False
        self._run("UPDATE heads SET exported = NULL, mark = NULL WHERE project = ?", row)
        self._run(
            "UPDATE projects SET is_exported = 0, lock_mark = NULL, is_changed = NOT is_removed WHERE id = ?",
            row,
        )
        return True

    def take_heads_for_exported(self) -> None:
        """Record the heads that are not exported yet as exported.

        A file that differs in the working copy then counts as an edit of the head.
        """
        self._run(
            "UPDATE heads SET exported = version, mark = NULL "
            "WHERE project IN (SELECT id FROM projects WHERE is_changed)"
        )

    def server(self) -> tuple[str, int, str]:
        """The boot of the last server, the epoch, and the mark of the working copy."""
        row: tuple[str, int, str] = self._run("SELECT boot, epoch, working_copy FROM server").fetchone()
        return row

    def server_id(self) -> str:
        """The random id of the server; a restored backup has it, too."""
        return str(self._run("SELECT id FROM server").fetchone()[0])

    def set_server(self, **values: str | int) -> None:
        """Change the row of the server."""
        names = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE server SET {names}", tuple(values.values()))  # noqa: S608 - names of ours

    # Events

    def add_event(self, key: int, kind: EventKind, file: FileName | None, version: int | None) -> None:
        """Record a change of which listeners are told."""
        number = self._run(
            "INSERT INTO events (project, kind, file, version) VALUES (?, ?, ?, ?)",
            (key, kind.value, None if file is None else _NUMBER_OF[file], version),
        ).lastrowid
        if number and number % _EVENTS_AT_ONCE == 0:
            self._run("DELETE FROM events WHERE id <= ?", (number - MAX_EVENTS,))

    def last_event(self) -> EventId:
        """The id of the newest event, even if it was removed since."""
        row = self._run(
            "SELECT line, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) FROM server"
        ).fetchone()
        return EventId(*row)

    def events_after(self, after: EventId, limit: int, files: Collection[FileName]) -> EventPage:
        """The events after an id, oldest first, at most `limit`. See `Store.events_after`."""
        last = self.last_event()
        (oldest,) = self._run("SELECT coalesce(min(id), ?) FROM events", (last.number + 1,)).fetchone()
        if after.line != last.line or not oldest - 1 <= after.number <= last.number:
            return EventPage((), last, is_reset=True)
        rows = self._run(
            f"""
            SELECT e.project, e.id, p.name, e.kind, e.file, e.version, c.sha256, v.client, {_LOCK} FROM events e
            JOIN projects p ON p.id = e.project
            LEFT JOIN versions v ON v.project = e.project AND v.number = e.version
            LEFT JOIN contents c ON c.id = v.content
            WHERE e.id > ? AND (e.file IS NULL OR e.file IN ({", ".join("?" * len(files))})) ORDER BY e.id LIMIT ?
            """,  # noqa: S608 - no values in it
            (after.number, *map(_NUMBER_OF.__getitem__, files), limit),
        )
        aliases = cache(self.aliases)
        events = tuple(_event(row, aliases(key)) for key, *row in rows)
        return EventPage(events, EventId(last.line, events[-1].number) if events else last)

    # Overviews

    def overviews(self, now: Millis) -> list[Overview]:
        """An overview of every project, in the order of their names."""
        heads: dict[int, list[Head]] = {}
        rows = self._run(
            """
            SELECT h.project, h.file, h.version, c.size, h.mtime, c.sha256 FROM heads h
            JOIN versions v ON v.project = h.project AND v.number = h.version JOIN contents c ON c.id = v.content
            WHERE h.is_there ORDER BY h.project, h.file
            """
        )
        for key, file, number, size, mtime, sha256 in rows:
            heads.setdefault(key, []).append(Head(FILES[file], number, size, mtime, sha256.hex()))
        waiting: dict[int, list[Version]] = {}
        for row in self._run(
            f"SELECT v.project, {_VERSION} FROM versions v JOIN contents c ON c.id = v.content "  # noqa: S608 - no values in it
            "WHERE v.is_waiting ORDER BY v.project, v.number"
        ):
            waiting.setdefault(row[0], []).append(_version(row[1:]))
        aliases: dict[int, list[ProjectId]] = {}
        for key, name in self._run("SELECT project, name FROM aliases ORDER BY name"):
            aliases.setdefault(key, []).append(ProjectId(name))
        projects = self._run(f"SELECT id, name, {_LOCK} FROM projects WHERE NOT is_removed ORDER BY name")  # noqa: S608 - no values in it
        found = [
            (
                key,
                Overview(
                    ProjectId(name),
                    tuple(heads.get(key, ())),
                    leases.current(_lock(lock), now),
                    tuple(waiting.get(key, ())),
                    tuple(aliases.get(key, ())),
                ),
            )
            for key, name, *lock in projects
        ]
        had = {key for (key,) in self._run("SELECT DISTINCT project FROM heads")}
        # After the removal of a project, a mere pull of it leaves an empty one.
        return [one for key, one in found if key not in had or one.heads or one.lock or one.waiting]

    def add_day(self, day: int) -> None:
        """Record that a version was kept on a day since 1970."""
        self._run("INSERT OR IGNORE INTO days VALUES (?)", (day,))

    def days(self) -> AbstractSet[int]:
        """The latest days on which a version was kept, as days since 1970."""
        return {day for (day,) in self._run("SELECT day FROM days ORDER BY day DESC LIMIT 32")}

    # Checks and backups

    def signs(self) -> tuple[int, ...]:
        """Three counts, of which at least one changes when there is news for a backup."""
        (projects,) = self._run("SELECT count(*) FROM projects WHERE NOT is_removed").fetchone()
        (heads,) = self._run("SELECT count(*) FROM heads WHERE is_there").fetchone()
        # SQLite may use the id of a pruned row again. The numbers of a project's versions only grow.
        (versions,) = self._run("SELECT coalesce(sum(last_number), 0) FROM projects").fetchone()
        return versions, projects, heads

    def is_sound(self) -> bool:
        """Whether the pages of the database are consistent. This reads all pages."""
        row = self._run("PRAGMA quick_check(1)").fetchone()
        return bool(row == ("ok",))

    def faults(self) -> Iterator[str]:
        """Faults in the structure of the database and its indexes, at most 50."""
        return (line for (line,) in self._run("PRAGMA integrity_check(50)") if line != "ok")

    def content_keys(self) -> list[int]:
        """The numbers of all contents."""
        return [key for (key,) in self._run("SELECT id FROM contents")]

    def is_whole(self, content: int) -> bool:
        """Whether a content matches its digest, and can be found by the digest."""
        row = self._run("SELECT sha256, size, zstd FROM contents WHERE id = ?", (content,)).fetchone()
        if row is None:
            return False
        found = self._compression.decompressed(row[2], row[1])
        same = self._run("SELECT id FROM contents WHERE sha256 = ?", (row[0],)).fetchone()
        return found is not None and digest(found) == row[0].hex() and same == (content,)

    def versions_having(self, content: int) -> list[tuple[str, str, int]]:
        """The versions with a content: project, file and number of each."""
        return self._named("v.content = ?", content)

    def versions_without_content(self) -> list[tuple[str, str, int]]:
        """The versions whose content is missing: project, file and number of each."""
        return self._named("NOT EXISTS (SELECT 1 FROM contents WHERE id = v.content)")

    def heads_without_version(self) -> list[tuple[str, str, int]]:
        """The heads whose version is missing: project, file and number of each."""
        rows = self._run(
            """
            SELECT p.name, h.project, h.file, h.version FROM heads h LEFT JOIN projects p ON p.id = h.project
            WHERE NOT EXISTS (
                SELECT 1 FROM versions WHERE project = h.project AND number = h.version AND file = h.file)
            """
        )
        return [(name or f"project {key}", _file_named(file), number) for name, key, file, number in rows]

    def _named(self, condition: str, *values: int) -> list[tuple[str, str, int]]:
        rows = self._run(
            f"""
            SELECT p.name, v.project, v.file, v.number FROM versions v LEFT JOIN projects p ON p.id = v.project
            WHERE {condition} ORDER BY v.project, v.file, v.number
            """,  # noqa: S608 - a condition of ours
            values,
        )
        return [(name or f"project {key}", _file_named(file), number) for name, key, file, number in rows]


def _file_named(number: int) -> str:
    """The name of a file in a database that may be damaged."""
    return FILES[number].value if number in range(len(FILES)) else f"file {number}"


def _numbers(text: str) -> list[int]:
    return list(map(int, text.split()))


def _moved(numbers: str, moved_by: int) -> str:
    return " ".join(str(number + moved_by) for number in _numbers(numbers))


def _lock(row: Sequence[Any]) -> Lock | None:
    client, acquired, expires, token, last, extended = row
    if client is None:
        return None
    return Lock(ClientId(client), acquired, expires, token, last, extended)


def _of_lock(lock: Lock) -> tuple[object, ...]:
    return (
        lock.client.value,
        lock.acquired_at,
        lock.expires_at,
        lock.token,
        lock.last_acquired_at,
        lock.extended_at,
    )


def _project(row: Sequence[Any]) -> ProjectRow:
    key, name, directory, removed, number, token, *rest = row
    lock, (client, granted_at, listed, listed_at, changed, exported, mark, mark_content, waiting) = (
        rest[:6],
        rest[6:],
    )
    return ProjectRow(
        key=key,
        name=ProjectId(name),
        directory=directory,
        is_removed=bool(removed),
        last_number=number,
        last_token=token,
        lock=_lock(lock),
        granted=None if client is None else (ClientId(client), granted_at),
        listed=None if listed is None else (listed, listed_at),
        is_changed=bool(changed),
        is_exported=bool(exported),
        lock_mark=mark,
        lock_exported=mark_content,
        has_waiting=bool(waiting),
    )


def _event(row: Sequence[Any], aliases: tuple[ProjectId, ...]) -> Event:
    number, name, kind, file, version, sha256, client, *lock = row
    return Event(
        number=number,
        project=ProjectId(name),
        kind=EventKind(kind),
        file=None if file is None else FILES[file],
        version=version,
        sha256=sha256.hex() if sha256 else None,
        client=ClientId(client) if client else None,
        lock=_lock(lock) if kind == EventKind.LOCK.value else None,
        aliases=aliases,
    )


def _client(row: Sequence[Any]) -> ClientRow:
    seen, familiar, stranger, file = row
    return ClientRow(seen, familiar, stranger, None if file is None else FILES[file])


def _head(row: Sequence[Any]) -> HeadRow:
    there, mtime, latest, exported, mark, *version = row
    return HeadRow(_version(version), bool(there), mtime, latest, exported, mark)


def _version(row: Sequence[Any]) -> Version:
    (
        number,
        file,
        sha256,
        size,
        time,
        mtime,
        client,
        kind,
        base,
        parents,
        role,
        key,
        lines,
        names,
        unrelated,
        stored,
    ) = row
    return Version(
        number=number,
        file=FILES[file],
        sha256=sha256.hex(),
        size=size,
        time=time,
        mtime=mtime,
        client=None if client is None else ClientId(client),
        kind=Kind(kind),
        base=base,
        parents=tuple(_numbers(parents)),
        role=Role(role),
        appended=None if lines is None else Appended(key, lines),
        names_base=bool(names),
        is_unrelated=bool(unrelated),
        stored=stored + ROW_BYTES,
    )
