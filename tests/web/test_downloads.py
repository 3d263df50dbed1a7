"""Downloads that a client is believed to have taken, judged by its next upload.

An upload that was made from the head becomes the head, byte for byte; any other is merged with it. An upload that shows
a trace of a version that was only perhaps received is believed to be made from that, any other is not. A client has
taken an answer once it asks for something more on its connection, or closes it in order, or once all bytes have arrived
and the project is asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from twisted.internet.defer import Deferred

from mneme.model import Accepted, ClientId, FileName, Millis, ProjectId, Upload
from mneme.web import connection as connection_module
from mneme.web import receipts as receipts_module
from mneme.web.receipts import IDLE_SECONDS, LINGER_SECONDS
from tests.kept import MemoryStore
from tests.stepped import SteppedSteps
from tests.web.connections import Choked, Connection, Server
from tests.web.stub import FILE as LOG
from tests.web.stub import entry

NAME = "remembered.json"
FILE = f"/projects/demo/files/{NAME}"


def facts(letters: str) -> str:
    """A `remembered.json` of a fact for each letter."""
    return json.dumps([{"ts": f"2026-02-04T14:00:00.{ord(one):03}Z", "content": one} for one in letters])


HEAD = facts("ab")
WITH_TRACE, WITHOUT = "bc", "ac"
"""Two uploads that lack a fact of the head; the first has the newest."""

NAMED = ("Host: x", "X-Client-Id: desk")
STOCK = ("Host: x", "Connection: keep-alive")
CURL = ("Host: x", "User-Agent: curl/8.14.1", "Accept: */*")
UPLOADS = pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT])


@pytest.fixture(params=[NAMED, STOCK], ids=["named", "stock"])
def headers(request: pytest.FixtureRequest) -> Sequence[str]:
    """Headers of the desk's downloads, with its name or as the stock client's."""
    return cast(Sequence[str], request.param)


@pytest.fixture
def steps() -> SteppedSteps:
    """Steps that can be held back."""
    return SteppedSteps(MemoryStore(), holding=False)


@pytest.fixture
def server(steps: SteppedSteps) -> Server:
    """A server with a head of the laptop's and a lock of the desk's."""
    server = Server(steps=steps)
    server.stub.acquire("laptop")
    server.stub.upload("laptop", HEAD, NAME)
    server.stub.release("laptop")
    server.stub.acquire("desk")
    return server


def head_after(server: Server, letters: str = WITHOUT) -> str:
    """Facts of the head after an upload; no request settles anything on the way."""
    store, project, file = server.stub.store, ProjectId("demo"), FileName.REMEMBERED
    now = Millis(int(server.clock.seconds() * 1000))
    outcome = store.upload(project, Upload(file, facts(letters).encode(), ClientId("desk")), now)
    document = store.read(project, file, now)
    assert isinstance(outcome, Accepted)
    assert document
    assert outcome.merged == (document.content != facts(letters).encode())
    return "".join(sorted(one["content"] for one in json.loads(document.content)))


def download(
    server: Server, headers: Sequence[str], full: bool = False, version: str = "HTTP/1.1"
) -> Connection:
    """Download over a new connection, on which a `full` client reads nothing."""
    connection = server.connect()
    connection.transport.full = full
    connection.ask("GET", FILE, *headers, version=version)
    return connection


# By a client that says who it is, or that holds the lock and is the stock client


def is_closed_for_saying_nothing(connection: Connection) -> None:
    """Wait until the server has had enough."""
    connection.channel.timeoutConnection()
    connection.hang_up()


@pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT, "a"])
@pytest.mark.parametrize("go_on", [Connection.go_on, Connection.hang_up, is_closed_for_saying_nothing])
def test_a_client_has_an_answer_that_it_has_taken(
    server: Server, headers: Sequence[str], go_on: Callable[[Connection], None], letters: str
) -> None:
    """Facts that its next upload lacks were removed, even all new ones."""
    connection = download(server, headers)
    assert connection.json["content"] == HEAD
    go_on(connection)
    assert head_after(server, letters) == letters
    assert server.stub.versions(NAME)[0]["base"] == 1


@pytest.mark.parametrize(
    ("full", "end"),
    [
        (False, Connection.break_off),
        (True, Connection.break_off),
        (True, Connection.hang_up),
        (True, is_closed_for_saying_nothing),
    ],
)
def test_a_client_that_has_perhaps_not_read_the_answer_removes_nothing_without_a_trace(
    server: Server, headers: Sequence[str], full: bool, end: Callable[[Connection], None]
) -> None:
    """Its connection was reset, or ended with most of the answer unsent."""
    end(download(server, headers, full=full))
    assert head_after(server) == "abc"


def test_a_client_that_is_silent_with_bytes_under_way_removes_nothing_without_a_trace(
    server: Server, headers: Sequence[str]
) -> None:
    """The system still sends bytes that a machine which is gone never acknowledged."""
    with Choked() as choked:
        connection = server.connect(choked)
        connection.get(FILE, *headers)
        server.clock.advance(IDLE_SECONDS)
        assert connection.transport.disconnecting
        connection.hang_up()
    assert head_after(server) == "abc"


@UPLOADS
def test_a_client_that_hangs_up_before_its_turn_has_nothing(
    server: Server, steps: SteppedSteps, headers: Sequence[str], letters: str
) -> None:
    """Nothing was read for it."""
    steps.holding = True
    download(server, headers).hang_up()
    steps.let_go()
    assert head_after(server, letters) == "abc"


@pytest.mark.parametrize(("letters", "head"), [(WITH_TRACE, "bc"), (WITHOUT, "abc")])
def test_a_client_that_hangs_up_before_the_answer_has_it_if_its_upload_shows_so(
    server: Server, steps: SteppedSteps, headers: Sequence[str], letters: str, head: str
) -> None:
    """Where its upload shows no trace, nothing is taken for removed."""
    steps.holding = True
    connection = download(server, headers)
    deliver = steps.commit()
    connection.hang_up()
    deliver()
    assert head_after(server, letters) == head


def test_a_client_that_was_told_to_come_back_removes_nothing_without_a_trace(
    server: Server, headers: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 was sent in place of the file, for want of memory."""
    with monkeypatch.context() as little_memory:
        little_memory.setattr(connection_module, "MAX_HELD", 100)
        connection = download(server, headers)
        assert connection.statuses == [503]
    connection.go_on()
    assert head_after(server) == "abc"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        *(("HEAD", FILE, headers) for headers in (NAMED, STOCK)),
        *(("GET", f"{FILE}/versions", headers) for headers in (NAMED, STOCK)),
        *(("GET", f"{FILE}/versions/1", headers) for headers in (NAMED, STOCK)),
        ("GET", FILE, ("Host: x", "X-Client-Id: phone")),
        ("GET", FILE, (*STOCK, "User-Agent: x")),
        ("GET", FILE, (*STOCK, "Accept: */*")),
        ("GET", FILE, (*STOCK, "Accept-Encoding: gzip")),
        ("GET", FILE, (*STOCK, "X-Client-Id:")),
        ("GET", FILE, (*STOCK, "X-Client-Id:  ")),
    ],
)
@UPLOADS
def test_nothing_but_its_own_download_makes_a_client_remove_anything(
    server: Server, method: str, path: str, headers: Sequence[str], letters: str
) -> None:
    """No look at history, no HEAD, and no download of another client."""
    connection = server.connect()
    connection.ask(method, path, *headers)
    assert connection.statuses == [200]
    connection.go_on()
    assert head_after(server, letters) == "abc"


