"""The hooks of a session without an agent, with a real connection to a server."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mneme import times
from mneme.cli import sessionalone
from mneme.client import arrivals
from mneme.client.folder import Folder
from mneme.client.identity import Rules
from mneme.client.localproject import local_project
from mneme.model import Millis, ProjectId
from tests.daemon import wait_until
from tests.web.stub import Stub, entry

pytestmark = [
    pytest.mark.integration,
    # The hook leaves its child alone, as it should.
    pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning"),
]

ONE, TWO, THREE = (entry(f"entry {n}", n) for n in (1, 2, 3))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, StubServer)
        if server.is_silent:
            server.silence.wait(10)
            self.close_connection = True
            return
        server.asked.append(f"{self.command} {self.path}")
        server.silence.wait(server.delay)
        if self.path.endswith("/files"):
            server.before_list()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        names = (
            "X-Client-Id",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Idempotency-Key",
            "Content-Encoding",
        )
        headers = {name: self.headers[name] for name in names if name in self.headers}
        status, content, found = 503, b'{"error": "The disk is full"}', {}
        if not server.is_full:
            reply = server.stub.ask(self.command, self.path, headers, body or None)
            status, content = reply.status, reply.body
            found = {name: value for name in ("ETag",) if (value := reply.header(name))}
        self.send_response(status)
        for name, value in {**found, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if status != 304:
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the library
        """Say nothing."""


class StubServer(HTTPServer):
    """A stub of a server on a real port."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stub = Stub()
        self.asked: list[str] = []
        self.is_silent = False
        self.is_full = False
        self.delay = 0.0
        self.before_list: Callable[[], object] = list
        self.silence = threading.Event()


