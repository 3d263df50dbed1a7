"""A thousand projects with locks: the server starts fast, and knows them all."""

import time
from pathlib import Path

import pytest

from mneme.model import ClientId, FileName, Millis, ProjectId, Upload
from tests.daemon import Daemon, wait_until
from tests.kept import DiskStore

pytestmark = pytest.mark.integration

CLIENT = ClientId("laptop-0a1b2c3d")
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)
PROJECTS = 1000


def test_a_thousand_projects_with_locks_delay_no_start(tmp_path: Path) -> None:
    """By the best of three starts; every lock is known, and every file exported."""
    store = DiskStore(tmp_path / "data")
    for number in range(PROJECTS):
        project = ProjectId(f"project-{number}")
        store.acquire(project, CLIENT, NOW, TTL)
        store.upload(project, Upload(FileName.LOG, b"{}\n" * 100, CLIENT), NOW)
    store.database.close()
    full = Daemon(tmp_path / "server", data_dir=tmp_path / "data")
    empty = Daemon(tmp_path / "empty")
    with full, empty:
        seconds = [(start_time(full), start_time(empty)) for _ in range(3)]
        assert min(one for one, _ in seconds) < min(other for _, other in seconds) + 1.0, seconds
        wait_until(lambda: len(list(full.projects.glob("*/log.jsonl"))) == PROJECTS, within=60)
        wait_until(lambda: full.log().count("Reaped the lock of laptop-0a1b2c3d") == PROJECTS, within=90)
        wait_until(lambda: not list(full.projects.glob("*/.lock.json")), within=60)


def start_time(daemon: Daemon) -> float:
    """The seconds that a server takes to be there again after a kill."""
    daemon.kill()
    began = time.monotonic()
    daemon.start()
    return time.monotonic() - began
