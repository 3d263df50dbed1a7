"""Pull and push of files changed here, on the server, or both: nothing is lost."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mneme.client import sync
from mneme.client.actions import Action
from mneme.client.errors import ServerTrouble, Unreachable
from mneme.client.sync import Report
from mneme.errors import DiskFull
from mneme.model import FileName, Merging, digest
from tests.client.lines import Asked, Killed, answer
from tests.client.machines import ENTITIES, LOG, REMEMBERED, SUMMARY, Machine, World, did
from tests.kept import MemoryStore
from tests.store.asking import facts
from tests.store.faults import FULL, Faults
from tests.web.stub import entry

ONE, TWO, THREE, FOUR, FIVE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3, 4, 5))


def in_step(world: World, *machines: Machine, log: bytes = ONE) -> None:
    """All machines, and the server, have the same log, and nobody has the lock."""
    machines[0].write(log)
    for machine in machines:
        machine.push()
    for machine in machines:
        world.turns(machine)
        world.asked(machine)
    assert {machine.read() for machine in machines} == {log} == {world.head()}


def kept(world: World, laptop: Machine, desktop: Machine) -> None:
    """The server keeps a line of the laptop, because the desktop has the lock."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    report = laptop.push()
    assert did(report) == {LOG: ["kept"]}
    assert report.locked
    assert report.locked.client == desktop.client
    world.asked(laptop)


def counted(laptop: Machine, desktop: Machine) -> None:
    """Both have a file of entities, and the desktop has the lock."""
    laptop.write(entities(a=10), ENTITIES)
    laptop.push()
    desktop.pull()


def entities(**mentions: int) -> bytes:
    """A file of entities, each mentioned so often."""
    files = {name: {"mentions": count, "lastSeen": None} for name, count in mentions.items()}
    return json.dumps({"files": files}).encode()


def mentions(content: bytes | None) -> dict[str, int]:
    """How often each is mentioned."""
    return {name: one["mentions"] for name, one in json.loads(content or b"")["files"].items()}


# Requests


def test_a_session_in_which_nothing_happens_is_four_requests(world: World, laptop: Machine) -> None:
    """No file is transferred that is unchanged, copied by hand, or the base."""
    in_step(world, laptop)
    for prepare in (lambda: None, (laptop.path / LOG.value).unlink, lambda: copy_by_hand(laptop)):
        prepare()
        laptop.pull()
        assert world.asked(laptop) == ["POST lock", "GET files"]
        assert laptop.read() == ONE
        assert did(laptop.push()) == {}
        assert world.asked(laptop) == ["GET files", "DELETE lock"]


def copy_by_hand(machine: Machine) -> None:
    """Have a folder made anew, with the log and no base."""
    content = machine.read() or b""
    shutil.rmtree(machine.path)
    machine.write(content)


def test_only_new_lines_travel(world: World, laptop: Machine) -> None:
    """The log is then, byte for byte, what it is here."""
    in_step(world, laptop)
    laptop.append(TWO, THREE)
    assert did(laptop.push()) == {LOG: ["appended"]}
    assert world.lines["laptop"].asked[-2].body == TWO + THREE
    assert world.head() == laptop.read() == ONE + TWO + THREE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ONE, ONE + TWO.rstrip()),
        (ONE.rstrip(), ONE + TWO),
        (ONE.rstrip(), ONE),
        (ONE + TWO, TWO),
        (ONE, TWO + ONE),
        (ONE + b"\n", ONE + TWO),
        (ONE + b"\n\n", ONE + b"\n\n\n"),
        (b"", ONE),
        (ONE, ONE + "ünï\r\n\0\u2028\n".encode()),
    ],
)
def test_the_server_has_the_very_bytes(world: World, laptop: Machine, before: bytes, after: bytes) -> None:
    """Whether lines were added, removed, cut, or something stranger."""
    laptop.write(before)
    laptop.push()
    assert world.head() == before
    laptop.write(after)
    laptop.push()
    assert world.head() == laptop.read() == after
    assert not laptop.seen().is_changed
    assert did(laptop.push()) == {}


