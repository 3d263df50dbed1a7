"""What a download makes the server believe its client to have: told by what becomes of the next upload.

An upload that was made from the head becomes the head, byte for byte; any other is merged with it. One that shows a
trace of a version that was only perhaps received is believed to be made from that, one that shows none is not. Once a
client has asked for something more on its connection, or closed it in order, it has read what it was sent: the client
that said who it is, or, if that looked like the stock client, the holder of the lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from mneme.model import Merging, Millis, ProjectId, Receipt
from mneme.store.disk import DiskStore
from mneme.store.memory import MemoryStore
from mneme.web import site as site_module
from tests.web.connections import LIMIT, Connection, HeldWorker, Server
from tests.web.stub import Stub, entry

FILE = "/projects/demo/files/log.jsonl"
A, B, C, D = (entry(content, minute) for minute, content in enumerate("abcd"))
HEAD = A + B
WITH_TRACE, WITHOUT = B + C, C
"""Two uploads that lack a line of the head; one has the newest."""

NAMED = ("Host: x", "X-Client-Id: desk")
STOCK = ("Host: x", "Connection: keep-alive")
READERS = pytest.mark.parametrize("headers", [NAMED, STOCK], ids=["named", "stock"])


def prepared(stub: Stub) -> Stub:
    """The server, once the laptop has uploaded the head and the desk has acquired the lock."""
    stub.acquire("laptop")
    stub.upload("laptop", HEAD)
    stub.release("laptop")
    stub.acquire("desk")
    return stub


@pytest.fixture
def stub() -> Stub:
    """A server on which the desk holds the lock and has had nothing yet."""
    return prepared(Stub())


@pytest.fixture
def worker() -> HeldWorker:
    """A worker that can be held back."""
    return HeldWorker(holding=False)


@pytest.fixture
def server(worker: HeldWorker) -> Server:
    """The same server at the level of bytes."""
    server = Server(worker=worker)
    prepared(server.stub)
    return server


def head_after(stub: Stub, content: str) -> str:
    """What the head is once the desk has uploaded; the answer must say whether it was merged."""
    reply = stub.upload("desk", content)
    head = str(stub.download().json["content"])
    assert (reply.status, reply.json.get("merged", False)) == (200, head != content)
    return head


def download(server: Server, headers: Sequence[str], full: bool = False) -> Connection:
    """Download over a connection of its own, on which the client reads nothing if it is `full`."""
    connection = server.connect()
    connection.transport.full = full
    connection.get(FILE, *headers)
    return connection


# By a client that says who it is, or that holds the lock and is the stock client


def asks_for_more(connection: Connection) -> None:
    """Send the next request."""
    connection.get("/health", "Host: x")


@pytest.mark.parametrize("content", [WITH_TRACE, WITHOUT])
@pytest.mark.parametrize(
    "go_on", [asks_for_more, Connection.hang_up], ids=["asks for more", "closes in order"]
)
@READERS
def test_what_a_client_has_read_is_what_it_has(
    server: Server, headers: Sequence[str], go_on: Callable[[Connection], None], content: str
) -> None:
    """So what its next upload lacks it has removed, even all of it."""
    connection = download(server, headers)
    assert connection.json["content"] == HEAD
    go_on(connection)
    assert head_after(server.stub, content) == content
    assert server.stub.versions()[0]["base"] == 1


def is_reset(connection: Connection) -> None:
    """Break off, as the system does for a process that was killed with something unread."""
    connection.channel.connectionLost(Failure(ConnectionLost()))


def is_closed_for_saying_nothing(connection: Connection) -> None:
    """Wait until the server has had enough."""
    connection.channel.timeoutConnection()
    connection.hang_up()


@pytest.mark.parametrize("end", [is_reset, is_closed_for_saying_nothing])
@READERS
def test_what_a_client_has_perhaps_not_read_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str], end: Callable[[Connection], None]
) -> None:
    """That all was handed to the operating system says nothing."""
    end(download(server, headers))
    assert sorted(head_after(server.stub, WITHOUT).splitlines(keepends=True)) == [A, B, C]


@pytest.mark.parametrize("content", [WITH_TRACE, WITHOUT])
def test_without_a_download_nothing_was_removed(stub: Stub, content: str) -> None:
    """What the client never had it cannot have removed."""
    assert sorted(head_after(stub, content).splitlines(keepends=True)) == [A, B, C]


@READERS
@pytest.mark.parametrize("content", [WITH_TRACE, WITHOUT])
def test_a_client_that_hangs_up_before_the_answer_is_believed_to_have_it_if_its_upload_shows_so(
    server: Server, worker: HeldWorker, headers: Sequence[str], content: str
) -> None:
    """Where it shows no trace of what was never sent, nothing is taken for removed."""
    worker.holding = True
    download(server, headers).hang_up()
    worker.holding = False
    worker.let_go()
    lines = sorted(head_after(server.stub, content).splitlines(keepends=True))
    assert lines == ([B, C] if content == WITH_TRACE else [A, B, C])


@READERS
def test_a_client_that_hangs_up_with_the_answer_unread_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str]
) -> None:
    """Most of the answer still lay in the server when the connection broke."""
    download(server, headers, full=True).hang_up()
    assert sorted(head_after(server.stub, WITHOUT).splitlines(keepends=True)) == [A, B, C]


@READERS
def test_a_client_that_was_told_to_come_back_removes_nothing_that_it_shows_no_trace_of(
    server: Server, headers: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent a 503 in place of the file, for want of memory."""
    with monkeypatch.context() as little_memory:
        little_memory.setattr(site_module, "MAX_HELD", 100)
        assert download(server, headers).statuses == [503]
    assert sorted(head_after(server.stub, WITHOUT).splitlines(keepends=True)) == [A, B, C]


