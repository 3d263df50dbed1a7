"""The listener: lines of a server, and streams that end and are taken up."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from mneme import clocks
from mneme.client.http import Address, Connection, NoStream, Response
from mneme.client.listener import LONGEST_PAUSE, POLL_SECONDS, QUESTIONS, WAIT_SECONDS, Heard, Listener
from mneme.model import ClientId

URL = "http://homeserver.invalid:3847"
ANA = ClientId("ana-0a1b2c3d")
HEAD = {
    "id": "line-7",
    "kind": "head",
    "project": "demo",
    "file": "log.jsonl",
    "version": 7,
    "sha256": "aa",
    "clientId": "desk",
    "lock": None,
}


def message(kind: str, id_: str, data: Any) -> list[bytes]:
    """The lines of an event."""
    return [
        f"id: {id_}\n".encode(),
        f"event: {kind}\n".encode(),
        f"data: {json.dumps(data)}\n".encode(),
        b"\n",
    ]


READY = message("ready", "line-6", {})


class Streams:
    """An `Http` with a script of streams, each of lines, or an error.

    After the last one the listener is stopped.
    """

    def __init__(self, *parts: list[bytes] | Exception | Response) -> None:
        self.asked: list[Mapping[str, str]] = []
        self.questions: list[str] = []
        self.pauses: list[float] = []
        self.closed = 0
        self._parts = list(parts)

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Response:
        """See `Http`."""
        assert method == "GET"
        self.asked.append(headers)
        self.questions.append(path)
        part = self._parts.pop(0)
        if isinstance(part, Exception):
            raise part
        assert isinstance(part, Response), "a stream was asked for here"
        return part

    def lines(self, path: str, headers: Mapping[str, str], seconds: float) -> Iterator[bytes]:
        """See `Http`."""
        assert path == "/events"
        self.asked.append(headers)
        part = self._parts.pop(0)
        if isinstance(part, Exception):
            raise part
        assert isinstance(part, list), "a question was asked here"
        yield from part

    def close(self) -> None:
        """See `Http`."""
        self.closed += 1

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of the script."""
        return not self._parts


class Stopping(threading.Event):
    """An event that ends with a script; the pauses are noted, not waited for."""

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    def wait(self, timeout: float | None = None) -> bool:
        """Note a pause."""
        self._streams.pauses.append(timeout or 0)
        if self._streams.is_over:
            self.set()
        return self.is_set()


def listen(*parts: list[bytes] | Exception | Response, key: str | None = None) -> tuple[Streams, list[Heard]]:
    """The script as it was played, and what was heard."""
    streams, heard = Streams(*parts), list[Heard]()
    listener = Listener(Address(URL, key), ANA, streams, heard.append)
    listener._stopping = Stopping(streams)
    listener._listen()
    return streams, heard


def versions(heard: list[Heard]) -> list[int | None]:
    """The versions that were heard of; None for what may be a change of anything."""
    return [one.event.version if one.event else None for one in heard]


def test_a_head_is_told_as_it_is() -> None:
    """With its project, file and version."""
    _, [heard] = listen(message("head", "line-7", HEAD))
    assert heard.event is not None
    event = heard.event
    assert (event.kind, event.project, event.file, event.version) == ("head", "demo", "log.jsonl", 7)


@pytest.mark.parametrize("kind", ["ready", "reset"])
def test_after_a_new_beginning_anything_may_have_changed(kind: str) -> None:
    """While nobody listened, or since the server was put back to a backup."""
    _, heard = listen(message(kind, "line-6", {}))
    assert heard == [Heard(None)]


def test_an_event_of_a_later_version_may_be_a_change() -> None:
    """Its data say nothing to this version."""
    _, heard = listen(message("pruned", "line-8", {"what": ["ever"]}))
    assert heard == [Heard(None)]


