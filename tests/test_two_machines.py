"""Two machines that work at once: nothing that reached the server is lost.

The stock client against the whole server in this process, on a fake clock. In each story the server runs through, is
restarted, or is killed between any two requests. `test_forgetting` has the rules of removing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.in_process import InProcess
from tests.stock_client import Answer, NoAnswer
from tests.world import FILES, LOG, PROJECT, World, adding, nothing, removing

INTERRUPTIONS = {
    "runs through": nothing,
    "is restarted": InProcess.restart,
    "is killed": InProcess.kill_and_restart,
}


@pytest.fixture(params=list(INTERRUPTIONS.values()), ids=list(INTERRUPTIONS))
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A server that is interrupted, without any memory."""
    world = World(tmp_path, interrupt=request.param)
    yield world
    assert world.server.faults == []


@pytest.fixture
def world(empty: World) -> World:
    """A server that is interrupted, and two machines whose log has a line."""
    empty.session(empty.laptop, adding(LOG, "one"))
    empty.session(empty.desktop)
    return empty


def uploads(answers: list[Answer]) -> list[int]:
    """The statuses of the answers to uploads."""
    return [answer.status for answer in answers if answer.method == "PUT"]


def everywhere(world: World, name: str, *items: str) -> None:
    """Check the head, and then each machine after its next pull."""
    assert world.head(name) == list(items)
    for machine in (world.laptop, world.desktop):
        world.session(machine)
        assert machine.items(PROJECT, name) == list(items)


def test_sessions_in_turn_make_no_merges(world: World) -> None:
    """Each upload becomes the head, byte for byte."""
    laptop, desktop = world.laptop, world.desktop
    path = f"/projects/{PROJECT}/files/{LOG}"
    for machine in (laptop, desktop, laptop, desktop):
        assert uploads(world.session(machine, adding(LOG, "more"))) == [200]
        assert world.server.ask("GET", path)[1]["content"].encode() == machine.read(PROJECT, LOG)
    versions = world.server.ask("GET", f"{path}/versions")[1]["versions"]
    assert [version["kind"] for version in versions] == ["upload"] * 5


def test_a_session_that_outlives_its_lock_is_kept(world: World) -> None:
    """The upload is refused, and merged at once; its next pull does not overwrite it."""
    laptop = world.laptop
    world.pull(laptop)
    laptop.note(PROJECT, "a long session")
    world.later(40)
    [refused] = [answer for answer in world.push(laptop) if answer.method == "PUT"]
    assert (refused.status, refused.body["error"]) == (403, "No lock held - acquire lock before writing")
    assert (refused.body["rescued"], refused.body["version"]) == (True, 2)
    everywhere(world, LOG, "one", "a long session")


def test_an_upload_waits_while_another_has_the_lock(world: World) -> None:
    """The holder sees nothing of it before its session ends."""
    laptop, desktop = world.laptop, world.desktop
    world.pull(laptop)
    laptop.note(PROJECT, "a long session")
    world.later(40)
    world.pull(desktop)
    desktop.note(PROJECT, "the next session")
    [refused] = [answer for answer in world.push(laptop) if answer.method == "PUT"]
    assert refused.body["error"] == "Lock held by different client"
    assert (refused.body["rescued"], refused.body["lock"]["clientId"]) == (True, desktop.client_id)
    assert world.head() == ["one"]
    world.push(desktop)
    everywhere(world, LOG, "one", "a long session", "the next session")


@pytest.mark.parametrize("holder_ends_first", [True, False])
def test_a_machine_that_is_locked_out_works_on_what_it_has(world: World, holder_ends_first: bool) -> None:
    """Each file is merged by its form, whichever session ends first."""
    laptop, desktop = world.laptop, world.desktop
    for name in FILES[1:]:
        world.session(laptop, adding(name, "one"))
    world.session(desktop)
    world.pull(laptop)
    assert [answer.status for answer in world.pull(desktop)] == [200, 409]
    for name in FILES:
        adding(name, "by the holder")(laptop)
        world.later(2)
        adding(name, "locked out")(desktop)
    for machine in (laptop, desktop) if holder_ends_first else (desktop, laptop):
        statuses = uploads(world.push(machine))
        assert statuses == [200 if machine is laptop else 403] * len(FILES)
    for name in FILES:
        assert sorted(world.head(name)) == ["by the holder", "locked out", "one"]
    everywhere(world, LOG, "one", "by the holder", "locked out")


def test_two_sessions_on_one_machine_share_a_lock(world: World) -> None:
    """The first to end takes it from the other, and another machine gets it."""
    laptop, desktop = world.laptop, world.desktop
    world.pull(laptop)
    world.pull(laptop)
    laptop.note(PROJECT, "first session")
    world.push(laptop)
    world.pull(desktop)
    desktop.note(PROJECT, "desktop")
    world.later()
    laptop.note(PROJECT, "second session")
    world.push(laptop)
    world.push(desktop)
    everywhere(world, LOG, "one", "first session", "desktop", "second session")


def test_memories_from_before_the_first_sync_are_both_kept(empty: World) -> None:
    """The second upload is merged without a base: nothing is removed, all is in order."""
    world, laptop, desktop = empty, empty.laptop, empty.desktop
    for machine, line in ((desktop, "desktop 1"), (laptop, "laptop 1")):
        machine.note(PROJECT, line)
        world.later()
    world.session(laptop)
    desktop.note(PROJECT, "desktop 2")
    [merged] = [answer for answer in world.session(desktop) if answer.method == "PUT"]
    assert (merged.status, merged.body["success"], merged.body["merged"]) == (200, True, True)
    everywhere(world, LOG, "desktop 1", "laptop 1", "desktop 2")


@pytest.mark.parametrize("laptop_is_first", [True, False])
def test_machines_that_were_offline_come_back_in_either_order(world: World, laptop_is_first: bool) -> None:
    """Neither has a lock, and both are merged; a removed line stays away."""
    laptop, desktop = world.laptop, world.desktop
    world.session(laptop, adding(LOG, "two"))
    world.session(desktop)
    laptop.note(PROJECT, "laptop offline")
    world.later()
    desktop.note(PROJECT, "desktop offline")
    removing(LOG, "one")(desktop)
    for machine in (laptop, desktop) if laptop_is_first else (desktop, laptop):
        assert uploads(world.push(machine)) == [403]
    everywhere(world, LOG, "two", "laptop offline", "desktop offline")


def test_a_session_whose_push_found_no_server_is_sent_with_the_next(world: World) -> None:
    """The next pull does not overwrite it."""
    laptop = world.laptop
    world.pull(laptop)
    laptop.note(PROJECT, "two")
    with world.server.unreachable(), pytest.raises(NoAnswer, match="GET /health"):
        laptop.push(PROJECT)
    world.later(60)
    world.session(laptop, adding(LOG, "three"))
    assert world.head() == ["one", "two", "three"]
