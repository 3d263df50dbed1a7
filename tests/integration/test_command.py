"""The real command, the real server, real folders: sessions of machines, some with the plugin's own sync."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import LOG, Home, entries, line
from tests.daemon import Daemon
from tests.plugin_files import log, memory
from tests.proxy import Proxy
from tests.stock_client import Machine

pytestmark = pytest.mark.integration

NO_RATE_LIMIT = {"rateLimitPerMinute": 0}
PLACE = "/projects/app"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A server whose locks live long."""
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def laptop(tmp_path: Path, daemon: Daemon) -> Home:
    """One machine."""
    return Home(tmp_path / "laptop", daemon.url)


@pytest.fixture
def desktop(tmp_path: Path, daemon: Daemon) -> Home:
    """Another one."""
    return Home(tmp_path / "desktop", daemon.url)


def head(daemon: Daemon) -> list[str]:
    """The entries of the log that the server has."""
    status, body = daemon.ask("GET", f"{PLACE}/files/{LOG}")
    assert status == 200, body
    return entries(body["content"])


class TestSessions:
    """Two machines, one after the other."""

    def test_memory_travels_whole(self, laptop: Home, desktop: Home) -> None:
        """All five files, byte for byte, and nothing but them."""
        for name, content in memory(1).items():
            laptop.write(name, content)
        laptop.run("pull")
        laptop.run("push")
        desktop.run("pull")
        assert desktop.contents() == laptop.contents() == memory(1)

    def test_each_machine_gets_what_the_other_has_added(self, laptop: Home, desktop: Home) -> None:
        """Back and forth, over several sessions."""
        for number in range(3):
            for home, other in ((laptop, desktop), (desktop, laptop)):
                home.run("pull")
                assert home.notes() == other.notes()
                home.note(f"{home.path.name} {number}")
                home.run("push")
        assert len(desktop.notes()) == 6

    def test_what_was_never_sent_is_merged_and_not_overwritten(
        self, daemon: Daemon, laptop: Home, desktop: Home
    ) -> None:
        """A session that died before its end, and another machine in the meantime."""
        laptop.note("first")
        laptop.run("push")
        laptop.run("pull")
        laptop.note("never sent")
        daemon.ask("DELETE", f"{PLACE}/lock", headers={"X-Client-Id": laptop.client_id})
        desktop.run("pull")
        desktop.note("of the desktop")
        desktop.run("push")
        before = laptop.file().read_bytes()
        laptop.run("pull")
        assert sorted(laptop.notes()) == ["first", "never sent", "of the desktop"]
        assert (laptop.memory / f"{LOG}.bak").read_bytes() == before
        laptop.run("push")
        assert head(daemon) == laptop.notes()

    def test_a_session_without_changes_sends_and_fetches_nothing(self, daemon: Daemon, laptop: Home) -> None:
        """No file is downloaded, none uploaded."""
        for name, content in memory(1).items():
            laptop.write(name, content)
        laptop.run("push")
        logged = len(daemon.log())
        assert "nothing new" in laptop.run("pull").err
        laptop.run("push")
        assert "files/" not in daemon.log()[logged:]

    def test_the_project_is_that_of_the_repository(self, daemon: Daemon, laptop: Home) -> None:
        """In a directory below its root, and in a worktree of it."""
        for arguments in (
            ("init", "-q"),
            ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"),
            ("worktree", "add", "-q", "../tree"),
        ):
            subprocess.run(["git", *arguments], cwd=laptop.root, env=laptop.environment(), check=True)
        below = laptop.root / "deep" / "down"
        below.mkdir(parents=True)
        for number, directory in enumerate((laptop.root, below, laptop.root.parent / "tree")):
            laptop.note(f"note {number}")
            laptop.run("push", cwd=directory)
            assert head(daemon) == laptop.notes()

    def test_without_a_project_id_it_is_the_path(self, daemon: Daemon, laptop: Home) -> None:
        """As the plugin makes it."""
        laptop.configure({"serverUrl": daemon.url})
        laptop.note("one")
        assert laptop.json("push")["project"] == str(laptop.root).replace("/", "-")


class TestMixedMachines:
    """One machine with the command, one with the plugin's own sync."""

    @pytest.fixture
    def stock(self, tmp_path: Path, daemon: Daemon) -> Machine:
        """The plugin as measured on the wire."""
        return Machine(tmp_path / "stock", daemon.url, client_id="stock-0a1b2c3d", delays=())

    def test_memory_goes_back_and_forth(self, daemon: Daemon, laptop: Home, stock: Machine) -> None:
        """Several sessions, in turns."""
        for number in range(3):
            laptop.run("pull")
            laptop.note(f"laptop {number}")
            laptop.run("push")
            stock.pull("app")
            stock.append("app", LOG, line(f"stock {number}"))
            stock.push("app")
        laptop.run("pull")
        assert laptop.file().read_bytes() == stock.read("app", LOG)
        assert len(laptop.notes()) == 6

    def test_what_both_did_at_once_is_merged(self, daemon: Daemon, laptop: Home, stock: Machine) -> None:
        """The command is locked out, its upload kept, and merged when the plugin's session ends."""
        laptop.note("first")
        laptop.run("push")
        stock.pull("app")
        ended = laptop.run("pull")
        assert "locked by stock-0a1b2c3d" in ended.err
        laptop.note("of the laptop")
        ended = laptop.run("push")
        assert "The server has kept log.jsonl" in ended.err
        assert head(daemon) == ["first"]
        stock.append("app", LOG, line("of the stock"))
        stock.push("app")
        assert sorted(head(daemon)) == ["first", "of the laptop", "of the stock"]
        laptop.run("pull")
        assert laptop.notes() == head(daemon)

    def test_both_syncs_on_one_machine_do_no_harm(self, daemon: Daemon, laptop: Home, stock: Machine) -> None:
        """The plugin pulls and pushes in the same folder, under the same id, in between."""
        laptop.note("first")
        laptop.run("push")
        plugin = Machine(stock.folder, daemon.url, client_id=laptop.client_id, delays=())
        stock_path = plugin.path("app", LOG)
        stock_path.parent.parent.mkdir(parents=True, exist_ok=True)
        stock_path.parent.symlink_to(laptop.memory)
        for number in range(3):
            plugin.pull("app")
            laptop.run("pull")
            laptop.note(f"note {number}")
            plugin.push("app")
            laptop.run("push")
            assert head(daemon) == laptop.notes() == ["first", *(f"note {n}" for n in range(number + 1))]


