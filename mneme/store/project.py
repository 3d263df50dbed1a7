"""The steps of a project, whatever it is kept in: what becomes of an upload, and what a client is known to have.

A holder's upload that was made from the head becomes the head. One that was made from an older version, its base, is
kept beside the head, and both are merged. One that is refused for its lock is kept, too, and waits to be merged until
nobody holds the lock.
"""

from abc import ABC, abstractmethod
from typing import TypeAlias

from attrs import evolve, frozen
from twisted.logger import Logger

from mneme import leases
from mneme.errors import DamagedVersion, VersionUnknown
from mneme.merge import Candidate, is_well_formed, merge, nearest
from mneme.model import (
    Accepted,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kept,
    Kind,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Place,
    Released,
    Rescued,
    Restore,
    Served,
    StaleToken,
    Upload,
    Version,
    digest,
)
from mneme.retention import Retention, prunable
from mneme.store.ledger import Base, BaseKnown, Entry, Ledger, Listed, LockGranted, Settled

_BASE_KEPT_FOR = Millis(30 * 24 * 60 * 60 * 1000)
"""For how long a client that was not seen again is expected back, with the base that it had."""

_PULL_WITHIN = Millis(60 * 1000)
"""How long after its acquire a pull asks for its list at most: the stock client gives up a request after 43.5 s. What
comes later is another's, or the pull's process has died."""

Refusal: TypeAlias = HeldBy | NotLocked | StaleToken


@frozen
class Seen:
    """A head as it was when last looked at, and the digest of its content."""

    head: Head
    sha256: str


