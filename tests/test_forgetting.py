"""Items that are forgotten, summarized or pruned: nothing comes back, and nothing else goes.

The stock client against the whole server in this process, on each way that leads there: straight, with the connections
of Node 18, and through proxies. `test_bases` and the contract of stores have the rules; here each has a story.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.in_process import InProcess
from tests.often import LONG
from tests.proxies import NODE_18, ROUTES, STRAIGHT, Loses, Route
from tests.proxies import nothing as losing_nothing
from tests.stock_client import Machine, milliseconds
from tests.world import ENTITIES, FACTS, FILES, LOG, PROJECT, World, adding, removing

YEARS = 3 * 365 * 86_400.0
"""Three of them, in seconds."""

PAIRS = [
    (route, name)
    for number, route in enumerate(ROUTES)
    for name in (FILES if LONG else [FILES[number % len(FILES)]])
]
"""Each route with a file. Rules of files and of routes know nothing of each other."""


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0].name}, {pair[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[Route, str]:
    """A route and a file."""
    found: tuple[Route, str] = request.param
    return found


@pytest.fixture
def name(pair: tuple[Route, str]) -> str:
    """The file that goes with the route."""
    return pair[1]


@pytest.fixture
def world(pair: tuple[Route, str], tmp_path: Path) -> Iterator[World]:
    """A server, reached on each route."""
    world = World(tmp_path, pair[0])
    yield world
    assert world.server.faults == []


class TestForgetting:
    """A removed item is gone everywhere, after one push, for good."""

    @pytest.mark.parametrize("kept", [0, 1, 3])
    def test_a_machine_removes_items_of_the_other(self, world: World, name: str, kept: int) -> None:
        """An empty file that is left is no reason to bring the items back."""
        laptop, desktop = world.laptop, world.desktop
        world.session(laptop, adding(name, "a", "b", *"cde"[:kept]))
        world.session(desktop, removing(name, "a", "b"))
        for machine in (laptop, desktop, laptop):
            assert world.head(name) == [*"cde"[:kept]]
            world.session(machine)
            assert machine.items(PROJECT, name) == [*"cde"[:kept]]

    def test_a_machine_removes_the_item_it_was_just_told_of(self, world: World, name: str) -> None:
        """The file is then as the machine had it before."""
        laptop, desktop = world.laptop, world.desktop
        world.session(desktop, adding(name, "Use tabs"))
        world.session(laptop, adding(name, "new"))
        gone, left = ("Use tabs", "new") if name == LOG else ("new", "Use tabs")
        world.session(desktop, removing(name, gone))
        world.session(laptop)
        assert laptop.items(PROJECT, name) == world.head(name) == [left]

    def test_a_machine_removes_its_own_newest(self, world: World) -> None:
        """Added in the session before, or in the same."""
        laptop, desktop = world.laptop, world.desktop
        world.session(laptop, adding(FACTS, "a", "b"))
        world.session(laptop, removing(FACTS, "b"), adding(FACTS, "c"), removing(FACTS, "c"))
        world.session(desktop)
        assert desktop.items(PROJECT, FACTS) == world.head(FACTS) == ["a"]

    def test_a_machine_removes_while_the_other_adds(self, world: World, name: str) -> None:
        """The desktop is locked out, and forgets what it has."""
        laptop, desktop = world.laptop, world.desktop
        world.session(laptop, adding(name, "a", "b"))
        world.session(desktop)
        world.pull(laptop)
        world.pull(desktop)
        removing(name, "a")(desktop)
        adding(name, "c")(laptop)
        world.push(desktop)
        world.push(laptop)
        assert world.head(name) == ["b", "c"]

    def test_a_machine_removes_after_the_server_was_killed(self, world: World, name: str) -> None:
        """The server remembers who has what, also over its end."""
        laptop, desktop = world.laptop, world.desktop
        world.session(laptop, adding(name, "a", "b"))
        world.pull(desktop)
        world.head(name)
        world.server.kill_and_restart()
        removing(name, "a", "b")(desktop)
        world.push(desktop)
        assert world.head(name) == []

    def test_a_change_from_before_another_push_is_uploaded(self, world: World, name: str) -> None:
        """A stock client pushes only files newer than its list says."""
        laptop, desktop = world.laptop, world.desktop
        world.session(laptop, adding(name, "both"))
        world.session(desktop)
        world.pull(laptop)
        adding(name, "before lunch")(laptop)
        world.later(45)
        world.session(desktop, adding(name, "during lunch"))
        world.push(laptop)
        for machine in (laptop, desktop):
            world.session(machine)
            assert sorted(machine.items(PROJECT, name)) == ["before lunch", "both", "during lunch"]


class TestOneIdInTwoPlaces:
    """A client id with two memories: nothing of either goes, and the person is told."""

    @pytest.fixture
    def twins(self, world: World) -> list[Machine]:
        """Two folders with one client id."""
        return [world.machine(f"folder {number}", client="laptop") for number in (1, 2)]

    @pytest.mark.parametrize("at_once", [True, False])
    def test_both_memories_stay(self, world: World, twins: list[Machine], name: str, at_once: bool) -> None:
        """If they work at once, the first to end gives away the lock of both."""
        for machine in twins:
            world.later()
            adding(name, f"from {machine.folder.name}")(machine)
            if at_once:
                world.pull(machine)
        for machine in twins:
            if not at_once:
                adding(name, "more")(machine)
                world.pull(machine)
            world.push(machine)
        assert {"from folder 1", "from folder 2"} <= set(world.head(name))
        [found] = world.server.ask("GET", "/status")[1]["inTwoPlaces"]
        assert (found["project"], found["clientId"], found["file"]) == (PROJECT, "laptop-0a1b2c3d", name)

    def test_both_stay_while_another_holds_the_lock(self, world: World, twins: list[Machine]) -> None:
        """The second upload was not made from the first, and does not replace it."""
        desktop = world.desktop
        world.session(desktop, adding(FACTS, "of the desktop"))
        world.pull(desktop)
        for machine in twins:
            adding(FACTS, f"from {machine.folder.name}")(machine)
            world.push(machine)
        world.push(desktop)
        assert sorted(world.head(FACTS)) == ["from folder 1", "from folder 2", "of the desktop"]

    def test_a_cloned_machine_takes_no_lines_from_the_other(self, world: World, twins: list[Machine]) -> None:
        """Of what both have the oldest lines go, and what only the other has stays."""
        first, second = twins
        world.session(first, adding(LOG, "1", "2", "3"))
        world.session(second)
        for machine in twins:
            world.pull(machine)
        for number in (1, 2):
            for machine in twins:
                adding(LOG, f"{machine.folder.name}.{number}")(machine)
                world.push(machine)
        wanted = ["folder 1.1", "folder 2.1", "folder 1.2", "folder 2.2"]
        assert world.head() == ["1", "2", "3", *wanted]
        removing(LOG, "1", "2")(second)
        world.push(second)
        assert world.head() == ["3", *wanted]

    def test_a_session_that_summarized_everything_is_no_second_place(self, world: World) -> None:
        """No old line is left, but the other files of the push are known."""
        laptop = world.laptop
        world.session(laptop, adding(LOG, "1", "2"), adding(ENTITIES, "a.py", "b.py"))
        acts = (adding(LOG, "3"), removing(LOG, "1", "2"), adding(ENTITIES, "a.py"))
        world.session(laptop, *acts)
        assert world.server.ask("GET", "/status")[1]["inTwoPlaces"] == []


def losing(name: str, fate: str) -> Loses:
    """Lose the answers to all downloads of a file."""
    return lambda request: fate if request.endswith(f"/files/{name}") else None


class TestCutOff:
    """An answer of a pull does not arrive: its items were not removed."""

    @pytest.mark.parametrize("route", [STRAIGHT, NODE_18], ids=lambda route: route.name)
    @pytest.mark.parametrize("file", FILES)
    @pytest.mark.parametrize("fate", ["reset", "half"])
    def test_nothing_is_removed_after_an_attempt(
        self, tmp_path: Path, route: Route, file: str, fate: str
    ) -> None:
        """The server sees the connection break."""
        world = World(tmp_path, route)
        self.cut_off(world, world.machine("desktop"), file, losing(file, fate))

    @pytest.mark.parametrize("fate", ["reset", "half", "503"])
    def test_nothing_is_removed_after_four_attempts(self, world: World, name: str, fate: str) -> None:
        """Nothing arrived in four attempts; the server can only tell by their number."""
        desktop = world.desktop
        self.cut_off(world, desktop, name, losing(name, fate))

    def test_nothing_is_removed_though_the_acquire_was_lost_as_well(self, world: World) -> None:
        """Two acquires look like two pulls; four attempts for one file are more."""
        desktop = world.desktop
        fates = iter(["reset"])

        def loses(request: str) -> str | None:
            if request.endswith("/lock"):
                return next(fates, None)
            return "reset" if request.endswith(FACTS) else None

        self.cut_off(world, desktop, FACTS, loses)

    def test_nothing_is_removed_if_the_server_dies_during_the_pull(self, world: World) -> None:
        """A file that is asked for again was lost, though no pull is known."""
        desktop = world.desktop
        self.cut_off(world, desktop, FACTS, losing(FACTS, "reset"), InProcess.kill_and_restart)

    def cut_off(
        self,
        world: World,
        desktop: Machine,
        name: str,
        loses: Loses,
        after_acquire: Callable[[InProcess], None] = lambda _: None,
    ) -> None:
        """The desktop's second pull fails; it pushes its old file, and then an addition."""
        laptop = world.machine("laptop")
        world.session(laptop, adding(name, "a"))
        world.session(desktop)
        world.session(laptop, adding(name, "b", "c"))
        world.way().loses = loses
        for answer in desktop.pull_steps(PROJECT):
            if answer.method == "POST":
                after_acquire(world.server)
        world.way().loses = losing_nothing
        assert desktop.items(PROJECT, name) == ["a"]
        world.push(desktop)
        assert world.head(name) == ["a", "b", "c"]
        adding(name, "d")(desktop)
        world.push(desktop)
        assert sorted(world.head(name)) == ["a", "b", "c", "d"]
        assert world.server.faults == []


