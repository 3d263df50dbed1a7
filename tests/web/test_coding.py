"""Content codings: compressed bodies and answers, and the memory that both count for."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, capturedLogs
from twisted.web.test.requesthelper import DummyChannel

from mneme.model import Millis
from mneme.retention import Retention
from mneme.web import connection as connection_module
from mneme.web.answers import Answer
from mneme.web.coding import MIN_CODED, Coding
from mneme.web.request import Request
from tests import plugin_files
from tests.immediate import ImmediateWorker
from tests.kept import MemoryStore
from tests.results import result_of
from tests.stepped import SteppedSteps, SteppedWorker
from tests.web.connections import LIMIT, Connection, Server
from tests.web.stub import FILE, MAX_BODY_BYTES, Reply, Stub, entry, written
from tests.web.writes import WRITES, Write

LOCK = "/projects/demo/lock"
TEXT = {"X-Client-Id": "laptop", "Content-Type": "text/plain"}
GZIP = {"Content-Encoding": "gzip"}
CONTENT = entry("one") * 5
ACCEPTED = "A body comes as it is, or with Content-Encoding: gzip, and in no other coding"
DAMAGED = "The body must be one whole gzip stream with nothing after it: it is damaged, or was cut off"


def gzipped(content: str | bytes, told: int | None = None) -> bytes:
    """A gzip stream, which says at its end that its content has `told` bytes."""
    coded = gzip.compress(content.encode() if isinstance(content, str) else content, mtime=0)
    return coded if told is None else coded[:-4] + told.to_bytes(4, "little")


def held_by_laptop(**options: Any) -> Stub:
    """A server on which the laptop holds the lock."""
    stub = Stub(**options)
    stub.acquire()
    return stub


def put(stub: Stub, body: bytes, headers: Mapping[str, str] = GZIP) -> Reply:
    """Upload a body."""
    return stub.ask("PUT", FILE, TEXT | dict(headers), body)


# Bodies


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZip", " gzip ", "gzip,", ",gzip"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_body_may_come_compressed(write: Write, coding: str) -> None:
    """On each route with a body, in whatever case the coding is named."""
    stub = written()
    assert write.send(stub, body=gzipped(write.body), Content_Encoding=coding).status == 200
    assert stub.download().json["content"] == write.content


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " ", ","])
def test_a_body_in_no_coding_may_say_so(coding: str) -> None:
    """Such a body is taken as it is, though it may look compressed."""
    stub = held_by_laptop()
    assert put(stub, CONTENT.encode(), {"Content-Encoding": coding}).status == 200
    assert stub.download().json["content"] == CONTENT
    assert put(stub, gzipped(CONTENT), {"Content-Encoding": coding}).status == 400


@pytest.mark.parametrize(
    "codings",
    [
        *("br", "deflate", "zstd", "compress", "chunked", "*", "gzip;q=1", "x", "g zip"),
        *("gzip, gzip", "gzip, br", "identity, gzip", "gzip,identity"),
    ],
)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_unknown_coding_or_several_are_an_error_that_says_which_is_known(
    write: Write, codings: str
) -> None:
    """In a sentence for people, in a header for clients."""
    stub = written()
    before = stub.state()
    reply = write.send(stub, body=gzipped(gzipped(write.body)), Content_Encoding=codings)
    assert (reply.status, reply.json) == (415, {"error": ACCEPTED})
    assert reply.header("Accept-Encoding") == "gzip"
    assert stub.state() == before


def test_codings_in_several_headers_are_several_codings() -> None:
    """The last of them is not all there is to know."""
    server = Server()
    server.stub.acquire()
    client = server.connect()
    body = gzipped(CONTENT)
    send(client, body, "Content-Encoding: br", "Content-Encoding: gzip")
    assert (client.statuses, client.error) == ([415], ACCEPTED)


def send(client: Connection, body: bytes, *headers: str) -> None:
    """Upload over a connection, with just these headers beyond those that are needed."""
    lines = ["Host: x", "X-Client-Id: laptop", "Content-Type: text/plain", f"Content-Length: {len(body)}"]
    client.send("\r\n".join([f"PUT {FILE} HTTP/1.1", *lines, *headers, "", ""]).encode() + body)


def send_gzipped(client: Connection, content: str | bytes, told: int | None = None) -> None:
    """Upload a content over a connection, compressed."""
    send(client, gzipped(content, told), "Content-Encoding: gzip")


WHOLE = gzipped(CONTENT)


@pytest.mark.parametrize(
    "body",
    [
        *(WHOLE[:length] for length in range(len(WHOLE))),
        WHOLE + b"x",
        WHOLE + b"\0",
        WHOLE + WHOLE,
        WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:],
        gzipped(CONTENT, len(CONTENT) - 1),
        gzipped(CONTENT, len(CONTENT) + 1),
        gzipped(CONTENT, 0),
        gzipped(CONTENT, MAX_BODY_BYTES),
        gzipped(CONTENT, 2**32 - 1),
        zlib.compress(CONTENT.encode()),
        zlib.compress(CONTENT.encode(), wbits=-15),
        CONTENT.encode(),
        b"\x1f\x8b",
    ],
)
def test_a_body_that_is_not_one_whole_stream_is_an_error(body: bytes) -> None:
    """Cut off, with something after it, of another length, or of another format."""
    stub = held_by_laptop()
    reply = put(stub, body)
    assert (reply.status, reply.json) == (400, {"error": DAMAGED})
    assert stub.versions() == []


@given(st.binary(max_size=200), st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_other_bytes_are_an_error_or_what_they_were(junk: bytes, place: int, change: int) -> None:
    """Never a fault; a changed byte never changes the content."""
    changed = bytearray(WHOLE)
    changed[place] ^= change
    for body in (junk, bytes(changed), WHOLE[:10] + junk):
        stub = held_by_laptop()
        if put(stub, body).status == 200:
            assert stub.download().json["content"] == CONTENT
        else:
            assert stub.versions() == []


@pytest.mark.parametrize("body", [b"", b"\xff"])
def test_a_bad_content_is_as_bad_compressed(body: bytes) -> None:
    """With the same answer."""
    stub = held_by_laptop()
    plain, coded = put(stub, body, {}), put(stub, gzipped(body))
    assert (coded.status, coded.json) == (400, plain.json)


def test_an_inflated_body_may_have_as_many_bytes_as_any_other() -> None:
    """By the limit of now, which may change while the server runs."""
    server = Server()
    server.stub.acquire()
    client = server.connect()
    send_gzipped(client, b"x" * LIMIT)
    for limit in (LIMIT + 1, LIMIT):
        server.site.max_body_bytes = limit
        send_gzipped(client, b"x" * (LIMIT + 1))
    assert client.statuses == [200, 200, 413]
    assert client.error == "A body may have at most 1000 bytes, and this one has more once inflated"


@pytest.mark.parametrize(("told", "status"), [(None, 413), (5, 400), (0, 400), (2**32 - 1, 413)])
def test_a_bomb_takes_no_more_memory_than_the_longest_body(told: int | None, status: int) -> None:
    """Whatever it says of its length."""
    bomb = gzipped(bytes(20 * MAX_BODY_BYTES), told)
    stub = held_by_laptop()
    tracemalloc.start()
    try:
        assert put(stub, bomb).status == status
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "identity"}])
def test_a_body_that_is_not_compressed_takes_one_step_off_the_reactor(headers: dict[str, str]) -> None:
    """The one that stores it; one that is compressed takes another before that."""
    worker, steps = SteppedWorker(), SteppedSteps(MemoryStore(), holding=False)
    stub = Stub(worker=worker, steps=steps)
    steps.holding = True
    for body, coding, jobs in ((CONTENT.encode(), headers, 0), (gzipped(CONTENT), GZIP, 1)):
        with pytest.raises(AssertionError, match="no answer"):
            put(stub, body, coding)
        assert len(worker) == jobs
        worker.finish()
        assert len(steps) == 1
        steps.finish()
        assert len(worker) == 0


# Memory for bodies


def faults(logged: Sequence[LogEvent]) -> list[LogEvent]:
    """The faults in a log."""
    return [event for event in logged if "log_failure" in event]


def test_a_body_counts_inflated_too_until_it_is_answered() -> None:
    """From before it is inflated, by what it says of its length."""
    worker, steps = SteppedWorker(), SteppedSteps(MemoryStore())
    server = Server(worker=worker, steps=steps)
    client = server.connect()
    send_gzipped(client, b"x" * LIMIT)
    held = len(gzipped(b"x" * LIMIT)) + LIMIT
    assert server.site.held == held
    worker.let_go()
    assert (server.site.held, client.statuses) == (held, [])
    steps.finish()
    assert (server.site.held, client.statuses) == (0, [403])


@pytest.mark.parametrize("content", [b"x" * LIMIT, b"x" * (LIMIT + 1)])
@pytest.mark.parametrize("told", [None, 0, 2**32 - 1])
def test_a_body_that_is_an_error_is_let_go(content: bytes, told: int | None) -> None:
    """And so is one that is none."""
    server = Server()
    client = server.connect()
    send_gzipped(client, content, told)
    assert (len(client.statuses), server.site.held) == (1, 0)


def test_a_body_that_would_be_too_much_inflated_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 before anything is inflated, and what is held for others is not harmed."""
    monkeypatch.setattr(connection_module, "MAX_HELD", 1500)
    worker = SteppedWorker()
    server = Server(worker=worker)
    first, second = server.connect(), server.connect()
    send_gzipped(first, b"x" * LIMIT)
    send_gzipped(second, b"x" * LIMIT)
    assert (first.statuses, second.statuses) == ([], [503])
    assert b"retry-after: 5" in second.transport.value().lower()
    worker.let_go()
    assert (first.statuses, server.site.held) == ([403], 0)


