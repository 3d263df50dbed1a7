"""A watch on a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mneme.client.errors import ServerTrouble, Unreachable
from mneme.client.sync import Report
from mneme.client.watch import LONGEST_PAUSE, SEND_AFTER, Event, Happened, Watch
from mneme.model import FileName, Merging
from tests.client.lines import URL, Asked, answer
from tests.client.machines import DEMO, LOG, SUMMARY, Machine, World, did
from tests.results import failure_of, result_of, started, waits
from tests.store.faults import FULL, Faults
from tests.web.stub import TTL, entry

ONE, TWO, THREE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3))
TTL_SECONDS = TTL / 1000


class Watching:
    """A machine with a watch, which has been running since this was made.

    Its timers are those of a clock of its own, which stands still while the machine sleeps.
    """

    def __init__(self, world: World, machine: Machine, retries: int = 0) -> None:
        self.world, self.machine = world, machine
        self.events: list[Event] = []
        self.line = world.lines[machine.path.name]
        self.timers = Clock()
        sync = machine.session(retries, self.timers)
        self._ending: Deferred[None] = Deferred()
        watch = Watch(self.timers, machine.wall, sync, self.events.append)
        self.done = started(watch.run(self._ending))

    def let_pass(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, second by second."""
        while seconds > 0:
            self.world.let_pass(min(step, seconds))
            self.timers.advance(min(step, seconds))
            self.line.flush()
            seconds -= step

    def happened(self) -> list[Happened]:
        """The events since the last call."""
        happened = [event.happened for event in self.events]
        self.events.clear()
        return happened

    def did(self) -> Mapping[FileName, list[str]]:
        """The actions of the only event since the last call."""
        [event] = self.events
        self.events.clear()
        assert event.report
        return did(event.report)

    def asked(self) -> list[str]:
        """The requests since the last call."""
        return self.world.asked(self.machine)

    def end(self) -> Deferred[Report]:
        """Have it end."""
        self._ending.callback(None)
        return self.done


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A new server."""
    return World(tmp_path)


@pytest.fixture
def laptop(world: World) -> Machine:
    """A machine whose log is in step."""
    laptop = world.machine("laptop")
    laptop.write(ONE)
    laptop.push()
    world.asked(laptop)
    return laptop


@pytest.fixture
def desktop(world: World, laptop: Machine) -> Machine:
    """Another."""
    desktop = world.machine("desktop")
    desktop.pull()
    desktop.push()
    return desktop


@pytest.fixture
def watching(world: World, laptop: Machine) -> Iterator[Watching]:
    """A watch that has been running for a few seconds."""
    watching = Watching(world, laptop)
    watching.let_pass(3)
    assert watching.happened() == [Happened.PULLED]
    watching.asked()
    yield watching
    assert not [event for event in watching.events if event.happened is Happened.TROUBLE]


def test_it_begins_with_a_pull(world: World, laptop: Machine) -> None:
    """And tells the result."""
    world.upload(ONE + TWO, laptop)
    watching = Watching(world, laptop)
    assert [event.happened for event in watching.events] == [Happened.PULLED]
    assert watching.did() == {LOG: ["fetched"]}
    assert laptop.read() == ONE + TWO
    assert world.holder() == "laptop"


def test_what_was_never_sent_is_sent_soon(world: World, laptop: Machine) -> None:
    """Only the base shows that the file was changed."""
    laptop.append(TWO)
    watching = Watching(world, laptop)
    watching.let_pass(2)
    assert watching.happened() == [Happened.PULLED, Happened.SENT]
    assert world.head() == ONE + TWO


# Changes


def test_changes_are_sent_when_it_is_quiet_for_a_second(watching: Watching) -> None:
    """Once, and those of several files together."""
    watching.machine.append(TWO)
    watching.machine.write(b"# One\n", SUMMARY)
    watching.let_pass(1)
    assert watching.asked() == []
    watching.let_pass(1)
    assert watching.asked() == ["GET files", "POST files/log.jsonl/append", "PUT files/summary.md"]
    assert [event.happened for event in watching.events] == [Happened.SENT]
    assert watching.did() == {LOG: ["appended"], SUMMARY: ["sent"]}
    watching.let_pass(60)
    assert watching.asked() == []
    assert watching.world.head() == ONE + TWO


def test_what_goes_on_changing_is_sent_every_ten_seconds(watching: Watching) -> None:
    """Not each second from then on."""
    for number in range(60):
        watching.machine.append(entry(f"fast {number}", 30).encode())
        watching.let_pass(1)
    sent = [asked for asked in watching.asked() if asked.endswith("append")]
    assert 60 / SEND_AFTER - 2 <= len(sent) <= 60 / SEND_AFTER
    watching.let_pass(3)
    assert watching.world.head() == watching.machine.read()


def test_a_file_that_is_only_touched_is_not_sent(watching: Watching) -> None:
    """The file equals the head."""
    watching.machine.write(ONE)
    watching.let_pass(5)
    assert watching.asked() == ["GET files"]
    assert watching.happened() == []


def test_a_file_that_the_server_refuses_is_told_once(watching: Watching) -> None:
    """Until it changes again."""
    watching.world.stub.store.merging = Merging(max_bytes=1000)
    watching.machine.append(*[TWO] * 20)
    watching.let_pass(30)
    [event] = watching.events
    assert event.report
    assert event.report.files[0].problem
    assert len([one for one in watching.asked() if one.endswith("append")]) == 1


def test_what_was_changed_on_the_server_is_merged_when_something_is_sent(watching: Watching) -> None:
    """By hand, for instance: nobody else can, while the lock is held."""
    watching.world.upload(ONE + THREE, watching.machine)
    watching.machine.append(TWO)
    watching.let_pass(5)
    assert watching.did() == {LOG: ["merged", "sent"]}
    assert watching.machine.read() == watching.world.head() == ONE + TWO + THREE


# The lock


def test_the_lock_is_extended_at_a_third_of_its_time(watching: Watching) -> None:
    """Nothing else is asked; nobody is told of it."""
    watching.let_pass(TTL_SECONDS / 3 - 10, step=5)
    assert watching.asked() == []
    watching.let_pass(3 * TTL_SECONDS, step=5)
    beats = watching.asked()
    assert set(beats) == {"POST lock/heartbeat"}
    assert 8 <= len(beats) <= 10
    assert watching.world.holder() == "laptop"
    assert watching.happened() == []


def test_a_machine_that_slept_extends_its_lock_when_it_wakes(watching: Watching) -> None:
    """Its timers stood still, but not the time of day."""
    watching.world.let_pass(TTL_SECONDS / 2)
    watching.let_pass(2)
    assert watching.asked() == ["POST lock/heartbeat"]
    assert watching.happened() == []


@pytest.mark.parametrize("set_by", [-7200.0, 7200.0])
def test_a_clock_that_is_set_costs_no_lock(world: World, laptop: Machine, set_by: float) -> None:
    """Timers go on, and the clock difference is measured anew."""
    watching = Watching(world, laptop)
    laptop.wall.seconds_ahead = set_by
    watching.let_pass(3 * TTL_SECONDS, step=5)
    assert world.holder() == "laptop"
    assert watching.happened() == [Happened.PULLED]
    assert watching.asked().count("POST lock/heartbeat") <= 11


def test_a_lock_that_expired_in_the_meantime_is_taken_again(watching: Watching, desktop: Machine) -> None:
    """Others' changes are fetched, and both events are reported."""
    watching.world.let_pass(TTL_SECONDS * 2)
    desktop.append(TWO)
    desktop.push()
    watching.let_pass(2)
    assert watching.happened() == [Happened.LOCK_LOST, Happened.LOCK_TAKEN]
    assert watching.machine.read() == ONE + TWO
    watching.let_pass(10)
    assert watching.happened() == []


