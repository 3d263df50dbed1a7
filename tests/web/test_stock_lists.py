"""Lists for the stock client, which is known by its headers and told to upload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.web.auth import Keys
from mneme.web.policy import Policy
from tests.web.connections import Connection, Server
from tests.web.stub import KEY, A

FILES = "/projects/demo/files"
TRUE, EPOCH = "2026-02-04T15:00:00.000Z", "1970-01-01T00:00:00.000Z"


def with_a_file(**options: Any) -> Server:
    """A server with a file of the laptop's, and a free lock."""
    server = Server(**options)
    server.stub.acquire()
    server.stub.upload(content=A)
    server.stub.release()
    return server


@pytest.fixture
def server() -> Server:
    """A server with a file, and a free lock."""
    return with_a_file()


NODE_19 = ("Host: memory.example:3847", "Connection: keep-alive")
NODE_18 = ("Host: memory.example:3847", "Connection: close")
CURL = ("Host: 127.0.0.1:3847", "User-Agent: curl/8.14.1", "Accept: */*")


def asked(server: Server, headers: Sequence[str] = NODE_19, full: bool = False) -> Connection:
    """The connection over which a list was asked for, and is still open."""
    connection = server.connect()
    connection.transport.full = full
    connection.get(FILES, *headers)
    assert connection.statuses == [200]
    return connection


def mtime_in(connection: Connection) -> str:
    """The mtime that the list on a connection tells; all else in it is true."""
    [file] = connection.json["files"]
    assert (file["name"], file["size"], file["version"]) == ("log.jsonl", len(A), 1)
    return str(file["mtime"])


def listed(server: Server, headers: Sequence[str] = NODE_19) -> str:
    """The mtime that a list tells whoever asks with these headers."""
    return mtime_in(asked(server, headers))


def acquire(server: Server, client: str = "desk") -> None:
    """Acquire the lock, as at the start of a pull."""
    assert server.stub.acquire(client).status == 200


# Its headers

HELPFUL = with_a_file()
"""A server whose lock is free, so that each list of the stock client is a push's."""


def is_stock(*headers: str, version: str = "HTTP/1.1") -> bool:
    """Whether a request with these headers is taken for one of the stock client."""
    client = HELPFUL.connect()
    client.ask("GET", FILES, *headers, version=version)
    mtime = mtime_in(client)
    assert mtime in (TRUE, EPOCH)
    return mtime == EPOCH


