"""Lists for the stock client: by which headers it is known, and when it is told to upload what it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from mneme.web.auth import Keys
from mneme.web.policy import Policy
from tests.web.connections import Connection, Server
from tests.web.stub import TTL, entry

KEY = "alpha-key-0123456789"
FILES = "/projects/demo/files"
STOCK = ("Host: 127.0.0.1:3847", "Connection: keep-alive")
CURL = ("Host: 127.0.0.1:3847", "User-Agent: curl/8.14.1", "Accept: */*")
TRUE, EPOCH = "2026-02-04T15:00:00.000Z", "1970-01-01T00:00:00.000Z"


def with_a_file(**options: Any) -> Server:
    """A server with a project that the laptop has uploaded to, and whose lock is free again."""
    server = Server(**options)
    server.stub.acquire()
    server.stub.upload(content=entry("a"))
    server.stub.release()
    return server


def listed(server: Server, headers: Sequence[str] = STOCK, target: str = FILES) -> str:
    """The mtime that a list tells whoever asks with these headers."""
    client = server.connect()
    client.get(target, *headers)
    assert client.statuses == [200]
    [file] = client.json["files"]
    assert (file["name"], file["size"], file["version"]) == ("log.jsonl", len(entry("a")), 1)
    return str(file["mtime"])


def acquire(server: Server, client: str = "desk", project: str = "demo") -> None:
    """Acquire the lock, as at the start of a pull."""
    assert server.stub.acquire(client, project).status == 200


# By which headers it is known

HELPFUL = with_a_file()
"""Nobody holds its lock, so that each list of the stock client is a push's."""


def is_stock(*headers: str, version: str = "HTTP/1.1") -> bool:
    """Whether a request with these headers is taken for one of the stock client."""
    client = HELPFUL.connect()
    client.send("\r\n".join([f"GET {FILES} {version}", *headers, "", ""]).encode())
    [file] = client.json["files"]
    assert file["mtime"] in (TRUE, EPOCH)
    return bool(file["mtime"] == EPOCH)


NODE_19 = ("Host: memory.example:3847", "Connection: keep-alive")
NODE_18 = ("Host: memory.example:3847", "Connection: close")
KEYED = "Authorization: Bearer x"
AS_SENT = {
    "Node 19 and later": NODE_19,
    "Node 18": NODE_18,
    "Node with a key": (NODE_19[0], KEYED, NODE_19[1]),
    "nginx": ("Host: memory", "X-Real-IP: 192.0.2.1", "X-Forwarded-For: 192.0.2.1", "Connection: close"),
    "nginx, kept, with a key": ("Host: memory", "X-Forwarded-Proto: https", "Connection:", KEYED),
    "nginx as it comes": ("Host: memory", "Connection: close"),
    "Caddy": (
        "Host: memory.example",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: memory.example",
        "X-Forwarded-Proto: https",
        "Accept-Encoding: gzip",
    ),
    "Caddy since 2.10": (
        "Host: memory.example",
        "Via: 1.1 Caddy",
        "X-Forwarded-For: 192.0.2.1",
        "Accept-Encoding: gzip",
    ),
    "Traefik": (
        "Host: memory.example",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Port: 443",
        "X-Forwarded-Server: 1b2c3d",
        "X-Real-Ip: 192.0.2.1",
        "Accept-Encoding: gzip",
    ),
    "haproxy": ("host: memory.example", "x-forwarded-for: 192.0.2.1"),
    "haproxy as it comes": ("host: memory.example",),
    "Apache": (
        "Host: memory",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: memory.example",
        "Connection: Keep-Alive",
    ),
    "a proxy of the standard": ("Host: memory", "Forwarded: for=192.0.2.1", "Accept-Encoding: gzip"),
    "a proxy that names itself alone": ("Host: memory", "Via: 1.0 fred", "Accept-Encoding: br"),
    "a cloud": ("Host: memory", "X-Request-Id: 1", "Cookie:", "Content-Length: 0", "Keep-Alive: timeout=5"),
}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("headers", AS_SENT.values(), ids=AS_SENT)
def test_the_stock_client_is_known_however_it_and_the_proxies_before_it_connect(
    headers: Sequence[str], version: str
) -> None:
    """By the headers that it lacks, with a key or without."""
    assert is_stock(*headers, version=version)


