"""Three machines in any schedule: added items are there, and removed ones stay away.

Each machine reaches the server in a way of its own, and has an id of its own for the project, perhaps, until both are
linked. The schedules forget and summarize as the plugin does. Of rough
days, on which the server is killed, files are edited there by hand, or a machine stays away for longer than its base is
kept, only the first is asked: nothing is lost.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from attrs import Factory, define
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.in_process import InProcess
from tests.keeping import KEEP_NONE
from tests.often import examples
from tests.proxies import ROUTES, Route, Way
from tests.proxies import nothing as losing_nothing
from tests.stock_client import Answer, Machine, NoAnswer
from tests.world import FILES, LOG, PROJECT, REMOVE, World, adding, nothing

OFFSETS = {"laptop": +20.0, "desktop": -20.0, "server": 0.0}
"""Seconds by which each machine's clock is ahead: less than what passes between two steps of theirs."""
STEP = 60.0
FAR_AHEAD = 30 * STEP
TTL_STEPS = 20

machines = st.sampled_from(sorted(OFFSETS))
files = st.sampled_from(FILES)
OTHER_IDS = ("-Users-ana-app", "github.com/ana/app")
ids = st.sampled_from([PROJECT, *OTHER_IDS])
INTERRUPTIONS: dict[str, Callable[[InProcess], object]] = {
    "nothing": nothing,
    "restart": InProcess.restart,
    "kill": InProcess.kill_and_restart,
}
interruptions = st.sampled_from(["nothing", "nothing", "restart", "kill"])
fates = st.sampled_from([None, None, "reset", "half", "503"])


@define
class Mind:
    """The items that a machine is known to have, by file."""

    machine: Machine
    way: Way
    project: str
    had: dict[str, set[str]] = Factory(lambda: {name: set[str]() for name in FILES})
    """Those that it had when it last fetched or uploaded the file."""

    def items(self, name: str) -> set[str]:
        """Those that are in the file now."""
        return set(self.machine.items(self.project, name))


