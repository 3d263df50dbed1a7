"""The listener reads the server's events on a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPException

import msgspec
from msgspec import Struct

from mneme import __version__, wire
from mneme.client.http import Address, Http, NoStream
from mneme.errors import NOT_JSON

SILENT_SECONDS = 60.0
"""Seconds without a line after which a stream counts as dead: the server sends one every 20 seconds."""

POLL_SECONDS = 30.0
"""Seconds between two looks at a server without events, such as the Node server."""

LONGEST_PAUSE = 60.0
"""Most seconds between two tries to reach the server."""


_CUT = (OSError, HTTPException, ValueError, AttributeError)
"""Errors of a connection that was cut; http.client has an AttributeError for one that `stop` closed meanwhile."""


class Heard(Struct, frozen=True):
    """A change in a project, or None if any project may have changed."""

    event: wire.WireEvent | None


class Listener:
    """The reader of the events of one server. `heard` is called on its thread."""

    def __init__(self, address: Address, http: Http, heard: Callable[[Heard], object]) -> None:
        self._address = address
        self._http = http
        self._heard = heard
        self._last: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="mneme-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; a thread that the network holds ends with the process."""
        self._stopping.set()
        self._http.close()
        self._thread.join(1.0)

    def _listen(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            try:
                for heard in self._events():
                    pause = 1.0
                    self._heard(heard)
            except NoStream as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    self._heard(Heard(None))
                    pause = POLL_SECONDS
            except TimeoutError:
                # A proxy may hold the stream back: then a look from time to time has to do.
                self._heard(Heard(None))
            except _CUT:
                # Whoever syncs next learns why.
                pass
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _events(self) -> Iterator[Heard]:
        headers = {"User-Agent": f"mneme/{__version__}"}
        if self._address.key:
            headers["Authorization"] = f"Bearer {self._address.key}"
        if self._last:
            headers["Last-Event-ID"] = self._last
        fields: dict[bytes, bytes] = {}
        for line in self._http.lines("/events", headers, SILENT_SECONDS):
            text = line.rstrip(b"\r\n")
            if text:
                name, _, value = text.partition(b":")
                fields[name] = value.removeprefix(b" ")
                continue
            if b"event" in fields:
                self._last = _id_of(fields) or self._last
                yield Heard(_event_of(fields))
            fields = {}


def _id_of(fields: dict[bytes, bytes]) -> str | None:
    """The id of a message, if it can be sent back in a header."""
    text = fields.get(b"id", b"").decode(errors="replace")
    return text if text.isascii() and text.isprintable() else None


def _event_of(fields: dict[bytes, bytes]) -> wire.WireEvent | None:
    """The event of a message; None for `ready`, `reset` and unknown ones."""
    try:
        return msgspec.json.decode(fields.get(b"data", b""), type=wire.WireEvent)
    except NOT_JSON:
        return None
