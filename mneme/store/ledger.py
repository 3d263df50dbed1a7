"""What the history of a project comes to: heads, bases, waiting uploads. Its entries are taken one by one, in order.

Nothing here reads a clock or a disk. The journal keeps the entries; a ledger that takes them again is the same.
"""

from collections.abc import Container, Iterable, Iterator
from typing import TypeAlias

from attrs import evolve, frozen

from mneme.model import ClientId, FileName, Kind, Lock, Millis, Place, Version

MAX_WAITING = 64
"""How many uploads of a project wait to be merged; with one more, the oldest waits no longer and stays in history."""

MAX_CANDIDATES = 16
"""How many candidates a base has; of more, the newest are kept."""


@frozen
class LockGranted:
    """A lock was newly granted, so that its token is never given again."""

    token: int
    client: ClientId
    time: Millis

    @classmethod
    def of(cls, lock: Lock) -> "LockGranted":
        """The entry for a lock."""
        return cls(lock.token, lock.client, lock.acquired_at)


@frozen
class Listed:
    """The list that a stock client asks for when it pulls was answered, for this acquire of this lock."""

    token: int
    acquired_at: Millis


@frozen
class Settled:
    """A waiting upload waits no longer: it has been `merged`, or it never will be, and stays in history."""

    version: Version
    merged: bool


@frozen
class Base:
    """Which version of a file a client last had.

    `sure` is what it is known to have had; each of the `candidates`, oldest first, may have taken its place. Those
    whose numbers are in `received` were asked for as a pull does, while the client held the lock, and sent to the end.
    """

    sure: Version | None = None
    candidates: tuple[Version, ...] = ()
    received: frozenset[int] = frozenset()

    @property
    def known(self) -> tuple[Version, ...]:
        """All that it can be, oldest first."""
        return (self.sure, *self.candidates) if self.sure else self.candidates

    def is_sure_of(self, number: int) -> bool:
        """Whether the client is known to have had this version."""
        return self.sure is not None and self.sure.number == number

    def is_surely(self, number: int) -> bool:
        """Whether it can be this version and no other."""
        return self.is_sure_of(number) and not self.candidates

    def among(self, numbers: Container[int]) -> "Base":
        """The same, as far as it can be one of these versions."""
        sure = self.sure if self.sure and self.sure.number in numbers else None
        candidates = tuple(version for version in self.candidates if version.number in numbers)
        return Base(sure, candidates, frozenset(number for number in self.received if number in numbers))

    def with_candidate(self, version: Version) -> "Base":
        """The same, and it may also be this version."""
        if any(version.number == one.number for one in self.known):
            return self
        candidates = (*self.candidates, version)[-MAX_CANDIDATES:]
        return evolve(self, candidates=candidates).among(
            {one.number for one in (self.sure, *candidates) if one}
        )

    def with_received(self, number: int) -> "Base":
        """The same, and this candidate was received."""
        if all(version.number != number for version in self.candidates):
            return self
        return evolve(self, received=self.received | {number})


@frozen
class BaseKnown:
    """What a client's base of a file is from now on."""

    client: ClientId
    file: FileName
    base: Base
    time: Millis


Entry: TypeAlias = Version | LockGranted | Listed | BaseKnown | Settled


