"""The requests of the stock client, byte for byte: the simulator sends them, and here they are written down.

What differs from one machine, project and session to the next stands in them as a mark, and what takes its place is as
long as the mark, so that the lengths that a request tells stay true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import BinaryIO, Literal

from tests.bench.loads import Request
from tests.stock_client import Answer, StockClient

PROJECT = "bench-PROJECT"
CLIENT = "machine-CLIENTID"
CHANGE = "CHANGED-IN-A-SESSION"

_MARKS = re.compile(f"{PROJECT}|{CLIENT}|{CHANGE}".encode())


def project_name(number: int) -> str:
    """The id of a project, as long as its mark."""
    return f"bench-{number:07d}"


def client_name(machine: int) -> str:
    """The id of a machine, as long as its mark."""
    return f"machine-{machine:08x}"


def change(nanoseconds: int, machine: int) -> str:
    """What an upload has changed, as long as its mark: when, and from which machine."""
    return f"{nanoseconds // 1000:016d}{machine:04d}"


class Pieces:
    """A template, cut at its marks once, so that it is put together quickly."""

    def __init__(self, template: bytes) -> None:
        self._pieces = []
        at = 0
        for mark in _MARKS.finditer(template):
            self._pieces += [template[at : mark.start()], mark.group()]
            at = mark.end()
        self._pieces.append(template[at:])

    def filled(self, project: str, client: str, changed: str) -> bytes:
        """The request itself."""
        values = {PROJECT.encode(): project, CLIENT.encode(): client, CHANGE.encode(): changed}
        encoded = {mark: value.encode() for mark, value in values.items()}
        return b"".join([encoded.get(piece, piece) for piece in self._pieces])


def session(url: str, memory: Mapping[str, str]) -> tuple[Request, ...]:
    """The requests of a session, from its start to its end; `memory` is what each file holds, with the mark in it."""
    recorder = _Recorder(url)
    downloads = [
        recorder.request(f"download {name}", '"content"', _download(name), len(content.encode()))
        for name, content in memory.items()
    ]
    uploads = [
        recorder.request(f"upload {name}", '"mtime"', _upload(name, content))
        for name, content in memory.items()
    ]
    health, listed = recorder.request("health", '"status"', StockClient.health), listing(url)
    acquire = recorder.request("acquire", '"lock"', lambda client: client.acquire(PROJECT))
    release = recorder.request("release", '"success"', lambda client: client.release(PROJECT))
    return (health, acquire, listed, *downloads, health, listed, *uploads, release)


def health(url: str) -> Request:
    """Whether the server is there."""
    return _Recorder(url).request("health", '"status"', StockClient.health)


def listing(url: str) -> Request:
    """The list of the files of a project."""
    return _Recorder(url).request("list", '"files"', lambda client: client.files(PROJECT))


def download(url: str, name: str, least: int) -> Request:
    """The download of a file."""
    return _Recorder(url).request(f"download {name}", '"content"', _download(name), least)


def lock_status(url: str) -> Request:
    """Who holds the lock: the one call that the stock client does not make, with the headers of its other ones."""
    listed = listing(url)
    return Request("lock status", listed.template.replace(b"/files ", b"/lock ", 1), b'"locked"')


def _download(name: str) -> Callable[[StockClient], Answer]:
    return lambda client: client.download(PROJECT, name)


def _upload(name: str, content: str) -> Callable[[StockClient], Answer]:
    return lambda client: client.upload(PROJECT, name, content)


class _Recorder:
    """A connection that answers everything with an empty object, and knows what was sent last."""

    def __init__(self, url: str) -> None:
        self._client = StockClient(url, CLIENT, connect=lambda: self)
        self._sent = b""

    def request(
        self, name: str, token: str, call: Callable[[StockClient], Answer], least: int = 0
    ) -> Request:
        """What the stock client sends for the call."""
        call(self._client)
        return Request(name, self._sent, token.encode(), least)

    def sendall(self, data: bytes, /) -> None:
        """Remember it."""
        self._sent = data

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        """The answer."""
        return BytesIO(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def close(self) -> None:
        """There is nothing to close."""

    def is_over(self) -> bool:
        """It never is."""
        return False
