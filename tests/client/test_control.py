"""The control: a line for a question, a line for its answer, a private socket."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, globalLogPublisher

from mneme.client.control import Answer, Control, Request, answers_of, claim, listen
from mneme.client.errors import SettingsError
from mneme.client.socketpath import SOCKET, socket_path


class Asked:
    """A connection to a control whose answers are those of a table."""

    def __init__(self, table: Mapping[str, Answer]) -> None:
        self.control = Control(answers_of(table))
        self.transport = StringTransport()
        self.control.makeConnection(self.transport)

    def answers(self, *parts: bytes) -> list[Any]:
        """The answers so far, after these bytes have come."""
        for part in parts:
            self.control.dataReceived(part)
        lines = self.transport.value().splitlines(keepends=True)
        assert all(line.endswith(b"\n") for line in lines)
        return [json.loads(line) for line in lines]


def echo(request: Request) -> Awaitable[object]:
    """The request, as it was understood."""
    return succeed({"do": request.do, "cwd": request.cwd, "seconds": request.seconds})


def fail(request: Request) -> Awaitable[object]:
    """A bug."""
    raise KeyError(request.cwd)


ECHO = {"echo": echo, "fail": fail}


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """The faults that are logged."""
    logged: list[str] = []

    def observe(event: Mapping[str, Any]) -> None:
        if "log_failure" in event:
            logged.append(str(event["log_failure"].value))

    observer = cast(ILogObserver, observe)
    globalLogPublisher.addObserver(observer)
    yield logged
    globalLogPublisher.removeObserver(observer)


# Questions


def test_a_question_is_answered_in_a_line() -> None:
    """Several one after another, however their bytes come."""
    asked = Asked(ECHO)
    assert asked.answers(b'{"do": "echo", "cwd": "/gr\\u00f6', b'\\u00dfe", "seconds": 2}\n{"do":') == [
        {"do": "echo", "cwd": "/größe", "seconds": 2}
    ]
    assert asked.answers(b'"echo"}\n')[1:] == [{"do": "echo", "cwd": "", "seconds": 0}]


def test_a_field_of_a_later_version_is_no_matter() -> None:
    """The command may be newer than the agent."""
    assert len(Asked(ECHO).answers(b'{"do": "echo", "more": [1]}\n')) == 1


@pytest.mark.parametrize("name", ["caf\udce9", "\ud83d"])
def test_a_directory_that_is_no_text_is_understood(name: str) -> None:
    """And so is an answer with its name."""
    [answer] = Asked(ECHO).answers(json.dumps({"do": "echo", "cwd": f"/{name}"}).encode() + b"\n")
    assert answer["cwd"] == f"/{name}"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"do": 7}',
        b'{"do": "echo", "seconds": "2"}',
        b'{"do": "echo", "seconds": NaN}',
        b"\xff\xfe",
        b"[" * 60_000,
    ],
)
def test_a_line_that_is_no_question_is_told_so(line: bytes) -> None:
    """The next question is answered."""
    problem, answer = Asked(ECHO).answers(line + b"\n", b'{"do": "echo"}\n')
    assert problem["problem"].startswith("The agent cannot read this")
    assert answer["do"] == "echo"


def test_a_line_without_an_end_ends_the_connection() -> None:
    """Such a line would fill the memory."""
    asked = Asked(ECHO)
    assert asked.answers(b"x" * (Control.MAX_LENGTH + 10)) == []
    assert asked.transport.disconnecting


def test_an_unknown_question_is_that_of_a_later_version() -> None:
    """The agent is to be started again after an upgrade."""
    [answer] = Asked(ECHO).answers(b'{"do": "later"}\n')
    assert "older than this command" in answer["problem"]
    assert "later" in answer["problem"]


def test_a_fault_is_logged_and_told(faults: list[str]) -> None:
    """And the connection goes on."""
    problem, answer = Asked(ECHO).answers(b'{"do": "fail", "cwd": "/x"}\n{"do": "echo"}\n')
    assert problem["problem"].startswith("The agent failed")
    assert answer["do"] == "echo"
    assert faults == ["'/x'"]


def test_an_answer_that_is_no_json_is_a_fault(faults: list[str]) -> None:
    """The hook does not wait in vain."""
    [answer] = Asked({"odd": lambda _: succeed({1, 2})}).answers(b'{"do": "odd"}\n')
    assert answer["problem"].startswith("The agent failed")
    assert len(faults) == 1


def test_an_answer_may_come_late() -> None:
    """Those of later questions do not wait for it; after a hang-up nobody hears it."""
    late: Deferred[object] = Deferred()
    asked = Asked({**ECHO, "late": lambda _: late})
    assert [one["do"] for one in asked.answers(b'{"do": "late"}\n{"do": "echo"}\n')] == ["echo"]
    late.callback({"do": "late"})
    assert [one["do"] for one in asked.answers()] == ["echo", "late"]


# The socket and the lock


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory with a short path."""
    with TemporaryDirectory(dir="/tmp", prefix="m") as directory:
        yield Path(directory)


