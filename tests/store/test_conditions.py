"""Uploads and downloads under a condition, in every store."""

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
    StaleToken,
    Unmodified,
    Unnamed,
    digest,
)
from tests.store.asking import (
    ENTITIES,
    EXPIRY,
    FOUR,
    LOG,
    ONE,
    THREE,
    TWO,
    content,
    fetch,
    hand_over,
    head_of,
    lock_of,
    put,
    rescued,
    waiting,
)
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, TTL, directory_of
from tests.store.stores import ANY, Patient, named, opened


def mentioned(count: int) -> bytes:
    """An `entities.json` with so many mentions of its one entity."""
    return b'{"files":{"a.py":{"mentions":%d}}}' % count


@pytest.fixture
def held(store: Patient) -> Patient:
    """The store, in which Ana holds the lock and has uploaded two lines."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, ONE + TWO)
    return store


@pytest.fixture
def moved(held: Patient) -> Patient:
    """The store after Ben added a third line; Ana holds the lock again."""
    hand_over(held, BEN)
    fetch(held, BEN)
    put(held, BEN, ONE + TWO + THREE)
    hand_over(held, ANA)
    return held


class TestUploadsUnderALock:
    """The holder names the head that its upload may replace."""

    @pytest.mark.parametrize("only_if", [ANY, named(ONE + TWO), named(b"else", ONE + TWO)])
    def test_an_upload_whose_condition_holds_becomes_the_head(
        self, held: Patient, only_if: Precondition
    ) -> None:
        """An upload without a condition would become it, too."""
        head = head_of(put(held, ANA, TWO, only_if=only_if))
        assert (content(held), head.version, head.sha256) == (TWO, 2, digest(TWO))
        assert held.versions(ALPHA)[1].base == 1

    @pytest.mark.parametrize(
        ("upload", "base"),
        [
            (ONE, ONE + TWO),
            (ONE + THREE, ONE + TWO),
            (THREE, ONE + TWO),
            (ONE + TWO + THREE, ONE + TWO),
            (ONE, b""),
        ],
    )
    def test_an_upload_that_names_the_head_replaces_it_whatever_it_lacks(
        self, held: Patient, upload: bytes, base: bytes
    ) -> None:
        """Any line of a log can be removed so; an empty file is a head."""
        put(held, ANA, base)
        before = held.versions(ALPHA)
        assert put(held, ANA, upload, only_if=named(base)) == Accepted(held.heads(ALPHA, NOW)[0])
        version = held.versions(ALPHA)[-1]
        assert (content(held), version.base, version.names_base) == (upload, before[-1].number, True)
        assert (version.is_unrelated, len(held.versions(ALPHA))) == (False, len(before) + 1)

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
        put(held, ANA, upload, only_if=only_if)
        assert content(held) == head
        assert not any(version.names_base for version in held.versions(ALPHA))

    @pytest.mark.parametrize(
        ("before", "only_if"),
        [
            *((ONE + TWO, only_if) for only_if in (NOT_THERE, named(ONE), named(), named(b"", ONE, TWO))),
            *((b"", only_if) for only_if in (NOT_THERE, named(ONE))),
            *((None, only_if) for only_if in (ANY, named(ONE), named(b""), named())),
        ],
    )
    def test_an_upload_whose_condition_does_not_hold_changes_nothing(
        self, store: Patient, before: bytes | None, only_if: Precondition
    ) -> None:
        """Its client is told the head, which may be empty; the upload is not kept."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        if before is not None:
            put(store, ANA, before)
        head, versions = next(iter(store.heads(ALPHA, NOW)), None), store.versions(ALPHA)
        assert put(store, ANA, TWO + THREE, only_if=only_if) == Changed(head)
        assert (content(store), store.versions(ALPHA)) == (before, versions)
        holding = NOT_THERE if before is None else named(before)
        assert head_of(put(store, ANA, TWO + THREE, only_if=holding)).version == len(versions) + 1

    def test_a_change_by_another_client_is_told_and_not_merged(self, held: Patient) -> None:
        """Ben was quicker; without a condition Ana's upload would have been merged."""
        held.acquire(ALPHA, BEN, EXPIRY, TTL)
        theirs = head_of(put(held, BEN, ONE + TWO + THREE, only_if=named(ONE + TWO), now=EXPIRY))
        later = Millis(EXPIRY + TTL)
        held.acquire(ALPHA, ANA, later, TTL)
        mine = ONE + TWO + FOUR
        assert put(held, ANA, mine, only_if=named(ONE + TWO), now=later) == Changed(theirs)
        assert content(held, now=later) == ONE + TWO + THREE
        assert put(held, ANA, mine, now=later) == Accepted(held.heads(ALPHA, later)[0], merged=True)

    @pytest.mark.parametrize("upload", [TWO, ONE + TWO])
    def test_an_upload_that_names_a_head_unknown_to_its_client_replaces_it(
        self, moved: Patient, upload: bytes
    ) -> None:
        """Lines that it lacks were removed, even if it is the base of its client."""
        head = head_of(put(moved, ANA, upload, only_if=named(ONE + TWO + THREE)))
        assert (content(moved), head.version) == (upload, 3)
        version = moved.versions(ALPHA)[-1]
        assert (version.kind, version.base, version.parents) == (Kind.UPLOAD, 2, ())

    @pytest.mark.parametrize("only_if", [None, ANY, NOT_THERE, named(FOUR), named()])
    @pytest.mark.parametrize("is_head", [False, True])
    def test_a_repetition_changes_nothing_whatever_its_condition(
        self, moved: Patient, only_if: Precondition | None, is_head: bool
    ) -> None:
        """Its first answer was lost; perhaps somebody else has gone on since."""
        [head], versions = moved.heads(ALPHA, NOW), moved.versions(ALPHA)
        client, upload = (BEN, ONE + TWO + THREE) if is_head else (ANA, ONE + TWO)
        hand_over(moved, client)
        assert put(moved, client, upload, only_if=only_if) == Accepted(head, merged=not is_head)
        assert (content(moved), moved.versions(ALPHA)) == (ONE + TWO + THREE, versions)

    def test_a_stale_token_comes_before_any_condition(self, held: Patient) -> None:
        """Its client must acquire again in any case."""
        lock = held.lock(ALPHA, NOW)
        assert put(held, ANA, ONE, only_if=named(FOUR), token=lock.token - 1) == StaleToken(lock)

    def test_without_merging_a_condition_is_one_all_the_same(self, moved: Patient) -> None:
        """Only the condition keeps an upload from replacing an unseen head then."""
        moved.merging = Merging(enabled=False)
        assert isinstance(put(moved, ANA, ONE + TWO, only_if=named(ONE)), Changed)
        head = head_of(put(moved, ANA, ONE + TWO, only_if=named(ONE + TWO + THREE)))
        assert (content(moved), head.version) == (ONE + TWO, 3)


