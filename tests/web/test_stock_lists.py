"""Lists for the stock client: by which headers it is known, and when it is told to upload what it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.web.auth import Keys
from mneme.web.front import Policy
from tests.web.connections import Server
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


def is_stock(*headers: str) -> bool:
    """Whether a request with these headers is taken for one of the stock client."""
    return listed(HELPFUL, headers) == EPOCH


@given(
    st.permutations([("Host", "x"), ("Connection", "keep-alive"), ("Authorization", "Bearer x")]),
    st.booleans(),
    st.integers(0, 2**24 - 1),
)
def test_the_stock_client_is_known_by_two_headers_and_its_key(
    headers: list[tuple[str, str]], keyed: bool, cases: int
) -> None:
    """In any order and with their names in any case, with a key or without."""
    sent = []
    for name, value in headers:
        if keyed or name != "Authorization":
            letters = [c.upper() if cases >> place & 1 else c.lower() for place, c in enumerate(name)]
            sent.append(f"{''.join(letters)}: {value}")
    assert is_stock(*sent)


def test_the_stock_client_is_known_by_any_host() -> None:
    """Names and ports differ from one server to the next; spaces around a value are none of it."""
    for host in ("localhost", "[::1]:3847", "memory.example", "", " x "):
        assert is_stock(f"Host: {host}", "Connection:   keep-alive  ")


@pytest.mark.parametrize(
    "header",
    [
        "User-Agent: node",
        "Accept: */*",
        "Accept-Encoding: gzip",
        "Accept-Language: *",
        "Sec-Fetch-Mode: cors",
        "X-Client-Id: laptop",
        "X-Lock-Token: 1",
        "X-Forwarded-For: 192.0.2.1",
        "Via: 1.1 proxy",
        "Content-Type: application/json",
        "Content-Length: 0",
        "Keep-Alive: timeout=5",
        "Cookie:",
        "Origin: null",
        "X:",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_whoever_sends_another_header_is_not_the_stock_client(header: str, place: int) -> None:
    """Whichever it is, wherever it stands, and whether or not it says anything."""
    headers = [*STOCK]
    headers.insert(place, header)
    assert not is_stock(*headers)


@pytest.mark.parametrize(
    "value",
    ["close", "Keep-Alive", "KEEP-ALIVE", "keep-alive, x", "keep-alive,", "keep alive", "", "upgrade"],
)
def test_whoever_wants_another_connection_is_not_the_stock_client(value: str) -> None:
    """It writes the two words just so."""
    assert not is_stock("Host: x", f"Connection: {value}")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Host: x",),
        ("Connection: keep-alive",),
        ("Authorization: Bearer x",),
        ("Host: x", "Authorization: Bearer x"),
        ("Connection: keep-alive", "Authorization: Bearer x"),
        ("Host: x", "Connection: keep-alive", "Connection: keep-alive"),
        ("Host: x", "Connection: keep-alive", "Connection: close"),
        CURL,
        (*CURL, "Connection: keep-alive"),
    ],
)
def test_whoever_leaves_one_out_or_says_one_twice_is_not_the_stock_client(headers: tuple[str, ...]) -> None:
    """Nor is curl."""
    assert not is_stock(*headers)


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
    server.stub.front.policy = Policy(Keys([KEY]))
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


@pytest.mark.parametrize("headers", [CURL, (*STOCK, "X-Client-Id: desk"), (*STOCK, "Via: 1.1 proxy")])
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
    server.stub.front.policy = Policy(helps_stock_push=False)
    acquire(server)
    assert listed(server) == TRUE
    server.stub.front.policy = Policy(helps_stock_push=True)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


def test_what_a_push_uploads_for_nothing_makes_no_version() -> None:
    """It was told to upload what the server has already: it is accepted as it is, and changes nothing."""
    server = with_a_file()
    acquire(server)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]
    reply = server.stub.upload(client="desk", content=entry("a"))
    assert reply.json == {"success": True, "mtime": TRUE, "version": 1}
    assert listed(server, CURL) == TRUE
