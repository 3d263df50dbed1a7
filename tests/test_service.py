"""The use cases, each made of steps of the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from mneme.errors import DiskFull, ShuttingDown
from mneme.model import (
    FILES,
    NOT_THERE,
    Accepted,
    Append,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    Kind,
    Lock,
    Millis,
    NotLocked,
    Precondition,
    ProjectId,
    Receipt,
    Released,
    Rescued,
    Restore,
    Served,
    Unmodified,
    Upload,
    Usage,
    digest,
)
from mneme.retention import Retention
from mneme.service import Lane, SyncService
from mneme.store import Store
from mneme.store.sqlite import NAME, Database
from mneme.work import Worker
from tests.immediate import ImmediateSteps, ImmediateWorker
from tests.keeping import KEEP_ALL, KEEP_NONE
from tests.kept import DiskStore, MemoryStore, full_disk, lane_of
from tests.results import failure_of, result_of, started, waits
from tests.stepped import SteppedSteps, SteppedWorker

ALPHA, BETA = ProjectId("alpha"), ProjectId("beta")
ANA, BEN = ClientId("ana-0a1b2c3d"), ClientId("ben-4e5f6a7b")
LOG = FileName.LOG
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)

T = TypeVar("T")
Awaited: TypeAlias = Deferred[Any] | Coroutine[Any, Any, Any]


class BrokenStore(MemoryStore):
    """A store that fails where it is told to, and counts its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str | ProjectId] = set()
        self.reads = 0

    def usage(self) -> Usage:
        """Look at the space that is taken, or fail."""
        self._check("usage")
        return super().usage()

    def reap(self, project: ProjectId, now: Millis) -> Lock | None:
        """Reap, or fail if this project is broken."""
        self._check(project)
        return super().reap(project, now)

    def read(self, project: ProjectId, file: FileName, now: Millis) -> Document | None:
        """Read, and count that."""
        self.reads += 1
        return super().read(project, file, now)

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis) -> None:
        """Take note, or fail if this project is broken."""
        self._check(project)
        super().confirm(project, receipt, now)

    def merge_next(self, project: ProjectId, now: Millis) -> bool:
        """Merge, or fail if merging is broken, or finds no space."""
        self._check("merging")
        if "space" in self.broken:
            raise DiskFull
        return super().merge_next(project, now)

    def listing(self, before: str) -> tuple[list[ProjectId], list[int], str]:
        """Look through the working copy, or fail."""
        self._check("listing")
        return super().listing(before)

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
def store() -> BrokenStore:
    """A store that is whole as yet."""
    return BrokenStore()


@pytest.fixture
def steps(store: BrokenStore) -> SteppedSteps:
    """The steps of the store, which wait for the test once it holds them back."""
    return SteppedSteps(store, holding=False)


@pytest.fixture
def worker() -> SteppedWorker:
    """A worker that waits for the test."""
    return SteppedWorker()


def running(
    clock: Clock,
    lane: Lane,
    worker: Worker | None = None,
    retention: Retention = KEEP_ALL,
    uptime: Clock | None = None,
) -> SyncService:
    """The service over a store that is read and written over one connection."""
    service = SyncService(
        clock, lane, lane, ImmediateWorker() if worker is None else worker, TTL, retention, uptime
    )
    service.startService()
    return service


@pytest.fixture
def service(clock: Clock, store: BrokenStore) -> SyncService:
    """The service, whose steps run at once."""
    return running(clock, lane_of(store))


@pytest.fixture
def stepped(clock: Clock, steps: SteppedSteps) -> SyncService:
    """The service, whose steps wait for the test."""
    service = running(clock, steps.lane)
    steps.holding = True
    return service


def moved(clock: Clock, milliseconds: int) -> Millis:
    """Move the clock, and say what it shows then."""
    clock.rightNow = (round(clock.rightNow * 1000) + milliseconds) / 1000
    return Millis(round(clock.rightNow * 1000))


