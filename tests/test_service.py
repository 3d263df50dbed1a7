"""The use cases: each one step in the lane of its project, at the time when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.errors import DiskFull, ShuttingDown
from mneme.model import (
    Accepted,
    ClientId,
    Condition,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Overview,
    ProjectId,
    Receipt,
    Released,
    Rescued,
    Restore,
    Served,
    Unnamed,
    Upload,
    Usage,
    digest,
)
from mneme.service import Reaped, SyncService
from mneme.store import Store
from mneme.work import ImmediateWorker
from tests.keeping import KEEP_ALL, KEEP_NONE
from tests.kept import DiskStore, MemoryStore
from tests.results import failure_of, result_of, started, waits
from tests.stepped import SteppedWorker
from tests.store.looking import leftovers

ALPHA, BETA = ProjectId("alpha"), ProjectId("beta")
ANA, BEN = ClientId("ana-0a1b2c3d"), ClientId("ben-4e5f6a7b")
LOG = FileName.LOG
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)


class BrokenStore(MemoryStore):
    """A store that fails where it is told to, with a fault of the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str | ProjectId] = set()
        self.recovered: list[ProjectId] = []

    def recover(self, project: ProjectId, /) -> None:
        """Recover, or fail if this project is broken."""
        self._check(project)
        self.recovered.append(project)

    def projects(self) -> Iterator[ProjectId]:
        """List the projects, or fail half-way through."""
        yield from super().projects()
        self._check("projects")

    def usage(self) -> Usage:
        """Look at the space that is taken, or fail."""
        self._check("usage")
        return super().usage()

    def expired(self, now: Millis, /) -> tuple[ProjectId, ...]:
        """Look for expired locks, or fail."""
        self._check("expired")
        return super().expired(now)

    def reap(self, project: ProjectId, now: Millis, /) -> Lock | None:
        """Reap, or fail if this project is broken."""
        self._check(project)
        return super().reap(project, now)

    def overview(self, project: ProjectId, now: Millis, /) -> Overview | None:
        """Look at a project, or fail if this one is broken."""
        self._check(project)
        return super().overview(project, now)

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        """Take note, or fail if this project is broken."""
        self._check(project)
        super().confirm(project, receipt, now)

    def _check(self, what: str | ProjectId) -> None:
        if what in self.broken:
            raise OSError(5, "Input/output error")


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves, at `NOW`."""
    clock = Clock()
    clock.advance(NOW / 1000)
    return clock


@pytest.fixture
def worker() -> SteppedWorker:
    """A worker that waits for the test."""
    return SteppedWorker()


@pytest.fixture
def store() -> BrokenStore:
    """A store that is whole as yet."""
    return BrokenStore()


@pytest.fixture
def service(clock: Clock, store: BrokenStore) -> SyncService:
    """The service, with a worker that runs everything at once."""
    return SyncService(clock, ImmediateWorker(), store, TTL, KEEP_ALL)


@pytest.fixture
def stepped(clock: Clock, worker: SteppedWorker, store: BrokenStore) -> SyncService:
    """The service, with a worker that waits for the test."""
    return SyncService(clock, worker, store, TTL, KEEP_ALL)


def moved(clock: Clock, milliseconds: int) -> Millis:
    """Move the clock, and say what it shows then."""
    clock.rightNow = (round(clock.rightNow * 1000) + milliseconds) / 1000
    return Millis(round(clock.rightNow * 1000))


class TestUseCases:
    """What a front end can ask for."""

    def test_the_life_of_a_lock(self, service: SyncService, clock: Clock) -> None:
        """From its acquisition to its expiry, to the millisecond."""
        lock = Lock(ANA, NOW, Millis(NOW + TTL), 1, NOW)
        assert result_of(service.lock(ALPHA)) is None
        assert result_of(service.acquire(ALPHA, ANA)) == Granted(lock)
        assert result_of(service.acquire(ALPHA, BEN)) == HeldBy(lock)
        now = moved(clock, TTL - 1)
        assert result_of(service.lock(ALPHA)) == lock
        assert result_of(service.extend(ALPHA, BEN)) == HeldBy(lock)
        extended = Lock(ANA, NOW, Millis(now + TTL), 1, NOW, now)
        assert result_of(service.extend(ALPHA, ANA)) == Granted(extended)
        moved(clock, TTL - 1)
        assert result_of(service.lock(ALPHA)) == extended
        now = moved(clock, 1)
        assert result_of(service.lock(ALPHA)) is None
        assert result_of(service.release(ALPHA, ANA)) == NotLocked()
        taken = Lock(BEN, now, Millis(now + TTL), 2, now)
        assert result_of(service.acquire(ALPHA, BEN)) == Granted(taken)
        assert result_of(service.release(ALPHA, BEN)) == Released(taken)

    def test_files_are_uploaded_listed_and_read(self, service: SyncService, clock: Clock) -> None:
        """By the holder of the lock; what anybody else uploads is kept."""
        refused = result_of(service.upload(ALPHA, Upload(FileName.SUMMARY_JSON, b"junk", BEN)))
        assert refused == Rescued(NotLocked(), 1)
        result_of(service.acquire(ALPHA, ANA))
        now = moved(clock, 5)
        head = Head(LOG, 2, 4, now, digest(b"one\n"))
        assert result_of(service.upload(ALPHA, Upload(LOG, b"one\n", ANA))) == Accepted(head)
        assert result_of(service.heads(ALPHA)) == (head,)
        assert result_of(service.read(ALPHA, LOG)) == Document(head, b"one\n")
        assert result_of(service.read(ALPHA, FileName.ENTITIES)) is None
        assert result_of(service.heads(BETA)) == ()

    def test_a_new_time_to_live_counts_from_the_next_lock(self, service: SyncService) -> None:
        """Locks that are held keep what they were given."""
        result_of(service.acquire(ALPHA, ANA))
        service.lock_ttl = Millis(5)
        assert result_of(service.lock(ALPHA)) == Lock(ANA, NOW, Millis(NOW + TTL), 1, NOW)
        assert result_of(service.acquire(BETA, ANA)) == Granted(Lock(ANA, NOW, Millis(NOW + 5), 1, NOW))

    @pytest.mark.parametrize("milliseconds", [0, 1, 7, 57, 123, 999])
    def test_no_millisecond_is_lost_on_the_way_from_the_clock(
        self, service: SyncService, clock: Clock, milliseconds: int
    ) -> None:
        """Clocks tell seconds in floating point; what is a whole millisecond stays that one."""
        now = moved(clock, milliseconds)
        lock = result_of(service.acquire(ALPHA, ANA)).lock
        assert (lock.acquired_at, lock.expires_at) == (now, now + TTL)

    def test_a_full_disk_is_told(self, clock: Clock, worker: SteppedWorker) -> None:
        """What the store raises is what the caller gets."""

        class FullStore(MemoryStore):
            def upload(self, project: ProjectId, upload: Upload, now: Millis, /) -> Accepted:
                raise DiskFull

        service = SyncService(clock, ImmediateWorker(), FullStore(), TTL, KEEP_ALL)
        assert isinstance(failure_of(service.upload(ALPHA, Upload(LOG, b"", ANA))), DiskFull)


class TestTurns:
    """One step at a time for one project."""

    def test_the_time_of_a_step_is_that_of_its_turn(
        self, stepped: SyncService, clock: Clock, worker: SteppedWorker
    ) -> None:
        """A lock that expires while an upload waits for its turn is none when the turn comes."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        worker.step()
        result_of(acquired)
        early, late = (started(stepped.upload(ALPHA, Upload(LOG, b"%d" % n, ANA))) for n in (1, 2))
        now = moved(clock, TTL - 1)
        worker.step()
        moved(clock, 1)
        worker.step()
        assert result_of(early) == Accepted(Head(LOG, 1, 1, now, digest(b"1")))
        assert result_of(late) == Rescued(NotLocked(), 2)

    def test_of_two_acquires_at_one_instant_the_first_wins(
        self, stepped: SyncService, worker: SteppedWorker
    ) -> None:
        """Both have been asked for before either has run."""
        outcomes = [started(stepped.acquire(ALPHA, client)) for client in (BEN, ANA)]
        worker.finish()
        lock = Lock(BEN, NOW, Millis(NOW + TTL), 1, NOW)
        assert [result_of(outcome) for outcome in outcomes] == [Granted(lock), HeldBy(lock)]

    def test_projects_do_not_wait_for_each_other(self, stepped: SyncService, worker: SteppedWorker) -> None:
        """The one that hangs is the only one that does."""
        slow, quick = started(stepped.acquire(ALPHA, ANA)), started(stepped.acquire(BETA, ANA))
        worker.step(1)
        assert isinstance(result_of(quick), Granted)
        assert waits(slow)
        worker.finish()
        assert isinstance(result_of(slow), Granted)

    def test_a_hang_up_cancels_no_upload(self, stepped: SyncService, worker: SteppedWorker) -> None:
        """It is written although nobody waits for the answer, and whoever comes next finds it."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        upload = started(stepped.upload(ALPHA, Upload(LOG, b"one\n", ANA)))
        upload.cancel()
        assert isinstance(failure_of(upload), CancelledError)
        heads = started(stepped.heads(ALPHA))
        assert stepped.abandoned_bytes == 4
        worker.finish()
        assert stepped.abandoned_bytes == 0
        assert isinstance(result_of(acquired), Granted)
        assert result_of(heads) == (Head(LOG, 1, 4, NOW, digest(b"one\n")),)


class TestRecovery:
    """What a crash left is mended in the background when the service starts."""

    def test_every_project_is_recovered_once(
        self, stepped: SyncService, store: BrokenStore, worker: SteppedWorker
    ) -> None:
        """One after the other, so that clients find threads free."""
        for project in (ALPHA, BETA):
            store.acquire(project, ANA, NOW, TTL)
        stepped.startService()
        for _ in range(3):
            assert len(worker) == 1
            worker.step()
        assert len(worker) == 0
        assert store.recovered == [ALPHA, BETA]

    def test_clients_do_not_wait_for_the_recovery_of_other_projects(
        self, stepped: SyncService, store: BrokenStore, worker: SteppedWorker
    ) -> None:
        """A step runs while the sweep goes on."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        stepped.startService()
        worker.step()
        answer = started(stepped.acquire(BETA, BEN))
        worker.step(1)
        assert isinstance(result_of(answer), Granted)
        assert store.recovered == []
        worker.finish()
        assert store.recovered == [ALPHA]

    def test_a_project_that_cannot_be_recovered_keeps_no_other_from_it(
        self, service: SyncService, store: BrokenStore
    ) -> None:
        """The log names it, and the sweep goes on."""
        for project in (ALPHA, BETA):
            store.acquire(project, ANA, NOW, TTL)
        store.broken = {ALPHA}
        with capturedLogs() as events:
            service.startService()
        [event] = events
        assert event["log_level"] is LogLevel.critical
        assert str(formatEvent(event)).startswith("Could not recover alpha; ")
        assert store.recovered == [BETA]

    def test_a_data_directory_that_cannot_be_listed_does_not_stop_the_service(
        self, service: SyncService, store: BrokenStore
    ) -> None:
        """It is logged, and clients are served."""
        store.broken = {"projects"}
        with capturedLogs() as events:
            service.startService()
        assert [str(formatEvent(e)) for e in events] == ["Could not look through the projects on disk"]
        assert isinstance(result_of(service.acquire(ALPHA, ANA)), Granted)
        assert result_of(service.stopService()) is None

    def test_it_mends_what_a_crash_left_on_disk(self, clock: Clock, tmp_path: Path) -> None:
        """With a real store: before anybody has asked for the project."""
        DiskStore(tmp_path).acquire(ALPHA, ANA, NOW, TTL)
        alpha = tmp_path / "projects" / "alpha"
        for left in (alpha / ".log.jsonl.next", alpha / ".history" / "00000001.spare"):
            left.write_bytes(b"not committed")
        assert leftovers(tmp_path) != []
        store = DiskStore(tmp_path)
        service = SyncService(clock, ImmediateWorker(), store, TTL, KEEP_ALL)
        service.startService()
        assert leftovers(tmp_path) == []
        moved(clock, TTL)
        assert [one.project for one in result_of(service.reap())] == [ALPHA]


