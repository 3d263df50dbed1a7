"""Files and projects that were removed on the server do not come back by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from mneme.client.actions import Action
from tests.client.machines import DEMO, LOG, REMEMBERED, SUMMARY, Machine, World, did
from tests.web.stub import TTL, entry

ONE, TWO, THREE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A server on which a project was removed that the laptop has."""
    world = World(tmp_path)
    laptop = world.machine("laptop")
    laptop.write(ONE)
    laptop.write(b"# Use tabs\n", SUMMARY)
    laptop.push()
    world.stub.store.remove_project(DEMO, laptop.client, world.now)
    return world


@pytest.fixture
def laptop(world: World) -> Machine:
    """The machine that has the project."""
    return world.machines["laptop"]


def on_server(world: World) -> list[str]:
    """The names of the files that the server has."""
    return [head.file.value for head in world.stub.store.heads(DEMO, world.now)]


def test_an_unchanged_folder_brings_nothing_back(world: World, laptop: Machine) -> None:
    """Neither by a session nor by a step of the agent, again and again."""
    for act in (laptop.pull, laptop.push, lambda: laptop.session().step(), laptop.send):
        act()
        assert on_server(world) == []
    assert laptop.lines() == [ONE]


def test_a_changed_file_is_sent_and_an_unchanged_one_is_not(world: World, laptop: Machine) -> None:
    """Somebody goes on with the one; the report says what stays here."""
    laptop.append(TWO)
    laptop.pull()
    assert did(laptop.push()) == {LOG: ["sent"], SUMMARY: ["removed"]}
    assert (on_server(world), world.head()) == ([LOG.value], ONE + TWO)
    laptop.append(THREE)
    assert did(laptop.push()) == {LOG: ["appended"], SUMMARY: ["removed"]}


def test_under_the_lock_of_another_an_unchanged_file_is_not_sent_either(
    world: World, laptop: Machine
) -> None:
    """The changed one is kept, and merged when that lock is free."""
    desk = world.machine("desk")
    world.stub.store.acquire(DEMO, desk.client, world.now, TTL)
    laptop.append(TWO)
    assert did(laptop.push())[LOG] == ["kept"]
    assert on_server(world) == []
    world.let_locks_expire()
    laptop.pull()
    laptop.push()
    assert (on_server(world), world.head()) == ([LOG.value], ONE + TWO)


def test_a_new_file_is_sent(world: World, laptop: Machine) -> None:
    """The server never had it."""
    laptop.write(b"[]", REMEMBERED)
    laptop.push()
    assert on_server(world) == [REMEMBERED.value]


def test_a_file_that_is_restored_is_fetched_and_sent_as_ever(world: World, laptop: Machine) -> None:
    """The removal has left no mark on the machine."""
    laptop.push()
    world.upload(ONE + TWO, laptop)
    laptop.pull()
    assert laptop.lines() == [ONE, TWO]
    laptop.append(THREE)
    assert Action.APPENDED in laptop.push().files[0].actions


def test_a_server_that_was_set_up_anew_gets_what_it_lacks(world: World, laptop: Machine) -> None:
    """No history says that the file was removed."""
    world.put_back(type(world.backup())())
    laptop.append(TWO)
    laptop.push()
    assert on_server(world) == [LOG.value, SUMMARY.value]


def test_a_removal_that_was_seen_outlasts_the_history(world: World, laptop: Machine) -> None:
    """A change is sent as ever, even if the server knows nothing of the project."""
    laptop.push()
    world.put_back(type(world.backup())())
    laptop.push()
    laptop.session().step()
    assert on_server(world) == []
    laptop.append(TWO)
    laptop.push()
    assert (on_server(world), world.head()) == ([LOG.value], ONE + TWO)


def test_a_file_that_is_there_again_counts_as_removed_no_more(tmp_path: Path) -> None:
    """A person who puts a file back by hand gives it its old version."""
    world = World(tmp_path)
    laptop = world.machine("laptop")
    laptop.write(ONE)
    laptop.push()
    before = world.backup()
    world.stub.store.remove_project(DEMO, laptop.client, world.now)
    laptop.push()
    world.put_back(before)
    laptop.pull()
    world.put_back(type(before)())
    laptop.push()
    assert on_server(world) == [LOG.value]


def test_a_server_that_was_put_back_to_an_older_backup_gets_what_it_lacks(tmp_path: Path) -> None:
    """Its history is older than the content that is here."""
    world = World(tmp_path)
    laptop = world.machine("laptop")
    laptop.write(b"# Old\n", SUMMARY)
    laptop.push()
    world.stub.store.remove_project(DEMO, laptop.client, world.now)
    backup = world.backup()
    laptop.write(b"# New\n", SUMMARY)
    laptop.push()
    world.put_back(backup)
    laptop.write(ONE)
    laptop.push()
    assert world.head(SUMMARY) == b"# New\n"


def test_a_long_history_is_searched_to_the_base(world: World, laptop: Machine) -> None:
    """Others have sent hundreds of versions since, and then it was removed again."""
    desk = world.machine("desk")
    world.stub.store.acquire(DEMO, desk.client, world.now, TTL)
    for number in range(150):
        world.upload(f"# Number {number}\n".encode(), desk, SUMMARY)
    world.stub.store.remove_project(DEMO, desk.client, world.now)
    laptop.append(TWO)
    laptop.push()
    assert on_server(world) == [LOG.value]
