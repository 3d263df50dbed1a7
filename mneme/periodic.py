"""Timers that continue even if one of their rounds fails."""

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class PeriodicService(Service):
    """A timer that makes a round every `interval` seconds.

    The first round comes `first` seconds after the start, by default after one interval. Rounds never overlap: a long
    round delays the next. A failed round is logged as "Could not `what`", and the timer continues.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        make_round: Callable[[], Awaitable[None]],
        what: str,
        first: float | None = None,
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._first = interval if first is None else first
        self._make_round = make_round
        self._what = what
        self._loop = LoopingCall(self._safe_round)
        self._loop.clock = clock
        self._before_first: IDelayedCall | None = None
        self._stopped: Deferred[LoopingCall] | None = None

    def startService(self) -> None:
        """Start the timer. No round is made while the server is still starting."""
        super().startService()
        self._before_first = self._clock.callLater(self._first, self._begin)

    async def stopService(self) -> None:
        """Stop the timer, and wait for a running round."""
        super().stopService()
        if self._before_first and self._before_first.active():
            self._before_first.cancel()
        if self._stopped and self._loop.running:
            self._loop.stop()
            await self._stopped

    def _begin(self) -> None:
        self._stopped = self._loop.start(self._interval)

    async def _safe_round(self) -> None:
        try:
            await self._make_round()
        except Exception:  # noqa: BLE001 - LoopingCall stops for good after its first exception
            self._log.failure("Could not {what}; trying again later", what=self._what)
