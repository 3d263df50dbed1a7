"""The commands for whoever runs the server, in processes of their own, against the real one."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from mneme.store.sqlite import NAME
from tests import plugin_files
from tests.contract import KEYS
from tests.daemon import Daemon, free_port
from tests.often import LONG
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration

LAPTOP = "ana-laptop-0badcafe"
DESKTOP = "ana-desktop-0defaced"
ODD_ID = "org/my [bold]app[/bold] μ\x1b[2J"
TEXT = "summary.md"
ASKING = {
    "status": (),
    "projects": (),
    "unlock": ("app", "--yes"),
    "history": ("app",),
    "show": ("app", TEXT),
    "diff": ("app", TEXT, "1"),
    "restore": ("app", TEXT, "--version", "1"),
}


@frozen
class Done:
    """What a command came to."""

    status: int
    out: bytes
    said: str

    @property
    def json(self) -> Any:
        """What it printed for scripts."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The words of the lines that it printed."""
        return [line.split() for line in self.out.decode().splitlines()]


class Person:
    """Somebody at a machine whose settings name a server."""

    def __init__(self, home: Path, url: str, key: str | None = None) -> None:
        self.home = home
        folder = home / ".claude-mneme"
        folder.mkdir(parents=True)
        sync = {"serverUrl": url, "retries": 0, **({"apiKey": key} if key else {})}
        (folder / "config.json").write_text(json.dumps({"sync": sync}), encoding="utf-8")

    def types(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> Done:
        """A command, run to its end."""
        with self.starts(*arguments, stdin=stdin) as process:
            out, said = process.communicate(timeout=30)
        return Done(process.returncode, out, said.decode())

    def starts(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """A command that runs."""
        environment = {"HOME": str(self.home), "TZ": "UTC", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "mneme"), *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=environment,
        )


class Project:
    """A project on a server of its own, which the laptop has locked, with two versions of a text."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.laptop = StockClient(daemon.url, LAPTOP, delays=())
        self.desktop = StockClient(daemon.url, DESKTOP, delays=())
        assert self.laptop.acquire(name).status == 200
        self.uploads("# One\n", "# Two\n")

    def close(self) -> None:
        """Hang up."""
        self.laptop.close()
        self.desktop.close()

    def uploads(self, *contents: str, file: str = TEXT) -> None:
        """New versions by the laptop."""
        for content in contents:
            assert self.laptop.upload(self.name, file, content).status == 200

    @property
    def holder(self) -> str | None:
        """Who holds the lock."""
        lock = self.daemon.ask("GET", f"/projects/{self.name}/lock")[1]["lock"]
        return str(lock["clientId"]) if lock else None

    @property
    def head(self) -> str:
        """The text."""
        return str(self.daemon.ask("GET", f"/projects/{self.name}/files/{TEXT}")[1]["content"])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Project]:
    """A project on a server of its own."""
    with Daemon(tmp_path / "server", {"rateLimitPerMinute": 0}) as daemon:
        with closing(Project(daemon, "app")) as project:
            yield project
        assert "Traceback" not in daemon.log()


@pytest.fixture
def ana(app: Project, tmp_path: Path) -> Person:
    """Somebody whose settings name that server."""
    return Person(tmp_path / "ana", app.daemon.url)


def test_status_says_how_the_server_is(app: Project, ana: Person) -> None:
    """For people and for scripts."""
    app.desktop.upload("app", TEXT, "# Three\n")
    done = ana.types("status")
    assert done.status == 0
    assert ["server", app.daemon.url] in done.rows
    assert any(row[:2] == ["app", LAPTOP] for row in done.rows)
    assert any(row[:4] == ["app", TEXT, "3", DESKTOP] for row in done.rows)
    document = ana.types("status", "--json").json
    assert document["uptimeSeconds"] >= 0
    assert [lock["clientId"] for lock in document["locks"]] == [LAPTOP]


def test_projects_are_listed_whatever_they_are_called(app: Project, ana: Person) -> None:
    """Escaped, the one that changed last first."""
    Project(app.daemon, ODD_ID).close()
    done = ana.types("projects")
    assert (done.status, done.said) == (0, "")
    heading, odd, plain = done.out.decode().splitlines()
    assert heading.split() == "project files size changed locked by waiting".split()
    assert odd.startswith(r"org/my [bold]app[/bold] μ\x1b[2J  1      6 B   ")
    assert plain.split()[:4] == ["app", "1", "6", "B"]
    assert plain.split()[-2:] == ["ago", LAPTOP]
    assert [project["id"] for project in ana.types("projects", "--json").json["projects"]] == [ODD_ID, "app"]


def test_without_projects_a_sentence_says_so(tmp_path: Path) -> None:
    """And how there come to be some."""
    with Daemon(tmp_path / "server") as daemon:
        done = Person(tmp_path / "ana", daemon.url).types("projects")
    assert done.out == b"There are no projects yet: the first push of a machine makes one.\n"


def test_a_person_who_says_yes_unlocks(app: Project, ana: Person) -> None:
    """And is told whom the lock was taken from."""
    done = ana.types("unlock", "app", "--yes")
    assert (done.status, done.out) == (0, b"")
    assert done.said.startswith(f"mneme: Released the lock of app, held by {LAPTOP} since 20")
    assert app.holder is None
    again = ana.types("unlock", "app", "--yes")
    assert (again.status, again.said) == (
        0,
        "mneme: Nobody holds the lock of app: there is nothing to unlock\n",
    )


def test_scripts_are_told_what_was_unlocked(app: Project, ana: Person) -> None:
    """With the lock that was released."""
    document = ana.types("unlock", "app", "--yes", "--json").json
    assert (document["unlocked"], document["lock"]["clientId"], document["lockedNow"]) == (True, LAPTOP, None)
    document = ana.types("unlock", "app", "--json").json
    assert (document["unlocked"], document["lock"]) == (False, None)


def test_without_a_terminal_nobody_can_be_asked(app: Project, ana: Person) -> None:
    """Nothing changes, and it is told what to give."""
    done = ana.types("unlock", "app")
    assert done.status == 1
    assert f"app is locked by {LAPTOP} since " in done.said
    assert done.said.endswith("to release that lock, give --yes\n")
    assert app.holder == LAPTOP


@pytest.mark.parametrize(("answer", "status", "holder"), [(b"y\n", 0, None), (b"\n", 1, LAPTOP)])
def test_on_a_terminal_the_person_is_asked(
    app: Project, ana: Person, answer: bytes, status: int, holder: str | None
) -> None:
    """And has to say yes in as many words."""
    mine, its = pty.openpty()
    os.write(mine, answer)
    done = ana.types("unlock", "app", stdin=its)
    os.close(mine)
    os.close(its)
    assert f"app is locked by {LAPTOP} since " in done.said
    assert "Release that lock? [y/N]" in done.said
    assert (done.status, app.holder) == (status, holder)


def test_history_lists_versions(app: Project, ana: Person) -> None:
    """Of all files or of one, and says if there are more."""
    app.uploads('{"ts":"2026-02-04T15:00:00.000Z"}\n', file="log.jsonl")
    app.uploads("# Two\n\nAnd more.\n")
    done = ana.types("history", "app")
    assert (done.status, done.said) == (0, "")
    files = [("4", TEXT), ("3", "log.jsonl"), ("2", TEXT), ("1", TEXT)]
    assert [(row[0], row[1], row[2], row[5]) for row in done.rows[1:]] == [
        (number, file, "upload", LAPTOP) for number, file in files
    ]
    assert done.rows[1][-1] == "2"
    cut = ana.types("history", "app", TEXT, "--limit", "2")
    assert [row[0] for row in cut.rows] == ["version", "4", "2"]
    assert cut.said == "mneme: There are older ones: --limit 4 lists more\n"
    document = ana.types("history", "app", "--json").json
    assert [(one["version"], one["file"], one["base"]) for one in document["versions"]] == [
        *((4, TEXT, 2), (3, "log.jsonl", None), (2, TEXT, None), (1, TEXT, None))
    ]
    assert document["more"] is False


def test_show_prints_a_content_byte_for_byte(app: Project, ana: Person) -> None:
    """The head, or a version; control characters and all."""
    app.uploads("# μ\r\n\x1b[31m\x00 no newline at the end")
    assert ana.types("show", "app", TEXT) == Done(0, "# μ\r\n\x1b[31m\x00 no newline at the end".encode(), "")
    assert ana.types("show", "app", TEXT, "--version", "1") == Done(0, b"# One\n", "")
    document = ana.types("show", "app", TEXT, "--version", "2", "--json").json
    assert (document["version"], document["content"]) == (2, "# Two\n")


def test_a_reader_who_has_seen_enough_ends_it_quietly(app: Project, ana: Person) -> None:
    """As `| head` does."""
    app.uploads(plugin_files.log(1, 2_000_000).decode(), file="log.jsonl")
    for arguments in (("show", "app", "log.jsonl"), ("diff", "app", TEXT, "1"), ("history", "app")):
        with ana.starts(*arguments) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            assert process.stderr.read() == b""


def test_diff_says_what_changed(app: Project, ana: Person) -> None:
    """By lines or by entries, between two versions, or one and the head."""
    done = ana.types("diff", "app", TEXT, "1", "2")
    assert done == Done(0, f"{TEXT} of app: version 1 → version 2\nline 1\n- # One\n+ # Two\n".encode(), "")
    assert ana.types("diff", "app", TEXT, "1").out.startswith(
        f"{TEXT} of app: version 1 → version 2, the head".encode()
    )
    app.uploads(
        '{"files": {"a.py": {"mentions": 1}}}', '{"files": {"a.py": {"mentions": 2}}}', file="entities.json"
    )
    entities = ana.types("diff", "app", "entities.json", "3", "4")
    assert entities.out.decode().splitlines()[1:] == ["files", "  a.py", "    ~ mentions: 1 → 2"]
    document = ana.types("diff", "app", "entities.json", "3", "--json").json
    assert (document["from"], document["to"], document["by"]) == (3, 4, "entries")
    assert [one["place"] for one in document["changes"]] == [["files", "a.py", "mentions"]]
    same = ana.types("diff", "app", TEXT, "2")
    assert (same.status, same.said) == (0, "mneme: The two versions are the same\n")


def test_restore_makes_a_version_the_head_again(app: Project, ana: Person) -> None:
    """Under a lock that it gives up, and with the next session the laptop gets it."""
    app.laptop.release("app")
    done = ana.types("restore", "app", TEXT, "--version", "1")
    assert (done.status, done.out, done.said) == (
        0,
        b"",
        f"mneme: {TEXT} of app is as in version 1 again, now version 3: machines get it when they next pull or push\n",
    )
    assert (app.head, app.holder) == ("# One\n", None)
    again = ana.types("restore", "app", TEXT, "--version", "1", "--json")
    assert (again.status, again.json["restored"], again.json["version"]) == (0, False, 3)


def known_clients(daemon: Daemon) -> list[tuple[object, ...]]:
    """The clients that the server knows, and what each of them has."""
    with closing(sqlite3.connect(daemon.data_dir / NAME)) as database:
        return [
            *database.execute("SELECT * FROM clients"),
            *database.execute("SELECT * FROM bases"),
            *database.execute("SELECT number FROM versions"),
        ]


def test_nobody_is_taken_to_have_what_a_person_looks_at(app: Project, ana: Person) -> None:
    """The server takes note of nothing, and this machine gets no name."""
    before = known_clients(app.daemon)
    for arguments in (
        *(("projects",), ("history", "app"), ("show", "app", TEXT), ("show", "app", TEXT, "--version", "1")),
        ("diff", "app", TEXT, "1", "2"),
    ):
        assert ana.types(*arguments).status == 0
    assert known_clients(app.daemon) == before
    assert [path.name for path in (ana.home / ".claude-mneme").iterdir()] == ["config.json"]


@pytest.mark.parametrize("command", ASKING if LONG else ["status", "show"])
def test_a_server_that_is_down_is_told_in_one_sentence(command: str, tmp_path: Path) -> None:
    """With status 1."""
    url = f"http://127.0.0.1:{free_port()}"
    done = Person(tmp_path / "ana", url).types(command, *ASKING[command])
    assert (done.status, done.out) == (1, b"")
    assert done.said.startswith(f"mneme: The server at {url} cannot be reached: ")
    assert done.said.count("\n") == 1


@pytest.mark.parametrize("command", ASKING if LONG else ["projects", "restore"])
def test_a_wrong_key_is_told_in_one_sentence(keyed: Daemon, command: str, tmp_path: Path) -> None:
    """With status 1, and which setting is to blame; so is none."""
    ana = Person(tmp_path / "ana", keyed.url)
    without = ana.types(command, *ASKING[command])
    wrong = ana.types(command, *ASKING[command], "--key", "not-the-key-0123456789")
    assert (without.status, without.out, wrong.status, wrong.out) == (1, b"", 1, b"")
    assert without.said.startswith(f"mneme: The server at {keyed.url} wants an API key: ")
    assert wrong.said.startswith(f"mneme: The server at {keyed.url} does not know this API key: ")


def test_a_server_and_its_key_can_be_given(keyed: Daemon, tmp_path: Path) -> None:
    """Instead of those in the settings."""
    ana = Person(tmp_path / "ana", "http://homeserver.invalid:3847")
    assert ana.types("projects", "--json", "--server", keyed.url, "--key", KEYS[0]).status == 0


def test_without_settings_it_is_told_what_to_set(tmp_path: Path) -> None:
    """Or to give."""
    ana = Person(tmp_path / "ana", "http://homeserver.invalid:3847")
    (ana.home / ".claude-mneme" / "config.json").unlink()
    done = ana.types("projects")
    assert done.status == 1
    assert done.said.startswith("mneme: No server is set: put ")
    assert done.said.endswith("or give --server\n")
