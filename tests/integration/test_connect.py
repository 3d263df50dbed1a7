"""`mneme connect` and `mneme link`, by the real command and a real server."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import ENDS_WITHIN, LOG, Ended, Home
from tests.contract import KEYS
from tests.daemon import Daemon, wait_until
from tests.integration.machines import Machine

pytestmark = pytest.mark.integration

REMOTE = "git@github.com:ana/app.git"
ID = "github.com/ana/app"


def machine(path: Path, config: object = None) -> Home:
    """A machine with the plugin, and these settings of it, or none."""
    home = Home(path, "")
    if config is None:
        (home.plugin / "config.json").unlink()
    else:
        (home.plugin / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return home


def clone(home: Home) -> None:
    """Have the project be a clone of the repository."""
    for words in (["init", "-q"], ["remote", "add", "origin", REMOTE]):
        subprocess.run(["git", *words], cwd=home.root, env=home.environment(), check=True)


def config(home: Home) -> Any:
    """The plugin's settings."""
    return json.loads((home.plugin / "config.json").read_bytes())


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def with_input(home: Home, text: str, *arguments: str) -> Ended:
    """Run the command with this on stdin."""
    (home.path / "stdin").write_text(text, encoding="utf-8")
    with (home.path / "stdin").open() as stdin:
        return Ended(home.start(*arguments, stdin=stdin))


def state_of(home: Home) -> dict[str, bytes]:
    """All files of the plugin and of Claude Code, without the client id."""
    found = [path for part in (".claude-mneme", ".claude") for path in (home.path / part).rglob("*")]
    return {str(path): path.read_bytes() for path in found if path.is_file() and path.name != ".client-id"}


# Connect


@pytest.mark.parametrize("is_new", [False, True])
def test_a_machine_is_connected_by_one_command(tmp_path: Path, keyed: Daemon, is_new: bool) -> None:
    """The rest of the settings stays, and only this user can read the key."""
    old = {
        "model": "haiku",
        "sync": {"enabled": True, "timeoutMs": 5000, "serverUrl": "http://old:1", "apiKey": "x"},
    }
    home = machine(tmp_path / "laptop", None if is_new else old)
    clone(home)
    path = home.plugin / "config.json"
    ended = with_input(home, f"{KEYS[0]}\n", "connect", f"{keyed.url}/", "--key-stdin")
    assert ended.status == 0, ended
    sync = {"enabled": False, "serverUrl": keyed.url, "apiKey": KEYS[0], "identity": "git"}
    if is_new:
        assert config(home) == {"sync": sync}
    else:
        assert config(home) == {"model": "haiku", "sync": {"timeoutMs": 5000, **sync}}
        assert json.loads(path.with_name("config.json.bak").read_bytes()) == old
        assert mode(path.with_name("config.json.bak")) == 0o600
    assert ("own sync is off now" in ended.err) is not is_new
    assert mode(path) == 0o600
    assert KEYS[0] not in ended.out + ended.err
    assert "session-start" in (home.path / ".claude" / "settings.json").read_text()
    assert f"The project is {ID}, from its git remote" in ended.out
    before = state_of(home)
    again = home.run("connect", keyed.url)
    assert "already: nothing to do" in again.err
    assert state_of(home) == before


def test_settings_that_others_can_read_are_closed(tmp_path: Path, keyed: Daemon) -> None:
    """Although there is nothing else to change."""
    home = machine(tmp_path / "laptop")
    assert with_input(home, KEYS[0], "connect", keyed.url, "--key-stdin").status == 0
    (home.plugin / "config.json").chmod(0o644)
    home.run("connect", keyed.url)
    assert mode(home.plugin / "config.json") == 0o600


