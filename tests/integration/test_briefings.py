"""A briefing from one machine to the other, with agents, and with the hooks alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.daemon import Daemon, free_port, wait_until
from tests.integration.machines import Machine

pytestmark = pytest.mark.integration

ONE, TWO = "Mend the parser", "Mend the lexer"


@pytest.fixture
def machine(
    tmp_path_factory: pytest.TempPathFactory, daemon: Daemon, project: str
) -> Iterator[Callable[[str], Machine]]:
    """New machines by name, under a short path for their sockets."""
    machines: list[Machine] = []

    def made(name: str) -> Machine:
        machines.append(Machine(tmp_path_factory.mktemp("m") / name, daemon.url, project))
        return machines[-1]

    yield made
    for one in machines:
        one.stop()
        assert "Traceback" not in one.log_of_agent(), one.log_of_agent()


def told(machine: Machine, summary: str) -> int:
    """How often a session that begins is told a briefing."""
    begun = machine.begin_session()
    assert begun.problem == ""
    return begun.found.count(summary) + begun.news.count(summary)


def in_step(*machines: Machine) -> None:
    """Bring machines in step, one after another."""
    for machine in machines:
        assert machine.end_session() == ""


def is_here(machine: Machine, summary: str) -> bool:
    """Whether a machine has a briefing that was not told."""
    path = machine.file("briefing.json")
    return path.exists() and summary in path.read_text()


def is_on_server(daemon: Daemon, project: str) -> bool:
    """Whether the server has a briefing."""
    path = f"/projects/{project}/files/briefing.json"
    return daemon.ask("GET", path, headers={"X-Client-Id": "looker"})[0] == 200


@pytest.mark.parametrize("with_agents", [True, False], ids=["agents", "hooks"])
def test_a_briefing_is_told_once_and_gone_everywhere(
    machine: Callable[[str], Machine], daemon: Daemon, project: str, with_agents: bool
) -> None:
    """By the plugin or by our hook; of two at once the later."""
    laptop, desktop = machine("laptop"), machine("desktop")
    if with_agents:
        laptop.start_agent()
        desktop.start_agent()
    laptop.processes.hand_over(ONE)
    laptop.end_session()
    if with_agents:
        wait_until(lambda: is_here(desktop, ONE), within=10.0)
    assert told(desktop, ONE) == 1
    # Without an agent, the plugin reads before a session's hook has asked.
    in_step(laptop, desktop, laptop)
    assert not is_on_server(daemon, project)
    assert (told(laptop, ONE), told(desktop, ONE)) == (0, 0)
    desktop.processes.hand_over(ONE)
    laptop.processes.hand_over(TWO)
    in_step(desktop, laptop, desktop)
    assert (told(desktop, TWO), told(desktop, ONE)) == (1, 0)
    in_step(desktop, laptop)
    assert (told(laptop, TWO), told(laptop, ONE)) == (0, 0)
    assert not is_on_server(daemon, project)


def test_a_machine_that_is_offline_puts_away_what_others_were_told(
    machine: Callable[[str], Machine], daemon: Daemon, project: str
) -> None:
    """A briefing that it told itself is removed once it is back."""
    laptop, desktop = machine("laptop"), machine("desktop")
    laptop.processes.hand_over(ONE)
    in_step(laptop, desktop)
    assert is_here(desktop, ONE)
    online = (desktop.plugin / "config.json").read_text()
    desktop.configure({"enabled": False, "serverUrl": f"http://127.0.0.1:{free_port()}", "retries": 0})
    assert told(laptop, ONE) == 1
    laptop.end_session()
    assert is_here(desktop, ONE)
    (desktop.plugin / "config.json").write_text(online)
    desktop.start_agent()
    wait_until(lambda: not is_here(desktop, ONE), within=10.0)
    assert told(desktop, ONE) == 0
    desktop.end_agent()
    laptop.processes.hand_over(TWO)
    in_step(laptop, desktop)
    assert TWO in desktop.processes.session_start().communicate()[0].decode()
    desktop.start_agent()
    wait_until(lambda: not is_on_server(daemon, project), within=10.0)
    in_step(laptop)
    assert told(laptop, TWO) == 0
