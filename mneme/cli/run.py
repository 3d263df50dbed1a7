"""The reactor in which a command runs, and how a signal ends it."""

import signal
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mneme import clocks, homedir
from mneme.cli import output
from mneme.client import Address, Client, Patience
from mneme.client.connection import connected
from mneme.client.errors import SettingsError
from mneme.client.settings import needed
from mneme.clocks import TimeOfDay, WallClock
from mneme.model import ClientId
from mneme.work import ThreadWorker, Worker

T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@frozen
class CommandContext:
    """The surroundings of a command; `ending` fires at the first signal to end.

    `settings_home` is the home directory, where there is one: not every command needs it.
    """

    reactor: IReactorTime
    wall: WallClock
    worker: Worker
    settings_home: Path | None
    directory: Path
    ending: "Deferred[None]"

    @property
    def home(self) -> Path:
        """The home directory; raises `SettingsError` where there is none."""
        return needed(self.settings_home)

    def connect(
        self, address: Address, client: ClientId, patience: Patience
    ) -> AbstractAsyncContextManager[Client]:
        """See `connected`."""
        return connected(self.reactor, self.wall, self.worker, address, client, patience)


def run(command: Callable[[CommandContext], Coroutine[Any, Any, T]], *, patiently: bool = False) -> T:
    """Run a command, and return its result or raise its error.

    A signal ends the process at once, by itself; where it is to be done `patiently`, only the second one does.
    """
    from twisted.internet import reactor as installed

    reactor = cast(Any, installed)
    reactor.seconds = clocks.monotonic
    worker = ThreadWorker(reactor, 1)
    context = CommandContext(reactor, TimeOfDay(), worker, homedir.home(), _directory(), Deferred())
    results: list[T | Failure] = []

    def start() -> None:
        worker.start()
        for number in ENDING:
            signal.signal(number, end)
        Deferred.fromCoroutine(command(context)).addBoth(results.append).addBoth(lambda _: stop())

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if patiently and not context.ending.called:
            reactor.callFromThread(tell)
        else:
            output.show_cursor()
            signal.raise_signal(number)

    def tell() -> None:
        if not context.ending.called:
            context.ending.callback(None)

    reactor.callWhenRunning(start)
    reactor.run()
    worker.stop()
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def _directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise SettingsError("The directory that this runs in is there no more: cd to another") from None
