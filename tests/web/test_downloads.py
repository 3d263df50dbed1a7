"""What a download makes the server believe its client to have: told by what becomes of the next upload.

An upload that was made from the head becomes the head, byte for byte; any other is merged with it. One that shows a
trace of a version that was only perhaps received is believed to be made from that, one that shows none is not. A client
has taken an answer once it asks for something more on its connection, or closes it in order, or once all bytes have
arrived and the project is asked for again: the client that says who it is, or, if that looks like the stock client, the
holder of the lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from mneme.model import Accepted, ClientId, FileName, Merging, Millis, ProjectId, Receipt, Upload
from mneme.web import connection as connection_module
from mneme.web import receipts as receipts_module
from mneme.web.connection import IDLE_SECONDS, LINGER_SECONDS
from mneme.web.site import Site
from tests.kept import DiskStore, MemoryStore
from tests.results import result_of
from tests.stepped import SteppedSteps
from tests.web.connections import LIMIT, Choked, Connection, Server
from tests.web.stub import Stub, entry

NAME = "remembered.json"
FILE = f"/projects/demo/files/{NAME}"
LOG = "/projects/demo/files/log.jsonl"


def facts(letters: str) -> str:
    """A `remembered.json` of a fact for each letter."""
    return json.dumps([{"ts": f"2026-02-04T14:00:00.{ord(one):03}Z", "content": one} for one in letters])


HEAD = facts("ab")
WITH_TRACE, WITHOUT = "bc", "ac"
"""Two uploads that lack a fact of the head; one has the newest."""

NAMED = ("Host: x", "X-Client-Id: desk")
STOCK = ("Host: x", "Connection: keep-alive")
CURL = ("Host: x", "User-Agent: curl/8.14.1", "Accept: */*")
READERS = pytest.mark.parametrize("headers", [NAMED, STOCK], ids=["named", "stock"])


def prepared(stub: Stub) -> Stub:
    """The server, once the laptop has uploaded the head and the desk has acquired the lock."""
    stub.acquire("laptop")
    stub.upload("laptop", HEAD, NAME)
    stub.release("laptop")
    stub.acquire("desk")
    return stub


@pytest.fixture
def stub() -> Stub:
    """A server on which the desk holds the lock and has had nothing yet."""
    return prepared(Stub())


@pytest.fixture
def steps() -> SteppedSteps:
    """Steps that can be held back."""
    return SteppedSteps(MemoryStore(), holding=False)


@pytest.fixture
def server(steps: SteppedSteps) -> Server:
    """The same server at the level of bytes."""
    server = Server(steps=steps)
    prepared(server.stub)
    return server


def head_after(stub: Stub, letters: str, client: str = "desk") -> str:
    """The facts of the head after an upload, whose answer must tell of a merge."""
    content = facts(letters)
    reply = stub.upload(client, content, NAME)
    head = str(stub.download(NAME).json["content"])
    assert (reply.status, reply.json.get("merged", False)) == (200, head != content)
    return "".join(sorted(one["content"] for one in json.loads(head)))


def head_in_store(server: Server, letters: str = WITHOUT) -> str:
    """The head after an upload without HTTP, so that no request settles anything."""
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
    """Download over a connection of its own, on which the client reads nothing if it is `full`."""
    connection = server.connect()
    connection.transport.full = full
    connection.send("\r\n".join([f"GET {FILE} {version}", *headers, "", ""]).encode())
    return connection


# By a client that says who it is, or that holds the lock and is the stock client


def asks_for_more(connection: Connection) -> None:
    """Send the next request."""
    connection.get("/health", "Host: x")


def is_closed_for_saying_nothing(connection: Connection) -> None:
    """Wait until the server has had enough."""
    connection.channel.timeoutConnection()
    connection.hang_up()


@pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT, "a"])
@pytest.mark.parametrize(
    "go_on",
    [asks_for_more, Connection.hang_up, is_closed_for_saying_nothing],
    ids=["asks for more", "closes in order", "says nothing for long"],
)
@READERS
def test_an_answer_that_a_client_has_taken_is_what_it_has(
    server: Server, headers: Sequence[str], go_on: Callable[[Connection], None], letters: str
) -> None:
    """Facts that its next upload lacks were removed, even all new ones."""
    connection = download(server, headers)
    assert connection.json["content"] == HEAD
    go_on(connection)
    assert head_after(server.stub, letters) == letters
    assert server.stub.versions(NAME)[0]["base"] == 1


def is_reset(connection: Connection) -> None:
    """Break off, as the system does for a process that was killed with something unread."""
    connection.channel.connectionLost(Failure(ConnectionLost()))


@READERS
def test_a_client_whose_connection_was_reset_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str]
) -> None:
    """All bytes were handed to the operating system, which says nothing."""
    is_reset(download(server, headers))
    assert head_in_store(server) == "abc"


@READERS
@pytest.mark.parametrize("end", [Connection.hang_up, is_reset, is_closed_for_saying_nothing])
def test_a_client_that_goes_with_the_answer_unread_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str], end: Callable[[Connection], None]
) -> None:
    """Most of the answer still lay in the server when the connection ended."""
    end(download(server, headers, full=True))
    assert head_in_store(server) == "abc"


@READERS
def test_a_client_that_is_silent_with_bytes_under_way_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str]
) -> None:
    """The system still sends bytes that a machine which is gone never acknowledged."""
    with Choked() as choked:
        connection = server.connect(choked)
        connection.get(FILE, *headers)
        server.clock.advance(IDLE_SECONDS)
        assert connection.transport.disconnecting
        connection.hang_up()
    assert head_in_store(server) == "abc"


@pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT])
def test_without_a_download_nothing_was_removed(stub: Stub, letters: str) -> None:
    """What the client never had it cannot have removed."""
    assert head_after(stub, letters) == "abc"


@READERS
@pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT])
def test_a_client_that_hangs_up_before_its_turn_has_nothing(
    server: Server, steps: SteppedSteps, headers: Sequence[str], letters: str
) -> None:
    """Nothing was read for it."""
    steps.holding = True
    download(server, headers).hang_up()
    steps.holding = False
    steps.let_go()
    assert head_after(server.stub, letters) == "abc"


@READERS
@pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT])
def test_a_client_that_hangs_up_before_the_answer_is_believed_to_have_it_if_its_upload_shows_so(
    server: Server, steps: SteppedSteps, headers: Sequence[str], letters: str
) -> None:
    """Where it shows no trace of what was never sent, nothing is taken for removed."""
    steps.holding = True
    connection = download(server, headers)
    deliver = steps.commit()
    connection.hang_up()
    deliver()
    steps.holding = False
    assert head_after(server.stub, letters) == ("bc" if letters == WITH_TRACE else "abc")


@READERS
def test_a_client_that_was_told_to_come_back_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent a 503 in place of the file, for want of memory."""
    with monkeypatch.context() as little_memory:
        little_memory.setattr(connection_module, "MAX_HELD", 100)
        connection = download(server, headers)
        assert connection.statuses == [503]
    asks_for_more(connection)
    assert head_in_store(server) == "abc"