class Schedules(RuleBasedStateMachine):
    """Sessions begin, end, overlap, are cut short, find no server; items are added, and removed."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.world = World(self.directory, ttl_seconds=TTL_STEPS * STEP)
        self.server = self.world.server
        self.minds: dict[str, Mind] = {}
        self.is_rough = False
        self.names: dict[str, set[str]] = {}
        """The ids that are names of one project, for each id."""
        self.sent: dict[str, dict[str, set[str]]] = {}
        """The items that have reached the server, by id and file."""
        self.removed: dict[str, set[str]] = {name: set() for name in FILES}
        """The items that a machine has removed which had them, and said so to the server."""
        self.number = 0

    @initialize(
        routes=st.lists(st.sampled_from(ROUTES), min_size=3, max_size=3),
        is_rough=st.booleans(),
        ahead=st.sampled_from([0.0, 0.0, FAR_AHEAD]),
        ids=st.lists(st.sampled_from([PROJECT, PROJECT, *OTHER_IDS]), min_size=3, max_size=3),
    )
    def machines_are_set_up(self, routes: list[Route], is_rough: bool, ahead: float, ids: list[str]) -> None:
        """Machines on the same route share its connections."""
        self.is_rough = is_rough
        for one in (PROJECT, *OTHER_IDS):
            self.names[one], self.sent[one] = {one}, {name: set() for name in FILES}
        for (name, offset), route, project in zip(OFFSETS.items(), routes, ids, strict=True):
            machine = self.world.machine(name, ahead=offset or ahead, retries=1, route=route)
            self.minds[name] = Mind(machine, self.world.way(route), project)

    @rule(alias=ids, project=ids, interruption=interruptions)
    def ids_are_linked(self, alias: str, project: str, interruption: str) -> None:
        """Unless they are one already; each id may be the alias of several others before."""
        if project in self.names[alias]:
            return
        # As the command does: an alias stays with its project.
        alias = self.project_of(alias)
        if self.server.link(alias, project):
            names, sent = self.names[alias] | self.names[project], self.sent[project]
            for name in FILES:
                sent[name] |= self.sent[alias][name]
            for one in names:
                self.names[one], self.sent[one] = names, sent
        self.interrupt(interruption)
        self.later()

    def project_of(self, name: str) -> str:
        """The project that the server knows by this name; the name itself without one."""
        _, body = self.server.ask("GET", "/projects")
        found = (str(one["id"]) for one in body["projects"] if name in (one["id"], *one["aliases"]))
        return next(found, name)

    @rule(name=machines, interruption=interruptions, lost=st.sampled_from([None, None, *FILES]), fate=fates)
    def session_begins(self, name: str, interruption: str, lost: str | None, fate: str | None) -> None:
        """A pull may overwrite files that never reached the server."""
        mind = self.minds[name]
        self.later()
        mind.way.loses = lambda request: fate if lost and request.endswith(f"/files/{lost}") else None
        for answer in mind.machine.pull_steps(mind.project):
            *_, file = answer.path.split("/")
            if answer.method == "GET" and file in FILES and answer.ok:
                mind.had[file] = mind.items(file)
            self.interrupt(interruption)
        mind.way.loses = losing_nothing

    @rule(name=machines, interruption=interruptions)
    def session_ends(self, name: str, interruption: str) -> None:
        """Accepted or refused, what was uploaded is in the server's hands."""
        self.later()
        mind = self.minds[name]
        for answer in mind.machine.push_steps(mind.project):
            self.note_sent(mind, answer)
            self.interrupt(interruption)

    @rule(name=machines)
    def session_begins_without_the_server(self, name: str) -> None:
        """Nothing is heard of it."""
        self.later()
        with self.server.unreachable():
            try:
                self.minds[name].machine.pull(self.minds[name].project)
            except NoAnswer:
                return
        raise AssertionError("the server was to be unreachable")

    @rule(name=machines)
    def session_begins_and_its_process_dies(self, name: str) -> None:
        """With the lock, and before it has asked for anything else."""
        self.later()
        steps = self.minds[name].machine.pull_steps(self.minds[name].project)
        for _ in ("health", "acquire"):
            next(steps)

    @rule(name=machines, file=files, count=st.integers(1, 3))
    def items_are_added(self, name: str, file: str, count: int) -> None:
        """Each with the time that the machine's clock tells."""
        self.number += 1
        items, mind = (f"{name} {self.number}.{n}" for n in range(count)), self.minds[name]
        adding(file, *items, project=mind.project)(mind.machine)
        self.later()

    @rule(name=machines, share=st.floats(0, 1))
    def lines_are_summarized(self, name: str, share: float) -> None:
        """The oldest go."""
        machine, project = self.minds[name].machine, self.minds[name].project
        machine.summarize(project, int(len(machine.items(project, LOG)) * share))
        self.later()

    @rule(name=machines, file=st.sampled_from(sorted(REMOVE)), data=st.data())
    def items_are_removed(self, name: str, file: str, data: st.DataObject) -> None:
        """Any of them, all perhaps."""
        machine, project = self.minds[name].machine, self.minds[name].project
        items = machine.items(project, file)
        if items:
            REMOVE[file](machine, project, *data.draw(st.sets(st.sampled_from(items), min_size=1)))
        self.later()

    @rule(file=files, project=ids)
    def somebody_looks(self, file: str, project: str) -> None:
        """At a file, with curl: whoever holds the lock has not read it."""
        self.world.head(file, project)

    @precondition(lambda self: self.is_rough)
    @rule()
    def somebody_edits(self) -> None:
        """A line is appended to the log on the server, in place."""
        for head in self.server.directory.glob(f"projects/{PROJECT}/{LOG}"):
            self.number += 1
            moment = datetime.fromtimestamp(self.server.now(), UTC).isoformat(timespec="milliseconds")
            content = f"by hand {self.number}"
            line = json.dumps({"ts": moment, "type": "note", "content": content}).encode() + b"\n"
            head.write_bytes(head.read_bytes() + line)
            self.server.ask("GET", f"/projects/{PROJECT}/files")
            self.sent[PROJECT][LOG].add(content)
        self.later()

    @rule(days=st.sampled_from([0, 1, 20, 40]))
    def history_is_pruned(self, days: int) -> None:
        """The server was off for some days before."""
        if days <= 1 or self.is_rough:
            self.server.be_off(days * 24 * 3600.0)
        self.server.prune(KEEP_NONE)

    @rule(steps=st.integers(1, 25))
    def time_passes(self, steps: int) -> None:
        """Locks expire, and are reaped."""
        self.server.let_pass(steps * STEP)

    @rule()
    def all_push_and_pull(self) -> None:
        """The heads are right, and on each machine within two starts."""
        for mind in self.minds.values():
            self.later()
            for answer in mind.machine.push_steps(mind.project):
                self.note_sent(mind, answer)
        self.server.let_pass((TTL_STEPS + 1) * STEP)
        heads = {
            one: {name: set(self.world.head(name, one)) for name in FILES} for one in (PROJECT, *OTHER_IDS)
        }
        for one, of_files in heads.items():
            for name, head in of_files.items():
                assert self.sent[one][name] - self.removed[name] <= head, name
                assert self.is_rough or not head & self.removed[name], name
        for mind in self.minds.values():
            # By the first push a machine whose clock is ahead shows what it lacks.
            for _ in range(2):
                self.server.let_pass(FAR_AHEAD + STEP)
                mind.machine.pull(mind.project)
                self.later()
                for answer in mind.machine.push_steps(mind.project):
                    self.note_sent(mind, answer)
            for name in FILES:
                mind.had[name] = mind.items(name)
                assert mind.had[name] >= heads[mind.project][name], name
                assert self.is_rough or mind.had[name] == heads[mind.project][name], name

    def interrupt(self, interruption: str) -> None:
        """Do it to the server; one that is killed knows less of what was received."""
        if interruption != "kill" or self.is_rough:
            INTERRUPTIONS[interruption](self.server)

    def note_sent(self, mind: Mind, answer: Answer) -> None:
        """Note the uploaded items, and those that were removed."""
        if answer.method != "PUT":
            return
        assert answer.status == 200 or answer.body["rescued"] is True
        *_, file = answer.path.split("/")
        had, items = mind.had[file], mind.items(file)
        self.sent[mind.project][file] |= items
        if had and items and not had & items:
            # It was not made from what its machine had, and removes nothing; what is in it is there again.
            self.removed[file] -= items
        else:
            self.removed[file] |= had - items
        mind.had[file] = items

    def later(self) -> None:
        """Let time pass."""
        self.server.let_pass(STEP)

    def teardown(self) -> None:
        """Whatever the schedule was, it ends like this."""
        try:
            if self.minds:
                self.all_push_and_pull()
            assert self.server.faults == []
        finally:
            shutil.rmtree(self.directory)


TestSchedules = Schedules.TestCase
TestSchedules.settings = examples(5, 2000, steps=60)
