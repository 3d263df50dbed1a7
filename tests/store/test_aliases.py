"""Aliases: ids that become another name of a project, with the memory that they had."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.errors import AliasRefused
from mneme.model import (
    Accepted,
    ClientId,
    FileName,
    HeldBy,
    Kind,
    Linked,
    Millis,
    ProjectId,
    Receipt,
    Unnamed,
    Upload,
)
from mneme.store import backup, layout
from mneme.store.sqlite import NAME, Database
from mneme.store.workingcopy import WorkingCopy
from tests.store.asking import ENTITIES, LOG, ONE, REMEMBERED, SUMMARY_MD, THREE, TWO, after, facts, note
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, ORG, TTL, content_of
from tests.store.stores import BOOT, Patient, opened

PATH = ProjectId("-home-ana-src-app")
THIRD = ProjectId("third")


def upload(store: Patient, project: ProjectId, client: ClientId, content: bytes, file: FileName = LOG) -> Any:
    """Upload a file under a lock of its own, as a stock client does."""
    store.acquire(project, client, NOW, TTL)
    outcome = store.upload(project, Upload(file, content, client), NOW)
    store.release(project, client, NOW)
    return outcome


def pull(store: Patient, project: ProjectId, client: ClientId, file: FileName = LOG) -> bytes:
    """Fetch and receive a file, as a stock client does."""
    store.acquire(project, client, NOW, TTL)
    served = store.download(project, file, Unnamed.STOCK, NOW)
    if served.receipt:
        store.confirm(project, Receipt(client, file, served.receipt.version), NOW)
    store.release(project, client, NOW)
    return bytes(served.document.content)


def head(store: Patient, project: ProjectId, file: FileName = LOG) -> bytes | None:
    """The content of the head; None without one."""
    document = store.read(project, file, NOW)
    return document.content if document else None


def facts_of(store: Patient, project: ProjectId) -> list[int]:
    """The numbers of the facts in the head, in order."""
    found = head(store, project, REMEMBERED) or b"[]"
    return sorted(number for number in range(1, 60) if b'"number %d"' % number in found)


def link(store: Patient, alias: ProjectId, project: ProjectId, client: ClientId = ANA) -> Any:
    """Make an id another name of a project."""
    return store.link(alias, project, client, NOW)


def test_an_unused_id_is_another_name_from_then_on(store: Patient) -> None:
    """Whatever is asked of it is asked of the project."""
    upload(store, ALPHA, ANA, ONE)
    assert link(store, PATH, ALPHA) == Linked(ALPHA)
    assert head(store, PATH) == ONE
    upload(store, PATH, BEN, ONE + TWO)
    assert head(store, ALPHA) == ONE + TWO
    assert store.projects() == [ALPHA]
    overview = store.overview(ALPHA, NOW)
    assert overview is not None
    assert overview.aliases == (PATH,)


def test_the_project_may_be_new(store: Patient) -> None:
    """Its memory is then that of the alias; no new versions are made."""
    upload(store, PATH, ANA, ONE)
    assert link(store, PATH, ORG) == Linked(ORG)
    assert (head(store, ORG), head(store, PATH)) == (ONE, ONE)
    assert [(one.number, one.kind) for one in store.history(ORG, LOG, NOW)] == [(1, Kind.UPLOAD)]
    assert store.projects() == [ORG]


def test_two_memories_are_merged_and_nothing_is_doubled(store: Patient) -> None:
    """Each file is merged by its form: a fact that both have is there once."""
    upload(store, PATH, ANA, ONE + TWO)
    upload(store, ALPHA, BEN, TWO + THREE)
    upload(store, PATH, ANA, facts(1, 2), REMEMBERED)
    upload(store, ALPHA, BEN, facts(2, 3), REMEMBERED)
    upload(store, PATH, ANA, b"# the same\n", SUMMARY_MD)
    upload(store, ALPHA, BEN, b"# the same\n", SUMMARY_MD)
    assert link(store, PATH, ALPHA) == Linked(ALPHA, (LOG, REMEMBERED))
    assert head(store, ALPHA) == ONE + TWO + THREE
    assert facts_of(store, PATH) == [1, 2, 3]
    assert len(store.history(ALPHA, SUMMARY_MD, NOW)) == 2


@pytest.mark.parametrize("alias", [PATH, ALPHA])
def test_what_was_forgotten_by_a_client_of_either_id_stays_so(store: Patient, alias: ProjectId) -> None:
    """Bases go on to be bases, under their new numbers."""
    project = ALPHA if alias is PATH else PATH
    upload(store, PATH, ANA, facts(1, 2), REMEMBERED)
    assert pull(store, PATH, ANA, REMEMBERED) == facts(1, 2)
    upload(store, ALPHA, BEN, facts(3, 4), REMEMBERED)
    link(store, alias, project)
    upload(store, PATH, ANA, facts(2), REMEMBERED)
    assert facts_of(store, ALPHA) == [2, 3, 4]
    upload(store, ALPHA, BEN, facts(3), REMEMBERED)
    assert facts_of(store, PATH) == [2, 3]


def test_a_client_of_both_ids_with_two_folders_loses_nothing(store: Patient) -> None:
    """Each of its versions is a mere candidate for its base until its next upload."""
    upload(store, PATH, ANA, facts(1, 2), REMEMBERED)
    upload(store, ALPHA, ANA, facts(3, 4), REMEMBERED)
    link(store, PATH, ALPHA)
    upload(store, ALPHA, ANA, facts(3, 4, 5), REMEMBERED)
    assert facts_of(store, ALPHA) == [1, 2, 3, 4, 5]
    upload(store, PATH, ANA, facts(1, 2, 6), REMEMBERED)
    assert facts_of(store, ALPHA) == [1, 2, 3, 4, 5, 6]


def test_a_stock_client_of_the_alias_is_shown_a_newer_file(store: Patient) -> None:
    """Its own file may be younger than the head, even if the merge changes nothing."""
    upload(store, ALPHA, BEN, ONE + TWO)
    later = after(60_000)
    store.acquire(PATH, ANA, later, TTL)
    store.upload(PATH, Upload(LOG, ONE, ANA), later)
    store.release(PATH, ANA, later)
    store.link(PATH, ALPHA, ANA, after(61_000))
    [found] = store.heads(PATH, after(61_000))
    assert (head(store, PATH), found.mtime) == (ONE + TWO, after(61_000))


def test_the_history_is_that_of_both(store: Patient) -> None:
    """Each version has its content, its base and its parents, under a new number."""
    upload(store, ALPHA, BEN, THREE)
    upload(store, PATH, ANA, ONE)
    upload(store, PATH, ANA, ONE + TWO)
    store.upload(PATH, Upload(LOG, ONE + note(9), BEN), NOW)
    before = store.versions(PATH)
    link(store, PATH, ALPHA)
    moved = [one for one in store.versions(ALPHA) if one.number in range(2, 2 + len(before))]
    assert [(one.sha256, one.kind, one.client) for one in moved] == [
        (one.sha256, one.kind, one.client) for one in before
    ]
    assert [one.base for one in moved] == [one.base + 1 if one.base else None for one in before]
    assert [one.parents for one in moved] == [tuple(n + 1 for n in one.parents) for one in before]
    assert content_of(store, ALPHA, 2) == ONE
    [merged, *_] = store.history(ALPHA, LOG, NOW)
    assert (merged.number, merged.parents) == (2 + len(before), (1, 1 + len(before)))


def test_an_upload_that_waits_is_merged_all_the_same(store: Patient) -> None:
    """Nobody held the lock of the alias, so the upload was refused."""
    upload(store, PATH, ANA, ONE)
    upload(store, ALPHA, BEN, THREE)
    store.upload(PATH, Upload(LOG, ONE + TWO, EVE), NOW)
    link(store, PATH, ALPHA)
    assert head(store, ALPHA) == ONE + TWO + THREE


@pytest.mark.parametrize("locked", [PATH, ALPHA])
def test_the_lock_of_another_refuses_a_link(store: Patient, locked: ProjectId) -> None:
    """Nothing is changed; one's own lock is no reason to refuse."""
    upload(store, PATH, ANA, ONE)
    upload(store, ALPHA, BEN, TWO)
    lock = store.acquire(locked, BEN, NOW, TTL).lock
    assert link(store, PATH, ALPHA, ANA) == HeldBy(lock)
    assert (head(store, PATH), head(store, ALPHA)) == (ONE, TWO)
    assert link(store, PATH, ALPHA, BEN) == Linked(ALPHA, (LOG,))


