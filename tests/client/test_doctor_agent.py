"""The doctor's findings about the agent, and about who keeps the memory in step."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mneme.client.doctor.findings import Finding, State
from mneme.client.doctor.machine import agent_finding, sync_findings
from mneme.client.hooks import Program, install, settings_path
from tests.fake_agent import SOCKET, FakeAgent

STATUS = json.dumps({"projects": []}).encode() + b"\n"


@pytest.fixture
def home() -> Iterator[Path]:
    """The home of a person, with a short path."""
    with TemporaryDirectory(dir="/tmp", prefix="m") as directory:
        (Path(directory) / ".claude-mneme").mkdir()
        yield Path(directory)


@pytest.fixture
def agent(home: Path) -> Iterator[FakeAgent]:
    """An agent that runs."""
    fake = FakeAgent(home, STATUS)
    yield fake
    fake.stop()


def findings(home: Path, plugin_syncs: bool = False) -> dict[str, Finding]:
    """The findings about syncs, by their codes."""
    return {one.code: one for one in sync_findings(home, home / "app", plugin_syncs, server_answers=True)}


def with_hooks(home: Path) -> None:
    """Install hooks of a program that is there."""
    program = home / "mneme"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    install(settings_path(home), Program(str(program)))


def test_an_agent_that_answers_runs(home: Path, agent: FakeAgent) -> None:
    """The doctor asks for its status, which changes nothing."""
    found = agent_finding(home, server_answers=True)
    assert (found.code, found.state, found.advice) == ("agent-runs", State.GOOD, None)
    assert agent.asked == [{"do": "status"}]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(("server_answers", "does"), [(True, "keeps all projects"), (False, "tries again")])
def test_an_agent_without_a_server_keeps_nothing_in_step(home: Path, server_answers: bool, does: str) -> None:
    """The findings about the server say why."""
    assert f"The agent runs, and {does}" in agent_finding(home, server_answers=server_answers).found


@pytest.mark.parametrize("left", [None, "socket", "file", "directory"])
def test_no_agent_is_fine_and_what_it_would_do_is_told(home: Path, left: str | None) -> None:
    """Whatever was left where its socket was, which stays there."""
    path = home / SOCKET
    if left == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif left == "file":
        path.write_text("")
    elif left == "directory":
        path.mkdir()
    found = agent_finding(home, server_answers=True)
    assert (found.code, found.state) == ("agent-absent", State.GOOD)
    assert "mneme agent --install" in (found.advice or "")
    assert path.exists() is bool(left)


def test_a_home_that_no_agent_can_have_is_told(home: Path) -> None:
    """With the reason; hooks do the work there."""
    found = agent_finding(home / ("x" * 120), server_answers=True)
    assert (found.code, found.state) == ("agent-absent", State.GOOD)
    assert "too long a path for a socket" in found.found
    assert "mneme hooks --install" in (found.advice or "")


@pytest.mark.parametrize("answer", [None, b""])
def test_an_agent_that_does_not_answer_is_bad(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    """Each hook waits for it."""
    monkeypatch.setattr("mneme.client.doctor.machine._AGENT_SECONDS", 0.05)
    fake = FakeAgent(home, answer)
    found = agent_finding(home, server_answers=True)
    fake.stop()
    assert (found.code, found.state) == ("agent-hangs", State.BAD)


def test_hooks_without_an_agent_are_fine(home: Path) -> None:
    """Sessions are in step at their start and end."""
    with_hooks(home)
    found = findings(home)
    assert list(found) == ["sync-by-hooks", "agent-absent"]
    assert {one.state for one in found.values()} == {State.GOOD}


@pytest.mark.usefixtures("agent")
def test_an_agent_without_hooks_is_fine(home: Path) -> None:
    """The memory is in step; what hooks would add is told."""
    found = findings(home)
    assert list(found) == ["sync-by-agent", "agent-runs"]
    assert found["sync-by-agent"].state is State.GOOD
    assert "mneme hooks --install" in (found["sync-by-agent"].advice or "")


@pytest.mark.usefixtures("agent")
def test_an_agent_with_hooks_is_fine(home: Path) -> None:
    """They ask it."""
    with_hooks(home)
    assert list(findings(home)) == ["sync-by-hooks", "agent-runs"]


def test_neither_is_doubtful(home: Path) -> None:
    """Both are advised."""
    found = findings(home)["sync-by-nobody"]
    assert found.state is State.DOUBTFUL
    assert "mneme hooks --install" in (found.advice or "")
    assert "mneme agent --install" in (found.advice or "")


@pytest.mark.usefixtures("agent")
def test_an_agent_beside_the_plugins_own_sync_is_bad(home: Path) -> None:
    """That sync overwrites changes of this machine."""
    found = findings(home, plugin_syncs=True)["sync-twice"]
    assert found.state is State.BAD
    assert "the agent and the plugin's own" in found.found


def test_the_plugins_own_sync_alone_is_fine(home: Path) -> None:
    """There is one sync."""
    assert list(findings(home, plugin_syncs=True)) == ["sync-by-plugin", "agent-absent"]


@pytest.mark.integration
def test_the_doctor_asks_an_agent_without_a_reactor() -> None:
    """Twisted takes a moment to load."""
    code = "import sys, mneme.client.doctor.machine; print('twisted' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
