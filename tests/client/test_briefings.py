"""Briefings between machines: each is told once, and none comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mneme.model import FileName, Kind, Pruned, digest
from tests.client.lines import Asked, Killed, canned
from tests.client.machines import DEMO, Machine, World, did
from tests.store.faults import KILL, Faults
from tests.store.faults import Killed as Died

BRIEFING, HANDOFF = FileName.BRIEFING, FileName.HANDOFF


def briefing(summary: str, minute: int = 0) -> bytes:
    """A briefing as the plugin writes it, at a minute of the hour before now."""
    written = f"2026-02-04T14:{minute:02}:00.000Z"
    return json.dumps({"ts": written, "summary": summary}, indent=2).encode() + b"\n"


ONE, TWO, THREE = briefing("one", 1), briefing("two", 2), briefing("three", 3)


def step(*machines: Machine) -> list[dict[FileName, list[str]]]:
    """A step of each machine, as the agent does it; what each did."""
    for machine in machines:
        machine.path.mkdir(parents=True, exist_ok=True)
    return [dict(did(machine.session().step())) for machine in machines]


def archive(machine: Machine) -> list[bytes]:
    """The used briefings of a machine, in the order of their names."""
    return [path.read_bytes() for path in sorted((machine.path / "briefing-archive").glob("*"))]


def tell(machine: Machine) -> bytes | None:
    """Begin a session: what the plugin tells it, and moves to the used ones."""
    path = machine.path / BRIEFING.value
    if not path.exists():
        return None
    content = path.read_bytes()
    name = json.loads(content)["ts"].replace(":", "-").replace(".", "-")
    (machine.path / "briefing-archive").mkdir(exist_ok=True)
    path.rename(machine.path / "briefing-archive" / f"{name}.json")
    return content


def kinds(world: World, file: FileName = BRIEFING) -> list[Kind]:
    """The kinds of a file's versions, the newest first."""
    return [version.kind for version in world.stub.store.history(DEMO, file, world.now)]


def has_nothing_left(world: World, *machines: Machine) -> bool:
    """Whether no machine and no server has a briefing, also after more steps."""
    step(*machines, *machines)
    return world.head(BRIEFING) is None and not any(machine.read(BRIEFING) for machine in machines)