class World:
    """A person's home, a project in it, and a server."""

    def __init__(self, home: Path, server: StubServer) -> None:
        self.home = home
        self.server = server
        self.stub = server.stub
        self.plugin = home / ".claude-mneme"
        self.plugin.mkdir(parents=True)
        self.app = home / "app"
        self.app.mkdir()
        self.folder = local_project(self.app, home, Rules()).folder
        self.configure(server.server_port)
        self.program = home / "mneme"
        self.noted = home / "noted"
        self.program.write_text(
            f'#!/bin/sh\necho "$* $(pwd) $(ps -o sid= -p $$) $$" > "{self.noted}.new"\n'
            f'mv "{self.noted}.new" "{self.noted}"\n'
        )
        self.program.chmod(0o755)

    def configure(self, port: int, hook_seconds: float = 2.0) -> None:
        """Write the settings."""
        sync = f'{{"serverUrl": "http://127.0.0.1:{port}", "hookSeconds": {hook_seconds}}}'
        (self.plugin / "config.json").write_text(f'{{"sync": {sync}}}')

    def other_machine_writes(self, log: str) -> None:
        """An upload of another machine."""
        self.stub.acquire("desk", project=self.folder.name)
        assert self.stub.upload("desk", log, project=self.folder.name).status == 200
        self.stub.release("desk", project=self.folder.name)

    def other_machine_leaves(self, summary: str, days_ago: float = 0.0) -> None:
        """A briefing of another machine."""
        written = times.to_text(Millis(round((time.time() - days_ago * 86_400) * 1000)))
        body = json.dumps({"content": json.dumps({"ts": written, "summary": summary})})
        headers = {"X-Client-Id": "desk", "Content-Type": "application/json", "If-None-Match": "*"}
        assert self.stub.ask("PUT", self._briefing, headers, body).status == 200

    def has_briefing(self) -> bool:
        """Whether the server has a briefing."""
        return self.stub.ask("GET", self._briefing, {"X-Client-Id": "looker"}).status == 200

    @property
    def _briefing(self) -> str:
        return f"/projects/{self.folder.name}/files/briefing.json"

    def on_server(self) -> str | None:
        """The log on the server."""
        reply = self.stub.download(project=self.folder.name, client="looker")
        return reply.json["content"] if reply.status == 200 else None

    def write(self, log: str) -> None:
        """Write the log as the plugin does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log.jsonl").write_text(log)

    @property
    def away(self) -> Path:
        """The note that the server was away."""
        return self.plugin / ".mneme-away"

    def run(self, name: str = "session-start", seconds: float = 2.0) -> tuple[str, str]:
        """The news and the problem of a hook."""
        told = sessionalone.run(name, str(self.program), seconds)
        return told.get("news", ""), told.get("problem", "")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A session in ~/app."""
    monkeypatch.delenv("MNEME_DISABLED", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with StubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        world = World(tmp_path / "home", server)
        monkeypatch.setenv("HOME", str(world.home))
        monkeypatch.chdir(world.app)
        yield world
        server.silence.set()
        server.shutdown()
        thread.join()


def unreachable_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


# The start


def test_a_session_is_told_what_its_machine_did_not_have(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has it in its folder, which is made; the next one is told nothing."""
    world.other_machine_writes(ONE + TWO)
    news, problem = world.run()
    assert problem == ""
    assert [line for line in news.splitlines() if "entry" in line] == [
        "- 2026-02-04 14:02 note: entry 2",
        "- 2026-02-04 14:01 note: entry 1",
    ]
    assert (world.folder / "log.jsonl").read_text() == ONE + TWO
    monkeypatch.setattr(arrivals, "BEFORE", 0.0)
    assert world.run() == ("", "")


def test_own_lines_are_no_news(world: World) -> None:
    """Those that the plugin writes while the hook is at work, either."""
    world.write(ONE)
    world.other_machine_writes(TWO)
    world.server.before_list = lambda: world.write(ONE + THREE)
    news, _ = world.run()
    assert [n for n in (1, 2, 3) if f"entry {n}" in news] == [2]
    assert world.on_server() == ONE + TWO + THREE


def test_a_session_is_told_what_waits_for_the_summarizer(world: World) -> None:
    """The memory gets it when the lock has gone."""
    world.write(ONE)
    world.run()
    (world.folder / "log.jsonl.lock").touch()
    world.other_machine_writes(ONE + TWO)
    for _ in range(2):
        news, problem = world.run()
        assert ("entry 2" in news, "entry 1" in news, problem) == (True, False, "")
    assert (world.folder / "log.jsonl").read_text() == ONE


def test_a_session_is_told_what_another_process_has_just_fetched(world: World) -> None:
    """The child of a session before, say; the plugin may have missed it."""
    world.other_machine_writes(ONE)
    world.run("session-end", 10)
    assert (world.folder / "log.jsonl").read_text() == ONE
    assert "entry 1" in world.run()[0]


def test_a_session_is_told_the_briefing_that_comes_as_it_begins(world: World) -> None:
    """Once: it is with the used ones here, and gone on the server."""
    world.other_machine_leaves("Mend the <b>build</b>")
    assert world.run() == ("## A briefing from another machine\n\nMend the <b>build</b>\n", "")
    assert not (world.folder / "briefing.json").exists()
    assert len(list((world.folder / "briefing-archive").iterdir())) == 1
    assert world.has_briefing() is False
    assert world.run() == ("", "")


def test_a_briefing_that_was_here_before_is_left_to_the_plugin(world: World) -> None:
    """The plugin tells it; once it is gone here, the server's is removed."""
    world.other_machine_leaves("Mend the build")
    world.run("session-end")
    assert world.run() == ("", "")
    assert world.has_briefing() is True
    (world.folder / "briefing.json").unlink()
    assert world.run() == ("", "")
    assert world.has_briefing() is False


def test_a_briefing_that_is_too_old_is_told_to_nobody(world: World) -> None:
    """Such a briefing counts as used all the same, as with the plugin."""
    world.other_machine_leaves("Mend the build", days_ago=7.01)
    assert world.run() == ("", "")
    assert world.run() == ("", "")
    assert world.has_briefing() is False


def test_a_session_that_begins_sends_what_waits(world: World) -> None:
    """Lines that an earlier session could not send."""
    world.write(ONE)
    assert world.run() == ("", "")
    assert world.on_server() == ONE


def test_a_session_without_a_server_is_told_in_a_sentence(world: World) -> None:
    """And the absence is remembered for ten minutes."""
    world.configure(unreachable_port())
    _, problem = world.run()
    assert "cannot be reached: connection refused" in problem
    assert abs(world.away.stat().st_mtime - time.time()) < 60


def timed(world: World, name: str = "session-start", seconds: float = 2.0) -> float:
    """The seconds that a hook takes, which has a problem."""
    began = time.monotonic()
    _, problem = world.run(name, seconds)
    assert "did not answer in time" in problem
    return time.monotonic() - began


def test_a_silent_server_costs_a_session_its_time_once(world: World) -> None:
    """Ten minutes of shorter waits follow, which a shorter wait does not prolong."""
    world.server.is_silent = True
    world.configure(world.server.server_port, hook_seconds=1.3)
    assert 1.2 < timed(world) < 6
    noted = world.away.stat().st_mtime_ns
    assert timed(world) < 1.2
    assert timed(world, "session-end", 10) < 1.2
    assert world.away.stat().st_mtime_ns == noted
    for seconds in (601, -3600):
        moment = time.time() - seconds
        os.utime(world.away, (moment, moment))
        assert timed(world) > 1.2
        assert abs(world.away.stat().st_mtime - time.time()) < 60


def test_a_stopped_process_in_the_folder_costs_a_session_its_time_only(world: World) -> None:
    """The sentence says so, and the server does not count as away."""
    world.configure(world.server.server_port, hook_seconds=0.3)
    world.other_machine_writes(ONE)
    with Folder(world.folder, ProjectId("any")).step():
        began = time.monotonic()
        news, problem = world.run()
        assert 0.2 < time.monotonic() - began < 3
    assert not news
    assert "Another mneme process has been at work on" in problem
    assert not world.away.exists()
    assert world.run()[0]


def test_a_slow_server_costs_a_session_its_time_once(world: World) -> None:
    """The limit is that of all requests; the server is not away."""
    world.write(ONE)
    world.server.delay = 0.5
    world.configure(world.server.server_port, hook_seconds=1.3)
    assert 1.2 < timed(world) < 1.7
    assert not world.away.exists()
    assert world.run("session-end", 10) == ("", "")
    assert world.on_server() == ONE


def test_a_server_that_is_back_is_forgotten_to_have_been_away(world: World) -> None:
    """The server has all its time again."""
    world.away.touch()
    world.other_machine_writes(ONE)
    news, problem = world.run()
    assert "entry 1" in news
    assert problem == ""
    assert not world.away.exists()


def test_a_server_with_trouble_is_not_away(world: World) -> None:
    """An answer came, and more will."""
    world.server.is_full = True
    _, problem = world.run()
    assert "The disk is full" in problem
    assert not world.away.exists()


def test_a_machine_without_a_server_is_told_what_to_set(world: World) -> None:
    """No child is needed for that."""
    (world.plugin / "config.json").write_text("{}")
    _, problem = world.run()
    assert "No server is set" in problem


@pytest.mark.parametrize("name", ["session-start", "session-end"])
@pytest.mark.parametrize("switch", ["MNEME_DISABLED", "excludePatterns"])
def test_a_session_that_the_plugin_leaves_alone_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, switch: str
) -> None:
    """Nobody is asked, nothing is made or started."""
    if switch == "MNEME_DISABLED":
        monkeypatch.setenv(switch, "1")
    else:
        config = (world.plugin / "config.json").read_text()
        pattern = f'{{"excludePatterns": ["{world.app}"], '
        (world.plugin / "config.json").write_text(pattern + config[1:])
    assert world.run(name) == ("", "")
    assert world.server.asked == []
    assert not world.folder.exists()
    assert not world.noted.exists()


# The end


def test_the_end_of_a_session_sends_and_leaves_a_child_behind(world: World) -> None:
    """The child is in the project's directory, and outlives the terminal."""
    world.write(ONE)
    assert world.run("session-end", 10) == ("", "")
    assert world.on_server() == ONE
    assert world.stub.ask("GET", f"/projects/{world.folder.name}/lock").json["locked"] is False
    wait_until(world.noted.exists, within=10)
    *words, directory, session, process = world.noted.read_text().split()
    assert (words, directory) == (["session-late"], str(world.app))
    assert session == process


def test_a_server_with_trouble_at_the_end_has_a_child_all_the_same(world: World) -> None:
    """The trouble may be over by then."""
    world.server.is_full = True
    _, problem = world.run("session-end", 10)
    assert "The disk is full" in problem
    wait_until(world.noted.exists, within=10)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that looks often."""
    monkeypatch.setattr(sessionalone, "_LOOK_EVERY", 0.05)


@pytest.mark.usefixtures("quickly")
def test_the_child_sends_what_comes_late(world: World) -> None:
    """Entries that the plugin writes after a session, one after another, once they are over."""
    world.write(ONE)
    child = threading.Thread(target=sessionalone.send_late)
    child.start()
    for log in (ONE + TWO, ONE + TWO + THREE):
        time.sleep(0.15)
        world.write(log)
    child.join(10)
    assert world.on_server() == ONE + TWO + THREE


@pytest.mark.usefixtures("quickly")
def test_the_child_waits_for_the_summarizer(world: World) -> None:
    """Its summary is sent when its lock goes."""
    world.write(ONE)
    lock = world.folder / "log.jsonl.lock"
    lock.touch()
    child = threading.Thread(target=sessionalone.send_late)
    child.start()
    time.sleep(0.6)
    assert child.is_alive()
    (world.folder / "summary.md").write_text("# Use tabs\n")
    lock.unlink()
    child.join(10)
    reply = world.stub.download("summary.md", project=world.folder.name, client="looker")
    assert reply.json["content"] == "# Use tabs\n"


@pytest.mark.usefixtures("quickly")
def test_the_child_has_two_minutes_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A summarizer that hangs keeps it no longer; what there is is sent."""
    monkeypatch.setattr(sessionalone, "_LATE_SECONDS", 0.3)
    world.write(ONE)
    (world.folder / "log.jsonl.lock").touch()
    sessionalone.send_late()
    assert world.on_server() == ONE


@pytest.mark.usefixtures("quickly")
def test_the_child_of_a_machine_without_a_server_ends(world: World) -> None:
    """Nobody reads what it would say."""
    world.configure(unreachable_port())
    sessionalone.send_late()
    assert world.away.exists()