KEYED = "Authorization: Bearer x"
FORWARDED = "X-Forwarded-For: 192.0.2.1"
AS_SENT = {
    "Node 19 and later": NODE_19,
    "Node 18": NODE_18,
    "Node with a key": (NODE_19[0], KEYED, NODE_19[1]),
    "nginx": ("Host: memory", "X-Real-IP: 192.0.2.1", FORWARDED, "Connection: close"),
    "nginx, kept, with a key": ("Host: memory", "X-Forwarded-Proto: https", "Connection:", KEYED),
    "Caddy": (
        "Host: memory.example",
        FORWARDED,
        "X-Forwarded-Host: memory.example",
        "X-Forwarded-Proto: https",
        "Accept-Encoding: gzip",
    ),
    "Caddy since 2.10": ("Host: memory.example", "Via: 1.1 Caddy", FORWARDED, "Accept-Encoding: gzip"),
    "Traefik": (
        "Host: memory.example",
        FORWARDED,
        "X-Forwarded-Port: 443",
        "X-Forwarded-Server: 1b2c3d",
        "X-Real-Ip: 192.0.2.1",
        "Accept-Encoding: gzip",
    ),
    "haproxy": ("host: memory.example", "x-forwarded-for: 192.0.2.1"),
    "haproxy as it comes": ("host: memory.example",),
    "Apache": ("Host: memory", FORWARDED, "X-Forwarded-Host: memory.example", "Connection: Keep-Alive"),
    "a proxy of the standard": ("Host: memory", "Forwarded: for=192.0.2.1", "Accept-Encoding: gzip"),
    "a proxy that names itself alone": ("Host: memory", "Via: 1.0 fred", "Accept-Encoding: br"),
    "a cloud": ("Host: memory", "X-Request-Id: 1", "Cookie:", "Content-Length: 0", "Keep-Alive: timeout=5"),
}
NOT_STOCK = {
    "curl": CURL,
    "curl through a proxy": (*CURL, FORWARDED, "Via: 1.1 Caddy"),
    "fetch of Node": (*NODE_19, "accept: */*", "user-agent: node", "accept-encoding: br"),
    "Python": ("Accept-Encoding: identity", "Host: x", "User-Agent: Python-urllib/3.11", "Connection: close"),
    "Go without a name": ("Host: x", "Accept-Encoding: gzip"),
    "mneme": (*NODE_19, "X-Client-Id: laptop"),
    "mneme through Traefik": (*AS_SENT["Traefik"], "X-Client-Id: laptop"),
    "a browser through nginx": (*AS_SENT["nginx"], "Accept: text/html", "User-Agent: Mozilla/5.0"),
}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("headers", AS_SENT.values(), ids=AS_SENT)
def test_the_stock_client_is_known_however_it_and_the_proxies_before_it_connect(
    headers: Sequence[str], version: str
) -> None:
    """By the headers that it lacks, with a key or without."""
    assert is_stock(*headers, version=version)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("headers", NOT_STOCK.values(), ids=NOT_STOCK)
def test_others_are_known_by_the_headers_that_they_send(headers: Sequence[str], version: str) -> None:
    """A name of their own, or the forms that they take; through a proxy, too."""
    assert not is_stock(*headers, version=version)


