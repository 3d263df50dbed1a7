"""Taking turns to run.

Python lets one thread run at a time, and hands over at every system call, be it one of two microseconds: threads that
run side by side then spend more time on handing over than on their work. So the threads of the server take turns of
their own. Whoever runs has the turn, and gives it up before it waits for long: for the disk to sync, for a client.

It is a courtesy, which nothing depends on: nobody waits for the turn for longer than `PATIENCE`, but goes on without.
Threads that never took part, those of a client for one, don't wait at all.
"""

import threading
from types import TracebackType
from typing import Protocol

PATIENCE = 0.005
"""Seconds after which a thread runs without the turn: as long as Python's own turns are where nobody makes a call."""

_this_thread = threading.local()


class Turn:
    """The one turn that the threads of a process share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mutex = threading.Lock()
        self._holder: Seat | None = None

    def take(self, seat: "Seat") -> None:
        """Wait for the turn, though not for ever."""
        if self._holder is not seat and self._lock.acquire(timeout=PATIENCE):
            self._holder = seat

    def give(self, seat: "Seat") -> None:
        """Let another have the turn, if this one has it."""
        with self._mutex:
            if self._holder is not seat:
                return
            self._holder = None
            self._lock.release()


class Seat:
    """The part that one thread has in it."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def sit_down(self) -> None:
        """Take part, from this thread."""
        _this_thread.seat = self

    def come_back(self) -> None:
        """Take the turn, to run."""
        self._turn.take(self)

    def leave(self) -> None:
        """Give up the turn, to wait; or have it given up, by whoever finds that this thread waits."""
        self._turn.give(self)


class _Waiting:
    """Any thread's waiting: what there is to know of it is the thread's own."""

    def __enter__(self) -> None:
        seat: Seat | None = getattr(_this_thread, "seat", None)
        if seat:
            seat.leave()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seat: Seat | None = getattr(_this_thread, "seat", None)
        if seat:
            seat.come_back()


_WAITING = _Waiting()


def waiting() -> _Waiting:
    """A context in which this thread waits for something that takes long, while others run."""
    return _WAITING


class Poller(Protocol):
    """How a reactor waits for its sockets: what it needs of `select.epoll` here."""

    def poll(self, timeout: float | None = None, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """Wait."""
        ...


class CourteousPoller:
    """A poller by which the reactor's thread takes turns, too: whatever it does when it does not wait, it runs."""

    def __init__(self, poller: Poller, turn: Turn) -> None:
        """To be made on the reactor's thread."""
        self._poller = poller
        Seat(turn).sit_down()

    def __getattr__(self, name: str) -> object:
        return getattr(self._poller, name)

    def poll(self, timeout: float | None = None, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """Wait, and let others run meanwhile."""
        with waiting():
            return self._poller.poll(timeout, maxevents)