class TestUploadsWithoutALock:
    """A condition is no way around the lock, and nothing is lost for one."""

    @pytest.mark.parametrize("only_if", [ANY, NOT_THERE, named(ONE + TWO), named(FOUR), named()])
    @pytest.mark.parametrize("holder", [ANA, None])
    def test_an_upload_without_the_lock_is_refused_first_and_kept(
        self, held: Patient, only_if: Precondition, holder: ClientId | None
    ) -> None:
        """Whether its condition holds or not."""
        if holder is None:
            held.release(ALPHA, ANA, NOW)
        lock = held.lock(ALPHA, NOW)
        outcome = put(held, BEN, ONE + TWO + THREE, only_if=only_if)
        assert outcome == Rescued(HeldBy(lock) if lock else NotLocked(), 2)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_a_refused_upload_has_the_base_that_it_names(self, moved: Patient) -> None:
        """Eve, who is unknown, removes a line of the version that she names."""
        number = rescued(put(moved, EVE, ONE + FOUR, only_if=named(ONE + TWO)))
        assert moved.versions(ALPHA)[number - 1].base == 1
        put(moved, ANA, ONE + TWO + THREE)
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + THREE + FOUR

    @pytest.mark.parametrize("only_if", [named(FOUR), named(ONE + TWO, ONE + TWO + THREE), ANY, NOT_THERE])
    def test_a_refused_upload_that_names_no_single_version_removes_nothing(
        self, moved: Patient, only_if: Precondition
    ) -> None:
        """An unknown name, several or none leave its base unknown."""
        number = rescued(put(moved, EVE, ONE + FOUR, only_if=only_if))
        assert moved.versions(ALPHA)[number - 1].base is None
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + TWO + THREE + FOUR

    def test_a_version_that_was_never_merged_is_no_base_though_it_is_named(self, held: Patient) -> None:
        """A merge on it would take its lines, which are in no head, for removed."""
        held.merging = Merging(enabled=False)
        rescued(put(held, BEN, ONE + TWO + THREE))
        held.merging = Merging()
        number = rescued(put(held, BEN, ONE + TWO + THREE + FOUR, only_if=named(ONE + TWO + THREE)))
        assert held.versions(ALPHA)[number - 1].base is None
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE + FOUR

    def test_an_upload_made_from_one_that_was_never_merged_has_its_base(self, held: Patient) -> None:
        """Lines of that base that the upload lacks were removed."""
        held.merging = Merging(enabled=False)
        rescued(put(held, BEN, ONE + TWO + THREE, only_if=named(ONE + TWO)))
        held.merging = Merging()
        number = rescued(put(held, BEN, TWO + THREE, only_if=named(ONE + TWO + THREE)))
        assert held.versions(ALPHA)[number - 1].base == 1
        held.release(ALPHA, ANA, NOW)
        assert content(held) == TWO + THREE

    def test_a_deliberate_return_is_kept_and_merged(self, moved: Patient) -> None:
        """Ben names the head, and goes back to an older content, without his line."""
        fetch(moved, BEN)
        rescued(put(moved, BEN, ONE + TWO, only_if=named(ONE + TWO + THREE)))
        put(moved, ANA, ONE + TWO + THREE + FOUR, only_if=named(ONE + TWO + THREE))
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + TWO + FOUR

    def test_an_upload_that_replaces_a_waiting_one_has_its_base(self, moved: Patient) -> None:
        """The waiting upload was not merged, and is part of the next one."""
        first = rescued(put(moved, EVE, ONE + FOUR, only_if=named(ONE + TWO)))
        second = rescued(put(moved, EVE, FOUR, only_if=named(ONE + FOUR)))
        version = moved.versions(ALPHA)[second - 1]
        assert (version.base, version.parents, waiting(moved)) == (1, (first,), 1)
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == THREE + FOUR

    def test_an_upload_that_names_a_waiting_one_replaces_it(self, moved: Patient) -> None:
        """The name is certain, even if a line is gone from the middle."""
        rescued(put(moved, EVE, ONE + TWO + FOUR, only_if=named(ONE + TWO)))
        rescued(put(moved, EVE, ONE + FOUR, only_if=named(ONE + TWO + FOUR)))
        assert waiting(moved) == 1
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == ONE + THREE + FOUR

    @pytest.mark.parametrize("is_merged", [True, False])
    def test_what_a_refused_upload_counted_is_counted_once(self, store: Patient, is_merged: bool) -> None:
        """The client goes on from it, and need not know what has become of it."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        put(store, ANA, mentioned(1), ENTITIES)
        rescued(put(store, BEN, mentioned(4), ENTITIES, only_if=named(mentioned(1))))
        if is_merged:
            hand_over(store, ANA)
        rescued(put(store, BEN, mentioned(7), ENTITIES, only_if=named(mentioned(4))))
        store.release(ALPHA, ANA, NOW)
        assert content(store, ENTITIES) == mentioned(7)

    @pytest.mark.parametrize(
        ("only_if", "waits"),
        [
            (named(TWO + FOUR), 1),
            (named(ONE + TWO), 2),
            (named(ONE + TWO + THREE), 2),
            (named(ONE, ONE + TWO), 2),
            (ANY, 2),
            (None, 2),
        ],
    )
    def test_an_upload_that_shares_nothing_replaces_a_waiting_one_that_it_names(
        self, moved: Patient, only_if: Precondition | None, waits: int
    ) -> None:
        """Everything may be written anew; otherwise another folder of the id has sent it."""
        first = rescued(put(moved, EVE, TWO + FOUR, only_if=named(ONE + TWO)))
        second = rescued(put(moved, EVE, THREE, only_if=only_if))
        assert waiting(moved) == waits
        assert moved.versions(ALPHA)[second - 1].parents == ((first,) if waits == 1 else ())

    def test_a_holder_whose_upload_waits_does_not_replace_the_head_by_naming_it(self, held: Patient) -> None:
        """The waiting upload was made from an older base, and is part of the next."""
        rescued(put(held, BEN, ONE + TWO + FOUR, only_if=named(ONE + TWO)))
        put(held, ANA, ONE + TWO + THREE)
        held.merging = Merging(enabled=False)
        hand_over(held, BEN)
        held.merging = Merging()
        outcome = put(held, BEN, ONE + TWO + FOUR, only_if=named(ONE + TWO + THREE))
        assert outcome == Accepted(held.heads(ALPHA, NOW)[0], merged=True)
        assert (content(held), waiting(held)) == (ONE + TWO + THREE + FOUR, 0)


class TestDownloadsUnlessKnown:
    """A client says what it has, and is sent only what that is not."""

    @pytest.mark.parametrize("reader", [Unnamed.OTHER, Unnamed.STOCK, EVE])
    @pytest.mark.parametrize("unless", [ANY, named(ONE + TWO), named(FOUR, ONE + TWO)])
    def test_a_head_that_the_client_has_is_not_sent_again(
        self, held: Patient, unless: Precondition, reader: Reader
    ) -> None:
        """Only that it is."""
        told = held.download(ALPHA, LOG, reader, NOW, unless=unless)
        assert told == Unmodified(held.heads(ALPHA, NOW)[0])
        assert held.download(ALPHA, ENTITIES, reader, NOW, unless=unless) is None

    @pytest.mark.parametrize("unless", [None, named(), named(ONE), named(ONE, TWO)])
    def test_a_head_that_the_client_does_not_name_is_sent(
        self, held: Patient, unless: Precondition | None
    ) -> None:
        """The head is sent whole, and with a receipt."""
        served = held.download(ALPHA, LOG, EVE, NOW, unless=unless)
        assert served.document == held.read(ALPHA, LOG, NOW)
        assert served.receipt == Receipt(EVE, LOG, 1)

    def test_a_client_that_names_the_head_has_it(self, moved: Patient) -> None:
        """Lines that its next upload lacks were removed."""
        moved.download(ALPHA, LOG, EVE, NOW, unless=named(ONE + TWO + THREE))
        hand_over(moved, EVE)
        assert put(moved, EVE, TWO + FOUR) == Accepted(moved.heads(ALPHA, NOW)[0], merged=True)
        assert (content(moved), moved.versions(ALPHA)[2].base) == (TWO + THREE + FOUR, 2)
        put(moved, EVE, FOUR)
        assert content(moved) == THREE + FOUR

    @pytest.mark.parametrize("reader", [Unnamed.OTHER, Unnamed.STOCK, EVE])
    @pytest.mark.parametrize(
        ("unless", "upload"),
        [
            (ANY, TWO + FOUR),
            (ANY, TWO + THREE + FOUR),
            (named(ONE + TWO), TWO + FOUR),
            (named(ONE, TWO), TWO + FOUR),
        ],
    )
    def test_a_client_that_does_not_name_the_head_is_not_known_to_have_it(
        self, moved: Patient, unless: Precondition, upload: bytes, reader: Reader
    ) -> None:
        """Its next upload removes nothing: `*` is any file, not this one."""
        moved.download(ALPHA, LOG, reader, NOW, unless=unless)
        hand_over(moved, EVE)
        put(moved, EVE, upload)
        assert content(moved) == ONE + TWO + THREE + FOUR

    def test_an_unnamed_client_gets_no_base_by_naming_the_head(self, moved: Patient) -> None:
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
    def test_a_client_that_names_the_head_among_others_has_it_if_its_upload_shows_so(
        self, moved: Patient, upload: bytes, head: bytes
    ) -> None:
        """Its copy may be any of them."""
        moved.download(ALPHA, LOG, EVE, NOW, unless=named(ONE, ONE + TWO + THREE))
        hand_over(moved, EVE)
        put(moved, EVE, upload)
        assert content(moved) == head

    def test_naming_the_head_while_an_upload_waits_leaves_that_in_its_place(self, moved: Patient) -> None:
        """Its next upload is made from the head, and lacks the waiting line."""
        rescued(put(moved, EVE, ONE + TWO + FOUR))
        moved.download(ALPHA, LOG, EVE, NOW, unless=named(ONE + TWO + THREE))
        rescued(put(moved, EVE, TWO + THREE))
        assert waiting(moved) == 2
        moved.release(ALPHA, ANA, NOW)
        assert content(moved) == TWO + THREE + FOUR


def test_a_head_that_was_edited_by_hand_is_what_is_named(tmp_path: Path) -> None:
    """An upload that names the version before the edit is told of the change."""
    store = opened("disk", tmp_path)
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, ONE)
    head = directory_of(tmp_path, ALPHA) / FileName.LOG.value
    head.with_suffix(".new").write_bytes(ONE + TWO)
    head.with_suffix(".new").rename(head)
    outcome = put(store, ANA, ONE + THREE, only_if=named(ONE))
    assert isinstance(outcome, Changed)
    assert outcome.head
    assert outcome.head.sha256 == digest(ONE + TWO)
    assert head_of(put(store, ANA, ONE + THREE, only_if=named(ONE + TWO))).version == 3
    assert lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).client == ANA