@pytest.mark.parametrize("is_locked", [False, True])
def test_files_that_others_sent_are_fetched(
    world: World, laptop: Machine, desktop: Machine, is_locked: bool
) -> None:
    """Also under the lock of another; the fetched content is the base."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.send() if is_locked else desktop.push()
    report = laptop.pull()
    assert did(report) == {LOG: ["fetched"]}
    assert (report.locked and report.locked.client) == (desktop.client if is_locked else None)
    assert (report.lock and report.lock.client) == (None if is_locked else laptop.client)
    fetching = ["GET files/log.jsonl", "GET files/log.jsonl/versions/1"]
    assert world.asked(laptop) == ["POST lock", "GET files", *fetching]
    assert laptop.read() == ONE + TWO
    assert not laptop.seen().is_changed


def test_a_pull_and_a_push_take_the_lock_of_the_folder_once_each(
    world: World, laptop: Machine, desktop: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files they fetch and send."""
    in_step(world, laptop, desktop)
    locked: list[int] = []
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        locked.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    world.turns(laptop)
    assert len(locked) == 2
    for machine, line in ((desktop, TWO), (laptop, THREE)):
        machine.append(line)
        machine.write(machine.path.name.encode(), SUMMARY)
    desktop.push()
    assert len(locked) == 3
    assert did(laptop.push()) == {LOG: ["merged", "appended"], SUMMARY: ["merged", "sent"]}
    assert len(locked) == 4


def test_a_file_written_while_another_is_sent_is_sent_too(world: World, laptop: Machine) -> None:
    """The look at the start of a push is not the last word."""
    laptop.write(ONE)

    def write(asked: Asked) -> None:
        if asked.path.endswith("log.jsonl"):
            laptop.write(b"# One\n", SUMMARY)

    world.lines["laptop"].after = write
    assert did(laptop.push()) == {LOG: ["sent"], SUMMARY: ["sent"]}
    assert world.head(SUMMARY) == b"# One\n"


# Both sides


def test_at_first_contact_both_memories_become_one(world: World, laptop: Machine, desktop: Machine) -> None:
    """Of each file, by what it is."""
    laptop.write(ONE + THREE)
    laptop.write(entities(a=3, b=1), ENTITIES)
    laptop.push()
    desktop.write(TWO + THREE)
    desktop.write(entities(a=2, c=5), ENTITIES)
    assert did(desktop.pull()) == {LOG: ["merged"], ENTITIES: ["merged"]}
    assert mentions(desktop.read(ENTITIES)) == {"a": 3, "b": 1, "c": 5}
    desktop.push()
    laptop.pull()
    assert laptop.read() == desktop.read() == world.head() == ONE + TWO + THREE


def test_what_was_not_yet_sent_is_merged(world: World, laptop: Machine, desktop: Machine) -> None:
    """Not overwritten; a push without a pull merges first, and says both."""
    in_step(world, laptop, desktop)
    laptop.append(TWO)
    desktop.append(THREE)
    desktop.push()
    assert did(laptop.pull()) == {LOG: ["merged"]}
    assert laptop.read() == ONE + TWO + THREE
    assert did(laptop.push()) == {LOG: ["sent"]}
    assert world.head() == ONE + TWO + THREE
    desktop.append(FOUR)
    assert did(desktop.push()) == {LOG: ["merged", "appended"]}
    assert world.head() == desktop.read() == ONE + TWO + THREE + FOUR
    assert world.holder() is None


def test_what_both_have_counted_is_added_up_once(world: World, laptop: Machine, desktop: Machine) -> None:
    """However often they pull and push after that."""
    counted(laptop, desktop)
    desktop.push()
    laptop.write(entities(a=13), ENTITIES)
    laptop.push()
    desktop.write(entities(a=11), ENTITIES)
    world.turns(desktop, laptop, desktop, laptop)
    assert mentions(world.head(ENTITIES)) == mentions(laptop.read(ENTITIES)) == {"a": 14}


# Files that are not there


@pytest.mark.parametrize("act", [Machine.pull, Machine.push])
@pytest.mark.parametrize("remove", [lambda path: (path / LOG.value).unlink(), shutil.rmtree])
@pytest.mark.parametrize("now", [ONE, ONE + TWO])
def test_a_file_that_was_deleted_here_is_fetched_again(
    world: World,
    laptop: Machine,
    act: Callable[[Machine], Report],
    remove: Callable[[Path], object],
    now: bytes,
) -> None:
    """As it is now, and also where the whole folder was deleted."""
    in_step(world, laptop)
    if now != ONE:
        world.upload(now, laptop)
    remove(laptop.path)
    assert did(act(laptop)) == {LOG: ["fetched"]}
    assert laptop.read() == world.head() == now
    assert not laptop.seen().is_changed


