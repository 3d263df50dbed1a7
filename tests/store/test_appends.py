"""Appends: what every store promises of them, on each of them. A retry never doubles a line, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from attrs import Factory, define
from hypothesis import given
from hypothesis import strategies as st

from mneme.errors import FileTooLarge, KeyReused, MissingPrecondition
from mneme.merge.bounds import body_size
from mneme.model import (
    NOT_THERE,
    Accepted,
    Append,
    Changed,
    ClientId,
    FileName,
    HeldBy,
    Kind,
    Merging,
    Millis,
    NotLocked,
    Precondition,
    ProjectId,
    Rescued,
    Served,
    StaleToken,
    Upload,
)
from tests.keeping import KEEP_NONE
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, TTL, content_of, directory_of
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
    head_with,
    lock_of,
    note,
    rescued,
    shared_store,
    waiting,
)
from tests.store.stores import ANY, STORES, Patient, named, opened


def add(
    store: Patient,
    client: ClientId,
    lines: bytes,
    key: str | None = None,
    only_if: Precondition | None = None,
    now: Millis = NOW,
) -> object:
    """A client appends to the log, by default to what the head holds."""
    return store.append(ALPHA, Append(LOG, lines, client, None, only_if or to_head(store), key), now)


def to_head(store: Patient, project: ProjectId = ALPHA, file: FileName = LOG) -> Precondition:
    """The condition that names the head."""
    document = store.read(project, file, NOW)
    return named(document.content) if document else NOT_THERE


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Patient:
    """A store, with nothing in it."""
    return opened(request.param, tmp_path / "data")


@pytest.fixture
def held(store: Patient) -> Patient:
    """The store, in which Ana holds the lock and has uploaded a line."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
    return store


def hand_over(store: Patient, client: ClientId, now: Millis = NOW) -> None:
    """Whoever holds the lock releases it, and a client acquires it."""
    lock = store.lock(ALPHA, now)
    if lock:
        store.release(ALPHA, lock.client, now)
    store.acquire(ALPHA, client, now, TTL)


