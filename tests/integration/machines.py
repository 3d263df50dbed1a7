"""Machines with the plugin, the agent and sessions, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.command import ENDS_WITHIN, Home
from tests.daemon import Daemon, wait_until
from tests.plugin_process import FACTS, LOG, SUMMARY, Plugin


class Machine(Home):
    """A machine with the plugin, whose own sync is off, and perhaps an agent."""

    def __init__(self, path: Path, url: str, project: str, **sync: object) -> None:
        super().__init__(path, url, **{"enabled": False, "projectId": project, "retries": 0, **sync})
        self.project = project
        self.processes = Plugin(path, self.root, self.memory)
        self.agent: subprocess.Popen[str] | None = None
        self._agents_log = path / "agent.log"
        # As after a session: one id for all projects is given to no other folder.
        (self.memory / ".mneme").mkdir(parents=True)

    def start_agent(self) -> None:
        """Start the agent, and wait until it answers."""
        with self._agents_log.open("ab") as log:
            self.agent = self.start("agent", stdout=log, stderr=log)
        wait_until(self._agent_answers, within=10.0, every=0.05)

    def _agent_answers(self) -> bool:
        assert self.agent
        assert self.agent.poll() is None, self.log_of_agent()
        return self.condition() is not None

    def condition(self) -> Any:
        """The condition of the projects, as the agent tells it; None if none runs."""
        ended = self.run("agent", "--status", "--json", check=False)
        return json.loads(ended.out)["projects"] if ended.status == 0 else None

    def signal_agent(self, number: int) -> None:
        """Send a signal to the agent."""
        assert self.agent
        self.agent.send_signal(number)

    def end_agent(self, number: int = signal.SIGTERM) -> int:
        """End the agent by a signal; its exit status."""
        assert self.agent
        agent, self.agent = self.agent, None
        agent.send_signal(number)
        try:
            return agent.wait(ENDS_WITHIN)
        finally:
            agent.kill()
            agent.wait()

    def log_of_agent(self) -> str:
        """All that the agents of this machine have printed."""
        return self._agents_log.read_text(encoding="utf-8") if self._agents_log.exists() else ""

    def begin_session(self, source: str = "startup") -> Told:
        """Run the plugin's hook and ours side by side, as Claude Code does."""
        began = time.monotonic()
        plugin = self.processes.session_start()
        ours = self._hook("session-start", source=source)
        news, err = ours.communicate(timeout=ENDS_WITHIN)
        assert ours.returncode == 0, err
        seconds = time.monotonic() - began
        assert plugin.stdout
        found = plugin.stdout.read().decode()
        plugin.wait()
        plugin.stdout.close()
        return Told(found, news, err, seconds)

    def end_session(self, reason: str = "other") -> str:
        """Run our hook at the end of a session; what it warned of."""
        ours = self._hook("session-end", reason=reason)
        out, err = ours.communicate(timeout=ENDS_WITHIN)
        assert (ours.returncode, out) == (0, ""), err
        return err

    def _hook(self, name: str, **given: str) -> subprocess.Popen[str]:
        process = self.start(name, stdin=subprocess.PIPE)
        assert process.stdin
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"cwd": str(self.root), **given}))
            process.stdin.close()
        process.stdin = None
        return process

    def items(self) -> Memory:
        """The items of the memory here."""
        plugin = self.processes
        return Memory(plugin.logged(), plugin.facts(), plugin.summed(), plugin.decisions())

    def stop(self) -> None:
        """Stop all processes of this machine."""
        self.processes.stop()
        if self.agent:
            self.agent.kill()
            self.agent.wait()


@frozen
class Told:
    """The texts that a session is told, and the seconds of our hook."""

    found: str
    news: str
    problem: str
    seconds: float

    def lacks(self, items: Iterable[str]) -> list[str]:
        """The items that are in neither text."""
        lines = set(self.found.splitlines())
        return [item for item in items if item not in lines and item not in self.news]


@frozen
class Memory:
    """The entries, facts and summarized entries of a project's memory."""

    log: Sequence[str]
    facts: Sequence[str]
    summed: Sequence[str]
    decisions: Sequence[str]

    def all(self) -> list[str]:
        """All items."""
        return [*self.log, *self.facts, *self.summed, *self.decisions]


def on_server(server: Daemon, project: str) -> Memory:
    """The memory that the server has."""

    def content(name: str) -> str:
        status, body = server.ask("GET", f"/projects/{project}/files/{name}")
        return str(body["content"]) if status == 200 else ""

    summary = json.loads(content(SUMMARY) or "{}")
    return Memory(
        [json.loads(line)["content"] for line in content(LOG).splitlines()],
        [fact["content"] for fact in json.loads(content(FACTS) or "[]")],
        [one["summary"] for one in summary.get("recentWork", ())],
        [one["decision"] for one in summary.get("keyDecisions", ())],
    )


def wait_for_same(
    server: Daemon, machines: Sequence[Machine], expected: Iterable[str], within: float = 20.0
) -> None:
    """Wait until all machines and the server have each expected item once."""
    expected = sorted(expected)

    def is_same() -> bool:
        there = on_server(server, machines[0].project)
        return sorted(there.all()) == expected and all(one.items() == there for one in machines)

    try:
        wait_until(is_same, within=within / 2, every=0.1)
    except (TimeoutError, OSError) as error:
        told = [f"server: {on_server(server, machines[0].project)}"]
        told += [f"{one.path.name}: {one.items()}\n{one.log_of_agent()}" for one in machines]
        raise AssertionError(f"{error}; expected {expected}\n" + "\n".join(told)) from error


def memory_kib(pid: int) -> int:
    """KiB of memory that a process occupies."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
