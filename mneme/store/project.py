"""The steps of a project, whatever it is kept in: what becomes of an upload, and what a client is known to have.

A holder's upload that was made from the head becomes the head. One that was made from an older version, its base, is
kept beside the head, and both are merged. One that is refused for its lock is kept, too, and waits to be merged until
nobody holds the lock.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeAlias

from attrs import evolve, frozen
from twisted.logger import Logger

from mneme import bases, leases
from mneme.bases import Candidate, Evidence
from mneme.errors import DamagedVersion, FileTooLarge, KeyReused
from mneme.merge import is_well_formed, merge
from mneme.merge.bounds import fits
from mneme.model import (
    NOT_THERE,
    SLACK,
    Accepted,
    Append,
    Appended,
    AtHand,
    Changed,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Place,
    Precondition,
    ProjectId,
    Reader,
    Receipt,
    Released,
    Rescued,
    Restore,
    Served,
    StaleToken,
    TwoPlaces,
    Unmodified,
    Unnamed,
    Upload,
    Version,
    VersionContent,
    digest,
)
from mneme.retention import EARLIEST, Retention, prunable
from mneme.store import nothing
from mneme.store.ledger import Base, BaseKnown, Entry, Ledger, Listed, LockGranted, Settled

_BASE_KEPT_FOR = Millis(30 * 24 * 60 * 60 * 1000)
"""For how long a client that was not seen again is expected back, with the base that it had."""

_PULL_WITHIN = Millis(60 * 1000)
"""How long after its acquire a pull asks for its list at most: the stock client gives up a request after 43.5 s. What
comes later is another's, or the pull's process has died."""

_SEEN_EVERY = Millis(24 * 60 * 60 * 1000)
"""How often at least it is noted that a client is still there."""

Refusal: TypeAlias = HeldBy | NotLocked | StaleToken


class Project(ABC):
    """The steps of `Store` for one project, for one caller at a time.

    What is abstract is where and how things are kept. Each of these methods either does what it says, durably, or
    raises and has changed nothing.
    """

    _log = Logger()
    _name: ProjectId
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
    ) -> Head | None:
        """Look at a head. What lies there without being a version of ours becomes one, and stays as it lies.

        Without `taking_in`, for when there is no space for it, it is seen as version 0. If `trusting`, a head that
        looks as it did is not read again.
        """

    @abstractmethod
    def _head_content(self, file: FileName) -> bytes | None:
        """What lies at a head."""

    @abstractmethod
    def _content(self, version: Version) -> bytes | None:
        """The content of a version; None if it is no more, `DamagedVersion` if it is not as it was accepted."""

    @abstractmethod
    def _advance(self, version: Version, content: bytes) -> Head:
        """Commit a version, and make it the head."""

    @abstractmethod
    def _keep_beside(self, version: Version, content: bytes) -> None:
        """Commit a version, and leave the head alone."""

    @abstractmethod
    def _add(self, entry: Entry) -> None:
        """Take an entry into the ledger, durably."""

    @abstractmethod
    def _jot(self, entry: Entry) -> None:
        """Take an entry into the ledger that a power cut may take back, though no crash of the server."""

    @abstractmethod
    def _remove(self, versions: tuple[Version, ...]) -> None:
        """Remove the contents of versions, which are none any more without."""

    @abstractmethod
    def _tidy(self) -> None:
        """Forget what is known of versions that are none any more, and whatever says nothing more."""

    @abstractmethod
    def versions(self) -> tuple[Version, ...]:
        """See `Store`."""

    # Locks

    def lock(self, now: Millis) -> Lock | None:
        """See `Store`."""
        return leases.current(self.last_lock(), now)

    def acquire(self, client: ClientId, now: Millis, ttl: Millis) -> Granted | HeldBy:
        """See `Store`."""
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
        return tuple(head for head in seen if head)

    def stock_heads(self, now: Millis, taking_in: bool = True, *, again: bool = False) -> tuple[Head, ...]:
        """See `Store`, and `_see` for `taking_in`."""
        heads = self.heads(now, taking_in)
        pull = self._pull_expected(now, again)
        if pull is None:
            return tuple(evolve(head, mtime=Millis(0)) for head in heads)
        client, listed = pull
        if taking_in:
            self._jot(listed)
        return tuple(self._as_told_to(client, head, now) for head in heads)

    def _as_told_to(self, client: ClientId, head: Head, now: Millis) -> Head:
        """The head as a pull of the client is told of it.

        A client that pushes its own base while the head is another is told a later time: the clock of its machine is
        ahead, and its files are newer than the true mtime. Where the clock of the server was ahead, a client that has
        the head already is told an earlier time, lest it fetch that and lose what is newer.
        """
        base = self.ledger.base(client, head.file)
        if base.lacking is not None and not _is_to_come(base.lacking, now):
            return evolve(head, mtime=max(head.mtime, base.lacking))
        has_it = base.sure is not None and base.sure.sha256 == head.sha256
        return evolve(head, mtime=Millis(0)) if has_it and head.mtime > now else head

    def _pull_expected(self, now: Millis, again: bool) -> tuple[ClientId, Listed] | None:
        """The client that has just acquired the lock, and whose pull has yet to ask for its list."""
        lock = self.lock(now)
        if lock is None or lock.last_acquired_at is None or now - lock.last_acquired_at > _PULL_WITHIN:
            return None
        listed = Listed(lock.token, lock.last_acquired_at)
        # Asked for again, it is that of the pull which has had it already.
        return (lock.client, listed) if (listed == self.ledger.listed) == again else None

    def read(self, file: FileName, now: Millis, taking_in: bool = True) -> Document | None:
        """See `Store`, and `_see` for `taking_in`."""
        seen = self._see(file, now, taking_in=taking_in)
        content = self._head_content(file) if seen else None
        return Document(seen, content) if seen and content is not None else None

    def download(
        self,
        file: FileName,
        reader: Reader,
        now: Millis,
        taking_in: bool = True,
        *,
        unless: Precondition | None = None,
        at_hand: Callable[[str], bytes | None] = nothing,
    ) -> Served | AtHand | Unmodified | None:
        """See `Store`, and `_see` for `taking_in`."""
        head = self._see(file, now, taking_in=taking_in)
        if head is None:
            return None
        client = self._named_by(reader, now)
        newest = self.ledger.newest.get(file)
        version = newest if client and newest and newest.number == head.version and taking_in else None
        if unless and unless.holds(head):
            if client and version:
                self._note_shown(client, version, unless, now)
            return Unmodified(head)
        found = at_hand(head.sha256)
        content = self._head_content(file) if found is None else found
        if content is None:
            return None
        receipt = self._note_sent(client, version, now) if client and version else None
        return Served(Document(head, content), receipt) if found is None else AtHand(head, found, receipt)

    def _named_by(self, reader: Reader, now: Millis) -> ClientId | None:
        """The client that reads; of a stock download, whoever has just acquired the lock."""
        if reader is not Unnamed.STOCK:
            return reader if isinstance(reader, ClientId) else None
        lock = self.lock(now)
        if lock:
            return lock.client
        last = self.ledger.last_lock
        # Another session of the same machine has given the lock away meanwhile.
        return last.client if last and 0 <= now - last.time <= _PULL_WITHIN else None

    def _note_sent(self, client: ClientId, version: Version, now: Millis) -> Receipt | None:
        """Take note that a client is about to be sent a version; the receipt, if that is news."""
        before = self.ledger.base(client, version.file)
        self._note_base(client, version.file, before.with_sent(version), now)
        return None if before.has(version.number) else Receipt(client, version.file, version.number)

    def _note_shown(self, client: ClientId, newest: Version, unless: Precondition, now: Millis) -> None:
        """Take note of what a client says that it has; of several contents, any may be the one it works on."""
        if unless.names_only(newest.sha256):
            self._note_base(client, newest.file, Base.of(newest), now)
        elif unless.names(newest.sha256):
            before = self.ledger.base(client, newest.file)
            self._note_base(client, newest.file, before.with_sent(newest), now)

    def confirm(self, receipt: Receipt, now: Millis) -> None:
        """See `Store`."""
        base = self.ledger.base(receipt.client, receipt.file)
        self._note_base(receipt.client, receipt.file, base.with_received(receipt.version), now)

    def doubt(self, receipt: Receipt, now: Millis) -> None:
        """See `Store`."""
        base = self.ledger.base(receipt.client, receipt.file)
        self._note_base(receipt.client, receipt.file, base.without_received(receipt.version), now)

    # Uploads

    def permit(self, client: ClientId, token: int | None, now: Millis) -> Granted | Refusal:
        """Whether a client may write now."""
        return leases.permit(self.last_lock(), client, token, now)

    def append(self, append: Append, now: Millis) -> Accepted | Rescued | StaleToken | Changed:
        """See `Store`."""
        permit = self.permit(append.client, append.token, now)
        granted = isinstance(permit, Granted)
        if granted:
            self._merge_own(append, now)
        head = self._see(append.file, now)
        done = self._done_before(append, head, permit)
        if done:
            return done
        before, blind = self._extended(append, head, granted)
        if before is None:
            return Changed(head)
        content = _with_lines(before, append.lines)
        if not fits(content, self.merging.max_bytes):
            raise FileTooLarge(
                f"With these lines {append.file.value} would be larger than {self.merging.max_bytes} bytes, which no "
                "stock client can download: upload it without its oldest lines"
            )
        only_if = NOT_THERE if granted and head is None else Precondition(frozenset({digest(before)}))
        appended = Appended(append.key, _lines_digest(append), blind)
        return self.upload(Upload(append.file, content, append.client, append.token, only_if, appended), now)

    def _merge_own(self, append: Append, now: Millis) -> None:
        """Merge what waits of the holder of the lock, as after a crash: what it adds must not take its place."""
        for waiting in self.ledger.queue():
            if self.merging.enabled and (waiting.client, waiting.file) == (append.client, append.file):
                # Where a bad disk keeps it back, this raises: going on would leave it out of the head for good.
                self._settle_waiting(waiting, self._unspoiled(waiting), {}, now)

    def _done_before(
        self, append: Append, head: Head | None, permit: Granted | Refusal
    ) -> Accepted | Rescued | None:
        """What came of an append that has come with the same key before, if it need not be done again."""
        number = self.ledger.keyed.get((append.client, append.file, append.key or ""), 0)
        version = self._find(number) if number else None
        if version is None or version.appended is None:
            return None
        if version.appended.lines != _lines_digest(append):
            raise KeyReused
        version = self._in_its_place(version)
        if version.number not in self.ledger.unmerged:
            return Accepted(head, merged=version.number != head.version) if head else None
        if isinstance(permit, HeldBy | NotLocked) and self._unspoiled(version) is not None:
            return Rescued(permit, version.number)
        return None

    def _in_its_place(self, version: Version) -> Version:
        """The version that has taken the place of one that was waiting, if any has."""
        unmerged = self.ledger.unmerged
        if version.number in unmerged and version.number not in self.ledger.waiting:
            for later in self.versions():
                if version.number in unmerged and version.number in later.parents:
                    version = later
        return version

    def _extended(self, append: Append, head: Head | None, granted: bool) -> tuple[bytes | None, bool]:
        """What an append adds to, None if that would not be the head, and whether its client has perhaps not all of it.

        It is the head, or an older version that it names; where it is refused for the lock, rather what its client has
        waiting already, so that both are merged, and nothing if what it names is not known.
        """
        content, blind = self._named_content(append, head, granted)
        waiting = None if granted else self.ledger.waiting_of(append.client, append.file)
        kept = self._unspoiled(waiting) if waiting else None
        if waiting is None or kept is None or _holds_already(append, content, kept):
            return content, blind
        return kept, waiting.is_blind

    def _named_content(self, append: Append, head: Head | None, granted: bool) -> tuple[bytes | None, bool]:
        """The same, whatever waits."""
        if append.only_if is None or append.only_if.holds(head):
            content = self._head_content(append.file) if head else b""
        else:
            named = map(self._unspoiled, self._named(append.file, append.only_if))
            content = next((one for one in named if one is not None), None if granted else b"")
        blind = bool(content) and not self._has(append, head, digest(content or b""))
        return content, blind

    def _has(self, append: Append, head: Head | None, sha256: str) -> bool:
        """Whether the client of an append has shown that it has this content: it names it, or had the head last."""
        if append.only_if and append.only_if.names_only(sha256):
            return True
        base = self.ledger.base(append.client, append.file)
        return head is not None and head.sha256 == sha256 and base.has(head.version)

    def _named(self, file: FileName, only_if: Precondition) -> Iterator[Version]:
        """The versions of a file with a content that a precondition names, the newest first."""
        newest = self.ledger.newest.get(file)
        if newest and only_if.names(newest.sha256):
            yield newest
        yield from (
            one for one in reversed(self.versions()) if one.file is file and only_if.names(one.sha256)
        )

    def upload(self, upload: Upload, now: Millis) -> Accepted | Rescued | StaleToken | Changed:
        """See `Store`."""
        match self.permit(upload.client, upload.token, now):
            case Granted():
                return self._accept(upload, now)
            case StaleToken() as stale:
                return stale
            case refusal:
                return self._rescue(upload, refusal, now)

    def _accept(self, upload: Upload, now: Millis) -> Accepted | Changed:
        seen = self._surely_seen(upload.file, upload.sha256, now)
        # By a clock that was wrong a head may have a time to come, which its like that comes now puts right.
        if seen and not _is_to_come(seen.mtime, now) and self._is_head(upload, seen, now):
            return Accepted(seen)
        basis = self._basis_of(upload)
        if seen and self._repeated(upload, seen, basis, now):
            return Accepted(seen, merged=True)
        if upload.only_if and not upload.only_if.holds(seen):
            return Changed(seen)
        self._tell_unrelated(upload, basis)
        if seen is None or not self.merging.enabled or self._is_of_head(upload, seen):
            return self._become_head(upload, basis, seen, now)
        return self._accept_merged(upload, basis, seen, now)

    def _accept_merged(self, upload: Upload, basis: "_Basis", seen: Head, now: Millis) -> Accepted:
        """Merge an upload with the head, which is the upload itself if it was made from that."""
        is_of_head = basis.version is not None and basis.version.number == seen.version
        head = basis.content if is_of_head else self._head_content(upload.file)
        before = basis.removable(upload.file, upload.content)
        if is_of_head and before == head:
            return self._become_head(upload, basis, seen, now)
        merged = self._merged(upload.file, before, head, upload.content, upload_is_later=True)
        if merged in (None, upload.content):
            accepted = self._become_head(upload, basis, seen, now)
            if merged is None:
                self._tell_unmerged(upload.file, upload.client, accepted.head.version, "it replaces the head")
            return accepted
        kept = self._keep_upload(upload, Kind.UPLOAD, Place.WAITING, basis, now)
        return Accepted(self._advance_merged(kept, merged, seen, now), merged=True)

    def _rescue(self, upload: Upload, refusal: HeldBy | NotLocked, now: Millis) -> Rescued:
        """Keep an upload that was refused for its lock."""
        waits = next((one for one in self.ledger.waiting.values() if self._is_of(one, upload)), None)
        if waits:
            return Rescued(refusal, waits.number)
        seen = self._surely_seen(upload.file, upload.sha256, now)
        if seen and self._is_head(upload, seen, now):
            return Rescued(refusal, seen.version)
        basis = self._basis_of(upload)
        repeated = self._repeated(upload, seen, basis, now) if seen else None
        if repeated:
            return Rescued(refusal, repeated.number)
        self._tell_unrelated(upload, basis)
        place = Place.WAITING if self.merging.enabled else Place.BESIDE
        kept = self._keep_upload(upload, Kind.RESCUED, place, basis, now)
        self._log.info(
            "Kept {file} of {project} from {client}, which does not hold the lock, as version {n}",
            file=upload.file.value,
            project=str(self._name),
            client=str(upload.client),
            n=kept.number,
        )
        return Rescued(refusal, kept.number)

    def _surely_seen(self, file: FileName, sha256: str, now: Millis) -> Head | None:
        """Look at a head; be sure before something is called identical to it, for nothing will be written then."""
        seen = self._see(file, now)
        return self._see(file, now, trusting=False) if seen and seen.sha256 == sha256 else seen

    def _is_head(self, upload: Upload, seen: Head, now: Millis) -> bool:
        """Whether an upload is the head already; then its client has that, and nothing else of it waits."""
        head = self._find(seen.version) if seen.sha256 == upload.sha256 else None
        if head:
            self._note_repeated(upload, self._replaced_by(upload)[0], Base.of(head), now)
        return head is not None

    def _repeated(self, upload: Upload, seen: Head, basis: "_Basis", now: Millis) -> Version | None:
        """The version that an upload repeats: its base, or an earlier upload of its client.

        The client has changed nothing then, and lacks the head.
        """
        if not self.merging.enabled or self._is_of_head(upload, seen) or seen.sha256 == upload.sha256:
            return None
        repeated = basis.version if basis.content == upload.content else None
        if repeated is None and basis.names_base:
            # Where the answer was lost, an upload comes again and names the base that it had before.
            known = self.ledger.base(upload.client, upload.file).left
            repeated = next((version for version in known if self._holds(version, upload.sha256)), None)
        if repeated:
            self._note_repeated(upload, basis.replaces, Base.of(repeated, lacking=now), now)
        return repeated

    def _is_of(self, waiting: Version, upload: Upload) -> bool:
        """Whether an upload waits already."""
        same = (waiting.client, waiting.file) == (upload.client, upload.file)
        return same and self._holds(waiting, upload.sha256)

    def _holds(self, version: Version, sha256: str) -> bool:
        """Whether a version has this content, and has it still: an edit in place may have spoiled it."""
        return version.sha256 == sha256 and self._content_or_none(version) is not None

    def _note_repeated(self, upload: Upload, replaced: Version | None, base: Base, now: Millis) -> None:
        """Take note of what a client has, for it has just sent it; what waits of it is out of date then."""
        if replaced:
            self._add(Settled(replaced, merged=False))
        self._note_base(upload.client, upload.file, base, now)

    def _note_base(self, client: ClientId, file: FileName, base: Base, now: Millis) -> None:
        """Take note of a base that is another now, or is so again; and at times that its client is still there."""
        unseen = now - self.ledger.last_seen.get(client, Millis(0))
        news = base != self.ledger.base(client, file) or self.ledger.waiting_of(client, file) is not None
        if news or unseen > _SEEN_EVERY:
            self._jot(BaseKnown(client, file, base, now))

    def _is_of_head(self, upload: Upload, seen: Head) -> bool:
        """Whether the client says that it made an upload from what is the head, which holds all that it sent."""
        named = upload.only_if is not None and upload.only_if.names(seen.sha256)
        return named and self.ledger.waiting_of(upload.client, upload.file) is None

    def _basis_of(self, upload: Upload) -> "_Basis":
        """The version that an upload was made from, as far as can be known.

        An upload that takes the place of a waiting one has the base of that one: what has never been merged is no base.
        """
        if not self.merging.enabled:
            return self._named_basis_of(upload) or _Basis(self.ledger.base(upload.client, upload.file).sure)
        waiting, is_stranger = self._replaced_by(upload)
        if waiting:
            return self._basis_in_place_of(waiting, upload)
        basis = self._own_basis_of(upload)
        return evolve(basis, is_unrelated=True) if is_stranger else basis

    def _replaced_by(self, upload: Upload) -> tuple[Version | None, bool]:
        """The waiting upload whose place this one takes, or whether it shares nothing with one."""
        waiting = self.ledger.waiting_of(upload.client, upload.file) if self.merging.enabled else None
        if waiting is None:
            return None, False
        kept = self._content_or_none(waiting)
        if kept is None or self._continues(waiting, kept, upload):
            return waiting, False
        return None, bases.share_nothing(upload.file, kept, upload.content)

    def _continues(self, waiting: Version, kept: bytes, upload: Upload) -> bool:
        """Whether an upload was made from a waiting one: it looks so, or both name their bases."""
        if not bases.share_nothing(upload.file, kept, upload.content):
            return bases.continues(upload.file, kept, upload.content)
        return waiting.names_base and _names_base(upload)

    def _basis_in_place_of(self, waiting: Version, upload: Upload) -> "_Basis":
        """The base of the upload that waits, which this one takes the place of."""
        if waiting.is_blind and not upload.appended:
            # A blind append was made from what its client may not have, which says nothing of another upload.
            return evolve(self._own_basis_of(upload), replaces=waiting)
        version = self._find(waiting.base) if waiting.base is not None else None
        content = self._content_or_none(version) if version else None
        return _Basis(version, content, names_base=waiting.names_base, replaces=waiting)

    def _own_basis_of(self, upload: Upload) -> "_Basis":
        """The version that an upload was made from, whatever waits."""
        named = self._named_basis_of(upload)
        if named:
            return named
        base = self.ledger.base(upload.client, upload.file)
        candidates: list[Candidate] = []
        for version in base.left:
            content = self._content_or_none(version)
            if content is None:
                # What is newer could be taken for the base by what this one had in it.
                break
            received = version.number in base.received
            candidates.append(Candidate(content, Evidence.RECEIVED if received else Evidence.SENT))
        choice = bases.choose(upload.file, candidates, upload.content)
        if choice.index is None:
            return _Basis(is_unrelated=choice.is_unrelated)
        return _Basis(base.left[choice.index], candidates[choice.index].content)

    def _named_basis_of(self, upload: Upload) -> "_Basis | None":
        """The version that an upload names as its base; None if it names none, or several."""
        if upload.only_if is None or not _names_base(upload):
            return None
        named = self._named(upload.file, upload.only_if)
        version = next((one for one in named if one.number not in self.ledger.unmerged), None)
        return _Basis(version, self._content_or_none(version) if version else None, names_base=True)

    def _become_head(self, upload: Upload, basis: "_Basis", seen: Head | None, now: Millis) -> Accepted:
        version = self._of_upload(upload, Kind.UPLOAD, Place.HEAD, basis, now)
        return Accepted(self._advance(self._with_next_mtime(version, seen), upload.content))

    def _keep_upload(self, upload: Upload, kind: Kind, place: Place, basis: "_Basis", now: Millis) -> Version:
        version = self._of_upload(upload, kind, place, basis, now)
        self._keep_beside(version, upload.content)
        return version

    def _of_upload(self, upload: Upload, kind: Kind, place: Place, basis: "_Basis", now: Millis) -> Version:
        version = self._new(upload.file, upload.sha256, len(upload.content), kind, now)
        return evolve(
            version,
            client=upload.client,
            base=basis.version.number if basis.version else None,
            parents=(basis.replaces.number,) if basis.replaces else (),
            place=place,
            appended=upload.appended,
            names_base=basis.names_base and basis.version is not None,
            is_unrelated=basis.is_unrelated,
        )

    # Merging

    def has_work(self, now: Millis) -> bool:
        """Whether uploads wait, and nobody holds the lock."""
        return self.merging.enabled and bool(self.ledger.waiting) and self.lock(now) is None

    def merge_waiting(self, now: Millis) -> None:
        """Merge what waits, in the order in which it came, if nobody holds the lock."""
        if not self.has_work(now):
            return
        times: dict[int, Millis] = {}
        for waiting in self.ledger.queue():
            self._merge_waiting_one(waiting, times, now)

    def _merge_waiting_one(self, waiting: Version, times: dict[int, Millis], now: Millis) -> None:
        """Merge one upload; see `_settle_waiting` for `times`."""
        try:
            content = self._unspoiled(waiting)
        except OSError as problem:
            self._log.warn(
                "Version {n} of {file} of {project} cannot be read now, and goes on waiting to be merged: {problem}",
                n=waiting.number,
                file=waiting.file.value,
                project=str(self._name),
                problem=problem,
            )
            return
        self._settle_waiting(waiting, content, times, now)

    def _settle_waiting(
        self, waiting: Version, content: bytes | None, times: dict[int, Millis], now: Millis
    ) -> None:
        """Merge one upload, or leave it in history if that cannot be done.

        `times` has when the newest upload in each head came that was just merged.
        """
        seen = self._see(waiting.file, now)
        head = self._head_content(waiting.file) if seen else None
        newest = self.ledger.newest.get(waiting.file) if seen else None
        head_came = times.get(newest.number, newest.time) if newest else waiting.time
        merged = None
        if content is not None and is_well_formed(waiting.file, content):
            base = self._find(waiting.base) if waiting.base is not None else None
            before = self._content_or_none(base) if base else None
            basis = _Basis(base, before, names_base=waiting.names_base)
            merged = self._merged(
                waiting.file,
                basis.removable(waiting.file, content),
                head,
                content,
                upload_is_later=waiting.time >= head_came,
            )
        if merged is None:
            self._add(Settled(waiting, merged=False))
            self._tell_unmerged(waiting.file, waiting.client, waiting.number, "the head stays as it is")
            return
        made = self._advance_merged(waiting, merged, seen, now)
        times[made.version] = max(waiting.time, head_came)

    def _merged(
        self,
        file: FileName,
        base: bytes | None,
        head: bytes | None,
        upload: bytes,
        *,
        upload_is_later: bool,
    ) -> bytes | None:
        if head is None:
            return upload
        return merge(
            file,
            base,
            head,
            upload,
            upload_is_later=upload_is_later,
            max_bytes=self.merging.max_bytes,
        )

    def _advance_merged(self, kept: Version, merged: bytes, seen: Head | None, now: Millis) -> Head:
        parents = (seen.version, kept.number) if seen else (kept.number,)
        # Where it adds nothing to the head, it is a new one all the same: by its mtime the client will download it.
        version = self._new(kept.file, digest(merged), len(merged), Kind.MERGED, now)
        version = evolve(version, client=kept.client, base=kept.base, parents=parents)
        head = self._advance(self._with_next_mtime(version, seen), merged)
        self._log.info(
            "Merged {kept}, from {client}, into {file} of {project}: version {n}, made of {parents}",
            kept=kept.number,
            client=str(kept.client),
            file=kept.file.value,
            project=str(self._name),
            n=head.version,
            parents=" and ".join(map(str, parents)),
        )
        return head

    def _tell_unrelated(self, upload: Upload, basis: "_Basis") -> None:
        """Say that an upload shares nothing with what its client had, so that both stay."""
        if basis.is_unrelated:
            self._log.warn(
                "{file} of {project} from {client} has nothing in common with what that client had before, so both "
                "stay. This id seems to be used in two places: if two folders there share it, remove sync.projectId; "
                "if the machine was cloned, remove its ~/.claude-mneme/.client-id",
                file=upload.file.value,
                project=str(self._name),
                client=str(upload.client),
            )

    def _tell_unmerged(self, file: FileName, client: ClientId | None, number: int, so: str) -> None:
        self._log.warn(
            "Version {n} of {file} of {project}, from {client}, was not merged, and {so}: one of them is not what the "
            "plugin writes, or both are too large together",
            n=number,
            file=file.value,
            project=str(self._name),
            client=str(client),
            so=so,
        )

    # History

    def history(self, file: FileName, now: Millis, taking_in: bool = True) -> tuple[Version, ...]:
        """See `Store`, and `_see` for `taking_in`."""
        self._see(file, now, taking_in=taking_in)
        return tuple(version for version in reversed(self.versions()) if version.file is file)

    def version(self, number: int) -> VersionContent | None:
        """See `Store`."""
        version = self._find(number)
        content = self._content(version) if version else None
        return VersionContent(version, content) if version and content is not None else None

    def restore(self, restore: Restore, now: Millis) -> Accepted | Refusal | None:
        """See `Store`."""
        permit = self.permit(restore.client, restore.token, now)
        if not isinstance(permit, Granted):
            return permit
        found = self.version(restore.version)
        if found is None or found.version.file is not restore.file:
            return None
        old = found.version
        seen = self._surely_seen(restore.file, old.sha256, now)
        if seen and seen.sha256 == old.sha256:
            return Accepted(seen)
        version = self._new(restore.file, old.sha256, old.size, Kind.RESTORED, now)
        version = evolve(version, client=restore.client, parents=(old.number,))
        head = self._advance(self._with_next_mtime(version, seen), found.content)
        self._log.info(
            "Restored version {old} of {file} of {project} for {client}: version {n}",
            old=old.number,
            file=restore.file.value,
            project=str(self._name),
            client=str(restore.client),
            n=head.version,
        )
        return Accepted(head)

    def in_two_places(self) -> tuple[TwoPlaces, ...]:
        """The clients that seem to use the id of the project in two places."""
        return tuple(
            TwoPlaces(self._name, client, version.file, version.time)
            for client, version in self.ledger.strangers.items()
        )

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
        if len(versions) < limit:
            self._tidy()
        return versions

    def _protected(self, now: Millis) -> set[int]:
        """The numbers of the versions that somebody still needs; the last one, since a number never comes again."""
        ledger = self.ledger
        waiting = tuple(ledger.waiting.values())
        expected = [
            base
            for client, _, base in ledger.bases()
            if now - ledger.last_seen[client] < _BASE_KEPT_FOR or ledger.last_seen[client] < EARLIEST
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

    def _with_next_mtime(self, version: Version, seen: Head | None) -> Version:
        """Later than any mtime that a head of the file has had, but for those of a clock that was wrong."""
        latest = self.ledger.latest_mtime.get(version.file)
        told = (latest, seen.mtime if seen else None)
        last = [mtime + 1 for mtime in told if mtime is not None and not _is_to_come(mtime, version.time)]
        return evolve(version, mtime=Millis(max(version.time, *last)) if last else version.time)

    def _find(self, number: int) -> Version | None:
        newest = self.ledger.newest.values()
        known = next((version for version in newest if version.number == number), None)
        return known or next((version for version in self.versions() if version.number == number), None)

    def _unspoiled(self, version: Version) -> bytes | None:
        """The content of a version; None if it is as lost, and not if a bad disk only keeps it back."""
        try:
            return self._content(version)
        except DamagedVersion:
            return None

    def _content_or_none(self, version: Version) -> bytes | None:
        """The content of a version; None if it is not to be had, be it a bad disk that keeps it back."""
        try:
            return self._content(version)
        except (DamagedVersion, OSError):
            return None


@frozen
class _Basis:
    """The version that an upload was made from, with its content, and what else is known of it.

    None where it is not known. `names_base` is whether the client itself said so, `replaces` the waiting upload whose
    place the upload takes, `is_unrelated` whether it shares nothing with what its client had.
    """

    version: Version | None = None
    content: bytes | None = None
    names_base: bool = False
    replaces: Version | None = None
    is_unrelated: bool = False

    def removable(self, file: FileName, upload: bytes) -> bytes | None:
        """The part of the content from which the upload can have removed what it lacks."""
        if self.content is None or self.names_base:
            return self.content
        return bases.removable(file, self.content, upload)


def _names_base(upload: Upload) -> bool:
    """Whether an upload says which content it was made from."""
    return (
        upload.only_if is not None and upload.only_if.digests is not None and len(upload.only_if.digests) == 1
    )


def _is_to_come(mtime: Millis, now: Millis) -> bool:
    """Whether an instant lies so far in the future that a wrong clock must have told it."""
    return mtime > now + SLACK


def _lines_digest(append: Append) -> str:
    return digest(_with_lines(b"", append.lines))


def _holds_already(append: Append, content: bytes | None, waiting: bytes) -> bool:
    """Whether an append to a content that it names has all lines again that wait: it was never told of them."""
    if content is None or append.only_if is None or not append.only_if.names(digest(content)):
        return False
    return _with_lines(content, append.lines).startswith(waiting)


def _with_lines(content: bytes, added: bytes) -> bytes:
    """A content with lines at its end, each on a line of its own."""
    return b"".join(part if part.endswith(b"\n") else part + b"\n" for part in (content, added) if part)