class TestUnderALock:
    """The holder appends."""

    def test_lines_appended_to_nothing_make_the_file(self, store: Patient) -> None:
        """Like a first upload."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert add(store, ANA, ONE, now=after(5)) == Accepted(head_with(ONE, 1, after(5)))
        assert content(store) == ONE

    @pytest.mark.parametrize(
        ("before", "lines", "wanted"),
        [
            (ONE, TWO, ONE + TWO),
            (ONE.rstrip(), TWO, ONE + TWO),
            (ONE, TWO.rstrip(), ONE + TWO),
            (ONE, TWO + THREE, ONE + TWO + THREE),
            (ONE.replace(b"\n", b"\r\n"), TWO, ONE.replace(b"\n", b"\r\n") + TWO),
            (b"", ONE, ONE),
            (b"\n", ONE, b"\n" + ONE),
            (b"no entry", b"nor this", b"no entry\nnor this\n"),
            (b"\xff", ONE, b"\xff\n" + ONE),
        ],
    )
    def test_each_line_is_on_a_line_of_its_own(
        self, held: Patient, before: bytes, lines: bytes, wanted: bytes
    ) -> None:
        """Whether what is there ends with a newline or not, and whatever it is; nothing else is changed."""
        held.upload(ALPHA, Upload(LOG, before, ANA), NOW)
        head = head_of(add(held, ANA, lines))
        assert content(held) == wanted
        version = held.versions(ALPHA)[-1]
        assert (version.number, version.kind, version.client) == (head.version, Kind.UPLOAD, ANA)
        assert head.mtime > version.time

    @pytest.mark.parametrize("only_if", [named(ONE)])
    def test_one_whose_condition_holds_is_accepted(self, held: Patient, only_if: Precondition) -> None:
        """And made from the head."""
        add(held, ANA, TWO, only_if=only_if)
        assert (content(held), held.versions(ALPHA)[-1].base) == (ONE + TWO, 1)

    @pytest.mark.parametrize("only_if", [NOT_THERE, named(FOUR), named(b"")])
    def test_one_whose_condition_does_not_hold_changes_nothing(
        self, held: Patient, only_if: Precondition
    ) -> None:
        """It is told what the head is; its key is as good as new."""
        assert add(held, ANA, TWO, "key", only_if) == Changed(held.heads(ALPHA, NOW)[0])
        assert (content(held), len(held.versions(ALPHA))) == (ONE, 1)
        add(held, ANA, THREE, "key")
        assert content(held) == ONE + THREE

    @pytest.mark.parametrize("only_if", [named(b""), named(ONE)])
    def test_one_to_nothing_is_refused_if_there_must_be_something(
        self, store: Patient, only_if: Precondition
    ) -> None:
        """Unlike one that says so."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert add(store, ANA, ONE, only_if=only_if) == Changed(None)
        assert store.versions(ALPHA) == ()
        assert head_of(add(store, ANA, ONE, only_if=NOT_THERE)).version == 1

    def test_one_that_names_an_older_version_is_told_of_the_newer(self, held: Patient) -> None:
        """Nothing is merged for somebody who asked not to change what he has not seen."""
        add(held, ANA, TWO)
        hand_over(held, BEN)
        assert add(held, BEN, THREE, only_if=named(ONE)) == Changed(held.heads(ALPHA, NOW)[0])
        assert content(held) == ONE + TWO

    def test_a_repetition_without_a_key_is_known_by_what_it_names(self, held: Patient) -> None:
        """What it would make is the head already."""
        head = head_of(add(held, ANA, TWO, only_if=named(ONE)))
        assert add(held, ANA, TWO, only_if=named(ONE)) == Accepted(head)
        assert content(held) == ONE + TWO

    @pytest.mark.parametrize("client", [ANA, BEN])
    @pytest.mark.parametrize("only_if", [None, ANY, named(), named(ONE, FOUR)])
    def test_one_that_does_not_name_its_content_is_refused(
        self, held: Patient, only_if: Precondition | None, client: ClientId
    ) -> None:
        """With the lock or without it, nothing is added or kept."""
        with pytest.raises(MissingPrecondition, match="If-Match"):
            held.append(ALPHA, Append(LOG, TWO, client, None, only_if, "key"), NOW)
        assert (content(held), len(held.versions(ALPHA))) == (ONE, 1)
        assert not isinstance(add(held, client, THREE, "key"), Changed)

    def test_lines_are_added_to_what_others_added(self, held: Patient) -> None:
        """Nothing needs to be downloaded for that."""
        hand_over(held, BEN)
        add(held, BEN, TWO)
        hand_over(held, EVE)
        add(held, EVE, THREE)
        assert content(held) == ONE + TWO + THREE

    def test_a_file_that_no_stock_client_could_download_is_not_made(self, held: Patient) -> None:
        """By one byte; the head stays as it is, and the key is as good as new."""
        held.merging = Merging(max_bytes=body_size(ONE + TWO + THREE) - 1)
        with pytest.raises(FileTooLarge, match=r"log\.jsonl"):
            add(held, ANA, TWO + THREE, "key")
        assert (content(held), len(held.versions(ALPHA))) == (ONE, 1)
        held.merging = Merging(max_bytes=body_size(ONE + TWO + THREE))
        add(held, ANA, TWO + THREE, "key")
        assert content(held) == ONE + TWO + THREE

    def test_a_stale_token_is_told_and_nothing_kept(self, held: Patient) -> None:
        """Though its key was used before, for lines that are waiting."""
        rescued(add(held, BEN, TWO, "key"))
        hand_over(held, BEN)
        lock = held.lock(ALPHA, NOW)
        assert lock
        stale = Append(LOG, THREE, BEN, lock.token - 1, named(ONE), "other")
        assert held.append(ALPHA, stale, NOW) == StaleToken(lock)
        assert content(held) == ONE + TWO

    def test_without_merging_lines_are_added_all_the_same(self, held: Patient) -> None:
        """An append has never replaced anything."""
        held.merging = Merging(enabled=False)
        hand_over(held, BEN)
        add(held, BEN, TWO)
        assert content(held) == ONE + TWO


