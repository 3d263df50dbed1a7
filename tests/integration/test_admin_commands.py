"""Commands for whoever runs the server, as processes; `tests/cli` has all else."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mneme.store.sqlite import NAME
from tests import plugin_files
from tests.command import LOG, Home
from tests.contract import KEYS
from tests.daemon import Daemon, free_port
from tests.often import LONG
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration

LAPTOP = "ana-laptop-0badcafe"
TEXT = "summary.md"
ODD_TEXT = "# μ\r\n\x1b[31m\x00 no newline at the end"
ASKING = {
    "status": (),
    "projects": (),
    "unlock": ("app", "--yes"),
    "history": ("app",),
    "show": ("app", TEXT),
    "diff": ("app", TEXT, "1"),
    "restore": ("app", TEXT, "--version", "1"),
}


@pytest.fixture
def laptop(daemon: Daemon, project: str) -> Iterator[StockClient]:
    """A client that holds the lock of a project, with three versions of a text."""
    with StockClient(daemon.url, LAPTOP, delays=()) as client:
        assert client.acquire(project).status == 200
        for content in ("# One\n", "# Two\n", ODD_TEXT):
            assert client.upload(project, TEXT, content).status == 200
        yield client


@pytest.fixture
def ana(tmp_path: Path, daemon: Daemon, laptop: StockClient) -> Home:
    """A person whose settings name that server."""
    return Home(tmp_path / "ana", daemon.url, retries=0)


def test_commands_look_and_change_nothing(daemon: Daemon, ana: Home, project: str) -> None:
    """The server takes note of nobody, this machine gets no name, and scripts get JSON."""

    def known() -> list[list[tuple[object, ...]]]:
        with closing(sqlite3.connect(daemon.data_dir / NAME)) as database:
            statements = "SELECT * FROM clients", "SELECT * FROM bases", "SELECT id FROM versions"
            return [list(database.execute(statement)) for statement in statements]

    before = known()
    assert daemon.url in ana.run("status").out
    assert project in [one["id"] for one in ana.json("projects")["projects"]]
    assert [one["version"] for one in ana.json("history", project)["versions"]] == [3, 2, 1]
    assert ana.json("show", project, TEXT, "--version", "2")["content"] == "# Two\n"
    assert "- # One\n+ # Two\n" in ana.run("diff", project, TEXT, "1", "2").out
    assert known() == before
    assert [path.name for path in ana.plugin.iterdir()] == ["config.json"]


def test_a_content_is_printed_byte_for_byte(ana: Home, project: str) -> None:
    """Control characters and all."""
    printed = ana.path / "printed"
    with printed.open("wb") as out, ana.start("show", project, TEXT, stdout=out) as process:
        assert process.communicate()[1] == ""
    assert printed.read_bytes() == ODD_TEXT.encode()


@pytest.mark.parametrize(
    ("answer", "options", "status", "says", "locked"),
    [
        (b"y\n", (), 0, "Release that lock? [y/N]", False),
        (b"\n", (), 1, "Release that lock? [y/N]", True),
        (None, (), 1, "to release that lock, give --yes\n", True),
        (None, ("--yes",), 0, "Released the lock of ", False),
    ],
    ids=["yes", "no", "no terminal", "agreed before"],
)
def test_a_lock_is_released_if_the_person_agrees(
    daemon: Daemon,
    ana: Home,
    project: str,
    answer: bytes | None,
    options: tuple[str, ...],
    status: int,
    says: str,
    locked: bool,
) -> None:
    """At a terminal the person is asked, elsewhere told what to give."""
    mine, its = pty.openpty()
    if answer:
        os.write(mine, answer)
    stdin = its if answer else subprocess.DEVNULL
    with ana.start("unlock", project, *options, stdin=stdin) as process:
        _, said = process.communicate(timeout=30)
    os.close(mine)
    os.close(its)
    assert says in said
    assert LAPTOP in said
    assert process.returncode == status
    assert daemon.ask("GET", f"/projects/{project}/lock")[1]["locked"] is locked


def test_a_reader_who_has_seen_enough_ends_a_command_quietly(
    ana: Home, laptop: StockClient, project: str
) -> None:
    """As `| head` does."""
    assert laptop.upload(project, LOG, plugin_files.log(1, 2_000_000).decode()).status == 200
    for arguments in (("show", project, LOG), ("diff", project, TEXT, "1"), ("history", project)):
        with ana.start(*arguments) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            assert process.stderr.read() == ""


@pytest.mark.parametrize("command", ASKING if LONG else ["status", "show"])
def test_a_server_that_is_down_is_told_in_one_sentence(command: str, tmp_path: Path) -> None:
    """With status 1."""
    url = f"http://127.0.0.1:{free_port()}"
    ended = Home(tmp_path / "ana", url, retries=0).run(command, *ASKING[command], check=False)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"mneme: The server at {url} cannot be reached: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("command", ASKING if LONG else ["projects", "restore"])
def test_a_wrong_key_is_told_in_one_sentence(keyed: Daemon, command: str, tmp_path: Path) -> None:
    """With status 1, and so is a missing key."""
    ana = Home(tmp_path / "ana", keyed.url)
    for key, says in (
        ((), "wants an API key: "),
        (("--key", "not-the-key-0123456789"), "does not know this API key: "),
    ):
        ended = ana.run(command, *ASKING[command], *key, check=False)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith(f"mneme: The server at {keyed.url} {says}")


def test_a_server_and_its_key_can_be_given(keyed: Daemon, tmp_path: Path) -> None:
    """Instead of those in the settings, without which it is said what to set."""
    ana = Home(tmp_path / "ana", "http://homeserver.invalid:3847")
    ana.run("projects", "--json", "--server", keyed.url, "--key", KEYS[0])
    (ana.plugin / "config.json").unlink()
    ended = ana.run("projects", check=False)
    assert ended.status == 1
    assert ended.err.startswith("mneme: No server is set in ")
    assert ended.err.endswith("or give --server\n")
