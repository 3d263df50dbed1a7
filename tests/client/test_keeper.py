"""The keeper: when a folder is brought in step, and what is told of it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mneme.client.actions import Action, FileReport
from mneme.client.errors import Unreachable
from mneme.client.happening import Happened, Happening
from mneme.client.keeper import LONGEST_PAUSE, QUIET, REFUSED_EVERY, SEND_AFTER, TRY_EVERY, Keeper
from mneme.client.sync import Report
from mneme.model import FileName, ProjectId
from tests.results import failure_of, result_of, waits
from tests.stepped import SteppedWorker

DEMO = ProjectId("demo")
NOTHING_NEW = Report(DEMO, (FileReport(FileName.LOG, (), 1),))


def report(*actions: Action, version: int | None = 1, problem: str | None = None) -> Report:
    """A report of a run that did this to the log."""
    return Report(DEMO, (FileReport(FileName.LOG, actions, version, problem),))


class Kept:
    """A keeper whose runs the test ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.work = SteppedWorker()
        self.told: list[Happening] = []
        self.outcome: Report | Exception = NOTHING_NEW
        self.keeper = Keeper(clock, self.work, self._step, self.told.append)

    def _step(self) -> Report:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def run(self, outcome: Report | Exception = NOTHING_NEW) -> None:
        """End the run that is going on, and there is one only."""
        assert len(self.work) == 1
        self.outcome = outcome
        self.work.step()

    def next_run_in(self) -> float:
        """Seconds until the next run begins, found by letting them pass."""
        assert len(self.work) == 0
        [call] = self.clock.getDelayedCalls()
        seconds = call.getTime() - self.clock.seconds()
        self.clock.advance(seconds)
        return round(seconds, 6)


@pytest.fixture
def kept(clock: Clock) -> Kept:
    """A keeper that has nothing to do."""
    return Kept(clock)


def runs(kept: Kept) -> int:
    """The number of runs that are going on."""
    return len(kept.work)


# When files are sent


def test_a_change_is_sent_once_the_files_are_quiet(kept: Kept, clock: Clock) -> None:
    """Each write begins the quiet time again."""
    kept.keeper.changed_here()
    clock.advance(QUIET - 0.1)
    kept.keeper.changed_here()
    clock.advance(QUIET - 0.1)
    assert runs(kept) == 0
    clock.advance(0.1)
    assert runs(kept) == 1
    kept.run()
    assert not clock.getDelayedCalls()


def test_files_that_go_on_changing_are_sent_all_the_same(kept: Kept, clock: Clock) -> None:
    """The wait is a second and a half, each time."""
    began = []
    for tick in range(40):
        kept.keeper.changed_here()
        clock.advance(0.1)
        if runs(kept):
            began.append(round((tick + 1) / 10, 1))
            kept.run()
    assert began[0] == SEND_AFTER
    assert began[1] == pytest.approx(2 * SEND_AFTER, abs=0.11)
    assert len(began) == 2


def test_a_file_that_was_refused_is_not_in_step_and_is_tried_again(kept: Kept, clock: Clock) -> None:
    """After ten minutes, as somebody may have mended that; its problem is told once."""
    kept.keeper.changed_there()
    clock.advance(0)
    refused = report(problem="too large for the proxy")
    for _ in range(2):
        kept.run(refused)
        assert not kept.keeper.condition.is_in_step
        assert kept.keeper.condition.waiting == {"log.jsonl": "too large for the proxy"}
        assert kept.next_run_in() == REFUSED_EVERY
    kept.run()
    assert kept.keeper.condition.is_in_step
    assert [one.report for one in kept.told] == [refused]


def test_a_change_on_the_server_is_fetched_at_once(kept: Kept, clock: Clock) -> None:
    """There is nothing to wait for."""
    kept.keeper.changed_there()
    clock.advance(0)
    assert runs(kept) == 1


def test_a_change_on_the_server_waits_while_files_are_written_here(kept: Kept, clock: Clock) -> None:
    """The run that sends them fetches it, too."""
    kept.keeper.changed_here()
    kept.keeper.changed_there()
    clock.advance(QUIET - 0.01)
    assert runs(kept) == 0
    clock.advance(0.01)
    assert runs(kept) == 1


@pytest.mark.parametrize("change", ["changed_here", "changed_there", "in_step"])
def test_one_run_is_going_on_at_a_time(kept: Kept, clock: Clock, change: str) -> None:
    """Changes during a run cause one more run, however many they are."""
    kept.keeper.changed_there()
    clock.advance(0)
    for _ in range(3):
        getattr(kept.keeper, change)()
        clock.advance(1)
        assert runs(kept) == 1
    kept.run()
    clock.advance(QUIET)
    kept.run()
    assert not clock.getDelayedCalls()


def test_a_change_during_a_long_run_is_sent_after_it(kept: Kept, clock: Clock) -> None:
    """The files have long been quiet by then."""
    kept.keeper.changed_there()
    clock.advance(0)
    kept.keeper.changed_here()
    clock.advance(60)
    kept.run()
    clock.advance(0)
    assert runs(kept) == 1


