"""The command `twistd mneme`: its options, and the assembly of the server."""

import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from msgspec.structs import replace
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python import usage

from mneme import __version__, clocks, config, homedir
from mneme.backups import Backups
from mneme.config import Config, ConfigError, Loaded
from mneme.descriptors import left_for_connections, raise_limit
from mneme.errors import DamagedDatabase, DiskFull, StartupError, UnsafePath
from mneme.feed import Feed
from mneme.listening import open_sockets
from mneme.logs import FORMS, LogChoice
from mneme.model import Millis
from mneme.process import ProcessWorker
from mneme.readable import print_whatever_the_encoding
from mneme.server import Components, Server, plan_of, policy_of
from mneme.service import Lane, SyncService
from mneme.store import Store, backup, layout
from mneme.store.claim import Claim
from mneme.store.sqlite import NAME, SCHEMA_VERSION, Database, check_identity
from mneme.store.thread import DatabaseThread
from mneme.store.workingcopy import WorkingCopy
from mneme.timers import Exporter, Looker, Pruner, Reaper
from mneme.web.site import Site
from mneme.web.slots import MAX_CONNECTIONS, Slots
from mneme.work import ThreadWorker

THREADS = 2
"""Number of threads for long work outside the database: decompression, encoding, large merges."""

_COLLECT_AFTER = 20_000
"""New objects before Python looks for cycles; with the default of 700, that took 5 % of the time."""

_CHECK_SECONDS = 0.1
"""Seconds by which the check of the database may delay the start."""

_FROM_OPTION = {"port": "port", "host": "host", "data-dir": "dataDir", "config": "config", "listen": "listen"}


