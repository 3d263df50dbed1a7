"""The reactor in which the agent and a watch run."""

import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from mneme import __version__, clocks, durable
from mneme.cli import output, signals, wording
from mneme.client import control
from mneme.client.agent import Agent, Server
from mneme.client.calls import Client
from mneme.client.exchange import Exchange
from mneme.client.files import FilesWatch
from mneme.client.happening import Happening
from mneme.client.http import Address, Connection
from mneme.client.keeper import Keeper
from mneme.client.listener import Heard, Listener
from mneme.client.localproject import LocalProject, local_project, working_directory
from mneme.client.settings import Settings, address_in, client_id, load
from mneme.client.socketpath import socket_path
from mneme.client.sync import Report, Sync
from mneme.errors import MnemeError
from mneme.work import ThreadWorker

_log = Logger()

_SETTINGS_EVERY = 30.0
"""Seconds between two looks at the settings of a running agent."""

Main = Callable[[Any, "Deferred[object]"], Coroutine[Any, Any, object]]
"""Coroutine function of the reactor and a Deferred, which fires to end the process."""


def run_agent(home: Path) -> None:
    """Run the agent until a signal ends it."""
    settings = load(home)
    address = address_in(settings, home)
    socket_path(home)
    if control.claim(home) is None:
        output.tell("An agent runs for you already: `mneme agent --status` shows how it does")
        return
    if _run(partial(_agent, home, settings, address)) == "settings":
        output.tell("The settings have changed: starting again")
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - this very program


async def _agent(
    home: Path,
    settings: Settings,
    address: Address,
    reactor: Any,  # noqa: ANN401 - it provides several interfaces
    ending: "Deferred[object]",
) -> object:
    globalLogBeginner.beginLoggingTo([_observer()], redirectStandardIO=False)
    syncing, helping = ThreadWorker(reactor, 1), ThreadWorker(reactor, 2)
    client = _client(home, settings, address)
    server = Server(
        client,
        settings.rules,
        lambda heard: Listener(address, client.client, Connection(address, clocks.monotonic), heard),
    )
    agent = Agent(reactor, clocks.TimeOfDay(), syncing, helping, home, server)
    for worker in (syncing, helping):
        worker.start()
    # First, for it can fail, and nothing of the agent runs yet.
    port = control.listen(reactor, home, control.answers_of(agent.questions))
    agent.start()
    _log.info(
        "mneme {version} keeps the projects of {home} in step with {url}",
        version=__version__,
        home=home,
        url=address.url,
    )
    looking = LoopingCall(partial(_look_at_settings, home, settings, ending))
    looking.start(_SETTINGS_EVERY)
    reason = await ending
    looking.stop()
    await maybeDeferred(port.stopListening)
    await agent.stop()
    for worker in (syncing, helping):
        worker.stop()
    _log.info("Stopped")
    return reason


def _observer() -> ILogObserver:
    """The log on stderr, of Twisted's own lines its warnings alone."""
    levels = LogLevelFilterPredicate()
    for namespace in ("twisted", "log_legacy"):
        levels.setLogLevelForNamespace(namespace, LogLevel.warn)
    return FilteringLogObserver(textFileLogObserver(sys.stderr), [levels])


def _look_at_settings(home: Path, before: Settings, ending: "Deferred[object]") -> None:
    try:
        now = load(home)
    except (MnemeError, OSError):
        # Somebody is writing it, or it is to be mended: the old settings do until then.
        return
    if now != before and now.address and not ending.called:
        ending.callback("settings")


def run_watch(home: Path, server: str | None, key: str | None, as_json: bool) -> None:
    """Run a watch of the working directory's project until a signal ends it."""
    settings = load(home, server, key)
    address = address_in(settings, home)
    local = local_project(working_directory(), home, settings.rules)
    durable.make_directory(local.folder)
    client = _client(home, settings, address)
    sync = Sync(client, clocks.TimeOfDay(), local.opened())
    _run(partial(_watch, address, local, sync, as_json))
    try:
        report: Report | None = sync.push()
        problem = None
    except (MnemeError, OSError) as error:
        report, problem = None, f"{output.sentence_of(error)}. {wording.PUSH_FAILED}"
    if as_json:
        output.print_json_line({"event": "ended", "problem": problem, **wording.document(report)})
    elif report:
        output.tell(wording.done(report))
    if problem:
        output.warn(problem)


async def _watch(
    address: Address,
    local: LocalProject,
    sync: Sync,
    as_json: bool,
    reactor: Any,  # noqa: ANN401 - it provides several interfaces
    ending: "Deferred[object]",
) -> None:
    def tell(happening: Happening) -> None:
        if as_json:
            output.print_json_line(wording.happening_document(happening))
        else:
            (output.warn if happening.problem else output.tell)(wording.happened(happening))

    def heard(heard: Heard) -> None:
        if any(map(heard.concerns, local.ids)):
            reactor.callFromThread(keeper.changed_there)

    syncing = ThreadWorker(reactor, 1)
    keeper = Keeper(reactor, syncing, sync.step, tell)
    files = FilesWatch(local.folder, lambda _: reactor.callFromThread(keeper.changed_here))
    listener = Listener(address, sync.client.client, Connection(address, clocks.monotonic), heard)
    syncing.start()
    files.start()
    listener.start()
    if not as_json:
        output.tell(f"Watching {local.project.value}, in step with {address.url}; Ctrl-C ends it")
    keeper.changed_there()
    await ending
    if not as_json:
        output.tell("Ending: changes are sent; Ctrl-C again ends it at once")
    files.stop()
    listener.stop()
    await keeper.stop()
    syncing.stop()


def _client(home: Path, settings: Settings, address: Address) -> Client:
    # A keeper tries again by itself, and has others to serve meanwhile.
    patience = replace(settings.patience, retries=0)
    connection = Connection(address, clocks.monotonic)
    return Client(Exchange(connection, clocks.TimeOfDay(), address, patience), client_id(home))


def _run(main: Main) -> object:
    """The result of a coroutine in the reactor.

    The first signal fires its Deferred, the second ends the process.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = clocks.monotonic
    ending: Deferred[object] = Deferred()
    results: list[Any] = []

    def fire() -> None:
        if not ending.called:
            ending.callback(None)

    def end(number: int) -> None:
        if ending.called:
            signals.end(number)
        reactor.callFromThread(fire)

    def start() -> None:
        running = Deferred.fromCoroutine(main(reactor, ending))
        running.addBoth(results.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    with signals.handled(end):
        reactor.run(installSignalHandlers=False)
    [result] = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result
