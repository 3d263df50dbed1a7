"""The real command, the real server, real folders; `tests/client/test_sync.py` has the rules."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.command import LOG, Home, entries, line
from tests.daemon import Daemon, wait_until
from tests.plugin_files import log, memory
from tests.proxy import Proxy
from tests.stock_client import Machine

pytestmark = pytest.mark.integration


@pytest.fixture
def laptop(tmp_path: Path, daemon: Daemon, project: str) -> Home:
    """A machine."""
    return Home(tmp_path / "laptop", daemon.url, projectId=project)


@pytest.fixture
def stock(tmp_path: Path, daemon: Daemon) -> Machine:
    """A machine with the plugin's own sync."""
    return Machine(tmp_path / "stock", daemon.url, client_id="stock-0a1b2c3d", delays=())


def head(daemon: Daemon, project: str) -> list[str]:
    """The entries of the log that the server has."""
    status, body = daemon.ask("GET", f"/projects/{project}/files/{LOG}")
    assert status == 200, body
    return entries(body["content"])


def test_memory_travels_whole(daemon: Daemon, laptop: Home, tmp_path: Path, project: str) -> None:
    """All five files, byte for byte; a session without changes travels without files."""
    desktop = Home(tmp_path / "desktop", daemon.url, projectId=project)
    for name, content in memory(1).items():
        laptop.write(name, content)
    laptop.run("pull")
    laptop.run("push")
    desktop.run("pull")
    assert desktop.contents() == laptop.contents() == memory(1)
    logged = len(daemon.log())
    assert "nothing new" in laptop.run("pull").err
    laptop.run("push")
    assert "files/" not in daemon.log()[logged:]


def test_each_machine_gets_what_the_other_has_added(
    daemon: Daemon, laptop: Home, tmp_path: Path, project: str
) -> None:
    """Scripts are told what was done; hooks print nothing into the agent's context."""
    desktop = Home(tmp_path / "desktop", daemon.url, projectId=project)
    laptop.note("one")
    assert laptop.run("push").out == ""
    desktop.note("two")
    pulled, pushed = desktop.json("pull"), desktop.json("push")
    assert pulled["files"] == [{"file": LOG, "did": ["merged"], "version": 1, "problem": None}]
    assert pushed["files"][0] == {"file": LOG, "did": ["appended"], "version": 2, "problem": None}
    assert (pulled["project"], pulled["lockedBy"], pulled["warnings"]) == (project, None, [])
    assert laptop.run("pull").out == ""
    assert laptop.notes() == desktop.notes() == head(daemon, project)


def test_memory_goes_back_and_forth_between_the_command_and_the_plugin(
    daemon: Daemon, laptop: Home, stock: Machine, project: str
) -> None:
    """Machines with the one and with the other, in turns."""
    for number in range(2):
        laptop.run("pull")
        laptop.note(f"laptop {number}")
        laptop.run("push")
        stock.pull(project)
        stock.append(project, LOG, line(f"stock {number}"))
        stock.push(project)
    laptop.run("pull")
    assert laptop.file().read_bytes() == stock.read(project, LOG)
    assert len(laptop.notes()) == 4


def test_a_push_during_a_session_of_the_plugin_is_kept_and_merged(
    daemon: Daemon, laptop: Home, stock: Machine, project: str
) -> None:
    """The command says that it is locked out, and its upload is merged later."""
    stock.pull(project)
    pulled = laptop.run("pull", "--strict", check=False)
    assert pulled.status == 1
    assert " is locked by stock-0a1b2c3d since " in pulled.err
    assert "changes of this session are kept by the server, and merged when that lock is gone" in pulled.err
    laptop.note("of the laptop")
    assert "The server has kept log.jsonl" in laptop.run("push").err
    stock.append(project, LOG, line("of the stock"))
    stock.push(project)
    assert sorted(head(daemon, project)) == ["of the laptop", "of the stock"]
    laptop.run("pull")
    assert laptop.notes() == head(daemon, project)