class TestReaping:
    """Expired locks are removed, whoever held them."""

    def test_expired_locks_are_reaped_with_their_age(self, service: SyncService, clock: Clock) -> None:
        """And locks that are held are not."""
        lock = result_of(service.acquire(ALPHA, ANA)).lock
        moved(clock, 5)
        result_of(service.acquire(BETA, BEN))
        moved(clock, TTL - 6)
        assert result_of(service.reap()) == []
        moved(clock, 1)
        assert result_of(service.reap()) == [Reaped(ALPHA, lock, TTL)]
        moved(clock, 4)
        assert result_of(service.reap()) == []
        moved(clock, 1)
        assert [one.lock.client for one in result_of(service.reap())] == [BEN]

    def test_a_lock_that_was_taken_in_the_meantime_is_left_alone(
        self, stepped: SyncService, clock: Clock, worker: SteppedWorker
    ) -> None:
        """Between the search and the removal somebody else may have acquired it."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        worker.finish()
        result_of(acquired)
        moved(clock, TTL)
        reaped = started(stepped.reap())
        again = started(stepped.acquire(ALPHA, BEN))
        worker.finish()
        assert result_of(reaped) == []
        assert isinstance(result_of(again), Granted)
        held = started(stepped.lock(ALPHA))
        worker.finish()
        assert result_of(held) == Lock(BEN, Millis(NOW + TTL), Millis(NOW + 2 * TTL), 2, Millis(NOW + TTL))

    def test_a_lock_that_cannot_be_reaped_keeps_no_other_from_it(
        self, service: SyncService, clock: Clock, store: BrokenStore
    ) -> None:
        """The log names the project."""
        for project in (ALPHA, BETA):
            result_of(service.acquire(project, ANA))
        moved(clock, TTL)
        store.broken = {ALPHA}
        with capturedLogs() as events:
            assert [one.project for one in result_of(service.reap())] == [BETA]
        assert [str(formatEvent(event)) for event in events] == ["Could not reap the lock of alpha"]

    def test_a_round_that_meets_the_end_of_the_service_is_quiet(
        self, stepped: SyncService, clock: Clock, worker: SteppedWorker
    ) -> None:
        """What is not reaped now is reaped after the next start."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        worker.finish()
        result_of(acquired)
        moved(clock, TTL)
        reaped = started(stepped.reap())
        with capturedLogs() as events:
            assert result_of(stepped.stopService()) is None
            worker.finish()
        assert result_of(reaped) == []
        assert events == []