class Options(usage.Options):
    """The command line of `twistd mneme`.

    The environment, and then config.json, have the settings that are not given.
    """

    synopsis = "[options]"
    longdesc = (
        "Keep the memory of coding agents in step across machines. SIGHUP reads the configuration again."
    )
    optParameters: ClassVar = [
        ["port", "p", None, "TCP port, 0 for any free one [default: 3847]"],
        [
            "host",
            None,
            None,
            "Address or name to listen on [default: loopback; every address if there are API keys]",
        ],
        ["data-dir", "d", None, "Directory of the memory [default: ~/.mneme-server]"],
        ["config", "c", None, "Configuration file [default: ~/.mneme-server/config.json]"],
        ["log-format", None, "text", "text for people, json for machines"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"mneme {__version__}")  # noqa: T201 - what was asked for
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the options. An error ends the process with one sentence."""
        try:
            super().parseOptions(options)
        except usage.UsageError as problem:
            sys.exit(f"mneme: {problem} (twistd mneme --help lists the options)")

    def opt_listen(self, endpoint: str) -> None:
        """Twisted endpoint to listen on instead of host and port, such as ssl:8443:privateKey=key.pem; repeatable."""
        self["listen"].append(endpoint)

    def postOptions(self) -> None:
        """Choose the log observer before twistd opens the log."""
        # A line that cannot be written would be lost.
        print_whatever_the_encoding()
        form = self["log-format"]
        if form not in FORMS:
            raise usage.UsageError(f"--log-format must be {' or '.join(FORMS)}, not {form}")
        twistd = self.parent
        if twistd is None or (form == "text" and _has_log_of_its_own(twistd)):
            return
        LogChoice.file = twistd["logfile"] or ("-" if twistd["nodaemon"] else "twistd.log")
        LogChoice.form = form
        LogChoice.call_from_signal = _call_from_signal
        twistd["logger"] = LogChoice.name

    def give_up(self, reason: str) -> None:
        """End the process before it serves, for a reason found after twistd has started."""
        twistd = self.parent
        if twistd is None or not twistd["nodaemon"]:
            raise StartupError(reason)
        if twistd["pidfile"]:
            Path(twistd["pidfile"]).unlink(missing_ok=True)
        print(f"mneme: {reason}", file=sys.__stderr__)
        sys.exit(1)

    def given(self) -> dict[str, str | list[str]]:
        """The given options, by their names in config.json."""
        return {key: self[option] for option, key in _FROM_OPTION.items() if self[option]}


def makeService(options: Options) -> Server:
    """Build the server, claim its data directory, and open its sockets.

    This happens before twistd detaches. So an error appears on the terminal, as one sentence, and ends the process.
    """
    from twisted.internet import reactor

    # This must come before twistd opens its log.
    os.umask(0o077)
    # Before the server handles SIGHUP, the signal would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    cast(Any, reactor).seconds = clocks.monotonic
    try:
        return _build(cast(Any, reactor), options, dict(os.environ))
    except (StartupError, ConfigError) as problem:
        sys.exit(f"mneme: {problem}")


def _build(reactor: Any, options: Options, environ: dict[str, str]) -> Server:  # noqa: ANN401 - it provides many interfaces
    given = options.given()

    def load() -> Loaded:
        loaded = config.load(given, environ, homedir.home())
        return replace(loaded, config=_with_explicit_port(loaded.config, given))

    loaded = load()
    chosen = loaded.config
    data_directory = chosen.data_dir.absolute()
    claim = Claim.take(data_directory)
    endpoints = [_endpoint(reactor, text) for text in chosen.listen]
    path = data_directory / NAME
    can_write = not claim.is_read_only
    copy = WorkingCopy(data_directory / layout.PROJECTS) if chosen.working_copy and can_write else None
    has_room = _check_data(path, chosen.backups.absolute(), copy, can_write)
    worker = ThreadWorker(reactor, THREADS)
    process = ProcessWorker(reactor, worker)
    writing = Database(path, writable=can_write, exclusive=not has_room)
    reading = Database(path, writable=False)
    threads = [DatabaseThread(reactor, writing), DatabaseThread(reactor, reading)]
    writer = Lane(Store(writing, copy, chosen.merging), threads[0])
    reader = Lane(Store(reading), threads[1]) if has_room else Lane(Store(writing), threads[0])
    wall = clocks.TimeOfDay()
    uptime = clocks.Uptime()
    sync = SyncService(wall, writer, reader, process, Millis(chosen.lock_ttl_ms), chosen.retention, uptime)
    feed = Feed(reactor, sync)
    writer.store.on_event = lambda: feed.is_heard and reactor.callFromThread(feed.wake)
    room = left_for_connections(raise_limit())
    slots = Slots(min(MAX_CONNECTIONS, room), chosen.max_connections_per_address)
    components = Components(
        reactor=reactor,
        claim=claim,
        sockets=[] if endpoints else open_sockets(chosen.host, chosen.port, bool(chosen.api_keys)),
        endpoints=endpoints,
        worker=worker,
        process=process,
        sync=sync,
        threads=threads,
        timers=[timer(reactor, sync) for timer in (Exporter, Looker, Reaper, Pruner)],
        backups=Backups(reactor, wall, uptime, worker, path, plan_of(loaded)),
        site=Site(reactor, wall, worker, sync, policy_of(chosen), chosen.max_body_bytes, feed, slots),
    )
    _calm_collector()
    return Server(components, loaded, load, options.give_up)


def _calm_collector() -> None:
    """Let Python look for cycles less often, and only among new objects.

    The objects made so far stay until the end, and requests leave no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _call_from_signal(call: Callable[[], object]) -> None:
    from twisted.internet import reactor

    cast(Any, reactor).callFromThread(call)


def _has_log_of_its_own(twistd: Mapping[str, object]) -> bool:
    """Whether twistd has an option for another log, or options that it will refuse."""
    no_terminal = twistd["logfile"] == "-" and not twistd["nodaemon"]
    return bool(twistd.get("logger") or twistd.get("syslog") or no_terminal)


def _with_explicit_port(chosen: Config, given: Mapping[str, object]) -> Config:
    """The configuration without endpoints, if the command line has a port or a host.

    The command line counts more than endpoints in the file or the environment.
    """
    if "listen" not in given and ("port" in given or "host" in given):
        return replace(chosen, listen=())
    return chosen


def _endpoint(reactor: object, text: str) -> IStreamServerEndpoint:
    try:
        return cast(IStreamServerEndpoint, serverFromString(reactor, text))
    except Exception as problem:  # noqa: BLE001 - each kind of endpoint fails in its own way
        raise StartupError(
            f"Cannot listen on {text!r}: {problem}. tcp6:port=3847 or unix:/run/mneme.sock would be endpoints"
        ) from None


def _check_data(path: Path, backups: Path, copy: WorkingCopy | None, can_write: bool) -> bool:
    """Check the data before the process detaches. Return whether the disk has space.

    Without space, only one connection to the database works. The database is opened again later.
    """
    has_room = True
    database = Database(path, writable=can_write)
    try:
        if copy:
            copy.make_root()
        try:
            database.open()
        except DiskFull:
            has_room = False
            database = Database(path, exclusive=True)
            database.open()
        if not can_write and check_identity(database.connection, path) < SCHEMA_VERSION:
            raise StartupError(
                f"The disk of {path} is read-only, and the database is still to be brought up to date: "
                "start the server once where it can write"
            )
        database.check(_CHECK_SECONDS)
    except DamagedDatabase:
        raise StartupError(f"The database {path} is damaged. {backup.way_back(path, backups)}") from None
    except UnsafePath as problem:
        raise StartupError(
            f"The directory {path.parent / layout.PROJECTS} cannot be used: {problem}"
        ) from None
    except (DiskFull, sqlite3.Error, OSError) as problem:
        raise StartupError(f"The database {path} cannot be used: {problem}") from None
    finally:
        database.close()
    return has_room
