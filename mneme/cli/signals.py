"""Signals that end a command."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled(call: Callable[[int], object]) -> Iterator[None]:
    """Call `call` for a signal that would end the process, while the block runs.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: call(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not set by Python: it cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def end(number: int) -> None:
    """End the process by a signal, as if nobody handled it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def let_the_next_end(number: int) -> None:
    """Do nothing, and leave the default to the next signal."""
    signal.signal(number, signal.SIG_DFL)