def line(number: int) -> bytes:
    """A line of a log."""
    return b'{"ts":"2026-02-04T15:0%d:00.000Z","type":"note","content":"%d"}\n' % (number, number)


def large(word: str) -> bytes:
    """A log of 700 kB, two of which are merged on the worker."""
    entry = '{"ts":"2026-02-04T14:00:00.000Z","type":"note","content":"%s %07d"}\n'
    return "".join(entry % (word, number) for number in range(10_000)).encode()


def numbered(number: int) -> bytes:
    """A line that another program writes into a log."""
    return b'{"ts":"2026-02-04T16:00:00.%03dZ","type":"note","content":"edit %d"}\n' % (number, number)


def faults(events: Sequence[LogEvent]) -> list[LogEvent]:
    """The faults that were logged."""
    return [event for event in events if "log_failure" in event]


def log_in(document: Document | None) -> bytes:
    """The content of a file that must be there."""
    assert document
    return document.content


def content(service: SyncService, steps: SteppedSteps) -> bytes | None:
    """The log of alpha."""
    read = started(service.read(ALPHA, LOG))
    steps.finish()
    document = result_of(read)
    return document.content if document else None


class TestUseCases:
    """Requests of a front end."""

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

    def test_a_full_disk_keeps_nobody_from_reading(self, service: SyncService, store: BrokenStore) -> None:
        """Only the receipt is missing."""
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, b"one\n", ANA)))
        with full_disk(store):
            served = result_of(service.download(ALPHA, LOG, BEN))
            known = Precondition(frozenset([digest(b"one\n")]))
            unmodified = result_of(service.download(ALPHA, LOG, BEN, known))
            assert result_of(service.download(ALPHA, FileName.ENTITIES, BEN)) is None
        assert isinstance(served, Served)
        assert (served.document.content, served.receipt) == (b"one\n", None)
        assert unmodified == Unmodified(served.document.head)


class TestTurns:
    """Steps run one after the other."""

    def test_the_time_of_a_step_is_that_of_its_turn(
        self, stepped: SyncService, clock: Clock, steps: SteppedSteps
    ) -> None:
        """A lock that expires before the turn of an upload is none."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        steps.step()
        result_of(acquired)
        early, late = (started(stepped.upload(ALPHA, Upload(LOG, b"%d" % n, ANA))) for n in (1, 2))
        now = moved(clock, TTL - 1)
        steps.step()
        moved(clock, 1)
        steps.step()
        assert result_of(early) == Accepted(Head(LOG, 1, 1, now, digest(b"1")))
        assert result_of(late) == Rescued(NotLocked(), 2)

    def test_a_hang_up_cancels_no_upload(self, stepped: SyncService, steps: SteppedSteps) -> None:
        """The upload is written, and found by the next reader."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        upload = started(stepped.upload(ALPHA, Upload(LOG, b"one\n", ANA)))
        upload.cancel()
        assert isinstance(failure_of(upload), CancelledError)
        heads = started(stepped.heads(ALPHA))
        assert stepped.abandoned_bytes == 4
        steps.finish()
        assert stepped.abandoned_bytes == 0
        assert isinstance(result_of(acquired), Granted)
        assert result_of(heads) == (Head(LOG, 1, 4, NOW, digest(b"one\n")),)

    def test_a_read_whose_client_is_gone_before_its_turn_is_not_run(
        self, stepped: SyncService, steps: SteppedSteps, store: BrokenStore
    ) -> None:
        """A client that hangs up costs no reading."""
        gone, there = (started(stepped.read(ALPHA, LOG)) for _ in range(2))
        gone.cancel()
        assert isinstance(failure_of(gone), CancelledError)
        steps.finish()
        assert result_of(there) is None
        assert store.reads == 1


