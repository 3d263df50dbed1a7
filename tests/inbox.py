"""A reactor as threads see one, whose calls the test makes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from tests.results import waits


@implementer(IReactorFromThreads)
class Inbox:
    """A reactor to which threads give calls, made when the test says so."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []
        self._arrived = threading.Condition()

    def callFromThread(
        self,
        callable: Callable[..., object],  # noqa: A002 - the name that Twisted prescribes
        *args: object,
        **kwargs: object,
    ) -> None:
        """Take a call from a thread."""
        with self._arrived:
            self._calls.append(partial(callable, *args, **kwargs))
            self._arrived.notify()

    def make_one_call(self) -> None:
        """Wait for a call, and make it on this thread."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: bool(self._calls), timeout=30)
            call = self._calls.pop(0)
        call()

    def make_calls_for(self, *answers: Deferred[Any]) -> None:
        """Make calls until all these answers are there; one call can bring several."""
        while any(map(waits, answers)):
            self.make_one_call()
