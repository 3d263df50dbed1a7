"""What the history of a project comes to, entry by entry."""

from __future__ import annotations

import pytest
from attrs import evolve

from mneme.model import Appended, ClientId, FileName, Kind, Lock, Millis, Place, Version, digest
from mneme.store.ledger import (
    MAX_CANDIDATES,
    MAX_KEYS,
    MAX_WAITING,
    ONE_PUSH,
    Base,
    BaseKnown,
    Entry,
    Ledger,
    Listed,
    LockGranted,
    Settled,
)
from tests.store.looking import ANA, BEN, EVE, NOW, having

LOG, ENTITIES = FileName.LOG, FileName.ENTITIES
HEAD, WAITING, KEPT = Place.HEAD, Place.WAITING, Place.BESIDE


def version(
    number: int,
    kind: Kind = Kind.UPLOAD,
    place: Place = HEAD,
    *,
    client: ClientId | None = ANA,
    file: FileName = LOG,
    mtime: int | None = None,
    parents: tuple[int, ...] = (),
) -> Version:
    """A version, accepted so many milliseconds after `NOW` as its number says."""
    time = Millis(NOW + number)
    told = time if mtime is None else Millis(NOW + mtime)
    sha256 = digest(b"%d" % number)
    return Version(number, file, sha256, 1, time, told, client, kind, None, parents, place)


def rescued(
    number: int, client: ClientId = ANA, file: FileName = LOG, *, in_place_of: int | None = None
) -> Version:
    """A refused upload that waits."""
    parents = () if in_place_of is None else (in_place_of,)
    return version(number, Kind.RESCUED, WAITING, client=client, file=file, parents=parents)


def merged(number: int, *parents: int, client: ClientId = ANA, file: FileName = LOG) -> Version:
    """A head that was made of others."""
    return version(number, Kind.MERGED, HEAD, client=client, file=file, parents=parents)


def has(client: ClientId, base: Base, *, file: FileName = LOG, at: int = 0) -> BaseKnown:
    """What a client has, or may have."""
    return BaseKnown(client, file, base, Millis(NOW + at))


def of(*entries: Entry) -> Ledger:
    """The ledger of these entries."""
    ledger = Ledger()
    for entry in entries:
        ledger.take(entry)
    return ledger


class TestHeads:
    """Which version is the head of a file, and what is told of it."""

    def test_nothing_comes_of_nothing(self) -> None:
        """A new project has no version, no token and no base."""
        ledger = of()
        assert (ledger.last_number, ledger.last_token, ledger.newest, ledger.waiting) == (0, 0, {}, {})
        assert ledger.base(ANA, LOG) == Base()
        assert list(ledger.bases()) == []

    @pytest.mark.parametrize("kind", Kind)
    def test_the_newest_that_became_the_head_is_it(self, kind: Kind) -> None:
        """Whatever it came from; what was kept beside it is not."""
        head = version(1, kind)
        ledger = of(head, rescued(2), version(3, Kind.RESCUED, KEPT), version(4, Kind.UPLOAD, KEPT))
        assert ledger.newest == {LOG: head}
        assert ledger.last_number == 4

    def test_each_file_has_its_own(self) -> None:
        """A version of one is none of the other."""
        one, other = version(1), version(2, file=ENTITIES)
        assert of(one, other).newest == {LOG: one, ENTITIES: other}

    def test_the_latest_mtime_is_that_of_any_head_there_was(self) -> None:
        """An older file was put back by hand, so that the newest head is not the latest."""
        ledger = of(version(1, mtime=50), version(2, Kind.FOUND, mtime=20), rescued(3))
        assert ledger.latest_mtime == {LOG: NOW + 50}

    def test_numbers_only_grow(self) -> None:
        """Whatever order they come in."""
        assert of(version(7), version(3, file=ENTITIES)).last_number == 7


