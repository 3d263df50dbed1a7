"""Pull and push of files changed here, on the server, or both: nothing is lost."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from twisted.internet.defer import Deferred

from mneme.client import sync
from mneme.client.errors import ServerTrouble, Unreachable
from mneme.client.sync import Action, Report
from mneme.errors import DamagedContent, DiskFull, FileUnknown
from mneme.model import FileName, HeldBy, Merging, Millis, ProjectId, Rescued, Upload, digest
from tests.client.lines import Asked, Killed, in_time
from tests.client.machines import DEMO, ENTITIES, LOG, REMEMBERED, SUMMARY, Machine, World, did
from tests.kept import MemoryStore
from tests.results import failure_of, result_of
from tests.store.faults import FULL, Faults
from tests.web.stub import Stub, entry

ONE, TWO, THREE, FOUR, FIVE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3, 4, 5))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A new server."""
    return World(tmp_path)


@pytest.fixture
def laptop(world: World) -> Machine:
    """A machine that has nothing."""
    return world.machine("laptop")


@pytest.fixture
def desktop(world: World) -> Machine:
    """Another."""
    return world.machine("desktop")


def in_step(world: World, *machines: Machine, log: bytes = ONE) -> None:
    """All machines, and the server, have the same log, and nobody has the lock."""
    machines[0].write(log)
    for machine in machines:
        machine.push()
    for machine in machines:
        machine.pull()
        machine.push()
        world.asked(machine)
    assert {machine.read() for machine in machines} == {log} == {world.head()}


@contextmanager
def doing(world: World, step: str, instead: Callable[..., object]) -> Iterator[None]:
    """Let the store do something else in a step of its."""
    real = getattr(world.stub.store, step)
    setattr(world.stub.store, step, instead)
    try:
        yield
    finally:
        setattr(world.stub.store, step, real)


def entities(**mentions: int) -> bytes:
    """A file of entities, each mentioned so often."""
    files = {name: {"mentions": count, "lastSeen": None} for name, count in mentions.items()}
    return json.dumps({"files": files}).encode()


def mentions(content: bytes | None) -> dict[str, int]:
    """How often each is mentioned."""
    return {name: one["mentions"] for name, one in json.loads(content or b"")["files"].items()}


def items(*contents: str) -> bytes:
    """A file of what was remembered."""
    return json.dumps(
        [{"ts": "2026-02-04T14:00:00.000Z", "type": "fact", "content": one} for one in contents]
    ).encode()


# Requests


def test_a_session_in_which_nothing_happens_is_five_requests(world: World, laptop: Machine) -> None:
    """Equal files are not sent."""
    in_step(world, laptop)
    assert did(laptop.pull()) == {}
    assert world.asked(laptop) == ["POST lock", "GET files"]
    assert did(laptop.push()) == {}
    assert world.asked(laptop) == ["POST lock", "GET files", "DELETE lock"]


def test_the_first_session_of_a_project_sends_all_there_is(world: World, laptop: Machine) -> None:
    """Each file whole, by a request of its own."""
    laptop.write(ONE)
    laptop.write(b"# One\n", SUMMARY)
    assert did(laptop.pull()) == {}
    world.asked(laptop)
    assert did(laptop.push()) == {LOG: ["sent"], SUMMARY: ["sent"]}
    assert world.asked(laptop)[2:-1] == ["PUT files/log.jsonl", "PUT files/summary.md"]
    assert (world.head(), world.head(SUMMARY)) == (ONE, b"# One\n")


def test_only_new_lines_travel(world: World, laptop: Machine) -> None:
    """The log is then, byte for byte, what it is here."""
    in_step(world, laptop)
    laptop.append(TWO, THREE)
    assert did(laptop.push()) == {LOG: ["appended"]}
    [asked] = [one for one in world.lines["laptop"].asked if one.path.endswith("append")]
    assert asked.body == TWO + THREE
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


