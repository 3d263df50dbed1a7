"""kill -9 at each step of a write, from the request to the plain files."""

from __future__ import annotations

import http.client
import json
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import frozen

from mneme.model import Lock, ProjectId, digest
from mneme.wire import WireLock
from tests.daemon import Daemon, wait_until
from tests.integration import dying
from tests.store.looking import Seen as Files
from tests.store.looking import directory_of, leftovers
from tests.store.looking import see as look_at

pytestmark = pytest.mark.integration

CONFIG = {"rateLimitPerMinute": 0, "lockTTLMinutes": 600}
DAEMONS = 2
"""The servers that share the steps of a kind of write."""
ANA, BEN = "ana-laptop-0badcafe", "ben-desktop-1c2d3e4f"
LOG = "files/log.jsonl"
FORGOTTEN, KEPT, NEW = (
    json.dumps({"ts": f"2026-02-04T15:0{minute}:00.000Z", "type": "note", "content": word}) + "\n"
    for minute, word in enumerate(("forgotten", "kept", "new"))
)


class DyingDaemon(Daemon):
    """A server that dies at a given step of the next write."""

    def die_at(self, steps: list[str]) -> None:
        """Name the steps of the next write, after which the server dies."""
        (self.home / dying.ORDER).write_text(" ".join(steps), encoding="ascii")

    def let_export(self) -> None:
        """Let the server export, which it does not do by itself until it has died."""
        (self.home / dying.EXPORT).touch()

    def rise(self) -> None:
        """Wait for the server's end, and start it again, with no step to die at."""
        assert self._running().wait(10) == -signal.SIGKILL, self.log()
        for name in (dying.ORDER, dying.EXPORT):
            (self.home / name).unlink(missing_ok=True)
        self.kill_and_restart()

    def _command(self) -> list[str]:
        return [sys.executable, "-P", dying.__file__, *super()._command()[1:]]


@frozen
class Seen:
    """A project as the server tells of it."""

    holder: str | None
    token: int | None
    content: str | None
    versions: int