def test_a_link_comes_a_second_time_without_effect(store: Patient) -> None:
    """The answer to the first may be lost."""
    upload(store, PATH, ANA, ONE)
    upload(store, ALPHA, BEN, TWO)
    link(store, PATH, ALPHA)
    versions = store.versions(ALPHA)
    assert link(store, PATH, ALPHA) == Linked(ALPHA)
    assert store.versions(ALPHA) == versions


@pytest.mark.parametrize("known", [True, False])
def test_an_id_is_no_other_name_of_itself(store: Patient, known: bool) -> None:
    """Not directly, and not by way of an alias. No project is made of it."""
    if known:
        upload(store, ALPHA, ANA, ONE)
        link(store, PATH, ALPHA)
    for project in [ALPHA, PATH] if known else [ALPHA]:
        with pytest.raises(AliasRefused, match="alpha cannot be another name of itself"):
            link(store, ALPHA, project)
    assert store.projects() == ([ALPHA] if known else [])


def test_an_alias_stays_with_its_project(store: Patient) -> None:
    """The refusal says of which; that one can be linked, and takes its aliases along."""
    link(store, PATH, ALPHA)
    with pytest.raises(AliasRefused, match=r"is another name of alpha already: link alpha instead"):
        link(store, PATH, THIRD)
    assert link(store, ALPHA, THIRD) == Linked(THIRD)
    upload(store, PATH, ANA, ONE)
    assert (head(store, ALPHA), head(store, THIRD)) == (ONE, ONE)
    assert store.projects() == [THIRD]