def test_what_another_has_is_not_what_the_client_has(stub: Stub) -> None:
    """Each goes by its own id, also while the desk holds the lock."""
    stub.download(NAME, client="phone")
    assert head_after(stub, WITH_TRACE) == "abc"


@pytest.mark.parametrize("client", ["desk", None])
def test_head_is_no_download(stub: Stub, client: str | None) -> None:
    """The content was not sent, whoever asked."""
    assert stub.ask("HEAD", FILE, {"X-Client-Id": client} if client else {}).status == 200
    assert head_after(stub, WITH_TRACE) == "abc"


@pytest.mark.parametrize("client", ["desk", None])
@pytest.mark.parametrize("place", ["/versions", "/versions/1"])
def test_a_look_at_history_is_no_download(stub: Stub, client: str | None, place: str) -> None:
    """People look there, and agents do not work on it."""
    assert stub.ask("GET", FILE + place, {"X-Client-Id": client} if client else {}).status == 200
    assert head_after(stub, WITH_TRACE) == "abc"


@pytest.mark.parametrize("client", ["x" * 201, "a\x1b[31m", "a\x7f", "desk\t1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_download_by_an_id_that_is_none_is_an_error(stub: Stub, client: str, method: str) -> None:
    """It is nobody's download then."""
    reply = stub.ask(method, FILE, {"X-Client-Id": client})
    assert (reply.status, b"X-Client-Id" in reply.body) == (400, method == "GET")
    assert head_after(stub, WITH_TRACE) == "abc"


@pytest.mark.parametrize("client", ["desk", None])
def test_a_download_of_what_is_not_there_is_an_error_and_makes_nothing(
    client: str | None, tmp_path: Path
) -> None:
    """Neither a project nor a base."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    assert stub.download(client=client).json == {"error": "File not found"}
    assert stub.download("secrets.txt", client=client).json == {"error": "File not allowed for sync"}
    assert list(tmp_path.rglob("*")) == before


class ForgetfulStore(MemoryStore):
    """A store that cannot take note of what a client has received."""

    def confirm(self, project: ProjectId, receipt: Receipt, now: Millis, /) -> None:
        """Fail."""
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(("letters", "head"), [(WITH_TRACE, "bc"), (WITHOUT, "abc")])
def test_a_download_succeeds_though_nobody_can_take_note_of_its_receipt(letters: str, head: str) -> None:
    """The log says so, and the answer counts as one that was cut off."""
    server = Server(store=ForgetfulStore())
    prepared(server.stub)
    with capturedLogs() as logged:
        connection = download(server, NAMED)
        assert connection.json["content"] == HEAD
        asks_for_more(connection)
    [told] = [event for event in logged if event["log_level"] is LogLevel.critical]
    assert formatEvent(told) == "Could not note what a client of demo has"
    assert connection.statuses == [200, 200]
    assert head_after(server.stub, letters) == head


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
    ("end", "head"), [(Connection.hang_up, "ac"), (is_reset, "abc")], ids=["in order", "reset"]
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
    assert head_in_store(server) == head
    server.clock.advance(LINGER_SECONDS)
    assert not connection.transport.aborted


@CLOSING
@pytest.mark.parametrize(("arrived", "head"), [(True, "ac"), (False, "abc")])
def test_a_client_that_does_not_end_its_connection_is_cut_off(
    server: Server, headers: Sequence[str], version: str, arrived: bool, head: str
) -> None:
    """After a while, or once no byte has arrived for long; it has taken the answer if it has all bytes."""
    with Choked() as choked:
        connection = server.connect(None if arrived else choked)
        connection.send("\r\n".join([f"GET {FILE} {version}", *headers, "", ""]).encode())
        seconds = LINGER_SECONDS if arrived else LINGER_SECONDS + IDLE_SECONDS
        server.clock.pump([1.0] * int(seconds - 1) + [0.9])
        before = connection.transport.aborted
        server.clock.advance(0.1)
        assert (before, connection.transport.aborted) == (False, True)
        is_reset(connection)
    assert head_in_store(server) == head


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
    assert head_in_store(server) == "ac"


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
    is_reset(closing)
    is_reset(kept)
    assert head_in_store(server) == "ac"


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
    assert head_in_store(server) == "ac"
    connection.hang_up()


@READERS
def test_an_answer_is_not_taken_for_being_old(server: Server, headers: Sequence[str]) -> None:
    """Nor when another project is asked for, or none, or when nobody may ask."""
    download(server, headers)
    for target in ("/projects/other/files", "/projects", "/health", "/projects/demo/nothing"):
        the_project_is_asked_for(server, target)
    server.clock.advance(IDLE_SECONDS - 0.1)
    assert head_in_store(server) == "abc"


@READERS
def test_an_answer_that_has_not_arrived_is_not_taken_whoever_asks_for_the_project(
    server: Server, headers: Sequence[str]
) -> None:
    """Bytes of it wait in the server, or under way."""
    download(server, headers, full=True)
    with Choked() as choked:
        server.connect(choked).get(FILE, *headers)
        the_project_is_asked_for(server)
    assert head_in_store(server) == "abc"


@READERS
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
    assert head_in_store(server) == "abc"


@READERS
def test_an_answer_that_was_believed_to_be_taken_is_in_doubt_once_its_connection_is_reset(
    server: Server, headers: Sequence[str]
) -> None:
    """A reset outweighs that all bytes had arrived."""
    connection = download(server, headers)
    the_project_is_asked_for(server)
    is_reset(connection)
    assert head_in_store(server) == "abc"


# Twice in one pull


def settles(connection: Connection) -> None:
    """Say nothing, while the project is asked for over another connection."""
    Connection(cast(Site, connection.channel.site)).get("/projects/demo/lock", *CURL)


def is_pulled(server: Server, go_on: Callable[[Connection], None] = asks_for_more) -> Connection:
    """A stock client downloads the file, and takes it."""
    connection = download(server, STOCK)
    go_on(connection)
    return connection


@pytest.mark.parametrize("go_on", [asks_for_more, Connection.hang_up, settles])
@pytest.mark.parametrize("times", [2, 3])
def test_a_file_that_one_pull_asks_for_twice_was_not_taken(
    server: Server, go_on: Callable[[Connection], None], times: int
) -> None:
    """A proxy has taken the answer and lost it: its word counts no more."""
    for _ in range(times):
        is_pulled(server, go_on)
    the_project_is_asked_for(server)
    assert head_in_store(server) == "abc"


def test_a_file_that_one_pull_asks_for_twice_is_its_base_if_its_upload_shows_so(server: Server) -> None:
    """As any answer that is in doubt."""
    for _ in range(2):
        is_pulled(server)
    assert head_in_store(server, WITH_TRACE) == WITH_TRACE


def test_a_file_whose_first_answer_was_known_to_be_lost_is_taken_the_second_time(server: Server) -> None:
    """The client has seen its connection break, and tried again."""
    is_reset(download(server, STOCK))
    is_pulled(server)
    assert head_in_store(server) == "ac"


@pytest.mark.parametrize(("seconds", "head"), [(0, "ac"), (60, "ac"), (60.1, "abc")])
def test_pulls_of_two_sessions_at_once_are_not_judged(server: Server, seconds: float, head: str) -> None:
    """Each asks for the file once; after a minute the first is surely over."""
    server.clock.advance(seconds)
    assert server.stub.acquire("desk").status == 200
    for _ in range(2):
        is_pulled(server, Connection.hang_up)
    assert head_in_store(server) == head


@pytest.mark.parametrize("seconds", [0, 60, 61])
@pytest.mark.parametrize("times", [1, 2])
def test_pulls_one_after_the_other_are_not_judged(server: Server, seconds: float, times: int) -> None:
    """Files that the first has taken stay taken when the second asks for them."""
    for _ in range(times):
        is_pulled(server, Connection.hang_up)
        server.clock.advance(seconds)
        assert server.stub.acquire("desk").status == 200
    is_pulled(server, Connection.hang_up)
    assert head_in_store(server) == "ac"


def test_an_acquire_that_was_refused_begins_no_pull(server: Server) -> None:
    """The pull under way is the only one still."""
    is_pulled(server)
    assert server.stub.acquire("laptop").status == 409
    is_pulled(server)
    assert head_in_store(server) == "abc"


def test_a_file_that_is_asked_for_again_after_the_session_is_not_judged(server: Server) -> None:
    """Another session of the machine may ask, whose lock went with the first."""
    is_pulled(server)
    server.stub.release("desk")
    is_pulled(server)
    server.stub.acquire("desk")
    assert head_in_store(server) == "ac"


def test_other_files_and_other_readers_are_not_judged(server: Server) -> None:
    """Neither a client that says who it is, nor somebody with curl, nor a HEAD."""
    is_pulled(server)
    server.stub.upload("desk", entry("one"))
    server.connect().get(LOG, *STOCK)
    for headers in (NAMED, CURL, (*NAMED, "X-Forwarded-For: 192.0.2.1")):
        asks_for_more(download(server, headers))
    server.connect().send("\r\n".join([f"HEAD {FILE} HTTP/1.1", *STOCK, "", ""]).encode())
    assert head_in_store(server) == "ac"


def test_of_too_many_pulls_those_that_began_first_are_judged_anew(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many pulls are remembered."""
    monkeypatch.setattr(receipts_module, "_MAX_PULLS", 2)
    is_pulled(server)
    server.stub.acquire("phone", "other")
    is_pulled(server)
    assert head_in_store(server) == "abc"
    server.stub.acquire("phone", "third")
    is_pulled(server)
    assert head_in_store(server, "a") == "a"


# By somebody who does not say who it is


@pytest.mark.parametrize("extra", ["User-Agent: x", "Accept: */*", "Accept-Encoding: gzip", "X-Client-Id:"])
@pytest.mark.parametrize("letters", [WITH_TRACE, WITHOUT])
def test_a_download_that_is_not_the_stock_clients_is_nobodys(
    server: Server, extra: str, letters: str
) -> None:
    """Nor does an upload show anything then: who can say who else has looked."""
    connection = download(server, [*STOCK, extra])
    assert connection.statuses == [200]
    asks_for_more(connection)
    assert head_in_store(server, letters) == "abc"


@pytest.mark.parametrize("headers", [{}, {"X-Client-Id": ""}, {"X-Client-Id": "  "}])
def test_a_download_by_a_common_http_client_is_nobodys(stub: Stub, headers: dict[str, str]) -> None:
    """Common clients say their name, or the codings that they take."""
    assert stub.ask("GET", FILE, headers).json["content"] == HEAD
    assert head_after(stub, WITH_TRACE) == "abc"


def test_a_look_by_somebody_else_does_not_make_the_holder_remove_what_it_never_had(server: Server) -> None:
    """The laptop works on what it uploaded itself, while somebody downloads the head of now."""
    stub = server.stub
    assert head_after(stub, "abc") == "abc"
    stub.release("desk")
    stub.acquire("laptop")
    asks_for_more(download(server, CURL))
    assert head_after(stub, "abd", "laptop") == "abcd"


@pytest.mark.parametrize(
    ("seconds", "headers", "head"),
    [(0, STOCK, "ac"), (60, STOCK, "ac"), (61, STOCK, "abc"), (0, CURL, "abc")],
)
def test_a_stock_download_of_a_free_project_is_its_last_holders_for_a_minute(
    server: Server, seconds: float, headers: Sequence[str], head: str
) -> None:
    """Another session of that machine has given the lock away."""
    server.stub.release("desk")
    server.clock.advance(seconds)
    asks_for_more(download(server, headers))
    server.stub.acquire("desk")
    assert head_in_store(server) == head


def test_a_stock_download_of_a_free_project_is_not_that_of_the_next_holder(server: Server) -> None:
    """The next holder acquires only after that."""
    server.stub.release("desk")
    asks_for_more(download(server, STOCK))
    server.stub.acquire("phone")
    assert head_after(server.stub, WITH_TRACE, "phone") == "abc"


def test_head_of_the_stock_clients_form_is_no_download(server: Server) -> None:
    """Nothing of the content was sent."""
    client = server.connect()
    client.send("\r\n".join([f"HEAD {FILE} HTTP/1.1", *STOCK, "", ""]).encode())
    assert client.statuses == [200]
    assert head_after(server.stub, WITH_TRACE) == "abc"


def test_a_download_by_another_name_is_not_the_holders_though_it_holds_the_lock(stub: Stub) -> None:
    """Its next upload is merged, and what the other has stays what the other has."""
    stub.download(NAME, client="phone")
    assert head_after(stub, WITH_TRACE) == "abc"
    stub.release("desk")
    stub.acquire("phone")
    assert head_after(stub, "ad", "phone") == "acd"


def test_what_was_put_there_by_hand_is_sent_as_far_as_it_is_text(tmp_path: Path) -> None:
    """The bytes that are no text are shown as such, and the file stays as it lies."""
    stub = prepared(Stub(store=DiskStore(tmp_path)))
    result_of(stub.sync.export())
    file = tmp_path / "projects" / "demo" / "log.jsonl"
    file.write_bytes(b"a\xffb")
    assert stub.download(client="desk").json["content"] == "a\ufffdb"
    assert file.read_bytes() == b"a\xffb"


# How large an answer is


@pytest.mark.parametrize("offset", range(0, 120, 7))
def test_the_download_of_a_merge_is_within_the_limit(offset: int) -> None:
    """The whole answer: a stock client and a proxy in between have a limit, too, and it can be uploaded again."""
    limit = LIMIT - offset
    store = MemoryStore(Merging(max_bytes=limit))
    server = Server(store=store)
    for client, of in (("laptop", 0), ("desk", 1)):
        server.stub.acquire(client)
        server.stub.upload(client, "".join(entry(f"{client} \\ é", minute) for minute in range(of, 14, 2)))
        server.stub.release(client)
    connection = server.connect()
    connection.get(LOG, *STOCK)
    [_, body] = connection.transport.value().split(b"\r\n\r\n")
    assert limit - 150 < len(body) <= limit
    lines = connection.json["content"].splitlines()
    assert 1 < len(lines) < 14
    assert json.loads(lines[-1])["content"] == "desk \\ é"
    reply = server.stub.upload("desk", connection.json["content"])
    assert reply.json["version"] == connection.json["version"]