class TestMerging:
    """The next step merges waiting uploads, once for all who wait for that."""

    @pytest.fixture
    def waiting(self, service: SyncService) -> SyncService:
        """The service, with an upload that waits, and a free lock."""
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, line(1), ANA)))
        result_of(service.upload(ALPHA, Upload(LOG, line(2), BEN)))
        return service

    def test_a_release_is_answered_before_waiting_uploads_are_merged(
        self, waiting: SyncService, stepped: SyncService, steps: SteppedSteps
    ) -> None:
        """Its client need not wait for the uploads of others."""
        released = started(stepped.release(ALPHA, ANA))
        steps.step()
        assert isinstance(result_of(released), Released)
        assert len(steps) == 1
        steps.finish()
        assert content(stepped, steps) == line(1) + line(2)

    def test_an_acquire_waits_until_waiting_uploads_are_merged(
        self, waiting: SyncService, stepped: SyncService, clock: Clock, steps: SteppedSteps
    ) -> None:
        """Others wait for the same merge, even if the first of them hangs up."""
        moved(clock, TTL)
        gone, read = (started(stepped.read(ALPHA, LOG)) for _ in range(2))
        acquired = started(stepped.acquire(ALPHA, BEN))
        steps.let_go()
        with capturedLogs() as events:
            gone.cancel()
            assert isinstance(failure_of(gone), CancelledError)
            assert [waits(acquired), waits(read), len(steps)] == [True, True, 1]
            steps.finish()
        assert isinstance(result_of(acquired), Granted)
        assert log_in(result_of(read)) == line(1) + line(2)
        assert faults(events) == []

    @pytest.mark.parametrize("problem", ["merging", "space"])
    def test_uploads_that_cannot_be_merged_keep_nobody_from_reading(
        self, waiting: SyncService, clock: Clock, store: BrokenStore, problem: str
    ) -> None:
        """A fault lets a client have the lock, too; a full disk does not."""
        moved(clock, TTL)
        store.broken = {problem}
        with capturedLogs() as events:
            assert log_in(result_of(waiting.read(ALPHA, LOG))) == line(1)
        assert ["The waiting uploads of alpha" in str(formatEvent(event)) for event in events] == [True]
        with capturedLogs():
            acquired = started(waiting.acquire(ALPHA, BEN))
        if problem == "space":
            assert isinstance(failure_of(acquired), DiskFull)
        else:
            assert isinstance(result_of(acquired), Granted)
        store.broken = set()
        result_of(waiting.release(ALPHA, BEN))
        assert log_in(result_of(waiting.read(ALPHA, LOG))) == line(1) + line(2)


class TestLargeComputations:
    """They run on the worker, outside of any step."""

    @pytest.fixture
    def waiting(self, clock: Clock, store: BrokenStore) -> None:
        """Two projects, each with a large upload that waits."""
        service = running(clock, lane_of(store))
        for project in (ALPHA, BETA):
            result_of(service.acquire(project, ANA))
            for client, word in ((ANA, "one"), (BEN, "two")):
                result_of(service.upload(project, Upload(LOG, large(word), client)))

    @pytest.mark.usefixtures("waiting")
    def test_a_large_merge_delays_no_other_step(
        self, clock: Clock, store: BrokenStore, worker: SteppedWorker
    ) -> None:
        """While it is computed, everybody but those who wait for it is served."""
        service = running(clock, lane_of(store), worker)
        result_of(service.release(ALPHA, ANA))
        assert len(worker) == 1
        read = started(service.read(ALPHA, LOG))
        assert isinstance(result_of(service.acquire(ProjectId("gamma"), BEN)), Granted)
        assert waits(read)
        worker.finish()
        assert set(log_in(result_of(read)).splitlines()) == {
            *large("one").splitlines(),
            *large("two").splitlines(),
        }

    @pytest.mark.usefixtures("waiting")
    def test_large_computations_run_one_at_a_time(
        self, clock: Clock, store: BrokenStore, worker: SteppedWorker
    ) -> None:
        """Each holds tens of megabytes."""
        service = running(clock, lane_of(store), worker)
        for project in (ALPHA, BETA):
            result_of(service.release(project, ANA))
        while len(worker):
            assert len(worker) == 1
            worker.step()
        for project in (ALPHA, BETA):
            assert [one.kind for one in store.versions(project)][-1] is Kind.MERGED

    @pytest.mark.usefixtures("waiting")
    def test_an_upload_while_a_merge_is_computed_is_not_lost(
        self, clock: Clock, store: BrokenStore, worker: SteppedWorker
    ) -> None:
        """A step that finds another content than was computed with has that computed."""
        service = running(clock, lane_of(store), worker)
        result_of(service.release(ALPHA, ANA))
        assert len(worker) == 1
        late = started(service.upload(ALPHA, Upload(LOG, large("two") + line(3), BEN)))
        worker.finish()
        assert isinstance(result_of(late), Rescued)
        read = started(service.read(ALPHA, LOG))
        worker.finish()
        lines = log_in(result_of(read)).splitlines(keepends=True)
        assert line(3) in lines
        assert set(large("one").splitlines(keepends=True)) < set(lines)

    @pytest.mark.usefixtures("waiting")
    def test_the_end_of_the_service_waits_for_no_further_computation(
        self, clock: Clock, store: BrokenStore, worker: SteppedWorker
    ) -> None:
        """Uploads that are not merged by then are merged after the next start."""
        service = running(clock, lane_of(store), worker)
        result_of(service.release(ALPHA, ANA))
        with capturedLogs() as events:
            stopped = started(service.stopService())
            assert waits(stopped)
            worker.step()
            worker.finish()
        assert result_of(stopped) is None
        assert faults(events) == []
        again = running(clock, lane_of(store))
        assert len(log_in(result_of(again.read(ALPHA, LOG)))) > len(large("one"))


