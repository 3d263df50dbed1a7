"""Briefings in the store: uploads and removals that name the head, and no content twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mneme.errors import UnnamedHead
from mneme.model import (
    BRIEFINGS,
    MEMORY,
    NOT_THERE,
    Accepted,
    Bygone,
    Changed,
    ClientId,
    EventKind,
    EventPage,
    FileName,
    Head,
    Kind,
    Millis,
    Precondition,
    ProjectId,
    Removal,
    Removed,
    Restore,
    Role,
    Upload,
    digest,
)
from mneme.store.verifying import verify
from tests.keeping import KEEP_NONE
from tests.store.asking import after, hand_over, put
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, TTL, directory_of, edit, see
from tests.store.stores import Patient, opened

BRIEFING = FileName.BRIEFING
ONE, TWO, THREE = (f'{{"ts": "2026-02-04T15:0{n}:00.000Z", "summary": "{n}"}}'.encode() for n in (1, 2, 3))


def named(content: bytes) -> Precondition:
    """The condition that this content is the head."""
    return Precondition(frozenset({digest(content)}))


def leave(
    store: Patient,
    content: bytes,
    only_if: Precondition | None = NOT_THERE,
    client: ClientId = ANA,
    now: Millis = NOW,
    file: FileName = BRIEFING,
) -> Any:
    """Upload a briefing."""
    return store.upload_briefing(ALPHA, Upload(file, content, client, only_if=only_if), now)


def remove(
    store: Patient, content: bytes, client: ClientId = BEN, now: Millis = NOW, file: FileName = BRIEFING
) -> Any:
    """Remove a briefing with this content."""
    return store.remove_briefing(ALPHA, Removal(file, client, named(content)), now)


def head(store: Patient, file: FileName = BRIEFING) -> bytes | None:
    """The content of a head."""
    document = store.read(ALPHA, file, NOW)
    return document.content if document else None


@pytest.mark.parametrize("file", BRIEFINGS)
def test_one_that_names_the_head_replaces_it_without_a_merge(store: Patient, file: FileName) -> None:
    """Whoever holds the lock; the versions before stay in history."""
    store.acquire(ALPHA, EVE, NOW, TTL)
    assert leave(store, ONE, file=file) == Accepted(Head(file, 1, len(ONE), NOW, digest(ONE)))
    assert leave(store, TWO, named(ONE), BEN, after(5), file).head.version == 2
    assert head(store, file) == TWO
    assert [(one.number, one.kind, one.client, one.base) for one in store.history(ALPHA, file, NOW)] == [
        (2, Kind.UPLOAD, BEN, None),
        (1, Kind.UPLOAD, ANA, None),
    ]
    assert store.lock(ALPHA, NOW).client == EVE


def test_one_that_names_another_head_changes_nothing(store: Patient) -> None:
    """Its client then compares which is the later."""
    assert leave(store, ONE, named(TWO)) == Changed(None)
    leave(store, ONE)
    there = store.read(ALPHA, BRIEFING, NOW).head
    assert leave(store, TWO, named(THREE)) == leave(store, TWO) == Changed(there)
    assert remove(store, TWO) == Changed(there)
    assert head(store) == ONE
    assert len(store.versions(ALPHA)) == 1


@pytest.mark.parametrize(
    "only_if", [None, Precondition(None), Precondition(frozenset({digest(ONE), digest(TWO)}))]
)
def test_one_that_names_no_single_head_is_refused(store: Patient, only_if: Precondition | None) -> None:
    """To be removed, too: a briefing that nobody has read would be lost."""
    leave(store, ONE)
    with pytest.raises(UnnamedHead):
        leave(store, TWO, only_if)
    with pytest.raises(UnnamedHead):
        store.remove_briefing(ALPHA, Removal(BRIEFING, BEN, only_if), NOW)
    assert head(store) == ONE


def test_a_repeated_upload_makes_no_version(store: Patient) -> None:
    """Its answer was lost; what it names has changed by that very upload."""
    first = leave(store, ONE)
    assert leave(store, ONE, now=after(1)) == first
    leave(store, TWO, named(ONE))
    assert leave(store, TWO, named(ONE)).head.version == 2
    assert len(store.versions(ALPHA)) == 2


def test_a_removed_one_is_gone_and_stays_in_history(store: Patient) -> None:
    """A version says who removed it."""
    leave(store, ONE)
    assert remove(store, ONE, now=after(7)) == Removed(2)
    assert head(store) is None
    assert store.heads(ALPHA, NOW) == ()
    removed = store.history(ALPHA, BRIEFING, NOW)[0]
    assert (removed.kind, removed.client, removed.parents) == (Kind.REMOVED, BEN, (1,))
    assert (removed.role, removed.time, removed.sha256) == (Role.BESIDE, after(7), digest(ONE))
    assert store.version(ALPHA, 2).content == ONE


def test_a_repeated_removal_is_one_and_only_for_its_client(store: Patient) -> None:
    """So that a single machine may tell it."""
    leave(store, ONE)
    assert remove(store, ONE, BEN) == remove(store, ONE, BEN) == Removed(2)
    assert remove(store, ONE, ANA) is None
    assert remove(store, TWO, BEN) is None
    assert len(store.versions(ALPHA)) == 2


def test_none_is_removed_where_there_is_none(store: Patient) -> None:
    """Nor is a project made by that."""
    assert remove(store, ONE) is None
    assert store.projects() == []


def test_a_content_that_was_the_head_comes_back_by_a_restore_alone(store: Patient) -> None:
    """Neither a removed one nor one that was replaced, whatever the upload names."""
    leave(store, ONE)
    leave(store, TWO, named(ONE))
    assert leave(store, ONE, named(TWO)) == Bygone(1)
    remove(store, TWO)
    assert leave(store, TWO) == Bygone(3)
    assert leave(store, ONE) == Bygone(1)
    assert head(store) is None
    hand_over(store, EVE)
    assert store.restore(ALPHA, Restore(BRIEFING, 2, EVE), NOW).head.version == 4
    assert head(store) == TWO


def test_a_content_is_the_heads_of_its_own_file(store: Patient) -> None:
    """Another file may have it."""
    leave(store, ONE)
    assert isinstance(leave(store, ONE, file=FileName.HANDOFF), Accepted)


def test_the_pruner_keeps_what_shows_that_one_was_removed(store: Patient) -> None:
    """Whatever the retention: else a machine that was offline would bring it back."""
    leave(store, ONE)
    remove(store, ONE)
    leave(store, TWO)
    remove(store, TWO)
    store.prune(ALPHA, KEEP_NONE, Millis(NOW + 100 * 24 * 60 * 60 * 1000), 100)
    assert leave(store, TWO) == Bygone(3)


def test_a_stock_clients_push_is_no_stranger_to_them(store: Patient) -> None:
    """A briefing says nothing about a project id that is used in two places."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, ANA, b"a line\n")
    leave(store, ONE)
    put(store, ANA, b"quite another line\n", now=after(1))
    leave(store, TWO, named(ONE), now=after(2))
    leave(store, THREE, named(TWO), now=after(3))
    assert [one.file for one in store.in_two_places()] == [FileName.LOG]