@pytest.mark.parametrize(
    "data", [b"", b"data: {\n", b'data: "text"\n', b"data: \xff\xfe\n", b"data: " + b"[" * 9999 + b"\n"]
)
def test_data_that_cannot_be_read_may_be_a_change(data: bytes) -> None:
    """The stream goes on after it."""
    _, heard = listen([b"event: head\n", data, b"\n", *message("head", "line-7", HEAD)])
    assert versions(heard) == [None, 7]


@pytest.mark.parametrize(
    "lines",
    [
        [b"retry: 3000\n"],
        [b": still here\n", b"\n"],
        [b"\n", b"\n"],
        [b"data: {}\n", b"\n"],
        [b"id: 9\n", b"\n"],
        [b"event: head\n"],
        [b"garbage\n", b"\xff\xff\n", b"\n"],
    ],
)
def test_lines_that_are_no_event_are_not_heard(lines: list[bytes]) -> None:
    """Comments, other fields, and a message that was cut."""
    assert listen(lines)[1] == []


def test_a_comment_within_a_message_does_not_end_it() -> None:
    """A proxy may put it anywhere between two lines."""
    first, *rest = message("head", "line-7", HEAD)
    _, heard = listen([first, rest[0], b": still here\n", *rest[1:]])
    assert versions(heard) == [7]


def test_fields_may_have_no_space_and_other_line_ends() -> None:
    """As the specification of streams allows."""
    lines = [line.replace(b": ", b":", 1).replace(b"\n", b"\r\n") for line in message("head", "line-7", HEAD)]
    streams, heard = listen(lines, [])
    assert versions(heard) == [7]
    assert streams.asked[1]["Last-Event-ID"] == "line-7"


def test_a_stream_is_taken_up_after_the_last_event() -> None:
    """Of several, also over an error; the first begins wherever the server is."""
    streams, _ = listen(READY, ConnectionResetError(), message("head", "line-7", HEAD), [])
    assert [one.get("Last-Event-ID") for one in streams.asked] == [None, "line-6", "line-6", "line-7"]


@pytest.mark.parametrize("id_", [b"", b"\xff", b"a\rb", "é".encode(), b"\x00"])
def test_an_id_that_no_header_can_hold_is_not_sent_back(id_: bytes) -> None:
    """The last good one is, and the listener is not lost."""
    event = [b"id: " + id_ + b"\n", b"event: head\n", b"data: {}\n", b"\n"]
    streams, heard = listen([*READY, *event], [])
    assert len(heard) == 2
    assert streams.asked[1]["Last-Event-ID"] == "line-6"


def test_an_event_without_an_id_leaves_the_last_one() -> None:
    """Nor is the id of a message without an event kept for the next."""
    streams, _ = listen([*READY, b"id: other\n", b"\n", b"event: head\n", b"data: {}\n", b"\n"], [])
    assert streams.asked[1]["Last-Event-ID"] == "line-6"


def test_the_key_is_shown() -> None:
    """As in every request; without one there is no such header."""
    assert listen([], key="secret")[0].asked[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in listen([])[0].asked[0]


def test_an_absent_server_is_asked_less_and_less() -> None:
    """Up to once a minute; a first event begins anew."""
    streams, heard = listen(*[ConnectionRefusedError()] * 8, READY, ConnectionRefusedError())
    assert streams.pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, 1, 2]
    assert heard == [Heard(None)]


@pytest.mark.parametrize("status", [200, 401, 429, 503])
def test_an_answer_that_is_no_stream_is_waited_over(status: int) -> None:
    """With longer and longer pauses, and nothing is heard at first."""
    streams, heard = listen(NoStream(status), NoStream(status), NoStream(status))
    assert (streams.pauses, heard) == ([1, 2, 4], [])


@pytest.mark.parametrize("status", [200, 403, 503, 504])
def test_where_no_stream_is_to_be_had_anything_may_have_changed_each_minute(status: int) -> None:
    """A proxy refuses streams, or the server has no room; all else works."""
    streams, heard = listen(*[NoStream(status)] * 8)
    assert streams.pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE]
    assert heard == [Heard(None)] * 3