@pytest.mark.parametrize("command", ["pull", "push"])
def test_damaged_files_are_warned_of(laptop: Home, command: str) -> None:
    """By both commands, and whatever else they do, they leave the files as they are."""
    for name in (LOG, "remembered.json"):
        laptop.write(name, memory(1)[name])
    laptop.run("push", "--strict")
    for name in (LOG, "remembered.json"):
        laptop.write(name, b"\0" * 100)
    ended = laptop.run(command, "--strict", check=False)
    assert ended.status == 1
    assert "log.jsonl and remembered.json on this machine are damaged, and not sent: mend" in ended.err
    assert laptop.contents() == {LOG: b"\0" * 100, "remembered.json": b"\0" * 100}


def test_both_syncs_on_one_machine_do_no_harm(
    daemon: Daemon, laptop: Home, stock: Machine, project: str
) -> None:
    """The plugin pulls and pushes in the same folder, under the same id, in between."""
    laptop.note("first")
    laptop.run("push")
    plugin = Machine(stock.folder, daemon.url, client_id=laptop.client_id, delays=())
    folder = plugin.path(project, LOG).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(laptop.memory)
    for number in range(2):
        plugin.pull(project)
        laptop.run("pull")
        laptop.note(f"note {number}")
        plugin.push(project)
        laptop.run("push")
        assert head(daemon, project) == laptop.notes() == ["first", *(f"note {n}" for n in range(number + 1))]


def test_a_line_added_to_a_large_log_costs_less_than_8_kb(
    daemon: Daemon, tmp_path: Path, project: str
) -> None:
    """A whole session, both directions together, with 1 kB added to 5 MB."""
    with Proxy(daemon.port) as proxy:
        laptop = Home(tmp_path / "laptop", proxy.url, projectId=project)
        laptop.write(LOG, log(1, 5_000_000))
        laptop.run("push")
        before = proxy.count
        laptop.run("pull")
        laptop.note("x" * 900 + "".join(map(chr, range(0x41, 0x5B))))
        laptop.run("push")
        assert proxy.count - before < 8_000
    content = daemon.ask("GET", f"/projects/{project}/files/{LOG}")[1]["content"]
    assert content.encode() == laptop.file().read_bytes()


def test_a_push_killed_in_its_middle_is_made_good_by_the_next(
    daemon: Daemon, tmp_path: Path, project: str
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
        laptop = Home(tmp_path / "laptop", proxy.url, projectId=project)
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
            assert head(daemon, project) == laptop.notes()
    assert len(laptop.notes()) == 7


def test_a_push_stopped_in_its_middle_hangs_no_other(daemon: Daemon, tmp_path: Path, project: str) -> None:
    """Others end with a sentence; when it goes on, nothing is lost."""
    processes: list[subprocess.Popen[str]] = []

    def stops(_sent: bytes) -> bool:
        if not processes:
            return False
        processes.pop().send_signal(signal.SIGSTOP)
        return False

    with Proxy(daemon.port, stops) as proxy:
        laptop = Home(tmp_path / "laptop", proxy.url, projectId=project, timeoutMs=500)
        laptop.note("first")
        laptop.run("push")
        laptop.note("second")
        stopped = laptop.start("push")
        processes.append(stopped)
        wait_until(lambda: not processes, within=30.0)
        for command in ("pull", "push"):
            ended = laptop.run(command, "--strict", check=False)
            assert ended.status == 1
            assert "Another mneme process has been at work on" in ended.err
        stopped.send_signal(signal.SIGCONT)
        stopped.communicate()
        laptop.run("push", "--strict")
        assert head(daemon, project) == laptop.notes() == ["first", "second"]


def test_a_key_on_the_command_line_is_shown_to_that_server_alone(tmp_path: Path, keyed: Daemon) -> None:
    """The key in the settings is not shown to a server named in its stead."""
    key = json.loads((keyed.home / "config.json").read_text())["apiKeys"][0]
    home = Home(tmp_path / "laptop", "http://127.0.0.1:1", apiKey=key)
    assert home.run("push", "--strict", "--server", keyed.url, check=False).status == 1
    home.run("push", "--strict", "--server", keyed.url, "--key", key)