@pytest.mark.parametrize("header", ["User-Agent", "Accept", "X-Client-Id", "Accept-Encoding"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", ["x", ""])
def test_a_single_header_tells_another_client(header: str, place: int, value: str) -> None:
    """Wherever it stands, and whatever its value."""
    headers = [*NODE_19]
    headers.insert(place, f"{header}: {value}")
    assert not is_stock(*headers)
    headers.insert(place, FORWARDED)
    assert is_stock(*headers) == (header == "Accept-Encoding")


@pytest.mark.parametrize("header", ["X-Forwarded", "X-Real", "Forwarded-For", "Viaduct", "X-Via", "Origin"])
def test_only_a_header_of_a_proxy_excuses_accept_encoding(header: str) -> None:
    """By its whole name."""
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


def test_with_keys_the_stock_client_is_known_with_its_key(server: Server) -> None:
    """By a list for a push."""
    server.site.policy = Policy(Keys([KEY]))
    assert listed(server, (*NODE_19, f"Authorization: Bearer {KEY}")) == EPOCH


# Its lists


@pytest.mark.parametrize("pull", AS_SENT.values(), ids=AS_SENT)
def test_the_first_list_of_each_pull_is_true_and_all_others_say_that_everything_is_old(
    server: Server, pull: Sequence[str]
) -> None:
    """So that a push uploads all that the machine has, over whatever connection."""
    assert listed(server) == EPOCH
    for _ in range(2):
        acquire(server)
        assert [listed(server, pull), listed(server, NODE_18), listed(server)] == [TRUE, EPOCH, EPOCH]


@pytest.mark.parametrize("headers", [NODE_18, NODE_19], ids=["Node 18", "Node 19"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_list_of_a_pull_that_was_lost_is_told_again(
    server: Server, headers: Sequence[str], times: int
) -> None:
    """The stock client asks again when no answer came; the next list is a push's."""
    acquire(server)
    for _ in range(times):
        connection = asked(server, headers)
        assert mtime_in(connection) == TRUE
        connection.break_off()
    assert [listed(server, headers) for _ in range(2)] == [TRUE, EPOCH]


@pytest.mark.parametrize("headers", [NODE_18, NODE_19], ids=["Node 18", "Node 19"])
def test_a_list_of_a_pull_that_was_taken_is_not_told_again(server: Server, headers: Sequence[str]) -> None:
    """The connection was closed in order, or another request has come meanwhile."""
    acquire(server)
    asked(server, headers).hang_up()
    assert listed(server, headers) == EPOCH
    acquire(server)
    asked(server, headers)
    assert listed(server, headers) == EPOCH


def test_a_list_that_is_unread_when_its_connection_ends_is_lost(server: Server) -> None:
    """However it ends."""
    acquire(server)
    asked(server, full=True).hang_up()
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


def test_a_list_of_a_push_that_was_lost_is_a_list_of_a_push_again(server: Server) -> None:
    """Before any acquire, and after a pull that had its list."""
    asked(server).break_off()
    assert listed(server) == EPOCH
    acquire(server)
    asked(server).hang_up()
    asked(server).break_off()
    assert listed(server) == EPOCH


def test_a_list_that_was_lost_is_told_again_to_the_same_pull_alone(server: Server) -> None:
    """A minute ends its pull, as does a release; a new pull has its own."""
    acquire(server)
    asked(server).break_off()
    server.clock.advance(60.1)
    assert listed(server) == EPOCH
    acquire(server)
    asked(server).break_off()
    acquire(server)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]
    acquire(server)
    asked(server).break_off()
    server.stub.release("desk")
    assert listed(server) == EPOCH


@pytest.mark.parametrize("headers", [CURL, (*NODE_19, "X-Client-Id: desk"), (*NODE_19, "Accept: */*")])
def test_others_always_get_the_true_list_and_use_up_no_other(server: Server, headers: Sequence[str]) -> None:
    """Not even if theirs, or that of the pull, was lost."""
    assert listed(server, headers) == TRUE
    acquire(server)
    asked(server, headers).break_off()
    assert [listed(server), listed(server, headers), listed(server)] == [TRUE, TRUE, EPOCH]
    asked(server, headers).break_off()
    assert listed(server) == EPOCH
    acquire(server)
    asked(server).break_off()
    assert [listed(server, headers), listed(server), listed(server)] == [TRUE, TRUE, EPOCH]


def test_an_acquire_that_was_refused_has_no_pull(server: Server) -> None:
    """The machine that was locked out is told nothing that was not another's."""
    acquire(server)
    assert listed(server) == TRUE
    assert server.stub.acquire("laptop").status == 409
    assert listed(server) == EPOCH


def test_head_does_not_use_up_the_list_of_a_pull(server: Server) -> None:
    """The stock client never sends one."""
    acquire(server)
    client = server.connect()
    client.ask("HEAD", FILES, *NODE_19)
    assert client.statuses == [200]
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


@pytest.mark.parametrize(
    "path",
    [
        "/projects",
        "/projects/demo/lock",
        "/projects/demo/prunable",
        f"{FILES}/log.jsonl",
        f"{FILES}/log.jsonl/versions",
    ],
)
def test_no_other_place_uses_up_the_list_of_a_pull_or_tells_of_the_epoch(server: Server, path: str) -> None:
    """Downloads during a pull stay as they are."""
    acquire(server)
    for _ in range(2):
        client = server.connect()
        client.get(path, *NODE_19)
        assert client.statuses == [200]
        assert EPOCH not in str(client.json)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]


def test_the_help_can_be_turned_off_and_on_while_the_server_runs() -> None:
    """Every list is true without it; one that was listed then was nobody's pull."""
    server = with_a_file(helps_stock_push=False)
    assert listed(server) == TRUE
    acquire(server)
    assert [listed(server), listed(server)] == [TRUE, TRUE]
    server.site.policy = Policy(helps_stock_push=True)
    assert [listed(server), listed(server)] == [TRUE, EPOCH]
