"""What keeps the memory from its way: one warning that says what happens to it, and status 0, for hooks must go on."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command import LOG, Home, line
from tests.daemon import Daemon, free_port
from tests.plugin_files import log

pytestmark = pytest.mark.integration

NO_RATE_LIMIT = {"rateLimitPerMinute": 0}
NO_PATIENCE = {"timeoutMs": 400, "retries": 0}
STAYS = "Changes stay on this machine, and are sent with the next push that succeeds."
WORKS = "This session works with the local memory; changes are sent with the next push that succeeds."


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A server whose locks live long."""
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as running:
        yield running


PULL = (("pull",), 0, WORKS)
BOTH = (PULL, (("push", "--strict"), 1, STAYS))


def assert_falls_back(
    home: Home, sentence: str, runs: Sequence[tuple[Sequence[str], int, str]] = BOTH
) -> None:
    """One warning with this sentence, and what happens to the memory; status 0, or 1 if `--strict`; files as before."""
    before = home.contents()
    for arguments, status, happens in runs:
        ended = home.run(*arguments, check=False)
        assert ended.status == status, ended
        [warning] = ended.err.splitlines()
        assert warning.startswith("mneme: "), warning
        assert sentence in warning
        assert warning.endswith(happens), warning
        assert ended.out == ""
    assert home.contents() == before


