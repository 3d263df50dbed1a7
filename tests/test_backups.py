"""The nightly backup, with a clock moved by hand and a database on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
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

    def pass_time(self, seconds: float) -> None:
        """Let time pass, an hour at a time."""
        while seconds > 0:
            step = min(seconds, INTERVAL)
            self.wall.advance(step)
            self.clock.advance(step)
            seconds -= step

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
    assert [str(formatEvent(event)) for event in events] == [
        f"Backed the database up into {rig.plan.directory / name}"
    ]
    found = backup.read(rig.plan.directory / name)
    assert (found.config, found.signs) == (b"{}", backup.read(rig.database).signs)


def test_a_day_later_there_is_another_if_something_has_changed(rig: Rig) -> None:
    """And none if nothing has, for however long."""
    rig.pass_time(FIRST)
    rig.pass_time(3 * DAY)
    assert len(rig.kept()) == 1
    rig.write()
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 2
    rig.write()
    rig.pass_time(DAY - INTERVAL)
    assert len(rig.kept()) == 2
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 3


def test_a_changed_configuration_and_a_removed_file_are_changes(rig: Rig) -> None:
    """Whatever a backup has that its predecessor has not."""
    rig.pass_time(FIRST)
    rig.config.write_bytes(b'{"port": 1}')
    rig.pass_time(DAY)
    assert len(rig.kept()) == 2
    (rig.config.parent / "projects" / "alpha" / "log.jsonl").unlink()
    rig.store.heads(ALPHA, NOW)
    rig.pass_time(DAY)
    assert len(rig.kept()) == 3


def test_the_newest_stay(rig: Rig) -> None:
    """As many as the plan says, which may change at any time."""
    rig.pass_time(FIRST)
    made = []
    for _ in range(5):
        rig.write()
        rig.pass_time(DAY)
        made.append(rig.kept()[-1])
    assert rig.kept() == made[-3:]
    rig.backups.plan = evolve(rig.plan, keep=1)
    rig.write()
    rig.pass_time(DAY)
    assert len(rig.kept()) == 1


def test_none_are_made_where_none_are_to_be_kept(rig: Rig) -> None:
    """Those that lie there stay."""
    rig.pass_time(FIRST)
    rig.backups.plan = evolve(rig.plan, keep=0)
    rig.write()
    rig.pass_time(3 * DAY)
    assert len(rig.kept()) == 1


def test_a_restart_makes_no_second_one_on_the_same_day(rig: Rig) -> None:
    """The name of the newest tells a restarted server when its day is over."""
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


def test_a_newest_backup_that_is_damaged_is_no_reason_not_to_make_another(rig: Rig) -> None:
    """Nobody knows what it has."""
    rig.pass_time(FIRST)
    (rig.plan.directory / rig.kept()[0]).write_bytes(b"nonsense")
    rig.pass_time(DAY)
    assert len(rig.kept()) == 2


def test_a_configuration_that_is_gone_does_not_keep_the_database_from_being_backed_up(rig: Rig) -> None:
    """The backup has none then."""
    rig.config.unlink()
    rig.pass_time(FIRST)
    assert backup.read(rig.plan.directory / rig.kept()[0]).config is None


def test_a_failure_is_logged_once_and_tried_again(rig: Rig) -> None:
    """Every hour, until it comes to something; another failure is news again."""
    rig.plan.directory.write_text("in the way")
    with capturedLogs() as events:
        rig.pass_time(FIRST)
        rig.pass_time(5 * INTERVAL)
    (said,) = [str(formatEvent(event)) for event in events]
    assert said.startswith("Could not back the database up, trying again every 60 minutes: ")
    assert str(rig.plan.directory) in said
    assert {event["log_level"] for event in events} == {LogLevel.error}
    rig.plan.directory.unlink()
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 1


def test_a_database_that_is_gone_is_a_failure_like_any_other(rig: Rig) -> None:
    """The backups that there are stay."""
    rig.pass_time(FIRST)
    rig.write()
    rig.database.rename(rig.database.with_suffix(".away"))
    with capturedLogs() as events:
        rig.pass_time(2 * DAY)
    assert [event["log_level"] for event in events] == [LogLevel.error]
    assert len(rig.kept()) == 1


def test_stopping_breaks_a_backup_off(tmp_path: Path) -> None:
    """It is waited for until it is gone, and leaves nothing."""
    worker = SteppedWorker()
    rig = Rig(tmp_path, worker)
    rig.backups.startService()
    rig.pass_time(FIRST)
    assert len(worker) == 1
    stopped = started(rig.backups.stopService())
    assert waits(stopped)
    with capturedLogs() as events:
        worker.finish()
    assert result_of(stopped) is None
    assert events == []
    assert list(rig.plan.directory.iterdir()) == []
    assert rig.clock.getDelayedCalls() == []


def test_two_backups_are_never_made_at_once(tmp_path: Path) -> None:
    """One that takes longer than the interval is waited for."""
    worker = SteppedWorker()
    rig = Rig(tmp_path, worker)
    rig.backups.startService()
    rig.pass_time(FIRST + 5 * INTERVAL)
    assert len(worker) == 1
    worker.finish()
    assert len(rig.kept()) == 1


def test_backups_by_hand_in_the_same_directory_count(rig: Rig) -> None:
    """A backup by hand with nothing new since is as good as the server's own."""
    backup.make_in(rig.plan.directory, 3, rig.database, Millis(NOW + 1000), b"{}")
    rig.pass_time(FIRST)
    assert len(rig.kept()) == 1


def test_a_backup_that_takes_the_space_of_the_server_is_not_made(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says so; it is made once there is space."""
    size = rig.database.stat().st_size
    real = os.statvfs

    def nearly_full(path: os.PathLike[str]) -> os.statvfs_result:
        system = list(real(path))
        system[4] = (2 * size - 1) // system[1]
        return os.statvfs_result(system)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    with capturedLogs() as events:
        rig.pass_time(FIRST + INTERVAL)
    (said,) = [str(formatEvent(event)) for event in events]
    assert "more than half of the space that is left" in said
    assert rig.kept() == []
    monkeypatch.undo()
    rig.pass_time(INTERVAL)
    assert len(rig.kept()) == 1


def test_a_directory_that_cannot_be_made_is_a_failure_with_its_name(rig: Rig) -> None:
    """Said once, though the names of temporary files are others each time."""
    rig.config.with_name("file").touch()
    rig.backups.plan = evolve(rig.plan, directory=rig.config.with_name("file") / "backups")
    with capturedLogs() as events:
        rig.pass_time(FIRST + 2 * INTERVAL)
    (said,) = [str(formatEvent(event)) for event in events]
    assert said.endswith("file/backups: Not a directory")
