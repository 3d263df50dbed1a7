"""Random schedules: in the end all machines have every item that nobody removed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mneme.client.sync import Report
from tests import stock_client
from tests.client.lines import Ahead, Asked, InProcessLine, Killed
from tests.client.machines import ENTITIES, Machine
from tests.in_process import InProcess
from tests.often import examples

PROJECT, LOG = "demo", "log.jsonl"
OFFSETS = {"laptop": 7 * 3600.0, "desktop": -20.0, "tablet": 0.0}
STEP = 60.0

machines = st.sampled_from(sorted(OFFSETS))
INTERRUPTIONS: dict[str, Callable[[InProcess], None]] = {
    "nothing": lambda server: None,
    "restart": InProcess.restart,
    "kill": InProcess.kill_and_restart,
}
interruptions = st.sampled_from(sorted(INTERRUPTIONS))


@frozen
class Now:
    """The true time."""

    server: InProcess

    def seconds(self) -> float:
        """See `WallClock`."""
        return self.server.now()

    def advance(self, amount: float) -> None:
        """Let time pass."""
        self.server.let_pass(amount)


def contents(log: bytes | str | None) -> list[str]:
    """The contents of the lines of a log."""
    return [json.loads(line)["content"] for line in (log or b"").splitlines()]


def mentions(content: bytes | None) -> int:
    """How often the one entity is mentioned."""
    return int(json.loads(content)["files"]["a.py"]["mentions"]) if content else 0


class Schedules(RuleBasedStateMachine):
    """Sessions begin, end, overlap; lines are appended, and summarized away; the server comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.server = InProcess(self.directory / "server", ttl_seconds=20 * STEP)
        self.lines = {name: InProcessLine(self.server, Now(self.server)) for name in OFFSETS}
        self.machines = {
            name: Machine(
                self.directory / name, self.lines[name], Ahead(Now(self.server), ahead), self.server.url
            )
            for name, ahead in OFFSETS.items()
        }
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.number = 0
        self.mentions = 0

    def line(self, name: str, now: float) -> bytes:
        """A line that nobody has written before."""
        self.number += 1
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        entry = {"ts": moment, "type": "note", "content": f"{name} {self.number}"}
        return json.dumps(entry).encode() + b"\n"

    @initialize()
    def there_is_a_memory(self) -> None:
        """A few lines, on all machines."""
        self.lines_are_appended("laptop", 3)
        self.something_is_mentioned("laptop", 1)
        self.everybody_has_a_turn()

    @rule(name=machines, count=st.integers(1, 3))
    def lines_are_appended(self, name: str, count: int) -> None:
        """Each with the time that the machine's clock tells."""
        machine = self.machines[name]
        lines = [self.line(name, machine.wall.seconds()) for _ in range(count)]
        machine.append(*lines)
        self.added |= set(contents(b"".join(lines)))
        self.server.let_pass(STEP)

    @rule(name=machines, share=st.floats(0, 1))
    def lines_are_summarized(self, name: str, share: float) -> None:
        """The oldest lines go, but for the last: an empty log counts as damaged."""
        machine = self.machines[name]
        gone = machine.lines()[:-1][: int(len(machine.lines()) * share)]
        if gone:
            machine.remove(*gone)
            self.removed |= set(contents(b"".join(gone)))
        self.server.let_pass(STEP)

    @rule(name=machines, count=st.integers(1, 3))
    def something_is_mentioned(self, name: str, count: int) -> None:
        """So many times more than on this machine before."""
        machine = self.machines[name]
        self.number += 1
        self.mentions += count
        entity = {"mentions": mentions(machine.read(ENTITIES)) + count, "lastSeen": f"at {self.number}"}
        machine.write(json.dumps({"files": {"a.py": entity}}).encode(), ENTITIES)
        self.server.let_pass(STEP)

    @rule(name=machines, interruption=interruptions)
    def session_begins(self, name: str, interruption: str) -> None:
        """The server may come and go between any two requests."""
        self.act(name, Machine.pull, interruption)

    @rule(name=machines, interruption=interruptions)
    def session_ends(self, name: str, interruption: str) -> None:
        """The server may come and go between any two requests."""
        self.act(name, Machine.push, interruption)

    @rule(name=machines)
    def session_goes_on(self, name: str) -> None:
        """Changes are sent in the middle of a session."""
        self.act(name, Machine.send, "nothing")

    @rule(steps=st.integers(1, 25))
    def time_passes(self, steps: int) -> None:
        """Locks expire, and are reaped."""
        self.server.let_pass(steps * STEP)

    @rule(name=machines, other=machines, at=st.integers(0, 8))
    def sessions_overlap(self, name: str, other: str, at: int) -> None:
        """Another machine ends a session while one is at it, and its lock has expired."""
        count = 0

        def meanwhile(asked: Asked) -> None:
            nonlocal count
            count += 1
            if count == at and name != other:
                self.server.let_pass(21 * STEP)
                self.machines[other].push()
                self.machines[other].pull()

        self.lines[name].after = meanwhile
        self.machines[name].push()
        self.lines[name].after = lambda asked: None

    def act(self, name: str, act: Callable[[Machine], Report], interruption: str) -> None:
        """Let a machine do something."""
        self.lines[name].after = lambda asked: INTERRUPTIONS[interruption](self.server)
        act(self.machines[name])
        self.lines[name].after = lambda asked: None
        self.server.let_pass(STEP)

    def head(self) -> list[str]:
        """The lines that the server has."""
        status, body = self.server.ask("GET", f"/projects/{PROJECT}/files/{LOG}")
        return contents(body["content"]) if status == 200 else []

    @rule()
    def everybody_has_a_turn(self) -> None:
        """All that was added is everywhere then, once, but for what was removed."""
        self.server.let_pass(21 * STEP)
        for machine in [*self.machines.values(), *self.machines.values()]:
            machine.pull()
            machine.push()
            self.server.let_pass(STEP)
        self.check(self.head())

    def check(self, head: list[str]) -> None:
        """Removed items are gone everywhere; mentions are counted once."""
        assert sorted(head) == sorted(self.added - self.removed)
        assert {mentions(machine.read(ENTITIES)) for machine in self.machines.values()} == {self.mentions}
        for machine in self.machines.values():
            assert contents(machine.read()) == head

    def teardown(self) -> None:
        """Whatever the schedule was, it ends like this."""
        try:
            self.everybody_has_a_turn()
            assert self.server.faults == []
        finally:
            shutil.rmtree(self.directory)