NOT_STOCK = {
    "curl": CURL,
    "curl, kept": (*CURL, "Connection: keep-alive"),
    "curl through a proxy": (*CURL, "X-Forwarded-For: 192.0.2.1", "Via: 1.1 Caddy"),
    "fetch of Node": (
        *NODE_19,
        "accept: */*",
        "sec-fetch-mode: cors",
        "user-agent: node",
        "accept-encoding: br",
    ),
    "wget": ("Host: x", "User-Agent: Wget/1.25.0", "Accept: */*", "Accept-Encoding: identity"),
    "Python": ("Accept-Encoding: identity", "Host: x", "User-Agent: Python-urllib/3.11", "Connection: close"),
    "Go without a name": ("Host: x", "Accept-Encoding: gzip"),
    "mneme": (*NODE_19, "X-Client-Id: laptop"),
    "mneme through Traefik": (*AS_SENT["Traefik"], "X-Client-Id: laptop"),
    "a browser through nginx": (*AS_SENT["nginx"], "Accept: text/html", "User-Agent: Mozilla/5.0"),
}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("headers", NOT_STOCK.values(), ids=NOT_STOCK)
def test_others_are_known_by_what_they_send(headers: Sequence[str], version: str) -> None:
    """A name of their own, or what they take; through a proxy, too."""
    assert not is_stock(*headers, version=version)


