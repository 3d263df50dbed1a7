"""The timer that thins out the history of projects."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from mneme.model import ClientId, FileName, Millis, ProjectId, Pruned, Upload
from mneme.retention import Retention
from mneme.service import Lane, SyncService
from mneme.timers import FIRST_PRUNE as FIRST
from mneme.timers import PRUNE_INTERVAL as INTERVAL
from mneme.timers import Pruner
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL, KEEP_NONE
from tests.kept import MemoryStore, lane_of
from tests.results import result_of, started, waits
from tests.stepped import SteppedSteps

ALPHA, BETA, GAMMA = ProjectId("alpha"), ProjectId("org/beta\n"), ProjectId("gamma")
ANA = ClientId("ana-0a1b2c3d")
TTL = Millis(60_000)


class Store(MemoryStore):
    """A store that fails to prune a project where it is told to."""

    broken: ProjectId | None = None

    def prunable(self, project: ProjectId, retention: Retention, now: Millis) -> Pruned:
        """The versions that can go."""
        if project == self.broken:
            raise OSError(5, "Input/output error")
        return super().prunable(project, retention, now)

    def fill(self, project: ProjectId, versions: int, size: int = 1000) -> None:
        """Upload random content, so that so many versions can go."""
        self.acquire(project, ANA, Millis(0), TTL)
        for number in range(versions + 1):
            content = Random(number).randbytes(size)
            self.upload(project, Upload(FileName.SUMMARY_MD, content, ANA), Millis(0))


@pytest.fixture
def store() -> Store:
    """A store without projects."""
    return Store()


def service(clock: Clock, lane: Lane) -> SyncService:
    """The running service, which keeps nothing for its age."""
    sync = SyncService(clock, lane, lane, ImmediateWorker(), TTL, KEEP_NONE)
    sync.startService()
    return sync


@pytest.fixture
def sync(clock: Clock, store: Store) -> SyncService:
    """A service with a running pruner, whose rounds take no time."""
    sync = service(clock, lane_of(store))
    Pruner(clock, sync).startService()
    return sync


def said(event: LogEvent) -> str:
    """The text of an event, without the space."""
    return re.sub(r" \(.*?\)", "", str(formatEvent(event)))


def under_way(clock: Clock, store: Store) -> tuple[SyncService, Pruner, SteppedSteps]:
    """A pruner in its first round, which has found out which projects there are."""
    steps = SteppedSteps(store, holding=False)
    sync = service(clock, steps.lane)
    steps.holding = True
    pruner = Pruner(clock, sync)
    pruner.startService()
    clock.advance(FIRST)
    steps.step()
    return sync, pruner, steps


def test_rounds_come_after_the_start_and_every_hour(clock: Clock, store: Store, sync: SyncService) -> None:
    """A server that is restarted daily prunes, too; the retention may change."""
    store.fill(ALPHA, 1)
    clock.advance(FIRST - 0.001)
    assert len(store.versions(ALPHA)) == 2
    clock.advance(0.001)
    assert len(store.versions(ALPHA)) == 1
    sync.retention = KEEP_ALL
    store.fill(ALPHA, 1)
    clock.advance(INTERVAL)
    left = len(store.versions(ALPHA))
    assert left > 1
    sync.retention = KEEP_NONE
    clock.advance(INTERVAL)
    assert len(store.versions(ALPHA)) == 1


@pytest.mark.parametrize(
    ("versions", "size", "amount"),
    [
        (1, 1000, r"1 version \(1\.\d kB\)"),
        (2, 10_000, r"2 versions \(2\d kB\)"),
        (1, 1, r"1 version \(\d+ B\)"),
        (3, 500_000, r"3 versions \(1\.5 MB\)"),
    ],
)
@pytest.mark.usefixtures("sync")
def test_the_log_says_how_much_goes(
    clock: Clock, store: Store, versions: int, size: int, amount: str
) -> None:
    """Each project has a line, with numbers beside it for machines."""
    store.fill(ALPHA, versions, size)
    with capturedLogs() as events:
        clock.advance(FIRST)
    [event] = events
    assert re.fullmatch(f"Pruned {amount} of the history of alpha", str(formatEvent(event)))
    assert event["log_level"] is LogLevel.info
    assert (event["project"], event["versions"]) == ("alpha", versions)
    assert versions * size < event["size"] < versions * (size + 1000)
    assert len(store.versions(ALPHA)) == 1


@pytest.mark.usefixtures("sync")
def test_every_project_has_its_line_and_no_name_can_forge_one(clock: Clock, store: Store) -> None:
    """A project without anything to prune has none."""
    store.fill(ALPHA, 1)
    store.fill(BETA, 1)
    store.fill(GAMMA, 0)
    with capturedLogs() as events:
        clock.pump([FIRST, INTERVAL])
    assert [said(event) for event in events] == [
        "Pruned 1 version of the history of alpha",
        "Pruned 1 version of the history of org/beta%0A",
    ]


def test_a_request_comes_in_between_a_few_versions(clock: Clock, store: Store) -> None:
    """Long before the pruning is done."""
    store.fill(ALPHA, 200)
    sync, _, steps = under_way(clock, store)
    steps.step()
    answer = started(sync.heads(ALPHA))
    left = [len(store.versions(ALPHA))]
    while len(steps):
        steps.step()
        left.append(len(store.versions(ALPHA)))
        if len(left) == 3:
            assert len(result_of(answer)) == 1
            assert left[-1] > 100
    assert left[-1] == 1
    assert max(before - after for before, after in pairwise(left)) <= 50


@pytest.mark.usefixtures("sync")
def test_a_project_that_cannot_be_pruned_keeps_no_other_from_it(clock: Clock, store: Store) -> None:
    """The log names it; it is tried again in the next round."""
    for project in (ALPHA, GAMMA):
        store.fill(project, 1)
    store.broken = ALPHA
    with capturedLogs() as events:
        clock.advance(FIRST)
    assert [said(event) for event in events] == [
        "Could not prune the history of alpha",
        "Pruned 1 version of the history of gamma",
    ]
    assert events[0]["log_level"] is LogLevel.critical
    store.broken = None
    clock.advance(INTERVAL)
    assert len(store.versions(ALPHA)) == 1


def test_stopping_does_not_wait_for_projects_not_yet_begun(clock: Clock, store: Store) -> None:
    """A server with a thousand projects stops as soon as any other."""
    for number in range(20):
        store.fill(ProjectId(f"project-{number}"), 1)
    _, pruner, steps = under_way(clock, store)
    stopped = started(pruner.stopService())
    taken = 0
    while waits(stopped):
        steps.step()
        taken += 1
    assert taken <= 2


def test_a_long_history_does_not_keep_the_service_from_its_end(clock: Clock, store: Store) -> None:
    """Only the removal of a few versions is waited for; the next start goes on."""
    store.fill(ALPHA, 500)
    sync, pruner, steps = under_way(clock, store)
    for _ in range(2):
        steps.step()
    begun = len(store.versions(ALPHA))
    with capturedLogs() as events:
        stopped = [started(pruner.stopService()), started(sync.stopService())]
        steps.finish()
    assert [result_of(one) for one in stopped] == [None, None]
    assert 0 < begun - len(store.versions(ALPHA)) <= 50
    assert [event["versions"] for event in events] == [501 - len(store.versions(ALPHA))]


def test_a_round_that_meets_the_end_of_the_service_is_quiet(clock: Clock, store: Store) -> None:
    """The other versions are pruned after the next start."""
    for project in (ALPHA, BETA, GAMMA):
        store.fill(project, 40)
    sync, pruner, steps = under_way(clock, store)
    with capturedLogs() as events:
        stopped = started(sync.stopService())
        steps.finish()
    assert result_of(stopped) is None
    assert [event for event in events if "log_failure" in event] == []
    assert result_of(pruner.stopService()) is None
    assert len(store.versions(GAMMA)) == 41
