"""`GET /events`, as a stream or once after a wait."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from mneme.feed import MAX_LISTENERS
from mneme.web.events import STILL_HERE_SECONDS
from tests.web.connections import Connection, Server, Transport
from tests.web.stub import Stub, entry


def messages(connection: Connection) -> list[tuple[str, Any]]:
    """The name and the data of each event that a stream has sent."""
    found = []
    for block in _text(connection).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def _text(connection: Connection) -> str:
    """The body of a chunked answer so far."""
    _, _, rest = connection.transport.value().partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body.decode()


def listening(server: Server, *headers: str, transport: Transport | None = None) -> Connection:
    """A connection over which events are sent."""
    connection = server.connect(transport)
    connection.get("/events", "Host: localhost", *headers)
    return connection


def last_id(connection: Connection) -> str:
    """The id of the last event of a stream."""
    return [line[4:] for line in _text(connection).split("\n") if line.startswith("id: ")][-1]


class TestStream:
    """Server-Sent Events."""

    @pytest.mark.parametrize("keys", [(), ("the key",)])
    def test_a_listener_that_hangs_up_is_gone(self, keys: tuple[str, ...]) -> None:
        """Its connection takes no place, and the log names it."""
        server = Server(keys=keys)
        listener = listening(server, "Authorization: Bearer the key")
        with capturedLogs() as logs:
            listener.hang_up()
        assert [formatEvent(event) for event in logs if "status" in event] == [
            "192.0.2.7 - GET - /events 200 64 bytes 0.0 ms (the client hung up)"
        ]
        closing = Deferred.fromCoroutine(server.site.close(10))
        assert closing.called

    def test_a_listener_is_told_of_each_change(self) -> None:
        """In the order in which they happen, each as soon as it is committed."""
        server = Server()
        listener = listening(server)
        assert [name for name, _ in messages(listener)] == ["ready"]
        server.stub.acquire("laptop")
        server.stub.upload("laptop", entry("one"))
        server.stub.upload("desk", entry("two"))
        server.stub.release("laptop")
        told = messages(listener)[1:]
        assert [(name, data["file"], data["version"], data["clientId"]) for name, data in told] == [
            ("lock", None, None, None),
            ("head", "log.jsonl", 1, "laptop"),
            ("waiting", "log.jsonl", 2, "desk"),
            ("lock", None, None, None),
            ("head", "log.jsonl", 3, "desk"),
        ]
        assert {data["project"] for _, data in told} == {"demo"}
        assert told[0][1]["lock"]["clientId"] == "laptop"

    def test_proxies_pass_the_stream_on_at_once(self) -> None:
        """By the header that nginx knows; nobody keeps it."""
        head = listening(Server()).transport.value().partition(b"\r\n\r\n")[0].decode()
        for line in (
            "Content-Type: text/event-stream; charset=utf-8",
            "Cache-Control: no-store",
            "X-Accel-Buffering: no",
        ):
            assert line in head

    def test_a_listener_reads_on_from_its_last_event(self) -> None:
        """Also what happened while it was away."""
        server = Server()
        first = listening(server)
        server.stub.acquire("laptop")
        last = last_id(first)
        first.hang_up()
        server.stub.release("laptop")
        again = listening(server, f"Last-Event-ID: {last}")
        assert [name for name, _ in messages(again)] == ["lock"]
        assert messages(again)[0][1]["lock"] is None

    def test_a_listener_from_another_database_is_told_to_look_again(self) -> None:
        """Then it goes on from there."""
        server = Server()
        listener = listening(server, "Last-Event-ID: other-12")
        server.stub.acquire("laptop")
        assert [name for name, _ in messages(listener)] == ["reset", "lock"]

    def test_a_silent_stream_says_that_it_is_still_there(self) -> None:
        """So no proxy takes it for dead."""
        server = Server()
        listener = listening(server)
        before = _text(listener)
        server.clock.advance(STILL_HERE_SECONDS)
        assert _text(listener) == before + ": still here\n\n"

    def test_nothing_is_sent_to_a_listener_that_does_not_read(self) -> None:
        """All of them come once it reads on."""
        server, transport = Server(), Transport()
        listener = listening(server, transport=transport)
        transport.full = True
        for _ in range(3):
            server.stub.acquire("laptop")
            server.stub.release("laptop")
        held = len(messages(listener))
        assert held <= 2
        transport.full = False
        assert transport.producer is not None
        transport.producer.resumeProducing()
        assert len(messages(listener)) == 7

    def test_the_stream_ends_when_the_server_stops(self) -> None:
        """In order, so that the client comes back."""
        server = Server()
        listener = listening(server)
        Deferred.fromCoroutine(server.site.close(8.0))
        assert listener.transport.value().endswith(b"0\r\n\r\n")

    def test_a_listener_that_hangs_up_leaves_its_room(self) -> None:
        """There is room for some, and a sentence for whoever comes then."""
        server = Server()
        listeners = [listening(server) for _ in range(MAX_LISTENERS)]
        refused = listening(server)
        assert (refused.statuses, refused.error) == (
            [503],
            "Too many clients listen for events already: try again in a minute",
        )
        listeners[0].hang_up()
        assert listening(server).statuses == [200]

    def test_head_has_no_stream(self) -> None:
        """The answer ends at once."""
        reply = Stub().ask("HEAD", "/events")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.header("Content-Type") == "text/event-stream; charset=utf-8"

    def test_events_need_the_key(self) -> None:
        """They tell of all projects."""
        assert listening(Server(keys=("alpha-key-0123456789",))).statuses == [401]


class TestWait:
    """An answer after a wait, where a stream cannot pass."""

    def test_an_event_ends_the_wait(self) -> None:
        """The answer has the id to go on from."""
        server = Server()
        waiting = server.connect()
        waiting.get("/events?wait=30", "Host: localhost")
        assert waiting.statuses == []
        server.stub.acquire("laptop")
        body = waiting.json
        assert ([event["kind"] for event in body["events"]], body["reset"]) == (["lock"], False)
        assert body["last"] == body["events"][-1]["id"]

    def test_events_since_an_id_come_at_once(self) -> None:
        """In the query or in the header."""
        stub = Stub()
        stub.acquire("laptop")
        last = stub.ask("GET", "/events?wait=1&after=x-1").json["last"]
        stub.release("laptop")
        for path, headers in (
            (f"/events?wait=5&after={last}", {}),
            ("/events?wait=5", {"Last-Event-ID": last}),
        ):
            assert [event["kind"] for event in stub.ask("GET", path, headers).json["events"]] == ["lock"]

    def test_a_wait_without_an_event_ends_empty(self) -> None:
        """After the time that was asked for."""
        server = Server()
        waiting = server.connect()
        waiting.get("/events?wait=30", "Host: localhost")
        server.clock.advance(29.9)
        assert waiting.statuses == []
        server.clock.advance(0.2)
        assert waiting.json["events"] == []

    @pytest.mark.parametrize("wait", ["0", "61", "-1", "x", ""])
    def test_a_wait_is_a_number_of_seconds(self, wait: str) -> None:
        """From 1 to 60."""
        reply = Stub().ask("GET", f"/events?wait={wait}")
        assert (reply.status, reply.json["error"]) == (
            400,
            "wait must be a whole number of seconds from 1 to 60",
        )

    @pytest.mark.parametrize("after", ["x", "12", "-", "a-b", "a-%C2%B2"])
    def test_an_id_is_one_that_was_given(self, after: str) -> None:
        """The sentence says so."""
        reply = Stub().ask("GET", f"/events?wait=1&after={after}")
        assert (reply.status, reply.json["error"]) == (
            400,
            "Last-Event-ID must be the id of an event, as it came with the last one",
        )