@frozen
class Project:
    """A project on a server, with the requests of its clients."""

    daemon: Daemon
    name: str

    def ask(
        self, method: str, place: str, client: str = "", body: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Send a request; the names of headers have `_` for `-`."""
        named = {"X-Client-Id": client, "Content-Type": "application/x-ndjson"} if client else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = body.encode() if client else None
        return self.daemon.ask(
            method,
            f"/projects/{self.name}/{place}",
            headers={"User-Agent": "curl/8.14.1", **named},
            body=sent,
        )

    def see(self) -> Seen:
        """Look at the project as no client in particular."""
        content = self.ask("GET", LOG)[1].get("content")
        versions = self.ask("GET", f"{LOG}/versions")[1].get("versions", [])
        lock = self.ask("GET", "lock")[1]["lock"] or {}
        return Seen(lock.get("clientId"), lock.get("token"), content, len(versions))

    def wait_for_files(self, seen: Seen) -> None:
        """Wait until the plain files are such, without a request that could have them written."""
        wanted = ({"log.jsonl": seen.content.encode()} if seen.content else {}, seen.holder)

        def are_exported() -> bool:
            there = self.files
            exported = there.heads, there.lock.client.value if there.lock else None
            return exported == wanted and not leftovers(self.daemon.data_dir)

        wait_until(are_exported, within=5)

    def settle(self) -> None:
        """Wait until nothing is yet to be exported, by a last change of the lock."""
        lock = self.ask("POST", "lock", ANA)[1]["lock"]
        wait_until(lambda: wire_form(self.files.lock) == lock, within=5)
        # A look comes after the step of the export.
        self.see()

    @property
    def files(self) -> Files:
        """The plain files."""
        return look_at(directory_of(self.daemon.data_dir, ProjectId(self.name)))


def wire_form(lock: Lock | None) -> Any:
    """A lock as answers have it."""
    return msgspec.to_builtins(WireLock.of(lock)) if lock else None


@frozen
class Write:
    """A kind of write: its request, the state before, and its steps."""

    ask: Callable[[Project], tuple[int, Any]]
    prepare: Callable[[Project], object]
    steps: str
    """The answer is sent after the first `committed`, and before `export`."""
    after: Seen
    status: int = 200


def with_a_file(project: Project) -> None:
    """Ana holds the lock, and has removed a line from the log."""
    assert project.ask("POST", "lock", ANA)[0] == 200
    assert project.ask("PUT", LOG, ANA, FORGOTTEN + KEPT)[0] == 200
    assert project.ask("PUT", LOG, ANA, KEPT, If_Match=digest((FORGOTTEN + KEPT).encode()))[0] == 200


def with_a_waiting_upload(project: Project) -> None:
    """An upload of Ben's waits, too, who still has the line that Ana removed."""
    with_a_file(project)
    base = digest((FORGOTTEN + KEPT).encode())
    assert project.ask("PUT", LOG, BEN, FORGOTTEN + KEPT + NEW, If_Match=base)[1]["rescued"]


WRITES = {
    "acquire": Write(
        lambda project: project.ask("POST", "lock", ANA),
        lambda project: None,
        "asked COMMIT committed export .project.json .lock.json COMMIT committed",
        Seen(ANA, 1, None, 0),
    ),
    "upload": Write(
        lambda project: project.ask("PUT", LOG, ANA, KEPT + NEW),
        with_a_file,
        "asked COMMIT committed export log.jsonl COMMIT committed",
        Seen(ANA, 1, KEPT + NEW, 3),
    ),
    "append": Write(
        lambda project: project.ask(
            "POST", f"{LOG}/append", ANA, NEW, Idempotency_Key="one", If_Match=digest(KEPT.encode())
        ),
        with_a_file,
        "asked COMMIT committed export log.jsonl COMMIT committed",
        Seen(ANA, 1, KEPT + NEW, 3),
    ),
    "release": Write(
        lambda project: project.ask("DELETE", "lock", ANA),
        with_a_waiting_upload,
        "asked COMMIT committed COMMIT committed export log.jsonl .lock.json COMMIT committed",
        Seen(None, None, KEPT + NEW, 4),
    ),
    "refused upload": Write(
        lambda project: project.ask("PUT", LOG, BEN, KEPT + NEW),
        with_a_file,
        "asked COMMIT committed",
        Seen(ANA, 1, KEPT, 3),
        403,
    ),
    "refused append": Write(
        lambda project: project.ask(
            "POST", f"{LOG}/append", BEN, NEW, Idempotency_Key="one", If_Match=digest(KEPT.encode())
        ),
        with_a_file,
        "asked COMMIT committed",
        Seen(ANA, 1, KEPT, 3),
        403,
    ),
}


def test_a_kill_at_any_step_of_a_write_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A write is whole or absent, there if answered, and there once when asked again."""
    parts = [(kind, first) for kind in WRITES for first in range(DAEMONS)]
    with ThreadPoolExecutor(len(parts)) as pool:
        for checked in [
            pool.submit(check, tmp_path / f"{kind}-{first}", kind, first) for kind, first in parts
        ]:
            checked.result()


def check(home: Path, kind: str, first: int) -> None:
    """Kill a server at some steps of a kind of write, in a project each."""
    write = WRITES[kind]
    steps = write.steps.split()
    with DyingDaemon(home, CONFIG) as daemon:
        projects = {number: Project(daemon, f"at-{number}") for number in range(first, len(steps), DAEMONS)}
        for project in projects.values():
            write.prepare(project)
        before = projects[first].see()
        assert daemon.restart() == 0, daemon.log()
        for number, project in projects.items():
            assert project.see() == before
            taken = steps[: number + 1]
            daemon.die_at(taken)
            answered = is_answered(write, project)
            with suppress(OSError, http.client.HTTPException):
                # An answer to this comes after what waits was merged.
                project.see()
            daemon.let_export()
            daemon.rise()
            is_there = "committed" in taken
            where = f"{kind} killed after {' '.join(taken)}, answered: {answered}"
            assert is_there if answered else "export" not in taken, where
            if "export" in taken:
                project.wait_for_files(write.after)
            assert project.see() == (write.after if is_there else before), where
            assert is_answered(write, project), where
            assert project.see() == write.after, where
            project.wait_for_files(write.after)
            assert project.see() == write.after, where
            project.settle()
        assert "Traceback" not in daemon.log(), daemon.log()


def is_answered(write: Write, project: Project) -> bool:
    """Ask for a write; whether an answer comes, which must be the right one."""
    try:
        status, body = write.ask(project)
    except (OSError, http.client.HTTPException):
        return False
    assert status == write.status, body
    assert body.get("rescued", False) is (status == 403)
    return True