def test_what_others_sent_is_fetched(world: World, laptop: Machine, desktop: Machine) -> None:
    """The fetched content is the base of the next change."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()
    world.asked(laptop)
    report = laptop.pull()
    assert did(report) == {LOG: ["fetched"]}
    assert report.lock
    confirming = "GET files/log.jsonl/versions/1"
    fetching = ["GET files/log.jsonl", confirming]
    assert world.asked(laptop) == ["POST lock", "GET files", *fetching]
    assert laptop.read() == ONE + TWO
    assert (laptop.path / "log.jsonl.bak").read_bytes() == ONE
    assert not laptop.seen().is_changed


def test_what_the_server_has_is_not_downloaded_where_it_is_already(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """A machine whose memory was copied by hand is in step by the digests."""
    in_step(world, laptop)
    desktop.write(ONE)
    assert did(desktop.pull()) == {}
    assert world.asked(desktop) == ["POST lock", "GET files"]
    assert not desktop.seen().is_changed


def test_an_unchanged_file_is_read_once_and_the_folder_locked_once(
    world: World, laptop: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five files, and one look at all of them; a sent file takes one more."""
    in_step(world, laptop)
    laptop.write(b"# One\n", SUMMARY)
    laptop.push()
    locked: list[int] = []
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        locked.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    laptop.pull()
    laptop.push()
    assert len(locked) == 2
    laptop.append(TWO)
    laptop.push()
    assert len(locked) == 4


def test_a_file_that_is_written_while_another_is_sent_is_sent_too(world: World, laptop: Machine) -> None:
    """The look at the start of a push is not the last word."""
    laptop.write(ONE)
    real = world.stub.store.upload

    def upload(project: ProjectId, asked: Upload, *more: Any, **named: Any) -> object:
        if asked.file is LOG:
            laptop.write(b"# One\n", SUMMARY)
        return real(project, asked, *more, **named)

    with doing(world, "upload", upload):
        assert did(laptop.push()) == {LOG: ["sent"], SUMMARY: ["sent"]}


# Both sides


def test_at_first_contact_both_memories_become_one(world: World, laptop: Machine, desktop: Machine) -> None:
    """Of each file, by what it is."""
    laptop.write(ONE + THREE)
    laptop.write(items("tabs"), REMEMBERED)
    laptop.write(entities(a=3, b=1), ENTITIES)
    laptop.push()
    desktop.write(TWO + THREE)
    desktop.write(items("spaces"), REMEMBERED)
    desktop.write(entities(a=2, c=5), ENTITIES)
    assert did(desktop.pull()) == {LOG: ["merged"], REMEMBERED: ["merged"], ENTITIES: ["merged"]}
    assert desktop.read() == ONE + TWO + THREE
    assert {one["content"] for one in json.loads(desktop.read(REMEMBERED) or b"")} == {"tabs", "spaces"}
    assert mentions(desktop.read(ENTITIES)) == {"a": 3, "b": 1, "c": 5}
    assert (desktop.path / "log.jsonl.bak").read_bytes() == TWO + THREE
    desktop.push()
    assert world.head() == ONE + TWO + THREE
    laptop.pull()
    assert laptop.read() == ONE + TWO + THREE