# Callers that wait


def test_who_waits_gets_the_report_of_a_run_that_began_after_the_call(kept: Kept, clock: Clock) -> None:
    """A run that was going on already may have looked too early."""
    kept.keeper.changed_there()
    clock.advance(0)
    waiter = kept.keeper.in_step()
    kept.run(report(Action.SENT))
    assert waits(waiter)
    clock.advance(0)
    kept.run(report(Action.FETCHED, version=2))
    assert result_of(waiter) == report(Action.FETCHED, version=2)


def test_callers_share_a_run(kept: Kept, clock: Clock) -> None:
    """Those that came before it began."""
    first, second = kept.keeper.in_step(), kept.keeper.in_step()
    clock.advance(0)
    kept.run()
    assert result_of(first) == result_of(second) == NOTHING_NEW
    assert not clock.getDelayedCalls()


def test_who_waits_does_not_wait_for_quiet(kept: Kept, clock: Clock) -> None:
    """A session that ends has its last lines sent at once."""
    kept.keeper.changed_here()
    waiter = kept.keeper.in_step()
    kept.keeper.changed_here()
    clock.advance(0)
    kept.run()
    assert not waits(waiter)


def test_who_waits_is_told_of_an_error(kept: Kept, clock: Clock) -> None:
    """Each of them, and nobody waits for a later run."""
    first, second = kept.keeper.in_step(), kept.keeper.in_step()
    clock.advance(0)
    kept.run(Unreachable("away"))
    assert str(failure_of(first)) == str(failure_of(second)) == "away"


# Trouble


def fail_until_it_is_slow(kept: Kept, clock: Clock) -> list[float]:
    """The pauses after failures."""
    kept.keeper.changed_there()
    clock.advance(0)
    pauses = []
    for _ in range(9):
        kept.run(Unreachable("away"))
        pauses.append(kept.next_run_in())
    return pauses


def test_an_absent_server_is_asked_less_and_less(kept: Kept, clock: Clock) -> None:
    """A minute is the longest pause, and the trouble is told once."""
    assert fail_until_it_is_slow(kept, clock) == [1, 2, 4, 8, 16, 32, *[LONGEST_PAUSE] * 3]
    assert kept.told == [Happening(Happened.TROUBLE, problem="away")]


def test_changes_do_not_shorten_a_pause(kept: Kept, clock: Clock) -> None:
    """Each write would have an absent server asked again."""
    fail_until_it_is_slow(kept, clock)
    kept.keeper.changed_here()
    kept.run(Unreachable("away"))
    for _ in range(59):
        kept.keeper.changed_here()
        kept.keeper.changed_there()
        clock.advance(1)
        assert runs(kept) == 0
    clock.advance(1)
    assert runs(kept) == 1


def test_who_waits_does_not_wait_for_a_pause_to_end(kept: Kept, clock: Clock) -> None:
    """A session begins now, and the server may be back."""
    fail_until_it_is_slow(kept, clock)
    kept.run(Unreachable("away"))
    clock.advance(3)
    waiter = kept.keeper.in_step()
    clock.advance(0)
    kept.run()
    assert result_of(waiter) == NOTHING_NEW


def test_another_trouble_is_told_and_so_is_its_end(kept: Kept, clock: Clock) -> None:
    """After it, pauses begin small again."""
    kept.keeper.changed_there()
    clock.advance(0)
    for problem in (Unreachable("away"), Unreachable("away"), OSError(28, "No space left on device")):
        kept.run(problem)
        kept.next_run_in()
    kept.run()
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run(KeyError())
    assert [(one.happened, one.problem) for one in kept.told] == [
        (Happened.TROUBLE, "away"),
        (Happened.TROUBLE, "[Errno 28] No space left on device"),
        (Happened.RECOVERED, None),
        (Happened.TROUBLE, "KeyError"),
    ]
    assert kept.next_run_in() == 1


@pytest.mark.parametrize("action", [Action.WAITING, Action.MISSED])
def test_a_file_that_the_plugin_holds_is_tried_every_second(kept: Kept, clock: Clock, action: Action) -> None:
    """Until it is free."""
    kept.keeper.changed_there()
    clock.advance(0)
    for _ in range(3):
        kept.run(report(action))
        assert kept.next_run_in() == TRY_EVERY
    kept.run()
    assert not clock.getDelayedCalls()


def test_a_listener_that_fails_does_not_end_the_tries(clock: Clock) -> None:
    """A closed terminal, say, on which the happening is printed."""

    def tell(happening: Happening) -> None:
        raise BrokenPipeError

    work = SteppedWorker()
    keeper = Keeper(clock, work, lambda: report(Action.WAITING), tell)
    waiter = keeper.in_step()
    clock.advance(0)
    work.step()
    assert isinstance(failure_of(waiter), BrokenPipeError)
    clock.advance(TRY_EVERY)
    assert len(work) == 1


# What is known of a folder