class TestWhatItsClientHas:
    """An append shows that its client has the content it names, and the lines."""

    @pytest.mark.parametrize("refused", [False, True])
    def test_a_client_has_what_it_names_with_these_lines(self, held: Patient, refused: bool) -> None:
        """So that its next upload removes what it lacks."""
        if refused:
            rescued(add(held, BEN, TWO, only_if=named(ONE)))
        hand_over(held, BEN)
        if not refused:
            add(held, BEN, TWO, only_if=named(ONE))
        held.upload(ALPHA, Upload(LOG, TWO + THREE, BEN), NOW)
        assert content(held) == TWO + THREE

    def test_a_row_of_appends_is_as_well_known_as_its_first(self, held: Patient) -> None:
        """Ana goes on from her own upload, and removes what she has just appended."""
        for lines in (TWO, THREE):
            add(held, ANA, lines)
        held.upload(ALPHA, Upload(LOG, THREE + FOUR, ANA), NOW)
        assert content(held) == THREE + FOUR


class TestRefusedForTheLock:
    """Lines of whoever does not hold the lock are kept, and merged when it is free."""

    @pytest.mark.parametrize("only_if", [NOT_THERE, named(ONE), named(FOUR)])
    def test_one_is_refused_for_the_lock_first_and_merged_later(
        self, held: Patient, only_if: Precondition
    ) -> None:
        """Whatever its condition."""
        lock = lock_of(held.acquire(ALPHA, ANA, NOW, TTL))
        assert add(held, BEN, THREE, only_if=only_if) == Rescued(HeldBy(lock), 2)
        assert content(held) == ONE
        add(held, ANA, TWO)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    @pytest.mark.parametrize("only_if", [NOT_THERE, named(ONE)])
    def test_one_to_nothing_is_kept_too(self, store: Patient, only_if: Precondition) -> None:
        """In a project that nobody has written; there it is merged at once."""
        assert add(store, BEN, ONE, only_if=only_if) == Rescued(NotLocked(), 1)
        assert content(store) == ONE

    def test_one_that_names_an_older_version_has_removed_nothing_since(self, held: Patient) -> None:
        """Its base is that version, and what others added to it stays."""
        add(held, ANA, TWO)
        number = rescued(add(held, BEN, THREE, only_if=named(ONE)))
        assert (held.versions(ALPHA)[number - 1].base, held.versions(ALPHA)[number - 1].size) == (
            1,
            len(ONE + THREE),
        )
        held.upload(ALPHA, Upload(LOG, TWO, ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == TWO + THREE

    def test_one_that_has_all_lines_again_that_wait_takes_their_place(self, held: Patient) -> None:
        """Its client goes on from what it had, and sends all that is new since: no line is there twice."""
        rescued(add(held, BEN, TWO, only_if=named(ONE)))
        number = rescued(add(held, BEN, TWO + THREE, only_if=named(ONE)))
        assert content_of(held, ALPHA, number) == ONE + TWO + THREE
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_one_to_nothing_is_not_made_from_what_its_client_had_before(self, tmp_path: Path) -> None:
        """Somebody removed the file, and the holder uploads it again: the lines that Ben had are not removed."""
        store = opened("disk", tmp_path)
        store.acquire(ALPHA, BEN, NOW, TTL)
        store.upload(ALPHA, Upload(LOG, ONE, BEN), NOW)
        hand_over(store, ANA)
        (directory_of(tmp_path, ALPHA) / FileName.LOG.value).unlink()
        rescued(add(store, BEN, TWO))
        store.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        store.release(ALPHA, ANA, NOW)
        assert content(store) == ONE + TWO

    def test_one_after_another_are_all_merged(self, held: Patient) -> None:
        """The next takes the place of the one before, and holds its lines."""
        numbers = [rescued(add(held, BEN, lines)) for lines in (TWO, THREE, FOUR)]
        assert [held.versions(ALPHA)[n - 1].parents for n in numbers] == [(), (2,), (3,)]
        assert (waiting(held), content(held)) == (1, ONE)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE + FOUR

    @pytest.mark.parametrize("only_if", [named(ONE), named(ONE + TWO), named(FOUR)])
    def test_one_after_a_refused_upload_is_added_to_that(self, held: Patient, only_if: Precondition) -> None:
        """Whatever it names; that the upload removed a line is not undone."""
        add(held, ANA, FOUR)
        fetch(held, BEN)
        rescued(held.upload(ALPHA, Upload(LOG, FOUR + TWO, BEN), NOW))
        rescued(add(held, BEN, THREE, only_if=only_if))
        held.release(ALPHA, ANA, NOW)
        assert sorted((content(held) or b"").splitlines(keepends=True)) == [TWO, THREE, FOUR]

    def test_one_after_a_download_is_merged_beside_what_waits(self, held: Patient) -> None:
        """What its client was sent does not hold what waits."""
        rescued(add(held, BEN, TWO, "two"))
        fetch(held, BEN)
        rescued(add(held, BEN, THREE, "three"))
        assert waiting(held) == 2
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_those_of_several_clients_are_all_merged(self, held: Patient) -> None:
        """In the order of their times."""
        for number, client in enumerate((EVE, BEN, EVE), start=2):
            rescued(add(held, client, note(number)))
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE + FOUR

    def test_with_merging_off_one_is_only_kept(self, held: Patient) -> None:
        """In history; the head stays as it is."""
        held.merging = Merging(enabled=False)
        number = rescued(add(held, BEN, TWO))
        held.release(ALPHA, ANA, NOW)
        kept = held.version(ALPHA, number)
        assert kept
        assert (content(held), kept.content) == (ONE, ONE + TWO)

    def test_lines_that_are_no_entries_are_kept_and_merged_among_entries(self, held: Patient) -> None:
        """They spoil nothing of what waits."""
        rescued(add(held, BEN, b"no entry\n"))
        rescued(add(held, BEN, TWO))
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + b"no entry\n" + TWO


class TestRepeated:
    """An append with the same key is the first one again."""

    def test_one_at_once_comes_to_the_same(self, held: Patient) -> None:
        """The answer was lost."""
        first = add(held, ANA, TWO, "key", now=after(5))
        assert add(held, ANA, TWO, "key", now=after(6)) == first
        assert (content(held), len(held.versions(ALPHA))) == (ONE + TWO, 2)

    @pytest.mark.parametrize("again", [TWO, TWO.rstrip()])
    def test_a_newline_at_the_end_is_no_other_line(self, held: Patient, again: bytes) -> None:
        """It is added anyway."""
        add(held, ANA, TWO.rstrip(), "key")
        add(held, ANA, again, "key")
        assert content(held) == ONE + TWO

    @pytest.mark.parametrize("only_if", [named(ONE), named(FOUR), NOT_THERE])
    def test_one_is_the_same_whatever_its_condition(self, held: Patient, only_if: Precondition) -> None:
        """It held when it came first."""
        head = head_of(add(held, ANA, TWO, "key", named(ONE)))
        assert add(held, ANA, TWO, "key", only_if) == Accepted(head)
        assert content(held) == ONE + TWO

    @pytest.mark.parametrize("holds", [True, False])
    def test_one_after_an_upload_of_another_client_changes_nothing(self, held: Patient, holds: bool) -> None:
        """Even if that removed the lines; whether its client holds the lock again or not."""
        add(held, ANA, TWO, "key")
        add(held, ANA, THREE)
        hand_over(held, BEN)
        fetch(held, BEN)
        head = head_of(held.upload(ALPHA, Upload(LOG, THREE + FOUR, BEN), NOW))
        if holds:
            hand_over(held, ANA)
        assert add(held, ANA, TWO, "key") == Accepted(head, merged=True)
        assert content(held) == THREE + FOUR

    @pytest.mark.parametrize("between", [1, 300])
    def test_one_after_others_is_known(self, between: int) -> None:
        """For as long as its version is kept."""
        store = opened("memory", Path())
        store.acquire(ALPHA, ANA, NOW, TTL)
        for number in range(between + 1):
            add(store, ANA, note(number), f"key {number}")
        held, versions = content(store), len(store.versions(ALPHA))
        assert isinstance(add(store, ANA, note(0), "key 0"), Accepted)
        assert (content(store), len(store.versions(ALPHA))) == (held, versions)

    @pytest.mark.parametrize(
        "others", [THREE, TWO + THREE, THREE + TWO, ONE + TWO, b"\n" + TWO, b"", TWO.rstrip(b"}\n")]
    )
    @pytest.mark.parametrize("refused", [False, True])
    def test_one_with_other_lines_is_a_mistake(self, held: Patient, others: bytes, refused: bool) -> None:
        """Even if what it made ends with them."""
        client = BEN if refused else ANA
        add(held, client, TWO, "key")
        before = held.versions(ALPHA)
        with pytest.raises(KeyReused):
            add(held, client, others, "key")
        assert held.versions(ALPHA) == before

    def test_one_that_has_only_the_last_of_the_lines_is_a_mistake(self, held: Patient) -> None:
        """The others would be missed by nobody until it is too late."""
        add(held, ANA, TWO + THREE, "key")
        with pytest.raises(KeyReused):
            add(held, ANA, THREE, "key")

    def test_one_with_other_lines_is_a_mistake_where_there_is_no_head_either(self, store: Patient) -> None:
        """What was kept is remembered by its key, too."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        rescued(add(store, BEN, ONE, "key"))
        with pytest.raises(KeyReused):
            add(store, BEN, TWO, "key")

    def test_the_same_key_of_another_client_is_another(self, held: Patient) -> None:
        """Nobody can know which keys the others take."""
        add(held, ANA, TWO, "key")
        hand_over(held, BEN)
        add(held, BEN, THREE, "key")
        assert content(held) == ONE + TWO + THREE

    def test_the_same_key_for_another_file_is_another(self, held: Patient) -> None:
        """Each file has its own lines."""
        add(held, ANA, TWO, "key")
        held.append(ALPHA, Append(FileName.SUMMARY_MD, b"# One\n", ANA, None, NOT_THERE, "key"), NOW)
        assert content(held, FileName.SUMMARY_MD) == b"# One\n"

    def test_the_same_key_in_another_project_is_another(self, held: Patient) -> None:
        """As if it were another server."""
        other = ProjectId("beta")
        add(held, ANA, TWO, "key")
        held.acquire(other, ANA, NOW, TTL)
        held.append(other, Append(LOG, THREE, ANA, None, NOT_THERE, "key"), NOW)
        assert held.read(other, LOG, NOW) is not None

    def test_one_that_waits_is_refused_again_and_waits(self, held: Patient) -> None:
        """As the same version; also when the lock is another's by then."""
        number = rescued(add(held, BEN, TWO, "key"))
        assert rescued(add(held, BEN, TWO, "key")) == number
        lock = lock_of(held.acquire(ALPHA, ANA, NOW, TTL))
        assert add(held, BEN, TWO, "key") == Rescued(HeldBy(lock), number)
        assert waiting(held) == 1
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO

    @pytest.mark.parametrize("holder", [None, BEN, EVE])
    def test_one_that_was_merged_since_is_accepted(self, held: Patient, holder: ClientId | None) -> None:
        """Its lines are in the head: that is what it was sent for, whoever holds the lock."""
        rescued(add(held, BEN, TWO, "key"))
        held.release(ALPHA, ANA, NOW)
        if holder:
            held.acquire(ALPHA, holder, NOW, TTL)
        assert add(held, BEN, TWO, "key") == Accepted(held.heads(ALPHA, NOW)[0], merged=True)
        assert content(held) == ONE + TWO

    def test_one_whose_place_another_took_is_what_became_of_that(self, held: Patient) -> None:
        """It waits, while that does, and is merged with it."""
        keys = {f"key {number}": note(number) for number in (2, 3, 4)}
        numbers = [rescued(add(held, BEN, lines, key)) for key, lines in keys.items()]
        assert [rescued(add(held, BEN, lines, key)) for key, lines in keys.items()] == numbers[-1:] * 3
        hand_over(held, BEN)
        head = held.heads(ALPHA, NOW)[0]
        for key, lines in keys.items():
            assert add(held, BEN, lines, key) == Accepted(head, merged=True)
        assert content(held) == ONE + TWO + THREE + FOUR

    @pytest.mark.parametrize("holds", [True, False])
    def test_one_whose_place_an_upload_took_is_in_that(self, held: Patient, holds: bool) -> None:
        """Its client has the lines in its file, and uploads it whole."""
        rescued(add(held, BEN, TWO, "key"))
        rescued(held.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, BEN), NOW))
        hand_over(held, BEN if holds else EVE)
        assert isinstance(add(held, BEN, TWO, "key"), Accepted)
        assert content(held) == ONE + TWO + THREE

    def test_one_that_was_only_kept_is_done_under_the_lock(self, held: Patient) -> None:
        """With merging off nothing else would ever come of it; it is done once."""
        held.merging = Merging(enabled=False)
        number = rescued(add(held, BEN, TWO, "key"))
        assert rescued(add(held, BEN, TWO, "key")) == number
        hand_over(held, BEN)
        head = head_of(add(held, BEN, TWO, "key"))
        assert add(held, BEN, TWO, "key") == Accepted(head)
        assert content(held) == ONE + TWO

    def test_one_that_nothing_was_made_of_is_done_though_another_was_since(self, held: Patient) -> None:
        """What waits is given up for an append while merging is off, which does not hold the lines that waited."""
        for lines, key in ((TWO, "two"), (THREE, "three")):
            rescued(add(held, BEN, lines, key))
        held.merging = Merging(enabled=False)
        hand_over(held, BEN)
        for lines, key in ((TWO, "two"), (THREE, "three")) * 2:
            assert isinstance(add(held, BEN, lines, key), Accepted)
        assert content(held) == ONE + TWO + THREE

    def test_one_that_could_not_be_merged_is_done_under_the_lock(self, held: Patient) -> None:
        """The head was nothing that lines can be merged into, and lines can be added to that."""
        held.upload(ALPHA, Upload(LOG, b"no log\n", ANA), NOW)
        rescued(add(held, BEN, TWO, "key", named(ONE)))
        hand_over(held, BEN)
        assert content(held) == b"no log\n"
        for _ in range(2):
            assert isinstance(add(held, BEN, TWO, "key"), Accepted)
            assert content(held) == b"no log\n" + TWO

    @pytest.mark.parametrize("key", ["key", "other"])
    def test_what_waits_of_the_holder_is_merged_first(self, held: Patient, key: str) -> None:
        """It waits although its client has the lock by now: merging was off when that became free."""
        rescued(add(held, BEN, TWO + THREE, "key"))
        held.merging = Merging(enabled=False)
        hand_over(held, BEN)
        held.merging = Merging()
        assert (waiting(held), content(held)) == (1, ONE)
        if key == "key":
            assert isinstance(add(held, BEN, TWO + THREE, key), Accepted)
        else:
            assert isinstance(add(held, BEN, FOUR, key, named(ONE)), Changed)
            assert isinstance(add(held, BEN, FOUR, key), Accepted)
        assert (waiting(held), content(held)) == (0, ONE + TWO + THREE + (FOUR if key != "key" else b""))

    def test_one_whose_lock_expired_since_is_accepted(self, held: Patient) -> None:
        """It was in time."""
        head = head_of(add(held, ANA, TWO, "key"))
        assert add(held, ANA, TWO, "key", now=EXPIRY) == Accepted(head)

    def test_one_after_pruning_is_known(self, held: Patient) -> None:
        """While its version is there: that of the head is."""
        for number in (2, 3, 4):
            add(held, ANA, note(number), f"key {number}")
        held.prune(ALPHA, KEEP_NONE, after(1), 99)
        assert [version.number for version in held.versions(ALPHA)] == [4]
        assert isinstance(add(held, ANA, FOUR, "key 4"), Accepted)
        assert content(held) == ONE + TWO + THREE + FOUR


