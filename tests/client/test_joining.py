"""Bases outlive a change of id, number or address; ids by path join others."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from mneme.client.errors import Unreachable
from mneme.model import FileName, Merging, ProjectId
from tests.client.machines import DEMO, ENTITIES, LOG, REMEMBERED, SUMMARY_JSON, Machine, World, did
from tests.client.test_sync import entities, mentions
from tests.kept import MemoryStore
from tests.store.asking import facts
from tests.web.stub import entry

ONE, TWO, THREE, FOUR, FIVE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3, 4, 5))
BRIEFING = FileName.BRIEFING
REMOTE = ProjectId("github.com/ana/app")
SUMMED = b'{"keyDecisions": [{"decision": "Use tabs"}]}'


@pytest.fixture
def laptop(world: World) -> Machine:
    """A machine in step under the path, as all start."""
    return machine(world, "laptop")


@pytest.fixture
def desktop(world: World) -> Machine:
    """Another."""
    return machine(world, "desktop")


def machine(world: World, name: str, log: bytes = ONE) -> Machine:
    """A machine in step under the path."""
    found = world.machine(name)
    found.write(log)
    found.step()
    return found


def goes_by_remote(machine: Machine) -> None:
    """From now on the machine says the id of the remote."""
    machine.project, machine.path_id = REMOTE, DEMO


def aliases(world: World) -> dict[str, tuple[str, ...]]:
    """Other ids of each project on the server."""
    found = world.stub.ask("GET", "/projects").json["projects"]
    return {one["id"]: tuple(one["aliases"]) for one in found}


def link(world: World, alias: ProjectId, of: ProjectId) -> None:
    """Make an id another name of a project."""
    headers = {"X-Client-Id": "desk", "Content-Type": "application/json"}
    path = f"/projects/{quote(alias.value, safe='')}/alias"
    assert world.stub.ask("PUT", path, headers, json.dumps({"of": of.value}).encode()).status == 200


# From the path to the remote


def test_the_id_by_path_becomes_another_name_and_nothing_comes_back(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """A machine forgets and sums up before it changes; the other still says its path."""
    laptop.write(ONE + TWO + THREE)
    laptop.step()
    desktop.step()
    desktop.write(b"", SUMMARY_JSON)
    desktop.step()
    laptop.step()
    goes_by_remote(laptop)
    laptop.remove(TWO)
    laptop.write(SUMMED, SUMMARY_JSON)
    laptop.step()
    assert aliases(world) == {REMOTE.value: (DEMO.value,)}
    desktop.step()
    assert world.head(project=REMOTE) == laptop.read() == desktop.read() == ONE + THREE
    assert desktop.read(SUMMARY_JSON) == SUMMED


def test_memory_under_both_ids_is_one_and_each_forgets_for_all(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The versions of the path get new numbers, and are found by their contents."""
    third = world.machine("third")
    third.project = REMOTE
    for line in (TWO, THREE, FOUR):
        third.append(line)
        third.step()
    desktop.append(FIVE)
    desktop.step()
    goes_by_remote(laptop)
    laptop.step()
    desktop.remove(FIVE)
    third.remove(THREE)
    for one in (desktop, third, laptop, desktop):
        one.step()
    assert aliases(world) == {REMOTE.value: (DEMO.value,)}
    assert world.head(project=REMOTE) == ONE + TWO + FOUR
    assert {one.read() for one in (laptop, desktop, third)} == {ONE + TWO + FOUR}