# Over a connection that the server has to close

CLOSING = pytest.mark.parametrize(
    ("headers", "version"),
    [
        (("Host: x", "Connection: close"), "HTTP/1.1"),
        (("Host: x", "Connection: close"), "HTTP/1.0"),
        (("Host: x",), "HTTP/1.0"),
        ((*NAMED, "Connection: close"), "HTTP/1.1"),
    ],
)


@CLOSING
@pytest.mark.parametrize(
    ("end", "head"), [(Connection.hang_up, "ac"), (Connection.break_off, "abc")], ids=["in order", "reset"]
)
def test_a_connection_that_must_close_waits_for_how_the_client_ends_it(
    server: Server, headers: Sequence[str], version: str, end: Callable[[Connection], None], head: str
) -> None:
    """The server closes its own end first, and a living client the other."""
    connection = download(server, headers, version=version)
    assert (connection.transport.half_closed, connection.transport.disconnecting) == (True, False)
    connection.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.transport.value().count(b"HTTP/1.") == 1
    end(connection)
    assert head_after(server) == head
    server.clock.advance(LINGER_SECONDS)
    assert not connection.transport.aborted


@CLOSING
@pytest.mark.parametrize(("arrived", "head"), [(True, "ac"), (False, "abc")])
def test_a_client_that_does_not_end_its_connection_is_cut_off(
    server: Server, headers: Sequence[str], version: str, arrived: bool, head: str
) -> None:
    """A client that has all bytes by then has taken the answer."""
    with Choked() as choked:
        connection = server.connect(None if arrived else choked)
        connection.ask("GET", FILE, *headers, version=version)
        seconds = LINGER_SECONDS if arrived else LINGER_SECONDS + IDLE_SECONDS
        server.clock.pump([1.0] * int(seconds - 1) + [0.9])
        before = connection.transport.aborted
        server.clock.advance(0.1)
        assert (before, connection.transport.aborted) == (False, True)
        connection.break_off()
    assert head_after(server) == head