@pytest.mark.parametrize("at", range(1, 7))
def test_what_a_kept_upload_counted_is_counted_once_whenever_it_is_merged(at: int) -> None:
    """Another machine has a session after any of the requests of a push."""
    schedule = Schedules()
    schedule.there_is_a_memory()
    schedule.session_goes_on("laptop")
    for _ in range(2):
        schedule.session_goes_on("tablet")
        schedule.something_is_mentioned("tablet", 3)
    schedule.sessions_overlap("tablet", "desktop", at)
    schedule.teardown()


class RoughSchedules(Schedules):
    """Processes die, a stock client takes part, and the server is restored from backups.

    What was removed may come back then. Nothing is lost that a machine of ours has, and no line is there twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stock = stock_client.Machine(
            self.directory / "stock",
            self.server.url,
            client_id="stock-0a1b2c3d",
            delays=(),
            clock=self.server.now,
            connect=self.server.connect,
        )
        self.unsent: set[str] = set()
        """The lines of the stock client that are nowhere else."""

    @rule(name=machines, at=st.integers(0, 10), answered=st.booleans(), pulls=st.booleans())
    def process_dies(self, name: str, at: int, answered: bool, pulls: bool) -> None:
        """Before a request, or before its answer."""
        count = 0

        def die(asked: Asked) -> None:
            nonlocal count
            count += 1
            if count == at + 1:
                raise Killed

        line = self.lines[name]
        line.before, line.after = (line.before, die) if answered else (die, line.after)
        session = self.machines[name].session()
        with suppress(Killed):
            session.pull() if pulls else session.push()
        line.before = line.after = lambda asked: None
        self.server.let_pass(STEP)

    @rule()
    def stock_client_pulls(self) -> None:
        """The stock client overwrites unsent changes."""
        self.stock.pull(PROJECT)
        self.unsent &= set(contents(self.stock.read(PROJECT, LOG)))
        self.server.let_pass(STEP)

    @rule()
    def stock_client_pushes(self) -> None:
        """Accepted or refused, what it uploads is in the server's hands."""
        answers = self.stock.push(PROJECT)
        if any(answer.method == "PUT" for answer in answers):
            self.added |= self.unsent
            self.unsent.clear()
        self.server.let_pass(STEP)

    @rule()
    def stock_client_appends(self) -> None:
        """A line that counts once it was sent."""
        line = self.line("stock", self.server.now())
        self.stock.append(PROJECT, LOG, line)
        self.unsent |= set(contents(line))
        self.server.let_pass(STEP)

    @rule()
    def a_backup_is_made(self) -> None:
        """With the server running."""
        shutil.rmtree(self.directory / "backup", ignore_errors=True)
        shutil.copytree(self.server.directory, self.directory / "backup")

    @precondition(lambda self: (self.directory / "backup").exists())
    @rule()
    def the_server_is_put_back(self) -> None:
        """Uploads of the stock client since then are lost, unless a mneme machine has them."""
        self.server.stop()
        shutil.rmtree(self.server.directory)
        shutil.copytree(self.directory / "backup", self.server.directory)
        self.server.start()
        here = {line for machine in self.machines.values() for line in contents(machine.read())}
        self.added = {line for line in self.added if line in here or not line.startswith("stock")}

    def check(self, head: list[str]) -> None:
        """Nothing is lost, and nothing doubled."""
        assert self.added - self.removed <= set(head)
        assert len(head) == len(set(head))
        for machine in self.machines.values():
            assert contents(machine.read()) == head


TestSchedules = Schedules.TestCase
TestSchedules.settings = examples(3, 500, steps=60)
TestRoughSchedules = RoughSchedules.TestCase
TestRoughSchedules.settings = examples(3, 500, steps=60)
