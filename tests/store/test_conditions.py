"""Uploads and downloads under a condition: what every store promises, on each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mneme.model import (
    NOT_THERE,
    Accepted,
    Changed,
    ClientId,
    FileName,
    HeldBy,
    Kind,
    Merging,
    Millis,
    NotLocked,
    Precondition,
    Reader,
    Receipt,
    Rescued,
    Restore,
    Served,
    StaleToken,
    Unmodified,
    Unnamed,
    Upload,
    digest,
)
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, TTL, directory_of
from tests.store.store_contract import (
    EXPIRY,
    FOUR,
    LOG,
    ONE,
    THREE,
    TWO,
    after,
    content,
    fetch,
    head_of,
    lock_of,
    rescued,
    waiting,
)
from tests.store.stores import ANY, STORES, Patient, named, opened


def put(
    store: Patient,
    client: ClientId,
    held: bytes,
    only_if: Precondition | None = None,
    token: int | None = None,
    now: Millis = NOW,
) -> object:
    """A client uploads the log."""
    return store.upload(ALPHA, Upload(LOG, held, client, token, only_if), now)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Patient:
    """A store, with nothing in it."""
    return opened(request.param, tmp_path / "data")


@pytest.fixture
def held(store: Patient) -> Patient:
    """The store, in which Ana holds the lock and has uploaded two lines."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, ONE + TWO)
    return store


@pytest.fixture
def moved(held: Patient) -> Patient:
    """The store, in which Ben has added a third line after Ana, who holds the lock again."""
    held.release(ALPHA, ANA, NOW)
    held.acquire(ALPHA, BEN, NOW, TTL)
    fetch(held, BEN)
    put(held, BEN, ONE + TWO + THREE)
    held.release(ALPHA, BEN, NOW)
    held.acquire(ALPHA, ANA, NOW, TTL)
    return held


