"""Starting, reloading and stopping, with a reactor in memory and a clock moved by hand."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, capturedLogs, formatEvent
from zope.interface import implementer

from mneme.backups import Backups
from mneme.config import Config, ConfigError, Loaded
from mneme.errors import StartupError
from mneme.feed import Feed
from mneme.listening import open_sockets
from mneme.model import Merging, Millis
from mneme.process import ProcessWorker
from mneme.server import Components, Server, plan_of, policy_of
from mneme.service import Lane, SyncService
from mneme.store import Store
from mneme.store.claim import Claim
from mneme.store.sqlite import NAME, Database
from mneme.store.thread import DatabaseThread
from mneme.timers import Exporter, Looker, Pruner, Reaper
from mneme.web.policy import Policy
from mneme.web.site import Site
from mneme.work import T, ThreadWorker

KEY = "alpha-key-0123456789"
ANY = "0.0.0.0"  # noqa: S104 - what people write who mean every address


class Reactor(MemoryReactorClock):
    """A reactor in memory that also takes calls from threads, and signals."""

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        """See `IReactorFromThreads`."""
        function(*arguments)


class NoThreads(ThreadWorker):
    """A worker with the life of the real one and no threads."""

    alive = False

    def start(self) -> None:
        """See `ThreadWorker`."""
        self.alive = True

    def run(self, job: Callable[[], T], /, weight: int = 0) -> "Deferred[T]":
        """See `Worker`."""
        assert self.alive
        return execute(job)

    def stop(self) -> None:
        """See `ThreadWorker`."""
        self.alive = False


class NoThread(DatabaseThread):
    """The steps of a database with the life of the real ones, run at once."""

    alive = False

    def start(self) -> None:
        """See `DatabaseThread`."""
        self.alive = True

    def stop(self) -> None:
        """See `DatabaseThread`."""
        self.alive = False
        self._database.close()

    def _wake(self) -> None:
        assert self.alive
        taken = self._take()
        self._deliver(taken, self._run_all(taken))


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint that listens on an address, as soon as the test says so."""

    def __init__(self, address: object) -> None:
        self._address = address
        self.listening: Deferred[Any] = Deferred()

    def listen(self, _factory: object) -> "Deferred[Any]":
        """See `IStreamServerEndpoint`."""
        return self.listening

    def open(self) -> "Endpoint":
        """Listen."""
        self.listening.callback(self)
        return self

    def getHost(self) -> object:
        """See `IListeningPort`."""
        return self._address

    def stopListening(self) -> None:
        """See `IListeningPort`."""


class Rig:
    """A server with its components, and what it would load next."""

    def __init__(
        self, home: Path, loaded: Loaded, on: str = "127.0.0.1", endpoints: tuple[Any, ...] = ()
    ) -> None:
        config = loaded.config
        self.reactor = Reactor()
        self.loaded = loaded
        self.next: Loaded | Exception = self.loaded
        self.worker = NoThreads(cast(Any, self.reactor), 1)
        database = Database(home / NAME)
        self.thread = NoThread(cast(Any, self.reactor), database)
        lane = Lane(Store(database), self.thread)
        sync = SyncService(
            self.reactor, lane, lane, self.worker, Millis(config.lock_ttl_ms), config.retention
        )
        self.components = Components(
            reactor=self.reactor,
            claim=Claim.take(home / "data"),
            sockets=() if endpoints else open_sockets(on, 0, protected=False),
            endpoints=endpoints,
            worker=self.worker,
            process=ProcessWorker(self.reactor, self.worker),
            threads=[self.thread],
            sync=sync,
            timers=[timer(self.reactor, sync) for timer in (Exporter, Looker, Reaper, Pruner)],
            backups=Backups(
                self.reactor,
                self.reactor,
                self.reactor,
                self.worker,
                home / "data" / NAME,
                plan_of(self.loaded),
            ),
            site=Site(
                self.reactor,
                self.reactor,
                self.worker,
                sync,
                policy_of(config),
                config.max_body_bytes,
                Feed(self.reactor, sync),
            ),
        )
        self.server = Server(self.components, self.loaded, self._load, self._give_up)

    @property
    def policy(self) -> Policy:
        """The policy that is in force."""
        return self.components.site.policy

    def start(self) -> list[str]:
        """Start as twistd does, and return what the log says."""
        return said(self.server.privilegedStartService, self.server.startService)

    def stop(self) -> None:
        """Stop, to the end."""
        done: list[object] = []
        Deferred.fromCoroutine(self.server.stopService()).addBoth(done.append)
        assert done == [None]

    def reload(self, config: Config | Exception, warnings: tuple[str, ...] = ()) -> list[str]:
        """Load another configuration, and return what the log says."""
        self.next = config if isinstance(config, Exception) else Loaded(config, warnings, self.loaded.path)
        return said(self.server.reload)

    def _load(self) -> Loaded:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    def _give_up(self, reason: str) -> None:
        raise StartupError(reason)