def test_two_ids_that_are_joined_have_the_later_one(store: Patient) -> None:
    """A merge of briefings is the later of both."""
    other = ProjectId("path")
    store.upload_briefing(other, Upload(BRIEFING, TWO, BEN, only_if=NOT_THERE), after(5))
    leave(store, ONE)
    store.link(other, ALPHA, ANA, after(9))
    assert head(store) == TWO


def test_listeners_for_the_memory_alone_are_told_of_no_briefing() -> None:
    """All others of a removed one as of a file without a version."""
    store = opened("memory", Path())
    begin = store.store.last_event()
    leave(store, ONE)
    remove(store, ONE)
    told = store.store.events_after(begin, 10).events
    assert [(one.kind, one.file, one.version) for one in told] == [
        (EventKind.HEAD, BRIEFING, 1),
        (EventKind.HEAD, BRIEFING, None),
    ]
    assert store.store.events_after(begin, 10, MEMORY) == EventPage((), store.store.last_event())
    store.acquire(ALPHA, ANA, NOW, TTL)
    assert [one.kind for one in store.store.events_after(begin, 10, MEMORY).events] == [EventKind.LOCK]


class TestWorkingCopy:
    """Briefings as plain files."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A data directory."""
        return tmp_path / "data"

    @pytest.fixture
    def disk(self, root: Path) -> Patient:
        """A store with a briefing."""
        store = opened("disk", root)
        leave(store, ONE)
        assert see(directory_of(root, ALPHA)).heads == {BRIEFING.value: ONE}
        return store

    def test_the_file_of_a_removed_one_is_removed(self, root: Path, disk: Patient) -> None:
        """Nothing else is left, and it stays away after a restart."""
        remove(disk, ONE)
        directory = directory_of(root, ALPHA)
        assert [path.name for path in directory.iterdir()] == [".project.json"]
        disk = opened("disk", root)
        assert head(disk) is None
        assert leave(disk, ONE) == Bygone(2)
        leave(disk, TWO)
        assert see(directory).heads == {BRIEFING.value: TWO}

    def test_a_file_that_is_only_touched_before_that_is_removed_all_the_same(
        self, root: Path, disk: Patient
    ) -> None:
        """Its content is what was removed."""
        path = directory_of(root, ALPHA) / BRIEFING.value
        disk.store.remove_briefing(ALPHA, Removal(BRIEFING, BEN, named(ONE)), NOW)
        path.touch()
        disk.export()
        assert not path.exists()
        assert head(disk) is None

    def test_a_removed_one_is_no_damage(self, root: Path, disk: Patient) -> None:
        """Neither before its file is removed nor after that."""
        disk.store.remove_briefing(ALPHA, Removal(BRIEFING, BEN, named(ONE)), NOW)
        assert list(verify(root)) == []
        disk.export()
        assert list(verify(root)) == []

    def test_an_edit_by_hand_before_that_is_a_new_one(self, root: Path, disk: Patient) -> None:
        """The edit is kept, as the head."""
        path = directory_of(root, ALPHA) / BRIEFING.value
        disk.store.remove_briefing(ALPHA, Removal(BRIEFING, BEN, named(ONE)), NOW)
        edit(path, TWO)
        disk.export()
        assert head(disk) == path.read_bytes() == TWO

    def test_one_that_a_hand_puts_there_is_the_head(self, root: Path, disk: Patient) -> None:
        """A removed one, too: a person wants that."""
        path = directory_of(root, ALPHA) / BRIEFING.value
        edit(path, TWO)
        assert head(disk) == TWO
        remove(disk, TWO)
        edit(path, ONE)
        assert head(disk) == ONE

    @pytest.mark.parametrize("boot", ["this boot", "another boot"])
    def test_an_unclean_end_before_that_brings_nothing_back(
        self, root: Path, disk: Patient, boot: str
    ) -> None:
        """Neither of the server nor of the machine."""
        disk.store.remove_briefing(ALPHA, Removal(BRIEFING, BEN, named(ONE)), NOW)
        disk.database.close()
        again = Patient(root, boot=boot)
        assert head(again) is None
        again.export()
        assert see(directory_of(root, ALPHA)).heads == {}
        assert head(again) is None