def test_a_machine_whose_clock_is_ahead_gets_the_memory_of_the_others(world: World, name: str) -> None:
    """The push of its too new files shows that it lacks something."""
    ahead, other = world.machine("ahead", ahead=1800.0), world.machine("other")
    world.session(ahead, adding(name, "mine"))
    world.session(other, adding(name, "theirs"))
    world.session(ahead)
    adding(name, "offline")(ahead)
    world.session(ahead)
    assert sorted(world.head(name)) == ["mine", "offline", "theirs"]
    world.later(30)
    world.session(ahead)
    world.session(ahead)
    assert sorted(ahead.items(PROJECT, name)) == ["mine", "offline", "theirs"]


def test_files_written_after_the_clock_of_the_server_was_ahead_stay(world: World, name: str) -> None:
    """The next push sets the mtimes right again."""
    laptop, desktop = world.laptop, world.desktop
    world.session(laptop, adding(name, "before"))
    world.pull(laptop)
    adding(name, "in the future")(laptop)
    world.server.set_clock(YEARS)
    laptop.push(PROJECT)
    world.server.set_clock(-YEARS)
    world.later()
    adding(name, "offline")(laptop)
    world.session(laptop)
    assert laptop.items(PROJECT, name) == world.head(name) == ["before", "in the future", "offline"]
    assert milliseconds(world.mtime()) <= world.server.now() * 1000
    world.session(desktop, adding(name, "later"))
    world.session(laptop)
    assert laptop.items(PROJECT, name) == ["before", "in the future", "offline", "later"]


def test_an_empty_list_of_facts_is_as_the_plugin_writes_it(tmp_path: Path) -> None:
    """The simulator leaves an empty array and a newline, as the plugin does."""
    machine = Machine(tmp_path / "laptop", "http://mneme.invalid:3847")
    machine.remember(PROJECT, "a")
    machine.forget(PROJECT, "a")
    assert machine.read(PROJECT, FACTS) == b"[]\n"