def test_the_key_is_asked_for_and_not_shown(tmp_path: Path, keyed: Daemon) -> None:
    """At a terminal."""
    home = machine(tmp_path / "laptop")
    ours, theirs = pty.openpty()
    process = home.start(
        "connect", keyed.url, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    while b"API key" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, f"{KEYS[0]}\n".encode())
    try:
        while block := os.read(ours, 1000):
            shown += block
    except OSError:
        # The command has ended.
        pass
    assert process.wait(ENDS_WITHIN) == 0, shown
    os.close(ours)
    assert config(home)["sync"]["apiKey"] == KEYS[0]
    assert KEYS[0].encode() not in shown


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["{url}"], "", "wants an API key, and nothing was changed: give one of the apiKeys"),
        (
            ["{url}", "--key-stdin"],
            "wrong-key-0123456789\n",
            "does not know this API key, and nothing was changed",
        ),
        (["{url}", "--key-stdin"], "", "No key came on stdin, and nothing was changed"),
        (
            ["http://127.0.0.1:1"],
            "",
            "cannot be reached: connection refused. Nothing was changed. See that the server",
        ),
        (
            ["{url}/mneme", "--key-stdin"],
            f"{KEYS[0]}\n",
            "/mneme (Not found), and nothing was changed: see that the address is right",
        ),
        (["homeserver:3847"], "", "must look like http://homeserver:3847"),
    ],
)
def test_a_server_that_does_not_take_the_machine_changes_nothing(
    tmp_path: Path, keyed: Daemon, words: list[str], stdin: str, said: str
) -> None:
    """The sentence says what to do."""
    home = machine(
        tmp_path / "laptop", {"sync": {"enabled": True, "serverUrl": "http://old:1", "apiKey": "old"}}
    )
    before = state_of(home)
    ended = with_input(home, stdin, "connect", *(word.format(url=keyed.url) for word in words))
    assert ended.status == 1
    assert said in ended.err
    assert "old" not in ended.err
    assert state_of(home) == before


