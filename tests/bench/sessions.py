"""Requests of the stock client, with marks for what differs from session to session.

What takes the place of a mark is as long as the mark, so that the lengths that a request tells stay true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import BinaryIO, Literal

from tests.bench.loads import Request
from tests.stock_client import Answer, StockClient

PROJECT = "bench-PROJECT"
CLIENT = "machine-CLIENTID"
CHANGE = "CHANGED-IN-A-SESSION"

_MARKS = re.compile(f"({PROJECT}|{CLIENT}|{CHANGE})".encode())


def project_name(number: int) -> str:
    """Id of a project, as long as its mark."""
    return f"bench-{number:07d}"


def client_name(machine: int) -> str:
    """Id of a machine, as long as its mark."""
    return f"machine-{machine:08x}"


def change(nanoseconds: int, machine: int) -> str:
    """Text that an upload changes, as long as its mark: the time, and the machine."""
    return f"{nanoseconds // 1000:016d}{machine:04d}"


def cut(template: bytes) -> list[bytes]:
    """A template, cut at its marks, so that it is put together quickly."""
    return _MARKS.split(template)


def filled(pieces: Sequence[bytes], project: str, client: str, changed: str) -> bytes:
    """A request, put together from the pieces of its template."""
    values = {PROJECT.encode(): project.encode(), CLIENT.encode(): client.encode()}
    values[CHANGE.encode()] = changed.encode()
    return b"".join([values.get(piece, piece) for piece in pieces])


def session(url: str, memory: Mapping[str, str]) -> tuple[Request, ...]:
    """Requests of a session that downloads and uploads this memory."""
    downloads = [download(url, name, content) for name, content in memory.items()]
    uploads = [_upload(url, name, content) for name, content in memory.items()]
    acquire = _recorded(url, "acquire", '"lock"', lambda client: client.acquire(PROJECT))
    release = _recorded(url, "release", '"success"', lambda client: client.release(PROJECT))
    begin = health(url), acquire, listing(url)
    return (*begin, *downloads, health(url), listing(url), *uploads, release)


def health(url: str) -> Request:
    """Request that asks whether the server is there."""
    return _recorded(url, "health", '"status"', StockClient.health)


def listing(url: str) -> Request:
    """Request for the list of the files of a project."""
    return _recorded(url, "list", '"files"', lambda client: client.files(PROJECT))


def download(url: str, name: str, content: str) -> Request:
    """Download of a file with that content."""
    least = len(content.encode())
    return _recorded(url, name, '"content"', lambda client: client.download(PROJECT, name), least)


def lock_status(url: str) -> Request:
    """Request for the lock's holder, which the stock client never sends."""
    return Request("lock status", listing(url).template.replace(b"/files ", b"/lock ", 1), b'"locked"')


def _upload(url: str, name: str, content: str) -> Request:
    return _recorded(url, name, '"mtime"', lambda client: client.upload(PROJECT, name, content))


def _recorded(
    url: str, name: str, token: str, call: Callable[[StockClient], Answer], least: int = 0
) -> Request:
    """Request that the stock client sends for a call."""
    recorder = _Recorder()
    call(StockClient(url, CLIENT, connect=lambda: recorder))
    return Request(name, recorder.sent, token.encode(), least)


class _Recorder:
    """A connection that answers everything with an empty object, and remembers the last request."""

    sent = b""

    def sendall(self, data: bytes, /) -> None:
        """Remember it."""
        self.sent = data

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        """An empty object."""
        return BytesIO(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def close(self) -> None:
        """Nothing to close."""

    def is_over(self) -> bool:
        """False: the connection stays."""
        return False
