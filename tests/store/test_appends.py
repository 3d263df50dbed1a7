"""Appends to every store: a retry never doubles a line, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define
from hypothesis import HealthCheck, given, settings
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
from tests.store.asking import (
    EXPIRY,
    FOUR,
    LOG,
    ONE,
    SUMMARY_MD,
    THREE,
    TWO,
    after,
    content,
    fetch,
    hand_over,
    head_of,
    lock_of,
    note,
    put,
    rescued,
    waiting,
)
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, ORG, TTL, content_of, directory_of
from tests.store.stores import ANY, STORES, Patient, named, opened


def add(
    store: Patient,
    client: ClientId,
    lines: bytes,
    key: str | None = None,
    only_if: Precondition | None = None,
    now: Millis = NOW,
) -> Any:
    """Append to the log as a client, by default to the content of the head."""
    return store.append(ALPHA, Append(LOG, lines, client, None, only_if or to_head(store), key), now)


def to_head(store: Patient) -> Precondition:
    """The condition that names the head."""
    before = content(store)
    return NOT_THERE if before is None else named(before)


@pytest.fixture
def held(store: Patient) -> Patient:
    """The store, in which Ana holds the lock and has uploaded a line."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, ONE)
    return store


class TestUnderALock:
    """The holder appends."""

    @pytest.mark.parametrize(
        ("before", "lines", "wanted"),
        [
            (None, ONE, ONE),
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
    @pytest.mark.parametrize("enabled", [True, False])
    def test_each_line_is_on_a_line_of_its_own(
        self, store: Patient, before: bytes | None, lines: bytes, wanted: bytes, enabled: bool
    ) -> None:
        """Nothing else changes, whatever the file is, with merging on or off."""
        store.merging = Merging(enabled=enabled)
        if before is not None:
            store.acquire(ALPHA, ANA, NOW, TTL)
            put(store, ANA, before)
        hand_over(store, BEN)
        versions = store.versions(ALPHA)
        head = head_of(add(store, BEN, lines))
        assert content(store) == wanted
        version = store.versions(ALPHA)[-1]
        assert (version.number, version.kind, version.client) == (head.version, Kind.UPLOAD, BEN)
        assert (version.base, head.mtime) == ((1, NOW + 1) if versions else (None, NOW))

    @pytest.mark.parametrize(
        ("before", "only_if"),
        [
            *((ONE, only_if) for only_if in (NOT_THERE, named(FOUR), named(b""))),
            *((None, only_if) for only_if in (named(b""), named(ONE))),
        ],
    )
    @pytest.mark.parametrize("client", [ANA, BEN])
    def test_an_append_whose_condition_does_not_hold_changes_nothing(
        self, store: Patient, before: bytes | None, only_if: Precondition, client: ClientId
    ) -> None:
        """Its client is told the head, and may use the key again."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        if before:
            put(store, ANA, before)
        hand_over(store, client)
        versions = store.versions(ALPHA)
        assert add(store, client, TWO, "key", only_if) == Changed(next(iter(store.heads(ALPHA, NOW)), None))
        assert store.versions(ALPHA) == versions
        add(store, client, THREE, "key")
        assert content(store) == (before or b"") + THREE

    def test_a_repetition_without_a_key_is_known_by_what_it_names(self, held: Patient) -> None:
        """Its outcome is the head already."""
        head = head_of(add(held, ANA, TWO, only_if=named(ONE)))
        assert add(held, ANA, TWO, only_if=named(ONE)) == Accepted(head)
        assert content(held) == ONE + TWO

    @pytest.mark.parametrize("client", [ANA, BEN])
    @pytest.mark.parametrize("only_if", [None, ANY, named(), named(ONE, FOUR)])
    def test_an_append_that_does_not_name_its_content_is_refused(
        self, held: Patient, only_if: Precondition | None, client: ClientId
    ) -> None:
        """With the lock or without it, nothing is added or kept."""
        with pytest.raises(MissingPrecondition, match="If-Match"):
            held.append(ALPHA, Append(LOG, TWO, client, None, only_if, "key"), NOW)
        assert (content(held), len(held.versions(ALPHA))) == (ONE, 1)
        assert not isinstance(add(held, client, THREE, "key"), Changed)

    def test_a_file_that_no_stock_client_could_download_is_not_made(self, held: Patient) -> None:
        """The bound is exact; the head stays, and the key may be used again."""
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
        stale = Append(LOG, THREE, BEN, lock.token - 1, named(ONE), "other")
        assert held.append(ALPHA, stale, NOW) == StaleToken(lock)
        assert content(held) == ONE + TWO


class TestWhatItsClientHas:
    """An append shows that its client has the content it names, and the lines."""

    @pytest.mark.parametrize("refused", [False, True])
    def test_a_client_has_what_it_names_with_these_lines(self, held: Patient, refused: bool) -> None:
        """Lines that its next upload lacks were removed."""
        if refused:
            rescued(add(held, BEN, TWO, only_if=named(ONE)))
        hand_over(held, BEN)
        if not refused:
            add(held, BEN, TWO, only_if=named(ONE))
        put(held, BEN, TWO + THREE)
        assert content(held) == TWO + THREE

    def test_a_row_of_appends_is_as_well_known_as_its_first(self, held: Patient) -> None:
        """Ana goes on from her own upload, and removes what she has just appended."""
        for lines in (TWO, THREE):
            add(held, ANA, lines)
        put(held, ANA, THREE + FOUR)
        assert content(held) == THREE + FOUR


class TestRefusedForTheLock:
    """Appends without the lock are kept, and merged when it is free."""

    @pytest.mark.parametrize("only_if", [NOT_THERE, named(ONE), named(FOUR)])
    def test_an_append_without_the_lock_is_refused_first_and_merged_later(
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
    def test_a_refused_append_to_nothing_is_kept_too(self, store: Patient, only_if: Precondition) -> None:
        """In a project that nobody has written; there it is merged at once."""
        assert add(store, BEN, ONE, only_if=only_if) == Rescued(NotLocked(), 1)
        assert content(store) == ONE

    def test_a_refused_append_to_an_older_version_removes_nothing(self, held: Patient) -> None:
        """Its base is that version; lines that others added to it stay."""
        add(held, ANA, TWO)
        number = rescued(add(held, BEN, THREE, only_if=named(ONE)))
        assert held.versions(ALPHA)[number - 1].base == 1
        assert content_of(held, ALPHA, number) == ONE + THREE
        put(held, ANA, TWO)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == TWO + THREE

    def test_a_refused_append_with_all_waiting_lines_replaces_them(self, held: Patient) -> None:
        """A client sends all its new lines again: none is there twice."""
        rescued(add(held, BEN, TWO, only_if=named(ONE)))
        number = rescued(add(held, BEN, TWO + THREE, only_if=named(ONE)))
        assert content_of(held, ALPHA, number) == ONE + TWO + THREE
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_a_refused_append_to_a_removed_file_has_no_base(self, tmp_path: Path) -> None:
        """A removed file comes back: the lines that Ben had are not removed from it."""
        store = opened("disk", tmp_path)
        store.acquire(ALPHA, BEN, NOW, TTL)
        put(store, BEN, ONE)
        hand_over(store, ANA)
        (directory_of(tmp_path, ALPHA) / FileName.LOG.value).unlink()
        rescued(add(store, BEN, TWO))
        put(store, ANA, ONE)
        store.release(ALPHA, ANA, NOW)
        assert content(store) == ONE + TWO

    @pytest.mark.parametrize("enabled", [True, False])
    def test_refused_appends_one_after_another_are_all_kept(self, held: Patient, enabled: bool) -> None:
        """Each holds the lines of the replaced one; without merging none is merged."""
        held.merging = Merging(enabled=enabled)
        numbers = [rescued(add(held, BEN, lines)) for lines in (TWO, THREE, FOUR)]
        parents = [held.versions(ALPHA)[n - 1].parents for n in numbers]
        assert parents == ([(), (2,), (3,)] if enabled else [(), (), ()])
        assert (waiting(held), content(held)) == (1 if enabled else 0, ONE)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + (TWO + THREE + FOUR if enabled else b"")
        assert content_of(held, ALPHA, numbers[0]) == ONE + TWO

    @pytest.mark.parametrize("only_if", [named(ONE), named(ONE + TWO), named(FOUR)])
    def test_an_append_after_a_refused_upload_is_added_to_that(
        self, held: Patient, only_if: Precondition
    ) -> None:
        """A line that the upload removed stays removed, whatever the append names."""
        add(held, ANA, FOUR)
        fetch(held, BEN)
        rescued(put(held, BEN, FOUR + TWO))
        rescued(add(held, BEN, THREE, only_if=only_if))
        held.release(ALPHA, ANA, NOW)
        assert sorted((content(held) or b"").splitlines(keepends=True)) == [TWO, THREE, FOUR]

    def test_an_append_after_a_download_is_merged_beside_the_waiting_one(self, held: Patient) -> None:
        """The download lacks the waiting line."""
        rescued(add(held, BEN, TWO, "two"))
        fetch(held, BEN)
        rescued(add(held, BEN, THREE, "three"))
        assert waiting(held) == 2
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_lines_that_are_no_entries_are_kept_and_merged_among_entries(self, held: Patient) -> None:
        """They spoil nothing of what waits."""
        rescued(add(held, BEN, b"no entry\n"))
        rescued(add(held, BEN, TWO))
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + b"no entry\n" + TWO


class TestRepeated:
    """An append with the same key is the first one again."""

    @pytest.mark.parametrize("only_if", [named(ONE), named(FOUR), NOT_THERE])
    @pytest.mark.parametrize("now", [after(6), EXPIRY])
    @pytest.mark.parametrize(
        ("lines", "again"), [(TWO, TWO), (TWO.rstrip(), TWO), (TWO.rstrip(), TWO.rstrip())]
    )
    def test_a_repetition_has_the_same_outcome_whatever_its_condition(
        self, held: Patient, only_if: Precondition, now: Millis, lines: bytes, again: bytes
    ) -> None:
        """Neither an expired lock nor a last newline makes it another."""
        first = add(held, ANA, lines, "key", named(ONE), after(5))
        assert add(held, ANA, again, "key", only_if, now) == Accepted(first.head) == first
        assert (content(held), len(held.versions(ALPHA))) == (ONE + TWO, 2)

    @pytest.mark.parametrize("holds", [True, False])
    def test_a_repetition_after_an_upload_of_another_client_changes_nothing(
        self, held: Patient, holds: bool
    ) -> None:
        """Even if that removed the lines; whether its client holds the lock again or not."""
        add(held, ANA, TWO, "key")
        add(held, ANA, THREE)
        hand_over(held, BEN)
        fetch(held, BEN)
        head = head_of(put(held, BEN, THREE + FOUR))
        if holds:
            hand_over(held, ANA)
        assert add(held, ANA, TWO, "key") == Accepted(head, merged=True)
        assert content(held) == THREE + FOUR

    @pytest.mark.parametrize("between", [1, 300])
    @pytest.mark.parametrize("pruned", [False, True])
    def test_a_repetition_after_other_appends_is_known(self, between: int, pruned: bool) -> None:
        """For as long as its version is kept; that of the head is not pruned."""
        store = opened("memory", Path())
        store.acquire(ALPHA, ANA, NOW, TTL)
        for number in range(between + 1):
            add(store, ANA, note(number), f"key {number}")
        if pruned:
            store.prune(ALPHA, KEEP_NONE, after(1), 999)
        last = between if pruned else 0
        lines, versions = content(store), len(store.versions(ALPHA))
        assert isinstance(add(store, ANA, note(last), f"key {last}"), Accepted)
        assert (content(store), len(store.versions(ALPHA))) == (lines, versions)

    @pytest.mark.parametrize(
        "others",
        [THREE, TWO, ONE, TWO + ONE, ONE + TWO + THREE, b"\n" + ONE + TWO, b"", (ONE + TWO).rstrip(b"}\n")],
    )
    @pytest.mark.parametrize("refused", [False, True])
    @pytest.mark.parametrize("before", [None, FOUR])
    def test_a_repetition_with_other_lines_is_a_mistake(
        self, store: Patient, others: bytes, refused: bool, before: bytes | None
    ) -> None:
        """Other lines may be the first or the last of them, or have no head."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        if before:
            put(store, ANA, before)
        client = BEN if refused else ANA
        add(store, client, ONE + TWO, "key")
        versions = store.versions(ALPHA)
        with pytest.raises(KeyReused):
            add(store, client, others, "key")
        assert store.versions(ALPHA) == versions

    def test_the_same_key_of_another_client_is_another(self, held: Patient) -> None:
        """Neither client, file nor project shares its keys with another."""
        add(held, ANA, TWO, "key")
        hand_over(held, BEN)
        add(held, BEN, THREE, "key")
        assert content(held) == ONE + TWO + THREE
        held.append(ALPHA, Append(SUMMARY_MD, b"# One\n", BEN, None, NOT_THERE, "key"), NOW)
        assert content(held, SUMMARY_MD) == b"# One\n"
        held.acquire(ORG, ANA, NOW, TTL)
        held.append(ORG, Append(LOG, THREE, ANA, None, NOT_THERE, "key"), NOW)
        assert held.read(ORG, LOG, NOW).content == THREE

    def test_a_waiting_append_is_refused_again_and_waits(self, held: Patient) -> None:
        """As the same version; also when the lock is another's by then."""
        number = rescued(add(held, BEN, TWO, "key"))
        assert rescued(add(held, BEN, TWO, "key")) == number
        lock = lock_of(held.acquire(ALPHA, ANA, NOW, TTL))
        assert add(held, BEN, TWO, "key") == Rescued(HeldBy(lock), number)
        assert waiting(held) == 1
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO

    @pytest.mark.parametrize("holder", [None, BEN, EVE])
    def test_a_refused_append_that_was_merged_since_is_accepted(
        self, held: Patient, holder: ClientId | None
    ) -> None:
        """Its lines are in the head, whoever holds the lock."""
        rescued(add(held, BEN, TWO, "key"))
        held.release(ALPHA, ANA, NOW)
        if holder:
            held.acquire(ALPHA, holder, NOW, TTL)
        assert add(held, BEN, TWO, "key") == Accepted(held.heads(ALPHA, NOW)[0], merged=True)
        assert content(held) == ONE + TWO

    def test_a_replaced_append_has_the_outcome_of_the_one_that_replaced_it(self, held: Patient) -> None:
        """An append waits, and is merged, with the one that replaced it."""
        keys = {f"key {number}": note(number) for number in (2, 3, 4)}
        numbers = [rescued(add(held, BEN, lines, key)) for key, lines in keys.items()]
        assert [rescued(add(held, BEN, lines, key)) for key, lines in keys.items()] == numbers[-1:] * 3
        hand_over(held, BEN)
        head = held.heads(ALPHA, NOW)[0]
        for key, lines in keys.items():
            assert add(held, BEN, lines, key) == Accepted(head, merged=True)
        assert content(held) == ONE + TWO + THREE + FOUR

    @pytest.mark.parametrize("holds", [True, False])
    def test_an_append_that_an_upload_replaced_is_in_that(self, held: Patient, holds: bool) -> None:
        """Its client has the lines in its file, and uploads it whole."""
        rescued(add(held, BEN, TWO, "key"))
        rescued(put(held, BEN, ONE + TWO + THREE))
        hand_over(held, BEN if holds else EVE)
        assert isinstance(add(held, BEN, TWO, "key"), Accepted)
        assert content(held) == ONE + TWO + THREE

    def test_an_append_that_was_only_kept_is_done_under_the_lock(self, held: Patient) -> None:
        """With merging off nothing else would ever come of it; it is done once."""
        held.merging = Merging(enabled=False)
        number = rescued(add(held, BEN, TWO, "key"))
        assert rescued(add(held, BEN, TWO, "key")) == number
        hand_over(held, BEN)
        head = head_of(add(held, BEN, TWO, "key"))
        assert add(held, BEN, TWO, "key") == Accepted(head)
        assert content(held) == ONE + TWO

    def test_an_append_that_was_never_merged_is_done_though_another_was_since(self, held: Patient) -> None:
        """Without merging, an append makes the client's waiting ones void."""
        for lines, key in ((TWO, "two"), (THREE, "three")):
            rescued(add(held, BEN, lines, key))
        held.merging = Merging(enabled=False)
        hand_over(held, BEN)
        for lines, key in ((TWO, "two"), (THREE, "three")) * 2:
            assert isinstance(add(held, BEN, lines, key), Accepted)
        assert content(held) == ONE + TWO + THREE

    def test_an_append_that_could_not_be_merged_is_done_under_the_lock(self, held: Patient) -> None:
        """Lines can be added to any head, but not merged into any."""
        put(held, ANA, b"no log\n")
        rescued(add(held, BEN, TWO, "key", named(ONE)))
        hand_over(held, BEN)
        assert content(held) == b"no log\n"
        for _ in range(2):
            assert isinstance(add(held, BEN, TWO, "key"), Accepted)
            assert content(held) == b"no log\n" + TWO

    @pytest.mark.parametrize("key", ["key", "other"])
    def test_a_waiting_append_of_the_holder_is_merged_first(self, held: Patient, key: str) -> None:
        """An upload waits on if merging was off when the lock became free."""
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


class TestOnDisk:
    """Appends to files that people edit."""

    def test_an_append_whose_file_was_edited_is_not_done_again(self, tmp_path: Path) -> None:
        """Only a removed file has no head that its lines could be in."""
        store = opened("disk", tmp_path)
        store.acquire(ALPHA, ANA, NOW, TTL)
        add(store, ANA, ONE, "key")
        head = directory_of(tmp_path, ALPHA) / LOG.value
        with head.open("ab") as file:
            file.write(TWO)
        assert isinstance(add(store, ANA, ONE, "key"), Accepted)
        assert content(store) == ONE + TWO
        head.unlink()
        assert isinstance(add(store, ANA, ONE, "key"), Accepted)
        assert content(store) == ONE


CLIENTS = (ANA, BEN, EVE)
_PROJECTS = count()


@define
class Machines:
    """Clients with copies of the log, to which they append."""

    store: Patient
    project: ProjectId
    copies: dict[ClientId, bytes] = Factory(lambda: dict.fromkeys(CLIENTS, b""))
    told: list[Append] = Factory(list)
    """Appends that were sent, and whose condition held."""

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
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
@given(
    st.lists(
        st.tuples(st.sampled_from(DEEDS), st.sampled_from(CLIENTS), st.integers(0, 99), st.booleans()),
        max_size=16,
    )
)
def test_any_row_of_appends_and_retries_ends_with_each_line_once(
    which: str, tmp_path: Path, deeds: list[tuple[Callable[..., None], ClientId, int, bool]]
) -> None:
    """Any client may hold the lock, repeat its appends, or upload its copy."""
    machines = Machines(opened(which, tmp_path / "data"), ProjectId(f"p{next(_PROJECTS)}"))
    machines.append(ANA, 0, names=False)
    for deed, *arguments in deeds:
        deed(machines, *arguments)
    for client in CLIENTS:
        machines.release(client, 0, names=False)
    for one in machines.told:
        machines.store.append(machines.project, one, NOW)
    head = machines.store.read(machines.project, LOG, NOW)
    wanted = sorted(line for one in machines.told for line in one.lines.splitlines(keepends=True))
    assert sorted(head.content.splitlines(keepends=True)) == wanted
