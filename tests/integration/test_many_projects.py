"""A thousand projects with locks: the server starts as fast as with ten, and knows them all."""

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


def test_a_thousand_projects_with_locks_are_served_within_two_seconds_of_the_start(tmp_path: Path) -> None:
    """The best of three, since the machine may be busy; every lock is known, and every file exported."""
    store = DiskStore(tmp_path / "data")
    for number in range(PROJECTS):
        project = ProjectId(f"project-{number}")
        store.acquire(project, CLIENT, NOW, TTL)
        store.upload(project, Upload(FileName.LOG, b"{}\n" * 100, CLIENT), NOW)
    store.database.close()
    seconds = []
    with Daemon(tmp_path / "server", data_dir=tmp_path / "data") as daemon:
        for _ in range(3):
            daemon.kill()
            before = time.monotonic()
            daemon.start()
            seconds.append(time.monotonic() - before)
        assert min(seconds) < 2.0, seconds
        wait_until(lambda: len(list(daemon.projects.glob("*/log.jsonl"))) == PROJECTS, within=60)
        wait_until(lambda: daemon.log().count("Reaped the lock of laptop-0a1b2c3d") == PROJECTS, within=90)
        wait_until(lambda: not list(daemon.projects.glob("*/.lock.json")), within=60)