def said(*actions: Callable[[], object]) -> list[str]:
    """The log of some actions."""
    with capturedLogs() as logged:
        for action in actions:
            action()
    events: list[LogEvent] = [e for e in logged if e.get("log_namespace", "").startswith("mneme")]
    return [formatEvent(event) for event in events]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration with one key."""
    return Config(data_dir=tmp_path / "data", api_keys=(KEY,))


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The handlers of signals as they were."""
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


Making = Callable[..., tuple[Rig, list[str]]]


@pytest.fixture
def run(tmp_path: Path, config: Config) -> Iterator[Making]:
    """A way to run a server with other settings, by default without keys."""
    running: list[Rig] = []

    def make(keys: tuple[str, ...] = (), **options: Any) -> tuple[Rig, list[str]]:
        while running:
            running.pop().stop()
        place = {name: options.pop(name) for name in ("on", "endpoints") if name in options}
        path, warnings = options.pop("path", tmp_path / "config.json"), options.pop("warnings", ())
        found = options.pop("found", False)
        loaded = Loaded(replace(config, api_keys=keys, **options), warnings, path, found)
        running.append(Rig(tmp_path, loaded, **place))
        return running[0], running[0].start()

    yield make
    for rig in running:
        rig.stop()


@pytest.fixture
def rig(run: Making) -> Rig:
    """A server that runs, with a key."""
    return run((KEY,))[0]


@pytest.mark.parametrize(
    ("found", "part"), [(True, "its settings in {home}/config.json"), (False, "there is no config file")]
)
def test_the_start_line_names_address_and_files(run: Making, tmp_path: Path, found: bool, part: str) -> None:
    """Warnings of the configuration are in the log, too."""
    _, lines = run((KEY,), warnings=("something is odd",), found=found)
    assert "something is odd" in lines
    (line,) = [line for line in lines if "listens on http://127.0.0.1:" in line]
    assert line.endswith(f"; its data is in {tmp_path / 'data'}, {part.format(home=tmp_path)}")


@pytest.mark.parametrize(
    ("host", "on", "part"),
    [
        (None, "127.0.0.1", "loopback only. To open it"),
        (
            "localhost",
            "localhost",
            "Only this machine reaches it, and it answers to no other name. To protect",
        ),
        ("::1", "::1", "Only this machine"),
        (ANY, ANY, "beyond loopback. To protect"),
    ],
)
def test_a_server_without_keys_says_who_can_reach_it(
    run: Making, tmp_path: Path, host: str | None, on: str, part: str
) -> None:
    """The advice names the config file; without a home, a file must be named."""
    _, lines = run(host=host, on=on)
    (line,) = [line for line in lines if "No API keys" in line]
    assert part in line
    assert str(tmp_path / "config.json") in line
    _, lines = run(host=host, on=on, path=None)
    (line,) = [line for line in lines if "No API keys" in line]
    assert "into a file that --config names and start it again" in line