@pytest.fixture
def reactor() -> Iterator[SelectReactor]:
    """A reactor of the test's own."""
    found = SelectReactor()
    yield found
    found.removeAll()
    found.waker.connectionLost(None)


def turn(reactor: SelectReactor) -> None:
    """Do what is due."""
    reactor.runUntilCurrent()
    reactor.doIteration(0.01)
    reactor.runUntilCurrent()


@contextmanager
def answering(reactor: SelectReactor, home: Path) -> Iterator[None]:
    """An agent answers on the socket."""
    port = listen(reactor, home, answers_of(ECHO))
    try:
        yield
    finally:
        port.stopListening()
        turn(reactor)


def ask(reactor: SelectReactor, home: Path, line: bytes) -> Any:
    """The answer over the real socket."""
    received = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(socket_path(home)))
        connection.sendall(line)
        connection.setblocking(False)
        for _ in range(1000):
            turn(reactor)
            with suppress(BlockingIOError):
                received += connection.recv(65536)
            if received.endswith(b"\n"):
                break
    turn(reactor)
    return json.loads(received)


def test_the_socket_is_there_for_this_user_alone(home: Path, reactor: SelectReactor) -> None:
    """Beside the plugin's files; it is gone after the end."""
    (home / ".claude-mneme").mkdir()
    with answering(reactor, home):
        assert socket_path(home) == home / ".claude-mneme/.mneme-agent.sock"
        assert stat.S_IMODE(socket_path(home).stat().st_mode) == 0o600
        assert ask(reactor, home, b'{"do": "echo", "cwd": "/x"}\n')["cwd"] == "/x"
    assert not socket_path(home).exists()


@pytest.mark.parametrize("left", ["socket", "file", "link"])
def test_what_a_killed_agent_left_is_no_obstacle(home: Path, reactor: SelectReactor, left: str) -> None:
    """Nobody answers on it, whatever it is."""
    path = socket_path(home)
    path.parent.mkdir()
    if left == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.fspath(path))
    elif left == "file":
        path.write_text("")
    else:
        path.symlink_to(home / "nowhere")
    with answering(reactor, home):
        assert ask(reactor, home, b'{"do": "echo"}\n')["do"] == "echo"


def test_a_second_agent_gets_no_claim(home: Path) -> None:
    """Until the first one ends, however it does."""
    first = claim(home)
    assert first is not None
    assert claim(home) is None
    os.close(first)
    second = claim(home)
    assert second is not None
    os.close(second)


def test_a_claim_makes_the_folder_and_ends_with_the_process(home: Path) -> None:
    """A program that the agent starts does not hold it."""
    descriptor = claim(home / "new")
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    assert stat.S_IMODE((home / "new/.claude-mneme").stat().st_mode) == 0o700
    os.close(descriptor)


def test_a_claim_follows_no_link(home: Path) -> None:
    """Somebody else's file is not opened."""
    (home / ".claude-mneme").mkdir()
    (home / ".claude-mneme/.mneme-agent.lock").symlink_to(home / "theirs")
    with pytest.raises(OSError, match="symbolic"):
        claim(home)
    assert not (home / "theirs").exists()


@pytest.mark.parametrize("name", ["x" * 90, "記" * 30])
def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path, name: str) -> None:
    """In bytes; a little shorter it works."""
    with pytest.raises(SettingsError, match="too long a path for a socket"):
        socket_path(Path("/home") / name)
    assert socket_path(Path("/home/ana")).name == SOCKET
