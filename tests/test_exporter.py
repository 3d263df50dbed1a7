"""The timer that writes the plain files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from mneme.model import ClientId, FileName, Millis, ProjectId, Upload
from mneme.service import SyncService
from mneme.timers import EXPORT_INTERVAL as INTERVAL
from mneme.timers import EXPORT_PAUSE as PAUSE
from mneme.timers import Exporter
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL
from tests.kept import DiskStore, lane_of
from tests.results import result_of, started, waits
from tests.stepped import SteppedSteps

DEMO = ProjectId("demo")
ANA = ClientId("ana-0a1b2c3d")
TTL = Millis(60_000)


class Store(DiskStore):
    """A store on disk that counts its exports, and can fail them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.exports = 0
        self.is_broken = False
        self.on_export: Callable[[], object] = lambda: None

    def export(self, key: int, now: Millis) -> None:
        """Export, or fail."""
        self.exports += 1
        self.on_export()
        if self.is_broken:
            raise OSError(5, "Input/output error")
        super().export(key, now)


class Rig:
    """A running service with its exporter, on a fake clock."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.store = Store(root)
        self.log = root / "projects" / "demo" / "log.jsonl"
        self.steps = SteppedSteps(self.store, holding=False)
        lane = self.steps.lane
        self.sync = SyncService(self.clock, lane, lane, ImmediateWorker(), TTL, KEEP_ALL)
        self.exporter = Exporter(self.clock, self.sync)
        self.sync.startService()
        self.exporter.startService()
        result_of(self.sync.acquire(DEMO, ANA))
        self.clock.advance(1)
        self.store.exports = 0

    def upload(self, content: bytes) -> None:
        """Change a file."""
        result_of(self.sync.upload(DEMO, Upload(FileName.LOG, content, ANA)))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A service in which nothing is yet to be exported."""
    rig = Rig(tmp_path)
    yield rig
    rig.store.database.close()


def test_a_change_is_exported_within_a_second(rig: Rig) -> None:
    """Each time."""
    for content in (b"one\n", b"one\ntwo\n"):
        rig.upload(content)
        rig.clock.advance(1)
        assert rig.log.read_bytes() == content


def test_several_changes_are_exported_once(rig: Rig) -> None:
    """A push has five files, and the release comes after them."""
    for number in range(5):
        rig.upload(b"%d\n" % number)
    result_of(rig.sync.release(DEMO, ANA))
    assert rig.store.exports == 0
    rig.clock.advance(INTERVAL)
    assert rig.store.exports == 1
    assert rig.log.read_bytes() == b"4\n"
    assert not (rig.log.parent / ".lock.json").exists()


def test_nothing_is_exported_where_nothing_changes(rig: Rig) -> None:
    """The disk of an idle server can sleep."""
    result_of(rig.sync.read(DEMO, FileName.LOG))
    rig.steps.holding = True
    rig.clock.pump([INTERVAL] * 10)
    assert len(rig.steps) == 0


def test_a_change_during_an_export_is_exported_after_it(rig: Rig) -> None:
    """No change is missed."""
    rig.upload(b"one\n")
    rig.steps.holding = True
    rig.clock.advance(INTERVAL)
    assert len(rig.steps) == 1
    upload = started(rig.sync.upload(DEMO, Upload(FileName.LOG, b"two\n", ANA)))
    rig.steps.finish()
    rig.steps.holding = False
    result_of(upload)
    rig.clock.advance(INTERVAL)
    assert rig.log.read_bytes() == b"two\n"


def test_an_export_of_many_projects_is_no_reason_to_stop_late(rig: Rig) -> None:
    """A part of them is exported in each round, and all in the end."""

    def take_a_second() -> None:
        rig.clock.rightNow += 1

    projects = [ProjectId(f"project-{number}") for number in range(20)]
    for project in projects:
        result_of(rig.sync.acquire(project, ANA))
    rig.store.on_export = take_a_second
    began = rig.clock.seconds()
    result_of(rig.exporter.stopService())
    result_of(rig.sync.stopService())
    assert rig.clock.seconds() - began <= 5
    sync = SyncService(rig.clock, lane_of(rig.store), lane_of(rig.store), ImmediateWorker(), TTL, KEEP_ALL)
    sync.startService()
    while sync.has_changes:
        result_of(sync.export())
    assert all((rig.log.parent.parent / str(project) / ".lock.json").exists() for project in projects)


def test_a_failed_export_is_tried_again_after_a_pause(rig: Rig) -> None:
    """For as long as it takes; the log tells once."""
    rig.store.is_broken = True
    rig.upload(b"one\n")
    with capturedLogs() as events:
        rig.clock.pump([INTERVAL] * 100)
    assert 3 <= rig.store.exports <= 6
    assert [str(formatEvent(event)) for event in events] == [
        "Could not write the plain files of demo; trying again until it works"
    ]
    rig.store.is_broken = False
    rig.clock.pump([INTERVAL] * 30)
    assert rig.log.read_bytes() == b"one\n"


def test_a_fault_of_the_service_does_not_end_the_timer(rig: Rig) -> None:
    """The log says so, and the next try comes."""
    rig.upload(b"one\n")
    real = rig.store.begin_epoch
    rig.clock.rightNow += 3600

    def broken() -> None:
        raise OSError(5, "Input/output error")

    rig.store.begin_epoch = broken  # type: ignore[method-assign]
    with capturedLogs() as events:
        rig.clock.advance(0)
    assert [str(formatEvent(event)) for event in events] == [
        "Could not write the plain files; trying again later"
    ]
    rig.store.begin_epoch = real  # type: ignore[method-assign]
    rig.clock.advance(PAUSE)
    assert rig.log.read_bytes() == b"one\n"


def test_stopping_waits_for_an_export_under_way(rig: Rig) -> None:
    """Whatever changes after that is exported by the end of the service."""
    rig.upload(b"one\n")
    rig.steps.holding = True
    rig.clock.advance(INTERVAL)
    stopped = started(rig.exporter.stopService())
    assert waits(stopped)
    rig.steps.finish()
    assert result_of(stopped) is None
    rig.steps.holding = False
    rig.upload(b"two\n")
    assert rig.log.read_bytes() == b"one\n"
    result_of(rig.sync.stopService())
    assert rig.log.read_bytes() == b"two\n"
    assert rig.clock.getDelayedCalls() == []
