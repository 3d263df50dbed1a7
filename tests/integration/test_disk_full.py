"""A full disk: uploads are refused whole, and what was there stays."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, DidNotStart
from tests.integration import wire
from tests.integration.disks import fill, read_only, small_disk
from tests.integration.wire import NAME, NEW, NO_RATE_LIMIT, OLD, PROJECT
from tests.plugin_files import log
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Daemon]:
    """A server whose data directory is on a small disk, and holds `summary.md`."""
    with (
        small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
    ):
        with wire.client(daemon) as client:
            assert client.acquire(PROJECT).status == 200
            assert client.upload(PROJECT, NAME, OLD).status == 200
        yield daemon
        assert "Traceback" not in daemon.log()


@pytest.fixture
def client(small: Daemon) -> Iterator[StockClient]:
    """A client that holds the lock there."""
    with wire.client(small) as client:
        yield client


def assert_refused(small: Daemon, client: StockClient) -> None:
    """Writes are 507, and content and lock stay."""
    for answer in (
        client.upload(PROJECT, NAME, NEW),
        client.upload(PROJECT, "summary.json", "{}"),
        client.acquire("another"),
    ):
        wire.assert_error(answer, 507)
    wire.assert_serves(small, OLD, exported=False)
    wire.assert_locked(small)


def test_a_full_disk_is_507_and_the_old_content_stays(small: Daemon, client: StockClient) -> None:
    """A server restarted there serves on, and writes once there is space."""
    filler = small.data_dir.parent / "filler"
    fill(filler, leave=20_000)
    wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
    free = shutil.disk_usage(filler).free
    for _ in range(5):
        wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
    assert shutil.disk_usage(filler).free >= free - 8192, "refused uploads fill the disk"
    fill(filler)
    assert_refused(small, client)
    small.kill_and_restart()
    wire.assert_serves(small, OLD, exported=False)
    filler.unlink()
    assert client.upload(PROJECT, NAME, NEW).status == 200
    assert client.acquire("another").status == 200
    small.kill_and_restart()
    wire.assert_serves(small, NEW)
    wire.assert_locked(small)


@pytest.mark.parametrize("end", [Daemon.terminate, Daemon.kill], ids=["stopped", "killed"])
def test_a_read_only_disk_is_read_and_writes_are_507(
    small: Daemon, client: StockClient, end: Callable[[Daemon], object]
) -> None:
    """A failing disk that the system mounts read-only still gives its memory to every machine."""
    end(small)
    with read_only(small.data_dir.parent):
        small.start()
        assert_refused(small, client)
        assert "The disk is read-only" in small.log()
        assert small.terminate() == 0
    small.start()
    assert client.upload(PROJECT, NAME, NEW).status == 200
    wire.assert_serves(small, NEW)


def test_a_read_only_disk_that_cannot_be_read_from_is_refused_in_a_sentence(small: Daemon) -> None:
    """A copy without mneme.db-shm, or a directory that no server has used."""
    small.kill()
    (small.data_dir / "mneme.db-shm").unlink()
    disk = small.data_dir.parent
    with read_only(disk), pytest.raises(DidNotStart, match="start the server once where it can write"):
        small.start()
    shutil.rmtree(small.data_dir)
    small.data_dir.mkdir()
    with read_only(disk), pytest.raises(DidNotStart, match="cannot be used: No such file or directory"):
        small.start()


def test_a_file_size_limit_is_507_and_the_old_content_stays(tmp_path: Path) -> None:
    """A log of changes that may not grow is a full disk for large uploads."""
    with Daemon(tmp_path, NO_RATE_LIMIT) as daemon, wire.client(daemon) as client:
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (400_000, hard))
        large = log(3, 3_000_000).decode("utf-8")
        for _ in range(5):
            wire.assert_error(client.upload(PROJECT, NAME, large), 507)
        wire.assert_serves(daemon, OLD, exported=False)
        wire.assert_locked(daemon)
        assert client.upload(PROJECT, NAME, NEW).status == 200
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert client.upload(PROJECT, NAME, large).status == 200
        wire.assert_serves(daemon, large)
