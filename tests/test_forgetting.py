"""Days on which something is forgotten, summarized or pruned: nothing comes back, and nothing else goes.

The stock client against the whole server in this process, on each way that leads there: straight, with the connections
of Node 18, and through proxies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import InProcess
from tests.often import LONG
from tests.proxies import NODE_18, ROUTES, STRAIGHT, Loses, Route
from tests.stock_client import Answer, Machine, items_in, milliseconds

LOG, FACTS, ENTITIES, SUMMARY = "log.jsonl", "remembered.json", "entities.json", "summary.json"
ALL = (LOG, FACTS, ENTITIES, SUMMARY)
APP = "app"
MINUTE = 60.0
YEARS = 3 * 365 * 86_400.0
"""Three of them, in seconds."""

ADD: dict[str, Callable[..., None]] = {
    LOG: Machine.note,
    FACTS: Machine.remember,
    ENTITIES: Machine.see,
    SUMMARY: Machine.decide,
}


def remove(machine: Machine, name: str, *items: str, project: str = APP) -> None:
    """Remove items as the plugin does: from a log its oldest lines, so many of them."""
    if name == LOG:
        assert machine.items(project, LOG)[: len(items)] == list(items)
        machine.summarize(project, len(items))
    else:
        {FACTS: Machine.forget, ENTITIES: Machine.prune_entities, SUMMARY: Machine.drop_decisions}[name](
            machine, project, *items
        )


class World:
    """A server, and machines that reach it on one route. Time passes in `later`, and a little with each request."""

    def __init__(self, directory: Path, route: Route) -> None:
        self.server = InProcess(directory / "server")
        self._directory = directory
        self._route = route
        self.way = route.to(self.server)

    def machine(self, name: str, client: str | None = None, ahead: float = 0.0, retries: int = 0) -> Machine:
        """A machine of the person's; `client` is the id that it has, if that is another's."""
        return Machine(
            self._directory / name,
            self.server.url,
            client_id=f"{client or name}-0a1b2c3d",
            clock_offset=ahead,
            delays=(0.0,) * retries,
            clock=self.server.now,
            connect=self.way.accept,
            keep_alive=self._route.keep_alive,
        )

    def later(self, minutes: float = 5.0) -> None:
        """Let time pass."""
        self.server.let_pass(minutes * MINUTE)

    def session(self, machine: Machine, *acts: Callable[[Machine], None], project: str = APP) -> list[Answer]:
        """A whole session in which these things are done; the answers to its push."""
        machine.pull(project)
        self.later()
        for act in acts:
            act(machine)
        self.later()
        answers = machine.push(project)
        self.later()
        return answers

    def head(self, name: str, project: str = APP) -> list[str]:
        """The items of a head, as somebody sees them who is no stock client."""
        status, body = self.server.ask("GET", f"/projects/{project}/files/{name}")
        return items_in(name, body["content"]) if status == 200 else []

    def status(self) -> Any:
        """How the server does."""
        return self.server.ask("GET", "/status")[1]


PAIRS = [
    (route, name)
    for number, route in enumerate(ROUTES)
    for name in (ALL if LONG else [ALL[number % len(ALL)]])
]
"""Each route, and a file that is told of on it. Rules of files and of routes know nothing of each other."""


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0].name}, {pair[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[Route, str]:
    """A route and a file."""
    found: tuple[Route, str] = request.param
    return found


@pytest.fixture
def world(pair: tuple[Route, str], tmp_path: Path) -> Iterator[World]:
    """A server, reached on each route."""
    world = World(tmp_path, pair[0])
    yield world
    assert world.server.faults == []


@pytest.fixture
def name(pair: tuple[Route, str]) -> str:
    """The file that goes with the route."""
    return pair[1]


@pytest.fixture(params=[STRAIGHT, NODE_18], ids=lambda route: route.name)
def near(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A server, reached without a proxy."""
    world = World(tmp_path, request.param)
    yield world
    assert world.server.faults == []


@pytest.fixture
def laptop(world: World) -> Machine:
    """A machine."""
    return world.machine("laptop")


@pytest.fixture
def desktop(world: World) -> Machine:
    """Another."""
    return world.machine("desktop")


def adding(name: str, *items: str, project: str = APP) -> Callable[[Machine], None]:
    """Add items to a file."""
    return lambda machine: ADD[name](machine, project, *items)


def removing(name: str, *items: str, project: str = APP) -> Callable[[Machine], None]:
    """Remove items from a file."""
    return lambda machine: remove(machine, name, *items, project=project)


