"""The load generator wrk, with a script that sends the same requests: it leaves the most of a machine to the server."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec
from attrs import evolve, frozen

from tests.bench.errors import NotMeasured
from tests.bench.loads import TIMEOUT, Lap, Load, Outcome
from tests.bench.processes import running
from tests.bench.sessions import CHANGE, CLIENT, PROJECT

SCRIPT = Path(__file__).with_name("session.lua")
GRACE = 60.0


@frozen
class Report:
    """What the script prints at the end. `failed` counts answers of 400 and above, and those that never came."""

    laps: tuple[Lap, ...]
    failed: int
    bytes: int


@frozen
class Wrk:
    """The program, where it is installed. It measures whole seconds, and at least one."""

    program: str
    name: str = "wrk"

    def run(self, load: Load) -> Outcome:
        """See `Generator`."""
        if load.sessions:
            raise NotMeasured("wrk cannot count sessions: the Python generator can")
        with tempfile.TemporaryDirectory(prefix="mneme-bench-") as directory:
            for number, request in enumerate(load.requests, 1):
                (Path(directory) / str(number)).write_bytes(request.template)
            report = self._report(load, directory)
        outcome = Outcome(len(load.requests), report.laps)
        return _with_failures(outcome, report.failed or _lacking(load, outcome, report.bytes))

    def _report(self, load: Load, directory: str) -> Report:
        seconds = max(1, math.ceil(load.seconds))
        count = str(load.machines)
        command = [
            self.program,
            "-t",
            count,
            "-c",
            count,
            "-d",
            f"{seconds}s",
            "--timeout",
            f"{TIMEOUT:.0f}s",
        ]
        command += ["-s", str(SCRIPT), load.url, "--", directory, str(len(load.requests)), str(load.projects)]
        with running(
            [*command, PROJECT, CLIENT, CHANGE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                output, said = process.communicate(timeout=seconds + TIMEOUT + GRACE)
            except subprocess.TimeoutExpired as error:
                raise NotMeasured(f"wrk did not end within {seconds + TIMEOUT + GRACE:g} s") from error
        try:
            return msgspec.json.decode(output[output.index(b'{"laps"') :], type=Report)
        except (ValueError, msgspec.DecodeError) as error:
            words = (said or output).decode("utf-8", "replace").strip().splitlines()
            raise NotMeasured(f"wrk failed: {words[-1] if words else process.returncode}") from error


def found() -> Wrk | None:
    """The wrk that is installed, if one is."""
    program = shutil.which("wrk")
    return Wrk(program) if program else None


def _lacking(load: Load, outcome: Outcome, received: int) -> int:
    """The number of all requests, if the answers were too short to have been the right ones; else 0.

    To look into each answer would cost wrk more than to ask for it does.
    """
    sessions = sum(len(lap.sessions) for lap in outcome.laps)
    least = sum(max(request.least, len(request.token)) for request in load.requests)
    return outcome.asked if received < sessions * least else 0


def _with_failures(outcome: Outcome, failed: int) -> Outcome:
    """The same, with the failures laid on the first machine, since wrk does not say whose they were."""
    first, *others = outcome.laps
    return evolve(outcome, laps=(evolve(first, failed=failed), *others))