# Locks


def test_a_file_sent_under_the_lock_of_another_is_kept_until_it_is_free(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """Only later lines are sent; the server merges once, and the machine knows."""
    kept(world, laptop, desktop)
    assert did(laptop.push()) == {LOG: ["kept"]}
    assert not [one for one in world.asked(laptop) if one.startswith("PUT") or "append" in one]
    laptop.append(THREE)
    assert did(laptop.push()) == {LOG: ["kept"]}
    assert world.holder() == "desktop"
    assert world.head() == ONE
    desktop.append(FOUR)
    desktop.push()
    laptop.pull()
    assert laptop.read() == world.head() == ONE + TWO + THREE + FOUR
    assert not laptop.seen().is_changed
    assert laptop.seen().refused is None


def test_a_file_that_did_not_change_here_is_fetched_under_the_lock_of_another(
    laptop: Machine, desktop: Machine
) -> None:
    """Another file is handed in by the same step."""
    counted(laptop, desktop)
    desktop.write(entities(a=11), ENTITIES)
    desktop.send()
    laptop.append(TWO)
    assert did(laptop.send()) == {LOG: ["kept"], ENTITIES: ["fetched"]}
    assert mentions(laptop.read(ENTITIES)) == {"a": 11}


def test_what_was_kept_is_merged_by_the_server_alone(laptop: Machine, desktop: Machine) -> None:
    """Under another's lock, a machine with a refused upload does not merge."""
    counted(laptop, desktop)
    laptop.write(entities(a=12), ENTITIES)
    laptop.push()
    desktop.write(entities(a=11), ENTITIES)
    desktop.send()
    assert did(laptop.pull()) == {ENTITIES: ["kept"]}
    assert mentions(laptop.read(ENTITIES)) == {"a": 12}
    desktop.push()
    laptop.pull()
    assert mentions(laptop.read(ENTITIES)) == {"a": 13}


def test_kept_lines_whose_removal_restores_the_base_stay_away(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The head equals the machine's base again, because the kept lines were removed."""
    kept(world, laptop, desktop)
    desktop.push()
    desktop.pull()
    desktop.remove(TWO)
    desktop.push()
    assert world.head() == ONE
    laptop.append(THREE)
    laptop.push()
    assert laptop.read() == world.head() == ONE + THREE


@pytest.mark.parametrize("act", [Machine.pull, Machine.step, Machine.push])
def test_a_kept_fact_that_is_forgotten_while_the_lock_lasts_stays_away(
    world: World, laptop: Machine, desktop: Machine, act: Callable[[Machine], Report]
) -> None:
    """The file is the head again; the server is yet to merge the kept one."""
    laptop.write(facts(1), REMEMBERED)
    laptop.step()
    desktop.pull()
    laptop.write(facts(1, 2), REMEMBERED)
    assert did(laptop.step()) == {REMEMBERED: ["kept"]}
    laptop.write(facts(1), REMEMBERED)
    act(laptop)
    desktop.push()
    for one in (laptop, desktop):
        one.step()
    assert world.head(REMEMBERED) == laptop.read(REMEMBERED) == desktop.read(REMEMBERED) == facts(1)


@pytest.mark.parametrize("waits", [True, False])
def test_what_was_kept_in_parts_is_counted_once(
    world: World, laptop: Machine, desktop: Machine, waits: bool
) -> None:
    """Whether or not the first part was merged when the second was refused."""
    counted(laptop, desktop)
    laptop.write(entities(a=12), ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["kept"]}
    desktop.write(entities(a=11), ENTITIES)
    if not waits:
        desktop.push()
        desktop.pull()
    laptop.write(entities(a=17), ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["kept"]}
    desktop.push()
    laptop.write(entities(a=20), ENTITIES)
    world.turns(laptop, desktop, laptop)
    assert mentions(world.head(ENTITIES)) == mentions(desktop.read(ENTITIES)) == {"a": 21}


@pytest.mark.parametrize("versions", [0, 12])
def test_lines_that_were_kept_and_then_removed_by_another_stay_away(
    world: World, laptop: Machine, desktop: Machine, monkeypatch: pytest.MonkeyPatch, versions: int
) -> None:
    """The merged upload is the base, also after many versions."""
    monkeypatch.setattr(sync, "_HISTORY", 2)
    kept(world, laptop, desktop)
    desktop.push()
    desktop.pull()
    assert desktop.lines() == [ONE, TWO]
    desktop.remove(TWO)
    desktop.append(THREE)
    others = [entry(f"more {number}", 30).encode() for number in range(versions)]
    for line in others:
        desktop.append(line)
        desktop.send()
    desktop.push()
    laptop.append(FOUR)
    world.turns(laptop)
    assert laptop.lines() == [ONE, THREE, FOUR, *others]
    assert laptop.read() == world.head()


def test_under_a_lock_lost_on_the_way_a_file_is_kept(world: World, laptop: Machine, desktop: Machine) -> None:
    """The lock expires between two requests, and another machine takes it."""
    in_step(world, laptop, desktop)
    laptop.append(TWO)

    def lose(asked: Asked) -> None:
        if asked.path.endswith("append"):
            world.let_locks_expire()
            desktop.pull()

    world.lines["laptop"].before = lose
    assert did(laptop.push()) == {LOG: ["kept"]}
    assert world.holder() == "desktop"
    desktop.push()
    laptop.pull()
    assert laptop.read() == world.head() == ONE + TWO


def test_a_lock_freed_on_the_way_lets_a_file_in(world: World, laptop: Machine, desktop: Machine) -> None:
    """The upload is merged at once, for the lock is free."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    world.lines["laptop"].before = lambda asked: desktop.push() if asked.path.endswith("append") else None
    assert did(laptop.push()) == {LOG: ["kept"]}
    laptop.pull()
    assert laptop.lines() == [ONE, TWO]
    assert world.head() == ONE + TWO


def test_an_upload_that_found_no_space_is_sent_again(world: World, laptop: Machine, desktop: Machine) -> None:
    """Nobody takes it to be on the server."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    refusal = answer(403, b'{"error":"No lock held"}')
    line = world.lines["laptop"]
    line.by_hand["POST /projects/demo/files/log.jsonl/append"] = refusal
    assert did(laptop.push()) == {LOG: ["refused"]}
    assert laptop.seen().refused is None
    line.by_hand.clear()
    desktop.push()
    laptop.push()
    assert world.head() == ONE + TWO


def test_a_deleted_file_is_fetched_although_a_part_waits(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """There is nothing left that could be merged twice."""
    kept(world, laptop, desktop)
    desktop.append(THREE)
    desktop.send()
    (laptop.path / LOG.value).unlink()
    assert did(laptop.pull()) == {LOG: ["fetched"]}
    assert laptop.read() == ONE + THREE


# Heads that change on the way


@pytest.mark.parametrize("before", [ONE, None])
def test_a_head_that_changes_on_the_way_is_merged(
    world: World, laptop: Machine, before: bytes | None
) -> None:
    """Or comes: the upload is refused with 412, and made again from the new head."""
    if before:
        in_step(world, laptop)
    laptop.append(TWO)

    def change(asked: Asked) -> None:
        if asked.path.endswith(("log.jsonl", "append")) and world.head() == before:
            world.upload((before or b"") + THREE, laptop)

    world.lines["laptop"].before = change
    assert did(laptop.push()) == {LOG: ["merged", "sent"]}
    assert world.head() == laptop.read() == (before or b"") + TWO + THREE


def test_a_head_that_always_changes_is_missed(world: World, laptop: Machine) -> None:
    """And tried again at the next push; the other files are sent."""
    in_step(world, laptop)
    laptop.append(TWO)
    laptop.write(b"# One\n", SUMMARY)
    others: list[bytes] = []

    def change(asked: Asked) -> None:
        if asked.path.endswith(("log.jsonl", "append")) and asked.method in ("PUT", "POST"):
            others.append(entry(f"other {len(others)}", 20).encode())
            world.upload((world.head() or b"") + others[-1], laptop)

    world.lines["laptop"].before = change
    report = laptop.push()
    assert report.files_with(Action.MISSED) == (LOG,)
    assert world.head(SUMMARY) == b"# One\n"
    assert world.holder() is None
    world.lines["laptop"].before = lambda asked: None
    laptop.push()
    assert world.head() == laptop.read()
    assert sorted(laptop.lines()) == sorted([ONE, TWO, *others])


def test_a_file_that_is_written_the_whole_time_is_missed(world: World, laptop: Machine) -> None:
    """The file stays as the plugin wrote it, and is merged at a later pull."""
    in_step(world, laptop)
    world.upload(ONE + TWO, laptop)
    number = 0

    def write(asked: Asked) -> None:
        nonlocal number
        if str(asked) == "GET /projects/demo/files/log.jsonl":
            number += 1
            laptop.write(entry(f"here {number}", 20).encode())

    world.lines["laptop"].after = write
    assert did(laptop.pull()) == {LOG: ["missed"]}
    assert did(laptop.push())[LOG] == ["missed"]
    assert laptop.lines() == [entry(f"here {number}", 20).encode()]
    world.lines["laptop"].after = lambda asked: None
    laptop.pull()
    assert laptop.lines() == [TWO, entry(f"here {number}", 20).encode()]


# What cannot be merged


def test_damaged_files_here_give_way_to_the_servers(laptop: Machine, desktop: Machine) -> None:
    """The damaged content is in the .bak."""
    laptop.write(entities(a=1), ENTITIES)
    laptop.push()
    desktop.write(b"{ half of a", ENTITIES)
    assert did(desktop.pull()) == {ENTITIES: ["replaced"]}
    assert desktop.read(ENTITIES) == entities(a=1)
    assert (desktop.path / "entities.json.bak").read_bytes() == b"{ half of a"


@pytest.mark.parametrize("here", [entities(b=1), b"also no JSON"])
def test_what_cannot_be_merged_with_the_server_stays_and_replaces_it(
    world: World, laptop: Machine, desktop: Machine, here: bytes
) -> None:
    """The server's content stays in its history."""
    laptop.write(b"no JSON at all", ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["sent"]}
    desktop.write(here, ENTITIES)
    assert did(desktop.pull()) == {ENTITIES: ["stayed"]}
    assert desktop.read(ENTITIES) == here
    assert did(desktop.push()) == {ENTITIES: ["sent"]}
    assert world.head(ENTITIES) == here
    assert digest(b"no JSON at all") in {one["sha256"] for one in world.stub.versions("entities.json")}


def test_bytes_that_are_no_utf8_on_the_server_are_text_here(world: World, laptop: Machine) -> None:
    """The content was edited by hand on the server."""
    raw = ONE + b'{"ts":"2026-02-04T14:30:00.000Z","content":"caf\xe9"}\n'
    laptop.pull()
    world.upload(raw, laptop)
    assert did(laptop.pull()) == {LOG: ["fetched"]}
    assert did(laptop.pull()) == {}
    assert not laptop.seen().is_changed
    laptop.append(TWO)
    assert did(laptop.push()) == {LOG: ["sent"]}
    assert world.head() == laptop.read() == raw.decode(errors="replace").encode() + TWO
    assert did(laptop.push()) == {}


# What goes wrong


def test_a_file_that_the_server_refuses_keeps_none_of_the_others_back(world: World, laptop: Machine) -> None:
    """Too large for it, for instance; it stays here, and is told."""
    laptop.write(ONE)
    laptop.push()
    world.stub.store.merging = Merging(max_bytes=1000)
    laptop.append(*[TWO] * 20)
    laptop.write(b"# One\n", SUMMARY)
    report = laptop.push()
    [log] = [one for one in report.files if one.file is LOG]
    assert log.problem
    assert "larger than" in log.problem
    assert did(report) == {SUMMARY: ["sent"]}
    assert world.holder() is None
    assert laptop.seen().is_changed


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_server_with_a_full_disk_gives_up_the_lock(world: World, laptop: Machine, is_cut: bool) -> None:
    """And why nothing was sent is told, although the lock cannot be given up either."""
    in_step(world, laptop)
    laptop.append(TWO)
    line = world.lines["laptop"]
    line.by_hand["POST /projects/demo/files/log.jsonl/append"] = answer(507, b'{"error":"full"}')
    if is_cut:
        line.by_hand["DELETE /projects/demo/lock"] = OSError("the connection broke")
    with pytest.raises(ServerTrouble):
        laptop.push()
    assert (world.holder() is None) is not is_cut
    line.by_hand.clear()
    laptop.push()
    assert world.head() == ONE + TWO


def test_a_full_disk_here_keeps_the_lock_from_nobody(world: World, laptop: Machine, faults: Faults) -> None:
    """And changes nothing here."""
    in_step(world, laptop)
    world.upload(ONE + TWO, laptop)
    with faults.failing(0, FULL), pytest.raises(DiskFull):
        laptop.push()
    assert world.holder() is None
    assert laptop.read() == ONE


@pytest.mark.parametrize("act", [Machine.pull, Machine.push])
def test_without_a_server_nothing_is_touched(
    world: World, laptop: Machine, act: Callable[[Machine], Report]
) -> None:
    """Neither file nor base."""
    in_step(world, laptop)
    laptop.append(TWO)
    before = laptop.seen()
    world.lines["laptop"].is_cut = True
    with pytest.raises(Unreachable):
        act(laptop)
    assert laptop.seen() == before


# Servers that are not what they were


@pytest.mark.parametrize("anew", [False, True])
def test_a_server_that_was_put_back_gets_missing_lines(
    world: World, laptop: Machine, desktop: Machine, anew: bool
) -> None:
    """Its numbers come again for other contents, and nobody takes one for the other."""
    in_step(world, laptop, desktop)
    backup = MemoryStore() if anew else world.backup()
    for line in (TWO, THREE):
        laptop.append(line)
        laptop.push()
    world.put_back(backup)
    for line in (FOUR, FIVE):
        desktop.append(line)
        desktop.push()
    world.turns(laptop, desktop)
    assert world.head() == laptop.read() == desktop.read() == ONE + TWO + THREE + FOUR + FIVE


def test_an_upload_that_a_server_kept_before_it_was_put_back_is_not_merged(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The number under which it was kept is another upload's, that was merged."""
    third = world.machine("third")
    in_step(world, laptop, desktop, third)
    desktop.pull()
    backup = world.backup()
    laptop.append(TWO)
    laptop.push()
    world.put_back(backup)
    third.append(THREE)
    third.push()
    kept, again = laptop.seen().refused, third.seen().refused
    assert kept
    assert again
    assert again.version == kept.version
    desktop.push()
    world.turns(laptop, desktop)
    assert world.head() == laptop.read() == desktop.read() == ONE + TWO + THREE


# Clocks


@pytest.mark.parametrize("hours", [0, 7, -7])
@pytest.mark.parametrize("laptop_is_later", [True, False])
def test_who_was_later_is_decided_by_ages(world: World, hours: int, laptop_is_later: bool) -> None:
    """However far apart the clocks of the machines are."""
    laptop, desktop = world.machine("laptop", hours * 3600.0), world.machine("desktop", hours * -3600.0)
    desktop.write(b"# By the desktop\n", SUMMARY)
    desktop.push()
    world.let_pass(300)
    laptop.write(b"# By the laptop\n", SUMMARY, ago=0 if laptop_is_later else 600)
    assert did(laptop.pull()) == {SUMMARY: ["merged"]}
    by = "laptop" if laptop_is_later else "desktop"
    assert laptop.read(SUMMARY) == f"# By the {by}\n".encode()


# Processes that die


def dies(world: World, machine: Machine, at: int, *, answered: bool) -> bool:
    """Whether a pull or a push was killed at a request of this number."""
    line, count = world.lines[machine.path.name], 0

    def die(asked: Asked) -> None:
        nonlocal count
        count += 1
        if count == at + 1:
            raise Killed

    line.before, line.after = (line.before, die) if answered else (die, line.after)
    for act in (machine.session().pull, machine.session().push):
        with suppress(Killed):
            act()
    line.before = line.after = lambda asked: None
    return count > at


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("locked", [False, True], ids=["free", "locked"])
def test_a_process_that_dies_loses_nothing_and_doubles_nothing(
    tmp_path: Path, answered: bool, locked: bool
) -> None:
    """A kill before or after any request of a pull and a push."""
    at, is_dying = 0, True
    while is_dying:
        world = World(tmp_path / f"{at}")
        laptop, desktop = world.machine("laptop"), world.machine("desktop")
        laptop.write(entities(a=10), ENTITIES)
        in_step(world, laptop, desktop)
        desktop.append(TWO)
        desktop.write(entities(a=11), ENTITIES)
        desktop.push()
        if locked:
            desktop.pull()
        laptop.append(THREE)
        laptop.write(entities(a=12), ENTITIES)
        laptop.write(b"# One\n", SUMMARY)
        is_dying = dies(world, laptop, at, answered=answered)
        if locked:
            desktop.push()
        world.turns(laptop, desktop, laptop)
        assert sorted(laptop.lines()) == [ONE, TWO, THREE], at
        assert world.head() == laptop.read() == desktop.read()
        assert mentions(world.head(ENTITIES)) == mentions(laptop.read(ENTITIES)) == {"a": 13}, at
        assert world.head(SUMMARY) == desktop.read(SUMMARY) == b"# One\n"
        at += 1
    assert at > 10


def test_lines_whose_answer_was_lost_are_not_added_again(world: World, laptop: Machine) -> None:
    """Although the head has moved on; the second attempt fetches what came since."""
    in_step(world, laptop)
    laptop.append(TWO)
    lost: list[Asked] = []

    def lose(asked: Asked) -> None:
        if asked.path.endswith("append") and not lost:
            lost.append(asked)
            world.upload(ONE + TWO + THREE, laptop)
            raise OSError("the connection broke")

    world.lines["laptop"].after = lose
    report = laptop.session(retries=1).push()
    assert did(report) == {LOG: ["merged"]}
    assert laptop.read() == world.head() == ONE + TWO + THREE
    assert not laptop.seen().is_changed


def test_a_lock_that_cannot_be_given_up_is_told_and_no_failure(world: World, laptop: Machine) -> None:
    """All was sent by then; the lock ends by itself."""
    in_step(world, laptop)
    laptop.append(TWO)
    world.lines["laptop"].by_hand["DELETE /projects/demo/lock"] = answer(507, b'{"error":"full"}')
    report = laptop.push()
    assert did(report) == {LOG: ["appended"]}
    assert report.lock
    assert world.head() == ONE + TWO
    assert not laptop.seen().is_changed
    assert did(laptop.push()) == {}


@pytest.mark.parametrize("status", [404, 410, 500])
def test_a_file_that_the_server_does_not_give_keeps_no_other_back(
    world: World, laptop: Machine, desktop: Machine, status: int
) -> None:
    """A pull fetches the others, and tells of it, unless it has just gone away."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.write(b"# One\n", SUMMARY)
    desktop.push()
    damaged = answer(status, b'{"error":"It is damaged"}')
    world.lines["laptop"].by_hand["GET /projects/demo/files/log.jsonl"] = damaged
    report = laptop.pull()
    assert did(report) == {SUMMARY: ["fetched"]}
    problem = next(one.problem for one in report.files if one.file is LOG)
    assert "It is damaged" in (problem or "") if status != 404 else problem is None
    assert laptop.read() == ONE


def test_a_busy_log_is_kept_in_step_all_the_same(world: World, laptop: Machine) -> None:
    """Lines that the plugin adds while it is merged keep nothing from its way."""
    in_step(world, laptop)
    world.upload(ONE + TWO, laptop)
    added = [THREE]
    laptop.append(THREE)

    def write(asked: Asked) -> None:
        added.append(entry(f"here {len(added)}", 20).encode())
        laptop.append(added[-1])

    world.lines["laptop"].after = write
    assert did(laptop.push())[LOG] == ["merged", "appended"]
    world.lines["laptop"].after = lambda asked: None
    laptop.push()
    assert world.head() == laptop.read()
    assert sorted(laptop.lines()) == sorted([ONE, TWO, *added])


def test_the_same_lines_can_come_again_after_they_were_removed(world: World, laptop: Machine) -> None:
    """They are no repetition of what was sent before."""
    in_step(world, laptop)
    for _ in range(3):
        laptop.append(TWO)
        assert did(laptop.push()) == {LOG: ["appended"]}
        assert world.head() == ONE + TWO
        laptop.remove(TWO)
        laptop.push()
        assert world.head() == ONE


@pytest.mark.parametrize(
    ("name", "good", "damaged"),
    [
        (ENTITIES, entities(a=1), b""),
        (ENTITIES, entities(a=1), b'{"files":'),
        (LOG, ONE, b"\0" * 100),
        (LOG, ONE, b""),
        (LOG, ONE + TWO, ONE + TWO[:20]),
    ],
)
def test_a_damaged_file_is_not_sent(
    world: World, laptop: Machine, name: FileName, good: bytes, damaged: bytes
) -> None:
    """All others would fetch the damage, whoever has the lock."""
    laptop.write(good, name)
    laptop.push()
    laptop.write(damaged, name)
    assert did(laptop.push()) == {name: ["held back"]}
    assert did(laptop.pull()) == {name: ["held back"]}
    laptop.push()
    world.stub.acquire("desktop")
    assert did(laptop.push()) == {name: ["held back"]}
    assert world.head(name) == good
    assert laptop.read(name) == damaged


# Steps of the agent


def test_a_step_holds_the_lock_only_to_send(world: World, laptop: Machine, desktop: Machine) -> None:
    """News of the server are fetched without it, also while another has it."""
    in_step(world, laptop, desktop)
    assert did(laptop.session().step()) == {}
    laptop.append(TWO)
    assert did(laptop.session().step()) == {LOG: ["appended"]}
    assert world.asked(laptop) == [
        *("GET files", "POST lock", "GET files", "POST files/log.jsonl/append", "DELETE lock")
    ]
    desktop.pull()
    desktop.append(THREE)
    desktop.send()
    assert did(laptop.session().step()) == {LOG: ["fetched"]}
    assert world.holder() == "desktop"
    assert laptop.read() == ONE + TWO + THREE


def test_a_step_sends_nothing_twice(world: World, laptop: Machine, desktop: Machine) -> None:
    """Neither what the server keeps already, nor what is damaged."""
    laptop.write(entities(a=1), ENTITIES)
    kept(world, laptop, desktop)
    laptop.write(b"{", ENTITIES)
    assert did(laptop.session().step()) == {LOG: ["kept"], ENTITIES: ["held back"]}
    assert world.asked(laptop) == ["GET files", "GET files/log.jsonl/versions?limit=100", "GET lock"]


@pytest.mark.parametrize("why", ["merging is off", "put back"])
def test_a_step_sends_what_was_kept_and_is_not_merged(
    world: World, laptop: Machine, desktop: Machine, why: str
) -> None:
    """Once the lock is free: nobody else would bring it to the others."""
    if why == "merging is off":
        world.stub.store.merging = Merging(enabled=False)
    in_step(world, laptop, desktop)
    backup = world.backup()
    desktop.pull()
    laptop.append(TWO)
    assert did(laptop.session().step()) == {LOG: ["kept"]}
    if why == "put back":
        world.put_back(backup)
    else:
        desktop.push()
    assert LOG in did(laptop.session().step())
    assert world.head() == laptop.read() == ONE + TWO
    assert did(laptop.session().step()) == {}
    assert world.holder() is None


def test_each_step_names_the_files_that_wait(world: World, laptop: Machine, desktop: Machine) -> None:
    """They wait until the lock is free, and until the damage is mended."""
    laptop.write(entities(a=1), ENTITIES)
    kept(world, laptop, desktop)
    laptop.write(b"{", ENTITIES)
    for _ in range(2):
        assert did(laptop.session().step()) == {LOG: ["kept"], ENTITIES: ["held back"]}
    desktop.push()
    assert did(laptop.session().step()) == {ENTITIES: ["held back"]}
    laptop.write(entities(a=2), ENTITIES)
    assert did(laptop.session().step()) == {ENTITIES: ["sent"]}
    assert did(laptop.session().step()) == {}


def test_a_file_that_waits_is_named_although_the_server_has_no_head_of_it(
    world: World, laptop: Machine
) -> None:
    """The first upload of a file was refused, and nobody else has sent it."""
    world.stub.acquire("desktop")
    laptop.write(ONE)
    assert did(laptop.session().step()) == {LOG: ["kept"]}
    assert did(laptop.session().step()) == {LOG: ["kept"]}


def test_a_file_that_the_plugin_holds_is_sent_and_not_replaced(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """News of the server come once the plugin is done; other files come at once."""
    in_step(world, laptop, desktop)
    lock = laptop.path / "log.jsonl.lock"
    lock.touch()
    laptop.append(TWO)
    assert did(laptop.push()) == {LOG: ["appended"]}
    desktop.append(THREE)
    desktop.write(entities(a=1), ENTITIES)
    desktop.push()
    assert did(laptop.pull()) == {LOG: ["waiting"], ENTITIES: ["fetched"]}
    assert laptop.read() == ONE + TWO
    lock.unlink()
    assert did(laptop.push()) == {LOG: ["fetched"]}
    assert laptop.read() == ONE + TWO + THREE


def test_what_the_plugin_writes_from_an_old_content_is_merged(world: World, laptop: Machine) -> None:
    """The plugin has read the file just before it was replaced."""
    laptop.write(entities(a=1), ENTITIES)
    laptop.push()
    world.upload(entities(a=1, b=1), laptop, ENTITIES)
    world.stub.clock.callLater(0.05, laptop.write, entities(a=2), ENTITIES)
    laptop.pull()
    assert mentions(laptop.read(ENTITIES)) == {"a": 2, "b": 1}
