"""A long session: lock held by heartbeats, changes sent soon after they are made.

It goes on through anything but its end: a server that is away, frozen or restarted, a network that is cut, a lock that
was lost, a machine that slept.
"""

import enum
from collections.abc import Callable, Mapping

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from mneme import durable
from mneme.client.sync import Action, Report, Sync
from mneme.clocks import WallClock
from mneme.model import ClientId, FileName, Granted, HeldBy, Lock

Marks = Mapping[FileName, durable.Mark]

LOOK_EVERY = 1.0
"""Seconds between two looks at the files: what has not changed between two is sent."""

SEND_AFTER = 10.0
"""Seconds after which a change is sent although the files go on changing."""

TRY_EVERY = 30.0
"""Seconds, at most, between two tries to get a lock that another client holds."""

LONGEST_PAUSE = 60.0
"""Seconds, at most, between two tries to reach a server."""

_BEATS = 3
"""How often the lock is extended in the time that it lasts."""


class Happened(enum.Enum):
    """Kinds of events of a watch."""

    PULLED = "pulled"
    SENT = "sent"
    LOCKED_OUT = "locked out"
    """Another client holds the lock."""
    LOCK_LOST = "lock lost"
    LOCK_TAKEN = "lock taken"
    """The lock is this machine's, after it was lost or another's."""
    ENDING = "ending"
    """Somebody wants it to end: it pushes."""
    TROUBLE = "trouble"
    RECOVERED = "recovered"


@frozen
class Event:
    """An event of a watch, with the report, lock or problem that it is about."""

    happened: Happened
    report: Report | None = None
    lock: Lock | None = None
    problem: str | None = None


class Watch:
    """The sync of one project for as long as it runs."""

    def __init__(
        self,
        clock: IReactorTime,
        wall: WallClock,
        sync: Sync,
        tell: Callable[[Event], None],
    ) -> None:
        """Set up the watch; `tell` is called with each event."""
        self._clock = clock
        self._wall = wall
        self._sync = sync
        self._tell = tell
        self._outcome: Granted | HeldBy | None = None
        self._holder: ClientId | None = None
        self._began = False
        self._beat_at = (0.0, 0.0)
        self._trouble: str | None = None
        self._pause = LOOK_EVERY
        self._in_step: Marks | None = None
        self._looked: Marks | None = None
        self._changing_since: float | None = None

    async def run(self, ending: Deferred[None]) -> Report:
        """Run until `ending` fires, then push.

        Raises the error of that push. When it is cancelled, it ends at once.
        """
        working = Deferred.fromCoroutine(self._work())
        ending.addCallback(lambda _: working.cancel())
        try:
            await working
        except CancelledError:
            if not ending.called:
                raise
        self._tell(Event(Happened.ENDING))
        return await self._sync.push()

    async def _work(self) -> None:
        while True:
            try:
                await self._turn()
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the memory is still to be kept in step
                self._note_trouble(str(error) or type(error).__name__)
            else:
                self._note_recovery()
            await deferLater(self._clock, self._pause)

    async def _turn(self) -> None:
        """Do the work that is due."""
        if self._outcome is None:
            await self._begin()
        elif self._is_beat_due():
            await self._beat()
        marks = await self._sync.marks()
        if self._is_to_be_sent(marks):
            await self._send(marks)

    # The lock

    async def _begin(self) -> None:
        """Pull, and so take the lock if it is free."""
        report = await self._pull()
        if report.lock and self._began:
            self._tell(Event(Happened.LOCK_TAKEN, report, report.lock))
        elif not self._began or any(one.actions for one in report.files):
            self._tell(Event(Happened.PULLED, report))
        holder = report.locked.client if report.locked else None
        if holder and holder != self._holder:
            self._tell(Event(Happened.LOCKED_OUT, lock=report.locked))
        self._holder, self._began = holder, True

    async def _beat(self) -> None:
        """Extend the lock, or try again to take a lost one."""
        if isinstance(self._outcome, Granted):
            outcome = await self._sync.client.extend(self._sync.project)
            if isinstance(outcome, Granted):
                self._hold(outcome)
                return
            self._tell(Event(Happened.LOCK_LOST, lock=outcome.lock if isinstance(outcome, HeldBy) else None))
        self._outcome = None
        await self._begin()

    async def _pull(self) -> Report:
        report = await self._sync.pull()
        if report.lock:
            self._hold(Granted(report.lock))
        elif report.locked:
            self._hold(HeldBy(report.locked))
        return report

    def _hold(self, outcome: Granted | HeldBy) -> None:
        self._outcome = outcome
        left = (outcome.lock.expires_at - self._sync.client.server_now()) / 1000
        wait = left / _BEATS if isinstance(outcome, Granted) else min(left, TRY_EVERY)
        self._beat_in(max(wait, LOOK_EVERY))

    def _beat_in(self, seconds: float) -> None:
        self._beat_at = self._clock.seconds() + seconds, self._wall.seconds() + seconds

    def _is_beat_due(self) -> bool:
        # The one clock stands still while the machine sleeps, the other can be set.
        timer, wall = self._beat_at
        return self._clock.seconds() >= timer or self._wall.seconds() >= wall

    # The files

    def _is_to_be_sent(self, marks: Marks) -> bool:
        """Whether changes are complete, or have gone on for too long."""
        if marks == self._in_step:
            self._changing_since = None
            return False
        if marks == self._looked:
            return True
        self._looked = marks
        if self._changing_since is None:
            self._changing_since = self._clock.seconds()
        return self._clock.seconds() - self._changing_since >= SEND_AFTER

    async def _send(self, marks: Marks) -> None:
        if self._outcome is None:
            return
        report = await self._sync.send(self._outcome)
        self._changing_since = None
        if not report.files_with(Action.MISSED):
            self._in_step = marks
        if any(one.actions or one.problem for one in report.files):
            self._tell(Event(Happened.SENT, report))
        refused = report.files_with(Action.KEPT) or report.files_with(Action.REFUSED)
        if refused and isinstance(self._outcome, Granted):
            self._beat_in(0.0)

    # Trouble

    def _note_trouble(self, problem: str) -> None:
        self._pause = LOOK_EVERY if self._trouble is None else min(self._pause * 2, LONGEST_PAUSE)
        if problem != self._trouble:
            self._tell(Event(Happened.TROUBLE, problem=problem))
        self._trouble = problem

    def _note_recovery(self) -> None:
        self._pause = LOOK_EVERY
        if self._trouble is not None:
            self._trouble = None
            self._tell(Event(Happened.RECOVERED))
