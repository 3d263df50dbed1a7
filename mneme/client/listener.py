"""The listener reads the server's events on a thread of its own."""

import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPException

import msgspec
from msgspec import Struct

from mneme import __version__, wire
from mneme.client.http import Address, Http, NoStream
from mneme.errors import NOT_JSON
from mneme.model import ClientId, ProjectId

SILENT_SECONDS = 30.0
"""Seconds without a line after which a stream counts as held back.

The server sends a line every 20 seconds.
"""

WAIT_SECONDS = 25
"""Seconds that the server may wait for an event before it answers a question."""

QUESTIONS = 150
"""Questions that are asked in place of a stream that was held back, before one is tried again."""

POLL_SECONDS = 30.0
"""Seconds between two looks at a server without events, such as the Node server.

Longer pauses have a look each.
"""

LONGEST_PAUSE = 60.0
"""Most seconds between two tries to reach the server."""


_CUT = (OSError, HTTPException, ValueError, AttributeError, *NOT_JSON)
"""Errors of a connection that was cut; http.client has an AttributeError for one that `stop` closed meanwhile."""


class Heard(Struct, frozen=True):
    """A change in a project, or None if any project may have changed."""

    event: wire.WireEvent | None

    def concerns(self, project: ProjectId) -> bool:
        """Whether the project of this id may have changed."""
        event = self.event
        return event is None or project.value in event.ids


class Listener:
    """The reader of the events of one server. `heard` is called on its thread."""

    def __init__(
        self, address: Address, client: ClientId, http: Http, heard: Callable[[Heard], object]
    ) -> None:
        self._address = address
        self._client = client
        self._http = http
        self._heard = heard
        self._last: str | None = None
        self._questions = 0
        """Questions to ask before a stream is tried again."""
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
                is_question = self._questions > 0
                for heard in self._answered() if is_question else self._events():
                    pause = 1.0
                    self._heard(heard)
                if is_question:
                    pause = 1.0
            except NoStream as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    pause = POLL_SECONDS
                if pause >= POLL_SECONDS:
                    # Refused again and again, by a proxy or for want of room: all else may be answered.
                    self._heard(Heard(None))
            except TimeoutError:
                # A proxy may hold the stream back: what it has held back is asked for.
                self._questions = self._questions or QUESTIONS
                self._heard(Heard(None))
                pause = 1.0
            except _CUT:
                # Whoever syncs next learns why.
                pass
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _answered(self) -> Iterator[Heard]:
        """The events of one question, whose answer no proxy has a reason to hold back."""
        self._questions -= 1
        # Without an id the server tells it, and whatever happened before it is unknown.
        is_first = self._last is None
        seconds = 1 if is_first else WAIT_SECONDS
        answer = self._http.request(
            "GET", f"/events?wait={seconds}", self._headers(), None, seconds + SILENT_SECONDS
        )
        if answer.status != HTTPStatus.OK:
            raise NoStream(answer.status)
        page = msgspec.json.decode(answer.body, type=wire.WireEvents)
        self._last = page.last
        if is_first or page.reset:
            yield Heard(None)
        for event in page.events:
            yield Heard(event)

    def _headers(self) -> Mapping[str, str]:
        headers = {"User-Agent": f"mneme/{__version__}", "X-Client-Id": self._client.value}
        if self._address.key:
            headers["Authorization"] = f"Bearer {self._address.key}"
        if self._last:
            headers["Last-Event-ID"] = self._last
        return headers

    def _events(self) -> Iterator[Heard]:
        fields: dict[bytes, bytes] = {}
        for line in self._http.lines("/events", self._headers(), SILENT_SECONDS):
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
