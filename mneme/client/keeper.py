"""A keeper decides when one folder is to be synced; a worker does it."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mneme.client.actions import Action
from mneme.client.happening import Happened, Happening
from mneme.client.sync import Report
from mneme.errors import MnemeError

T = TypeVar("T")

QUIET = 0.3
"""Seconds without a change after which files are sent."""

SEND_AFTER = 1.5
"""Seconds after the first change at which files are sent although they go on changing."""

TRY_EVERY = 1.0
"""Seconds between two looks at a file that a process of the plugin holds."""

_WAITS = (Action.WAITING, Action.MISSED, Action.KEPT, Action.REFUSED, Action.HELD_BACK)
"""Actions after which a file waits: for the plugin, another client's lock, a person, or a next try."""

REFUSED_EVERY = 600.0
"""Seconds between two tries with a file that the server or a proxy refused."""

LONGEST_PAUSE = 60.0
"""Most seconds between two tries to reach a server."""


_STOPPED = "mneme ends: the next start brings this project in step"


class Stopped(MnemeError):
    """A keeper that begins no more runs."""


class Work(Protocol):
    """The runner of blocking code: `mneme.work.Worker`, as far as a keeper needs it."""

    def run(self, job: Callable[[], T], /) -> "Deferred[T]":
        """Run a job elsewhere."""
        ...


class Condition(Struct, frozen=True):
    """The condition of a folder, as of the last run."""

    is_in_step: bool
    problem: str | None
    waiting: Mapping[str, str]
    """Files that wait, each with the action or the server's problem that says why."""


class Keeper:
    """The keeper of one folder. Call it on the reactor thread."""

    def __init__(
        self,
        clock: IReactorTime,
        work: Work,
        step: Callable[[], Report],
        tell: Callable[[Happening], object],
    ) -> None:
        """Set up a keeper that runs `step` on `work`, and calls `tell` for happenings."""
        self._clock = clock
        self._work = work
        self._step = step
        self._tell = tell
        self._call: IDelayedCall | None = None
        self._run: Deferred[None] | None = None
        self._again_at: float | None = None
        self._changing_since: float | None = None
        self._changed_at = 0.0
        self._pause = 0.0
        self._problem: str | None = None
        self._report: Report | None = None
        self._waiters: list[Deferred[Report]] = []
        self._is_stopped = False

    # What others notice

    def changed_here(self) -> None:
        """Note that a file was written: it is sent once the files are quiet."""
        now = self._clock.seconds()
        self._changed_at = now
        if self._changing_since is None:
            self._changing_since = now
        self._due_in(QUIET)

    def changed_there(self) -> None:
        """Note that something may have changed on the server."""
        self._due_in(0.0)

    def server_is_back(self) -> None:
        """Note that the server can be reached, perhaps again."""
        self._pause = 0.0
        self._due_in(0.0)

    def in_step(self) -> "Deferred[Report]":
        """Sync now; the report of a run that begins after this call, or its error."""
        if self._is_stopped:
            return fail(Stopped(_STOPPED))
        waiter: Deferred[Report] = Deferred()
        self._waiters.append(waiter)
        self._changing_since = None
        self._pause = 0.0
        self._due_in(0.0)
        return waiter

    @property
    def condition(self) -> Condition:
        """The condition of the folder."""
        waiting = _waiting(self._report)
        is_quiet = self._changing_since is None
        is_in_step = self._report is not None and is_quiet and not (self._problem or waiting)
        return Condition(is_in_step, self._problem, waiting)

    @property
    def waits_for_lock(self) -> bool:
        """Whether a file waits for the lock of another client."""
        return self._report is not None and any(map(self._report.files_with, (Action.KEPT, Action.REFUSED)))

    def has(self, file: str | None, version: int | None) -> bool:
        """Whether the last run has brought this version of a file, or a newer one."""
        files = self._report.files if self._report else ()
        return version is not None and any(
            one.file.value == file and one.version is not None and one.version >= version for one in files
        )

    def stop(self) -> "Deferred[None]":
        """Begin no more runs; the Deferred fires when a running one has ended."""
        self._is_stopped = True
        if self._call and self._call.active():
            self._call.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(Stopped(_STOPPED))
        return self._run or succeed(None)

    # When to sync

    def _due_in(self, seconds: float) -> None:
        at = self._clock.seconds() + max(seconds, self._pause)
        if self._is_stopped:
            return
        if self._run:
            self._again_at = at if self._again_at is None else min(at, self._again_at)
        elif self._call is None or not self._call.active():
            self._call = self._clock.callLater(max(0.0, at - self._clock.seconds()), self._begin)
        elif at < self._call.getTime():
            self._call.reset(max(0.0, at - self._clock.seconds()))

    def _begin(self) -> None:
        now = self._clock.seconds()
        if self._changing_since is not None and not self._waiters:
            quiet_at = min(self._changed_at + QUIET, self._changing_since + SEND_AFTER)
            if now < quiet_at:
                self._due_in(quiet_at - now)
                return
        self._changing_since = None
        waiters, self._waiters = self._waiters, []
        self._run = Deferred()
        self._work.run(self._step).addCallbacks(self._done, self._failed).addBoth(self._ended, waiters)

    def _done(self, report: Report) -> Report:
        self._pause = 0.0
        before, self._report = self._report, report
        if report.files_with(Action.WAITING) or report.files_with(Action.MISSED):
            self._again_in(TRY_EVERY)
        elif any(one.problem for one in report.files):
            self._again_in(REFUSED_EVERY)
        if self._problem is not None:
            self._problem = None
            self._tell(Happening(Happened.RECOVERED))
        waits_anew = _waiting(report).items() - _waiting(before).items()
        if _has_done_more_than_wait(report) or waits_anew:
            self._tell(Happening(Happened.SYNCED, report))
        return report

    def _failed(self, failure: Failure) -> Failure:
        problem = str(failure.value) or type(failure.value).__name__
        self._pause = min(max(1.0, self._pause * 2), LONGEST_PAUSE)
        self._again_in(self._pause)
        if problem != self._problem:
            self._problem = problem
            self._tell(Happening(Happened.TROUBLE, problem=problem))
        return failure

    def _again_in(self, seconds: float) -> None:
        at = self._clock.seconds() + seconds
        self._again_at = at if self._again_at is None else min(at, self._again_at)

    def _ended(self, outcome: Report | Failure, waiters: "list[Deferred[Report]]") -> None:
        run, self._run = self._run, None
        again, self._again_at = self._again_at, None
        for waiter in waiters:
            waiter.callback(outcome)
        if again is not None or self._waiters:
            self._due_in(0.0 if again is None else again - self._clock.seconds())
        if run:
            run.callback(None)


def _waiting(report: Report | None) -> Mapping[str, str]:
    """Files that wait, each with the action or the server's problem that says why."""
    found = {}
    for one in report.files if report else ():
        reasons = [action.value for action in one.actions if action in _WAITS]
        if one.problem or reasons:
            found[one.file.value] = one.problem or reasons[-1]
    return found


def _has_done_more_than_wait(report: Report) -> bool:
    """Whether a run has done anything but find files that wait."""
    return any(action not in _WAITS for one in report.files for action in one.actions)