class TestForgetting:
    """A machine that had an item removes it: it is gone everywhere, after one push, for good."""

    def test_items_of_the_other_machine(
        self, world: World, laptop: Machine, desktop: Machine, name: str
    ) -> None:
        """One to four of them, and as many of these as there are."""
        for count in range(1, 5):
            for removed in range(1, count + 1):
                project = f"{count}-{removed}"
                items = [f"item {number}" for number in range(count)]
                world.session(laptop, adding(name, *items, project=project), project=project)
                world.session(desktop, removing(name, *items[:removed], project=project), project=project)
                assert world.head(name, project) == items[removed:]
                for machine in (laptop, desktop, laptop):
                    world.session(machine, project=project)
                    assert machine.items(project, name) == items[removed:]
                assert world.head(name, project) == items[removed:]

    def test_the_only_one_it_was_just_told_of(
        self, world: World, laptop: Machine, desktop: Machine, name: str
    ) -> None:
        """Its file is then just what it was before it was told."""
        world.session(desktop, adding(name, "Use tabs"))
        world.session(laptop, adding(name, "B0"))
        world.session(desktop, removing(name, *(["Use tabs"] if name == LOG else ["B0"])))
        left = ["B0"] if name == LOG else ["Use tabs"]
        for machine in (laptop, desktop):
            world.session(machine)
            assert machine.items(APP, name) == left
        assert world.head(name) == left

    def test_its_own_newest(self, world: World, laptop: Machine, desktop: Machine, name: str) -> None:
        """In the session after the one in which it was remembered, or in the same; a log loses its oldest alone."""
        name = FACTS if name == LOG else name
        world.session(laptop, adding(name, "a", "b"))
        world.session(laptop, removing(name, "b"), adding(name, "c"), removing(name, "c"))
        world.session(desktop)
        assert desktop.items(APP, name) == laptop.items(APP, name) == world.head(name) == ["a"]

    def test_all_there_are(self, world: World, laptop: Machine, desktop: Machine, name: str) -> None:
        """What is left is an empty file, which is no reason to bring the items back."""
        world.session(laptop, adding(name, "a", "b"))
        world.session(desktop, removing(name, "a", "b"))
        assert world.head(name) == []
        world.session(laptop, adding(name, "c"))
        world.session(desktop)
        assert desktop.items(APP, name) == laptop.items(APP, name) == world.head(name) == ["c"]

    def test_lines_that_were_summarized_away(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """The desktop has all 55, most of them of the laptop, and keeps ten."""
        world.session(desktop, adding(LOG, *(f"desktop {number}" for number in range(12))))
        world.session(laptop, adding(LOG, *(f"laptop {number}" for number in range(43))))
        world.session(desktop, lambda machine: machine.summarize(APP, 45))
        world.session(laptop)
        assert desktop.items(APP, LOG) == laptop.items(APP, LOG) == [f"laptop {n}" for n in range(33, 43)]

    def test_while_the_other_adds(self, world: World, laptop: Machine, desktop: Machine, name: str) -> None:
        """The desktop is locked out, and forgets what it has; the laptop adds."""
        world.session(laptop, adding(name, "a", "b"))
        world.session(desktop)
        laptop.pull(APP)
        desktop.pull(APP)
        remove(desktop, name, "a")
        ADD[name](laptop, APP, "c")
        world.later()
        desktop.push(APP)
        world.later()
        laptop.push(APP)
        assert world.head(name) == ["b", "c"]

    def test_after_the_server_was_killed(
        self, world: World, laptop: Machine, desktop: Machine, name: str
    ) -> None:
        """It remembers who has what, also over its end."""
        world.session(laptop, adding(name, "a", "b"))
        desktop.pull(APP)
        world.server.ask("GET", f"/projects/{APP}/files")
        world.server.kill_and_restart()
        world.later()
        remove(desktop, name, "a", "b")
        desktop.push(APP)
        assert world.head(name) == []


class TestOlderChanges:
    """The push of a stock client uploads only what is newer than the list says: so that list is no true one."""

    def test_a_change_from_before_another_push_is_uploaded(
        self, world: World, laptop: Machine, desktop: Machine, name: str
    ) -> None:
        """A lock runs out over lunch, and another machine works meanwhile."""
        world.session(laptop, adding(name, "both"))
        world.session(desktop)
        laptop.pull(APP)
        ADD[name](laptop, APP, "before lunch")
        world.later(45)
        world.session(desktop, adding(name, "during lunch"))
        laptop.push(APP)
        assert sorted(world.head(name)) == ["before lunch", "both", "during lunch"]
        world.later()
        for machine in (laptop, desktop):
            world.session(machine)
            assert sorted(machine.items(APP, name)) == ["before lunch", "both", "during lunch"]


class TestOneIdInTwoPlaces:
    """One client id that works on two memories: nothing of either goes, and the person is told."""

    def test_two_folders_in_turn(self, world: World, name: str) -> None:
        """Each has memory of its own, from before it knew the server."""
        self.two_folders(world, name, at_once=False)

    def test_two_folders_at_once(self, world: World, name: str) -> None:
        """Both have begun before either ends; the first to end gives away the lock of both."""
        self.two_folders(world, name, at_once=True)

    def two_folders(self, world: World, name: str, at_once: bool) -> None:
        """One session each, and what comes of them."""
        folders = [world.machine(f"folder {number}", client="laptop") for number in (1, 2)]
        for machine in folders:
            world.later()
            ADD[name](machine, APP, f"from {machine.folder.name}")
        if at_once:
            for machine in folders:
                machine.pull(APP)
            for machine in folders:
                machine.push(APP)
        else:
            machine, other = folders
            machine.pull(APP)
            machine.push(APP)
            ADD[name](other, APP, "more of folder 2")
            other.pull(APP)
            other.push(APP)
        assert {"from folder 1", "from folder 2"} <= set(world.head(name))
        [found] = world.status()["inTwoPlaces"]
        assert (found["project"], found["clientId"], found["file"]) == (APP, "laptop-0a1b2c3d", name)

    def test_both_refused_while_another_holds_the_lock(self, world: World) -> None:
        """The second upload does not take the place of the first, for it was not made from that."""
        folders = [world.machine(f"folder {number}", client="laptop") for number in (1, 2)]
        holder = world.machine("desktop")
        world.session(holder, adding(FACTS, "of the desktop"))
        holder.pull(APP)
        for machine in folders:
            machine.remember(APP, f"from {machine.folder.name}")
            world.later()
            machine.push(APP)
        holder.push(APP)
        assert sorted(world.head(FACTS)) == ["from folder 1", "from folder 2", "of the desktop"]

    def test_a_cloned_machine(self, world: World) -> None:
        """Both have the same lines to begin with, and each adds its own, at once and in turn."""
        first, second = (world.machine(name, client="laptop") for name in ("original", "clone"))
        world.session(first, adding(LOG, "1", "2", "3"))
        world.session(second)
        for machine in (first, second):
            machine.pull(APP)
        for number in (1, 2):
            for machine in (first, second):
                machine.note(APP, f"{machine.folder.name} {number}")
                world.later()
                machine.push(APP)
        wanted = ["1", "2", "3", *(f"{who} {number}" for number in (1, 2) for who in ("original", "clone"))]
        assert world.head(LOG) == wanted

    def test_a_cloned_machine_summarizes(self, world: World) -> None:
        """Of what both have the oldest lines go, and what only the other has stays."""
        first, second = (world.machine(name, client="laptop") for name in ("original", "clone"))
        world.session(first, adding(LOG, "1", "2", "3"))
        world.session(second)
        for machine in (first, second):
            machine.pull(APP)
        first.note(APP, "of the original")
        first.push(APP)
        world.later()
        second.note(APP, "of the clone")
        second.summarize(APP, 2)
        second.push(APP)
        assert world.head(LOG) == ["3", "of the original", "of the clone"]

    def test_a_long_session_that_summarized_everything_is_no_second_place(
        self, world: World, laptop: Machine
    ) -> None:
        """No line is left that the log had before, but the other files of the push are known."""
        world.session(laptop, adding(LOG, "1", "2"), adding(ENTITIES, "a.py", "b.py"))
        world.session(
            laptop, adding(LOG, "3"), lambda machine: machine.summarize(APP, 2), adding(ENTITIES, "a.py")
        )
        assert world.status()["inTwoPlaces"] == []


class TestCutOff:
    """The answer of a pull does not arrive: what was in it was never there, and so was not removed."""

    @pytest.mark.parametrize("name", ALL)
    @pytest.mark.parametrize("fate", ["reset", "half"])
    def test_nothing_is_removed_by_the_next_upload(self, near: World, name: str, fate: str) -> None:
        """Whether the machine adds something of its own, or pushes what it had."""
        self.cut_off(near, name, fate, retries=0)

    @pytest.mark.parametrize("fate", ["reset", "half", "503"])
    def test_nothing_is_removed_though_a_proxy_took_every_answer(
        self, world: World, name: str, fate: str
    ) -> None:
        """Nothing arrived in four attempts; the server can only tell by their number."""
        self.cut_off(world, name, fate, retries=3)

    def cut_off(self, world: World, name: str, fate: str, retries: int) -> None:
        """The desktop's second pull fails, and its session goes on."""
        laptop, desktop = world.machine("laptop"), world.machine("desktop", retries=retries)
        world.session(laptop, adding(name, "a"))
        world.session(desktop)
        world.session(laptop, adding(name, "b", "c"))
        losing = self.losing(name, fate)
        world.way.loses = losing
        desktop.pull(APP)
        world.way.loses = lambda _request: None
        assert desktop.items(APP, name) == ["a"]
        world.later()
        desktop.push(APP)
        assert world.head(name) == ["a", "b", "c"]
        world.later()
        desktop_adds = world.machine("desktop again", client="desktop")
        desktop_adds.write(APP, name, desktop.read(APP, name) or b"")
        ADD[name](desktop_adds, APP, "d")
        desktop_adds.push(APP)
        assert sorted(world.head(name)) == ["a", "b", "c", "d"]

    def test_a_list_that_was_lost_is_told_again(self, near: World) -> None:
        """The machine asks for it once more, and fetches what is new; only then is it the turn of its push."""
        laptop, desktop = near.machine("laptop"), near.machine("desktop", retries=1)
        near.session(desktop, adding(FACTS, "a"))
        near.session(laptop, adding(FACTS, "b"))
        fates = iter(["reset"])
        near.way.loses = lambda request: next(fates, None) if request.endswith("/files") else None
        desktop.pull(APP)
        assert desktop.items(APP, FACTS) == ["a", "b"]
        with desktop.session() as client:
            assert client.files(APP).body["files"][0]["mtime"] == "1970-01-01T00:00:00.000Z"

    def losing(self, name: str, fate: str) -> Loses:
        """Lose the answers to all downloads of a file."""
        return lambda request: fate if request.endswith(f"/files/{name}") else None

    def test_nothing_is_removed_though_the_acquire_was_lost_as_well(self, world: World) -> None:
        """It came twice, as if two pulls had begun; four attempts for one file are more than two."""
        laptop, desktop = world.machine("laptop"), world.machine("desktop", retries=3)
        world.session(laptop, adding(FACTS, "a"))
        world.session(desktop)
        world.session(laptop, adding(FACTS, "b"))
        fates = iter(["reset"])

        def loses(request: str) -> str | None:
            if request.endswith("/lock"):
                return next(fates, None)
            return "reset" if request.endswith(FACTS) else None

        world.way.loses = loses
        desktop.pull(APP)
        world.way.loses = lambda _request: None
        world.later()
        desktop.remember(APP, "c")
        desktop.push(APP)
        assert sorted(world.head(FACTS)) == ["a", "b", "c"]

    def test_nothing_is_removed_though_the_server_was_killed_during_the_pull(self, world: World) -> None:
        """It no longer knows that a pull began, and yet a file that is asked for again was lost before."""
        laptop, desktop = world.machine("laptop"), world.machine("desktop", retries=3)
        world.session(laptop, adding(FACTS, "a"))
        world.session(desktop)
        world.session(laptop, adding(FACTS, "b"))
        world.way.loses = self.losing(FACTS, "reset")
        for answer in desktop.pull_steps(APP):
            if answer.method == "POST":
                world.server.kill_and_restart()
        world.way.loses = lambda _request: None
        world.later()
        desktop.push(APP)
        assert world.head(FACTS) == ["a", "b"]

    def test_what_came_with_the_second_attempt_can_be_forgotten(self, near: World) -> None:
        """The first answer was reset, the second arrived whole."""
        laptop, desktop = near.machine("laptop"), near.machine("desktop", retries=1)
        near.session(laptop, adding(FACTS, "a"))
        near.session(desktop)
        near.session(laptop, adding(FACTS, "b"))
        fates = iter(["reset"])
        near.way.loses = lambda request: next(fates, None) if request.endswith(FACTS) else None
        near.session(desktop, removing(FACTS, "b"))
        near.session(laptop)
        assert laptop.items(APP, FACTS) == near.head(FACTS) == ["a"]


class TestAClockThatIsAhead:
    """The files of such a machine are newer than the server's, and its pull downloads nothing by itself."""

    def test_the_memory_of_the_others_arrives_at_the_next_start_or_the_one_after(
        self, world: World, name: str
    ) -> None:
        """Though nobody else writes meanwhile; the machine pushes what it has, and so shows what it lacks."""
        ahead, other = world.machine("ahead", ahead=30 * MINUTE), world.machine("other")
        world.session(ahead, adding(name, "mine"))
        world.session(other, adding(name, "theirs"))
        world.session(ahead)
        world.session(ahead)
        assert sorted(ahead.items(APP, name)) == ["mine", "theirs"]

    def test_nobody_else_is_told_anything_but_the_truth(self, world: World) -> None:
        """Neither a person nor the pull of another machine, nor that of this one once it has the head."""
        ahead, other = world.machine("ahead", ahead=30 * MINUTE), world.machine("other")
        world.session(ahead, adding(FACTS, "mine"))
        world.session(other, adding(FACTS, "theirs"))
        world.session(ahead)
        true = self.listed(world)
        told = [self.pulled(machine) for machine in (other, ahead)]
        assert told[0] == true < told[1]
        assert sorted(ahead.items(APP, FACTS)) == ["mine", "theirs"]
        assert self.pulled(ahead) == self.listed(world)

    def listed(self, world: World) -> int:
        """The mtime that a person is told of the facts."""
        _, body = world.server.ask("GET", f"/projects/{APP}/files")
        [file] = body["files"]
        return milliseconds(file["mtime"])

    def pulled(self, machine: Machine) -> int:
        """The mtime that a pull of the machine is told of the facts."""
        steps = machine.pull_steps(APP)
        for answer in steps:
            if answer.path.endswith("/files"):
                [file] = answer.body["files"]
                list(steps)
                with machine.session() as client:
                    client.release(APP)
                return milliseconds(file["mtime"])
        raise AssertionError("there was no list")

    def test_what_the_machine_writes_later_is_not_overwritten(self, world: World) -> None:
        """It is newer than what its pull is told."""
        ahead, other = world.machine("ahead", ahead=30 * MINUTE), world.machine("other")
        world.session(ahead, adding(FACTS, "mine"))
        world.session(other, adding(FACTS, "theirs"))
        world.session(ahead)
        ahead.remember(APP, "offline")
        world.session(ahead)
        assert sorted(world.head(FACTS)) == ["mine", "offline", "theirs"]


class TestAServerWhoseClockWasWrong:
    """It was three years ahead during a session, and is right again."""

    def test_what_is_written_offline_is_not_overwritten(
        self, world: World, laptop: Machine, name: str
    ) -> None:
        """With one machine alone: it has what the server has, whatever time that tells."""
        self.session_in_the_future(world, laptop, name)
        ADD[name](laptop, APP, "offline")
        world.session(laptop)
        assert laptop.items(APP, name) == world.head(name) == ["before", "in the future", "offline"]

    def test_mtimes_are_right_after_the_next_push(self, world: World, laptop: Machine, name: str) -> None:
        """Though nothing has changed; and the other machine has it all at its next start."""
        self.session_in_the_future(world, laptop, name)
        world.session(laptop)
        _, body = world.server.ask("GET", f"/projects/{APP}/files")
        [file] = body["files"]
        assert milliseconds(file["mtime"]) <= world.server.now() * 1000
        desktop = world.machine("desktop")
        world.session(desktop, adding(name, "later"))
        world.session(laptop)
        assert laptop.items(APP, name) == ["before", "in the future", "later"]

    def test_a_lock_from_the_future_is_in_nobodys_way(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The session that took it never ended."""
        world.server.set_clock(YEARS)
        laptop.pull(APP)
        world.server.set_clock(-YEARS)
        world.session(desktop, adding(FACTS, "a"))
        assert world.head(FACTS) == ["a"]

    def session_in_the_future(self, world: World, machine: Machine, name: str) -> None:
        """One session at the right time, and one while the server's clock is ahead."""
        ahead = world.machine(machine.folder.name, ahead=0.0)
        world.session(ahead, adding(name, "before"))
        machine.pull(APP)
        ADD[name](machine, APP, "in the future")
        world.server.set_clock(YEARS)
        machine.push(APP)
        world.server.set_clock(-YEARS)
        world.later()


def test_a_list_of_facts_is_json_as_the_plugin_writes_it(tmp_path: Path) -> None:
    """The simulator forgets the last fact as the plugin does: an empty array is left, and a newline."""
    machine = Machine(tmp_path / "laptop", "http://mneme.invalid:3847")
    machine.remember(APP, "a")
    assert json.loads(machine.read(APP, FACTS) or b"")[0].keys() == {"ts", "type", "content"}
    machine.forget(APP, "a")
    assert machine.read(APP, FACTS) == b"[]\n"
