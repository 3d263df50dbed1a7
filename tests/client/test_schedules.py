"""Random schedules: in the end all machines have every item that nobody removed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from attrs import frozen
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mneme.client.sync import Report
from mneme.model import ProjectId
from tests import stock_client
from tests.client.lines import Ahead, Asked, InProcessLine, Killed
from tests.client.machines import ENTITIES, Machine
from tests.in_process import InProcess
from tests.often import examples

PROJECT, LOG = "demo", "log.jsonl"
OFFSETS = {"laptop": 7 * 3600.0, "desktop": -20.0, "tablet": 0.0, "mac": 10.0}
PATHS = dict.fromkeys(OFFSETS, ProjectId(PROJECT)) | {"mac": ProjectId("-Users-ana-demo")}
REMOTE = ProjectId("github.com/ana/demo")
LINKS = [(PROJECT, REMOTE.value), ("-Users-ana-demo", REMOTE.value), (REMOTE.value, PROJECT)]
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


def mentions(content: bytes | None) -> dict[str, int]:
    """How often each entity is mentioned."""
    files = json.loads(content)["files"] if content else {}
    return {name: entity["mentions"] for name, entity in files.items()}


class Schedules(RuleBasedStateMachine):
    """Sessions begin, end, overlap; lines are appended, and summarized away; the server comes and goes.

    One machine has another path than the others. Each may go by its remote at any time, and a person links ids.
    """

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
        for name, machine in self.machines.items():
            machine.project = PATHS[name]
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.number = 0
        self.mentions: Counter[str] = Counter()
        """By the path of the machines that mention the entity."""
        self.links: list[tuple[str, str]] = []

    def line(self, name: str, now: float) -> bytes:
        """A line that nobody has written before."""
        self.number += 1
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        entry = {"ts": moment, "type": "note", "content": f"{name} {self.number}"}
        return json.dumps(entry).encode() + b"\n"

    @initialize()
    def there_is_a_memory(self) -> None:
        """A few lines, on all machines."""
        for name in ("laptop", "mac"):
            self.lines_are_appended(name, 3)
            self.something_is_mentioned(name, 1)
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
        machine, path = self.machines[name], PATHS[name].value
        self.number += 1
        self.mentions[path] += count
        files = json.loads(machine.read(ENTITIES) or b'{"files": {}}')["files"]
        before = files[path]["mentions"] if path in files else 0
        files[path] = {"mentions": before + count, "lastSeen": f"at {self.number}"}
        machine.write(json.dumps({"files": files}).encode(), ENTITIES)
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

    @rule(name=machines)
    def machine_goes_by_its_remote(self, name: str) -> None:
        """From its next session on."""
        self.machines[name].project, self.machines[name].path_id = REMOTE, PATHS[name]

    @rule(link=st.sampled_from(LINKS))
    def ids_are_linked(self, link: tuple[str, str]) -> None:
        """By a person, in the wrong direction perhaps."""
        old, new = map(self.project_of, link)
        if old != new and self.server.link(old, link[1]):
            self.links.append(link)
        self.server.let_pass(STEP)

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

    def head(self, project: str) -> list[str]:
        """The lines that the server has."""
        status, body = self.server.ask("GET", f"/projects/{quote(project, safe='')}/files/{LOG}")
        return contents(body["content"]) if status == 200 else []

    def project_of(self, name: str) -> str:
        """The project that the server knows by this name; the name itself without one."""
        _, body = self.server.ask("GET", "/projects")
        found = (str(one["id"]) for one in body["projects"] if name in (one["id"], *one["aliases"]))
        return next(found, name)

    @rule()
    def everybody_has_a_turn(self) -> None:
        """All that was added is everywhere then, once, but for what was removed."""
        self.server.let_pass(21 * STEP)
        for machine in [*self.machines.values(), *self.machines.values()]:
            machine.pull()
            machine.push()
            self.server.let_pass(STEP)
        by_project: dict[str, list[str]] = {}
        for name, machine in self.machines.items():
            by_project.setdefault(self.project_of(machine.project.value), []).append(name)
        for project, names in by_project.items():
            # An empty log counts as damaged, and is not sent. Linked logs need not end with the same line.
            if self.added_by(names) - self.removed:
                self.check(self.head(project), names)

    def added_by(self, names: list[str]) -> set[str]:
        """The lines that these machines have added."""
        return {line for line in self.added if line.partition(" ")[0] in names}

    def check(self, head: list[str], names: list[str]) -> None:
        """Removed items are gone everywhere; mentions are counted once."""
        assert sorted(head) == sorted(self.added_by(names) - self.removed)
        paths = {PATHS[name].value for name in names}
        counted = {path: self.mentions[path] for path in paths if self.mentions[path]}
        for name in names:
            assert mentions(self.machines[name].read(ENTITIES)) == counted
            assert contents(self.machines[name].read()) == head

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
        self.links_are_made_again()

    def links_are_made_again(self) -> None:
        """By whoever reads that the agent offers them."""
        self.server.let_pass(21 * STEP)
        for machine in self.machines.values():
            last = machine.folder.last_id
            if last == REMOTE and machine.path_id:
                self.ids_are_linked((machine.path_id.value, REMOTE.value))
        for link in list(self.links):
            self.ids_are_linked(link)

    def check(self, head: list[str], names: list[str]) -> None:
        """Nothing is lost, and nothing doubled."""
        assert self.added_by([*names, "stock"] if "laptop" in names else names) - self.removed <= set(head)
        assert len(head) == len(set(head))
        for name in names:
            assert contents(self.machines[name].read()) == head


TestSchedules = Schedules.TestCase
TestSchedules.settings = examples(3, 500, steps=60)
TestRoughSchedules = RoughSchedules.TestCase
TestRoughSchedules.settings = examples(3, 500, steps=60)