def test_a_server_without_events_is_looked_at_now_and_then() -> None:
    """The Node server has none: each time anything may have changed."""
    streams, heard = listen(*[NoStream(404)] * 3)
    assert streams.pauses == [POLL_SECONDS] * 3
    assert heard == [Heard(None)] * 3


# Where a stream is held back


def page(*events: Any, last: str, reset: bool = False) -> Response:
    """The answer to a question."""
    return Response(200, {}, json.dumps({"events": events, "last": last, "reset": reset}).encode())


def test_where_a_stream_is_held_back_questions_are_asked() -> None:
    """The first tells where the server is; an event is told as it is."""
    streams, heard = listen(
        TimeoutError(),
        page(last="line-6"),
        page(HEAD, last="line-7"),
        page(last="line-7"),
        page(last="line-7"),
    )
    assert streams.questions == ["/events?wait=1", *[f"/events?wait={WAIT_SECONDS}"] * 3]
    assert [one.get("Last-Event-ID") for one in streams.asked] == [None, None, "line-6", "line-7", "line-7"]
    assert versions(heard) == [None, None, 7]
    assert set(streams.pauses) == {1.0}


def test_what_a_stream_has_held_back_is_asked_for() -> None:
    """After the last event that came."""
    streams, heard = listen([*READY], TimeoutError(), page(HEAD, last="line-7"))
    assert streams.asked[-1]["Last-Event-ID"] == "line-6"
    assert versions(heard) == [None, None, 7]


def test_after_a_reset_anything_may_have_changed() -> None:
    """The server was put back to a backup, say."""
    _, heard = listen([*READY], TimeoutError(), page(last="other-1", reset=True))
    assert heard == [Heard(None)] * 3


def test_a_stream_is_tried_again_after_many_questions() -> None:
    """The proxy may be another one by then."""
    streams, heard = listen(
        TimeoutError(), *[page(last="line-6")] * QUESTIONS, message("head", "line-7", HEAD)
    )
    assert len(streams.questions) == QUESTIONS
    assert versions(heard)[-1] == 7


@pytest.mark.parametrize(
    "trouble", [NoStream(503), Response(503, {}, b"{}"), Response(200, {}, b"<html>"), ConnectionResetError()]
)
def test_questions_without_an_answer_are_asked_less_and_less(trouble: Exception | Response) -> None:
    """As a stream is."""
    streams, heard = listen(
        TimeoutError(), trouble, trouble, trouble, page(last="line-6"), page(last="line-6")
    )
    assert streams.pauses == [1, 2, 4, 8, 1, 1]
    assert heard == [Heard(None)] * 2


# Over a real connection


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def over(server: socket.socket, heard: Callable[[Heard], object]) -> Listener:
    """A listener that is started, on a real connection."""
    address = Address(f"http://127.0.0.1:{server.getsockname()[1]}")
    listener = Listener(address, ANA, Connection(address, clocks.monotonic), heard)
    listener.start()
    return listener


def test_a_stop_ends_a_listener_that_hears_nothing(server: socket.socket) -> None:
    """At once: the thread that reads is woken."""
    heard = threading.Event()
    listener = over(server, lambda _: heard.set())
    connection, _ = server.accept()
    with connection:
        assert b"GET /events" in connection.recv(65536)
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
        connection.sendall(answer + b"".join(READY))
        assert heard.wait(10)
        listener.stop()
        assert not listener._thread.is_alive()


def test_a_stop_ends_a_listener_that_waits_for_an_answer(server: socket.socket) -> None:
    """The server has accepted the connection and is silent."""
    listener = over(server, lambda _: None)
    connection, _ = server.accept()
    with connection:
        assert connection.recv(65536)
        listener.stop()
        assert not listener._thread.is_alive()
