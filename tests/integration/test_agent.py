"""The agent as a process: signals, settings that change, silent servers."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemon import Daemon, free_port, wait_until
from tests.integration.machines import Machine, on_server, wait_for_same

pytestmark = pytest.mark.integration

STARTS_WITHIN = 1.0
"""Seconds that processes take on a busy machine, beside what they wait for."""


@pytest.fixture
def laptop(tmp_path_factory: pytest.TempPathFactory, server: Daemon, project: str) -> Iterator[Machine]:
    """A machine without an agent as yet, under a short path for its socket."""
    machine = Machine(tmp_path_factory.mktemp("m") / "laptop", server.url, project)
    try:
        yield machine
        assert "Traceback" not in machine.log_of_agent(), machine.log_of_agent()
    finally:
        machine.stop()


@contextmanager
def absent(how: str) -> Iterator[str]:
    """The URL of a server that refuses connections, or takes them and says nothing."""
    if how == "refused":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["TERM", "INT", "HUP"])
def test_a_signal_ends_the_agent(laptop: Machine, server: Daemon, project: str, number: int) -> None:
    """Its status is 0, its socket is gone, and the next one goes on."""
    laptop.note("first")
    laptop.start_agent()
    wait_for_same(server, [laptop], ["first"])
    assert laptop.end_agent(number) == 0
    assert not list(laptop.plugin.glob("*.sock"))
    began, *done, ended = laptop.log_of_agent().splitlines()
    assert f"in step with {server.url}" in began
    assert [one.rpartition("] ")[2] for one in done] == [f"{project}: log.jsonl sent"]
    assert ended.endswith("] Stopped")
    laptop.note("while no agent ran")
    laptop.start_agent()
    wait_for_same(server, [laptop], ["first", "while no agent ran"])
    assert laptop.end_agent() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_signal_ends_an_agent_without_a_server(laptop: Machine, how: str, number: int) -> None:
    """With a server that refuses or says nothing; a second signal ends it at once."""
    with absent(how) as url:
        laptop.configure({"serverUrl": url, "timeoutMs": 2000})
        laptop.note("first")
        laptop.start_agent()
        wait_until(lambda: bool(laptop.condition()[0]["problem"]), within=10.0, every=0.1)
        assert laptop.end_agent(number) == 0


def test_a_killed_agent_leaves_nothing_in_the_way_of_the_next(
    laptop: Machine, server: Daemon, project: str
) -> None:
    """A socket without an agent is as none: hooks do the work themselves."""
    laptop.start_agent()
    assert laptop.end_agent(signal.SIGKILL) == -signal.SIGKILL
    laptop.note("without an agent")
    assert laptop.begin_session().problem == ""
    assert laptop.end_session() == ""
    assert on_server(server, project).log == ["without an agent"]
    laptop.start_agent()
    laptop.note("with an agent")
    wait_for_same(server, [laptop], ["without an agent", "with an agent"])


def test_a_second_agent_says_that_one_runs(laptop: Machine) -> None:
    """The second ends with status 0, and the first goes on."""
    laptop.start_agent()
    ended = laptop.run("agent")
    assert "An agent runs for you already" in ended.out + ended.err
    assert laptop.condition() is not None


def test_a_frozen_agent_costs_a_session_little(laptop: Machine, server: Daemon) -> None:
    """The session goes on, with a warning."""
    laptop.start_agent()
    laptop.signal_agent(signal.SIGSTOP)
    told = laptop.begin_session()
    assert (told.news, told.problem.count("\n")) == ("", 1)
    assert told.seconds < 3.0 + STARTS_WITHIN
    laptop.signal_agent(signal.SIGCONT)


def test_changed_settings_are_taken_up(
    laptop: Machine, server: Daemon, project: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The agent goes to the new server by itself; broken settings change nothing."""
    laptop.note("first")
    laptop.start_agent()
    wait_for_same(server, [laptop], ["first"])
    (laptop.plugin / "config.json").write_text("{")
    laptop.note("second")
    wait_for_same(server, [laptop], ["first", "second"])
    with Daemon(tmp_path_factory.mktemp("new"), {"rateLimitPerMinute": 0}) as new:
        laptop.configure({"serverUrl": new.url, "projectId": project})
        wait_until(lambda: on_server(new, project).log == ["first", "second"], within=45.0, every=0.2)
        laptop.note("third")
        wait_for_same(new, [laptop], ["first", "second", "third"])
        assert laptop.agent
        assert laptop.agent.poll() is None
        assert laptop.end_agent() == 0
    assert on_server(server, project).log == ["first", "second"]


@pytest.mark.parametrize("with_agent", [True, False], ids=["agent", "hooks"])
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_an_absent_server_costs_the_start_of_a_session_two_seconds_once(
    laptop: Machine, how: str, with_agent: bool
) -> None:
    """The next starts cost less, and the trouble is told in a line."""
    with absent(how) as url:
        laptop.configure({"serverUrl": url})
        if with_agent:
            laptop.start_agent()
        first, second = laptop.begin_session(), laptop.begin_session()
        assert first.seconds < 2.0 + STARTS_WITHIN
        assert second.seconds < 0.4 + STARTS_WITHIN
        assert first.problem.count("\n") == second.problem.count("\n") == 1
        assert first.news == second.news == ""
