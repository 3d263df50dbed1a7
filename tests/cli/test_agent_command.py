"""`mneme agent`: its status, and its service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mneme.cli.commands import mneme
from tests.fake_agent import FakeAgent

PLUGIN = "the plugin is at work on it"
LOCK = "the server has it, and merges it once the lock is free"
PROJECTS: list[dict[str, Any]] = [
    {"project": "-app", "inStep": True, "problem": None, "waiting": {}},
    {
        "project": "-lib",
        "inStep": False,
        "problem": None,
        "waiting": {"log.jsonl": "waiting", "summary.md": "kept"},
    },
    {"project": "-new", "inStep": False, "problem": "The server is away", "waiting": {"log.jsonl": "missed"}},
    {"project": "-old", "inStep": False, "problem": None, "waiting": {}},
]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a person, with a short path, a server and a fake systemctl."""
    with TemporaryDirectory(dir="/tmp", prefix="m") as directory:
        home = Path(directory)
        (home / ".claude-mneme").mkdir()
        (home / ".claude-mneme/config.json").write_text('{"sync": {"serverUrl": "http://homeserver:3847"}}')
        (home / "bin").mkdir()
        (home / "bin/systemctl").write_text(f'#!/bin/sh\necho "$*" >> "{home}/noted"\n')
        (home / "bin/systemctl").chmod(0o755)
        monkeypatch.setenv("HOME", directory)
        monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.setattr("sys.platform", "linux")
        yield home


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(mneme, ["agent", *arguments])


def status(home: Path, answer: dict[str, Any], *arguments: str) -> Result:
    """Ask an agent for its status that answers so."""
    fake = FakeAgent(home, json.dumps(answer).encode() + b"\n")
    result = run("--status", *arguments)
    fake.stop()
    assert fake.asked == [{"do": "status", "seconds": 5.0}]
    return result


def test_the_status_is_a_table(home: Path) -> None:
    """Each project with its state, and why it waits."""
    result = status(home, {"projects": PROJECTS})
    assert result.exit_code == 0
    rows = [line.split(None, 1) for line in result.stdout.splitlines()]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["project", "state"],
        ["-app", "in step"],
        ["-lib", f"waits: log.jsonl ({PLUGIN}), summary.md ({LOCK})"],
        ["-new", "waits: The server is away"],
        ["-old", "syncing"],
    ]


def test_the_status_is_json_for_scripts(home: Path) -> None:
    """As the agent tells it."""
    assert json.loads(status(home, {"projects": PROJECTS}, "--json").stdout) == {"projects": PROJECTS}


def test_a_machine_without_memory_has_no_table(home: Path) -> None:
    """A sentence says so."""
    assert "No project has memory" in status(home, {"projects": []}).output


def test_an_agent_that_cannot_tell_is_told_of(home: Path) -> None:
    """An older one, say, in a sentence and not in a traceback."""
    result = status(home, {"problem": "This agent knows no 'status'"})
    assert result.exit_code == 1
    assert result.stderr == "mneme: This agent knows no 'status'\n"


def test_without_an_agent_the_status_says_how_to_start_it(home: Path) -> None:
    """With status 1, so that scripts know."""
    result = run("--status")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "mneme agent --install" in result.stderr


def test_the_service_is_installed_once_and_removed(home: Path) -> None:
    """With sentences about what was done."""
    unit = home / ".config/systemd/user/mneme-agent.service"
    first = run("--install")
    assert first.exit_code == 0
    assert f"The agent runs now, and whenever you log in: {unit}" in first.stderr
    assert "was installed already" in run("--install").stderr
    assert unit.exists()
    assert f"{unit} is removed" in run("--uninstall").stderr
    assert "nothing to do" in run("--uninstall").stderr
    assert not unit.exists()
    assert (home / "noted").read_text().count("restart mneme-agent.service") == 2


def test_a_service_without_a_server_is_not_installed(home: Path) -> None:
    """The sentence says what to set."""
    (home / ".claude-mneme/config.json").write_text("{}")
    result = run("--install")
    assert result.exit_code == 1
    assert "No server is set" in result.stderr
    assert not (home / "noted").exists()


def test_a_system_without_services_is_told_what_to_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the path of the program."""
    monkeypatch.setenv("PATH", str(home / "nowhere"))
    result = run("--install")
    assert result.exit_code == 1
    assert "/mneme agent >>~/.claude-mneme/mneme-agent.log 2>&1 &" in result.stderr
    assert "nothing to do" in run("--uninstall").stderr