class TestOne:
    """A briefing from one machine to the other."""

    def test_is_told_once_and_gone_everywhere(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """The machine that wrote it puts it away as a used one."""
        laptop.write(ONE, BRIEFING)
        assert step(laptop, desktop) == [{BRIEFING: ["sent"]}, {BRIEFING: ["fetched"]}]
        assert tell(desktop) == ONE
        assert step(desktop, laptop) == [{BRIEFING: ["used"]}, {BRIEFING: ["put away"]}]
        assert tell(laptop) is None
        assert archive(laptop) == archive(desktop) == [ONE]
        assert has_nothing_left(world, laptop, desktop)
        assert kinds(world) == [Kind.REMOVED, Kind.UPLOAD]

    def test_told_where_it_was_written_is_told_nowhere_else(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """A machine that already has it puts it away."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        assert tell(laptop) == ONE
        assert step(laptop, desktop) == [{BRIEFING: ["used"]}, {BRIEFING: ["put away"]}]
        assert has_nothing_left(world, laptop, desktop)

    def test_that_nothing_changed_in_costs_no_request(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The list has it all."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        world.asked(desktop)
        assert step(desktop) == [{}]
        assert world.asked(desktop) == ["GET files"]

    def test_needs_no_lock(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """Neither to be sent nor to be removed."""
        laptop.pull()
        desktop.write(ONE, BRIEFING)
        assert step(desktop) == [{BRIEFING: ["sent"]}]
        assert tell(desktop) == ONE
        assert did(desktop.push()) == {BRIEFING: ["used"]}
        assert world.holder() == "laptop"
        assert has_nothing_left(world, desktop)

    def test_travels_with_pull_and_push_as_well(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Those are typed by a person, or are the hooks of an older version."""
        laptop.write(ONE, BRIEFING)
        assert did(laptop.push()) == {BRIEFING: ["sent"]}
        assert did(desktop.pull()) == {BRIEFING: ["fetched"]}
        assert desktop.read(BRIEFING) == ONE

    def test_that_a_person_removes_counts_as_told(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Nobody wants it any more."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        (desktop.path / BRIEFING.value).unlink()
        assert step(desktop, laptop) == [{BRIEFING: ["used"]}, {BRIEFING: ["put away"]}]

    def test_that_is_restored_is_told_again(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """A person wants that, on whichever machine."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        tell(desktop)
        step(desktop, laptop)
        session = laptop.session().client
        session.acquire(DEMO)
        session.restore(DEMO, BRIEFING, 1)
        session.release(DEMO)
        assert step(desktop, laptop) == [{BRIEFING: ["fetched"]}, {BRIEFING: ["fetched"]}]
        assert tell(desktop) == ONE
        assert step(desktop, laptop) == [{BRIEFING: ["used"]}, {BRIEFING: ["put away"]}]
        assert archive(desktop) == [ONE]
        assert archive(laptop) == [ONE, ONE]

    @pytest.mark.parametrize("content", [b"", b'{"ts": "2026', b"\0\0"], ids=["empty", "cut", "zeros"])
    def test_that_is_half_written_is_not_sent(self, world: World, laptop: Machine, content: bytes) -> None:
        """The plugin writes a handoff in place, within a moment."""
        laptop.write(content, HANDOFF)
        assert step(laptop) == [{HANDOFF: ["missed"]}]
        laptop.write(content, HANDOFF, ago=2)
        assert step(laptop) == [{HANDOFF: ["held back"]}]
        assert world.head(HANDOFF) is None

    def test_that_is_damaged_gives_way_to_the_servers(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Not while it is being written."""
        laptop.write(ONE, HANDOFF)
        step(laptop, desktop)
        desktop.write(b'{"ts": "2026', HANDOFF)
        assert step(desktop) == [{HANDOFF: ["missed"]}]
        assert desktop.read(HANDOFF) == b'{"ts": "2026'
        desktop.write(b'{"ts": "2026', HANDOFF, ago=2)
        assert step(desktop) == [{HANDOFF: ["fetched"]}]
        assert desktop.read(HANDOFF) == ONE


class TestTwo:
    """Two briefings at once."""

    def test_the_later_one_stays(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """Whichever comes first to the server; the other is with the used ones."""
        laptop.write(TWO, BRIEFING)
        desktop.write(ONE, BRIEFING)
        assert step(laptop, desktop) == [{BRIEFING: ["sent"]}, {BRIEFING: ["fetched"]}]
        assert world.head(BRIEFING) == desktop.read(BRIEFING) == TWO
        assert archive(desktop) == [ONE]
        world.machine("tablet").write(THREE, BRIEFING)
        assert step(world.machines["tablet"], laptop) == [{BRIEFING: ["sent"]}, {BRIEFING: ["fetched"]}]
        assert archive(laptop) == [TWO]
        assert [one.sha256 for one in world.stub.store.history(DEMO, BRIEFING, world.now)] == [
            digest(THREE),
            digest(TWO),
        ]

    def test_one_that_was_written_over_the_other_replaces_it(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Even by a machine whose clock is behind."""
        laptop.write(TWO, BRIEFING)
        step(laptop, desktop)
        desktop.write(ONE, BRIEFING)
        assert step(desktop, laptop) == [{BRIEFING: ["sent"]}, {BRIEFING: ["fetched"]}]
        assert laptop.read(BRIEFING) == world.head(BRIEFING) == ONE

    def test_without_a_time_inside_the_one_written_later_stays(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """By the clocks of the machine and of the server."""
        laptop.write(b'{"summary": "a"}', BRIEFING)
        desktop.write(b'{"summary": "b"}', BRIEFING, ago=60)
        step(laptop, desktop)
        assert desktop.read(BRIEFING) == b'{"summary": "a"}'
        world.let_pass(60)
        world.machine("tablet").write(b'{"summary": "c"}', BRIEFING)
        assert step(world.machines["tablet"]) == [{BRIEFING: ["sent"]}]

    def test_one_that_comes_in_between_is_compared_again(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The upload names what it replaces."""
        laptop.write(TWO, BRIEFING)
        desktop.write(ONE, BRIEFING)

        def comes_first(asked: Asked) -> None:
            if asked.method == "PUT" and world.head(BRIEFING) is None:
                assert step(laptop) == [{BRIEFING: ["sent"]}]

        world.lines["desktop"].before = comes_first
        assert step(desktop) == [{BRIEFING: ["fetched"]}]
        assert world.head(BRIEFING) == TWO
        assert archive(desktop) == [ONE]

    def test_sessions_that_begin_at_the_same_moment_agree_on_one_of_them(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The hook of one alone may tell it."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        machines = [machine.session().briefings for machine in (laptop, desktop)]
        taken = [one.take(1.0) for one in machines]
        assert taken == [ONE, ONE]
        assert [one.claim(ONE) for one in machines] == [True, False]
        assert has_nothing_left(world, laptop, desktop)


class TestOffline:
    """A machine that was offline."""

    def test_it_puts_away_what_others_have_used(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Also when a later one was used meanwhile, and the history has neither any more."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        tell(laptop)
        step(laptop)
        laptop.write(TWO, BRIEFING)
        step(laptop)
        tell(laptop)
        step(laptop)
        removed = world.stub.store.history(DEMO, BRIEFING, world.now)[-2:]
        assert removed[1].sha256 == digest(ONE)
        world.stub.store.remove(Pruned(DEMO, removed), world.now)
        assert step(desktop) == [{BRIEFING: ["put away"]}]
        assert has_nothing_left(world, laptop, desktop)

    def test_what_it_told_meanwhile_is_removed(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """Both may have told it, for neither could know."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        assert tell(desktop) == ONE
        assert step(desktop, laptop) == [{BRIEFING: ["used"]}, {BRIEFING: ["put away"]}]

    def test_a_later_one_takes_the_place_of_one_that_was_told(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The old one is not removed from the server, which has another."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        assert tell(desktop) == ONE
        laptop.write(TWO, BRIEFING)
        step(laptop)
        assert step(desktop) == [{BRIEFING: ["fetched"]}]
        assert tell(desktop) == TWO

    def test_what_it_wrote_and_told_itself_never_travels(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The one that it replaced is gone, too."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        desktop.write(TWO, BRIEFING)
        assert tell(desktop) == TWO
        assert step(desktop, laptop) == [{BRIEFING: ["used"]}, {BRIEFING: ["put away"]}]
        assert has_nothing_left(world, laptop, desktop)


class TestServer:
    """Servers that lack something."""

    @pytest.mark.parametrize("is_empty", [True, False], ids=["new", "backup"])
    def test_one_that_lost_a_briefing_gets_it(
        self, world: World, laptop: Machine, desktop: Machine, is_empty: bool
    ) -> None:
        """Set up anew, or put back to a backup."""
        if not is_empty:
            laptop.write(ONE, BRIEFING)
            step(laptop, desktop)
            tell(desktop)
            step(desktop, laptop)
        backup = world.backup()
        laptop.write(TWO, BRIEFING)
        step(laptop, desktop)
        world.put_back(backup)
        assert step(desktop, laptop) == [{BRIEFING: ["sent"]}, {}]
        assert world.head(BRIEFING) == TWO

    def test_one_that_is_put_back_to_a_backup_brings_no_used_briefing_back(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Where it was used or put away, also if a later one was used since."""
        laptop.write(ONE, BRIEFING)
        step(laptop, desktop)
        backup = world.backup()
        for content in (ONE, TWO):
            laptop.write(content, BRIEFING)
            step(laptop, desktop)
            tell(desktop)
            step(desktop, laptop)
        world.put_back(backup)
        assert world.head(BRIEFING) == ONE
        assert step(desktop, laptop) == [{BRIEFING: ["used"]}, {}]
        assert has_nothing_left(world, laptop, desktop)

    def test_one_that_knows_no_briefings_is_asked_once_for_each(self, world: World, laptop: Machine) -> None:
        """Nobody is told of a problem."""
        refusal = canned(403, {"error": "File not allowed for sync"})
        world.lines["laptop"].by_hand["PUT /projects/demo/files/briefing.json"] = refusal
        laptop.write(ONE, BRIEFING)
        session = laptop.session()
        assert session.step().files == session.step().files == ()
        assert world.asked(laptop).count("PUT files/briefing.json") == 1
        assert laptop.read(BRIEFING) == ONE


class TestHandoff:
    """`handoff.json`, which each session leaves, and none removes."""

    def test_the_later_one_is_on_all_machines(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """The one that it replaced is beside it."""
        laptop.write(ONE, HANDOFF)
        assert step(laptop, desktop) == [{HANDOFF: ["sent"]}, {HANDOFF: ["fetched"]}]
        desktop.write(TWO, HANDOFF)
        assert step(desktop, laptop) == [{HANDOFF: ["sent"]}, {HANDOFF: ["fetched"]}]
        assert laptop.read(HANDOFF) == TWO
        assert (laptop.path / "handoff.json.bak").read_bytes() == ONE

    def test_an_older_one_of_a_machine_that_was_offline_gives_way(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """A session that ended long ago is not the last one."""
        desktop.write(ONE, HANDOFF)
        laptop.write(TWO, HANDOFF)
        assert step(laptop, desktop) == [{HANDOFF: ["sent"]}, {HANDOFF: ["fetched"]}]
        assert desktop.read(HANDOFF) == world.head(HANDOFF) == TWO

    def test_that_is_missing_is_fetched_again(self, world: World, laptop: Machine) -> None:
        """No session uses it up."""
        laptop.write(ONE, HANDOFF)
        step(laptop)
        (laptop.path / HANDOFF.value).unlink()
        assert step(laptop) == [{HANDOFF: ["fetched"]}]


ACTS = ("send", "fetch", "use", "put away")
"""Steps in the life of a briefing, in their order."""

CRASHES = [*((act, False) for act in ACTS), *((act, True) for act in ACTS[:3])]
"""Without and with a session that begins at once. One that is yet to put a briefing away may tell it, as if offline."""


def before(act: str, home: Path) -> tuple[World, Machine, list[bytes | None]]:
    """A world, the machine that is about to step, and the briefings told so far."""
    world = World(home)
    laptop, desktop = world.machine("laptop"), world.machine("desktop")
    desktop.path.mkdir(parents=True)
    laptop.write(ONE, BRIEFING)
    if act == "send":
        return world, laptop, []
    step(laptop)
    if act == "fetch":
        return world, desktop, []
    step(desktop)
    told = [tell(desktop)]
    if act == "use":
        return world, desktop, told
    step(desktop)
    return world, laptop, told


def ends_well(world: World, hit: Machine, told: list[bytes | None], *, session_at_once: bool) -> None:
    """Let a life go on after a broken step; one session is told."""
    laptop, desktop = world.machines["laptop"], world.machines["desktop"]
    told = [*told, tell(hit) if session_at_once else None]
    for machine in (desktop, laptop, desktop):
        step(hit, laptop, desktop, laptop)
        told.append(tell(machine))
    assert [one for one in told if one] == [ONE]
    assert has_nothing_left(world, laptop, desktop)


class TestCrash:
    """Processes that die; the briefing is told once all the same."""

    @pytest.mark.parametrize(("act", "session_at_once"), CRASHES)
    def test_at_any_step_on_the_disk(
        self, tmp_path: Path, faults: Faults, act: str, session_at_once: bool
    ) -> None:
        """A process is killed before each of them in turn."""
        _, machine, _ = before(act, tmp_path / "whole")
        with faults.failing() as run:
            machine.session().step()
        places = KILL.places(run)
        assert places or act == "use"
        for at in places:
            world, machine, told = before(act, tmp_path / str(at))
            with faults.failing(at, KILL) as struck, suppress(Died):
                machine.session().step()
            assert struck.struck
            ends_well(world, machine, told, session_at_once=session_at_once)

    @pytest.mark.parametrize("is_answered", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(("act", "session_at_once"), CRASHES)
    def test_at_any_request(self, tmp_path: Path, act: str, is_answered: bool, session_at_once: bool) -> None:
        """A process is killed before the request, or before it has the answer."""
        world, machine, _ = before(act, tmp_path / "whole")
        world.asked(machine)
        machine.session().step()
        for at in range(len(world.asked(machine))):
            world, machine, told = before(act, tmp_path / str(at))
            line = world.lines[machine.path.name]
            die = dies_at(at)
            line.before, line.after = (line.before, die) if is_answered else (die, line.after)
            with pytest.raises(Killed):
                machine.session().step()
            line.before = line.after = lambda _: None
            ends_well(world, machine, told, session_at_once=session_at_once)

    @pytest.mark.parametrize("act", ACTS)
    def test_an_answer_that_is_lost_changes_nothing(self, tmp_path: Path, act: str) -> None:
        """The request is sent again, and its outcome is the same."""
        whole, machine, _ = before(act, tmp_path / "whole")
        whole.asked(machine)
        did_whole = did(machine.session().step())
        for at in range(len(whole.asked(machine))):
            world, machine, told = before(act, tmp_path / str(at))
            line = world.lines[machine.path.name]
            line.after = dies_at(at, ConnectionResetError())
            assert did(machine.session(retries=1).step()) == did_whole
            ends_well(world, machine, told, session_at_once=act != "put away")


def dies_at(at: int, error: BaseException | None = None) -> Callable[[Asked], None]:
    """Whoever is called raises at this call, counted from 0."""
    calls = iter([None] * at + [error or Killed()])

    def die(_: Asked) -> None:
        if found := next(calls, None):
            raise found

    return die