class TestWorkingCopy:
    """The plain files of a store on disk."""

    @pytest.fixture
    def on_disk(self, tmp_path: Path) -> DiskStore:
        """A store on disk."""
        return DiskStore(tmp_path)

    def test_projects_that_people_put_there_or_removed_are_noticed_by_a_list(
        self, clock: Clock, on_disk: DiskStore, tmp_path: Path
    ) -> None:
        """While the server runs."""
        service = running(clock, lane_of(on_disk))
        for project in (ALPHA, BETA):
            result_of(service.acquire(project, ANA))
            result_of(service.upload(project, Upload(LOG, line(1), ANA)))
        result_of(service.export())
        shutil.copytree(tmp_path / "projects" / "alpha", tmp_path / "elsewhere")
        shutil.rmtree(tmp_path / "projects" / "alpha")
        gamma = tmp_path / "projects" / "gamma"
        gamma.mkdir()
        (gamma / "log.jsonl").write_bytes(line(2))
        assert [str(one.project) for one in result_of(service.overviews())] == ["beta", "gamma"]
        (tmp_path / "elsewhere").rename(tmp_path / "projects" / "alpha")
        assert [str(one.project) for one in result_of(service.overviews())] == ["alpha", "beta", "gamma"]

    def test_files_that_lie_there_are_taken_in_at_the_start(
        self, clock: Clock, on_disk: DiskStore, tmp_path: Path
    ) -> None:
        """Before anybody has asked for it: the reaper has to know of its lock."""
        alpha = tmp_path / "projects" / "alpha"
        alpha.mkdir(parents=True)
        (alpha / "log.jsonl").write_bytes(line(1))
        running(clock, lane_of(on_disk))
        assert on_disk.projects() == [ALPHA]
        assert [one.kind for one in on_disk.versions(ALPHA)] == [Kind.FOUND]

    def test_edits_are_found_without_a_request(
        self, clock: Clock, on_disk: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some projects are looked at in each round, so that listeners are told in time."""
        monkeypatch.setattr("mneme.service._LOOKS_IN_A_ROUND", 1)
        service = running(clock, lane_of(on_disk))
        for project in (ALPHA, BETA):
            result_of(service.acquire(project, ANA))
            result_of(service.upload(project, Upload(LOG, line(1), ANA)))
        result_of(service.export())
        before = result_of(service.last_event())
        for project in (ALPHA, BETA):
            (tmp_path / "projects" / project.value / "log.jsonl").write_bytes(line(2))
        told = []
        for _ in range(2):
            result_of(service.look_around())
            told.append(
                [str(event.project) for event in result_of(service.events_after(before, 9, FILES)).events]
            )
        assert told == [["alpha"], ["alpha", "beta"]]

    def test_a_lock_that_is_removed_by_hand_lets_a_waiting_upload_in(
        self, clock: Clock, on_disk: DiskStore, tmp_path: Path
    ) -> None:
        """Nobody need ask for the project first."""
        service = running(clock, lane_of(on_disk))
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, line(1), BEN)))
        result_of(service.export())
        (tmp_path / "projects" / "alpha" / ".lock.json").unlink()
        result_of(service.look_around())
        [overview] = on_disk.overviews(NOW)
        assert (len(overview.heads), overview.waiting) == (1, ())

    def test_an_upload_does_not_wait_for_a_program_that_writes_all_the_time(
        self, clock: Clock, on_disk: DiskStore, tmp_path: Path
    ) -> None:
        """The edits are stored by later steps, and nothing is lost."""
        path = tmp_path / "projects" / "alpha" / "log.jsonl"
        written = 0

        class Appending(ImmediateWorker):
            """A worker that another program overtakes each time."""

            def run(self, job: Callable[[], T], /, weight: int = 0) -> Deferred[T]:
                nonlocal written
                if self.appends:
                    written += 1
                    assert written < 100, "the step never ends"
                    with path.open("ab") as file:
                        file.write(numbered(written))
                return super().run(job, weight)

            appends = True

        worker = Appending()
        service = running(clock, lane_of(on_disk), worker)
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, large("one"), ANA)))
        result_of(service.export())
        path.write_bytes(path.read_bytes() + numbered(0))
        outcome = result_of(service.upload(ALPHA, Upload(LOG, large("one") + line(1), ANA)))
        assert isinstance(outcome, Accepted)
        result_of(service.export())
        worker.appends = False
        lines = log_in(result_of(service.read(ALPHA, LOG))).splitlines(keepends=True)
        assert line(1) in lines
        assert {numbered(number) for number in range(written + 1)} <= set(lines)

    def test_a_working_copy_that_cannot_be_listed_does_not_stop_the_service(
        self, clock: Clock, store: BrokenStore
    ) -> None:
        """The log has a line, and clients are served."""
        store.broken = {"listing"}
        with capturedLogs() as events:
            service = running(clock, lane_of(store))
        assert [str(formatEvent(e)) for e in events] == ["Could not look through the working copy"]
        assert isinstance(result_of(service.acquire(ALPHA, ANA)), Granted)
        assert result_of(service.stopService()) is None

    def test_a_project_that_cannot_be_exported_keeps_no_other_from_it(
        self, clock: Clock, on_disk: DiskStore, tmp_path: Path
    ) -> None:
        """A fault is logged once; the project is tried again after a while."""
        service = running(clock, lane_of(on_disk))
        (tmp_path / "elsewhere").mkdir()
        for project in (ALPHA, BETA):
            result_of(service.acquire(project, ANA))
            result_of(service.upload(project, Upload(LOG, line(1), ANA)))
        alpha = tmp_path / "projects" / "alpha"
        alpha.symlink_to(tmp_path / "elsewhere")
        with capturedLogs() as events:
            result_of(service.export())
            result_of(service.upload(BETA, Upload(LOG, line(1) + line(2), ANA)))
            assert service.has_changes
            result_of(service.export())
        assert [
            "Could not write the plain files of alpha" in str(formatEvent(event)) for event in events
        ] == [True]
        assert (tmp_path / "projects" / "beta" / "log.jsonl").read_bytes() == line(1) + line(2)
        alpha.unlink()
        clock.advance(10)
        assert service.has_changes
        result_of(service.export())
        assert (alpha / "log.jsonl").read_bytes() == line(1)
        assert not service.has_changes

    def test_stopping_exports_the_rest(self, clock: Clock, on_disk: DiskStore, tmp_path: Path) -> None:
        """And takes note that the files are as the database says."""
        service = running(clock, lane_of(on_disk))
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, line(1), ANA)))
        assert not (tmp_path / "projects" / "alpha").exists()
        assert result_of(service.stopService()) is None
        assert (tmp_path / "projects" / "alpha" / "log.jsonl").read_bytes() == line(1)
        with on_disk.database.step() as queries:
            assert queries.server()[0] == ""

    def test_a_full_disk_keeps_the_service_from_no_end(self, clock: Clock, on_disk: DiskStore) -> None:
        """However long it has run; the database is closed, and what is amiss is logged."""
        service = running(clock, lane_of(on_disk), uptime=clock)
        result_of(service.acquire(ALPHA, ANA))
        moved(clock, 3_600_000)
        with full_disk(on_disk), capturedLogs() as events:
            assert result_of(service.stopService()) is None
        assert events
        assert isinstance(failure_of(service.read(ALPHA, LOG)), ShuttingDown)


class TestReaping:
    """Expired locks are removed, whoever held them."""

    def test_a_lock_that_was_taken_in_the_meantime_is_left_alone(
        self, stepped: SyncService, clock: Clock, steps: SteppedSteps
    ) -> None:
        """Between the search and the removal somebody else may have acquired it."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        steps.finish()
        result_of(acquired)
        moved(clock, TTL)
        reaped = started(stepped.reap())
        again = started(stepped.acquire(ALPHA, BEN))
        steps.finish()
        assert result_of(reaped) == []
        assert isinstance(result_of(again), Granted)
        held = started(stepped.lock(ALPHA))
        steps.finish()
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
        self, stepped: SyncService, clock: Clock, steps: SteppedSteps
    ) -> None:
        """Locks that are not reaped now are reaped after the next start."""
        acquired = started(stepped.acquire(ALPHA, ANA))
        steps.finish()
        result_of(acquired)
        moved(clock, TTL)
        reaped = started(stepped.reap())
        with capturedLogs() as events:
            stopped = started(stepped.stopService())
            steps.finish()
        assert result_of(stopped) is None
        assert result_of(reaped) == []
        assert events == []