def test_a_client_that_reads_slowly_sees_the_end_of_the_answer_that_closes_its_connection(
    server: Server,
) -> None:
    """The server closes its end as soon as all was handed over, and no sooner."""
    connection = download(server, ("Host: x", "Connection: close"), full=True)
    assert not connection.transport.disconnecting
    connection.transport.half_closed = False
    connection.channel.resumeProducing()
    assert server.site.held == 0
    assert connection.transport.half_closed
    connection.hang_up()
    assert head_after(server) == "ac"


@pytest.mark.parametrize(("end", "head"), [(Connection.hang_up, "ac"), (Connection.break_off, "abc")])
def test_a_client_that_has_just_read_the_last_bytes_may_still_end_its_connection(
    server: Server, end: Callable[[Connection], None], head: str
) -> None:
    """After a minute in which it seemed to read nothing, too: how it ends tells."""
    with Choked() as choked:
        connection = server.connect(choked)
        connection.ask("GET", FILE, "Host: x", "Connection: close")
        server.clock.pump([LINGER_SECONDS] * int(IDLE_SECONDS / LINGER_SECONDS))
        choked.read_all()
        server.clock.advance(LINGER_SECONDS)
        assert (choked.aborted, choked.disconnecting) == (False, False)
        end(connection)
    assert head_after(server) == head


@pytest.mark.parametrize("headers", [(*CURL, "Connection: close"), ("Host: x", "Connection: close")])
def test_a_connection_on_which_nothing_is_awaited_closes_at_once(
    server: Server, headers: Sequence[str]
) -> None:
    """By somebody whose base it is not, or who has it already for sure."""
    if headers[1].startswith("Connection"):
        download(server, STOCK).hang_up()
    connection = download(server, headers)
    assert (connection.transport.half_closed, connection.transport.disconnecting) == (False, True)


def test_a_server_that_ends_does_not_wait_for_receipts(server: Server) -> None:
    """All that has arrived counts as taken."""
    closing, kept = download(server, ("Host: x", "Connection: close")), download(server, NAMED)
    Deferred.fromCoroutine(server.site.close(8.0))
    assert (closing.transport.aborted, kept.transport.disconnecting) == (True, True)
    closing.break_off()
    kept.break_off()
    assert head_after(server) == "ac"


def test_a_server_that_ends_lets_a_client_read_an_answer_that_closes_its_connection(server: Server) -> None:
    """Within its time to end; a kept connection is closed, with bytes under way."""
    with Choked() as closing, Choked() as kept:
        for transport, headers in ((closing, ("Host: x", "Connection: close")), (kept, NAMED)):
            server.connect(transport).get(FILE, *headers)
        Deferred.fromCoroutine(server.site.close(8.0))
        assert (closing.aborted, closing.disconnecting, kept.disconnecting) == (False, False, True)
        server.clock.advance(8.0)
        assert closing.aborted


# Over the kept connections of a proxy


def the_project_is_asked_for(server: Server, target: str = "/projects/demo/lock") -> None:
    """Let somebody ask for something of the project, over another connection."""
    server.connect().get(target, *CURL)


@pytest.mark.parametrize("target", ["/projects/demo/lock", "/projects/demo/files", f"{LOG}/versions"])
@pytest.mark.parametrize("headers", [*(NAMED, STOCK), (*STOCK, "Via: 1.1 proxy")])
def test_an_answer_that_has_arrived_is_taken_once_the_project_is_asked_for_again(
    server: Server, headers: Sequence[str], target: str
) -> None:
    """Anybody may ask, over any connection: a proxy keeps its own for long."""
    connection = download(server, headers)
    the_project_is_asked_for(server, target)
    assert head_after(server) == "ac"
    connection.hang_up()


def test_an_answer_is_not_taken_for_being_old(server: Server, headers: Sequence[str]) -> None:
    """Nor when another project is asked for, or none, or when nobody may ask."""
    download(server, headers)
    for target in ("/projects/other/files", "/projects", "/health", "/projects/demo/nothing"):
        the_project_is_asked_for(server, target)
    server.clock.advance(IDLE_SECONDS - 0.1)
    assert head_after(server) == "abc"