class Project(ABC):
    """The steps of `Store` for one project, for one caller at a time.

    What is abstract is where and how things are kept. Each of these methods either does what it says, durably, or
    raises and has changed nothing.
    """

    _log = Logger()
    _name: object
    """What the log calls it."""

    merging: Merging

    # Where and how things are kept

    @property
    @abstractmethod
    def ledger(self) -> Ledger:
        """The state of the history."""

    @abstractmethod
    def last_lock(self) -> Lock | None:
        """The lock that was last written and not removed, expired or not."""

    @abstractmethod
    def _write_lock(self, lock: Lock) -> None: ...

    @abstractmethod
    def _remove_lock(self) -> None: ...

    @abstractmethod
    def _see(
        self, file: FileName, now: Millis, *, taking_in: bool = True, trusting: bool = True
    ) -> Seen | None:
        """Look at a head. What lies there without being a version of ours becomes one, and stays as it lies.

        Without `taking_in`, for when there is no space for it, it is seen as version 0. If `trusting`, a head that
        looks as it did is not read again.
        """

    @abstractmethod
    def _head_content(self, file: FileName) -> bytes | None:
        """What lies at a head."""

    @abstractmethod
    def _version_content(self, version: Version) -> bytes | None:
        """The content of a version; None if it is no more, `DamagedVersion` if it is not as it was accepted."""

    @abstractmethod
    def _advance(self, version: Version, content: bytes) -> Head:
        """Commit a version, and make it the head."""

    @abstractmethod
    def _keep(self, version: Version, content: bytes) -> None:
        """Commit a version, and leave the head alone."""

    @abstractmethod
    def _add(self, entry: Entry) -> None:
        """Take an entry into the ledger, durably."""

    @abstractmethod
    def _jot(self, entry: Entry) -> None:
        """Take an entry into the ledger that a power cut may take back, though no crash of the server."""

    @abstractmethod
    def _remove(self, versions: tuple[Version, ...]) -> None:
        """Remove versions from the history; what a crash leaves of them is no version any more, and goes next time."""

    @abstractmethod
    def versions(self) -> tuple[Version, ...]:
        """See `Store`."""

    # Locks

    def lock(self, now: Millis) -> Lock | None:
        """See `Store`."""
        return leases.current(self.last_lock(), now)

    def acquire(self, client: ClientId, now: Millis, ttl: Millis) -> Granted | HeldBy:
        """See `Store`."""
        self.merge_waiting(now)
        before = self.last_lock()
        last_token = max(self.ledger.last_token, before.token if before else 0)
        outcome = leases.acquire(before, client, now, ttl, last_token + 1)
        if isinstance(outcome, HeldBy):
            return outcome
        if outcome.lock.token > last_token:
            self._add(LockGranted.of(outcome.lock))
        self._write_lock(outcome.lock)
        return outcome

    def extend(self, client: ClientId, now: Millis, ttl: Millis) -> Granted | HeldBy | NotLocked:
        """See `Store`."""
        outcome = leases.extend(self.last_lock(), client, now, ttl)
        if isinstance(outcome, Granted):
            self._write_lock(outcome.lock)
        return outcome

    def release(self, client: ClientId, now: Millis) -> Released | HeldBy | NotLocked:
        """See `Store`."""
        outcome = leases.release(self.last_lock(), client, now)
        if isinstance(outcome, Released):
            self._remove_lock()
        return outcome

    def reap(self, now: Millis) -> Lock | None:
        """See `Store`."""
        lock = self.last_lock()
        if lock is None or leases.current(lock, now):
            return None
        self._remove_lock()
        return lock

    # Reading

    def heads(self, now: Millis, taking_in: bool = True) -> tuple[Head, ...]:
        """See `Store`, and `_see` for `taking_in`."""
        seen = (self._see(file, now, taking_in=taking_in) for file in FileName)
        return tuple(one.head for one in seen if one)

    def stock_heads(self, now: Millis, taking_in: bool = True) -> tuple[Head, ...]:
        """See `Store`, and `_see` for `taking_in`."""
        heads = self.heads(now, taking_in)
        pull = self._pull_expected(now)
        if pull is None:
            return tuple(evolve(head, mtime=Millis(0)) for head in heads)
        if taking_in:
            self._jot(pull)
        return heads

    def _pull_expected(self, now: Millis) -> Listed | None:
        """The acquire whose pull has yet to ask for its list."""
        lock = self.lock(now)
        if lock is None or lock.last_acquired_at is None or now - lock.last_acquired_at > _PULL_WITHIN:
            return None
        pull = Listed(lock.token, lock.last_acquired_at)
        return pull if pull != self.ledger.listed else None

    def read(self, file: FileName, now: Millis, taking_in: bool = True) -> Document | None:
        """See `Store`, and `_see` for `taking_in`."""
        seen = self._see(file, now, taking_in=taking_in)
        content = self._head_content(file) if seen else None
        return Document(seen.head, content) if seen and content is not None else None

    def download(
        self, file: FileName, client: ClientId | None, now: Millis, taking_in: bool = True
    ) -> Served | None:
        """See `Store`, and `_see` for `taking_in`."""
        document = self.read(file, now, taking_in)
        if document is None:
            return None
        lock = self.lock(now)
        reader = client or (lock.client if lock else None)
        version = self.ledger.newest.get(file)
        if reader is None or version is None or document.head.version != version.number or not taking_in:
            return Served(document, None)
        base = self.ledger.base(reader, file).with_candidate(version)
        self._note_base(reader, file, base, now)
        known = base.is_surely(version.number) or (client is None and version.number in base.received)
        return Served(document, None if known else reader)

    def confirm(self, client: ClientId, file: FileName, number: int, now: Millis, *, named: bool) -> None:
        """See `Store`."""
        base = self.ledger.base(client, file)
        version = next((one for one in base.known if one.number == number), None)
        if version:
            self._note_base(client, file, Base(version) if named else base.with_received(number), now)

    # Uploads

    def permit(self, client: ClientId, token: int | None, now: Millis) -> Granted | Refusal:
        """Whether a client may write now."""
        return leases.permit(self.last_lock(), client, token, now)

    def upload(self, upload: Upload, now: Millis) -> Accepted | Rescued | StaleToken:
        """See `Store`."""
        match self.permit(upload.client, upload.token, now):
            case Granted():
                return self._accept(upload, digest(upload.content), now)
            case StaleToken() as stale:
                return stale
            case refusal:
                return self._rescue(upload, digest(upload.content), refusal, now)

    def _accept(self, upload: Upload, sha256: str, now: Millis) -> Accepted:
        seen = self._surely_seen(upload.file, sha256, now)
        known = self._repeated(upload, sha256, seen)
        if seen and known:
            self._note_known(upload, known, now)
            return Accepted(seen.head, merged=known.number != seen.head.version)
        base = self.ledger.base(upload.client, upload.file)
        if seen is None or not self.merging.enabled or self._is_base(upload, seen):
            return self._become_head(upload, sha256, base.sure.number if base.sure else None, seen, now)
        return self._accept_stale(upload, sha256, seen, now)

    def _accept_stale(self, upload: Upload, sha256: str, seen: Seen, now: Millis) -> Accepted:
        """Merge an upload with a head that its client may not have known."""
        base = self._base_of(upload)
        if base == seen.head.version:
            return self._become_head(upload, sha256, base, seen, now)
        head = self._head_content(upload.file)
        merged = self._merged(upload.file, base, head, upload.content, upload_is_later=True)
        if merged is None:
            self._tell_unmergeable(upload.file, upload.client)
        if merged in (None, upload.content):
            return self._become_head(upload, sha256, base, seen, now)
        kept = self._keep_upload(upload, sha256, Kind.UPLOAD, Place.WAITING, base, now)
        return Accepted(self._advance_merged(kept, merged, seen, now), merged=True)

    def _rescue(self, upload: Upload, sha256: str, refusal: HeldBy | NotLocked, now: Millis) -> Rescued:
        """Keep an upload that was refused for its lock."""
        waiting = self.ledger.waiting.get((upload.client, upload.file))
        if waiting and self._holds(waiting, sha256):
            return Rescued(refusal, waiting.number)
        known = self._repeated(upload, sha256, self._surely_seen(upload.file, sha256, now))
        if known:
            self._note_known(upload, known, now)
            return Rescued(refusal, known.number)
        place = Place.WAITING if self.merging.enabled else Place.KEPT
        kept = self._keep_upload(upload, sha256, Kind.RESCUED, place, self._base_of(upload), now)
        self._log.info(
            "Kept {file} of {project} from {client}, refused for its lock, as version {n}",
            file=upload.file.value,
            project=str(self._name),
            client=str(upload.client),
            n=kept.number,
        )
        return Rescued(refusal, kept.number)

    def _surely_seen(self, file: FileName, sha256: str, now: Millis) -> Seen | None:
        """Look at a head; be sure before something is called identical to it, for nothing will be written then."""
        seen = self._see(file, now)
        return self._see(file, now, trusting=False) if seen and seen.sha256 == sha256 else seen

    def _repeated(self, upload: Upload, sha256: str, seen: Seen | None) -> Version | None:
        """The version that an upload repeats, if there is a head: that, or what its client had before."""
        if seen and seen.sha256 == sha256:
            return self.ledger.newest[upload.file]
        if seen is None or not self.merging.enabled:
            return None
        known = self.ledger.base(upload.client, upload.file).known
        return next((version for version in known if self._holds(version, sha256)), None)

    def _holds(self, version: Version, sha256: str) -> bool:
        """Whether a version has this content, and has it still: an edit in place may have spoiled it."""
        return version.sha256 == sha256 and self._content_or_none(version) is not None

    def _note_known(self, upload: Upload, known: Version, now: Millis) -> None:
        """Take note that a client has a version, for it has just sent it; what waits of it is out of date then."""
        waiting = self.ledger.waiting.get((upload.client, upload.file))
        if waiting:
            self._add(Settled(waiting, merged=False))
        self._note_base(upload.client, upload.file, Base(known), now)

    def _note_base(self, client: ClientId, file: FileName, base: Base, now: Millis) -> None:
        if base != self.ledger.base(client, file):
            self._jot(BaseKnown(client, file, base, now))

    def _is_base(self, upload: Upload, seen: Seen) -> bool:
        """Whether an upload was made from the head for sure."""
        waits = (upload.client, upload.file) in self.ledger.waiting
        return not waits and self.ledger.base(upload.client, upload.file).is_surely(seen.head.version)

    def _base_of(self, upload: Upload) -> int | None:
        """The number of the version that an upload was made from, as far as can be known.

        An upload that takes the place of a waiting one has the base of that one: what has never been merged is no base.
        """
        waiting = self.ledger.waiting.get((upload.client, upload.file))
        if waiting:
            return waiting.base
        base = self.ledger.base(upload.client, upload.file)
        contents = {one.number: self._content_or_none(one) for one in base.known}
        candidates = {
            number: Candidate(content, received=number in base.received or base.is_sure_of(number))
            for number, content in contents.items()
            if content is not None
        }
        chosen = nearest(upload.file, list(candidates.values()), upload.content)
        return None if chosen is None else list(candidates)[chosen]

    def _become_head(
        self, upload: Upload, sha256: str, base: int | None, seen: Seen | None, now: Millis
    ) -> Accepted:
        version = self._of_upload(upload, sha256, Kind.UPLOAD, Place.HEAD, base, now)
        return Accepted(self._advance(self._with_next_mtime(version, seen), upload.content))

    def _keep_upload(
        self, upload: Upload, sha256: str, kind: Kind, place: Place, base: int | None, now: Millis
    ) -> Version:
        version = self._of_upload(upload, sha256, kind, place, base, now)
        self._keep(version, upload.content)
        return version

    def _of_upload(
        self, upload: Upload, sha256: str, kind: Kind, place: Place, base: int | None, now: Millis
    ) -> Version:
        version = self._new(upload.file, sha256, len(upload.content), kind, now)
        return evolve(version, client=upload.client, base=base, place=place)

    # Merging

    def has_work(self, now: Millis) -> bool:
        """Whether uploads wait, and nobody holds the lock."""
        return self.merging.enabled and bool(self.ledger.waiting) and self.lock(now) is None

    def merge_waiting(self, now: Millis) -> None:
        """Merge what waits, in the order in which it came, if nobody holds the lock."""
        if not self.has_work(now):
            return
        for waiting in sorted(self.ledger.waiting.values(), key=lambda version: version.number):
            self._merge_waiting_one(waiting, now)

    def _merge_waiting_one(self, waiting: Version, now: Millis) -> None:
        try:
            content = self._version_content(waiting)
        except DamagedVersion:
            content = None
        except OSError as problem:
            self._log.warn(
                "{file} from {client} cannot be read now, and goes on waiting to be merged in {project}: {problem}",
                file=waiting.file.value,
                client=str(waiting.client),
                project=str(self._name),
                problem=problem,
            )
            return
        seen = self._see(waiting.file, now)
        head = self._head_content(waiting.file) if seen else None
        later = seen is None or waiting.time >= self.ledger.newest[waiting.file].time
        merged = None
        if content is not None and is_well_formed(waiting.file, content):
            merged = self._merged(waiting.file, waiting.base, head, content, upload_is_later=later)
        if merged is None:
            self._tell_unmergeable(waiting.file, waiting.client)
            self._add(Settled(waiting, merged=False))
        else:
            self._advance_merged(waiting, merged, seen, now)

    def _merged(
        self, file: FileName, base: int | None, head: bytes | None, upload: bytes, *, upload_is_later: bool
    ) -> bytes | None:
        if head is None:
            return upload
        version = self._find(base) if base is not None else None
        return merge(
            file,
            self._content_or_none(version) if version else None,
            head,
            upload,
            upload_is_later=upload_is_later,
            max_bytes=self.merging.max_bytes,
        )

    def _advance_merged(self, kept: Version, merged: bytes, seen: Seen | None, now: Millis) -> Head:
        parents = (seen.head.version, kept.number) if seen else (kept.number,)
        # Where it adds nothing to the head, it is a new one all the same: by its mtime the client will download it.
        version = self._new(kept.file, digest(merged), len(merged), Kind.MERGED, now)
        version = evolve(version, client=kept.client, base=kept.base, parents=parents)
        head = self._advance(self._with_next_mtime(version, seen), merged)
        self._log.info(
            "Merged {parents} of {file} of {project} into version {n}",
            parents=" and ".join(map(str, parents)),
            file=kept.file.value,
            project=str(self._name),
            n=head.version,
        )
        return head

    def _tell_unmergeable(self, file: FileName, client: ClientId | None) -> None:
        self._log.warn(
            "{file} of {project} from {client} was not merged: it, or the head, is not what the plugin writes, or the "
            "merge would be too large. Both are in history",
            file=file.value,
            client=str(client),
            project=str(self._name),
        )

    # History

    def history(self, file: FileName, now: Millis, taking_in: bool = True) -> tuple[Version, ...]:
        """See `Store`, and `_see` for `taking_in`."""
        self._see(file, now, taking_in=taking_in)
        return tuple(version for version in reversed(self.versions()) if version.file is file)

    def kept(self, number: int) -> Kept | None:
        """See `Store`."""
        version = self._find(number)
        content = self._version_content(version) if version else None
        return Kept(version, content) if version and content is not None else None

    def restore(self, restore: Restore, now: Millis) -> Accepted | Refusal:
        """See `Store`."""
        permit = self.permit(restore.client, restore.token, now)
        if not isinstance(permit, Granted):
            return permit
        kept = self.kept(restore.version)
        if kept is None or kept.version.file is not restore.file:
            raise VersionUnknown
        old = kept.version
        seen = self._surely_seen(restore.file, old.sha256, now)
        if seen and seen.sha256 == old.sha256:
            return Accepted(seen.head)
        version = self._new(restore.file, old.sha256, old.size, Kind.RESTORED, now)
        version = evolve(version, client=restore.client, parents=(old.number,))
        return Accepted(self._advance(self._with_next_mtime(version, seen), kept.content))

    def prunable(self, retention: Retention, now: Millis) -> tuple[Version, ...]:
        """See `Store`."""
        versions = self.versions()
        # A new head has to be later than every one before it.
        latest = {
            version.number
            for version in versions
            if version.place is Place.HEAD and version.mtime == self.ledger.latest_mtime.get(version.file)
        }
        protected = self._protected(now) | latest
        return prunable(versions, protected, self.ledger.unmerged, now, retention)

    def prune(self, retention: Retention, now: Millis, limit: int) -> tuple[Version, ...]:
        """See `Store`."""
        versions = self.prunable(retention, now)[:limit]
        self._remove(versions)
        return versions

    def _protected(self, now: Millis) -> set[int]:
        """The numbers of the versions that somebody still needs; the last one, since a number never comes again."""
        ledger = self.ledger
        waiting = tuple(ledger.waiting.values())
        expected = [
            base for client, _, base in ledger.bases() if now - ledger.last_seen[client] < _BASE_KEPT_FOR
        ]
        return {
            ledger.last_number,
            *(version.number for version in (*ledger.newest.values(), *waiting)),
            *(version.base for version in waiting if version.base is not None),
            *(version.number for base in expected for version in base.known),
        }

    # Versions

    def _new(self, file: FileName, sha256: str, size: int, kind: Kind, now: Millis) -> Version:
        number = self.ledger.last_number + 1
        return Version(number, file, sha256, size, time=now, mtime=now, client=None, kind=kind, base=None)

    def _with_next_mtime(self, version: Version, seen: Seen | None) -> Version:
        """Later than any mtime that a head of the file has had."""
        latest = self.ledger.latest_mtime.get(version.file)
        last = [mtime for mtime in (latest, seen.head.mtime if seen else None) if mtime is not None]
        return evolve(
            version, mtime=Millis(max(version.time, *(mtime + 1 for mtime in last))) if last else version.time
        )

    def _find(self, number: int) -> Version | None:
        newest = self.ledger.newest.values()
        known = next((version for version in newest if version.number == number), None)
        return known or next((version for version in self.versions() if version.number == number), None)

    def _content_or_none(self, version: Version) -> bytes | None:
        """The content of a version; None if it is not to be had, be it a bad disk that keeps it back."""
        try:
            return self._version_content(version)
        except (DamagedVersion, OSError):
            return None
