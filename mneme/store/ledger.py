"""What the history of a project comes to: heads, bases, waiting uploads. Its entries are taken one by one, in order.

Nothing here reads a clock or a disk. The journal keeps the entries; a ledger that takes them again is the same.
"""

from collections.abc import Container, Iterable, Iterator
from itertools import takewhile
from typing import TypeAlias

from attrs import evolve, frozen

from mneme.model import ClientId, FileName, Kind, Lock, Millis, Place, Version

MAX_WAITING = 64
"""How many uploads of a project wait to be merged; with one more, the oldest waits no longer and stays in history."""

MAX_CANDIDATES = 16
"""How many candidates a base has; of more, the oldest count: a base that is too old removes nothing."""


MAX_KEYS = 256
"""How many idempotency keys of a project are remembered, the newest: a client tries again within the minute."""


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
    whose numbers are in `received` were sent to the client itself, and nothing speaks against their having arrived.
    """

    sure: Version | None = None
    candidates: tuple[Version, ...] = ()
    received: frozenset[int] = frozenset()

    @property
    def known(self) -> tuple[Version, ...]:
        """All that it can be, oldest first."""
        return (self.sure, *self.candidates) if self.sure else self.candidates

    def is_surely(self, number: int) -> bool:
        """Whether it can be this version and no other."""
        return self.sure is not None and self.sure.number == number and not self.candidates

    def among(self, numbers: Container[int]) -> "Base":
        """The same, as far as it can be one of these versions.

        Past one that is missing nothing is: what is newer could be taken for the base by what that one had in it.
        """
        left = list(takewhile(lambda version: version.number in numbers, self.known))
        sure = left.pop(0) if left and left[0] == self.sure else None
        return Base(sure, tuple(left), self.received & {version.number for version in left})

    def with_candidate(self, version: Version) -> "Base":
        """The same, and it may also be this version, unless it can be many others already."""
        if len(self.candidates) >= MAX_CANDIDATES or version.number in {one.number for one in self.known}:
            return self
        return evolve(self, candidates=(*self.candidates, version))

    def with_received(self, number: int) -> "Base":
        """The same, and this candidate was received."""
        if all(version.number != number for version in self.candidates):
            return self
        return evolve(self, received=self.received | {number})

    def without_received(self, number: int) -> "Base":
        """The same, and this candidate was perhaps not received."""
        return evolve(self, received=self.received - {number})


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
        self.waiting: dict[int, Version] = {}
        """The uploads that are yet to be merged, by their numbers."""
        self.unmerged: set[int] = set()
        """The numbers of the versions whose content was never part of a head."""
        self.overtaken: set[int] = set()
        """The numbers of the waiting uploads whose clients have been sent something else since.

        What such a client uploads next does not hold what waits, and so does not take its place.
        """
        self.last_number = 0
        self.last_token = 0
        self.last_lock: LockGranted | None = None
        self.listed: Listed | None = None
        self.keyed: dict[tuple[ClientId, FileName, str], int] = {}
        """The numbers of the versions that came with an idempotency key, the newest of them."""
        self.last_seen: dict[ClientId, Millis] = {}
        self._bases: dict[tuple[ClientId, FileName], Base] = {}

    def base(self, client: ClientId, file: FileName) -> Base:
        """What is known of the client's base."""
        return self._bases.get((client, file), Base())

    def bases(self) -> Iterator[tuple[ClientId, FileName, Base]]:
        """The bases of all clients."""
        return ((client, file, base) for (client, file), base in self._bases.items())

    def queue(self) -> tuple[Version, ...]:
        """The uploads that wait, in the order in which they came."""
        return tuple(self.waiting[number] for number in sorted(self.waiting))

    def waiting_of(self, client: ClientId, file: FileName) -> Version | None:
        """The waiting upload whose place the client's next one will take."""
        its = (one for one in self.waiting.values() if (one.client, one.file) == (client, file))
        return next((one for one in its if one.number not in self.overtaken), None)

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
                if waiting := self.waiting_of(client, file):
                    self.overtaken.add(waiting.number)
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
            for parent in filter(None, map(self.waiting.get, version.parents)):
                self._settle(parent, merged=True)
        elif version.client is not None and version.kind in (Kind.UPLOAD, Kind.RESCUED):
            self._take_upload(version, version.client)

    def _take_upload(self, version: Version, client: ClientId) -> None:
        self._see(client, version.time)
        self._note_key(version, client)
        replaced = self.waiting_of(client, version.file)
        # One that is kept and no more, while merging is off, is no reason to forget what waits.
        if replaced and version.place is not Place.BESIDE:
            del self.waiting[replaced.number]
        if version.place is Place.WAITING:
            self.waiting[version.number] = version
            self._bound_waiting()
        if version.place is Place.WAITING or version.kind is Kind.RESCUED:
            self.unmerged.add(version.number)
        elif not version.is_blind:
            self._bases[client, version.file] = Base(version)

    def _settle(self, version: Version, merged: bool) -> None:
        if version.client is None:
            return
        self.waiting.pop(version.number, None)
        if merged:
            self.unmerged.discard(version.number)
        if merged and not version.is_blind:
            key = version.client, version.file
            overtaken = version.number in self.overtaken
            self._bases[key] = self.base(*key).with_candidate(version) if overtaken else Base(version)
        self.overtaken.discard(version.number)

    def _bound_waiting(self) -> None:
        # An upload of the holder is about to be merged, and does not count.
        rescued = [number for number, version in self.waiting.items() if version.kind is Kind.RESCUED]
        if len(rescued) > MAX_WAITING:
            del self.waiting[min(rescued)]

    def _note_key(self, version: Version, client: ClientId) -> None:
        if version.appended is None or version.appended.key is None:
            return
        key = client, version.file, version.appended.key
        self.keyed[key] = max(version.number, self.keyed.get(key, 0))
        if len(self.keyed) > MAX_KEYS:
            del self.keyed[min(self.keyed, key=self.keyed.__getitem__)]

    def _see(self, client: ClientId, time: Millis) -> None:
        self.last_seen[client] = max(time, self.last_seen.get(client, time))


def compacted(ledger: Ledger, versions: Iterable[Version]) -> Iterator[Entry]:
    """The entries from which a ledger comes to the same, as far as these versions go."""
    left = {version.number: version for version in versions}
    settled = [version for version in left.values() if version.number not in ledger.waiting]
    yield from settled
    yield from (
        Settled(version, merged=version.number not in ledger.unmerged)
        for version in settled
        if version.place is Place.WAITING
    )
    uploaded = {(version.client, version.file) for version in left.values()}
    bases = {
        (client, file): BaseKnown(client, file, base.among(left), ledger.last_seen[client])
        for client, file, base in ledger.bases()
        # That there is none says something only of a client whose uploads would say otherwise.
        if base.among(left).known or (client, file) in uploaded
    }
    for version in ledger.waiting.values():
        if version.client and version.number in ledger.overtaken:
            yield version
            yield bases[version.client, version.file]
    yield from bases.values()
    yield from (version for version in ledger.waiting.values() if version.number not in ledger.overtaken)
    if ledger.last_lock:
        yield LockGranted(ledger.last_token, ledger.last_lock.client, ledger.last_lock.time)
    if ledger.listed:
        yield ledger.listed
