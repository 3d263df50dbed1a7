"""The server as one service, which starts, reloads and stops all its components."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme import __version__, config, listening
from mneme.backups import Backups, Plan
from mneme.config import Config, ConfigError, Loaded
from mneme.descriptors import ENOUGH
from mneme.model import Millis
from mneme.periodic import PeriodicService
from mneme.process import ProcessWorker
from mneme.service import SyncService
from mneme.store.claim import Claim
from mneme.store.thread import DatabaseThread
from mneme.web.auth import Keys
from mneme.web.limits import RateLimit
from mneme.web.policy import Policy
from mneme.web.proxies import TrustedProxies
from mneme.web.site import Site
from mneme.web.slots import MAX_CONNECTIONS
from mneme.work import ThreadWorker

CLOSE_SECONDS = 8.0
"""Seconds that running requests may take when the server stops. The server must end within 10 s."""


class Reactor(Protocol):
    """The methods of the reactor that the server uses."""

    def adoptStreamPort(self, descriptor: int, family: int, factory: Site, /) -> IListeningPort:
        """See `IReactorSocket`."""
        ...

    def callFromThread(self, call: Callable[[], object], /) -> object:
        """See `IReactorFromThreads`."""
        ...

    def callWhenRunning(self, call: Callable[..., object], /, *arguments: object) -> object:
        """See `IReactorCore`."""
        ...

    def stop(self) -> object:
        """See `IReactorCore`."""
        ...


def policy_of(chosen: Config) -> Policy:
    """The policy of the configuration: who may send requests, and how many.

    Without API keys, only this machine may, at first.
    """
    return Policy(
        Keys(chosen.api_keys),
        RateLimit(chosen.rate_limit_per_minute),
        chosen.allowed_origins,
        only_local=not chosen.api_keys,
        helps_stock_push=chosen.stock_push_help,
        proxies=TrustedProxies.parse(chosen.trusted_proxies),
    )


def plan_of(loaded: Loaded) -> Plan:
    """The plan for daily backups by the configuration, whose file is part of each backup."""
    chosen, file = loaded.config, loaded.file
    return Plan(chosen.backups.absolute(), chosen.backup_keep, file.absolute() if file else None)


class Components(Struct, frozen=True, eq=False, kw_only=True):
    """The components of a server. The `sockets` listen already, the `endpoints` do not yet.

    The `timers` are started in their order, and the `backups` after them.
    """

    reactor: Reactor
    claim: Claim
    sockets: Sequence[socket.socket]
    endpoints: Sequence[IStreamServerEndpoint]
    worker: ThreadWorker
    process: ProcessWorker
    threads: Sequence[DatabaseThread]
    sync: SyncService
    timers: Sequence[PeriodicService]
    backups: Backups
    site: Site


class Server(Service):
    """The service that runs the components. SIGHUP reloads the configuration."""

    _log = Logger()

    def __init__(
        self,
        components: Components,
        loaded: Loaded,
        load: Callable[[], Loaded],
        give_up: Callable[[str], None],
    ) -> None:
        """Set up the server from its components.

        `load` reads the configuration again. `give_up` ends the process, with a reason for the user.
        """
        self._components = components
        self._loaded = loaded
        self._load = load
        self._give_up = give_up
        self._ports: list[IListeningPort] = []
        self._reloading: Deferred[None] = succeed(None)
        self._had_terminal = False
        self._on_loopback_only = True
        """Whether only this machine can reach the sockets opened so far."""

    def privilegedStartService(self) -> None:
        """Start to listen. This may need rights that twistd gives up afterwards."""
        super().privilegedStartService()
        site, failures = self._components.site, list[Failure]()
        where = listening.describe(self._components.sockets) or " and ".join(self._loaded.config.listen)
        for opened in self._components.sockets:
            if not listening.is_loopback(opened.getsockname()[0]):
                self._on_loopback_only = False
            port = self._components.reactor.adoptStreamPort(opened.fileno(), opened.family, site)
            self._ports.append(port)
            site.watch(port)
            opened.close()
        for endpoint in self._components.endpoints:
            endpoint.listen(site).addCallbacks(self._take_port, failures.append)
        if failures:
            self._give_up(f"Cannot listen where --listen says: {failures[0].getErrorMessage()}")
        self._set_policy()
        file = self._loaded.file
        self._log.info(
            "mneme {version} listens on {where}; its data is in {data_directory}, {settings}",
            version=__version__,
            where=where,
            data_directory=str(self._loaded.config.data_dir.absolute()),
            settings=f"its settings in {file.absolute()}" if file else "there is no config file",
        )

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        self._components.claim.write_pid()
        self._components.worker.start()
        for thread in self._components.threads:
            thread.start()
        self._components.sync.startService()
        for timer in (*self._components.timers, self._components.backups):
            timer.startService()
        self._had_terminal = os.isatty(0)
        signal.signal(signal.SIGHUP, self._on_hangup)
        # After SIGTERM, twistd would end by that signal, so not with exit status 0. The reactor sets its own handlers
        # when it starts to run, so ours is set after that.
        self._components.reactor.callWhenRunning(signal.signal, signal.SIGTERM, self._on_terminate)
        if not self._components.claim.survives_power_cuts:
            self._log.warn(
                "The disk of {data_directory} syncs no directories: a power cut may take away what was stored last. "
                "Put the data on a local disk (--data-dir) to have that covered",
                data_directory=str(self._loaded.config.data_dir.absolute()),
            )
        if not self._components.claim.is_sure:
            self._log.warn(
                "The disk of {data_directory} has no locks: see that no second server uses it",
                data_directory=str(self._loaded.config.data_dir.absolute()),
            )
        if self._components.claim.is_read_only:
            self._log.warn(
                "The disk is read-only: files are served as they are, and whatever would change one is refused (507)"
            )
        self._explain_room()
        for warning in self._loaded.warnings:
            self._log.warn("{warning}", warning=warning)
        if not self._loaded.config.api_keys:
            self._explain_openness()

    async def stopService(self) -> None:
        """Stop listening, finish running requests and their writes, and release the data directory."""
        super().stopService()
        self._log.info("Stopping; requests under way have {seconds:.0f} s to finish", seconds=CLOSE_SECONDS)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            await self._finish()
            self._log.info("Stopped; all writes are finished")
        finally:
            self._components.worker.stop()
            # The writer is closed last: the last connection moves the write-ahead log into the database.
            for thread in reversed(self._components.threads):
                thread.stop()
            self._components.claim.release()

    async def _finish(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        await self._components.site.close(CLOSE_SECONDS)
        self._components.site.request_log.close()
        for timer in (self._components.backups, *reversed(self._components.timers)):
            await timer.stopService()
        stopping = Deferred.fromCoroutine(self._components.sync.stopService())
        # A running merge is aborted. Its upload goes on waiting.
        self._components.process.stop()
        await stopping
        await self._reloading

    def reload(self) -> None:
        """Read the configuration again, and apply the settings that need no restart.

        The file is read off the reactor thread.
        """
        self._reloading.addCallback(lambda _: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> None:
        try:
            loaded = await self._components.worker.run(self._load)
            self._go_over_to(loaded)
        except ConfigError as problem:
            self._log.error(
                "The configuration was not reloaded, the old one stays in force: {problem}", problem=problem
            )
        except Exception:  # noqa: BLE001 - after any error, the server continues with the old configuration
            self._log.failure("The configuration was not reloaded, the old one stays in force")

    def _go_over_to(self, loaded: Loaded) -> None:
        old, new = self._loaded.config, loaded.config
        refusal = config.refuse_reload(old, new)
        if refusal:
            raise ConfigError(refusal)
        self._loaded = loaded
        self._components.sync.lock_ttl = Millis(new.lock_ttl_ms)
        self._components.sync.merging = new.merging
        self._components.sync.retention = new.retention
        self._components.backups.plan = plan_of(loaded)
        self._components.site.max_body_bytes = new.max_body_bytes
        self._components.site.slots.per_address = new.max_connections_per_address
        self._set_policy()
        for warning in loaded.warnings:
            self._log.warn("{warning}", warning=warning)
        for key in config.changes_needing_restart(old, new):
            self._log.warn("{key} has changed, which needs a restart", key=key)
        if new.api_keys and not (old.api_keys or _is_told_where(old)) and self._on_loopback_only:
            self._log.warn("With API keys the server can listen beyond loopback, which needs a restart")
        self._log.info("The configuration was reloaded")

    def _take_port(self, port: IListeningPort) -> None:
        """Record a port that an endpoint has opened, perhaps later than the others."""
        self._ports.append(port)
        self._components.site.watch(port)
        if self._on_loopback_only and not listening.is_for_this_machine(port.getHost()):
            self._on_loopback_only = False
            self._set_policy()

    def _set_policy(self) -> None:
        chosen = self._loaded.config
        only_local = self._on_loopback_only and not chosen.api_keys
        self._components.site.policy = replace(policy_of(chosen), only_local=only_local)

    def _on_terminate(self, _signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._components.reactor.callFromThread(self._stop_reactor)

    def _stop_reactor(self) -> None:
        # A second signal may come before the reactor has handled the first.
        with suppress(ReactorNotRunning):
            self._components.reactor.stop()

    def _on_hangup(self, _signal: int, _frame: FrameType | None) -> None:
        # A closed terminal sends the same signal as `kill -HUP`. Then the server must stop.
        closed = self._had_terminal and not os.isatty(0)
        self._components.reactor.callFromThread(self._stop_reactor if closed else self.reload)

    def _explain_room(self) -> None:
        places = self._components.site.slots.total
        if places < MAX_CONNECTIONS:
            self._log.warn(
                "At most {places} connections at a time, since this process may open so few files: start it after "
                "`ulimit -n {enough}`, or with LimitNOFILE={enough} in its systemd unit, to have {usual}",
                places=places,
                enough=ENOUGH,
                usual=MAX_CONNECTIONS,
            )

    def _explain_openness(self) -> None:
        if self._on_loopback_only and _is_told_where(self._loaded.config):
            advice = "Only this machine reaches it, and it answers to no other name. To protect it"
        elif self._on_loopback_only:
            advice = "It listens on loopback only. To open it to your other machines"
        else:
            advice = "It listens beyond loopback. To protect it"
        path = self._loaded.path
        self._log.warn(
            "No API keys are set, so anyone who can reach this server can read and write. "
            "{advice}, put {example} into {path} and start it again.",
            advice=advice,
            example='{"apiKeys": ["a long random text"]}',
            path=path.absolute() if path else "a file that --config names",
        )


def _is_told_where(chosen: Config) -> bool:
    """Whether the configuration has a host or an endpoint."""
    return bool(chosen.host or chosen.listen)