def test_while_another_machine_holds_the_lock_the_old_id_stays(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The next sync tries again, whichever project is locked."""
    world.stub.acquire("desk", project=quote(REMOTE.value, safe=""))
    goes_by_remote(laptop)
    laptop.append(TWO)
    laptop.step()
    assert world.head() == ONE + TWO
    assert world.head(project=REMOTE) is None
    assert laptop.folder.last_id == DEMO
    world.stub.release("desk", project=quote(REMOTE.value, safe=""))
    desktop.pull()
    laptop.step()
    assert aliases(world)[DEMO.value] == ()
    desktop.push()
    laptop.step()
    assert aliases(world) == {REMOTE.value: (DEMO.value,)}
    assert laptop.folder.last_id == REMOTE


def test_an_upload_that_was_refused_under_the_old_id_counts_once(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The server knows it by its content, under another number."""
    third = world.machine("third")
    third.project = REMOTE
    third.write(entities(a=1), ENTITIES)
    third.step()
    laptop.write(entities(b=10), ENTITIES)
    laptop.step()
    desktop.pull()
    laptop.write(entities(b=12), ENTITIES)
    assert did(laptop.step()) == {ENTITIES: ["kept"]}
    laptop.write(entities(b=13), ENTITIES)
    goes_by_remote(laptop)
    world.let_locks_expire()
    for one in (laptop, third, laptop):
        one.step()
    assert mentions(world.head(ENTITIES, REMOTE)) == mentions(laptop.read(ENTITIES)) == {"a": 1, "b": 13}
    assert laptop.seen(ENTITIES).refused is None


def test_a_briefing_that_was_told_offline_is_not_told_again_after_a_link(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The link gives it another number."""
    third = world.machine("third")
    third.project = REMOTE
    third.write(TWO)
    third.step()
    laptop.write(b"{}", BRIEFING)
    laptop.step()
    desktop.step()
    (desktop.path / BRIEFING.value).unlink()
    goes_by_remote(laptop)
    laptop.step()
    assert world.head(BRIEFING, REMOTE) == b"{}"
    assert did(desktop.step())[BRIEFING] == ["used"]
    assert world.head(BRIEFING, REMOTE) is None


def test_a_path_that_is_another_projects_is_left_to_it(world: World, laptop: Machine) -> None:
    """Two repositories at one path of two machines have a memory each."""
    other = ProjectId("github.com/bo/app")
    link(world, DEMO, other)
    goes_by_remote(laptop)
    laptop.append(TWO)
    laptop.step()
    assert aliases(world) == {other.value: (DEMO.value,), REMOTE.value: ()}
    assert world.head(project=REMOTE) == ONE + TWO
    assert laptop.folder.last_id == REMOTE


def test_two_ids_that_a_person_linked_the_other_way_round_are_one_already(
    world: World, laptop: Machine
) -> None:
    """The remote is the alias then."""
    link(world, REMOTE, DEMO)
    goes_by_remote(laptop)
    laptop.append(TWO)
    laptop.step()
    assert aliases(world) == {DEMO.value: (REMOTE.value,)}
    assert world.head() == ONE + TWO


def test_an_id_that_a_person_chose_is_no_reason_to_join(world: World, laptop: Machine) -> None:
    """Perhaps it is there to part what shared a path."""
    laptop.project = ProjectId("chosen")
    laptop.step()
    assert aliases(world) == {DEMO.value: (), "chosen": ()}
    assert world.head(project=laptop.project) == ONE


def test_a_server_that_knows_no_memory_by_the_path_gets_no_alias(world: World, laptop: Machine) -> None:
    """Somebody else may have that path on another server."""
    world.put_back(MemoryStore())
    goes_by_remote(laptop)
    laptop.step()
    assert aliases(world) == {REMOTE.value: ()}
    assert world.head(project=REMOTE) == ONE


def test_a_death_at_any_request_of_the_change_loses_nothing(world: World, laptop: Machine) -> None:
    """The link is asked for again, which changes nothing."""
    goes_by_remote(laptop)
    laptop.append(TWO)
    line = world.lines["laptop"]
    asked = 0
    while True:
        left = asked

        def cut(_request: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise ConnectionResetError

        line.after = cut
        try:
            laptop.step()
            break
        except Unreachable:
            asked += 1
    assert asked >= 3
    world.let_locks_expire()
    assert aliases(world) == {REMOTE.value: (DEMO.value,)}
    assert world.head(project=REMOTE) == laptop.read() == ONE + TWO


def test_a_folder_that_is_in_step_asks_no_more_than_before(world: World, laptop: Machine) -> None:
    """Once the id is noted, nobody asks for a link."""
    goes_by_remote(laptop)
    laptop.step()
    line = world.lines["laptop"]
    line.paths()
    laptop.step()
    assert line.paths() == ["GET /projects/github.com%2Fana%2Fapp/files"]


# Two clones of a repository on one machine


@pytest.mark.parametrize(
    ("file", "before", "here", "there", "both"),
    [
        (REMEMBERED, facts(1), facts(1, 2), facts(1, 3), facts(1, 2, 3)),
        (LOG, ONE, TWO, THREE, TWO + THREE),
    ],
    ids=["facts", "logs that were summed up"],
)
def test_what_two_clones_send_under_the_lock_of_another_is_merged(
    world: World, file: FileName, before: bytes, here: bytes, there: bytes, both: bytes
) -> None:
    """Both have the name of the machine; neither upload takes the place of the other."""
    clone, second, other = (world.machine(name) for name in ("clone", "second", "other"))
    second.client = clone.client
    other.write(before, file)
    for one in (other, clone, second):
        one.path.mkdir(exist_ok=True)
        one.step()
    other.pull()
    clone.write(here, file)
    second.write(there, file)
    assert [did(one.step()) for one in (clone, second)] == [{file: ["kept"]}] * 2
    other.push()
    for one in (clone, second, other):
        one.step()
    assert world.head(file) == both
    assert {one.read(file) for one in (clone, second, other)} == {both}


# Servers that are not what they were


@pytest.mark.parametrize("act", [Machine.step, Machine.push])
def test_another_server_gets_all_memory_with_the_next_sync(
    world: World, laptop: Machine, act: Callable[[Machine], object]
) -> None:
    """Although nothing has changed here since the last server had it."""
    world.put_back(MemoryStore())
    act(laptop)
    assert world.head() == ONE


@pytest.mark.parametrize("act", [Machine.step, Machine.push])
def test_a_server_with_other_memory_gets_what_it_lacks_at_once(
    world: World, laptop: Machine, act: Callable[[Machine], object]
) -> None:
    """Both are united, here and there; what that server never had is no removal."""
    world.put_back(MemoryStore())
    world.upload(TWO, laptop)
    act(laptop)
    assert world.head() == laptop.read() == ONE + TWO


def test_a_refused_upload_that_a_server_does_not_know_is_sent_to_it(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The server was put back to a backup from before; nothing else changes here."""
    backup = world.backup()
    desktop.pull()
    laptop.append(TWO)
    assert did(laptop.step()) == {LOG: ["kept"]}
    world.put_back(backup)
    laptop.step()
    assert world.head() == ONE + TWO
    assert laptop.seen().refused is None


def test_an_upload_that_a_backup_only_kept_is_no_base(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The upload has become the head since; the server that was put back merges nothing."""
    desktop.pull()
    laptop.append(TWO)
    assert did(laptop.step()) == {LOG: ["kept"]}
    backup = world.backup()
    world.let_locks_expire()
    laptop.step()
    assert (world.head(), laptop.seen().refused) == (ONE + TWO, None)
    backup.merging = Merging(False)
    world.put_back(backup)
    desktop.append(THREE)
    desktop.push()
    laptop.step()
    assert world.head() == laptop.read() == ONE + TWO + THREE


def test_two_servers_in_turn_take_nothing_from_each_other(world: World, laptop: Machine) -> None:
    """A removal at one is none at the other, which has another history."""
    here, there = world.stub.store, MemoryStore()
    assert isinstance(here, MemoryStore)
    laptop.append(TWO)
    laptop.step()
    world.put_back(there)
    laptop.step()
    laptop.remove(ONE)
    laptop.step()
    assert world.head() == TWO
    world.put_back(here)
    laptop.append(THREE)
    laptop.step()
    assert world.head() == laptop.read() == ONE + TWO + THREE
