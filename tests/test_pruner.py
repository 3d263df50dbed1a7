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
from tests.keeping import KEEP_NONE
from tests.kept import MemoryStore, lane_of
from tests.results import result_of, started, waits
from tests.stepped import SteppedSteps

ALPHA, BETA, GAMMA = ProjectId("alpha"), ProjectId("org/beta\n"), ProjectId("gamma")
ANA = ClientId("ana-0a1b2c3d")
TTL = Millis(60_000)


class Store(MemoryStore):
    """A store that counts its steps, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.searches = 0
        self.broken: set[str | ProjectId] = set()

    def projects(self) -> list[ProjectId]:
        """List the projects, or fail."""
        self.searches += 1
        if "projects" in self.broken:
            raise OSError(5, "Input/output error")
        return super().projects()

    def prunable(self, project: ProjectId, retention: Retention, now: Millis) -> Pruned:
        """Look for what can go, or fail."""
        if project in self.broken:
            raise OSError(5, "Input/output error")
        return super().prunable(project, retention, now)

    def fill(self, project: ProjectId, versions: int, size: int = 1000) -> None:
        """Upload a file so often that all but the last version can go; nothing in it can be compressed."""
        self.acquire(project, ANA, Millis(0), TTL)
        for number in range(versions + 1):
            content = Random(number).randbytes(size)
            self.upload(project, Upload(FileName.SUMMARY_MD, content, ANA), Millis(0))


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


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
def pruner(clock: Clock, store: Store) -> Pruner:
    """A pruner that has not started yet, whose rounds take no time."""
    return Pruner(clock, service(clock, lane_of(store)))


def said(event: LogEvent) -> str:
    """What the log says of an event, without the space."""
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


def test_it_prunes_a_while_after_the_start_and_then_every_hour(
    clock: Clock, store: Store, pruner: Pruner
) -> None:
    """A server that is restarted daily has to prune, too, but not while it starts."""
    pruner.startService()
    clock.advance(FIRST - 0.001)
    assert store.searches == 0
    clock.advance(0.001)
    assert store.searches == 1
    clock.pump([INTERVAL] * 3)
    assert store.searches == 4


@pytest.mark.parametrize(
    ("versions", "size", "amount"),
    [
        (1, 1000, r"1 version \(1\.\d kB\)"),
        (2, 10_000, r"2 versions \(2\d kB\)"),
        (1, 1, r"1 version \(\d+ B\)"),
        (3, 500_000, r"3 versions \(1\.5 MB\)"),
    ],
)
def test_it_says_in_words_what_it_has_removed(
    clock: Clock, store: Store, pruner: Pruner, versions: int, size: int, amount: str
) -> None:
    """One line for each project, with the numbers beside it for machines."""
    store.fill(ALPHA, versions, size)
    pruner.startService()
    with capturedLogs() as events:
        clock.advance(FIRST)
    [event] = events
    assert re.fullmatch(f"Pruned {amount} of the history of alpha", str(formatEvent(event)))
    assert event["log_level"] is LogLevel.info
    assert (event["project"], event["versions"]) == ("alpha", versions)
    assert versions * size < event["size"] < versions * (size + 1000)
    assert len(store.versions(ALPHA)) == 1


def test_every_project_has_its_line_and_no_name_can_forge_one(
    clock: Clock, store: Store, pruner: Pruner
) -> None:
    """A project without anything to prune has none."""
    store.fill(ALPHA, 1)
    store.fill(BETA, 1)
    store.fill(GAMMA, 0)
    pruner.startService()
    with capturedLogs() as events:
        clock.pump([FIRST, INTERVAL])
    assert [said(event) for event in events] == [
        "Pruned 1 version of the history of alpha",
        "Pruned 1 version of the history of org/beta%0A",
    ]


def test_it_removes_a_few_versions_at_a_time(clock: Clock, store: Store) -> None:
    """So that requests come in between."""
    store.fill(ALPHA, 200)
    _, _, steps = under_way(clock, store)
    left = [len(store.versions(ALPHA))]
    while len(steps):
        steps.step()
        left.append(len(store.versions(ALPHA)))
    assert left[-1] == 1
    assert max(before - after for before, after in pairwise(left)) <= 50


def test_a_request_comes_in_between(clock: Clock, store: Store) -> None:
    """It is answered long before the pruning is done."""
    store.fill(ALPHA, 200)
    sync, _, steps = under_way(clock, store)
    steps.step()
    answer = started(sync.heads(ALPHA))
    for _ in range(2):
        steps.step()
    assert len(result_of(answer)) == 1
    assert len(store.versions(ALPHA)) > 100
    steps.finish()
    assert len(store.versions(ALPHA)) == 1


def test_a_project_that_cannot_be_pruned_keeps_no_other_from_it(
    clock: Clock, store: Store, pruner: Pruner
) -> None:
    """The log names it; it is tried again in the next round."""
    for project in (ALPHA, GAMMA):
        store.fill(project, 1)
    store.broken = {ALPHA}
    pruner.startService()
    with capturedLogs() as events:
        clock.advance(FIRST)
    assert [said(event) for event in events] == [
        "Could not prune the history of alpha",
        "Pruned 1 version of the history of gamma",
    ]
    assert events[0]["log_level"] is LogLevel.critical
    store.broken = set()
    clock.advance(INTERVAL)
    assert len(store.versions(ALPHA)) == 1


def test_a_round_that_fails_does_not_stop_the_timer(clock: Clock, store: Store, pruner: Pruner) -> None:
    """The log says so, and the next one comes when it would have come."""
    store.fill(ALPHA, 1)
    store.broken = {"projects"}
    pruner.startService()
    with capturedLogs() as events:
        clock.pump([FIRST, INTERVAL])
    assert [str(formatEvent(event)) for event in events] == [
        "Could not prune the history of projects; trying again later"
    ] * 2
    store.broken = set()
    clock.advance(INTERVAL)
    assert len(store.versions(ALPHA)) == 1


def test_what_retention_says_now_counts(clock: Clock, store: Store) -> None:
    """It can be changed while the server runs."""
    store.fill(ALPHA, 1)
    sync = service(clock, lane_of(store))
    sync.retention = Retention(Millis(10_000_000_000), Millis(0), Millis(0), 0)
    pruner = Pruner(clock, sync)
    pruner.startService()
    clock.advance(FIRST)
    assert len(store.versions(ALPHA)) == 2
    sync.retention = KEEP_NONE
    clock.advance(INTERVAL)
    assert len(store.versions(ALPHA)) == 1


def test_stopping_waits_for_the_step_under_way(clock: Clock, store: Store) -> None:
    """What it removes is logged before the pruner says that it has stopped."""
    store.fill(ALPHA, 1)
    _, pruner, steps = under_way(clock, store)
    stopped = started(pruner.stopService())
    assert waits(stopped)
    with capturedLogs() as events:
        steps.finish()
    assert result_of(stopped) is None
    assert len(events) == 1
    assert clock.getDelayedCalls() == []


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
    """Only the few versions that are being removed at that moment are waited for; the next start goes on from there."""
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
    """What is not pruned now is pruned after the next start."""
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