class TestLocks:
    """Tokens, and which list was answered."""

    def test_the_last_token_is_the_largest(self) -> None:
        """An entry out of its order makes none come again."""
        assert of(LockGranted(5, ANA, NOW), LockGranted(3, BEN, NOW)).last_token == 5

    def test_a_lock_is_told_by_its_token_its_client_and_its_start(self) -> None:
        """That is what its entry says."""
        lock = Lock(ANA, NOW, Millis(NOW + 9), 7)
        assert LockGranted.of(lock) == LockGranted(7, ANA, NOW)

    def test_the_last_list_counts(self) -> None:
        """By the instant of its acquire."""
        assert of().listed is None
        assert of(Listed(1, Millis(NOW + 5)), Listed(1, NOW)).listed == Listed(1, NOW)

    def test_whoever_does_anything_is_seen(self) -> None:
        """By the latest time at which it did."""
        known = version(1, client=None)
        ledger = of(known, LockGranted(1, ANA, Millis(NOW + 9)), version(2), has(BEN, Base.of(known), at=5))
        assert ledger.last_seen == {ANA: NOW + 9, BEN: NOW + 5}
        assert of(rescued(3, EVE)).last_seen == {EVE: NOW + 3}


class TestBases:
    """What a client is known to have had last."""

    def test_it_is_what_the_client_uploaded(self) -> None:
        """Whether it became the head or added nothing to it."""
        for place in (HEAD, KEPT):
            one = version(2, place=place)
            assert of(version(1, client=BEN), one).base(ANA, LOG) == Base.of(one)

    def test_it_is_its_own(self) -> None:
        """No other client's, and no other file's."""
        ledger = of(version(1))
        assert ledger.base(BEN, LOG) == ledger.base(ANA, ENTITIES) == Base()

    @pytest.mark.parametrize("kind", [Kind.FOUND, Kind.MERGED, Kind.RESTORED])
    def test_what_a_client_did_not_upload_is_not_its_base(self, kind: Kind) -> None:
        """It does not have what it was merged into, nor what it had restored."""
        mine = version(1)
        assert of(mine, version(2, kind)).base(ANA, LOG) == Base.of(mine)

    def test_what_was_refused_is_no_base(self) -> None:
        """Neither while it waits nor when it was kept and no more."""
        mine = version(1)
        for refused in (rescued(2), version(2, Kind.RESCUED, KEPT)):
            assert of(mine, refused).base(ANA, LOG) == Base.of(mine)

    def test_what_is_known_takes_the_place_of_what_was(self) -> None:
        """Whatever that was, and of this client and file alone."""
        one, two, three = (version(number, client=BEN) for number in (1, 2, 3))
        ledger = of(one, two, three, has(ANA, having(one, two)))
        assert ledger.base(ANA, LOG) == having(one, two)
        assert ledger.base(ANA, ENTITIES) == Base()
        ledger.take(has(ANA, Base.of(three)))
        assert ledger.base(ANA, LOG) == Base.of(three)
        assert ledger.base(ANA, LOG).has(3)
        ledger.take(has(ANA, having(None, two)))
        assert ledger.base(ANA, LOG) == having(None, two)
        assert list(ledger.bases()) == [(BEN, LOG, Base.of(three)), (ANA, LOG, having(None, two))]

    def test_versions_that_were_sent_are_told_once_and_in_order(self) -> None:
        """And takes nothing away, for it has perhaps not arrived."""
        one, two, three = (version(number, client=BEN) for number in (1, 2, 3))
        base = Base.of(one).with_sent(two).with_sent(three).with_sent(two).with_sent(one)
        assert base.left == (one, two, three)
        assert base.sure == one
        assert [base.has(number) for number in (1, 2, 3)] == [False] * 3

    def test_a_received_version_puts_out_all_older_ones_unless_it_is_doubted(self) -> None:
        """A client that took a whole answer has that, until the contrary shows."""
        one, two, three = (version(number, client=BEN) for number in (1, 2, 3))
        sent = Base.of(one).with_sent(two)
        base = sent.with_received(2)
        assert (base.left, base.sure, base.has(2)) == ((two,), two, True)
        assert base.without_received(2) == sent
        assert base.with_sent(three).left == (two, three)
        assert base.with_received(3) == base

    def test_a_client_lacks_the_head_until_it_receives_something(self) -> None:
        """Its last push was its own base while the head was another."""
        one, two = version(1), version(2, client=BEN)
        lacking = Base.of(one, Millis(NOW + 5))
        assert lacking.with_sent(two).lacking == NOW + 5
        assert lacking.with_sent(two).with_received(2).lacking is None

    def test_of_too_many_that_were_sent_the_oldest_stay(self) -> None:
        """The sure version stays besides: an older base removes less."""
        sure, *others = (version(number, client=BEN) for number in range(1, MAX_CANDIDATES + 3))
        base = Base.of(sure)
        for one in others:
            base = base.with_sent(one)
        assert base == having(sure, *others[:-1])

    def test_a_base_is_told_as_far_as_it_can_be_one_of_these(self) -> None:
        """Past what was pruned nothing counts, and what was put out is not missed."""
        one, two, three = version(1), version(2), version(3)
        base = having(one, two, three)
        assert base.among({1, 2, 3}) == base
        assert base.among({1, 2}) == having(one, two)
        assert base.among({1, 3}) == Base.of(one)
        assert base.among({2, 3}) == Base()
        assert base.with_received(2).among({2, 3}) == having(two, three)
        assert base.with_received(3).among({2}) == Base()
        assert having(None, two, three).among({2}) == having(None, two)
        assert base.among(set()) == Base()


