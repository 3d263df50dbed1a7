"""The feed: listeners wait for events, and read those after the last that they had."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mneme.errors import TooManyListeners
from mneme.model import EventId, EventPage, FileName
from mneme.service import SyncService

MAX_LISTENERS = 100
"""Most listeners at a time. Each holds a connection, and reads the database after each change."""

_AT_ONCE = 200
"""Most events that are read at a time."""


class Feed:
    """The events of the server, for listeners that wait.

    Nothing is kept for a listener: each reads on from the last event that it had, as fast as it takes them.
    """

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        self._clock = clock
        self._sync = sync
        self._listeners = 0
        self._waiting: set[Deferred[None]] = set()
        self._is_closed = False

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens. May be read on any thread."""
        return self._listeners > 0

    @property
    def is_closed(self) -> bool:
        """Whether the server stops."""
        return self._is_closed

    def check_room(self) -> None:
        """Raise `TooManyListeners` if there is no room for one more."""
        if self._listeners >= MAX_LISTENERS:
            raise TooManyListeners

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count one listener more for the time of the block."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1

    async def begin(self, after: EventId | None, files: Collection[FileName]) -> EventPage:
        """The events since `after`; without it, the id of the newest event alone."""
        if after is None:
            return EventPage((), await self._sync.last_event())
        return await self._sync.events_after(after, _AT_ONCE, files)

    async def next(self, after: EventId, files: Collection[FileName], seconds: float) -> EventPage:
        """The events after an id, waited for at most `seconds`; perhaps none.

        Events of files that are not in `files` end no wait.
        """
        until = self._clock.seconds() + seconds
        page = EventPage((), after)
        while True:
            # Whatever is committed from here on wakes this waiter, so that no event falls between read and wait.
            change: Deferred[None] = Deferred()
            self._waiting.add(change)
            try:
                page = await self._sync.events_after(page.last, _AT_ONCE, files)
                if page.events or page.is_reset or self._is_closed:
                    return page
                await change.addTimeout(max(0.0, until - self._clock.seconds()), self._clock)
            except defer.TimeoutError:
                return page
            finally:
                self._waiting.discard(change)

    def wake(self) -> None:
        """Wake the waiting listeners: there are new events."""
        waiting, self._waiting = self._waiting, set()
        for change in waiting:
            if not change.called:
                change.callback(None)

    def close(self) -> None:
        """Send all listeners away: the server stops."""
        self._is_closed = True
        self.wake()
