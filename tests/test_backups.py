"""Daily backups, with a clock moved by hand and a database on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.backups import FIRST, INTERVAL, Backups, Plan
from mneme.model import Millis
from mneme.store import backup
from tests.immediate import ImmediateWorker
from tests.results import result_of, started, waits
from tests.stepped import SteppedWorker
from tests.store.filled import PROJECTS, database_of, filled, put
from tests.store.looking import ANA, NOW, TTL
from tests.store.stores import Patient

DAY = 24 * 60 * 60.0
ALPHA, _ = PROJECTS


class Rig:
    """A server's database, its backups and its clocks, of which `wall` can be set apart."""

    def __init__(self, root: Path, worker: Any = None) -> None:
        self.store: Patient = filled(root)
        self.database = database_of(root)
        self.config = root / "config.json"
        self.config.write_bytes(b"{}")
        self.plan = Plan(root / "backups", 3, self.config)
        self.clock, self.wall = Clock(), Clock()
        self.wall.advance(NOW / 1000)
        self.worker = ImmediateWorker() if worker is None else worker
        self.count = 0
        self.backups = self.make()

    def make(self) -> Backups:
        """The timer, as a server has it that was just started."""
        return Backups(self.clock, self.wall, self.clock, self.worker, self.database, self.plan)

    def restart(self) -> None:
        """Start the server again."""
        result_of(self.backups.stopService())
        self.backups = self.make()
        self.backups.startService()
        self.pass_time(FIRST)

    def pass_time(self, seconds: float) -> list[str]:
        """Let time pass, an hour at a time; the errors that the log tells of."""
        with capturedLogs() as events:
            while seconds > 0:
                step = min(seconds, INTERVAL)
                self.wall.advance(step)
                self.clock.advance(step)
                seconds -= step
        return [str(formatEvent(event)) for event in events if event["log_level"] is LogLevel.error]

    def write(self) -> None:
        """Upload something new."""
        self.count += 1
        self.store.acquire(ALPHA, ANA, NOW, TTL)
        put(self.store, ALPHA, f"text {self.count}".encode())

    def kept(self) -> list[str]:
        """The backups that there are."""
        return [path.name for path in backup.kept_in(self.plan.directory)]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A server that has just started, with some memory and no backup."""
    rig = Rig(tmp_path)
    rig.backups.startService()
    return rig


def test_the_first_backup_comes_ten_minutes_after_the_start(rig: Rig) -> None:
    """With the configuration in it, and a line in the log."""
    rig.pass_time(FIRST - 1)
    assert rig.kept() == []
    with capturedLogs() as events:
        rig.pass_time(1)
    (name,) = rig.kept()
    wanted = f"Backed the database up into {rig.plan.directory / name}"
    assert [str(formatEvent(event)) for event in events] == [wanted]
    found = backup.read(rig.plan.directory / name)
    assert (found.config, found.signs) == (b"{}", backup.read(rig.database).signs)


def test_a_day_later_there_is_another_if_something_has_changed(rig: Rig) -> None:
    """A changed configuration, a removed file, and a damaged newest backup are changes, too."""
    rig.pass_time(FIRST + 3 * DAY)
    assert len(rig.kept()) == 1
    rig.write()
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 2
    rig.config.write_bytes(b'{"port": 1}')
    rig.pass_time(DAY - INTERVAL)
    assert len(rig.kept()) == 2
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 3
    for change in (
        (rig.config.parent / "projects" / "alpha" / "log.jsonl").unlink,
        lambda: (rig.plan.directory / rig.kept()[-1]).write_bytes(b"nonsense"),
    ):
        before = rig.kept()[-1]
        change()
        rig.store.heads(ALPHA, NOW)
        rig.pass_time(DAY)
        assert rig.kept()[-1] > before


def test_the_newest_stay(rig: Rig) -> None:
    """A new plan counts at once; a plan for none removes none."""
    rig.pass_time(FIRST)
    made = []
    for _ in range(5):
        rig.write()
        rig.pass_time(DAY)
        made.append(rig.kept()[-1])
    assert rig.kept() == made[-3:]
    for keep, left in ((1, 1), (0, 1)):
        rig.backups.plan = replace(rig.plan, keep=keep)
        rig.write()
        rig.pass_time(3 * DAY)
        assert len(rig.kept()) == left


def test_a_restart_makes_no_second_one_on_the_same_day(rig: Rig) -> None:
    """The name of the newest tells the time, also if it was made by hand."""
    backup.make_in(rig.plan.directory, 3, rig.database, Millis(NOW + 1000), b"{}")
    rig.pass_time(FIRST)
    rig.write()
    rig.restart()
    assert len(rig.kept()) == 1
    rig.wall.advance(DAY)
    rig.restart()
    assert len(rig.kept()) == 2


@pytest.mark.parametrize("jump", [30 * 365 * DAY, -30 * 365 * DAY])
def test_a_clock_that_jumps_does_not_push_good_backups_out(rig: Rig, jump: float) -> None:
    """A jump ahead or back, and the way back, add one backup a day."""
    rig.pass_time(FIRST)
    rig.write()
    rig.wall.rightNow += jump
    rig.pass_time(DAY / 2)
    assert len(rig.kept()) == 1
    rig.pass_time(DAY / 2)
    rig.write()
    rig.wall.rightNow -= jump
    rig.pass_time(DAY / 2)
    assert len(rig.kept()) == 2
    rig.restart()
    rig.write()
    rig.pass_time(DAY / 2)
    assert len(rig.kept()) in (2, 3)


def test_a_configuration_that_is_gone_does_not_keep_the_database_from_being_backed_up(rig: Rig) -> None:
    """The backup has none then."""
    rig.config.unlink()
    rig.pass_time(FIRST)
    assert backup.read(rig.plan.directory / rig.kept()[0]).config is None


@pytest.mark.parametrize("in_the_way", ["directory", "parent", "database"])
def test_a_failure_is_logged_once_and_tried_again(rig: Rig, in_the_way: str) -> None:
    """Attempts go on every hour, with other names of temporary files."""
    file = rig.config.with_name("file")
    if in_the_way == "database":
        rig.database.rename(file)
    else:
        file.touch()
        directory = file if in_the_way == "directory" else file / "backups"
        rig.backups.plan = replace(rig.plan, directory=directory)
    (said,) = rig.pass_time(FIRST + 5 * INTERVAL)
    assert said.startswith("Could not back the database up, trying again every 60 minutes: ")
    assert in_the_way == "database" or str(rig.backups.plan.directory) in said
    if in_the_way == "database":
        file.rename(rig.database)
    else:
        file.unlink()
    assert rig.pass_time(INTERVAL) == []
    assert len(backup.kept_in(rig.backups.plan.directory)) == 1


def test_stopping_breaks_a_backup_off(tmp_path: Path) -> None:
    """The server waits, and nothing is left; two backups never run at once."""
    worker = SteppedWorker()
    rig = Rig(tmp_path, worker)
    rig.backups.startService()
    rig.pass_time(FIRST + 5 * INTERVAL)
    assert len(worker) == 1
    stopped = started(rig.backups.stopService())
    assert waits(stopped)
    with capturedLogs() as events:
        worker.finish()
    assert result_of(stopped) is None
    assert events == []
    assert list(rig.plan.directory.iterdir()) == []
    assert rig.clock.getDelayedCalls() == []


def test_a_backup_leaves_half_of_the_free_space(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says so; once there was space, the next failure is news again."""
    size = rig.database.stat().st_size
    real = os.statvfs

    def nearly_full(path: os.PathLike[str]) -> os.statvfs_result:
        system = list(real(path))
        system[4] = (2 * size - 1) // system[1]
        return os.statvfs_result(system)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    (said,) = rig.pass_time(FIRST + INTERVAL)
    assert "more than half of the space that is left" in said
    assert rig.kept() == []
    monkeypatch.undo()
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 1
    rig.write()
    monkeypatch.setattr(os, "statvfs", nearly_full)
    assert rig.pass_time(DAY) == [said]
