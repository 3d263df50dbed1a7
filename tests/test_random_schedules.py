"""Three machines in any schedule: what reached the server is in the head once all have pushed, and on all of them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from attrs import Factory, define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mneme.model import Millis
from mneme.retention import Retention
from tests.in_process import InProcess
from tests.stock_client import Answer, Machine, NoAnswer

PROJECT, LOG = "demo", "log.jsonl"
OFFSETS = {"laptop": +20.0, "desktop": -20.0, "server": 0.0}
"""By how many seconds each machine's clock is ahead: less than what passes between two steps of theirs."""
STEP = 60.0

KEEP_NOTHING = Retention(keep_all=Millis(0), keep_daily=Millis(0), keep_weekly=Millis(0), max_bytes=0)

machines = st.sampled_from(sorted(OFFSETS))
INTERRUPTIONS: dict[str, Callable[[InProcess], None]] = {
    "nothing": lambda server: None,
    "restart": InProcess.restart,
    "kill": InProcess.kill_and_restart,
}
interruptions = st.sampled_from(sorted(INTERRUPTIONS))


@define
class Mind:
    """What is expected of a machine's log."""

    machine: Machine
    unsent: set[str] = Factory(set)
    """The lines that it has appended and not yet sent."""

    def lines(self) -> set[str]:
        """What is in the log."""
        return contents(self.machine.read(PROJECT, LOG))


def contents(log: bytes | str | None) -> set[str]:
    """The contents of the lines of a log."""
    return {json.loads(line)["content"] for line in (log or b"").splitlines()}