class TestUploadsUnderALock:
    """The holder says what it is only to replace."""

    @pytest.mark.parametrize("only_if", [ANY, named(ONE + TWO), named(b"else", ONE + TWO)])
    def test_one_whose_condition_holds_becomes_the_head(self, held: Patient, only_if: Precondition) -> None:
        """As it would without."""
        head = head_of(put(held, ANA, TWO, only_if))
        assert (content(held), head.version, head.sha256) == (TWO, 2, digest(TWO))
        assert held.versions(ALPHA)[1].base == 1

    @pytest.mark.parametrize("upload", [ONE, ONE + THREE, THREE, ONE + TWO + THREE])
    def test_an_upload_that_names_the_head_replaces_it_whatever_it_lacks(
        self, held: Patient, upload: bytes
    ) -> None:
        """Even the last line of a log can be removed so, or all of it."""
        assert put(held, ANA, upload, named(ONE + TWO)) == Accepted(held.heads(ALPHA, NOW)[0])
        version = held.versions(ALPHA)[-1]
        assert (content(held), version.base, version.names_base) == (upload, 1, True)
        assert (version.is_unrelated, len(held.versions(ALPHA))) == (False, 2)

    @pytest.mark.parametrize(
        ("only_if", "upload", "head"),
        [
            (ANY, ONE + THREE, ONE + TWO + THREE),
            (ANY, THREE, ONE + TWO + THREE),
            (named(FOUR, ONE + TWO), ONE + THREE, ONE + THREE),
        ],
    )
    def test_an_upload_under_a_condition_that_names_several_or_none_does_not_name_its_base(
        self, held: Patient, only_if: Precondition, upload: bytes, head: bytes
    ) -> None:
        """The head is replaced all the same where it is among those."""
        put(held, ANA, upload, only_if)
        assert content(held) == head
        assert not any(version.names_base for version in held.versions(ALPHA))

    @pytest.mark.parametrize("only_if", [NOT_THERE, named(ONE), named(), named(b"", ONE, TWO)])
    def test_one_whose_condition_does_not_hold_changes_nothing(
        self, held: Patient, only_if: Precondition
    ) -> None:
        """It is told what the head is, and is not kept: its client knows how to do better."""
        before = held.heads(ALPHA, NOW), held.versions(ALPHA)
        assert put(held, ANA, TWO + THREE, only_if) == Changed(before[0][0])
        assert (held.heads(ALPHA, NOW), held.versions(ALPHA)) == before
        assert put(held, ANA, TWO + THREE) == Accepted(held.heads(ALPHA, NOW)[0])

    @pytest.mark.parametrize("only_if", [ANY, named(ONE), named(b""), named()])
    def test_where_there_is_no_head_only_that_can_be_the_condition(
        self, store: Patient, only_if: Precondition
    ) -> None:
        """Even what is empty is something else than what is not there."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert put(store, ANA, ONE, only_if) == Changed(None)
        assert (content(store), store.versions(ALPHA)) == (None, ())
        assert head_of(put(store, ANA, ONE, NOT_THERE)).version == 1

    def test_an_empty_file_is_there(self, held: Patient) -> None:
        """It has a digest like any other."""
        put(held, ANA, b"")
        assert isinstance(put(held, ANA, ONE, NOT_THERE), Changed)
        assert head_of(put(held, ANA, ONE, named(b""))).version == 3

    def test_what_somebody_else_replaced_is_told_and_not_merged(self, held: Patient) -> None:
        """Ana's lock has expired, and Ben was quicker; without a condition it would have been merged."""
        held.acquire(ALPHA, BEN, EXPIRY, TTL)
        theirs = head_of(put(held, BEN, ONE + TWO + THREE, named(ONE + TWO), now=EXPIRY))
        later = Millis(EXPIRY + TTL)
        held.acquire(ALPHA, ANA, later, TTL)
        mine = ONE + TWO + FOUR
        assert put(held, ANA, mine, named(ONE + TWO), now=later) == Changed(theirs)
        assert content(held, now=later) == ONE + TWO + THREE
        assert put(held, ANA, mine, now=later) == Accepted(held.heads(ALPHA, later)[0], merged=True)

    def test_one_made_from_a_head_that_its_client_never_had_by_our_knowledge_replaces_it(
        self, moved: Patient
    ) -> None:
        """It says what it was made from, so that what it lacks was removed; nothing is merged into it."""
        head = head_of(put(moved, ANA, TWO, named(ONE + TWO + THREE)))
        assert (content(moved), head.version) == (TWO, 3)
        version = moved.versions(ALPHA)[-1]
        assert (version.kind, version.base, version.parents) == (Kind.UPLOAD, 2, ())

    def test_any_head_is_none_that_the_client_names(self, moved: Patient) -> None:
        """So that it is merged with the one that is there, like an upload without a condition."""
        assert put(moved, ANA, TWO + FOUR, ANY) == Accepted(moved.heads(ALPHA, NOW)[0], merged=True)
        assert content(moved) == TWO + THREE + FOUR

    def test_a_deliberate_return_to_what_the_client_had_is_a_version(self, moved: Patient) -> None:
        """Byte for byte, although it is what Ana's base was: she says that she has seen what she takes back."""
        head = head_of(put(moved, ANA, ONE + TWO, named(ONE + TWO + THREE)))
        assert (content(moved), head.version, len(moved.versions(ALPHA))) == (ONE + TWO, 3, 3)

    @pytest.mark.parametrize("only_if", [None, ANY, NOT_THERE, named(FOUR)])
    def test_a_repetition_of_what_the_client_had_changes_nothing_whatever_its_condition(
        self, moved: Patient, only_if: Precondition | None
    ) -> None:
        """Its first answer was lost, and somebody else has gone on since."""
        head, versions = moved.heads(ALPHA, NOW)[0], moved.versions(ALPHA)
        assert put(moved, ANA, ONE + TWO, only_if) == Accepted(head, merged=True)
        assert (content(moved), moved.versions(ALPHA)) == (ONE + TWO + THREE, versions)

    @pytest.mark.parametrize("only_if", [ANY, NOT_THERE, named(FOUR), named()])
    def test_a_repetition_of_the_head_changes_nothing_whatever_its_condition(
        self, held: Patient, only_if: Precondition
    ) -> None:
        """The condition held when it came first."""
        head, versions = held.heads(ALPHA, NOW)[0], held.versions(ALPHA)
        assert put(held, ANA, ONE + TWO, only_if) == Accepted(head)
        assert held.versions(ALPHA) == versions

    def test_a_stale_token_comes_before_any_condition(self, held: Patient) -> None:
        """What its client must do is the same: acquire again."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert put(held, ANA, ONE, named(FOUR), lock.token - 1) == StaleToken(lock)

    def test_without_merging_a_condition_is_one_all_the_same(self, moved: Patient) -> None:
        """It is then all that keeps an upload from replacing what its client never saw."""
        moved.merging = Merging(enabled=False)
        assert isinstance(put(moved, ANA, ONE + TWO, named(ONE)), Changed)
        head = head_of(put(moved, ANA, ONE + TWO, named(ONE + TWO + THREE)))
        assert (content(moved), head.version) == (ONE + TWO, 3)


class TestUploadsWithoutALock:
    """A condition is no way around the lock, and nothing is lost for one."""

    @pytest.mark.parametrize("only_if", [ANY, NOT_THERE, named(ONE + TWO), named(FOUR), named()])
    @pytest.mark.parametrize("holder", [ANA, None])
    def test_one_is_refused_for_the_lock_first_and_kept(
        self, held: Patient, only_if: Precondition, holder: ClientId | None
    ) -> None:
        """Whether its condition holds or not."""
        if holder is None:
            held.release(ALPHA, ANA, NOW)
        lock = held.lock(ALPHA, NOW)
        outcome = put(held, BEN, ONE + TWO + THREE, only_if)
        assert outcome == Rescued(HeldBy(lock) if lock else NotLocked(), 2)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_its_base_is_what_it_names(self, moved: Patient) -> None:
        """Eve, whom nobody knows, removes a line of the version that she was last told of, and adds one."""
        number = rescued(put(moved, EVE, ONE + FOUR, named(ONE + TWO)))
        assert moved.versions(ALPHA)[number - 1].base == 1
        put(moved, ANA, ONE + TWO + THREE)
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + THREE + FOUR

    @pytest.mark.parametrize("only_if", [named(FOUR), named(ONE + TWO, ONE + TWO + THREE), ANY, NOT_THERE])
    def test_what_it_does_not_name_it_has_not_removed(self, moved: Patient, only_if: Precondition) -> None:
        """With an unknown name, or several, or none, its base is what is known of the client: here nothing."""
        number = rescued(put(moved, EVE, ONE + FOUR, only_if))
        assert moved.versions(ALPHA)[number - 1].base is None
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + TWO + THREE + FOUR

    def test_what_was_never_merged_is_no_base_though_it_is_named(self, held: Patient) -> None:
        """Its lines are in no head, so that a merge would take them for removed there."""
        held.merging = Merging(enabled=False)
        rescued(put(held, BEN, ONE + TWO + THREE))
        held.merging = Merging()
        number = rescued(put(held, BEN, ONE + TWO + THREE + FOUR, named(ONE + TWO + THREE)))
        assert held.versions(ALPHA)[number - 1].base is None
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE + FOUR

    def test_a_deliberate_return_is_kept_and_merged(self, moved: Patient) -> None:
        """Ben goes back to what he had before, and says from where; that removes what he added."""
        fetch(moved, BEN)
        rescued(put(moved, BEN, ONE + TWO, named(ONE + TWO + THREE)))
        put(moved, ANA, ONE + TWO + THREE + FOUR, named(ONE + TWO + THREE))
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + TWO + FOUR

    def test_one_takes_the_place_of_what_waits_and_has_its_base(self, moved: Patient) -> None:
        """Whatever it names: what waits was not merged, and is in what comes next."""
        first = rescued(put(moved, EVE, ONE + FOUR, named(ONE + TWO)))
        second = rescued(put(moved, EVE, FOUR, named(ONE + FOUR)))
        version = moved.versions(ALPHA)[second - 1]
        assert (version.base, version.parents, waiting(moved)) == (1, (first,), 1)
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == THREE + FOUR

    @pytest.mark.parametrize(
        ("only_if", "waits"),
        [
            (named(ONE + TWO), 1),
            (named(ONE + TWO + THREE), 1),
            (named(ONE, ONE + TWO), 2),
            (ANY, 2),
            (None, 2),
        ],
    )
    def test_an_upload_that_shares_nothing_takes_the_place_of_a_waiting_one_if_both_name_their_bases(
        self, moved: Patient, only_if: Precondition | None, waits: int
    ) -> None:
        """Everything may be written anew; otherwise it comes from another place of the same id."""
        first = rescued(put(moved, EVE, TWO + FOUR, named(ONE + TWO)))
        second = rescued(put(moved, EVE, THREE, only_if))
        assert waiting(moved) == waits
        assert moved.versions(ALPHA)[second - 1].parents == ((first,) if waits == 1 else ())

    def test_a_holder_whose_upload_waits_does_not_replace_the_head_by_naming_it(self, held: Patient) -> None:
        """What waits was made from an older base, and is in what comes next: that is merged."""
        rescued(put(held, BEN, ONE + TWO + FOUR, named(ONE + TWO)))
        put(held, ANA, ONE + TWO + THREE)
        held.merging = Merging(enabled=False)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        held.merging = Merging()
        outcome = put(held, BEN, ONE + TWO + FOUR, named(ONE + TWO + THREE))
        assert outcome == Accepted(held.heads(ALPHA, NOW)[0], merged=True)
        assert (content(held), waiting(held)) == (ONE + TWO + THREE + FOUR, 0)


class TestDownloadsUnlessKnown:
    """A client says what it has, and is sent only what that is not."""

    @pytest.mark.parametrize("reader", [Unnamed.OTHER, Unnamed.STOCK, EVE])
    @pytest.mark.parametrize("unless", [ANY, named(ONE + TWO), named(FOUR, ONE + TWO)])
    def test_what_is_the_head_is_not_sent_again(
        self, held: Patient, unless: Precondition, reader: Reader
    ) -> None:
        """Only that it is."""
        told = held.download(ALPHA, LOG, reader, NOW, unless=unless)
        assert told == Unmodified(held.heads(ALPHA, NOW)[0])

    @pytest.mark.parametrize("unless", [None, named(), named(ONE), named(ONE, TWO)])
    def test_what_is_not_the_head_is_no_reason_not_to_send_it(
        self, held: Patient, unless: Precondition | None
    ) -> None:
        """Whole, and with a receipt."""
        served = held.download(ALPHA, LOG, EVE, NOW, unless=unless)
        assert isinstance(served, Served)
        assert served.document == held.read(ALPHA, LOG, NOW)
        assert served.receipt == Receipt(EVE, LOG, 1)

    @pytest.mark.parametrize("unless", [ANY, named(ONE)])
    def test_what_is_not_there_is_not_there(self, store: Patient, unless: Precondition) -> None:
        """In a project that nobody has written, and in one that has no such file."""
        assert store.download(ALPHA, LOG, EVE, NOW, unless=unless) is None
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert store.download(ALPHA, LOG, EVE, NOW, unless=unless) is None

    def test_whoever_names_the_head_has_it(self, moved: Patient) -> None:
        """So what its next upload lacks it has removed."""
        moved.download(ALPHA, LOG, EVE, NOW, unless=named(ONE + TWO + THREE))
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        assert put(moved, EVE, TWO + FOUR) == Accepted(moved.heads(ALPHA, NOW)[0], merged=True)
        assert (content(moved), moved.versions(ALPHA)[2].base) == (TWO + THREE + FOUR, 2)
        put(moved, EVE, FOUR)
        assert content(moved) == THREE + FOUR

    @pytest.mark.parametrize("reader", [Unnamed.OTHER, Unnamed.STOCK, EVE])
    @pytest.mark.parametrize("unless", [ANY, named(ONE + TWO), named(ONE, TWO)])
    def test_whoever_does_not_name_the_head_is_not_known_to_have_it(
        self, moved: Patient, unless: Precondition, reader: Reader
    ) -> None:
        """So its next upload removes nothing: `*` is any file, not this one."""
        moved.download(ALPHA, LOG, reader, NOW, unless=unless)
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        put(moved, EVE, TWO + FOUR)
        assert content(moved) == ONE + TWO + THREE + FOUR

    def test_whoever_names_any_file_has_none_of_it_though_its_upload_looks_so(self, moved: Patient) -> None:
        """It was not sent the head, and can have the last line of it from elsewhere."""
        moved.download(ALPHA, LOG, EVE, NOW, unless=ANY)
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        put(moved, EVE, TWO + THREE + FOUR)
        assert content(moved) == ONE + TWO + THREE + FOUR

    def test_whoever_does_not_say_who_it_is_has_nothing_for_it(self, moved: Patient) -> None:
        """Neither has the holder, who did not ask."""
        moved.download(ALPHA, LOG, Unnamed.OTHER, NOW, unless=named(ONE + TWO + THREE))
        put(moved, ANA, TWO + THREE + FOUR)
        assert (content(moved), moved.versions(ALPHA)[-1].base) == (TWO + THREE + FOUR, 1)

    @pytest.mark.parametrize(
        ("upload", "head"),
        [
            (TWO + FOUR, ONE + TWO + THREE + FOUR),
            (ONE + THREE + FOUR, ONE + TWO + THREE + FOUR),
            (TWO + THREE + FOUR, TWO + THREE + FOUR),
        ],
    )
    def test_whoever_names_the_head_among_others_has_it_if_its_upload_shows_so(
        self, moved: Patient, upload: bytes, head: bytes
    ) -> None:
        """It may be working on any of them."""
        moved.download(ALPHA, LOG, EVE, NOW, unless=named(ONE, ONE + TWO + THREE))
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        put(moved, EVE, upload)
        assert content(moved) == head

    def test_naming_the_head_while_an_upload_waits_leaves_that_in_its_place(self, moved: Patient) -> None:
        """What the client uploads next was made from the head, and does not hold what waits."""
        rescued(put(moved, EVE, ONE + TWO + FOUR))
        moved.download(ALPHA, LOG, EVE, NOW, unless=named(ONE + TWO + THREE))
        rescued(put(moved, EVE, TWO + THREE))
        assert waiting(moved) == 2
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == TWO + THREE + FOUR


def test_the_digest_of_a_restored_head_is_that_of_its_content(moved: Patient) -> None:
    """So that it can be named like any other."""
    head = head_of(moved.restore(ALPHA, Restore(LOG, 1, ANA), after(1)))
    assert head.sha256 == digest(ONE + TWO)
    assert head_of(put(moved, ANA, FOUR, named(ONE + TWO))).version == 4


def test_a_head_that_was_edited_by_hand_is_what_is_named(tmp_path: Path) -> None:
    """Not the version that lay there before: an upload made from that one is told of the change."""
    store = opened("disk", tmp_path)
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, ONE)
    head = directory_of(tmp_path, ALPHA) / FileName.LOG.value
    head.with_suffix(".new").write_bytes(ONE + TWO)
    head.with_suffix(".new").rename(head)
    outcome = put(store, ANA, ONE + THREE, named(ONE))
    assert isinstance(outcome, Changed)
    assert outcome.head
    assert outcome.head.sha256 == digest(ONE + TWO)
    assert head_of(put(store, ANA, ONE + THREE, named(ONE + TWO))).version == 3
    assert lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).client == ANA
