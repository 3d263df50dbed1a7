"""A server in this process, and a person's machines, for stories about a memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.in_process import InProcess
from tests.proxies import STRAIGHT, Route, Way
from tests.stock_client import Answer, Machine, items_in

PROJECT = "app"
LOG, FACTS, ENTITIES, SUMMARY = "log.jsonl", "remembered.json", "entities.json", "summary.json"
FILES = (LOG, FACTS, ENTITIES, SUMMARY)
MINUTE = 60.0

ADD: dict[str, Callable[..., None]] = {
    LOG: Machine.note,
    FACTS: Machine.remember,
    ENTITIES: Machine.see,
    SUMMARY: Machine.decide,
}
REMOVE: dict[str, Callable[..., None]] = {
    FACTS: Machine.forget,
    ENTITIES: Machine.prune_entities,
    SUMMARY: Machine.drop_decisions,
}

Act = Callable[[Machine], None]
Interruption = Callable[[InProcess], object]


def nothing(_server: InProcess) -> None:
    """An interruption that is none."""


def adding(name: str, *items: str, project: str = PROJECT) -> Act:
    """An act that adds items to a file."""
    return lambda machine: ADD[name](machine, project, *items)


def removing(name: str, *items: str) -> Act:
    """An act that removes items as the plugin does: from a log its oldest lines."""

    def remove(machine: Machine) -> None:
        if name != LOG:
            REMOVE[name](machine, PROJECT, *items)
            return
        assert machine.items(PROJECT, LOG)[: len(items)] == list(items)
        machine.summarize(PROJECT, len(items))

    return remove


class World:
    """A server with machines; time passes in `later`, and a little with each request.

    Machines reach the server on `route`, unless they have another. `interrupt` happens to the server after each answer.
    """

    def __init__(
        self, directory: Path, route: Route = STRAIGHT, interrupt: Interruption = nothing, **options: Any
    ) -> None:
        self.server = InProcess(directory / "server", **options)
        self._directory = directory
        self._route = route
        self._interrupt = interrupt
        self._ways: dict[str, Way] = {}
        self.laptop = self.machine("laptop", ahead=+20.0)
        self.desktop = self.machine("desktop", ahead=-20.0, retries=3)

    def way(self, route: Route | None = None) -> Way:
        """The way along a route, which all machines on it share."""
        route = route or self._route
        return self._ways.setdefault(route.name, route.to(self.server))

    def machine(
        self,
        name: str,
        client: str | None = None,
        ahead: float = 0.0,
        retries: int = 0,
        route: Route | None = None,
    ) -> Machine:
        """A machine of the person's; `client` is its id, if that is another's."""
        route = route or self._route
        return Machine(
            self._directory / name,
            self.server.url,
            client_id=f"{client or name}-0a1b2c3d",
            clock_offset=ahead,
            delays=(0.0,) * retries,
            clock=self.server.now,
            connect=self.way(route).accept,
            keep_alive=route.keep_alive,
        )

    def later(self, minutes: float = 5.0) -> None:
        """Let time pass."""
        self.server.let_pass(minutes * MINUTE)

    def pull(self, machine: Machine) -> list[Answer]:
        """Start a session."""
        return machine.pull(PROJECT, lambda: self._interrupt(self.server))

    def push(self, machine: Machine) -> list[Answer]:
        """End a session, after a while."""
        self.later()
        answers = machine.push(PROJECT, lambda: self._interrupt(self.server))
        self.later()
        return answers

    def session(self, machine: Machine, *acts: Act) -> list[Answer]:
        """A whole session in which these things are done; the answers to its push."""
        self.pull(machine)
        self.later()
        for act in acts:
            act(machine)
        return self.push(machine)

    def head(self, name: str = LOG, project: str = PROJECT) -> list[str]:
        """The items of a head, as somebody sees them who is no stock client."""
        status, body = self.server.ask("GET", f"/projects/{quote(project, safe='')}/files/{name}")
        return items_in(name, body["content"]) if status == 200 else []

    def mtime(self) -> str:
        """The mtime of the only file, told to no stock client."""
        _, body = self.server.ask("GET", f"/projects/{PROJECT}/files")
        [file] = body["files"]
        return str(file["mtime"])
