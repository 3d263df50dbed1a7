"""The timer that thins out the history of projects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.model import ClientId, FileName, Millis, ProjectId, Pruned, Upload
from mneme.pruner import FIRST, INTERVAL, Pruner
from mneme.retention import Retention
from mneme.service import SyncService
from mneme.work import ImmediateWorker, Worker
from tests.keeping import KEEP_NONE
from tests.kept import MemoryStore
from tests.results import result_of, started, waits
from tests.stepped import SteppedWorker

ALPHA, BETA, GAMMA = ProjectId("alpha"), ProjectId("org/beta\n"), ProjectId("gamma")
ANA = ClientId("ana-0a1b2c3d")
TTL = Millis(60_000)


class Store(MemoryStore):
    """A store that counts its steps, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.searches = 0
        self.limits: list[int] = []
        self.broken: set[str | ProjectId] = set()

    def projects(self) -> Iterator[ProjectId]:
        """List the projects, or fail."""
        self.searches += 1
        if "projects" in self.broken:
            raise OSError(5, "Input/output error")
        return super().projects()

    def prune(self, project: ProjectId, retention: Retention, now: Millis, limit: int, /) -> Pruned:
        """Prune, or fail."""
        self.limits.append(limit)
        if project in self.broken:
            raise OSError(5, "Input/output error")
        return super().prune(project, retention, now, limit)

    def fill(self, project: ProjectId, versions: int, size: int = 1000) -> None:
        """Upload a file so often that all but the last version can go."""
        self.acquire(project, ANA, Millis(0), TTL)
        for number in range(versions + 1):
            content = f"{number:0{size}}".encode()
            self.upload(project, Upload(FileName.SUMMARY_MD, content, ANA), Millis(0))


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def store() -> Store:
    """A store without projects."""
    return Store()


def service(clock: Clock, store: Store, worker: Worker | None = None) -> SyncService:
    """The running service, which keeps nothing for its age."""
    sync = SyncService(clock, ImmediateWorker() if worker is None else worker, store, TTL, KEEP_NONE)
    sync.startService()
    return sync


@pytest.fixture
def pruner(clock: Clock, store: Store) -> Pruner:
    """A pruner that has not started yet, whose rounds take no time."""
    return Pruner(clock, service(clock, store))


def under_way(clock: Clock, store: Store, worker: SteppedWorker) -> tuple[SyncService, Pruner]:
    """A pruner in its first round, which has found out which projects there are."""
    sync = service(clock, store, worker)
    worker.finish()
    pruner = Pruner(clock, sync)
    pruner.startService()
    clock.advance(FIRST)
    worker.step()
    return sync, pruner


def test_it_prunes_a_while_after_the_start_and_then_every_hour(
    clock: Clock, store: Store, pruner: Pruner
) -> None:
    """A server that is restarted daily has to prune, too, but not while it starts."""
    recoveries = store.searches
    pruner.startService()
    clock.advance(FIRST - 0.001)
    assert store.searches == recoveries
    clock.advance(0.001)
    assert store.searches == recoveries + 1
    clock.pump([INTERVAL] * 3)
    assert store.searches == recoveries + 4