class TestOnDisk:
    """What only a disk can do to an append."""

    def test_one_that_was_edited_in_place_is_not_done_again(self, tmp_path: Path) -> None:
        """The edit spoils the version, and says nothing against its lines having been there."""
        store = opened("disk", tmp_path)
        store.acquire(ALPHA, ANA, NOW, TTL)
        add(store, ANA, ONE, "key")
        with (directory_of(tmp_path, ALPHA) / FileName.LOG.value).open("ab") as head:
            head.write(TWO)
        assert isinstance(add(store, ANA, ONE, "key"), Accepted)
        assert content(store) == ONE + TWO

    def test_one_whose_file_was_removed_since_is_done_again(self, tmp_path: Path) -> None:
        """There is no head that it could be in."""
        store = opened("disk", tmp_path)
        store.acquire(ALPHA, ANA, NOW, TTL)
        add(store, ANA, ONE, "key")
        (directory_of(tmp_path, ALPHA) / FileName.LOG.value).unlink()
        assert isinstance(add(store, ANA, ONE, "key"), Accepted)
        assert content(store) == ONE


CLIENTS = (ANA, BEN, EVE)
_PROJECTS = count()


@define
class Machines:
    """Clients that each have a copy of the log, append to it, and tell the server of it."""

    store: Patient
    project: ProjectId
    copies: dict[ClientId, bytes] = Factory(lambda: dict.fromkeys(CLIENTS, b""))
    told: list[Append] = Factory(list)
    """What was sent at least once, and not refused for what it names."""

    def append(self, client: ClientId, which: int, names: bool) -> None:
        """Append two new lines, one of them from any time."""
        number = len(self.told)
        lines = note(which).replace(b"number", b"%d: number" % number) + note(100 + number)
        copy = self.copies[client]
        condition = named(copy) if copy else NOT_THERE
        one = Append(LOG, lines, client, None, condition, f"key {number}")
        if not isinstance(self.store.append(self.project, one, NOW), Changed):
            self.told.append(one)
            self.copies[client] += lines

    def repeat(self, client: ClientId, which: int, names: bool) -> None:
        """Send any of the appends again."""
        if self.told:
            outcome = self.store.append(self.project, self.told[which % len(self.told)], NOW)
            assert isinstance(outcome, Accepted | Rescued)

    def fetch(self, client: ClientId, which: int, names: bool) -> None:
        """Download the log, unless it is what the copy is."""
        unless = named(self.copies[client]) if names else None
        served = self.store.download(self.project, LOG, client, NOW, unless=unless)
        if isinstance(served, Served):
            self.copies[client] = served.document.content
            if served.receipt and which % 2:
                self.store.confirm(self.project, served.receipt, NOW)

    def upload(self, client: ClientId, which: int, names: bool) -> None:
        """Upload the copy."""
        self.store.upload(self.project, Upload(LOG, self.copies[client], client), NOW)

    def acquire(self, client: ClientId, which: int, names: bool) -> None:
        """Take the lock."""
        self.store.acquire(self.project, client, NOW, TTL)

    def release(self, client: ClientId, which: int, names: bool) -> None:
        """Give the lock back."""
        self.store.release(self.project, client, NOW)


