"""What happens to a person's memory when two machines work at once: nothing that reached the server is lost.

The stock client against the whole server in this process, on a fake clock. Each story is told three times: the server
runs through, is restarted between any two requests, and is killed between any two requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import InProcess
from tests.stock_client import Answer, Machine

PROJECT = "-home-ana-src-my.app"
LOG = "log.jsonl"
PATH = "/projects/-home-ana-src-my.app/files"
MINUTE = 60.0

Interruption = Callable[[InProcess], None]


def nothing(server: InProcess) -> None:
    """The server runs through."""


INTERRUPTIONS = [nothing, InProcess.restart, InProcess.kill_and_restart]


class World:
    """A server, its machines, and what they remember. Time passes only in `later`, and a little with each request."""

    def __init__(self, directory: Path, interrupt: Interruption = nothing, **options: Any) -> None:
        self.server = InProcess(directory / "server", **options)
        self._directory = directory
        self._interrupt = interrupt

    def machine(self, name: str, clock_offset: float = 0.0) -> Machine:
        """A machine of the person's, whose clock is ahead by so many seconds."""
        return Machine(
            self._directory / name,
            self.server.url,
            client_id=f"{name}-0a1b2c3d",
            clock_offset=clock_offset,
            delays=(),
            clock=self.server.now,
            connect=self.server.connect,
        )

    def later(self, minutes: float = 5.0) -> None:
        """Let time pass."""
        self.server.let_pass(minutes * MINUTE)

    def pull(self, machine: Machine) -> list[Answer]:
        """Start a session."""
        return machine.pull(PROJECT, self._between)

    def push(self, machine: Machine) -> list[Answer]:
        """End a session."""
        return machine.push(PROJECT, self._between)

    def note(self, machine: Machine, *contents: str) -> None:
        """Append to the log of a machine, as the agent does, with the time that its clock tells."""
        for content in contents:
            moment = datetime.fromtimestamp(machine.now(), UTC).isoformat(timespec="milliseconds")
            entry = {"ts": moment.replace("+00:00", "Z"), "type": "note", "content": content}
            machine.append(PROJECT, LOG, json.dumps(entry).encode() + b"\n")

    def summarize(self, machine: Machine, *gone: str) -> None:
        """Remove lines from the log of a machine, as the summarizer does."""
        lines = (machine.read(PROJECT, LOG) or b"").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["content"] not in gone]
        machine.write(PROJECT, LOG, b"".join(kept))

    def head(self, name: str = LOG) -> str | None:
        """What the server serves, to somebody who is no stock client."""
        status, body = self.server.ask("GET", f"{PATH}/{name}")
        return body["content"] if status == 200 else None

    def versions(self, name: str = LOG) -> list[dict[str, Any]]:
        """The history of a file, oldest first, with contents."""
        status, body = self.server.ask("GET", f"{PATH}/{name}/versions")
        found = body["versions"][::-1] if status == 200 else []
        for one in found:
            one["content"] = self.server.ask("GET", f"{PATH}/{name}/versions/{one['version']}")[1]["content"]
        return found

    def waiting(self) -> int:
        """How many uploads wait to be merged."""
        [project] = self.server.ask("GET", "/projects")[1]["projects"]
        return len(project["waiting"])

    def _between(self) -> None:
        self._interrupt(self.server)


def entries(log: str | bytes | None) -> list[str]:
    """The contents of the lines of a log."""
    return [json.loads(line)["content"] for line in (log or b"").splitlines()]


def local(machine: Machine) -> list[str]:
    """The contents of the lines of a machine's own log."""
    return entries(machine.read(PROJECT, LOG))


def statuses(answers: list[Answer], method: str) -> list[int]:
    """The statuses of the answers to requests of this method."""
    return [answer.status for answer in answers if answer.method == method]