def test_a_link_to_an_alias_is_one_to_its_project(store: Patient) -> None:
    """There are no chains."""
    link(store, PATH, ALPHA)
    assert link(store, ORG, PATH) == Linked(ALPHA)
    upload(store, ORG, ANA, ONE)
    assert head(store, ALPHA) == ONE


def test_a_file_that_cannot_be_merged_stays_in_the_history(store: Patient) -> None:
    """The outcome names it."""
    upload(store, PATH, ANA, b"no json", ENTITIES)
    upload(store, ALPHA, BEN, b"{}", ENTITIES)
    assert link(store, PATH, ALPHA) == Linked(ALPHA, (), (ENTITIES,))
    assert head(store, ALPHA, ENTITIES) == b"{}"
    assert content_of(store, ALPHA, 2) == b"no json"


def test_a_file_that_the_plugin_did_not_write_gives_way_to_one_that_it_did(store: Patient) -> None:
    """Else the machines of the other id would fetch it."""
    upload(store, PATH, ANA, b"{}", ENTITIES)
    upload(store, ALPHA, BEN, b"no json", ENTITIES)
    assert link(store, PATH, ALPHA) == Linked(ALPHA, (ENTITIES,))
    assert head(store, ALPHA, ENTITIES) == b"{}"
    assert content_of(store, ALPHA, 1) == b"no json"


def test_a_token_is_never_used_again(store: Patient) -> None:
    """Tokens go on from the larger one of both."""
    for _ in range(3):
        upload(store, PATH, ANA, ONE)
    last = store.acquire(PATH, ANA, NOW, TTL).lock.token
    link(store, PATH, ALPHA)
    assert store.acquire(ALPHA, BEN, NOW, TTL).lock.token == last + 1


