"""Backups of a real server while machines upload, and real servers on damaged databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.command import Home
from tests.daemon import Daemon, DidNotStart, wait_until
from tests.integration.wire import NO_RATE_LIMIT
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration

MACHINES = 4
ME = {"X-Client-Id": "looker", "User-Agent": "curl/8"}


class Machine:
    """A machine that uploads to its own project, and knows which uploads were answered."""

    def __init__(self, daemon: Daemon, number: int) -> None:
        self.project = f"project-{number}"
        self.answered: list[bytes] = []
        self.ended = threading.Event()
        self._daemon = daemon

    def run(self) -> None:
        """Upload, one text after the other."""
        with StockClient(self._daemon.url, self.project, delays=()) as client:
            assert client.acquire(self.project).status == 200
            while not self.ended.is_set():
                text = f"{self.project}, upload {len(self.answered)}\n" * 100
                assert client.upload(self.project, "summary.md", text).status == 200
                self.answered.append(text.encode())


def contents_of(daemon: Daemon, project: str) -> set[bytes]:
    """Contents of all versions of a project's file."""
    place = f"/projects/{project}/files/summary.md/versions"
    status, listing = daemon.ask("GET", place, headers=ME)
    assert status == 200
    numbers = [one["version"] for one in listing["versions"]]
    found = [daemon.ask("GET", f"{place}/{number}", headers=ME)[1] for number in numbers]
    return {one["content"].encode() for one in found}


def test_every_upload_answered_before_a_backup_is_in_it(tmp_path: Path) -> None:
    """Uploads do not wait for the backup, which is restored elsewhere."""
    home = Home(tmp_path / "admin", "http://localhost:1")
    before: dict[str, list[bytes]] = {}
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as daemon, ThreadPoolExecutor(MACHINES) as pool:
        machines = [Machine(daemon, number) for number in range(MACHINES)]
        running = [pool.submit(one.run) for one in machines]
        try:
            wait_until(lambda: all(len(one.answered) > 50 for one in machines), within=30)
            where = ("-d", str(daemon.data_dir), "-c", str(tmp_path / "server" / "config.json"))
            for number in range(3):
                before = {one.project: list(one.answered) for one in machines}
                home.run("backup", str(tmp_path / f"{number}.db"), *where)
            home.run("verify", *where)
        finally:
            for one in machines:
                one.ended.set()
        for future in running:
            future.result(30)
        assert all(len(one.answered) > len(before[one.project]) for one in machines)
    home.run("restore-backup", str(tmp_path / "2.db"), str(tmp_path / "elsewhere"))
    home.run("verify", "-d", str(tmp_path / "elsewhere"))
    with Daemon(tmp_path / "other", NO_RATE_LIMIT, data_dir=tmp_path / "elsewhere") as other:
        for project, answered in before.items():
            assert set(answered) <= contents_of(other, project)
        heads = {one: (other.projects / one / "summary.md") for one in before}
        wait_until(lambda: all(path.exists() for path in heads.values()), within=10)
    assert "Traceback" not in other.log()


def filled(daemon: Daemon) -> dict[str, bytes]:
    """Upload to some projects; the heads."""
    heads = {}
    for number in range(5):
        with StockClient(daemon.url, f"machine-{number}", delays=()) as client:
            project = f"project-{number}"
            assert client.acquire(project).status == 200
            for text in ("first", "second"):
                heads[project] = f"{text} of {project}\n".encode() * 200
                assert client.upload(project, "summary.md", heads[project].decode()).status == 200
            client.release(project)
    return heads


def heads_of(daemon: Daemon) -> dict[str, bytes]:
    """Heads that the server serves."""
    _, listing = daemon.ask("GET", "/projects", headers=ME)
    return {
        one["id"]: daemon.ask("GET", f"/projects/{one['id']}/files/summary.md", headers=ME)[1][
            "content"
        ].encode()
        for one in listing["projects"]
    }


def test_a_damaged_database_keeps_the_server_from_starting_and_the_backup_brings_it_back(
    tmp_path: Path,
) -> None:
    """By the command in its sentence; what was written since is in the plain files."""
    home = Home(tmp_path / "admin", "http://localhost:1")
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as daemon:
        heads = filled(daemon)
        where = ("-d", str(daemon.data_dir), "-c", str(tmp_path / "server" / "config.json"))
        home.run("backup", str(daemon.data_dir / "backups"), "--keep", "7", *where)
        (newest,) = (daemon.data_dir / "backups").iterdir()
        with StockClient(daemon.url, "later", delays=()) as client:
            client.acquire("project-0")
            client.upload("project-0", "summary.md", "later\n")
            client.release("project-0")
        heads["project-0"] = (daemon.ask("GET", "/projects/project-0/files/summary.md", headers=ME)[1])[
            "content"
        ].encode()
        assert daemon.terminate() == 0
        database = daemon.data_dir / "mneme.db"
        database.write_bytes(database.read_bytes()[:4096] + bytes(4096 * 4))
        with pytest.raises(
            DidNotStart, match=f"is damaged. `mneme restore-backup --replace {newest} {daemon.data_dir}`"
        ):
            daemon.start()
        assert home.run("verify", *where, check=False).status == 1
        home.run("restore-backup", "--replace", str(newest), str(daemon.data_dir))
        daemon.start()
        wait_until(lambda: heads_of(daemon) == heads, within=5)
        home.run("verify", *where)