@pytest.mark.parametrize("content", [b"x" * LIMIT, b"x" * (LIMIT + 1), b"\xff"])
def test_a_client_that_hangs_up_while_its_body_is_inflated_has_sent_nothing(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes count until they are let go, and nothing is logged as a fault."""
    worker = SteppedWorker()
    server = Server(worker=worker)
    client = server.connect()
    with capturedLogs() as logged:
        send_gzipped(client, content)
        held = server.site.held
        client.hang_up()
        assert (server.site.held, server.stub.site.abandoned()) == (0, held)
        worker.let_go()
    assert server.stub.site.abandoned() == 0
    worker.holding = False
    assert server.stub.versions() == []
    assert faults(logged) == []


# Answers

LONG = plugin_files.log(1, 20_000).decode()
NAMED = ("Host: x", "X-Client-Id: desk")
TAKES_GZIP = "Accept-Encoding: gzip"
NOTHING_BY_AGE = Retention(Millis(0), Millis(0), Millis(0), 0)
LONG_ANSWERS = [FILE, f"{FILE}/versions", f"{FILE}/versions/1", "/projects/demo/prunable", "/projects"]


@frozen
class Sent:
    """An answer as it was sent, but for the time of day."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON of the body, which must be whole."""
        assert self.headers["content-length"] == str(len(self.body))
        assert self.headers["content-type"] == "application/json"
        return json.loads(gzip.decompress(self.body) if self.is_coded else self.body)

    @property
    def is_coded(self) -> bool:
        """Whether it says that it is compressed."""
        return self.headers.get("content-encoding") == "gzip"


def last_on(client: Connection) -> Sent:
    """The last answer on a connection; each of its headers must come once."""
    head, _, body = client.transport.value().rpartition(b"\r\n\r\n")
    lines = head[head.rindex(b"HTTP/1.1 ") :].decode().split("\r\n")[1:]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(headers) == len(lines)
    del headers["date"]
    return Sent(client.statuses[-1], headers, body)


def answer(server: Server, path: str, *headers: str, method: str = "GET") -> Sent:
    """Ask over a connection of its own."""
    client = server.connect()
    client.ask(method, path, "Host: x", *headers)
    return last_on(client)


def with_long_answers(**options: Any) -> Server:
    """A server with a log of 20 kB, versions of it, and other projects."""
    server = Server(**options)
    for number in range(12):
        server.stub.acquire()
        server.stub.upload(content=f"{LONG}{entry(str(number))}")
        server.stub.acquire(project=f"another-{number}")
    server.stub.sync.retention = NOTHING_BY_AGE
    return server


@pytest.fixture(scope="module")
def server() -> Server:
    """Such a server, which tests only read."""
    return with_long_answers()


@pytest.mark.parametrize("path", LONG_ANSWERS)
def test_a_long_answer_goes_compressed_to_whoever_takes_that(server: Server, path: str) -> None:
    """Half as long at most; caches are told that there are two forms of it."""
    plain, coded = answer(server, path), answer(server, path, TAKES_GZIP)
    head = answer(server, path, TAKES_GZIP, method="HEAD")
    assert (coded.status, coded.is_coded, plain.is_coded) == (200, True, False)
    assert (head.headers, head.body) == (coded.headers, b"")
    assert coded.json == plain.json
    assert len(coded.body) < len(plain.body) / 2
    assert plain.headers["vary"] == coded.headers["vary"] == "Accept-Encoding"
    # No time of day is in it.
    assert coded.body[4:8] == bytes(4)


@pytest.mark.parametrize(
    ("values", "is_coded"),
    [
        *(([value], True) for value in ("GZIP", "*", "br, gzip;q=0.001", "identity, gzip;q=0.5")),
        *((["br", "gzip"], True), (["*;q=0, gzip"], True)),
        *(([value], False) for value in ("", "identity", "br", "gzip;q=0", "gzip;q=0.000, *", "*;q=0")),
        *(([value], False) for value in ("gzip;q=x", "gzip;q=2", "gzipped", ",", "é")),
    ],
)
def test_whoever_takes_gzip_at_all_gets_it(server: Server, values: list[str], is_coded: bool) -> None:
    """However that is said; a header that cannot be understood asks for nothing."""
    sent = answer(server, FILE, *(f"Accept-Encoding: {value}" for value in values))
    assert (sent.status, sent.is_coded) == (200, is_coded)
    assert sent.json == answer(server, FILE).json


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")))
def test_no_header_asks_for_an_answer_that_cannot_be_read(server: Server, value: str) -> None:
    """Whatever it says, it is answered, one way or the other."""
    client = server.connect()
    client.send(f"GET {FILE} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {value}\r\n\r\n".encode("latin-1"))
    assert last_on(client).json == answer(server, FILE).json


def test_an_answer_is_compressed_from_the_length_on_from_which_it_pays() -> None:
    """To the byte; caches are told of no other form of a shorter one."""
    server = Server()
    server.stub.acquire()
    server.stub.upload(content="x" * 500)
    missing = MIN_CODED - len(answer(server, FILE).body)
    for length, is_coded in ((500 + missing - 1, False), (500 + missing, True)):
        server.stub.upload(content="x" * length)
        sent = answer(server, FILE, TAKES_GZIP)
        assert (sent.is_coded, "vary" in sent.headers) == (is_coded, is_coded)
        assert sent.json["content"] == "x" * length


def test_caches_are_told_of_origins_and_codings_both() -> None:
    """Where pages of other sites may read answers."""
    stub = held_by_laptop(origins=["https://app.example"])
    stub.upload(content=LONG)
    for coding in ("gzip", "identity"):
        assert stub.ask("GET", FILE, {"Accept-Encoding": coding}).header("Vary") == "Origin, Accept-Encoding"
    assert stub.ask("GET", LOCK).header("Vary") == "Origin"


class Asking(Request):
    """A request that takes gzip, and for which much may be held."""

    max_body_bytes = MAX_BODY_BYTES

    def __init__(self) -> None:
        super().__init__(DummyChannel(), False)
        self.requestHeaders.setRawHeaders(b"Accept-Encoding", [b"gzip"])

    def hold(self, count: int) -> bool:
        """See `Bounded`."""
        return True


def coded(given: Answer) -> Answer:
    """The answer as it is sent."""
    return result_of(Coding(ImmediateWorker()).coded(Asking(), given))


@pytest.mark.parametrize(
    ("tag", "sent"),
    [
        (b'"abc"', b'"abc-gzip"'),
        (b'""', b'"-gzip"'),
        (b'"a-gzip"', b'"a-gzip-gzip"'),
        (b'W/"abc"', b'W/"abc"'),
    ],
)
def test_a_strong_tag_is_another_for_the_compressed_answer(tag: bytes, sent: bytes) -> None:
    """Strong tags stand for bytes, weak ones for their meaning."""
    headers = coded(Answer(200, b"x" * MIN_CODED, {b"ETag": tag, b"X": b"y"})).headers
    assert (headers[b"ETag"], headers[b"X"]) == (sent, b"y")


@pytest.mark.parametrize(
    "given",
    [
        Answer(200, b"x" * (MIN_CODED - 1), {b"ETag": b'"abc"'}),
        Answer(304, b"", {b"ETag": b'"abc"'}),
        *(Answer(status, b"x" * MIN_CODED) for status in (206, 400, 412, 500)),
    ],
)
def test_a_short_answer_and_one_that_is_no_200_are_sent_as_they_are(given: Answer) -> None:
    """Its tag included."""
    assert coded(given) is given


def test_an_answer_that_is_sent_as_it_is_takes_no_step_off_the_reactor_for_that() -> None:
    """Whether its client takes gzip or not."""
    worker = SteppedWorker()
    server = Server(worker=worker)
    for headers in ((TAKES_GZIP,), ()):
        client = server.connect()
        client.get("/projects/demo/files", "Host: x", *headers)
        assert (client.statuses, len(worker)) == ([200], 0)


# Memory for answers


@pytest.fixture
def worker() -> SteppedWorker:
    """A worker that can be held back."""
    return SteppedWorker(holding=False)


def deflating(server: Server, worker: SteppedWorker, *headers: str) -> Connection:
    """A connection whose answer is about to be deflated."""
    client = server.connect()
    worker.holding = True
    client.get(FILE, *headers, TAKES_GZIP)
    assert client.statuses == []
    return client


def test_an_answer_counts_while_it_is_deflated(worker: SteppedWorker) -> None:
    """As long as it is before that."""
    server = with_long_answers(worker=worker)
    length = len(answer(server, FILE, "User-Agent: x").body)
    client = deflating(server, worker, "Host: x")
    assert server.site.held == length
    worker.let_go()
    assert (client.statuses, server.site.held) == ([200], 0)


def test_a_client_that_hangs_up_while_its_answer_is_deflated_leaves_nothing_behind(
    worker: SteppedWorker,
) -> None:
    """The bytes count until they are let go, and nothing is logged as a fault."""
    server = with_long_answers(worker=worker)
    client = deflating(server, worker, *NAMED)
    held = server.site.held
    with capturedLogs() as logged:
        client.hang_up()
        assert (server.site.held, server.stub.site.abandoned()) == (0, held)
        worker.let_go()
    assert (client.statuses, server.stub.site.abandoned()) == ([], 0)
    assert faults(logged) == []


def test_an_answer_that_would_be_too_much_is_not_deflated(
    worker: SteppedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 at once, in no coding, as to whoever asks for it as it is."""
    server = with_long_answers(worker=worker)
    length = len(answer(server, FILE).body)
    monkeypatch.setattr(connection_module, "MAX_HELD", length)
    assert answer(server, FILE, TAKES_GZIP).is_coded
    monkeypatch.setattr(connection_module, "MAX_HELD", length - 1)
    for headers in ((TAKES_GZIP,), ()):
        refused = answer(server, FILE, *headers)
        assert (refused.status, refused.is_coded, server.site.held) == (503, False, 0)
        assert list(refused.json) == ["error"]


def test_a_refusal_in_place_of_a_compressed_answer_is_not_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To a client that has left too much unread, a 503 that it can read."""
    server = with_long_answers()
    client = server.connect()
    client.transport.full = True
    client.get("/health", "Host: x")
    monkeypatch.setattr(connection_module, "MAX_UNREAD", 1000)
    client.get(FILE, "Host: x", TAKES_GZIP)
    refused = last_on(client)
    assert (client.statuses, refused.is_coded, list(refused.json)) == ([200, 503], False, ["error"])
    client.channel.resumeProducing()
    assert server.site.held == 0


# Downloads that a client has taken


@pytest.fixture
def for_the_desk(worker: SteppedWorker) -> Server:
    """A server with a long log of the laptop's, and a lock of the desk's."""
    server = Server(worker=worker)
    server.stub.acquire("laptop")
    server.stub.upload("laptop", LONG)
    server.stub.release("laptop")
    server.stub.acquire("desk")
    return server


def has_taken(server: Server, worker: SteppedWorker) -> bool:
    """Whether the desk is believed to have removed all that an empty upload lacks."""
    worker.holding = False
    worker.let_go()
    return "merged" not in server.stub.upload("desk", "").json


@pytest.mark.parametrize(
    ("go_on", "taken"), [(Connection.go_on, True), (Connection.hang_up, True), (Connection.break_off, False)]
)
def test_a_compressed_answer_is_taken_when_the_client_goes_on(
    for_the_desk: Server, worker: SteppedWorker, go_on: Callable[[Connection], None], taken: bool
) -> None:
    """As any other, and not when the client breaks off."""
    client = deflating(for_the_desk, worker, *NAMED)
    worker.let_go()
    assert last_on(client).json["content"] == LONG
    go_on(client)
    assert has_taken(for_the_desk, worker) == taken


@pytest.mark.parametrize("asks_before", [False, True])
@pytest.mark.parametrize("go_on", [Connection.hang_up, Connection.break_off])
def test_an_answer_that_is_yet_to_be_deflated_is_not_taken(
    for_the_desk: Server, worker: SteppedWorker, asks_before: bool, go_on: Callable[[Connection], None]
) -> None:
    """However its connection ends, whatever was asked before, and whoever asks for the project."""
    client = deflating(for_the_desk, worker, *NAMED)
    if asks_before:
        client.go_on()
    for_the_desk.connect().get(LOCK, "Host: x")
    go_on(client)
    assert not has_taken(for_the_desk, worker)