class Schedules(RuleBasedStateMachine):
    """Sessions begin, end, overlap, are cut short, find no server; lines are appended, and summarized away."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.server = InProcess(self.directory / "server", ttl_seconds=20 * STEP)
        self.minds = {name: Mind(self.machine(name, offset)) for name, offset in OFFSETS.items()}
        self.sent: set[str] = set()
        """The lines that have reached the server."""
        self.removed: set[str] = set()
        """The lines that a summarizer has removed, anywhere."""
        self.checked: set[int] = set()
        """The numbers of the merges that were looked at."""
        self.number = 0

    def machine(self, name: str, offset: float) -> Machine:
        """A machine of the person's."""
        return Machine(
            self.directory / name,
            self.server.url,
            client_id=f"{name}-0a1b2c3d",
            clock_offset=offset,
            delays=(),
            clock=self.server.now,
            connect=self.server.connect,
        )

    @rule(name=machines, interruption=interruptions)
    def session_begins(self, name: str, interruption: str) -> None:
        """What the pull overwrites without its ever having been sent was never in the server's hands."""
        mind = self.minds[name]
        self.later()
        mind.machine.pull(PROJECT, lambda: INTERRUPTIONS[interruption](self.server))
        mind.unsent &= mind.lines()

    @rule(name=machines, interruption=interruptions)
    def session_ends(self, name: str, interruption: str) -> None:
        """Accepted or refused, what was uploaded is in the server's hands."""
        self.later()
        answers = self.minds[name].machine.push(PROJECT, lambda: INTERRUPTIONS[interruption](self.server))
        self.note_sent(self.minds[name], answers)

    @rule(name=machines)
    def session_begins_without_the_server(self, name: str) -> None:
        """Nothing is heard of it."""
        self.later()
        with self.server.unreachable():
            try:
                self.minds[name].machine.pull(PROJECT)
            except NoAnswer:
                return
        raise AssertionError("the server was to be unreachable")

    @rule(name=machines)
    def session_begins_and_its_process_dies(self, name: str) -> None:
        """With the lock, and before it has asked for anything else."""
        self.later()
        steps = self.minds[name].machine.pull_steps(PROJECT)
        for _ in ("health", "acquire"):
            next(steps)

    @rule(name=machines, count=st.integers(1, 3))
    def lines_are_appended(self, name: str, count: int) -> None:
        """Each with the time that the machine's clock tells."""
        mind = self.minds[name]
        for _ in range(count):
            line = self.line(name, mind.machine.now())
            mind.machine.append(PROJECT, LOG, line)
            mind.unsent |= contents(line)
        self.later()

    @rule(name=machines, share=st.floats(0, 1))
    def lines_are_summarized(self, name: str, share: float) -> None:
        """The oldest go; what was never sent is nobody else's loss."""
        mind = self.minds[name]
        lines = (mind.machine.read(PROJECT, LOG) or b"").splitlines(keepends=True)
        gone, left = lines[: int(len(lines) * share)], lines[int(len(lines) * share) :]
        if gone:
            mind.machine.write(PROJECT, LOG, b"".join(left))
            self.removed |= contents(b"".join(gone))
            mind.unsent -= self.removed
        self.later()

    @rule()
    def somebody_looks(self) -> None:
        """At the log, with curl: whoever holds the lock has not read it."""
        self.server.ask("GET", f"/projects/{PROJECT}/files/{LOG}")

    @rule()
    def somebody_edits(self) -> None:
        """A line is appended to the log on the server, in place: its last version is spoiled by that."""
        for head in self.server.directory.glob(f"projects/{PROJECT}/{LOG}"):
            line = self.line("server", self.server.now())
            head.write_bytes(head.read_bytes() + line)
            self.server.ask("GET", f"/projects/{PROJECT}/files")
            self.sent |= contents(line)
        self.later()

    @rule(days=st.sampled_from([0, 1, 20, 40]))
    def history_is_pruned(self, days: int) -> None:
        """Of all that it need not keep, after some days in which the server was off."""
        self.server.be_off(days * 24 * 3600.0)
        self.server.prune(KEEP_NOTHING)

    @rule(steps=st.integers(1, 25))
    def time_passes(self, steps: int) -> None:
        """Locks expire, and are reaped."""
        self.server.let_pass(steps * STEP)

    @rule()
    def all_push_and_pull(self) -> None:
        """What was sent and not removed is in the head, and then on each machine; what was removed stays away."""
        for mind in self.minds.values():
            self.later()
            self.note_sent(mind, mind.machine.push(PROJECT))
        self.server.let_pass(21 * STEP)
        status, body = self.server.ask("GET", f"/projects/{PROJECT}/files/{LOG}")
        head = contents(body["content"]) if status == 200 else set()
        assert self.sent - self.removed <= head
        self.what_was_removed_stays_away()
        for mind in self.minds.values():
            self.later()
            mind.machine.pull(PROJECT)
            assert head <= mind.lines()
            self.later()
            mind.machine.push(PROJECT)

    def what_was_removed_stays_away(self) -> None:
        """No merge has a line that its base has and one of its sides lacks, where all three can still be read."""
        for number, base, parents in self.merges():
            if number in self.checked or base is None or len(parents) != 2:
                continue
            self.checked.add(number)
            merged, before, *sides = (self.version(one) for one in (number, base, *parents))
            for side in sides:
                if merged is not None and before is not None and side is not None:
                    assert not merged & (before - side), (number, base, parents)

    def merges(self) -> list[tuple[int, int | None, list[int]]]:
        """The number, base and parents of each merge in history."""
        _, body = self.server.ask("GET", f"/projects/{PROJECT}/files/{LOG}/versions")
        told = [one for one in body.get("versions", []) if one["kind"] == "merged"]
        return [(one["version"], one["base"], one["parents"]) for one in told]

    def version(self, number: int) -> set[str] | None:
        """The lines of a version; None if it was pruned, or spoiled by an edit in place."""
        status, body = self.server.ask("GET", f"/projects/{PROJECT}/files/{LOG}/versions/{number}")
        return contents(body["content"]) if status == 200 else None

    def line(self, who: str, now: float) -> bytes:
        """A line of a log that nobody has written before."""
        self.number += 1
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        entry = {"ts": moment, "type": "note", "content": f"{who} {self.number}"}
        return json.dumps(entry).encode() + b"\n"

    def later(self) -> None:
        """Let time pass."""
        self.server.let_pass(STEP)

    def note_sent(self, mind: Mind, answers: list[Answer]) -> None:
        """The lines that have been uploaded are the server's from now on."""
        for answer in answers:
            if answer.method == "PUT":
                assert answer.status == 200 or answer.body["rescued"] is True
        self.sent |= mind.unsent
        mind.unsent.clear()

    def teardown(self) -> None:
        """Whatever the schedule was, it ends like this."""
        try:
            self.all_push_and_pull()
            assert self.server.faults == []
        finally:
            shutil.rmtree(self.directory)


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=25, stateful_step_count=200, deadline=None)