def test_events_tell_the_other_ids() -> None:
    """Earlier ones, too: whoever listens for one id hears of the project."""
    store = Patient(None)
    begin = store.store.last_event()
    upload(store, PATH, ANA, ONE)
    link(store, PATH, ALPHA)
    events = store.store.events_after(begin, 100).events
    assert {(event.project, event.aliases) for event in events} == {(ALPHA, (PATH,))}


def test_a_project_without_memory_is_not_forgotten_while_it_has_an_alias(store: Patient) -> None:
    """Two machines may be joined before they have anything to share."""
    link(store, PATH, ALPHA)
    assert store.forget_idle(Millis(NOW + 10 * 24 * 60 * 60 * 1000)) == 0
    upload(store, PATH, ANA, ONE)
    assert head(store, ALPHA) == ONE


FACTS = st.frozensets(st.integers(1, 8))


@given(st.lists(FACTS, max_size=3), st.lists(FACTS, max_size=3), FACTS, FACTS, st.booleans())
def test_joined_memories_have_what_one_had_all_along(
    before_a: list[frozenset[int]],
    before_b: list[frozenset[int]],
    then_a: frozenset[int],
    then_b: frozenset[int],
    swap: bool,
) -> None:
    """The facts of both, then each side's removals and additions.

    A client that keeps nothing of what it had removes nothing, as everywhere.
    """
    store = Patient(None)
    for project, client, states in ((PATH, ANA, before_a), (ALPHA, BEN, before_b)):
        for state in states:
            upload(store, project, client, facts(*sorted(state)), REMEMBERED)
    expected = {*facts_of(store, PATH), *facts_of(store, ALPHA)}
    link(store, *((PATH, ALPHA) if not swap else (ALPHA, PATH)))
    assert facts_of(store, PATH) == sorted(expected)
    for project, client, states, now in ((PATH, ANA, before_a, then_a), (ALPHA, BEN, before_b, then_b)):
        had: frozenset[int] = states[-1] if states else frozenset()
        upload(store, project, client, facts(*sorted(now)), REMEMBERED)
        removed = had - now if had & now or not now else frozenset()
        expected = (expected - removed) | (now - had)
        assert facts_of(store, project) == sorted(expected)


# The working copy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


def test_the_directory_of_an_alias_becomes_a_link(root: Path) -> None:
    """So that whoever looks there finds the memory, and may edit it there."""
    store = opened("disk", root)
    upload(store, PATH, ANA, ONE)
    upload(store, ALPHA, BEN, TWO)
    link(store, PATH, ALPHA)
    store.find_all()
    directory = root / "projects" / PATH.value
    assert directory.readlink() == Path(ALPHA.value)
    assert (directory / "log.jsonl").read_bytes() == ONE + TWO
    (directory / "log.jsonl").write_bytes(ONE + TWO + THREE)
    assert head(store, ALPHA) == ONE + TWO + THREE
    [aside] = (root / "projects").glob(f"{PATH.value}.linked-*")
    assert (aside / "log.jsonl").read_bytes() == ONE
    assert store.projects() == [ALPHA]


def test_the_link_is_made_by_the_next_server_if_the_last_one_was_killed(root: Path) -> None:
    """The directory of the alias is no project of its own again."""
    store = opened("disk", root)
    upload(store, PATH, ANA, ONE)
    link(store, PATH, ALPHA)
    store.database.close()
    again = opened("disk", root)
    assert (root / "projects" / PATH.value).is_symlink()
    assert again.projects() == [ALPHA]
    assert head(again, PATH) == ONE


def test_an_edit_by_hand_after_a_link_that_its_server_did_not_outlive_is_told(root: Path) -> None:
    """Nobody would look for it in the directory that was moved aside."""
    store = opened("disk", root)
    upload(store, PATH, ANA, ONE)
    link(store, PATH, ALPHA)
    store.database.close()
    (root / "projects" / PATH.value / "log.jsonl").write_bytes(ONE + TWO)
    with capturedLogs() as events:
        opened("disk", root)
    [warning] = [formatEvent(event) or "" for event in events if event["log_level"] is LogLevel.warn]
    assert "log.jsonl was edited after alpha had taken its memory over" in warning
    [aside] = (root / "projects").glob(f"{PATH.value}.linked-*")
    assert (aside / "log.jsonl").read_bytes() == ONE + TWO