class TestHistory:
    """Overviews, receipts, and the merging of refused uploads."""

    def test_a_refused_upload_is_merged_when_the_lock_is_reaped(
        self, service: SyncService, clock: Clock
    ) -> None:
        """The merge follows, whoever held the lock."""
        result_of(service.acquire(ALPHA, ANA))
        result_of(service.upload(ALPHA, Upload(LOG, line(1), ANA)))
        assert isinstance(result_of(service.upload(ALPHA, Upload(LOG, line(2), BEN))), Rescued)
        moved(clock, TTL)
        assert len(result_of(service.reap())) == 1
        kept = result_of(service.version(ALPHA, 3))
        assert kept
        assert (kept.content, kept.version.parents) == (line(1) + line(2), (1, 2))
        assert [v.number for v in result_of(service.history(ALPHA, LOG))] == [3, 2, 1]

    def test_the_condition_of_the_service_is_told_at_any_time(self, clock: Clock, tmp_path: Path) -> None:
        """The condition is of this moment, though every step that writes waits."""
        steps = SteppedSteps(DiskStore(tmp_path), holding=False)
        reading = Database(tmp_path / NAME, writable=False)
        reader = Lane(Store(reading), ImmediateSteps(reading))
        steps.store.open_copy("")
        service = SyncService(clock, steps.lane, reader, ImmediateWorker(), TTL, KEEP_ALL)
        service.startService()
        steps.holding = True
        acquired = started(service.acquire(ALPHA, ANA))
        now = moved(clock, 90_000)
        told = result_of(service.condition())
        assert (told.started_at, told.now, told.in_two_places) == (NOW, now, ())
        assert told.usage.data_bytes > 0
        assert waits(acquired)
        steps.finish()
        reading.close()

    def test_a_condition_that_cannot_be_told_is_a_fault(
        self, service: SyncService, store: BrokenStore
    ) -> None:
        """Of the disk; the next time it may be told."""
        store.broken = {"usage"}
        assert isinstance(failure_of(service.condition()), OSError)
        store.broken = set()
        assert result_of(service.condition()).usage == store.usage()

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
    def writes(service: SyncService) -> list[Callable[[], Awaited]]:
        """All that changes something."""
        return [
            lambda: service.acquire(ALPHA, ANA),
            lambda: service.extend(ALPHA, ANA),
            lambda: service.release(ALPHA, ANA),
            lambda: service.upload(ALPHA, Upload(LOG, b"", ANA)),
            lambda: service.append(ALPHA, Append(LOG, b"x\n", ANA, only_if=NOT_THERE)),
            lambda: service.restore(ALPHA, Restore(LOG, 1, ANA)),
        ]

    @staticmethod
    def reads(service: SyncService) -> list[Callable[[], Awaited]]:
        """All that changes nothing."""
        return [
            lambda: service.lock(ALPHA),
            lambda: service.heads(ALPHA),
            lambda: service.stock_heads(ALPHA),
            lambda: service.read(ALPHA, LOG),
            lambda: service.download(ALPHA, LOG, ANA),
            lambda: service.history(ALPHA, LOG),
            lambda: service.version(ALPHA, 1),
            service.overviews,
            service.condition,
        ]

    def test_a_stopped_service_refuses_everything(self, service: SyncService) -> None:
        """With the error that says so."""
        assert result_of(service.stopService()) is None
        for ask in [*self.writes(service), *self.reads(service)]:
            assert isinstance(failure_of(ask()), ShuttingDown)

    def test_a_stopping_service_waits_for_the_steps_that_came_before(
        self, stepped: SyncService, steps: SteppedSteps
    ) -> None:
        """Steps whose clients have hung up are waited for, too; later writes are refused."""
        answers: list[Deferred[object]] = [started(stepped.acquire(ALPHA, ANA))]
        answers += [started(stepped.upload(ALPHA, Upload(LOG, b"%d" % n, ANA))) for n in (1, 2)]
        gone = answers.pop()
        gone.cancel()
        failure_of(gone)
        stopped = started(stepped.stopService())
        for ask in self.writes(stepped):
            assert isinstance(failure_of(ask()), ShuttingDown)
        for _ in range(3):
            assert waits(stopped)
            steps.step()
        steps.finish()
        assert result_of(stopped) is None
        assert [type(result_of(answer)) for answer in answers] == [Granted, Accepted]

    def test_a_service_that_never_started_stops(self, clock: Clock, store: BrokenStore) -> None:
        """As when the start of something else failed."""
        service = SyncService(clock, lane_of(store), lane_of(store), ImmediateWorker(), TTL, KEEP_ALL)
        assert result_of(service.stopService()) is None


class TestAClockThatIsNotBelieved:
    """By a clock that has just jumped ahead everything looks old."""

    def test_nothing_is_pruned_until_it_has_gone_right_for_a_day(
        self, clock: Clock, store: BrokenStore
    ) -> None:
        """And nothing would be, whoever asks."""
        uptime = Clock()
        steps = SteppedSteps(store, holding=False)
        steps.holding = True
        service = running(clock, steps.lane, retention=KEEP_NONE, uptime=uptime)
        assert result_of(service.prunable(ALPHA)).versions == ()
        steps.finish()
        steps.holding = False
        result_of(service.acquire(ALPHA, ANA))
        for content in (b"a", b"b", b"c"):
            result_of(service.upload(ALPHA, Upload(LOG, content, ANA)))
        before = result_of(service.prunable(ALPHA)).versions
        assert before
        clock.rightNow += 40 * 86_400.0
        for prune in (service.prunable, service.prune):
            assert result_of(prune(ALPHA)).versions == ()
        clock.rightNow += 86_400.0
        uptime.advance(86_400.0)
        assert result_of(service.prune(ALPHA)).versions[: len(before)] == before