DEEDS = (
    *(Machines.append, Machines.append, Machines.repeat, Machines.repeat),
    *(Machines.fetch, Machines.upload, Machines.acquire, Machines.release),
)


@pytest.mark.parametrize("which", STORES)
@shared_store
@given(
    st.lists(
        st.tuples(st.sampled_from(DEEDS), st.sampled_from(CLIENTS), st.integers(0, 99), st.booleans()),
        max_size=16,
    )
)
def test_any_row_of_appends_and_retries_ends_with_each_line_once(
    which: str, tmp_path: Path, deeds: list[tuple[Callable[..., None], ClientId, int, bool]]
) -> None:
    """Whoever holds the lock, whatever was repeated and how often, and whoever uploads what he has of it."""
    machines = Machines(opened(which, tmp_path / "data"), ProjectId(f"p{next(_PROJECTS)}"))
    machines.append(ANA, 0, names=False)
    for deed, *arguments in deeds:
        deed(machines, *arguments)
    for client in CLIENTS:
        machines.release(client, 0, names=False)
    for one in machines.told:
        machines.store.append(machines.project, one, NOW)
    head = machines.store.read(machines.project, LOG, NOW)
    assert head
    wanted = sorted(line for one in machines.told for line in one.lines.splitlines(keepends=True))
    assert sorted(head.content.splitlines(keepends=True)) == wanted