def test_a_lock_that_another_has_is_tried_for_every_half_minute(
    world: World, laptop: Machine, desktop: Machine
) -> None:
    """The holder is told once; changes are kept here, and fetched from there."""
    desktop.pull()
    watching = Watching(world, laptop)
    assert watching.happened() == [Happened.PULLED, Happened.LOCKED_OUT]
    laptop.append(TWO)
    watching.let_pass(2)
    assert watching.did() == {LOG: ["kept"]}
    watching.asked()
    watching.let_pass(95)
    assert watching.asked().count("POST lock") == 3
    assert watching.happened() == []
    desktop.write(b"# One\n", SUMMARY)
    desktop.send()
    watching.let_pass(35)
    assert watching.happened()[0] is Happened.PULLED
    assert laptop.read(SUMMARY) == b"# One\n"
    desktop.push()
    watching.let_pass(35)
    assert watching.happened() == [Happened.LOCK_TAKEN]
    assert world.holder() == "laptop"
    assert world.head() == laptop.read() == ONE + TWO


def test_another_holder_is_told_again(world: World, laptop: Machine, desktop: Machine) -> None:
    """Each holder is reported once."""
    third = world.machine("third")
    desktop.pull()
    watching = Watching(world, laptop)
    watching.happened()
    desktop.push()
    third.pull()
    watching.let_pass(35)
    [event] = watching.events
    assert event.happened is Happened.LOCKED_OUT
    assert event.lock
    assert event.lock.client == third.client