def test_what_was_done_is_told(kept: Kept, clock: Clock) -> None:
    """A run that did nothing is not told; a refused file is."""
    for outcome in (NOTHING_NEW, report(Action.SENT), report(problem="too large")):
        kept.keeper.changed_there()
        clock.advance(0)
        kept.run(outcome)
    assert [one.report for one in kept.told] == [report(Action.SENT), report(problem="too large")]


def test_a_file_that_goes_on_waiting_is_told_once(kept: Kept, clock: Clock) -> None:
    """Told again is a new reason, or a new wait; another file changes nothing."""

    def with_summary(*actions: Action) -> Report:
        return Report(DEMO, (*report(Action.HELD_BACK).files, FileReport(FileName.SUMMARY_MD, actions, 2)))

    still, anew = report(Action.HELD_BACK), report(Action.KEPT)
    sent = with_summary(Action.SENT)
    both = with_summary(Action.KEPT)
    for outcome in (still, still, sent, with_summary(), both, still, anew, anew, NOTHING_NEW, anew):
        kept.keeper.changed_there()
        clock.advance(0)
        kept.run(outcome)
    assert [one.report for one in kept.told] == [still, sent, both, anew, anew]


def test_a_folder_is_in_step_after_a_run_until_a_change(kept: Kept, clock: Clock) -> None:
    """Before the first run nothing is known."""
    conditions = [kept.keeper.condition]
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run()
    conditions.append(kept.keeper.condition)
    kept.keeper.changed_here()
    conditions.append(kept.keeper.condition)
    assert [one.is_in_step for one in conditions] == [False, True, False]


def test_a_folder_with_trouble_is_not_in_step(kept: Kept, clock: Clock) -> None:
    """The trouble is named until it is over."""
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run()
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run(Unreachable("away"))
    condition = kept.keeper.condition
    assert (condition.is_in_step, condition.problem) == (False, "away")
    kept.next_run_in()
    kept.run()
    assert kept.keeper.condition.problem is None


def test_a_file_that_the_server_refuses_is_named_with_the_reason(kept: Kept, clock: Clock) -> None:
    """A folder with such a file is not in step."""
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run(report(problem="it is too large"))
    condition = kept.keeper.condition
    assert (condition.is_in_step, condition.waiting) == (False, {"log.jsonl": "it is too large"})


@pytest.mark.parametrize(
    ("action", "waits"),
    [
        (Action.WAITING, True),
        (Action.MISSED, True),
        (Action.KEPT, True),
        (Action.REFUSED, True),
        (Action.HELD_BACK, True),
        (Action.SENT, False),
    ],
)
def test_files_that_wait_are_named(kept: Kept, clock: Clock, action: Action, waits: bool) -> None:
    """For the plugin, for a lock, for a person, or for the next try."""
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run(report(action))
    assert kept.keeper.condition.waiting == ({"log.jsonl": action.value} if waits else {})
    assert kept.keeper.condition.is_in_step is not waits


def test_a_version_that_was_brought_is_known(kept: Kept, clock: Clock) -> None:
    """And older ones; not a newer one, nor another file, nor a removal."""
    assert not kept.keeper.has("log.jsonl", 1)
    kept.keeper.changed_there()
    clock.advance(0)
    kept.run(report(Action.SENT, version=7))
    assert kept.keeper.has("log.jsonl", 7)
    assert kept.keeper.has("log.jsonl", 6)
    assert not kept.keeper.has("log.jsonl", 8)
    assert not kept.keeper.has("summary.md", 7)
    assert not kept.keeper.has("log.jsonl", None)
    assert not kept.keeper.has(None, 7)


# The end


def test_a_stop_waits_for_a_run(kept: Kept, clock: Clock) -> None:
    """No run begins after it, whatever changes."""
    kept.keeper.changed_there()
    clock.advance(0)
    kept.keeper.changed_here()
    stopped = kept.keeper.stop()
    assert waits(stopped)
    kept.run()
    assert result_of(stopped) is None
    kept.keeper.changed_here()
    kept.keeper.changed_there()
    assert not clock.getDelayedCalls()


def test_a_stop_takes_back_a_run_that_has_not_begun(kept: Kept, clock: Clock) -> None:
    """There is nothing to wait for."""
    kept.keeper.changed_here()
    assert result_of(kept.keeper.stop()) is None
    assert not clock.getDelayedCalls()


def test_nobody_waits_for_a_keeper_that_is_stopped(kept: Kept, clock: Clock) -> None:
    """Callers are told so, those that wait and those that come later."""
    before: Deferred[Report] = kept.keeper.in_step()
    result_of(kept.keeper.stop())
    for waiter in (before, kept.keeper.in_step()):
        assert "ends" in str(failure_of(waiter))


def test_a_stop_during_a_run_leaves_nobody_waiting(kept: Kept, clock: Clock) -> None:
    """The one who wants another run after it is told that there is none."""
    kept.keeper.changed_there()
    clock.advance(0)
    waiter = kept.keeper.in_step()
    kept.keeper.stop()
    assert "ends" in str(failure_of(waiter))
    kept.run()
