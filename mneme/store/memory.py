"""The store in memory: the verified fake for tests, and the plainest statement of what a store does."""

from collections.abc import Iterator

from attrs import Factory, define

from mneme import leases
from mneme.model import (
    Accepted,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Millis,
    NotLocked,
    ProjectId,
    Released,
    StaleToken,
    Upload,
    Version,
    digest,
)


@define
class _Project:
    lock: Lock | None = None
    last_token: int = 0
    versions: list[Version] = Factory(list)
    contents: dict[int, bytes] = Factory(dict)

    def newest(self, file: FileName, client: ClientId | None = None) -> Version | None:
        of_file = (v for v in reversed(self.versions) if v.file is file and client in (None, v.client))
        return next(of_file, None)


class MemoryStore:
    """See `Store`. Nothing survives the process, and nobody can edit a head by hand."""

    def __init__(self) -> None:
        self._projects: dict[ProjectId, _Project] = {}

    def lock(self, project: ProjectId, now: Millis, /) -> Lock | None:
        return leases.current(self._get(project).lock, now)

    def acquire(self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /) -> Granted | HeldBy:
        kept = self._projects.setdefault(project, _Project())
        outcome = leases.acquire(kept.lock, client, now, ttl, kept.last_token + 1)
        if isinstance(outcome, Granted):
            kept.lock, kept.last_token = outcome.lock, outcome.lock.token
        return outcome

    def extend(
        self, project: ProjectId, client: ClientId, now: Millis, ttl: Millis, /
    ) -> Granted | HeldBy | NotLocked:
        kept = self._get(project)
        outcome = leases.extend(kept.lock, client, now, ttl)
        if isinstance(outcome, Granted):
            kept.lock = outcome.lock
        return outcome

    def release(self, project: ProjectId, client: ClientId, now: Millis, /) -> Released | HeldBy | NotLocked:
        kept = self._get(project)
        outcome = leases.release(kept.lock, client, now)
        if isinstance(outcome, Released):
            kept.lock = None
        return outcome

    def heads(self, project: ProjectId, now: Millis, /) -> tuple[Head, ...]:
        newest = (self._get(project).newest(file) for file in FileName)
        return tuple(_head(version) for version in newest if version)

    def read(self, project: ProjectId, file: FileName, now: Millis, /) -> Document | None:
        kept = self._get(project)
        version = kept.newest(file)
        return Document(_head(version), kept.contents[version.number]) if version else None

    def upload(
        self, project: ProjectId, upload: Upload, now: Millis, /
    ) -> Accepted | HeldBy | NotLocked | StaleToken:
        kept = self._get(project)
        permit = leases.permit(kept.lock, upload.client, upload.token, now)
        if not isinstance(permit, Granted):
            return permit
        newest = kept.newest(upload.file)
        sha256 = digest(upload.content)
        if newest and newest.sha256 == sha256:
            return Accepted(_head(newest))
        base = kept.newest(upload.file, upload.client)
        version = Version(
            number=len(kept.versions) + 1,
            file=upload.file,
            sha256=sha256,
            size=len(upload.content),
            time=now,
            mtime=Millis(max(now, newest.mtime + 1 if newest else now)),
            client=upload.client,
            kind=Kind.UPLOAD,
            base=base.number if base else None,
        )
        kept.versions.append(version)
        kept.contents[version.number] = upload.content
        return Accepted(_head(version))

    def versions(self, project: ProjectId, /) -> tuple[Version, ...]:
        return tuple(self._get(project).versions)

    def content(self, project: ProjectId, number: int, /) -> bytes | None:
        return self._get(project).contents.get(number)

    def projects(self) -> Iterator[ProjectId]:
        yield from tuple(self._projects)

    def recover(self, project: ProjectId, /) -> None:
        pass

    def expired(self, now: Millis, /) -> tuple[ProjectId, ...]:
        held = ((project, kept.lock) for project, kept in self._projects.items())
        return tuple(project for project, lock in held if lock and not leases.current(lock, now))

    def reap(self, project: ProjectId, now: Millis, /) -> Lock | None:
        kept = self._get(project)
        if kept.lock is None or leases.current(kept.lock, now):
            return None
        reaped, kept.lock = kept.lock, None
        return reaped

    def _get(self, project: ProjectId) -> _Project:
        """The project's state; a fresh one, kept nowhere, if it was never written."""
        return self._projects.get(project) or _Project()


def _head(version: Version) -> Head:
    return Head(version.file, version.number, version.size, version.mtime)