class TestHistory:
    """What was kept, and what becomes of it."""

    def test_a_refused_upload_is_merged_when_the_lock_is_reaped(
        self, service: SyncService, clock: Clock
    ) -> None:
        """Whoever held it."""
        one, two = (
            b'{"ts":"2026-02-04T15:0%d:00.000Z","type":"note","content":"%d"}\n' % (n, n) for n in (1, 2)
        )
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, one, ANA)))
        assert isinstance(result_of(service.upload(ALPHA, Upload(LOG, two, BEN))), Rescued)
        moved(clock, TTL)
        assert len(result_of(service.reap())) == 1
        kept = result_of(service.version(ALPHA, 3))
        assert kept
        assert (kept.content, kept.version.parents) == (one + two, (1, 2))
        assert [v.number for v in result_of(service.history(ALPHA, LOG))] == [3, 2, 1]

    def test_merging_can_be_turned_off_and_on(self, service: SyncService, store: BrokenStore) -> None:
        """It is the store that merges."""
        service.merging = Merging(enabled=False)
        assert store.merging == service.merging == Merging(enabled=False)
        service.merging = Merging(max_bytes=7)
        assert store.merging == Merging(enabled=True, max_bytes=7)

    def test_its_condition_is_told_at_any_time(
        self, stepped: SyncService, worker: SteppedWorker, clock: Clock, store: BrokenStore
    ) -> None:
        """By the time of day at which it is told, and though every project is busy."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        told = started(stepped.condition())
        now = moved(clock, 90_000)
        worker.step(1)
        assert result_of(told) == Condition(NOW, now, store.usage())
        assert waits(acquired)

    def test_many_who_ask_for_its_condition_take_one_thread(
        self, stepped: SyncService, worker: SteppedWorker
    ) -> None:
        """The others are for projects; who hangs up while waiting is no fault."""
        told = [started(stepped.condition()) for _ in range(3)]
        with capturedLogs() as events:
            told[1].cancel()
            for _ in range(3):
                assert len(worker) == 1
                worker.step()
        assert result_of(told[0]) == result_of(told[2])
        assert isinstance(failure_of(told[1]), CancelledError)
        assert events == []

    def test_a_condition_that_cannot_be_told_is_a_fault(
        self, service: SyncService, store: BrokenStore
    ) -> None:
        """Of the disk; the next time it may be told."""
        store.broken = {"usage"}
        assert isinstance(failure_of(service.condition()), OSError)
        store.broken = set()
        assert result_of(service.condition()).usage == store.usage()

    def test_all_projects_are_told_at_a_glance(self, service: SyncService) -> None:
        """In the order of their ids; one that cannot be read hides no other."""
        for project in (BETA, ALPHA):
            result_of(service.acquire(project, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, b"one\n", BEN)))
        told = [(one.project, len(one.waiting)) for one in result_of(service.overviews())]
        assert told == [(ALPHA, 1), (BETA, 0)]

    def test_a_project_that_cannot_be_told_of_hides_no_other(
        self, service: SyncService, store: BrokenStore
    ) -> None:
        """The log names it."""
        for project in (BETA, ALPHA):
            result_of(service.acquire(project, ANA))
        store.broken = {ALPHA}
        with capturedLogs() as events:
            assert [one.project for one in result_of(service.overviews())] == [BETA]
        assert [str(formatEvent(event)) for event in events] == ["Could not look at alpha"]

    @pytest.mark.parametrize(("doubted", "base"), [(False, 1), (True, None)])
    def test_a_client_has_what_it_received(
        self, service: SyncService, store: BrokenStore, doubted: bool, base: int | None
    ) -> None:
        """No trace of it is needed in the next upload, unless it is doubted."""
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, b"{}\n[]\n", ANA)))
        served = result_of(service.download(ALPHA, LOG, BEN))
        assert isinstance(served, Served)
        assert served.receipt == Receipt(BEN, LOG, 1)
        service.confirm(ALPHA, served.receipt)
        if doubted:
            service.doubt(ALPHA, served.receipt)
        result_of(service.upload(ALPHA, Upload(LOG, b"{}\n{}\n", BEN)))
        assert store.versions(ALPHA)[1].base == base

    def test_a_download_is_that_of_whoever_holds_the_lock_when_its_turn_comes(
        self, service: SyncService
    ) -> None:
        """A stock client says nothing of itself; a reader by another program is nobody."""
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, b"{}\n", ANA)))
        result_of(service.release(ALPHA, ANA))
        result_of(service.acquire(ALPHA, BEN))
        for reader, receipt in ((Unnamed.STOCK, Receipt(BEN, LOG, 1)), (Unnamed.OTHER, None)):
            served = result_of(service.download(ALPHA, LOG, reader))
            assert isinstance(served, Served)
            assert served.receipt == receipt

    def test_a_receipt_that_cannot_be_noted_is_logged(self, service: SyncService, store: BrokenStore) -> None:
        """Nobody waits for it, and nothing else suffers."""
        result_of(service.acquire(ALPHA, ANA))
        store.broken = {ALPHA}
        with capturedLogs() as events:
            service.confirm(ALPHA, Receipt(BEN, LOG, 1))
        assert [str(formatEvent(event)) for event in events] == ["Could not note what a client of alpha has"]

    def test_a_receipt_after_the_end_is_quiet(self, service: SyncService) -> None:
        """A client that was slow to receive is no trouble."""
        service.startService()
        result_of(service.stopService())
        with capturedLogs() as events:
            service.confirm(ALPHA, Receipt(BEN, LOG, 1))
        assert events == []


class TestStopping:
    """Nothing is left half done."""

    @staticmethod
    def asks(service: SyncService) -> list[Callable[[], Coroutine[Any, Any, object]]]:
        """All that can be asked for."""
        return [
            lambda: service.lock(ALPHA),
            lambda: service.acquire(ALPHA, ANA),
            lambda: service.extend(ALPHA, ANA),
            lambda: service.release(ALPHA, ANA),
            lambda: service.heads(ALPHA),
            lambda: service.stock_heads(ALPHA),
            lambda: service.read(ALPHA, LOG),
            lambda: service.download(ALPHA, LOG, ANA),
            lambda: service.upload(ALPHA, Upload(LOG, b"", ANA)),
            lambda: service.history(ALPHA, LOG),
            lambda: service.version(ALPHA, 1),
            lambda: service.restore(ALPHA, Restore(LOG, 1, ANA)),
        ]

    def test_stopping_waits_for_all_steps_that_were_taken_on(
        self, stepped: SyncService, worker: SteppedWorker
    ) -> None:
        """Those whose turn has not come included, and those whose clients have hung up."""
        stepped.startService()
        worker.finish()
        answers: list[Deferred[object]] = [
            started(stepped.acquire(ALPHA, ANA)),
            started(stepped.upload(ALPHA, Upload(LOG, b"one", ANA))),
            started(stepped.upload(ALPHA, Upload(LOG, b"two", ANA))),
        ]
        answers[2].cancel()
        failure_of(answers.pop())
        stopped = started(stepped.stopService())
        for _ in range(3):
            assert waits(stopped)
            worker.step()
        assert result_of(stopped) is None
        assert [type(result_of(answer)) for answer in answers] == [Granted, Accepted]

    def test_a_stopped_service_refuses_everything(self, service: SyncService) -> None:
        """With the error that says so."""
        service.startService()
        assert result_of(service.stopService()) is None
        for ask in self.asks(service):
            assert isinstance(failure_of(ask()), ShuttingDown)

    def test_a_stopping_service_refuses_what_comes_late(
        self, stepped: SyncService, worker: SteppedWorker
    ) -> None:
        """While it still finishes what came before."""
        stepped.startService()
        worker.finish()
        answer = started(stepped.acquire(ALPHA, ANA))
        stopped = started(stepped.stopService())
        for ask in self.asks(stepped):
            assert isinstance(failure_of(ask()), ShuttingDown)
        worker.finish()
        assert isinstance(result_of(answer), Granted)
        assert result_of(stopped) is None

    @pytest.mark.parametrize("steps", [0, 1, 2])
    def test_a_recovery_under_way_stops_after_its_project(
        self, stepped: SyncService, store: BrokenStore, worker: SteppedWorker, steps: int
    ) -> None:
        """A large data directory does not keep the server from stopping, and nothing is logged as a failure."""
        for project in (ALPHA, BETA, ProjectId("gamma")):
            store.acquire(project, ANA, NOW, TTL)
        stepped.startService()
        for _ in range(steps):
            worker.step()
        with capturedLogs() as events:
            stopped = started(stepped.stopService())
            assert waits(stopped)
            worker.step()
            assert result_of(stopped) is None
        assert len(worker) == 0
        assert len(store.recovered) == steps
        assert events == []

    def test_a_service_that_never_started_stops(self, service: SyncService) -> None:
        """As when the start of something else failed."""
        assert result_of(service.stopService()) is None


def test_the_service_knows_stores_by_their_protocol(clock: Clock, tmp_path: Path) -> None:
    """The same session on either store ends in the same memory."""
    ends = []
    stores: list[Store] = [MemoryStore(), DiskStore(tmp_path)]
    for store in stores:
        service = SyncService(clock, ImmediateWorker(), store, TTL, KEEP_ALL)
        service.startService()
        result_of(service.acquire(ALPHA, ANA))
        for content in (b"one", b"two", b"two"):
            result_of(service.upload(ALPHA, Upload(LOG, content, ANA)))
        result_of(service.stopService())
        ends.append((store.versions(ALPHA), store.read(ALPHA, LOG, NOW), store.lock(ALPHA, NOW)))
    assert ends[0] == ends[1]


class TestAClockThatIsNotBelieved:
    """By a clock that has just jumped ahead everything looks old."""

    def test_nothing_is_pruned_until_it_has_gone_right_for_a_day(
        self, clock: Clock, store: BrokenStore
    ) -> None:
        """And nothing would be, whoever asks."""
        uptime = Clock()
        service = SyncService(clock, ImmediateWorker(), store, TTL, KEEP_NONE, uptime)
        result_of(service.acquire(ALPHA, ANA))
        for content in (b"a", b"b", b"c"):
            result_of(service.upload(ALPHA, Upload(LOG, content, ANA)))
        assert result_of(service.prunable(ALPHA)).versions == ()
        service.startService()
        before = result_of(service.prunable(ALPHA)).versions
        assert before
        clock.rightNow += 40 * 86_400.0
        for prune in (service.prunable, service.prune):
            assert result_of(prune(ALPHA)).versions == ()
        clock.rightNow += 86_400.0
        uptime.advance(86_400.0)
        assert result_of(service.prune(ALPHA)).versions[: len(before)] == before
