"""The Unix socket of the agent: a JSON object in a line, one in answer."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from mneme import durable
from mneme.client.settings import FOLDER
from mneme.client.socketpath import socket_path
from mneme.merge import jsonvalues

_LOCK = ".mneme-agent.lock"


class Request(msgspec.Struct, frozen=True):
    """A question to the agent, by its name `do`.

    `cwd` is the directory of the session, `seconds` the time to wait.
    """

    do: str
    cwd: str = ""
    seconds: float = 0.0


Answer = Callable[[Request], Awaitable[object]]


class Control(LineReceiver):
    """A connection of a hook or a person."""

    delimiter = b"\n"
    MAX_LENGTH = 65_536

    _log = Logger()

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def lineReceived(self, line: bytes) -> None:
        """Answer a question."""
        try:
            # A directory need not be UTF-8, so that its text can have lone surrogates.
            request = msgspec.convert(jsonvalues.read(line), Request)
        except (ValueError, RecursionError) as error:
            self._say({"problem": f"The agent cannot read this: {error}"})
            return
        Deferred.fromCoroutine(self._answered(request)).addCallback(self._say).addErrback(self._failed)

    async def _answered(self, request: Request) -> object:
        return await self._answer(request)

    def _say(self, answer: object) -> None:
        self.sendLine(json.dumps(answer).encode())

    def _failed(self, failure: Failure) -> None:
        self._log.failure("Could not answer a hook", failure)
        self._say({"problem": f"The agent failed: {failure.getErrorMessage()}"})


class ControlFactory(Factory):
    """The maker of control connections."""

    noisy = False

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def buildProtocol(self, addr: object) -> Control:
        """A control for a new connection."""
        return Control(self._answer)


def claim(home: Path) -> int | None:
    """The lock of the one agent of a person; None if another process has it."""
    durable.make_directory(home / FOLDER)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(home / FOLDER / _LOCK, flags, durable.FILE_MODE)
    try:
        durable.lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def listen(reactor: Any, home: Path, answer: Answer) -> IListeningPort:  # noqa: ANN401 - it provides several interfaces
    """Answer questions on the socket, which only this user can open.

    The lock of `claim` must be held.
    """
    path = socket_path(home)
    # Left by an agent that was killed.
    path.unlink(missing_ok=True)
    port: IListeningPort = reactor.listenUNIX(os.fspath(path), ControlFactory(answer), mode=0o600)
    return port


def answers_of(table: Mapping[str, Answer]) -> Answer:
    """The answers of several questions, by their names."""

    async def answer(request: Request) -> object:
        found = table.get(request.do)
        if found is None:
            return {
                "problem": f"This agent knows no {request.do!r}: it is older than this command; start it again"
            }
        return await found(request)

    return answer