@pytest.mark.parametrize("header", ["User-Agent", "Accept", "X-Client-Id", "Accept-Encoding"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", ["x", ""])
def test_a_single_header_tells_another_client(header: str, place: int, value: str) -> None:
    """Wherever it stands, and whether or not it says anything."""
    headers = [*STOCK]
    headers.insert(place, f"{header}: {value}")
    assert not is_stock(*headers)
    headers.insert(place, "X-Forwarded-For: 192.0.2.1")
    assert is_stock(*headers) == (header == "Accept-Encoding")


@pytest.mark.parametrize("header", ["X-Forwarded", "X-Real", "Forwarded-For", "Viaduct", "X-Via", "Origin"])
def test_a_header_that_is_no_proxys_does_not_excuse_what_is_accepted(header: str) -> None:
    """Only those that a proxy adds, by their whole names, do."""
    assert not is_stock("Host: x", f"{header}: 1.1 x", "Accept-Encoding: gzip")


@given(
    st.permutations(["Host", "Connection", "Authorization", "Via", "X-Forwarded-For", "Accept-Encoding"]),
    st.sampled_from([None, "User-Agent", "Accept", "X-Client-Id"]),
    st.integers(0, 2**80 - 1),
)
def test_headers_count_in_any_order_and_case(names: list[str], other: str | None, cases: int) -> None:
    """As HTTP has it."""
    sent = []
    for name in [*names, *([other] if other else [])]:
        letters = [c.upper() if cases >> place & 1 else c.lower() for place, c in enumerate(name)]
        cases >>= len(name)
        sent.append(f"{''.join(letters)}: x")
    assert is_stock(*sent) == (other is None)


def test_with_keys_the_stock_client_is_known_with_its_key() -> None:
    """Without it, it is told nothing at all."""
    server = with_a_file_and_keys()
    assert listed(server, (*STOCK, f"Authorization: Bearer {KEY}")) == EPOCH
    client = server.connect()
    client.get(FILES, *STOCK)
    assert (client.statuses, client.error) == ([401], "Missing or invalid Authorization header")


def with_a_file_and_keys() -> Server:
    """The same server, once it was told to want a key."""
    server = with_a_file()
    server.stub.site.policy = Policy(Keys([KEY]))
    return server


# When it is told what


def test_a_push_is_told_that_everything_is_old() -> None:
    """So that the machine uploads what it has; the rest of the list is true, and so it is every time."""
    server = with_a_file()
    assert [listed(server) for _ in range(3)] == [EPOCH] * 3


def test_the_first_list_after_an_acquire_is_true_and_the_next_is_not() -> None:
    """The first is the pull's, which downloads by it; what comes after is a push."""
    server = with_a_file()
    acquire(server)
    assert [listed(server) for _ in range(3)] == [TRUE, EPOCH, EPOCH]


def test_each_acquire_has_a_pull_of_its_own() -> None:
    """Of the same client too, whose lock is only extended: a session was started."""
    server = with_a_file()
    for _ in range(3):
        acquire(server)
        assert [listed(server), listed(server)] == [TRUE, EPOCH]


def is_lost(connection: Connection) -> None:
    """Break off, with the answer unread."""
    connection.channel.connectionLost(Failure(ConnectionLost()))


def pulls_list(server: Server, headers: Sequence[str] = STOCK, full: bool = False) -> Connection:
    """The connection over which a list was asked for, and is still open."""
    connection = server.connect()
    connection.transport.full = full
    connection.get(FILES, *headers)
    return connection


def mtime_in(connection: Connection) -> str:
    """The mtime that the list on a connection tells."""
    [file] = connection.json["files"]
    return str(file["mtime"])


@pytest.mark.parametrize("headers", [NODE_18, NODE_19], ids=["Node 18", "Node 19"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_pulls_list_that_was_lost_is_told_again(headers: Sequence[str], times: int) -> None:
    """The stock client asks again when no answer came; the next list is a push's."""
    server = with_a_file()
    acquire(server)
    for _ in range(times):
        connection = pulls_list(server, headers)
        assert mtime_in(connection) == TRUE
        is_lost(connection)
    assert [listed(server, headers) for _ in range(2)] == [TRUE, EPOCH]


@pytest.mark.parametrize("headers", [NODE_18, NODE_19], ids=["Node 18", "Node 19"])
def test_a_pulls_list_that_was_taken_is_not_told_again(headers: Sequence[str]) -> None:
    """The connection was closed in order; or another request has come meanwhile, on whatever connection."""
    server = with_a_file()
    acquire(server)
    pulls_list(server, headers).hang_up()
    assert listed(server, headers) == EPOCH
    acquire(server)
    pulls_list(server, headers)
    assert listed(server, headers) == EPOCH


def test_a_list_that_is_unread_when_its_connection_ends_is_lost() -> None:
    """However it ends."""
    server = with_a_file()
    acquire(server)
    pulls_list(server, full=True).hang_up()
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


def test_a_list_of_a_push_that_was_lost_is_a_pushs_again() -> None:
    """Before any acquire, and after a pull that had its list."""
    server = with_a_file()
    is_lost(pulls_list(server))
    assert listed(server) == EPOCH
    acquire(server)
    pulls_list(server).hang_up()
    is_lost(pulls_list(server))
    assert listed(server) == EPOCH


@pytest.mark.parametrize("how", ["acquire", "release", "wait"])
def test_a_list_that_was_lost_is_told_again_to_the_same_pull_alone(how: str) -> None:
    """A minute ends its pull, as does a release; a new pull has its own."""
    server = with_a_file()
    acquire(server)
    is_lost(pulls_list(server))
    if how == "acquire":
        acquire(server)
        assert [listed(server), listed(server)] == [TRUE, EPOCH]
    elif how == "release":
        server.stub.release("desk")
        assert listed(server) == EPOCH
    else:
        server.clock.advance(60.1)
        assert listed(server) == EPOCH


@pytest.mark.parametrize("headers", [CURL, (*STOCK, "X-Client-Id: desk")])
def test_lists_of_others_that_were_lost_change_nothing(headers: Sequence[str]) -> None:
    """Nor does another's list take that which was lost."""
    server = with_a_file()
    acquire(server)
    is_lost(pulls_list(server, headers))
    assert listed(server) == TRUE
    is_lost(pulls_list(server, headers))
    assert listed(server) == EPOCH
    acquire(server)
    is_lost(pulls_list(server))
    assert listed(server, headers) == TRUE
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


def test_an_acquire_that_was_refused_has_no_pull() -> None:
    """The machine that was locked out is told nothing that another's pull has not used up."""
    server = with_a_file()
    acquire(server)
    assert listed(server) == TRUE
    assert server.stub.acquire("laptop").status == 409
    assert listed(server) == EPOCH


def test_a_lock_that_is_gone_has_no_pull() -> None:
    """Released or expired before its list was asked for."""
    server = with_a_file()
    acquire(server)
    server.stub.release("desk")
    assert listed(server) == EPOCH
    acquire(server)
    server.clock.advance(TTL / 1000)
    assert listed(server) == EPOCH


@pytest.mark.parametrize(("seconds", "mtime"), [(60, TRUE), (60.001, EPOCH)])
def test_a_list_that_comes_long_after_an_acquire_is_no_pulls(seconds: float, mtime: str) -> None:
    """The process that acquired has died by then, or given up, and the next list is a push's."""
    server = with_a_file()
    acquire(server)
    server.clock.advance(seconds)
    assert listed(server) == mtime


def test_an_acquire_of_another_project_has_no_pull_of_this_one() -> None:
    """Locks are by project."""
    server = with_a_file()
    acquire(server, project="other")
    assert listed(server) == EPOCH


def test_a_heartbeat_brings_no_pull() -> None:
    """It extends a lock, and no session begins with it."""
    server = with_a_file()
    acquire(server)
    assert listed(server) == TRUE
    heartbeat = server.stub.ask("POST", "/projects/demo/lock/heartbeat", {"X-Client-Id": "desk"})
    assert heartbeat.status == 200
    assert listed(server) == EPOCH


@pytest.mark.parametrize("headers", [CURL, (*STOCK, "X-Client-Id: desk"), (*STOCK, "Accept: */*")])
def test_others_always_get_the_true_list_and_do_not_use_up_the_pulls(headers: tuple[str, ...]) -> None:
    """Before it, between it and the push's, and after that."""
    server = with_a_file()
    assert listed(server, headers) == TRUE
    acquire(server)
    assert [listed(server, headers), listed(server), listed(server, headers), listed(server)] == [
        TRUE,
        TRUE,
        TRUE,
        EPOCH,
    ]


@pytest.mark.parametrize("first", AS_SENT.values(), ids=AS_SENT)
def test_a_pull_through_a_proxy_uses_up_its_list(first: Sequence[str]) -> None:
    """Whatever connection the push comes over then."""
    server = with_a_file()
    acquire(server)
    assert [listed(server, first), listed(server, NODE_18)] == [TRUE, EPOCH]


def test_a_machine_whose_clock_is_ahead_is_told_that_the_head_is_as_new_as_its_push() -> None:
    """Its own pull is told so after it pushes an old base, and nobody else's."""
    server = with_a_file()
    acquire(server)
    server.stub.upload("desk", entry("a"))
    server.stub.upload("desk", entry("a") + entry("b"))
    server.stub.release("desk")
    acquire(server, "laptop")
    server.clock.advance(5)
    reply = server.stub.upload(content=entry("a"))
    assert (reply.status, reply.json["merged"]) == (200, True)
    server.stub.release()
    told = {}
    for client in ("desk", "laptop", "phone"):
        acquire(server, client)
        connection = server.connect()
        connection.get(FILES, *NODE_19)
        [told[client]] = [file["mtime"] for file in connection.json["files"]]
        server.stub.release(client)
    true = server.stub.ask("GET", FILES).json["files"][0]["mtime"]
    assert told == {"desk": true, "laptop": "2026-02-04T15:00:05.000Z", "phone": true}
    assert true == "2026-02-04T15:00:00.001Z"


def test_head_does_not_use_up_the_pulls_list() -> None:
    """The stock client never sends one, so whoever does is another, whatever the headers."""
    server = with_a_file()
    acquire(server)
    client = server.connect()
    client.send("\r\n".join([f"HEAD {FILES} HTTP/1.1", *STOCK, "", ""]).encode())
    assert client.statuses == [200]
    assert client.transport.value().endswith(b"\r\n\r\n")
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


@pytest.mark.parametrize("place", ["lock", "files/log.jsonl", "files/log.jsonl/versions", "prunable"])
def test_no_other_place_uses_up_the_pulls_list_or_tells_of_the_epoch(place: str) -> None:
    """Downloads during a pull stay as they are, and so does all that the stock client never asks for."""
    server = with_a_file()
    acquire(server)
    for _ in range(2):
        client = server.connect()
        client.get(f"/projects/demo/{place}", *STOCK)
        assert client.statuses == [200]
        assert EPOCH not in str(client.json)
    assert listed(server) == TRUE


def test_the_list_of_all_projects_is_true_whoever_asks() -> None:
    """No push goes by it."""
    server = with_a_file()
    client = server.connect()
    client.get("/projects", *STOCK)
    [project] = client.json["projects"]
    assert (project["mtime"], project["files"][0]["mtime"]) == (TRUE, TRUE)


@pytest.mark.parametrize("query", ["?", "?x=1", "?limit=0", "?%ZZ"])
def test_a_query_changes_nothing_about_a_list(query: str) -> None:
    """It is looked at by nobody: a pull's list stays one, and a push's."""
    server = with_a_file()
    acquire(server)
    assert [listed(server, target=FILES + query) for _ in range(2)] == [TRUE, EPOCH]


def test_a_list_of_no_files_is_empty_and_is_the_pulls_all_the_same() -> None:
    """A first session begins with one."""
    server = Server()
    acquire(server)
    client = server.connect()
    client.get(FILES, *STOCK)
    assert client.json == {"files": []}
    server.stub.upload(client="desk", content=entry("a"))
    assert listed(server) == EPOCH


def test_a_list_of_a_project_that_was_never_written_makes_none() -> None:
    """As any reading."""
    server = Server()
    client = server.connect()
    client.get(FILES, *STOCK)
    assert (client.statuses, client.json) == ([200], {"files": []})
    assert list(server.stub.store.projects()) == []


def test_where_the_help_is_turned_off_every_list_is_true() -> None:
    """A pull's and a push's."""
    server = with_a_file(helps_stock_push=False)
    assert listed(server) == TRUE
    acquire(server)
    assert [listed(server), listed(server)] == [TRUE, TRUE]


def test_the_help_can_be_turned_off_and_on_while_the_server_runs() -> None:
    """It counts from the next request; what was listed truly in between was nobody's pull."""
    server = with_a_file()
    assert listed(server) == EPOCH
    server.stub.site.policy = Policy(helps_stock_push=False)
    acquire(server)
    assert listed(server) == TRUE
    server.stub.site.policy = Policy(helps_stock_push=True)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


def test_what_a_push_uploads_for_nothing_makes_no_version() -> None:
    """It was told to upload what the server has already: it is accepted as it is, and changes nothing."""
    server = with_a_file()
    acquire(server)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]
    reply = server.stub.upload(client="desk", content=entry("a"))
    assert reply.json == {"success": True, "mtime": TRUE, "version": 1}
    assert listed(server, CURL) == TRUE