def test_what_another_has_is_not_what_the_client_has(stub: Stub) -> None:
    """Each goes by its own id, also while the desk holds the lock."""
    stub.download(client="phone")
    assert sorted(head_after(stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]


@pytest.mark.parametrize("client", ["desk", None])
def test_head_is_no_download(stub: Stub, client: str | None) -> None:
    """The content was not sent, whoever asked."""
    assert stub.ask("HEAD", FILE, {"X-Client-Id": client} if client else {}).status == 200
    assert sorted(head_after(stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]


@pytest.mark.parametrize("client", ["desk", None])
@pytest.mark.parametrize("place", ["/versions", "/versions/1"])
def test_a_look_at_history_is_no_download(stub: Stub, client: str | None, place: str) -> None:
    """People look there, and agents do not work on it."""
    assert stub.ask("GET", FILE + place, {"X-Client-Id": client} if client else {}).status == 200
    assert sorted(head_after(stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]


@pytest.mark.parametrize("client", ["x" * 201, "a\x1b[31m", "a\x7f", "desk\t1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_download_by_an_id_that_is_none_is_an_error(stub: Stub, client: str, method: str) -> None:
    """It is nobody's download then."""
    reply = stub.ask(method, FILE, {"X-Client-Id": client})
    assert (reply.status, b"X-Client-Id" in reply.body) == (400, method == "GET")
    assert sorted(head_after(stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]


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


def test_a_download_succeeds_though_nobody_can_take_note_of_it() -> None:
    """It has been sent by then; the log says so, and the client is believed to have received it."""
    server = Server(store=ForgetfulStore())
    prepared(server.stub)
    with capturedLogs() as logged:
        connection = download(server, NAMED)
        assert connection.json["content"] == HEAD
        asks_for_more(connection)
    [told] = [event for event in logged if event["log_level"] is LogLevel.critical]
    assert formatEvent(told) == "Could not note what a client of demo has"
    assert connection.statuses == [200, 200]
    assert head_after(server.stub, WITHOUT) == WITHOUT


# By somebody who does not say who it is


@pytest.mark.parametrize("headers", [{}, {"X-Client-Id": ""}, {"X-Client-Id": "  "}])
def test_a_download_of_nobody_may_be_the_holders(stub: Stub, headers: dict[str, str]) -> None:
    """The stock client says nothing; its upload shows that it was."""
    assert stub.ask("GET", FILE, headers).json["content"] == HEAD
    assert head_after(stub, WITH_TRACE) == WITH_TRACE


def test_a_download_of_nobody_need_not_be_the_holders(stub: Stub) -> None:
    """Where its upload shows no trace of it, nothing is taken for removed."""
    assert stub.download().json["content"] == HEAD
    assert sorted(head_after(stub, WITHOUT).splitlines(keepends=True)) == [A, B, C]


@pytest.mark.parametrize("extra", ["Via: 1.1 proxy", "User-Agent: x", "Accept: */*"])
def test_a_download_that_is_not_the_stock_clients_need_not_be_the_holders(server: Server, extra: str) -> None:
    """One header more, and it can be anybody's; so it is also behind a proxy that adds some."""
    assert download(server, [*STOCK, extra]).json["content"] == HEAD
    assert sorted(head_after(server.stub, WITHOUT).splitlines(keepends=True)) == [A, B, C]


@pytest.mark.parametrize("headers", [STOCK, ("Host: x",)], ids=["stock", "other"])
def test_a_stray_download_does_not_make_the_holder_remove_what_it_never_had(headers: Sequence[str]) -> None:
    """The laptop works on what it uploaded itself, while somebody downloads the head of now."""
    server = Server()
    stub = prepared(server.stub)
    stub.upload("desk", HEAD + C)
    stub.release("desk")
    stub.acquire("laptop")
    assert download(server, headers).json["content"] == HEAD + C
    assert stub.upload("laptop", HEAD + D).json["merged"] is True
    assert stub.download().json["content"] == A + B + C + D


@pytest.mark.parametrize("headers", [STOCK, ("Host: x",)], ids=["stock", "other"])
def test_a_download_of_nobody_while_the_project_is_free_is_nobodys(headers: Sequence[str]) -> None:
    """The desk acquires only after that."""
    server = Server()
    prepared(server.stub).release("desk")
    download(server, headers)
    server.stub.acquire("desk")
    assert sorted(head_after(server.stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]


def test_head_of_the_stock_clients_form_is_no_download(server: Server) -> None:
    """Nothing of the content was sent."""
    client = server.connect()
    client.send("\r\n".join([f"HEAD {FILE} HTTP/1.1", *STOCK, "", ""]).encode())
    assert client.statuses == [200]
    assert sorted(head_after(server.stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]


def test_a_download_by_another_name_is_not_the_holders_though_it_holds_the_lock(stub: Stub) -> None:
    """Its next upload is merged, and what the other has stays what the other has."""
    stub.download(client="phone")
    assert sorted(head_after(stub, WITH_TRACE).splitlines(keepends=True)) == [A, B, C]
    stub.release("desk")
    stub.acquire("phone")
    assert stub.upload("phone", A + D).json["merged"] is True
    assert sorted(stub.download().json["content"].splitlines(keepends=True)) == [A, C, D]


def test_what_was_put_there_by_hand_is_sent_as_far_as_it_is_text(tmp_path: Path) -> None:
    """The bytes that are no text are shown as such, and the file stays as it lies."""
    stub = prepared(Stub(store=DiskStore(tmp_path)))
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
    connection.get(FILE, *STOCK)
    [_, body] = connection.transport.value().split(b"\r\n\r\n")
    assert limit - 150 < len(body) <= limit
    lines = connection.json["content"].splitlines()
    assert 1 < len(lines) < 14
    assert json.loads(lines[-1])["content"] == "desk \\ é"
    reply = server.stub.upload("desk", connection.json["content"])
    assert reply.json["version"] == connection.json["version"]