def test_what_was_not_yet_sent_is_merged_and_not_overwritten(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """A session that ended without a connection is as if it had been later."""
    in_step(world, laptop, desktop)
    laptop.append(TWO)
    world.lines["laptop"].is_cut = True
    assert isinstance(failure_of(laptop.session().push()), Unreachable)
    desktop.append(THREE)
    desktop.push()
    world.lines["laptop"].is_cut = False
    assert did(laptop.pull()) == {LOG: ["merged"]}
    assert laptop.read() == ONE + TWO + THREE
    assert did(laptop.push()) == {LOG: ["sent"]}
    assert world.head() == ONE + TWO + THREE


def test_lines_that_were_removed_stay_removed(world: World, laptop: Machine, desktop: Machine) -> None:
    """Whichever side removed them, while the other added some."""
    in_step(world, laptop, desktop, log=ONE + TWO + THREE)
    laptop.remove(ONE)
    laptop.push()
    desktop.remove(TWO)
    desktop.append(FOUR)
    desktop.push()
    assert world.head() == desktop.read() == THREE + FOUR
    laptop.pull()
    assert laptop.read() == THREE + FOUR


def test_what_both_have_counted_is_added_up_once(world: World, laptop: Machine, desktop: Machine) -> None:
    """However often they pull and push after that."""
    laptop.write(entities(a=10), ENTITIES)
    laptop.push()
    desktop.pull()
    desktop.push()
    laptop.write(entities(a=13), ENTITIES)
    laptop.push()
    desktop.write(entities(a=11), ENTITIES)
    for machine in (desktop, laptop, desktop, laptop):
        machine.pull()
        machine.push()
    assert mentions(world.head(ENTITIES)) == mentions(laptop.read(ENTITIES)) == {"a": 14}


def test_a_push_without_a_pull_merges_first(world: World, laptop: Machine, desktop: Machine) -> None:
    """And says both."""
    in_step(world, laptop, desktop)
    desktop.append(THREE)
    desktop.push()
    laptop.append(TWO)
    assert did(laptop.push()) == {LOG: ["merged", "sent"]}
    assert world.head() == laptop.read() == ONE + TWO + THREE
    assert world.holder() is None


# Files that are not there


def test_a_file_that_was_deleted_here_is_fetched_again(world: World, laptop: Machine) -> None:
    """Without a download: it is the base."""
    in_step(world, laptop)
    (laptop.path / LOG.value).unlink()
    assert did(laptop.pull()) == {LOG: ["fetched"]}
    assert laptop.read() == ONE
    assert world.asked(laptop) == ["POST lock", "GET files"]


def test_a_file_that_was_deleted_here_is_fetched_as_it_is_now(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """Also by a push."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()
    (laptop.path / LOG.value).unlink()
    assert did(laptop.push()) == {LOG: ["fetched"]}
    assert laptop.read() == world.head() == ONE + TWO


def test_a_folder_that_was_deleted_is_fetched_again(world: World, laptop: Machine) -> None:
    """With all that was known of bases."""
    in_step(world, laptop)
    shutil.rmtree(laptop.path)
    laptop.pull()
    assert laptop.read() == ONE
    assert not laptop.seen().is_changed


def test_a_file_that_is_gone_on_the_server_is_given_back(world: World, laptop: Machine) -> None:
    """Who wants to be rid of it removes it everywhere."""
    in_step(world, laptop)
    world.put_back(MemoryStore())
    assert did(laptop.pull()) == {}
    assert did(laptop.push()) == {LOG: ["sent"]}
    assert world.head() == laptop.read() == ONE


# Locks


def test_a_lock_of_another_keeps_nothing_from_being_fetched(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """To read is nobody's privilege."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()
    desktop.pull()
    report = laptop.pull()
    assert did(report) == {LOG: ["fetched"]}
    assert report.locked
    assert report.locked.client == desktop.client
    assert report.lock is None
    assert laptop.read() == ONE + TWO


def test_what_is_sent_under_the_lock_of_another_is_kept_and_merged_when_it_is_free(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """By the server, once; the machine knows it then."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    report = laptop.push()
    assert did(report) == {LOG: ["kept"]}
    assert report.files_with(Action.KEPT) == (LOG,)
    assert report.locked
    assert world.holder() == "desktop"
    assert world.head() == ONE
    desktop.append(THREE)
    desktop.push()
    laptop.pull()
    assert laptop.read() == world.head() == ONE + TWO + THREE
    assert not laptop.seen().is_changed
    assert laptop.seen().refused is None


def test_what_was_kept_is_not_sent_again(world: World, laptop: Machine, desktop: Machine) -> None:
    """But what has been added since is."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    laptop.push()
    world.asked(laptop)
    assert did(laptop.push()) == {LOG: ["kept"]}
    assert world.asked(laptop) == ["POST lock"]
    laptop.append(THREE)
    assert did(laptop.push()) == {LOG: ["kept"]}
    desktop.push()
    laptop.pull()
    assert laptop.lines() == [ONE, TWO, THREE]
    assert world.head() == laptop.read()


def test_what_was_kept_is_counted_once(world: World, laptop: Machine, desktop: Machine) -> None:
    """The holder counts on, the server merges, the machine counts on, and merges."""
    laptop.write(entities(a=10), ENTITIES)
    laptop.push()
    desktop.pull()
    laptop.write(entities(a=12), ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["kept"]}
    laptop.write(entities(a=15), ENTITIES)
    desktop.write(entities(a=11), ENTITIES)
    desktop.push()
    assert mentions(world.head(ENTITIES)) == {"a": 13}
    for machine in (laptop, desktop, laptop):
        machine.pull()
        machine.push()
    assert mentions(world.head(ENTITIES)) == mentions(laptop.read(ENTITIES)) == {"a": 16}


def test_what_was_kept_waits_to_be_merged_by_the_server_alone(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """Under another's lock, a machine with a refused upload does not merge."""
    laptop.write(entities(a=10), ENTITIES)
    laptop.push()
    desktop.pull()
    laptop.write(entities(a=12), ENTITIES)
    laptop.push()
    desktop.write(entities(a=11), ENTITIES)
    desktop.send()
    assert did(laptop.pull()) == {}
    assert mentions(laptop.read(ENTITIES)) == {"a": 12}
    desktop.push()
    laptop.pull()
    assert mentions(laptop.read(ENTITIES)) == {"a": 13}


def test_lines_that_were_kept_and_then_removed_by_another_stay_away(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The merged upload is the base, not the version before."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    laptop.push()
    desktop.push()
    desktop.pull()
    assert desktop.lines() == [ONE, TWO]
    desktop.remove(TWO)
    desktop.append(THREE)
    desktop.push()
    laptop.append(FOUR)
    laptop.pull()
    laptop.push()
    assert laptop.lines() == [ONE, THREE, FOUR]
    assert world.head() == laptop.read()


def test_what_was_kept_stays_away_where_its_removal_brings_back_the_base(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The head equals the machine's base again, because the kept lines were removed."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    laptop.push()
    desktop.push()
    desktop.pull()
    desktop.remove(TWO)
    desktop.push()
    assert world.head() == ONE
    laptop.append(THREE)
    laptop.push()
    assert laptop.read() == world.head() == ONE + THREE


@pytest.mark.parametrize("waits", [True, False])
def test_what_was_kept_in_parts_is_counted_once(
    world: World, laptop: Machine, desktop: Machine, waits: bool
) -> None:
    """Whether or not the first part was merged when the second was refused."""
    laptop.write(entities(a=10), ENTITIES)
    laptop.push()
    desktop.pull()
    laptop.write(entities(a=12), ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["kept"]}
    desktop.write(entities(a=11), ENTITIES)
    if not waits:
        desktop.push()
        desktop.pull()
    laptop.write(entities(a=17), ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["kept"]}
    for machine in (desktop, laptop, desktop):
        machine.push()
        machine.pull()
    assert mentions(world.head(ENTITIES)) == mentions(desktop.read(ENTITIES)) == {"a": 18}


def test_what_became_of_it_is_found_after_many_versions(
    world: World, laptop: Machine, desktop: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a day of another machine's work, more history is asked for."""
    monkeypatch.setattr(sync, "_HISTORY", 2)
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    laptop.push()
    desktop.push()
    desktop.pull()
    desktop.remove(TWO)
    for number in range(12):
        desktop.append(entry(f"more {number}", 30).encode())
        desktop.send()
    desktop.push()
    laptop.pull()
    assert TWO not in laptop.lines()
    assert laptop.read() == world.head()


def test_a_lock_that_is_lost_on_the_way_keeps_what_is_sent(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The lock expires between two requests, and another machine takes it."""
    in_step(world, laptop, desktop)
    laptop.append(TWO)

    def lose(asked: Asked) -> None:
        if asked.path.endswith("append"):
            world.let_locks_expire()
            desktop.pull()

    world.lines["laptop"].before = lose
    report = laptop.push()
    assert did(report) == {LOG: ["kept"]}
    assert world.holder() == "desktop"
    desktop.push()
    laptop.pull()
    assert laptop.read() == world.head() == ONE + TWO


def test_a_lock_that_has_become_free_on_the_way_is_as_good_as_any(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The upload is merged at once, for the lock is free."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    world.lines["laptop"].before = lambda asked: desktop.push() if asked.path.endswith("append") else None
    assert did(laptop.push()) == {LOG: ["kept"]}
    laptop.pull()
    assert laptop.lines() == [ONE, TWO]
    assert world.head() == ONE + TWO


def test_two_sessions_of_a_machine_share_its_lock(world: World, laptop: Machine) -> None:
    """The first session releases the lock; the second's lines arrive once all the same."""
    in_step(world, laptop)
    laptop.pull()
    laptop.pull()
    laptop.append(TWO)
    laptop.push()
    laptop.append(THREE)
    laptop.push()
    assert world.head() == laptop.read() == ONE + TWO + THREE


def test_what_is_refused_and_finds_no_space_is_sent_at_the_next_push(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """Nobody takes it to be on the server."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    lock = result_of(laptop.session().client.lock(DEMO))
    assert lock
    refused = Rescued(HeldBy(lock), None)
    with doing(world, "append", lambda *_: refused):
        assert did(laptop.push()) == {LOG: ["refused"]}
    assert laptop.seen().refused is None
    desktop.push()
    laptop.push()
    assert world.head() == ONE + TWO


def test_a_file_that_was_deleted_here_is_fetched_although_something_of_it_waits(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """There is nothing left that could be merged twice."""
    in_step(world, laptop, desktop)
    desktop.pull()
    laptop.append(TWO)
    laptop.push()
    desktop.append(THREE)
    desktop.send()
    (laptop.path / LOG.value).unlink()
    assert did(laptop.pull()) == {LOG: ["fetched"]}
    assert laptop.read() == ONE + THREE


# Heads that change on the way


def test_a_head_that_changes_on_the_way_is_merged(world: World, laptop: Machine, desktop: Machine) -> None:
    """The upload is refused with 412, and made again from the new head."""
    in_step(world, laptop, desktop)
    laptop.append(TWO)
    changed: list[bytes] = []

    def change(asked: Asked) -> None:
        if asked.path.endswith("append") and not changed:
            changed.append(THREE)
            upload = Upload(LOG, ONE + THREE, laptop.client)
            world.stub.store.upload(DEMO, upload, Millis(int(world.stub.clock.seconds() * 1000)))

    world.lines["laptop"].before = change
    assert did(laptop.push()) == {LOG: ["merged", "sent"]}
    assert world.head() == laptop.read() == ONE + TWO + THREE


def test_a_file_that_comes_on_the_way_is_merged(world: World, laptop: Machine) -> None:
    """There was none when the list was made."""
    laptop.write(ONE)

    def come(asked: Asked) -> None:
        if asked.method == "PUT" and world.head() is None:
            upload = Upload(LOG, TWO, laptop.client)
            world.stub.store.upload(DEMO, upload, Millis(int(world.stub.clock.seconds() * 1000)))

    world.lines["laptop"].before = come
    assert did(laptop.push()) == {LOG: ["merged", "sent"]}
    assert world.head() == laptop.read() == ONE + TWO


def test_a_head_that_always_changes_is_missed(world: World, laptop: Machine) -> None:
    """And tried again at the next push; the other files are sent."""
    in_step(world, laptop)
    laptop.append(TWO)
    laptop.write(b"# One\n", SUMMARY)
    number = 0

    def change(asked: Asked) -> None:
        nonlocal number
        if asked.path.endswith(("log.jsonl", "append")) and asked.method in ("PUT", "POST"):
            number += 1
            line = entry(f"other {number}", 20).encode()
            upload = Upload(LOG, (world.head() or b"") + line, laptop.client)
            world.stub.store.upload(DEMO, upload, Millis(int(world.stub.clock.seconds() * 1000)))

    world.lines["laptop"].before = change
    report = laptop.push()
    assert report.files_with(Action.MISSED) == (LOG,)
    assert world.head(SUMMARY) == b"# One\n"
    assert world.holder() is None
    world.lines["laptop"].before = lambda asked: None
    laptop.push()
    assert world.head() == laptop.read()
    assert len(laptop.lines()) == 2 + number


def test_a_file_that_is_written_the_whole_time_is_missed(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The file stays as the plugin wrote it, and is merged at a later pull."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()
    number = 0

    def write(asked: Asked) -> None:
        nonlocal number
        if asked.method == "GET" and asked.path.endswith("log.jsonl"):
            number += 1
            laptop.remove(laptop.lines()[-1])
            laptop.append(entry(f"here {number}", 20).encode())

    world.lines["laptop"].after = write
    assert did(laptop.pull()) == {LOG: ["missed"]}
    assert did(laptop.push())[LOG] == ["missed"]
    assert laptop.lines() == [entry(f"here {number}", 20).encode()]
    world.lines["laptop"].after = lambda asked: None
    laptop.pull()
    assert laptop.lines() == [TWO, entry(f"here {number}", 20).encode()]


def test_a_file_that_goes_away_on_the_way_is_no_matter(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """Somebody removes it on the server between the list and the download."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()

    empty = Stub()
    original = world.lines["laptop"]

    def swap(asked: Asked) -> None:
        if asked.method == "GET" and asked.path.endswith("log.jsonl"):
            original._treq = type(original)(empty, empty.clock)._treq

    original.before = swap
    assert did(laptop.pull()) == {}
    assert laptop.read() == ONE


# What cannot be merged


def test_what_the_plugin_does_not_write_gives_way_to_what_it_does(
    world: World, laptop: Machine, desktop: Machine
) -> None:
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
    laptop.push()
    desktop.write(here, ENTITIES)
    assert did(desktop.pull()) == {ENTITIES: ["stayed"]}
    assert desktop.read(ENTITIES) == here
    assert did(desktop.push()) == {ENTITIES: ["sent"]}
    assert world.head(ENTITIES) == here
    history = world.stub.versions("entities.json")
    assert digest(b"no JSON at all") in {one["sha256"] for one in history}


def test_what_is_no_utf8_on_the_server_is_text_here_and_can_be_replaced(
    world: World, laptop: Machine
) -> None:
    """The content was edited by hand on the server."""
    raw = ONE + b'{"ts":"2026-02-04T14:30:00.000Z","content":"caf\xe9"}\n'
    now = Millis(int(world.stub.clock.seconds() * 1000))
    world.stub.store.acquire(DEMO, laptop.client, now, Millis(1000))
    world.stub.store.upload(DEMO, Upload(LOG, raw, laptop.client), now)
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


def full(*_: object) -> NoReturn:
    """A step that fails for a full disk."""
    raise DiskFull


def test_a_server_whose_disk_is_full_keeps_the_lock_from_nobody(world: World, laptop: Machine) -> None:
    """The others need not wait until it expires."""
    in_step(world, laptop)
    laptop.append(TWO)
    with doing(world, "append", full):
        assert isinstance(failure_of(laptop.session().push()), ServerTrouble)
    assert world.holder() is None
    laptop.push()
    assert world.head() == ONE + TWO


def test_the_first_trouble_is_told_where_the_lock_cannot_be_given_up_either(
    world: World, laptop: Machine
) -> None:
    """The first error says why nothing was sent."""
    in_step(world, laptop)
    laptop.append(TWO)

    def cut(*_: object) -> NoReturn:
        world.lines["laptop"].is_cut = True
        raise DiskFull

    with doing(world, "append", cut):
        assert isinstance(failure_of(laptop.session().push()), ServerTrouble)


def test_a_disk_of_this_machine_that_is_full_keeps_the_lock_from_nobody(
    world: World, laptop: Machine, desktop: Machine, faults: Faults
) -> None:
    """And changes nothing here."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()
    with faults.failing(0, FULL):
        assert isinstance(failure_of(laptop.session().push()), DiskFull)
    assert world.holder() is None
    assert laptop.read() == ONE
    laptop.pull()
    assert laptop.read() == ONE + TWO


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


def test_a_server_that_was_set_up_anew_gets_all_back(world: World, laptop: Machine, desktop: Machine) -> None:
    """From each machine what it has."""
    in_step(world, laptop, desktop, log=ONE + TWO)
    desktop.append(THREE)
    world.put_back(MemoryStore())
    laptop.append(FOUR)
    for machine in (laptop, desktop, laptop):
        machine.pull()
        machine.push()
    assert world.head() == laptop.read() == desktop.read() == ONE + TWO + THREE + FOUR


def test_a_server_that_was_put_back_gets_what_it_lacks(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """Its numbers come again for other contents, and nobody takes one for the other."""
    in_step(world, laptop, desktop)
    backup = world.backup()
    laptop.append(TWO)
    laptop.push()
    laptop.append(THREE)
    laptop.push()
    world.put_back(backup)
    desktop.append(FOUR)
    desktop.push()
    desktop.append(FIVE)
    desktop.push()
    for machine in (laptop, desktop):
        machine.pull()
        machine.push()
    assert world.head() == laptop.read() == desktop.read() == ONE + TWO + THREE + FOUR + FIVE


def test_what_was_kept_by_a_server_that_was_put_back_is_not_taken_for_merged(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The number under which it was kept is another upload's, that was merged."""
    third = world.machine("third")
    in_step(world, laptop, desktop, third)
    desktop.pull()
    backup = world.backup()
    laptop.append(TWO)
    laptop.push()
    kept = laptop.seen().refused
    assert kept
    world.put_back(backup)
    third.append(THREE)
    third.push()
    again = third.seen().refused
    assert again
    assert again.version == kept.version
    desktop.push()
    for machine in (laptop, desktop):
        machine.pull()
        machine.push()
    assert world.head() == laptop.read() == desktop.read() == ONE + TWO + THREE


def test_another_server_under_the_same_url_is_merged_with(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The new server has a memory of its own."""
    in_step(world, laptop, log=ONE + TWO)
    world.put_back(MemoryStore())
    desktop.write(THREE)
    desktop.push()
    desktop.append(FOUR)
    desktop.push()
    laptop.pull()
    laptop.push()
    assert world.head() == laptop.read() == ONE + TWO + THREE + FOUR


# Clocks


@pytest.mark.parametrize(
    ("ahead", "behind"), [(0.0, 0.0), (7 * 3600.0, -7 * 3600.0), (-7 * 3600.0, 7 * 3600.0)]
)
@pytest.mark.parametrize("laptop_is_later", [True, False])
def test_who_was_later_is_decided_by_ages(
    tmp_path: Path, ahead: float, behind: float, laptop_is_later: bool
) -> None:
    """However far apart the clocks of the machines are."""
    world = World(tmp_path)
    laptop, desktop = world.machine("laptop", ahead), world.machine("desktop", behind)
    laptop.write(b"# By the laptop\n", SUMMARY, ago=60 if laptop_is_later else 600)
    world.let_pass(0)
    desktop.write(b"# By the desktop\n", SUMMARY)
    if laptop_is_later:
        desktop.push()
        world.let_pass(300)
        laptop.write(b"# By the laptop\n", SUMMARY)
    else:
        world.let_pass(300)
        desktop.write(b"# By the desktop\n", SUMMARY)
        desktop.push()
    assert did(laptop.pull()) == {SUMMARY: ["merged"]}
    by = "laptop" if laptop_is_later else "desktop"
    assert laptop.read(SUMMARY) == f"# By the {by}\n".encode()


# Processes that die


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("locked", [False, True], ids=["free", "locked"])
def test_whenever_a_process_dies_nothing_is_lost_and_nothing_doubled(
    tmp_path: Path, answered: bool, locked: bool
) -> None:
    """A kill before or after any request of a pull and a push."""

    def prepared(name: str) -> tuple[World, Machine, Machine]:
        world = World(tmp_path / name)
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
        world.lines["laptop"].asked.clear()
        return world, laptop, desktop

    at, dies = 0, True
    while dies:
        world, laptop, desktop = prepared(f"{at}")
        line = world.lines["laptop"]
        count, dies = 0, False

        def die(asked: Asked) -> None:
            nonlocal count, dies
            count += 1
            if count == at + 1:  # noqa: B023 - it is called before the next round
                dies = True
                raise Killed

        if answered:
            line.after = die
        else:
            line.before = die
        for act in (laptop.session().pull, laptop.session().push):
            deferred: Deferred[Report] = Deferred.fromCoroutine(act())
            deferred.addErrback(lambda failure: failure.trap(Killed))
        line.before = line.after = lambda asked: None
        if locked:
            desktop.push()
        for machine in (laptop, desktop, laptop):
            machine.pull()
            machine.push()
        assert sorted(laptop.lines()) == [ONE, TWO, THREE], at
        assert world.head() == laptop.read() == desktop.read()
        assert mentions(world.head(ENTITIES)) == mentions(laptop.read(ENTITIES)) == {"a": 13}, at
        assert world.head(SUMMARY) == desktop.read(SUMMARY) == b"# One\n"
        at += 1
    assert at > 10


def test_lines_whose_answer_was_lost_are_not_added_again_although_the_head_has_moved_on(
    world: World, laptop: Machine
) -> None:
    """The second attempt finds its lines in the head, and fetches later ones."""
    in_step(world, laptop)
    laptop.append(TWO)
    lost: list[Asked] = []

    def lose(asked: Asked) -> None:
        if asked.path.endswith("append") and not lost:
            lost.append(asked)
            now = Millis(int(world.stub.clock.seconds() * 1000))
            world.stub.store.upload(DEMO, Upload(LOG, (world.head() or b"") + THREE, laptop.client), now)
            raise OSError("the connection broke")

    world.lines["laptop"].after = lose
    report = in_time(world.stub.clock, laptop.session(retries=1).push())
    assert did(report) == {LOG: ["merged"]}
    assert lost
    assert laptop.read() == world.head() == ONE + TWO + THREE
    assert not laptop.seen().is_changed


def test_a_lock_that_cannot_be_given_up_is_told_and_no_failure(world: World, laptop: Machine) -> None:
    """All was sent by then; the lock ends by itself."""
    in_step(world, laptop)
    laptop.append(TWO)
    with doing(world, "release", full):
        report = laptop.push()
    assert did(report) == {LOG: ["appended"]}
    assert report.lock
    assert world.head() == ONE + TWO
    assert not laptop.seen().is_changed


@pytest.mark.parametrize("error", [FileUnknown(), DamagedContent(1, "log.jsonl")], ids=["unknown", "damaged"])
def test_a_file_that_the_server_will_not_give_keeps_none_of_the_others_back(
    world: World, laptop: Machine, desktop: Machine, error: Exception
) -> None:
    """A pull fetches what it can, and tells of the rest."""
    desktop.write(ONE)
    desktop.write(b"# One\n", SUMMARY)
    desktop.push()

    real = world.stub.store.download

    def refuse(project: ProjectId, file: FileName, *more: Any, **named: Any) -> object:
        if file is LOG:
            raise error
        return real(project, file, *more, **named)

    with doing(world, "download", refuse):
        report = laptop.pull()
    assert did(report) == {SUMMARY: ["fetched"]}
    [problem] = [one.problem for one in report.files if one.file is LOG]
    assert (problem is not None) is isinstance(error, DamagedContent)
    assert laptop.read() is None


def test_a_busy_log_is_kept_in_step_all_the_same(world: World, laptop: Machine, desktop: Machine) -> None:
    """Lines that the plugin adds while it is merged keep nothing from its way."""
    in_step(world, laptop, desktop)
    desktop.append(TWO)
    desktop.push()
    number = 0

    def write(asked: Asked) -> None:
        nonlocal number
        number += 1
        laptop.append(entry(f"here {number}", 20).encode())

    world.lines["laptop"].after = write
    assert did(laptop.push())[LOG] == ["merged", "appended"]
    world.lines["laptop"].after = lambda asked: None
    laptop.push()
    assert sorted((world.head() or b"").splitlines(keepends=True)) == sorted(laptop.lines())
    assert len(laptop.lines()) == 2 + number


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
    world.stub.acquire("desktop")
    assert did(laptop.push()) == {name: ["held back"]}
    assert world.head(name) == good
    assert laptop.read(name) == damaged


def test_a_damaged_file_that_is_removed_is_fetched_again(world: World, laptop: Machine) -> None:
    """That is what the warning advises."""
    laptop.write(entities(a=1), ENTITIES)
    laptop.push()
    laptop.write(b"", ENTITIES)
    laptop.push()
    (laptop.path / ENTITIES.value).unlink()
    assert did(laptop.pull()) == {ENTITIES: ["fetched"]}
    assert laptop.read(ENTITIES) == entities(a=1)


def test_a_file_of_which_the_server_has_nothing_better_is_sent(world: World, laptop: Machine) -> None:
    """Whatever it is: then it is in the history at least."""
    laptop.write(b"no JSON", ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["sent"]}
    laptop.write(b"nor this", ENTITIES)
    assert did(laptop.push()) == {ENTITIES: ["sent"]}