@pytest.mark.parametrize("version", [b', "version": 7', b""])
@pytest.mark.parametrize("sends", [False, True])
def test_a_lock_that_a_person_gives_to_another_is_lost(
    watching: Watching, desktop: Machine, sends: bool, version: bytes
) -> None:
    """The next heartbeat shows it, or a refused upload, whether or not that was kept."""
    result_of(desktop.session().client.release(DEMO, watching.machine.client))
    desktop.pull()
    if not sends:
        watching.let_pass(TTL_SECONDS / 3 + 5)
        assert watching.happened() == [Happened.LOCK_LOST, Happened.LOCKED_OUT]
        return
    refusal = answer(403, b'{"error": "Lock held by different client"' + version + b"}")
    watching.line.by_hand["POST /projects/demo/files/log.jsonl/append"] = refusal
    watching.machine.append(TWO)
    watching.let_pass(4)
    assert watching.happened() == [Happened.SENT, Happened.LOCK_LOST, Happened.LOCKED_OUT]


# Trouble


def test_an_outage_is_told_once_and_its_end_too(world: World, laptop: Machine) -> None:
    """Attempts grow rare, down to one a minute; changes are sent afterwards."""
    watching = Watching(world, laptop)
    watching.let_pass(3)
    watching.happened()
    tries: list[float] = []

    def note(asked: Asked) -> None:
        tries.append(world.stub.clock.seconds())
        raise OSError("no way")

    for _ in range(2):
        watching.line.before = note
        laptop.append(TWO)
        watching.let_pass(300)
        [event] = watching.events
        assert event.happened is Happened.TROUBLE
        assert "cannot be reached" in (event.problem or "")
        pauses = [round(after - before) for before, after in pairwise(tries)]
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        watching.line.before = lambda asked: None
        watching.happened()
        tries.clear()
        watching.let_pass(LONGEST_PAUSE + 2)
        assert sorted(watching.happened(), key=str) == [Happened.RECOVERED, Happened.SENT]
        assert world.head() == laptop.read()


def test_it_begins_without_a_server(world: World, laptop: Machine) -> None:
    """And pulls as soon as there is one."""
    world.lines["laptop"].is_cut = True
    watching = Watching(world, laptop)
    assert watching.happened() == [Happened.TROUBLE]
    watching.let_pass(10)
    watching.line.is_cut = False
    watching.let_pass(10)
    assert watching.happened() == [Happened.PULLED, Happened.RECOVERED]
    assert world.holder() == "laptop"