class Ledger:
    """The state of a project's history."""

    def __init__(self) -> None:
        self.newest: dict[FileName, Version] = {}
        """The newest version of each file that became its head."""
        self.latest_mtime: dict[FileName, Millis] = {}
        """The latest mtime that any head of a file has had; an older file may have been put back by hand."""
        self.waiting: dict[tuple[ClientId, FileName], Version] = {}
        """The uploads that are yet to be merged, the newest of each client and file."""
        self.unmerged: set[int] = set()
        """The numbers of the versions whose content was never part of a head."""
        self.overtaken: set[int] = set()
        """The numbers of the waiting uploads whose clients have been sent something else since."""
        self.last_number = 0
        self.last_token = 0
        self.last_lock: LockGranted | None = None
        self.listed: Listed | None = None
        self.last_seen: dict[ClientId, Millis] = {}
        self._bases: dict[tuple[ClientId, FileName], Base] = {}

    def base(self, client: ClientId, file: FileName) -> Base:
        """What is known of the client's base."""
        return self._bases.get((client, file), Base())

    def bases(self) -> Iterator[tuple[ClientId, FileName, Base]]:
        """The bases of all clients."""
        return ((client, file, base) for (client, file), base in self._bases.items())

    def number_waiting(self, number: int) -> Version | None:
        """The waiting upload of this number."""
        return next((one for one in self.waiting.values() if one.number == number), None)

    def take(self, entry: Entry) -> None:
        """Go on by one entry."""
        match entry:
            case Version():
                self._take_version(entry)
            case LockGranted(token, client, time):
                self.last_token = max(self.last_token, token)
                self.last_lock = entry
                self._see(client, time)
            case Listed():
                self.listed = entry
            case BaseKnown(client, file, base, time):
                self._bases[client, file] = base
                if (client, file) in self.waiting:
                    self.overtaken.add(self.waiting[client, file].number)
                self._see(client, time)
            case Settled(version, merged):
                self._settle(version, merged)

    def _take_version(self, version: Version) -> None:
        self.last_number = max(self.last_number, version.number)
        if version.place is Place.HEAD:
            self.newest[version.file] = version
            latest = self.latest_mtime.get(version.file, version.mtime)
            self.latest_mtime[version.file] = max(version.mtime, latest)
        if version.kind is Kind.MERGED:
            for parent in filter(None, map(self.number_waiting, version.parents)):
                self._settle(parent, merged=True)
        elif version.client is not None and version.kind in (Kind.UPLOAD, Kind.RESCUED):
            self._take_upload(version, version.client)

    def _take_upload(self, version: Version, client: ClientId) -> None:
        key = client, version.file
        self._see(client, version.time)
        self.waiting.pop(key, None)
        if version.place is Place.WAITING:
            self.waiting[key] = version
            self._bound_waiting()
        if version.place is Place.WAITING or version.kind is Kind.RESCUED:
            self.unmerged.add(version.number)
        else:
            self._bases[key] = Base(version)

    def _settle(self, version: Version, merged: bool) -> None:
        if version.client is None:
            return
        key = version.client, version.file
        if self.waiting.get(key) == version:
            del self.waiting[key]
        if merged:
            self.unmerged.discard(version.number)
            overtaken = version.number in self.overtaken
            self._bases[key] = self.base(*key).with_candidate(version) if overtaken else Base(version)
        self.overtaken.discard(version.number)

    def _bound_waiting(self) -> None:
        # An upload of the holder is about to be merged, and does not count.
        rescued = [key for key, version in self.waiting.items() if version.kind is Kind.RESCUED]
        if len(rescued) > MAX_WAITING:
            del self.waiting[min(rescued, key=lambda key: self.waiting[key].number)]

    def _see(self, client: ClientId, time: Millis) -> None:
        self.last_seen[client] = max(time, self.last_seen.get(client, time))


def compacted(ledger: Ledger, versions: Iterable[Version]) -> Iterator[Entry]:
    """The entries from which a ledger comes to the same, as far as these versions go.

    A base goes before the upload of its client that waits, unless it was told to the client after that.
    """
    kept = {version.number: version for version in versions}
    waiting = [version for version in kept.values() if ledger.number_waiting(version.number)]
    over = [version for version in kept.values() if version not in waiting]
    yield from over
    yield from (
        Settled(version, merged=version.number not in ledger.unmerged)
        for version in over
        if version.place is Place.WAITING
    )
    late = {(one.client, one.file) for one in waiting if one.number in ledger.overtaken}
    bases = [
        BaseKnown(client, file, base.among(kept), ledger.last_seen[client])
        for client, file, base in ledger.bases()
    ]
    yield from (one for one in bases if (one.client, one.file) not in late)
    yield from waiting
    yield from (one for one in bases if (one.client, one.file) in late)
    if ledger.last_lock:
        yield LockGranted(ledger.last_token, ledger.last_lock.client, ledger.last_lock.time)
    if ledger.listed:
        yield ledger.listed