def test_an_edit_by_hand_just_before_the_link_is_in(root: Path) -> None:
    """Edits are looked for in both directories."""
    store = opened("disk", root)
    upload(store, PATH, ANA, ONE)
    upload(store, ALPHA, BEN, TWO)
    for project, line in ((PATH, THREE), (ALPHA, note(4))):
        with (root / "projects" / project.value / "log.jsonl").open("ab") as file:
            file.write(line)
    link(store, PATH, ALPHA)
    assert sorted((head(store, ALPHA) or b"").splitlines()) == sorted(
        (ONE + TWO + THREE + note(4)).splitlines()
    )


def test_a_removed_project_comes_back_under_its_other_id(root: Path) -> None:
    """The directory of its own name is made again, and the link leads there."""
    store = opened("disk", root)
    upload(store, ALPHA, ANA, ONE)
    link(store, PATH, ALPHA)
    for path in (root / "projects" / ALPHA.value).iterdir():
        path.unlink()
    (root / "projects" / ALPHA.value).rmdir()
    assert head(store, PATH) is None
    assert isinstance(upload(store, PATH, BEN, TWO), Accepted)
    assert (root / "projects" / ALPHA.value / "log.jsonl").read_bytes() == TWO


def put_back_to_before_a_link(root: Path) -> None:
    """Leave the files of a link, and a database that knows nothing of it."""
    store = opened("disk", root)
    upload(store, PATH, ANA, ONE)
    upload(store, ALPHA, BEN, TWO)
    backup.make(root / NAME, root / "older.backup", NOW, None)
    link(store, PATH, ALPHA)
    store.find_all()
    store.database.close()
    backup.restore(root / "older.backup", root, NOW, replace=True)


def test_after_a_backup_from_before_the_link_both_are_projects_again(root: Path) -> None:
    """Each has its directory, and both may be linked once more."""
    put_back_to_before_a_link(root)
    store = opened("disk", root)
    assert store.projects() == [PATH, ALPHA]
    assert head(store, PATH) == ONE
    upload(store, PATH, ANA, ONE + THREE)
    assert (root / "projects" / PATH.value / "log.jsonl").read_bytes() == ONE + THREE
    link(store, PATH, ALPHA)
    store.find_all()
    assert (root / "projects" / PATH.value).readlink() == Path(ALPHA.value)
    assert head(store, ALPHA) == ONE + TWO + THREE


def test_a_death_while_a_link_is_undone_removes_no_project(root: Path) -> None:
    """The database says first that nothing was exported."""
    put_back_to_before_a_link(root)
    database = Database(root / NAME)
    with database.step() as queries:
        WorkingCopy(root / layout.PROJECTS).open(queries, BOOT)
    database.close()
    assert head(opened("disk", root), PATH) == ONE


@pytest.mark.parametrize("is_there", [True, False])
def test_a_server_that_lost_its_database_knows_an_alias_by_its_link(root: Path, is_there: bool) -> None:
    """If the project is gone, too, the id is free again."""
    store = opened("disk", root)
    upload(store, PATH, ANA, ONE)
    link(store, PATH, ORG)
    store.find_all()
    store.database.close()
    (root / NAME).unlink()
    if not is_there:
        rmtree(root / "projects" / layout.directory_name(ORG))
    again = opened("disk", root)
    assert head(again, PATH) == (ONE if is_there else None)
    upload(again, PATH, ANA, ONE + TWO)
    assert head(again, ORG) == (ONE + TWO if is_there else None)
    assert (root / "projects" / PATH.value / "log.jsonl").read_bytes() == ONE + TWO
