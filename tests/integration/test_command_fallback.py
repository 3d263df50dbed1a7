"""Trouble of the command: a warning of what happens to the memory, and status 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import LOG, Home
from tests.daemon import Daemon, free_port
from tests.integration.disks import fill, small_disk
from tests.plugin_files import log

pytestmark = pytest.mark.integration

NO_PATIENCE = {"timeoutMs": 400, "retries": 0}
STAYS = "Changes stay on this machine, and are sent with the next push that succeeds."
WORKS = "This session works with the local memory; changes are sent with the next push that succeeds."
PULL = (("pull",), 0, WORKS)
PUSH = (("push", "--strict"), 1, STAYS)


def assert_falls_back(home: Home, sentence: str, *runs: tuple[tuple[str, ...], int, str]) -> None:
    """Pull and push warn with this sentence, and leave the files as they are."""
    home.note("one")
    before = home.contents()
    for arguments, status, happens in runs or (PULL, PUSH):
        ended = home.run(*arguments, check=False)
        assert ended.status == status, ended
        [warning] = ended.err.splitlines()
        assert warning.startswith("mneme: "), warning
        assert sentence in warning
        assert warning.endswith(happens), warning
        assert ended.out == ""
    assert home.contents() == before


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"http://127.0.0.1:{free_port()}", "cannot be reached: connection refused"),
        ("http://homeserver.invalid:3847", "cannot be reached"),
    ],
    ids=["nobody listens", "no such name"],
)
def test_a_server_that_cannot_be_reached_is_warned_of(tmp_path: Path, url: str, sentence: str) -> None:
    """Nothing listens there, or there is no such machine."""
    assert_falls_back(Home(tmp_path / "laptop", url, **NO_PATIENCE), sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [('{"sync": {}}', "No server is set in"), ('{"sync": ', "config.json cannot be used")],
    ids=["none", "damaged"],
)
def test_settings_without_a_server_are_warned_of(tmp_path: Path, settings: str, sentence: str) -> None:
    """Settings say nothing of a server, or are no JSON."""
    home = Home(tmp_path / "laptop", "")
    (home.plugin / "config.json").write_text(settings)
    assert_falls_back(home, sentence)


def test_a_full_disk_leaves_the_files_as_they_are(tmp_path: Path, daemon: Daemon, project: str) -> None:
    """No half a file, no forgotten change; with space again, all is fetched and sent."""
    other = {"X-Client-Id": "desktop-5e6f7a8b", "Content-Type": "application/x-ndjson"}
    place = f"/projects/{project}"
    assert daemon.ask("POST", f"{place}/lock", headers=other)[0] == 200
    assert daemon.ask("PUT", f"{place}/files/{LOG}", headers=other, body=log(1, 600_000))[0] == 200
    assert daemon.ask("DELETE", f"{place}/lock", headers=other)[0] == 200
    with small_disk(tmp_path / "disk", 4_000_000) as disk:
        home = Home(disk / "laptop", daemon.url, projectId=project)
        fill(disk / "filler", leave=500_000)
        assert_falls_back(home, "the disk of this machine is full", PULL)
        assert home.notes() == ["one"]
        (disk / "filler").unlink()
        home.run("push", "--strict")
        assert "one" in home.notes()
        content = daemon.ask("GET", f"{place}/files/{LOG}")[1]["content"]
        assert content.encode() == home.file().read_bytes()


def test_a_file_that_the_server_will_not_have_keeps_none_back(
    tmp_path: Path, daemon: Daemon, project: str
) -> None:
    """The others are sent, and the warning says which was not."""
    home = Home(tmp_path / "laptop", daemon.url, projectId=project)
    home.write(LOG, log(1, 10_600_000))
    home.write("summary.md", b"# one\n")
    ended = home.run("push", "--strict", check=False)
    assert ended.status == 1
    assert "log.jsonl is not in step: " in ended.err
    [file] = daemon.ask("GET", f"/projects/{project}/files")[1]["files"]
    assert file["name"] == "summary.md"
    assert daemon.ask("GET", f"/projects/{project}/lock")[1]["locked"] is False