class TestWaiting:
    """The uploads that are yet to be merged."""

    def test_an_upload_waits_no_longer_once_another_takes_its_place(self) -> None:
        """No head has ever held it."""
        newer = rescued(2, in_place_of=1)
        ledger = of(rescued(1), newer, rescued(3, BEN), rescued(4, ANA, ENTITIES))
        assert list(ledger.waiting) == [2, 3, 4]
        assert ledger.unmerged == {1, 2, 3, 4}
        assert ledger.waiting_of(ANA, LOG) == newer
        assert list(of(rescued(1), version(2, parents=(1,))).waiting) == []

    def test_of_several_of_one_client_the_newest_is_the_one_whose_place_may_be_taken(self) -> None:
        """Two folders with one id: neither upload was made from the other, and both wait."""
        ledger = of(rescued(1), rescued(2))
        assert list(ledger.waiting) == [1, 2]
        assert ledger.waiting_of(ANA, LOG) == rescued(2)

    def test_what_was_kept_and_no_more_does_not_wait(self) -> None:
        """It was never part of a head either, unless it was an upload that added nothing."""
        ledger = of(version(1, Kind.RESCUED, KEPT), version(2, Kind.UPLOAD, KEPT))
        assert (ledger.waiting, ledger.unmerged) == ({}, {1})

    def test_what_its_client_was_sent_something_after_keeps_its_place(self) -> None:
        """The next upload is made from that, and need not hold what waits."""
        theirs = version(1, client=BEN)
        ledger = of(theirs, rescued(2), has(ANA, Base.of(theirs)))
        assert ledger.waiting_of(ANA, LOG) is None
        ledger.take(rescued(3))
        assert ledger.waiting_of(ANA, LOG) == rescued(3)

    def test_what_its_client_was_sent_anew_is_something_too(self) -> None:
        """Though it is what is known of the client already."""
        theirs = version(1, client=BEN)
        ledger = of(theirs, has(ANA, Base.of(theirs)), rescued(2), has(ANA, Base.of(theirs)))
        assert ledger.waiting_of(ANA, LOG) is None

    def test_what_another_client_or_file_was_sent_overtakes_nothing(self) -> None:
        """The next upload of the same client and file may take its place."""
        theirs = version(1, client=BEN)
        ledger = of(theirs, rescued(2), has(BEN, Base.of(theirs)), has(ANA, Base(), file=ENTITIES))
        assert ledger.waiting_of(ANA, LOG) == rescued(2)

    def test_what_was_overtaken_waits_no_longer_once_it_is_settled(self) -> None:
        """By a merge, or without."""
        theirs = version(1, client=BEN)
        before = (theirs, rescued(2), has(ANA, Base.of(theirs)), rescued(3))
        for end in (merged(4, 1, 2), Settled(rescued(2), merged=False)):
            ledger = of(*before, end)
            assert list(ledger.waiting) == [3]
            assert ledger.waiting_of(ANA, LOG) == rescued(3)

    def test_what_is_kept_and_no_more_takes_no_place(self) -> None:
        """It was refused while merging was off, and what waited then is merged when it is on again."""
        ledger = of(rescued(1), version(2, Kind.RESCUED, KEPT))
        assert list(ledger.waiting) == [1]
        assert ledger.waiting_of(ANA, LOG) == rescued(1)

    def test_a_merge_settles_it_and_makes_it_the_base(self) -> None:
        """The upload, not what it was merged into: that the client has not seen."""
        ledger = of(version(1, client=BEN), rescued(2), merged(3, 1, 2))
        assert (ledger.waiting, ledger.unmerged) == ({}, set())
        assert ledger.base(ANA, LOG) == Base.of(rescued(2))
        assert ledger.newest[LOG].number == 3

    def test_a_merge_of_what_waited_is_no_base_for_a_client_that_has_uploaded_since(self) -> None:
        """Two folders with one id: what waited is the older one's."""
        newer = version(3)
        ledger = of(version(1, client=BEN), rescued(2), newer, merged(4, 3, 2))
        assert ledger.base(ANA, LOG) == Base.of(newer)

    def test_a_merge_settles_no_other(self) -> None:
        """Only its own parents."""
        ledger = of(version(1, client=BEN), rescued(2), rescued(3, BEN), merged(4, 1, 2))
        assert [one.number for one in ledger.waiting.values()] == [3]

    def test_what_is_settled_without_a_merge_waits_no_longer(self) -> None:
        """It was merged, or it never will be: then it is no base."""
        mine = version(1)
        ledger = of(mine, rescued(2), Settled(rescued(2), merged=False))
        assert (ledger.waiting, ledger.unmerged, ledger.base(ANA, LOG)) == ({}, {2}, Base.of(mine))
        ledger = of(mine, rescued(2), Settled(rescued(2), merged=True))
        assert (ledger.waiting, ledger.unmerged, ledger.base(ANA, LOG)) == ({}, set(), Base.of(rescued(2)))

    def test_what_a_client_fetched_while_its_upload_waited_may_be_its_base_as_well(self) -> None:
        """Either can have been first."""
        mine, theirs = version(1), version(2, client=BEN)
        for base in (having(mine, theirs), having(None, theirs), Base.of(theirs)):
            ledger = of(mine, theirs, rescued(3), has(ANA, base), merged(4, 2, 3))
            assert ledger.base(ANA, LOG) == base.with_sent(rescued(3))

    def test_what_a_client_fetched_before_its_upload_waited_is_its_base_no_more(self) -> None:
        """It has uploaded something else since; what another client fetches says nothing."""
        mine, theirs = version(1), version(2, client=BEN)
        ledger = of(
            mine, theirs, has(ANA, having(mine, theirs)), rescued(3), has(BEN, Base.of(mine)), merged(4, 2, 3)
        )
        assert ledger.base(ANA, LOG) == Base.of(rescued(3))

    def test_one_too_many_pushes_out_the_oldest(self) -> None:
        """It was never part of a head."""
        uploads = [rescued(n, ClientId(f"client-{n}")) for n in range(1, MAX_WAITING + 2)]
        ledger = of(*uploads)
        assert len(ledger.waiting) == MAX_WAITING
        assert ledger.waiting.get(1) is None
        assert 1 in ledger.unmerged

    def test_the_oldest_is_who_uploaded_first_and_not_who_came_first(self) -> None:
        """A client that has sent something newer does not wait longest."""
        uploads = [rescued(n, ClientId(f"client-{n}")) for n in range(1, MAX_WAITING + 1)]
        newer = rescued(100, ClientId("client-1"), in_place_of=1)
        ledger = of(*uploads, newer, rescued(101, EVE))
        assert ledger.waiting.get(100)
        assert ledger.waiting.get(2) is None