def test_an_answer_that_has_not_arrived_is_not_taken_whoever_asks_for_the_project(
    server: Server, headers: Sequence[str]
) -> None:
    """Bytes of it wait in the server, or under way."""
    download(server, headers, full=True)
    with Choked() as choked:
        server.connect(choked).get(FILE, *headers)
        the_project_is_asked_for(server)
    assert head_after(server) == "abc"


def test_an_answer_that_is_yet_to_be_sent_is_not_taken_whoever_asks_for_the_project(
    server: Server, steps: SteppedSteps, headers: Sequence[str]
) -> None:
    """Nothing of the answer could have arrived, though its version is noted as sent."""
    steps.holding = True
    waits = server.connect()
    waits.get(FILE, *headers)
    the_project_is_asked_for(server)
    waits.hang_up()
    steps.holding = False
    steps.let_go()
    assert head_after(server) == "abc"


def test_an_answer_that_was_believed_to_be_taken_is_in_doubt_once_its_connection_is_reset(
    server: Server, headers: Sequence[str]
) -> None:
    """A reset outweighs that all bytes had arrived."""
    connection = download(server, headers)
    the_project_is_asked_for(server)
    connection.break_off()
    assert head_after(server) == "abc"


# Twice in one pull

Deed = Callable[[Server], object]


def pull(server: Server) -> None:
    """A stock client downloads the file, and closes its connection in order."""
    download(server, STOCK).hang_up()


def kept_pull(server: Server) -> None:
    """A stock client downloads the file, and goes on over the same connection."""
    download(server, STOCK).go_on()


def silent_pull(server: Server) -> None:
    """A stock client downloads the file, and somebody else asks for the project."""
    download(server, STOCK)
    the_project_is_asked_for(server)


def lost_pull(server: Server) -> None:
    """A stock client downloads the file, and its connection breaks."""
    download(server, STOCK).break_off()


def acquire(server: Server) -> None:
    """A session of the desk begins."""
    assert server.stub.acquire("desk").status == 200


def refused_acquire(server: Server) -> None:
    """A session of the laptop is locked out."""
    assert server.stub.acquire("laptop").status == 409


def release(server: Server) -> None:
    """A session of the desk ends."""
    server.stub.release("desk")


def wait(seconds: float) -> Deed:
    """Some seconds pass."""
    return lambda server: server.clock.advance(seconds)


def other_readers(server: Server) -> None:
    """Others ask for the file, and the stock client for another."""
    server.stub.upload("desk", entry("one"))
    server.connect().get(LOG, *STOCK)
    for headers in (NAMED, CURL, (*NAMED, "X-Forwarded-For: 192.0.2.1")):
        download(server, headers).go_on()
    server.connect().ask("HEAD", FILE, *STOCK)


@pytest.mark.parametrize(
    "deeds",
    [
        (pull, pull),
        (pull, pull, pull),
        (kept_pull, kept_pull),
        (silent_pull, silent_pull),
        (pull, refused_acquire, pull),
        (acquire, pull, pull, pull),
        (wait(60.1), acquire, pull, pull),
    ],
)
@pytest.mark.parametrize(("letters", "head"), [(WITHOUT, "abc"), (WITH_TRACE, WITH_TRACE)])
def test_a_file_that_one_pull_asks_for_twice_was_perhaps_not_taken(
    server: Server, deeds: Sequence[Deed], letters: str, head: str
) -> None:
    """A proxy has taken the answer and lost it: its word counts no more."""
    for deed in deeds:
        deed(server)
    the_project_is_asked_for(server)
    assert head_after(server, letters) == head


@pytest.mark.parametrize(
    "deeds",
    [
        (lost_pull, pull),
        (acquire, pull, pull),
        (wait(60), acquire, pull, pull),
        (pull, acquire, pull),
        (pull, wait(60), acquire, pull),
        (pull, wait(61), acquire, pull),
        (pull, acquire, pull, acquire, pull),
        (pull, wait(61), acquire, pull, wait(61), acquire, pull),
        (kept_pull, release, kept_pull, acquire),
        (kept_pull, other_readers),
    ],
)
def test_a_file_that_each_pull_asks_for_once_was_taken(server: Server, deeds: Sequence[Deed]) -> None:
    """Neither pulls of several sessions nor other downloads leave any doubt."""
    for deed in deeds:
        deed(server)
    assert head_after(server) == "ac"


def test_of_too_many_pulls_those_that_began_first_are_judged_anew(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many pulls are remembered."""
    monkeypatch.setattr(receipts_module, "_MAX_PULLS", 2)
    kept_pull(server)
    server.stub.acquire("phone", "other")
    kept_pull(server)
    assert head_after(server) == "abc"
    server.stub.acquire("phone", "third")
    kept_pull(server)
    assert head_after(server, "a") == "a"