@pytest.mark.parametrize(
    ("versions", "size", "amount"),
    [
        (1, 1000, "1 version (1.0 kB)"),
        (2, 1000, "2 versions (2.0 kB)"),
        (1, 40, "1 version (0.0 kB)"),
        (3, 500_000, "3 versions (1.5 MB)"),
        (100, 1000, "100 versions (100.0 kB)"),
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
    assert str(formatEvent(event)) == f"Pruned {amount} of the history of alpha"
    assert event["log_level"] is LogLevel.info
    assert (event["project"], event["versions"], event["size"]) == ("alpha", versions, versions * size)
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
    assert [str(formatEvent(event)) for event in events] == [
        "Pruned 1 version (1.0 kB) of the history of alpha",
        "Pruned 1 version (1.0 kB) of the history of org/beta%0A",
    ]


def test_it_removes_a_few_versions_at_a_time(clock: Clock, store: Store) -> None:
    """So that requests of the same project come in between."""
    worker = SteppedWorker()
    store.fill(ALPHA, 200)
    under_way(clock, store, worker)
    left = [len(store.versions(ALPHA))]
    while len(worker):
        worker.step()
        left.append(len(store.versions(ALPHA)))
    assert left[-1] == 1
    assert max(before - after for before, after in pairwise(left)) <= 50


def test_a_request_comes_in_between(clock: Clock, store: Store) -> None:
    """It is answered long before the pruning is done."""
    worker = SteppedWorker()
    store.fill(ALPHA, 200)
    sync, _ = under_way(clock, store, worker)
    answer = started(sync.heads(ALPHA))
    for _ in range(2):
        worker.step()
    assert len(result_of(answer)) == 1
    assert len(store.versions(ALPHA)) > 100
    worker.finish()
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
    assert [str(formatEvent(event)) for event in events] == [
        "Could not prune the history of alpha",
        "Pruned 1 version (1.0 kB) of the history of gamma",
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
        "Could not prune the history of projects; trying again in 3600.0 s"
    ] * 2
    store.broken = set()
    clock.advance(INTERVAL)
    assert len(store.versions(ALPHA)) == 1


def test_what_retention_says_now_counts(clock: Clock, store: Store) -> None:
    """It can be changed while the server runs."""
    store.fill(ALPHA, 1)
    sync = service(clock, store)
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
    worker = SteppedWorker()
    store.fill(ALPHA, 1)
    _, pruner = under_way(clock, store, worker)
    stopped = started(pruner.stopService())
    assert waits(stopped)
    with capturedLogs() as events:
        worker.finish()
    assert result_of(stopped) is None
    assert len(events) == 1
    assert clock.getDelayedCalls() == []


def test_stopping_does_not_wait_for_projects_not_yet_begun(clock: Clock, store: Store) -> None:
    """A server with a thousand projects stops as soon as any other."""
    worker = SteppedWorker()
    for number in range(20):
        store.fill(ProjectId(f"project-{number}"), 1)
    _, pruner = under_way(clock, store, worker)
    stopped = started(pruner.stopService())
    steps = 0
    while waits(stopped):
        worker.step()
        steps += 1
    assert steps <= 2


def test_stopping_does_not_wait_for_the_rest_of_a_long_history(clock: Clock, store: Store) -> None:
    """Only for the few versions that are being removed at that moment; the next start goes on from there."""
    worker = SteppedWorker()
    store.fill(ALPHA, 500)
    sync = service(clock, store, worker)
    worker.finish()
    pruner = Pruner(clock, sync)
    pruner.startService()
    clock.advance(FIRST)
    for _ in range(3):
        worker.step()
    begun = len(store.versions(ALPHA))
    assert len(worker) == 1
    stopped = started(pruner.stopService())
    with capturedLogs() as events:
        worker.step()
    assert result_of(stopped) is None
    assert len(worker) == 0
    assert 0 < begun - len(store.versions(ALPHA)) <= 50
    assert [event["versions"] for event in events] == [501 - len(store.versions(ALPHA))]


def test_a_round_that_meets_the_end_of_the_service_is_quiet(clock: Clock, store: Store) -> None:
    """What is not pruned now is pruned after the next start."""
    worker = SteppedWorker()
    for project in (ALPHA, BETA, GAMMA):
        store.fill(project, 40)
    sync, pruner = under_way(clock, store, worker)
    with capturedLogs() as events:
        stopped = started(sync.stopService())
        worker.finish()
    assert result_of(stopped) is None
    assert [event["log_level"] for event in events] == [LogLevel.info]
    assert result_of(pruner.stopService()) is None
    assert len(store.versions(GAMMA)) == 41