@pytest.mark.parametrize("name", [".claude/settings.json", ".claude-mneme/config.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_settings_that_cannot_be_used_change_nothing(
    tmp_path: Path, running: Daemon, name: str, content: str
) -> None:
    """Neither those of the plugin nor those of Claude Code."""
    home = machine(tmp_path / "laptop")
    (home.path / name).parent.mkdir(exist_ok=True)
    (home.path / name).write_text(content)
    before = state_of(home)
    ended = home.run("connect", running.url, check=False)
    assert ended.status == 1, ended
    assert state_of(home) == before


def test_an_agent_that_no_system_starts_changes_nothing(tmp_path: Path, running: Daemon) -> None:
    """Where there is neither systemd nor launchd."""
    home = machine(tmp_path / "laptop")
    environment = {**home.environment(), "PATH": os.fspath(tmp_path)}
    before = state_of(home)
    ended = Ended(home.start("connect", running.url, "--agent", env=environment))
    assert ended.status == 1
    assert "Nothing was changed: leave out --agent. This system has neither systemd nor launchd" in ended.err
    assert state_of(home) == before


@pytest.mark.parametrize("status", [0, 1])
def test_the_agent_is_started_with_the_rest(tmp_path: Path, running: Daemon, status: int) -> None:
    """Where the system starts nothing, as in a container, all else is done."""
    home = machine(tmp_path / "laptop")
    tool = tmp_path / "bin" / "systemctl"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho 'no bus' >&2\nexit {status}\n")
    tool.chmod(0o755)
    environment = {**home.environment(), "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    environment.pop("XDG_CONFIG_HOME", None)
    ended = Ended(home.start("connect", running.url, "--agent", env=environment, stderr=subprocess.STDOUT))
    assert ended.status == status, ended
    assert config(home)["sync"]["serverUrl"] == running.url
    assert "Hooks of mneme sync at the start and the end of a session" in ended.out
    unit = home.path / ".config" / "systemd" / "user" / "mneme-agent.service"
    assert unit.exists() is (status == 0)
    # After the findings, which end with "All is well".
    assert ("no bus. Mend that, or have" in ended.out.splitlines()[-1]) is (status == 1)


# Ids that meet


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Daemon]:
    """A server on which no other test has this project."""
    with Daemon(tmp_path / "server") as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def laptop(tmp_path: Path, server: Daemon) -> Home:
    """A machine in step under the path of a repository."""
    home = machine(tmp_path / "laptop", {"sync": {"serverUrl": server.url}})
    clone(home)
    home.note("one", "two")
    home.run("push", "--strict")
    return home


@pytest.fixture
def desktop(tmp_path_factory: pytest.TempPathFactory, server: Daemon) -> Iterator[Machine]:
    """A machine that goes by the remote, under a short path for its agent's socket."""
    home = Machine(tmp_path_factory.mktemp("m") / "desktop", server.url, "", identity="git")
    clone(home)
    yield home
    home.stop()
    assert "Traceback" not in home.log_of_agent(), home.log_of_agent()


def log_of(server: Daemon, project: str) -> list[str]:
    """The log of a project on the server."""
    _, body = server.ask("GET", f"/projects/{project.replace('/', '%2F')}/files/{LOG}")
    return [json.loads(line)["content"] for line in body["content"].splitlines()]


def test_a_machine_that_connects_joins_what_it_had_by_its_path(
    tmp_path: Path, server: Daemon, laptop: Home
) -> None:
    """A stock machine at that path meets it; nothing that was forgotten comes back."""
    stock = laptop.memory.name
    ended = laptop.run("connect", server.url)
    assert f"{stock} is another name of {ID} from now on" in ended.err
    laptop.write(LOG, (laptop.file().read_bytes()).splitlines(keepends=True)[1])
    laptop.run("push", "--strict")
    assert log_of(server, ID) == log_of(server, stock) == ["two"]
    other = machine(tmp_path / "other", {"sync": {"serverUrl": server.url, "projectId": stock}})
    other.note("three")
    other.run("push", "--strict")
    laptop.run("pull", "--strict")
    assert laptop.notes() == other.notes() == ["two", "three"]


def test_an_agent_and_the_hooks_go_by_one_id(server: Daemon, desktop: Machine) -> None:
    """Of a folder that was never in step, too."""
    desktop.note("one")
    desktop.start_agent()
    wait_until(
        lambda: server.ask("GET", f"/projects/{ID.replace('/', '%2F')}/files")[1]["files"], within=20.0
    )
    desktop.end_agent()
    desktop.note("two")
    desktop.run("push", "--strict")
    assert log_of(server, ID)[-2:] == ["one", "two"]
    known = [one["id"] for one in server.ask("GET", "/projects")[1]["projects"]]
    assert desktop.memory.name not in known


def test_what_is_written_under_an_alias_wakes_the_agent_of_the_project(
    tmp_path: Path, server: Daemon, laptop: Home, desktop: Machine
) -> None:
    """And the agent offers the link before that."""
    stock = laptop.memory.name
    desktop.note("zero")
    desktop.start_agent()
    wait_until(lambda: f"mneme link {stock} {ID}" in desktop.log_of_agent(), within=20.0)
    files = f"/projects/{ID.replace('/', '%2F')}/files"
    wait_until(lambda: server.ask("GET", files)[1]["files"], within=20.0)
    shown = desktop.run("agent", "--status").err
    assert f"`mneme link {stock} {ID}` makes them one" in shown
    ended = desktop.run("link", stock, ID, "--yes")
    assert f"{stock} is another name of {ID} from now on; merged: {LOG}" in ended.err
    laptop.note("three")
    laptop.run("push", "--strict")
    wait_until(lambda: "three" in desktop.notes(), within=20.0)


# Two names of one server


def test_a_server_by_another_name_is_the_server_that_it_was(tmp_path: Path, running: Daemon) -> None:
    """Nothing that the desktop forgot or summed up comes back with the laptop's push."""
    names = {"sync": {"serverUrl": running.url, "projectId": "two-names"}}
    laptop, desktop = (machine(tmp_path / name, names) for name in ("laptop", "desktop"))
    laptop.note("one", "two", "three")
    laptop.write("remembered.json", remembered("tabs", "spaces"))
    laptop.run("push", "--strict")
    desktop.run("pull", "--strict")
    desktop.run("push", "--strict")
    desktop.write("remembered.json", remembered("tabs"))
    desktop.write(LOG, desktop.file().read_bytes().splitlines(keepends=True)[2])
    desktop.write("summary.json", b'{"keyDecisions":[{"decision":"one and two"}]}')
    laptop.note("four")
    laptop.run("push", "--strict")
    desktop.configure({"serverUrl": running.url.replace("127.0.0.1", "localhost"), "projectId": "two-names"})
    desktop.run("push", "--strict")
    for home in (laptop, desktop, laptop):
        home.run("pull", "--strict")
        home.run("push", "--strict")
    for home in (laptop, desktop):
        assert home.notes() == ["three", "four"]
        assert [one["content"] for one in json.loads(home.file("remembered.json").read_bytes())] == ["tabs"]
    assert laptop.contents() == desktop.contents()


def remembered(*facts: str) -> bytes:
    """A file of facts, as the plugin writes it."""
    entries = [{"ts": "2026-11-24T20:00:00.000Z", "type": "preference", "content": fact} for fact in facts]
    return json.dumps(entries).encode()


def test_a_file_that_was_removed_on_the_server_stays_removed(tmp_path: Path) -> None:
    """A change here brings it there again."""
    with Daemon(tmp_path / "server") as server:
        home = machine(tmp_path / "laptop", {"sync": {"serverUrl": server.url, "projectId": "app"}})
        home.note("one")
        home.run("push", "--strict")
        path = server.projects / "app" / LOG
        wait_until(path.exists, within=10.0)
        path.unlink()
        assert server.ask("GET", "/projects/app/files")[1]["files"] == []
        home.run("push", "--strict")
        assert server.ask("GET", "/projects/app/files")[1]["files"] == []
        home.note("two")
        home.run("push", "--strict")
        assert log_of(server, "app") == ["one", "two"]