@pytest.fixture(params=INTERRUPTIONS, ids=["runs through", "is restarted", "is killed"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A server that merges, as it comes."""
    world = World(tmp_path, request.param)
    yield world
    assert world.server.faults == []


@pytest.fixture
def laptop(world: World) -> Machine:
    """Its clock is a little ahead."""
    return world.machine("laptop", clock_offset=+40.0)


@pytest.fixture
def desktop(world: World) -> Machine:
    """Its clock is a little behind."""
    return world.machine("desktop", clock_offset=-25.0)


def share(world: World, first: Machine, *others: Machine, contents: tuple[str, ...]) -> None:
    """Let all machines have the same log, one session each."""
    world.pull(first)
    world.note(first, *contents)
    world.later()
    world.push(first)
    for machine in others:
        world.later()
        world.pull(machine)
        world.later()
        world.push(machine)
    world.later()


class TestOneAfterTheOther:
    """What worked before works as before."""

    def test_sessions_in_turn_make_no_merges(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """Each upload becomes the head, byte for byte, and what has not changed makes no version."""
        share(world, laptop, desktop, contents=("one", "two"))
        for number, machine in enumerate((laptop, desktop, laptop, desktop)):
            world.pull(machine)
            world.note(machine, f"note {number}")
            world.later()
            world.push(machine)
            assert world.head() == (machine.read(PROJECT, LOG) or b"").decode()
            world.later()
        assert [one["kind"] for one in world.versions()] == ["upload"] * 5

    def test_a_session_that_changes_nothing_makes_no_version(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """Though a push uploads all that there is."""
        share(world, laptop, desktop, contents=("one",))
        before = world.versions()
        for machine in (laptop, desktop, laptop):
            world.pull(machine)
            world.later()
            assert statuses(world.push(machine), "PUT") == [200]
            world.later()
        assert world.versions() == before


class TestALockThatWasOutlived:
    """The stock client sends no heartbeat: a long session ends without its lock."""

    def test_its_upload_is_kept_and_merged_at_once(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """It is told 403, as ever, and yet the other machine has the session at its next pull."""
        share(world, laptop, desktop, contents=("one",))
        world.pull(laptop)
        world.note(laptop, "a long session")
        world.later(40)
        [refused] = [answer for answer in world.push(laptop) if answer.method == "PUT"]
        assert (refused.status, refused.body["error"]) == (403, "No lock held - acquire lock before writing")
        assert (refused.body["rescued"], refused.body["version"]) == (True, 2)
        assert entries(world.head()) == ["one", "a long session"]
        world.later()
        world.pull(desktop)
        assert local(desktop) == ["one", "a long session"]

    def test_its_own_next_pull_does_not_overwrite_it(self, world: World, laptop: Machine) -> None:
        """That was how the session was lost."""
        share(world, laptop, contents=("one",))
        world.pull(laptop)
        world.note(laptop, "a long session")
        world.later(40)
        world.push(laptop)
        world.later()
        world.pull(laptop)
        assert local(laptop) == ["one", "a long session"]

    def test_another_machine_holds_the_lock_now(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The upload waits until that session ends; the holder sees nothing of it before."""
        share(world, laptop, desktop, contents=("one",))
        world.pull(laptop)
        world.note(laptop, "a long session")
        world.later(40)
        world.pull(desktop)
        world.note(desktop, "the next session")
        world.later()
        [refused] = [answer for answer in world.push(laptop) if answer.method == "PUT"]
        assert refused.body["error"] == "Lock held by different client"
        assert refused.body["rescued"] is True
        assert refused.body["lock"]["clientId"] == desktop.client_id
        assert (entries(world.head()), world.waiting()) == (["one"], 1)
        world.later()
        world.push(desktop)
        assert world.waiting() == 0
        assert entries(world.head()) == ["one", "a long session", "the next session"]


class TestLockedOut:
    """A second machine starts a session while the first one has the lock, and works on what it has."""

    @pytest.mark.parametrize("holder_ends_first", [True, False])
    def test_both_sessions_are_kept(
        self, world: World, laptop: Machine, desktop: Machine, holder_ends_first: bool
    ) -> None:
        """Whichever ends first; and both machines have both at their next pull."""
        share(world, laptop, desktop, contents=("one",))
        world.pull(laptop)
        assert statuses(world.pull(desktop), "POST") == [409]
        world.note(laptop, "by the holder")
        world.later(2)
        world.note(desktop, "locked out")
        world.later()
        for machine in (laptop, desktop) if holder_ends_first else (desktop, laptop):
            world.push(machine)
            world.later()
        assert entries(world.head()) == ["one", "by the holder", "locked out"]
        for machine in (laptop, desktop):
            world.pull(machine)
            assert local(machine) == ["one", "by the holder", "locked out"]
            world.push(machine)
            world.later()

    def test_who_was_idle_changes_nothing(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """What it uploads is what it had before, and brings nothing back that the holder has removed."""
        share(world, laptop, desktop, contents=("one", "two"))
        world.pull(laptop)
        world.pull(desktop)
        world.summarize(laptop, "one")
        world.note(laptop, "three")
        world.later()
        world.push(laptop)
        world.later()
        before = world.versions()
        assert statuses(world.push(desktop), "PUT") == [403]
        assert world.versions() == before
        assert entries(world.head()) == ["two", "three"]
        world.later()
        world.pull(desktop)
        assert local(desktop) == ["two", "three"]

    def test_the_holder_summarizes_what_the_other_still_has(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """The removed lines stay away, the added ones stay."""
        share(world, laptop, desktop, contents=("one", "two", "three"))
        world.pull(desktop)
        world.pull(laptop)
        world.note(laptop, "locked out")
        world.summarize(desktop, "one", "two")
        world.later()
        world.push(laptop)
        world.later()
        world.push(desktop)
        assert entries(world.head()) == ["three", "locked out"]


class TestTwoSessionsOnOneMachine:
    """They share a lock, and the first to end takes it from the other."""

    def test_another_machine_gets_the_lock_in_between(
        self, world: World, laptop: Machine, desktop: Machine
    ) -> None:
        """And what all three sessions wrote is on both machines in the end."""
        share(world, laptop, desktop, contents=("one",))
        world.pull(laptop)
        world.pull(laptop)
        world.note(laptop, "first session")
        world.later()
        world.push(laptop)
        world.later()
        world.pull(desktop)
        world.note(desktop, "desktop")
        world.later()
        world.note(laptop, "second session")
        world.later()
        world.push(laptop)
        world.later()
        world.push(desktop)
        assert entries(world.head()) == ["one", "first session", "desktop", "second session"]


class TestBeforeTheFirstSync:
    """Both machines have a memory before either has seen the server."""

    def test_both_are_kept(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """The second one's upload is merged without a base: nothing is deleted, all is in order."""
        world.note(desktop, "desktop 1")
        world.later()
        world.note(laptop, "laptop 1")
        world.later()
        world.pull(laptop)
        world.push(laptop)
        world.later()
        world.note(desktop, "desktop 2")
        world.later()
        world.pull(desktop)
        [merged] = [answer for answer in world.push(desktop) if answer.method == "PUT"]
        assert (merged.status, merged.body["success"], merged.body["merged"]) == (200, True, True)
        assert entries(world.head()) == ["desktop 1", "laptop 1", "desktop 2"]
        world.later()
        for machine in (laptop, desktop):
            world.pull(machine)
            assert local(machine) == ["desktop 1", "laptop 1", "desktop 2"]
            world.push(machine)


class TestOffline:
    """Sessions begin without the server and end with it."""

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_both_come_back_in_either_order(
        self, world: World, laptop: Machine, desktop: Machine, order: tuple[int, int]
    ) -> None:
        """Neither has a lock when it is back, and both are merged."""
        machines = (laptop, desktop)
        share(world, *machines, contents=("one", "two"))
        world.note(laptop, "laptop offline")
        world.later()
        world.note(desktop, "desktop offline")
        world.summarize(desktop, "one")
        for index in order:
            world.later()
            assert statuses(world.push(machines[index]), "PUT") == [403]
        assert entries(world.head()) == ["two", "laptop offline", "desktop offline"]
        world.later()
        for machine in machines:
            world.pull(machine)
            assert local(machine) == ["two", "laptop offline", "desktop offline"]
            world.push(machine)
            world.later()

    def test_the_server_is_gone_at_the_end_of_a_session(self, world: World, laptop: Machine) -> None:
        """The upload of the next session brings it."""
        share(world, laptop, contents=("one",))
        world.pull(laptop)
        world.note(laptop, "two")
        with world.server.unreachable(), pytest.raises(Exception, match="GET /health"):
            laptop.push(PROJECT)
        world.later(60)
        world.pull(laptop)
        world.note(laptop, "three")
        world.later()
        world.push(laptop)
        assert entries(world.head()) == ["one", "two", "three"]


class TestOtherFiles:
    """Each is merged by what it is."""

    def test_all_four_are_merged(self, world: World, laptop: Machine, desktop: Machine) -> None:
        """What both machines added to each is in each; of text that both changed, the later one counts."""
        first, second = ({name: _addition(name, who) for name in OTHERS} for who in ("laptop", "desktop"))
        base = {name: _addition(name, "both") for name in OTHERS}
        world.pull(laptop)
        for name, addition in base.items():
            laptop.write(PROJECT, name, _file(name, addition))
        world.later()
        world.push(laptop)
        world.later()
        world.pull(desktop)
        world.pull(laptop)
        for name in OTHERS:
            laptop.write(PROJECT, name, _file(name, base[name], first[name]))
            desktop.write(PROJECT, name, _file(name, base[name], second[name]))
        world.later()
        assert statuses(world.push(laptop), "PUT") == [403] * 4
        assert statuses(world.push(desktop), "PUT") == [200] * 4
        for name in OTHERS[:-1]:
            merged = json.loads(world.head(name) or "")
            wanted = [json.loads(_file(name, base[name], first[name], second[name]))]
            assert merged in [*wanted, json.loads(_file(name, base[name], second[name], first[name]))], name
        assert (
            world.head("summary.md") == _file("summary.md", base["summary.md"], second["summary.md"]).decode()
        )


OTHERS = ("summary.json", "remembered.json", "entities.json", "summary.md")


def _addition(name: str, who: str) -> Any:
    if name == "entities.json":
        return {f"{who}.py": {"mentions": 1, "lastSeen": "2026-03-10T09:00:00.000Z", "contexts": []}}
    if name == "remembered.json":
        return [{"ts": "2026-03-10T09:00:00.000Z", "type": "fact", "content": who}]
    return [{"date": "2026-03-10", "summary": who}]


def _file(name: str, *additions: Any) -> bytes:
    if name == "entities.json":
        whole: Any = {"files": {key: value for one in additions for key, value in one.items()}}
    elif name == "remembered.json":
        whole = [item for one in additions for item in one]
    elif name == "summary.json":
        whole = {"projectContext": "an app", "recentWork": [item for one in additions for item in one]}
    else:
        return b"".join(f"{one}\n".encode() for one in additions)
    return json.dumps(whole, indent=2).encode()


class TestLists:
    """Who is told which mtimes."""

    def test_without_help_an_older_change_is_not_uploaded(self, tmp_path: Path) -> None:
        """`"stockPushHelp": false` is the plain contract, with its loss."""
        world = World(tmp_path, stock_push_help=False)
        laptop, desktop = world.machine("laptop"), world.machine("desktop")
        share(world, laptop, desktop, contents=("one",))
        world.pull(laptop)
        world.note(laptop, "before lunch")
        world.later(45)
        world.pull(desktop)
        world.note(desktop, "during lunch")
        world.later()
        world.push(desktop)
        world.later()
        assert statuses(world.push(laptop), "PUT") == []
