"""A full disk: uploads are refused whole, what was there stays, and with space again all goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon import Daemon, DidNotStart, wait_until
from tests.integration import wire
from tests.integration.wire import NAME, NEW, NO_RATE_LIMIT, OLD, PROJECT
from tests.plugin_files import log

pytestmark = pytest.mark.integration


def test_a_full_disk_is_507_and_the_old_content_stays(tmp_path: Path) -> None:
    """On a file system without space an upload is refused whole; with space again, the server goes on."""
    with (
        _small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
        wire.client(daemon) as client,
    ):
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        filler = disk / "filler"
        _fill(filler, leave=20_000)
        assert 0 < shutil.disk_usage(disk).free < 40_000
        wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
        free = shutil.disk_usage(disk).free
        for _ in range(5):
            wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
        assert shutil.disk_usage(disk).free >= free - 8192, "refused uploads fill the disk"
        wire.assert_serves(daemon, OLD, exported=False)

        _fill(filler, leave=0)
        wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
        wire.assert_error(client.upload(PROJECT, "summary.json", "{}"), 507)
        wire.assert_error(client.acquire("another"), 507)
        wire.assert_serves(daemon, OLD, exported=False)
        wire.assert_locked(daemon)

        filler.unlink()
        assert client.upload(PROJECT, NAME, NEW).status == 200
        assert client.acquire("another").status == 200
        wire.assert_serves(daemon, NEW)
        daemon.kill_and_restart()
        wire.assert_serves(daemon, NEW)
        wire.assert_locked(daemon)


def test_a_server_can_be_restarted_on_a_full_disk(tmp_path: Path) -> None:
    """A person who finds the disk full and restarts the server can still read every file."""
    with (
        _small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
        wire.client(daemon) as client,
    ):
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        _fill(disk / "filler", leave=0)
        wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
        daemon.kill_and_restart()
        wire.assert_serves(daemon, OLD, exported=False)
        (disk / "filler").unlink()
        assert client.upload(PROJECT, NAME, NEW).status == 200
        wire.assert_serves(daemon, NEW)


@pytest.mark.parametrize("end", [Daemon.terminate, Daemon.kill], ids=["stopped", "killed"])
def test_a_read_only_disk_is_read_and_writes_are_507(tmp_path: Path, end: Callable[[Daemon], object]) -> None:
    """A failing disk that the system mounts read-only still gives its memory to every machine."""
    with (
        _small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
        wire.client(daemon) as client,
    ):
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        end(daemon)
        with _read_only(disk):
            daemon.start()
            wire.assert_serves(daemon, OLD, exported=False)
            wire.assert_locked(daemon)
            wire.assert_error(client.upload(PROJECT, NAME, NEW), 507)
            wire.assert_error(client.acquire("another"), 507)
            wire.assert_serves(daemon, OLD, exported=False)
            assert "The disk is read-only" in daemon.log()
            assert daemon.terminate() == 0
        daemon.start()
        assert client.upload(PROJECT, NAME, NEW).status == 200
        wire.assert_serves(daemon, NEW)
    assert "Traceback" not in daemon.log()


def test_a_read_only_disk_without_the_files_that_reading_takes_is_refused_in_a_sentence(
    tmp_path: Path,
) -> None:
    """A copy without mneme.db-shm, or a directory that no server has used, says what to do."""
    with (
        _small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
        wire.client(daemon) as client,
    ):
        # A server that is killed before its first commit leaves a log of changes that needs no reading.
        assert client.acquire(PROJECT).status == 200
        daemon.kill()
        (daemon.data_dir / "mneme.db-shm").unlink()
        with _read_only(disk), pytest.raises(DidNotStart, match="start the server once where it can write"):
            daemon.start()
        shutil.rmtree(daemon.data_dir)
        daemon.data_dir.mkdir()
        with _read_only(disk), pytest.raises(DidNotStart, match="cannot be used: No such file or directory"):
            daemon.start()


def test_uploads_go_on_while_only_the_plain_files_find_no_space(tmp_path: Path) -> None:
    """The database keeps them through kill and stop; plain files follow when there is space."""
    with (
        _small_disk(tmp_path / "data" / "projects", 500_000) as disk,
        Daemon(tmp_path, NO_RATE_LIMIT) as daemon,
        wire.client(daemon) as client,
    ):
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        wire.assert_serves(daemon, OLD)
        _fill(disk / "filler", leave=0)
        assert client.upload(PROJECT, NAME, NEW).status == 200
        wait_until(lambda: "Could not write the plain files" in daemon.log(), within=10)
        assert client.upload(PROJECT, "summary.json", "{}").status == 200
        for again in (daemon.kill_and_restart, daemon.restart):
            wire.assert_serves(daemon, NEW, exported=False)
            assert _plain(disk) == [OLD]
            again()
        (disk / "filler").unlink()
        wire.assert_serves(daemon, NEW)


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


@contextmanager
def _small_disk(at: Path, size: int) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none can be mounted."""
    at.mkdir(parents=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def _read_only(disk: Path) -> Iterator[None]:
    """A file system that is mounted read-only for a while."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def _plain(projects: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in projects.glob(f"*/{NAME}")]


def _fill(filler: Path, *, leave: int) -> None:
    """Fill the file system that holds `filler` until no more than `leave` bytes are free."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while (free := shutil.disk_usage(filler.parent).free) > leave:
            file.write(b"\0" * min(free - leave, 1 << 16))