def tcp(host: str) -> IPv4Address | IPv6Address:
    """An address on port 3847."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 3847)


@pytest.mark.parametrize(
    ("addresses", "is_local"),
    [
        ([tcp("127.0.0.1")], True),
        ([tcp("127.3.2.1"), tcp("::1"), tcp("::ffff:127.0.0.1"), UNIXAddress("/run/m.sock")], True),
        ([UNIXAddress(None)], True),
        ([tcp("127.0.0.1"), tcp("192.0.2.1")], False),
        ([tcp(ANY)], False),
        ([tcp("::")], False),
        ([tcp("::ffff:192.0.2.1")], False),
        ([object()], False),
    ],
)
def test_made_up_names_are_refused_on_loopback(run: Making, addresses: list[object], is_local: bool) -> None:
    """However it was said where to listen; with keys any name will do."""
    for keys in ((), (KEY,)):
        endpoints = tuple(Endpoint(address).open() for address in addresses)
        rig, lines = run(keys, listen=("endpoints",), endpoints=endpoints)
        assert rig.policy.only_local is (is_local and not keys)
        assert any("beyond loopback" in line for line in lines) is not (is_local or bool(keys))


def test_an_endpoint_that_takes_its_time_opens_the_server_when_it_listens(run: Making) -> None:
    """Until then nobody comes in by it."""
    late = Endpoint(tcp(ANY))
    rig, _ = run(listen=("tcp:1",), endpoints=(late,))
    seen = [rig.policy.only_local]
    late.open()
    assert [*seen, rig.policy.only_local] == [True, False]


def test_an_endpoint_where_nobody_can_listen_ends_the_start(tmp_path: Path, config: Config) -> None:
    """The reason is told."""
    dead = Endpoint(None)
    dead.listening.errback(OSError("the door is shut"))
    rig = Rig(tmp_path, Loaded(config, (), None), endpoints=(dead,))
    with pytest.raises(StartupError, match="the door is shut"):
        rig.start()
    rig.components.claim.release()


def test_a_stopped_server_lets_go_of_everything(tmp_path: Path, config: Config) -> None:
    """Another server can have the directory at once, and no timer is left behind."""
    rig = Rig(tmp_path, Loaded(config, (), None))
    rig.start()
    rig.stop()
    Claim.take(tmp_path / "data").release()
    assert not rig.worker.alive
    assert not rig.thread.alive
    assert rig.reactor.getDelayedCalls() == []


def test_sighup_reloads(rig: Rig, config: Config) -> None:
    """The real signal, to this process."""
    rig.next = Loaded(replace(config, lock_ttl_minutes=1), (), rig.loaded.path)
    os.kill(os.getpid(), signal.SIGHUP)
    assert rig.components.sync.lock_ttl == 60_000


def test_sigterm_stops_the_reactor(rig: Rig) -> None:
    """The services stop in order."""
    for call, arguments, options in rig.reactor.whenRunningHooks:
        call(*arguments, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    assert rig.reactor.hasStopped


def test_a_reload_takes_over_all_that_can_change(rig: Rig, config: Config) -> None:
    """The policy counts from the next request, and open connections stay."""
    new = replace(
        config,
        api_keys=("x" * 20,),
        lock_ttl_minutes=2,
        max_body_bytes=9,
        allowed_origins=("*",),
        trusted_proxies=("10.0.0.0/8",),
        max_connections_per_address=7,
        history_keep_all_hours=1,
    )
    assert rig.reload(new, ("odd",)) == ["odd", "The configuration was reloaded"]
    sync, site = rig.components.sync, rig.components.site
    assert (sync.lock_ttl, sync.retention.keep_all) == (120_000, 3_600_000)
    assert (site.max_body_bytes, site.slots.per_address) == (9, 7)
    assert sync.merging == Merging(enabled=True, max_bytes=9)
    assert rig.policy.origins == ("*",)
    assert rig.policy.keys.check(b"Bearer " + b"x" * 20) == 0
    assert rig.policy.proxies.trust("10.1.2.3")
    assert rig.policy.helps_stock_push
    rig.reload(replace(config, merge=False, stock_push_help=False))
    assert not sync.merging.enabled
    assert not rig.policy.helps_stock_push


def test_a_reload_names_the_keys_that_take_a_restart(rig: Rig, config: Config) -> None:
    """The others are taken over."""
    lines = rig.reload(replace(config, port=1, lock_ttl_minutes=1))
    assert lines == ["port has changed, which needs a restart", "The configuration was reloaded"]
    assert rig.components.sync.lock_ttl == 60_000


@pytest.mark.parametrize("problem", [ConfigError("port must be a number"), RuntimeError("unheard of")])
def test_a_reload_that_fails_leaves_all_as_it_was(rig: Rig, problem: Exception) -> None:
    """Whatever the reason; and the next one is heard."""
    before = rig.policy
    (line,) = rig.reload(problem)
    assert "the old one stays in force" in line
    assert rig.policy is before
    assert rig.reload(rig.loaded.config) == ["The configuration was reloaded"]


def test_a_reload_never_drops_authentication(rig: Rig, config: Config) -> None:
    """A file that lost its keys is refused as a whole."""
    (line,) = rig.reload(replace(config, api_keys=(), lock_ttl_minutes=1))
    assert "apiKeys is gone" in line
    assert rig.policy.keys.required
    assert rig.components.sync.lock_ttl == 1_800_000


def test_first_keys_protect_at_once_and_open_with_a_restart(run: Making, config: Config) -> None:
    """Addresses are bound at the start, and that is said."""
    rig, _ = run()
    assert any("beyond loopback" in line for line in rig.reload(config))
    assert rig.policy.keys.required


@pytest.mark.parametrize(
    ("before", "after", "on"), [(None, ANY, "127.0.0.1"), ("::1", ANY, "::1"), (ANY, None, ANY)]
)
def test_the_bound_addresses_and_not_the_file_guard_against_made_up_names(
    run: Making, config: Config, before: str | None, after: str | None, on: str
) -> None:
    """A `host` that came or went takes a restart."""
    rig, _ = run(host=before, on=on)
    rig.reload(replace(config, api_keys=(), host=after))
    assert rig.policy.only_local is (on is not ANY)
    rig.reload(config)
    assert not rig.policy.only_local


def test_a_process_that_may_open_few_files_says_what_to_do(tmp_path: Path, config: Config) -> None:
    """Nothing is said where there is room enough."""
    rig = Rig(tmp_path, Loaded(config, (), None))
    assert not any("ulimit" in line for line in rig.start())
    rig.stop()
    rig = Rig(tmp_path, Loaded(config, (), None))
    rig.components.site.slots.total = 32
    (line,) = [line for line in rig.start() if "ulimit -n 1024" in line]
    assert line.startswith("At most 32 connections")
    assert "LimitNOFILE=1024" in line
    rig.stop()
