"""What the history of a project comes to: heads, bases, waiting uploads. Its entries are taken one by one, in order.

Nothing here reads a clock or a disk. The journal keeps the entries; a ledger that takes them again is the same.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import TypeAlias

from attrs import evolve, frozen

from mneme.model import ClientId, FileName, Kind, Lock, Millis, Place, Version

MAX_WAITING = 64
"""How many uploads of a project wait to be merged; with one more, the oldest waits no longer and stays in history."""

MAX_CANDIDATES = 16
"""The versions of a base that were perhaps not received; of more, the oldest count: they remove least."""


ONE_PUSH = Millis(60 * 1000)
"""Within how much time the uploads of one push come."""

_DAY = 24 * 60 * 60 * 1000
_DAYS_KNOWN = 32

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
    """Versions of a file that a client may have, in the order in which it got them.

    Those whose numbers are in `received` it surely got: it took the whole answer, or uploaded them. The newest of these
    puts all before it out. `lacking` is when the client last pushed its base unchanged while the head was another; None
    if it never did since it got that base.
    """

    known: tuple[Version, ...] = ()
    received: frozenset[int] = frozenset()
    lacking: Millis | None = None

    @classmethod
    def of(cls, version: Version, lacking: Millis | None = None) -> "Base":
        """The base of a client that has this version for sure."""
        return cls((version,), frozenset({version.number}), lacking)

    @property
    def left(self) -> tuple[Version, ...]:
        """Those that the newest received one does not put out."""
        places = [place for place, version in enumerate(self.known) if version.number in self.received]
        return self.known[places[-1] if places else 0 :]

    @property
    def sure(self) -> Version | None:
        """The newest that the client surely got."""
        return next((version for version in self.left if version.number in self.received), None)

    def has(self, number: int) -> bool:
        """Whether the client has this version for sure, and nothing newer was sent."""
        return bool(self.known) and self.known[-1].number == number and number in self.received

    def among(self, numbers: Container[int]) -> "Base":
        """The same, as far as it can be one of these versions; see `still_known`."""
        left = set(still_known([version.number for version in self.known], self.received, numbers))
        known = tuple(version for version in self.known if version.number in left)
        return evolve(self, known=known, received=self.received & left)

    def with_sent(self, version: Version) -> "Base":
        """The same, and the client is being sent this version, unless it may have many others already."""
        left = self.left
        if version.number in {one.number for one in left} or len(left) > MAX_CANDIDATES:
            return self
        return evolve(
            self, known=(*left, version), received=self.received & {version.number for version in left}
        )

    def with_received(self, number: int) -> "Base":
        """The same, and the client has received this version, if it was sent."""
        if all(version.number != number for version in self.known):
            return self
        lacking = None if self.known[-1].number == number else self.lacking
        return evolve(self, received=self.received | {number}, lacking=lacking)

    def without_received(self, number: int) -> "Base":
        """The same, and the client has perhaps not received this version."""
        return evolve(self, received=self.received - {number})


def still_known(known: Sequence[int], received: Container[int], there: Container[int]) -> Sequence[int]:
    """The numbers in `known` that a client may still have, of versions that are `there`.

    Past a missing one none is: what is newer could be taken for the base by what that one had in it. What is older
    than the newest received one may be missing.
    """
    newest = max((place for place, number in enumerate(known) if number in received), default=0)
    start = 0 if all(number in there for number in known[:newest]) else newest
    return list(takewhile(lambda number: number in there, known[start:]))


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
        self.days: set[int] = set()
        """The latest days on which a version was kept, counted from 1970."""
        self.last_token = 0
        self.last_lock: LockGranted | None = None
        self.listed: Listed | None = None
        self.keyed: dict[tuple[ClientId, FileName, str], int] = {}
        """The numbers of the versions that came with an idempotency key, the newest of them."""
        self.last_seen: dict[ClientId, Millis] = {}
        self.strangers: dict[ClientId, Version] = {}
        """The last upload of each client that shared nothing with what the client had, like all of its push."""
        self._familiar: dict[ClientId, Millis] = {}
        """When each client last uploaded something that did share."""
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
        """The newest waiting upload of the client, whose place its next one may take."""
        its = reversed(self._waiting_of(client, file))
        return next((one for one in its if one.number not in self.overtaken), None)

    def _waiting_of(self, client: ClientId, file: FileName) -> list[Version]:
        return [one for one in self.waiting.values() if (one.client, one.file) == (client, file)]

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
                self.overtaken |= {one.number for one in self._waiting_of(client, file)}
                self._see(client, time)
            case Settled(version, merged):
                self._settle(version, merged)

    def _take_version(self, version: Version) -> None:
        self.last_number = max(self.last_number, version.number)
        self._note_day(version.time // _DAY)
        if version.place is Place.HEAD:
            self.newest[version.file] = version
            latest = self.latest_mtime.get(version.file, version.mtime)
            # A head of ours is earlier only where the clock was wrong before; a hand may have put an older file back.
            was_wrong = version.kind is not Kind.FOUND
            self.latest_mtime[version.file] = version.mtime if was_wrong else max(version.mtime, latest)
        if version.kind is Kind.MERGED:
            for parent in filter(None, map(self.waiting.get, version.parents)):
                self._settle(parent, merged=True)
        elif version.client is not None and version.kind in (Kind.UPLOAD, Kind.RESCUED):
            self._take_upload(version, version.client)

    def _note_day(self, day: int) -> None:
        self.days.add(day)
        if len(self.days) > _DAYS_KNOWN:
            self.days.remove(min(self.days))

    def _take_upload(self, version: Version, client: ClientId) -> None:
        self._see(client, version.time)
        self._note_key(version, client)
        self._note_stranger(version, client)
        for replaced in version.parents:
            self.waiting.pop(replaced, None)
        if version.place is Place.WAITING:
            self.waiting[version.number] = version
            self._bound_waiting()
        if version.place is Place.WAITING or version.kind is Kind.RESCUED:
            self.unmerged.add(version.number)
        elif not version.is_blind:
            self._bases[client, version.file] = Base.of(version)

    def _settle(self, version: Version, merged: bool) -> None:
        if version.client is None:
            return
        self.waiting.pop(version.number, None)
        if merged:
            self.unmerged.discard(version.number)
        if merged and not version.is_blind:
            self._note_merged(version.client, version)
        self.overtaken.discard(version.number)

    def _note_merged(self, client: ClientId, version: Version) -> None:
        """Take note that a client has what it uploaded, now that this is no longer waiting."""
        base = self.base(client, version.file)
        if version.number in self.overtaken:
            self._bases[client, version.file] = base.with_sent(version)
        elif base.sure is None or base.sure.number < version.number:
            self._bases[client, version.file] = Base.of(version)

    def _bound_waiting(self) -> None:
        # An upload of the holder is about to be merged, and does not count.
        rescued = [number for number, version in self.waiting.items() if version.kind is Kind.RESCUED]
        if len(rescued) > MAX_WAITING:
            del self.waiting[min(rescued)]

    def _note_stranger(self, version: Version, client: ClientId) -> None:
        """Take note of an upload that shares nothing, unless another of its push does share.

        A long session may well have summarized away every line that the log had before.
        """
        if version.is_unrelated:
            # A compacted history tells of what waits last.
            if abs(version.time - self._familiar.get(client, Millis(-ONE_PUSH))) >= ONE_PUSH:
                self.strangers[client] = version
        elif version.base is not None:
            self._familiar[client] = version.time
            stranger = self.strangers.get(client)
            if stranger and stranger.file is not version.file and version.time - stranger.time < ONE_PUSH:
                del self.strangers[client]

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