def keyed(one: Version, key: str | None, *, blind: bool = False) -> Version:
    """The version, of an append with this key."""
    return evolve(one, appended=Appended(key, digest(b"lines"), blind))


class TestAppends:
    """By which key an append is known again, and whether it says what its client has."""

    def test_an_append_is_known_by_its_client_its_file_and_its_key(self) -> None:
        """Accepted, waiting, or kept and no more."""
        ledger = of(
            keyed(version(1), "a"),
            keyed(rescued(2, BEN), "a"),
            keyed(version(3, Kind.RESCUED, KEPT, file=ENTITIES), "a"),
            keyed(version(4), "b"),
        )
        assert ledger.keyed == {
            (ANA, LOG, "a"): 1,
            (BEN, LOG, "a"): 2,
            (ANA, ENTITIES, "a"): 3,
            (ANA, LOG, "b"): 4,
        }

    def test_what_has_no_key_is_not_known_again(self) -> None:
        """An upload, a merge, or an append without one."""
        assert of(version(1), keyed(version(2), None), rescued(3), merged(4, 2, 3)).keyed == {}

    @pytest.mark.parametrize("order", [(1, 2), (2, 1)])
    def test_the_newest_of_a_key_counts(self, order: tuple[int, ...]) -> None:
        """Also where a journal that was written anew tells of it first."""
        assert of(*(keyed(version(number), "a") for number in order)).keyed == {(ANA, LOG, "a"): 2}

    def test_one_too_many_pushes_out_the_oldest(self) -> None:
        """Of whichever client."""
        versions = [keyed(version(n, client=ClientId(f"c{n % 7}")), str(n)) for n in range(1, MAX_KEYS + 2)]
        assert sorted(of(*versions).keyed.values()) == list(range(2, MAX_KEYS + 2))
        assert of(*versions).keyed == of(*reversed(versions)).keyed

    def test_what_is_blind_is_no_base(self) -> None:
        """When it becomes the head, and when it is merged; what was known before still is."""
        blind = keyed(version(2), "a", blind=True)
        assert of(blind).base(ANA, LOG) == Base()
        assert of(version(1), blind).base(ANA, LOG) == Base.of(version(1))
        waits = keyed(rescued(3), "b", blind=True)
        for settled in (merged(4, 2, 3), Settled(waits, merged=True)):
            ledger = of(version(1), waits, settled)
            assert (ledger.base(ANA, LOG), ledger.unmerged, ledger.waiting) == (
                Base.of(version(1)),
                set(),
                {},
            )

    def test_what_is_not_blind_is_a_base(self) -> None:
        """Like an upload."""
        sure = keyed(version(2), "a")
        waits = keyed(rescued(3), "b")
        assert of(version(1), sure).base(ANA, LOG) == Base.of(sure)
        assert of(version(1), waits, merged(4, 1, 3)).base(ANA, LOG) == Base.of(waits)