def test_a_disk_that_is_full_is_trouble_that_passes(world: World, laptop: Machine, faults: Faults) -> None:
    """The full disk is reported, and the watch goes on."""
    world.upload(ONE + TWO, laptop)
    with faults.failing(0, FULL):
        watching = Watching(world, laptop)
    [event] = watching.events
    assert event.happened is Happened.TROUBLE
    assert "the disk of this machine is full" in (event.problem or "")
    watching.let_pass(3)
    assert laptop.read() == ONE + TWO


# Its end


def test_it_ends_with_a_push(watching: Watching) -> None:
    """Which sends what has changed a moment ago, and gives up the lock."""
    watching.machine.append(TWO)
    report = result_of(watching.end())
    assert did(report) == {LOG: ["appended"]}
    assert report.lock is None
    assert watching.world.holder() is None
    assert watching.world.head() == ONE + TWO
    assert not watching.timers.getDelayedCalls()


def test_it_ends_before_it_has_begun(world: World, laptop: Machine) -> None:
    """Somebody pressed Ctrl-C at once."""
    ending: Deferred[None] = Deferred()
    ending.callback(None)
    sync = laptop.session()
    watch = Watch(world.stub.clock, world.stub.clock, sync, lambda _: None)
    assert did(result_of(watch.run(ending))) == {}
    assert world.holder() is None


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("request_", ["POST lock", "GET files", "POST files/log.jsonl/append"])
def test_it_ends_while_a_request_is_under_way(
    world: World, laptop: Machine, request_: str, answered: bool
) -> None:
    """Whether or not the server got it; nothing is sent twice."""
    hanging: list[Deferred[object]] = []
    line = world.lines["laptop"]
    real: Callable[..., Deferred[object]] = line.request  # type: ignore[assignment]  # the type of the answer does not matter

    def hang(method: str, url: str, **more: object) -> Deferred[object]:
        if hanging or f"{method} {url}" != request_.replace(" ", f" {URL}/projects/demo/"):
            return real(method, url, **more)
        if answered:
            real(method, url, **more)
        hanging.append(Deferred())
        return hanging[0]

    line.request = hang  # type: ignore[method-assign,assignment]  # a server that hangs
    laptop.append(TWO)
    watching = Watching(world, laptop)
    watching.let_pass(3)
    assert hanging
    report = result_of(watching.end())
    assert world.head() == laptop.read() == ONE + TWO
    assert world.holder() is None
    assert report.locked is None
    assert len([one for one in world.stub.versions() if one["kind"] != "found"]) == 2
    assert not watching.timers.getDelayedCalls()


def test_it_ends_in_a_pause_between_attempts(world: World, laptop: Machine) -> None:
    """The end does not wait for the next look."""
    watching = Watching(world, laptop, retries=3)
    watching.let_pass(3)
    watching.line.is_cut = True
    laptop.append(TWO)
    watching.let_pass(2.2, step=0.1)
    watching.line.is_cut = False
    assert did(result_of(watching.end())) == {LOG: ["appended"]}


def test_an_end_without_a_server_is_told(world: World, laptop: Machine) -> None:
    """After all attempts: what has changed is still here."""
    watching = Watching(world, laptop, retries=3)
    watching.let_pass(3)
    laptop.append(TWO)
    watching.line.is_cut = True
    ended = watching.end()
    assert waits(ended)
    watching.let_pass(4, step=0.5)
    assert isinstance(failure_of(ended), Unreachable)
    assert laptop.seen().is_changed
    assert not watching.timers.getDelayedCalls()
    watching.line.is_cut = False
    laptop.push()
    assert world.head() == ONE + TWO


def test_an_end_at_a_server_in_trouble_is_told(watching: Watching) -> None:
    """And the lock is given up."""
    watching.machine.append(TWO)
    full = answer(507, b'{"error":"full"}')
    watching.line.by_hand["POST /projects/demo/files/log.jsonl/append"] = full
    assert isinstance(failure_of(watching.end()), ServerTrouble)
    assert watching.world.holder() is None
