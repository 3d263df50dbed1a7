"""Machines of a person: a real client and folder each, and one server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mneme.client.calls import Client
from mneme.client.exchange import Patience
from mneme.client.folder import Folder, Snapshot
from mneme.client.sync import Report, Sync
from mneme.model import ClientId, FileName, Millis, ProjectId, Upload
from tests.client.lines import URL, Ahead, Line, Sender, exchange_over
from tests.kept import MemoryStore
from tests.web.stub import TTL, Stub

DEMO = ProjectId("demo")
LOG, SUMMARY_JSON, SUMMARY = FileName.LOG, FileName.SUMMARY_JSON, FileName.SUMMARY_MD
REMEMBERED, ENTITIES = FileName.REMEMBERED, FileName.ENTITIES


class Machine:
    """A machine on which each pull and push is a process of its own.

    It asks over `http`; its files are stamped by `wall`. It tries nothing twice.
    """

    def __init__(self, path: Path, http: Sender, wall: Ahead, url: str = URL) -> None:
        self.client = ClientId(f"{path.name}-0a1b2c3d")
        self.path = path
        self.http = http
        self.wall = wall
        self.project = DEMO
        self.path_id: ProjectId | None = None
        self._url = url

    @property
    def folder(self) -> Folder:
        """The memory of the project."""
        return Folder(self.path, self.project, path_id=self.path_id)

    def session(self, retries: int = 0) -> Sync:
        """A new process."""
        exchange = exchange_over(self.http, self.wall, url=self._url, patience=Patience(retries=retries))
        return Sync(Client(exchange, self.client), self.wall, self.folder)

    def pull(self) -> Report:
        """Begin a session."""
        return self.session().pull()

    def push(self) -> Report:
        """End a session."""
        return self.session().push()

    def step(self) -> Report:
        """Be in step, as the agent is."""
        return self.session().step()

    def send(self) -> Report:
        """Send what has changed, and keep the lock."""
        session = self.session()
        session.join()
        with self.folder.step():
            return session.send(session.client.acquire(session.project))

    def read(self, file: FileName = LOG) -> bytes | None:
        """The content of a file."""
        path = self.path / file.value
        return path.read_bytes() if path.exists() else None

    def lines(self) -> list[bytes]:
        """The lines of the log."""
        return (self.read() or b"").splitlines(keepends=True)

    def write(self, content: bytes, file: FileName = LOG, ago: float = 0.0) -> None:
        """Write a file as the plugin does, so many seconds ago by this machine's clock."""
        path = self.path / file.value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        moment = round((self.wall.seconds() - ago) * 1e9)
        os.utime(path, ns=(moment, moment))

    def append(self, *lines: bytes) -> None:
        """Append to the log."""
        self.write(b"".join([self.read() or b"", *lines]))

    def remove(self, *lines: bytes) -> None:
        """Remove lines of the log."""
        self.write(b"".join(line for line in self.lines() if line not in lines))

    def seen(self, file: FileName = LOG) -> Snapshot:
        """A file with what it was made from."""
        return self.folder.snapshot(file)


class World:
    """A server in memory, and machines that reach it over a line each."""

    def __init__(self, home: Path, stub: Stub | None = None) -> None:
        self.stub = stub or Stub()
        self.lines: dict[str, Line] = {}
        self.machines: dict[str, Machine] = {}
        self._home = home

    def machine(self, name: str, ahead: float = 0.0) -> Machine:
        """A new machine, whose clock is so many seconds ahead."""
        self.lines[name] = Line(self.stub)
        self.machines[name] = Machine(self._home / name, self.lines[name], Ahead(self.stub.clock, ahead))
        return self.machines[name]

    def asked(self, machine: Machine) -> list[str]:
        """The requests of a machine since the last call, by the end of their paths."""
        paths = self.lines[machine.path.name].paths()
        return [path.replace("/projects/demo/", "").replace("/health", "health") for path in paths]

    def let_pass(self, seconds: float) -> None:
        """Let time pass."""
        self.stub.clock.advance(seconds)

    @property
    def now(self) -> Millis:
        """The time by the server's clock."""
        return Millis(int(self.stub.clock.seconds() * 1000))

    def upload(self, content: bytes, by: Machine, file: FileName = LOG) -> None:
        """Change a file on the server, whatever a machine knows of it."""
        self.stub.store.upload(DEMO, Upload(file, content, by.client), self.now)

    def turns(self, *machines: Machine) -> None:
        """Let each have a session, one after another."""
        for machine in machines:
            machine.pull()
            machine.push()

    def let_locks_expire(self) -> None:
        """Let as much time pass as a lock lasts."""
        self.let_pass(TTL / 1000)

    def head(self, file: FileName = LOG, project: ProjectId = DEMO) -> bytes | None:
        """The head of a file."""
        document = self.stub.store.read(project, file, self.now)
        return document.content if document else None

    def holder(self) -> str | None:
        """Who has the lock."""
        lock = self.stub.store.lock(DEMO, self.now)
        return lock.client.value.partition("-")[0] if lock else None

    def backup(self) -> MemoryStore:
        """A copy of the server's store, to be restored later."""
        assert isinstance(self.stub.store, MemoryStore)
        return self.stub.store.copied()

    def put_back(self, store: MemoryStore) -> None:
        """Have the server start anew on another store: a backup, or an empty one."""
        now = self.stub.clock.seconds()
        self.stub = Stub(store=store)
        self.stub.clock.advance(now - self.stub.clock.seconds())
        for name, machine in list(self.machines.items()):
            machine.http = self.lines[name] = Line(self.stub)
            machine.wall.clock = self.stub.clock


def did(report: Report) -> Mapping[FileName, list[str]]:
    """The actions of a report, by file, without unchanged files."""
    return {one.file: [did.value for did in one.actions] for one in report.files if one.actions}