def stranger(number: int, file: FileName = LOG, at: int | None = None) -> Version:
    """An upload that shares nothing with what its client had."""
    one = evolve(version(number, file=file), is_unrelated=True)
    return one if at is None else evolve(one, time=Millis(NOW + at))


def familiar(number: int, file: FileName, at: int) -> Version:
    """An upload that was made from what its client had."""
    return evolve(version(number, file=file), base=1, time=Millis(NOW + at))


class TestStrangers:
    """Clients whose id seems to be used in two places."""

    def test_a_client_is_one_if_its_upload_shared_nothing_with_what_it_had(self) -> None:
        """The last such upload tells of when."""
        assert of(version(1)).strangers == {}
        assert of(stranger(2), stranger(3)).strangers == {ANA: stranger(3)}

    @pytest.mark.parametrize("at", [-ONE_PUSH + 1, ONE_PUSH - 1])
    def test_a_client_is_none_if_another_file_of_the_same_push_did_share(self, at: int) -> None:
        """A long session may leave no line of a log, and no fact."""
        entries = sorted([stranger(2, at=0), familiar(3, ENTITIES, at)], key=lambda one: one.time)
        assert of(*entries).strangers == {}

    @pytest.mark.parametrize("at", [-ONE_PUSH, ONE_PUSH])
    def test_another_push_says_nothing(self, at: int) -> None:
        """Each folder goes on from what it has."""
        entries = sorted([stranger(2, at=0), familiar(3, ENTITIES, at)], key=lambda one: one.time)
        assert of(*entries).strangers == {ANA: stranger(2, at=0)}