class TestUnreachable:
    """No answer, for whatever reason."""

    def test_nothing_listens(self, tmp_path: Path) -> None:
        """The server is not running."""
        home = Home(tmp_path / "laptop", f"http://127.0.0.1:{free_port()}", **NO_PATIENCE)
        home.note("one")
        assert_falls_back(home, "cannot be reached: connection refused")

    def test_the_name_is_unknown(self, tmp_path: Path) -> None:
        """There is no such machine."""
        home = Home(tmp_path / "laptop", "http://homeserver.invalid:3847", **NO_PATIENCE)
        home.note("one")
        assert_falls_back(home, "cannot be reached")

    def test_the_server_is_frozen(self, tmp_path: Path) -> None:
        """It takes connections, and says nothing."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            home = Home(tmp_path / "laptop", f"http://127.0.0.1:{silent.getsockname()[1]}", **NO_PATIENCE)
            home.note("one")
            assert_falls_back(home, "it did not answer in time")

    def test_what_answers_is_no_mneme_server(self, tmp_path: Path) -> None:
        """Some other web server."""
        port = free_port()
        other = subprocess.Popen(
            ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            home = Home(tmp_path / "laptop", f"http://127.0.0.1:{port}", timeoutMs=5000)
            home.note("one")
            assert_falls_back(home, "does not speak as a mneme server does")
        finally:
            other.kill()
            other.wait()

    def test_no_server_is_set(self, tmp_path: Path) -> None:
        """The settings say nothing of a server."""
        home = Home(tmp_path / "laptop", "")
        home.configure({})
        home.note("one")
        assert_falls_back(home, "No server is set: put")

    def test_the_settings_are_damaged(self, tmp_path: Path) -> None:
        """They are no JSON."""
        home = Home(tmp_path / "laptop", "")
        (home.plugin / "config.json").write_text('{"sync": ')
        home.note("one")
        assert_falls_back(home, "config.json cannot be used")


class TestRefused:
    """The server is there, and says no."""

    def test_a_key_is_missing(self, tmp_path: Path, keyed: Daemon) -> None:
        """It wants one."""
        home = Home(tmp_path / "laptop", keyed.url)
        home.note("one")
        assert_falls_back(home, "wants an API key: put one of its apiKeys into sync.apiKey")

    def test_a_key_is_wrong(self, tmp_path: Path, keyed: Daemon) -> None:
        """It wants another; the wrong one is not repeated in the warning."""
        home = Home(tmp_path / "laptop", keyed.url, apiKey="the-key-of-another-server")
        home.note("one")
        assert_falls_back(home, "does not know this API key")
        assert "the-key-of" not in home.run("pull").err


def lock(daemon: Daemon, client: str = "desktop-5e6f7a8b") -> None:
    """Let another client hold the lock."""
    assert daemon.ask("POST", "/projects/app/lock", headers={"X-Client-Id": client})[0] == 200


def upload(daemon: Daemon, content: bytes) -> None:
    """Upload the log as the other client."""
    headers = {"X-Client-Id": "desktop-5e6f7a8b", "Content-Type": "application/x-ndjson"}
    assert daemon.ask("PUT", f"/projects/app/files/{LOG}", headers=headers, body=content)[0] == 200


def test_a_locked_project_is_fetched_all_the_same(tmp_path: Path, daemon: Daemon) -> None:
    """The warning says who holds the lock, and that what is added will be merged."""
    home = Home(tmp_path / "laptop", daemon.url)
    lock(daemon)
    upload(daemon, line("theirs"))
    home.note("mine")
    ended = home.run("pull", "--strict", check=False)
    assert ended.status == 1
    assert sorted(home.notes()) == ["mine", "theirs"]
    assert ended.err.splitlines()[-1].startswith("mneme: app is locked by desktop-5e6f7a8b since ")
    assert "changes of this session are kept by the server, and merged when that lock is gone" in ended.err
    assert home.run("pull").status == 0


def test_a_refused_push_is_kept_and_merged(tmp_path: Path, daemon: Daemon) -> None:
    """The warning says so, and that there is nothing to do; a second push sends nothing more."""
    home = Home(tmp_path / "laptop", daemon.url)
    lock(daemon)
    upload(daemon, line("theirs"))
    home.note("mine")
    first, again = home.run("push"), home.run("push")
    for ended in (first, again):
        assert (
            "The server has kept log.jsonl, and merges it when the lock is free: nothing to do." in ended.err
        )
    status, body = daemon.ask("GET", f"/projects/app/files/{LOG}/versions")
    assert status == 200
    assert len(body["versions"]) == 2
    daemon.ask("DELETE", "/projects/app/lock", headers={"X-Client-Id": "desktop-5e6f7a8b"})
    home.run("pull", "--strict")
    assert sorted(home.notes()) == ["mine", "theirs"]


def test_a_file_that_the_server_will_not_have_keeps_none_back(tmp_path: Path) -> None:
    """The others are sent, and the warning says which was not, and why."""
    with Daemon(tmp_path / "server", {**NO_RATE_LIMIT, "maxBodyBytes": 100_000}) as daemon:
        home = Home(tmp_path / "laptop", daemon.url)
        home.write(LOG, log(1))
        home.write("summary.md", b"# one\n")
        ended = home.run("push", "--strict", check=False)
        assert ended.status == 1
        assert "log.jsonl is not in step: " in ended.err
        assert daemon.ask("GET", "/projects/app/files")[1]["files"][0]["name"] == "summary.md"
        assert daemon.ask("GET", "/projects/app/lock")[1]["locked"] is False


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[Path]:
    """A file system of its own; skips where there is nobody who may mount one."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_leaves_the_files_as_they_are(tmp_path: Path, daemon: Daemon) -> None:
    """Neither half a file nor a forgotten change; with space again, all is fetched and sent."""
    lock(daemon)
    upload(daemon, log(1, 600_000))
    daemon.ask("DELETE", "/projects/app/lock", headers={"X-Client-Id": "desktop-5e6f7a8b"})
    with small_disk(tmp_path / "disk", 4_000_000) as disk:
        home = Home(disk / "laptop", daemon.url)
        home.note("mine")
        filler = disk / "filler"
        with filler.open("wb") as file:
            file.write(b"x" * (shutil.disk_usage(disk).free - 500_000))
        assert_falls_back(home, "the disk of this machine is full", [PULL])
        assert home.notes() == ["mine"]
        filler.unlink()
        home.run("push", "--strict")
        assert "mine" in home.notes()
        assert (
            daemon.ask("GET", f"/projects/app/files/{LOG}")[1]["content"].encode() == home.file().read_bytes()
        )