class TestOnTheWire:
    """What travels, and what becomes of answers that do not arrive."""

    def test_a_line_added_to_a_large_log_costs_less_than_8_kb(self, daemon: Daemon, tmp_path: Path) -> None:
        """A whole session, pull and push, both directions together, with 1 kB added to 5 MB."""
        with Proxy(daemon.port) as proxy:
            laptop = Home(tmp_path / "laptop", proxy.url)
            laptop.write(LOG, log(1, 5_000_000))
            laptop.run("push")
            before = proxy.count
            laptop.run("pull")
            laptop.note("x" * 900 + "".join(map(chr, range(0x41, 0x5B))))
            laptop.run("push")
            assert proxy.count - before < 8_000
            assert (
                daemon.ask("GET", f"{PLACE}/files/{LOG}")[1]["content"].encode() == laptop.file().read_bytes()
            )

    def test_an_append_whose_answer_is_lost_adds_its_line_once(self, daemon: Daemon, tmp_path: Path) -> None:
        """It is sent again, and the server knows that it has done it."""
        lost: list[bytes] = []

        def loses(sent: bytes) -> bool:
            if b"/append " not in sent or len(lost) == 2:
                return False
            lost.append(sent)
            return True

        with Proxy(daemon.port, loses) as proxy:
            laptop = Home(tmp_path / "laptop", proxy.url)
            laptop.note("one")
            laptop.run("push")
            laptop.note("two")
            laptop.run("push", "--strict")
        assert len(lost) == 2
        assert head(daemon) == ["one", "two"]

    def test_an_upload_whose_answer_is_lost_makes_one_version(self, daemon: Daemon, tmp_path: Path) -> None:
        """The same, for a file that is sent whole."""
        lost: list[bytes] = []

        def loses(sent: bytes) -> bool:
            if not sent.startswith(b"PUT ") or lost:
                return False
            lost.append(sent)
            return True

        with Proxy(daemon.port, loses) as proxy:
            laptop = Home(tmp_path / "laptop", proxy.url)
            laptop.write("summary.md", b"# one\n")
            laptop.run("push", "--strict")
        assert lost
        status, body = daemon.ask("GET", f"{PLACE}/files/summary.md/versions")
        assert status == 200
        assert len(body["versions"]) == 1

    def test_a_push_killed_in_its_middle_is_made_good_by_the_next(
        self, daemon: Daemon, tmp_path: Path
    ) -> None:
        """At each of its requests in turn: nothing is lost, no line is doubled."""
        counted: list[bytes] = []
        processes: list[subprocess.Popen[str]] = []
        kill_at = [0]

        def loses(sent: bytes) -> bool:
            counted.append(sent)
            if len(counted) == kill_at[0]:
                processes[-1].kill()
                return True
            return False

        with Proxy(daemon.port, loses) as proxy:
            laptop = Home(tmp_path / "laptop", proxy.url)
            laptop.note("first")
            laptop.run("push")
            for number in range(1, 7):
                laptop.note(f"note {number}")
                counted.clear()
                kill_at[0] = number
                processes.append(laptop.start("push"))
                processes[-1].communicate()
                kill_at[0] = 0
                laptop.run("push", "--strict")
                assert head(daemon) == laptop.notes()
        assert len(laptop.notes()) == 7


def test_the_json_of_a_pull_and_a_push_says_what_was_done(laptop: Home, desktop: Home) -> None:
    """By file, with the version that it is now."""
    laptop.note("one")
    laptop.run("push")
    desktop.note("two")
    pulled, pushed = desktop.json("pull"), desktop.json("push")
    assert pulled["files"] == [{"file": LOG, "did": ["merged"], "version": 1, "problem": None}]
    assert pushed["files"][0] == {"file": LOG, "did": ["appended"], "version": 2, "problem": None}
    assert (pulled["project"], pulled["lockedBy"], pulled["warnings"]) == ("app", None, [])


def test_nothing_is_printed_for_the_agent(laptop: Home) -> None:
    """What a hook prints on stdout would end up in the agent's context."""
    laptop.note("one")
    assert laptop.run("pull").out == laptop.run("push").out == ""


def test_a_key_on_the_command_line_is_shown_to_that_server_alone(tmp_path: Path, keyed: Daemon) -> None:
    """And the one in the settings is not shown to a server that is named on the command line."""
    key = json.loads((keyed.home / "config.json").read_text())["apiKeys"][0]
    home = Home(tmp_path / "laptop", "http://127.0.0.1:1", apiKey=key)
    assert home.run("push", "--strict", "--server", keyed.url, check=False).status == 1
    home.run("push", "--strict", "--server", keyed.url, "--key", key)
