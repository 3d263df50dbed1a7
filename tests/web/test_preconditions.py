"""`If-Match` and `If-None-Match` in all their forms, and the tags that answers carry."""

from __future__ import annotations

import json
from itertools import product

import pytest

from mneme.model import digest
from tests.kept import full_disk
from tests.web.connections import Server
from tests.web.stub import FILE, A, B, C, D, Reply, Stub, tag

HEAD = A + B
NOT_ONE = {
    "error": "If-None-Match of an upload must be *, for a file that does not exist yet, and without If-Match"
}
FORMS = [
    tag(HEAD),
    f"{tag(C)}, {tag(HEAD)}",
    f"W/{tag(C)},{tag(HEAD)},{tag(D)}",
    f'"with, a comma", {tag(HEAD)}',
    f'"{digest(HEAD.encode())}-gzip"',
    digest(HEAD.encode()),
    f"  {tag(HEAD)}\t",
    "*",
]
"""Values that name the head, for either header."""

OTHERS = [
    tag(A),
    f"{tag(A)}, {tag(C)}",
    "",
    " ",
    ",",
    '""',
    '"*"',
    "nonsense",
    '"',
    '"Ã©"',
    "W/",
    tag(HEAD).upper(),
    tag(HEAD)[:-2] + '"',
    f'"x{digest(HEAD.encode())}"',
    f'"{digest(HEAD.encode())}-br"',
    '"' * 4000,
    "," * 4000,
]
"""Values that do not name the head, for either header."""


def put(stub: Stub, content: str, client: str = "laptop", **conditions: str) -> Reply:
    """Upload under conditions, each named as its header with underscores."""
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    return stub.ask("PUT", FILE, {"X-Client-Id": client, "Content-Type": "text/plain"} | headers, content)


@pytest.fixture
def stub() -> Stub:
    """A server on which the laptop holds the lock, and has uploaded twice."""
    stub = Stub()
    stub.acquire()
    for content in (A, HEAD):
        assert stub.upload(content=content).status == 200
    return stub


# Tags


def test_a_download_a_version_and_a_list_tell_the_digest_of_the_content(stub: Stub) -> None:
    """In quotes where it is a tag."""
    assert stub.download().header("ETag") == tag(HEAD)
    assert stub.ask("HEAD", FILE).header("ETag") == tag(HEAD)
    assert stub.ask("GET", f"{FILE}/versions/1").header("ETag") == tag(A)
    [listed] = stub.ask("GET", "/projects/demo/files").json["files"]
    assert f'"{listed["sha256"]}"' == tag(HEAD)


@pytest.mark.parametrize(
    "path", [f"{FILE}/versions", f"{FILE}/versions/9", "/projects/demo/files", "/health"]
)
def test_a_list_or_an_error_has_no_tag(stub: Stub, path: str) -> None:
    """Tags are for contents."""
    assert stub.ask("GET", path).header("ETag") is None


# Downloads


@pytest.mark.parametrize(
    "known", [*FORMS, f"W/{tag(HEAD)}", f"w/{tag(HEAD)}", f'W/"{digest(HEAD.encode())}-gzip"']
)
def test_a_content_that_is_known_is_not_sent_again(stub: Stub, known: str) -> None:
    """304, with the tag, and nothing that would describe a body."""
    for method, path in product(("GET", "HEAD"), (FILE, f"{FILE}/versions/2")):
        reply = stub.ask(method, path, {"If-None-Match": known})
        assert (reply.status, reply.body, reply.header("ETag")) == (304, b"", tag(HEAD))
        assert reply.header("Content-Type") is None
        assert reply.header("Content-Length") in (None, "0")


@pytest.mark.parametrize("known", OTHERS)
def test_a_content_that_is_not_known_is_sent(stub: Stub, known: str) -> None:
    """Whatever the header is."""
    for method, path in product(("GET", "HEAD"), (FILE, f"{FILE}/versions/2")):
        reply = stub.ask(method, path, {"If-None-Match": known})
        assert (reply.status, reply.header("ETag")) == (200, tag(HEAD))
        assert method == "HEAD" or reply.json["content"] == HEAD


@pytest.mark.parametrize("known", [tag(A), "*"])
@pytest.mark.parametrize("path", [FILE, f"{FILE}/versions/1", f"{FILE}/versions/x"])
def test_a_missing_content_is_not_found_whatever_is_known(known: str, path: str) -> None:
    """404 as ever, without a tag."""
    reply = Stub().ask("GET", path, {"If-None-Match": known})
    assert (reply.status, list(reply.json), reply.header("ETag")) == (404, ["error"], None)


@pytest.fixture
def server() -> Server:
    """A server at the level of bytes, with a file."""
    server = Server()
    server.stub.acquire()
    server.stub.upload(content=A)
    return server


def test_a_connection_goes_on_after_a_304(server: Server) -> None:
    """The answer has no body, and no length that a client would wait for."""
    connection = server.connect()
    for _ in range(3):
        connection.get(FILE, "Host: x", f"If-None-Match: {tag(A)}")
    connection.get(FILE, "Host: x")
    assert connection.statuses == [304, 304, 304, 200]
    assert connection.json["content"] == A
    first, _, rest = connection.transport.value().partition(b"\r\n\r\n")
    assert rest.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"transfer-encoding" not in first.lower()


def test_repeated_headers_are_one_list(server: Server) -> None:
    """As RFC 9110 has it."""
    connection = server.connect()
    for known in (A, C):
        connection.get(FILE, "Host: x", f"If-None-Match: {tag(B)}", f"If-None-Match: {tag(known)}")
    assert connection.statuses == [304, 200]


# Uploads


@pytest.mark.parametrize("condition", FORMS)
def test_an_upload_whose_condition_holds_is_accepted(stub: Stub, condition: str) -> None:
    """With its own tag, and not merged."""
    reply = put(stub, B + C, If_Match=condition)
    assert (reply.status, reply.json["version"], reply.header("ETag")) == (200, 3, tag(B + C))
    assert stub.download().json["content"] == B + C


@pytest.mark.parametrize("condition", [*OTHERS, f"W/{tag(HEAD)}"])
def test_an_upload_whose_condition_does_not_hold_changes_nothing(stub: Stub, condition: str) -> None:
    """412, with the tag of the head; a weak tag is too weak for this."""
    before = stub.state()
    reply = put(stub, A + C, If_Match=condition)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (412, ["error"], tag(HEAD))
    assert "download it, merge" in reply.json["error"]
    assert stub.state() == before


def test_a_first_upload_may_ask_that_there_is_nothing_yet() -> None:
    """Only the first succeeds."""
    stub = Stub()
    stub.acquire()
    assert put(stub, A, If_None_Match="*").status == 200
    reply = put(stub, B, If_None_Match="*")
    assert (reply.status, reply.header("ETag"), stub.download().json["content"]) == (412, tag(A), A)


@pytest.mark.parametrize("condition", ["*", tag(A), "", "nonsense"])
def test_an_upload_over_a_missing_file_says_so(condition: str) -> None:
    """412 without a tag, and with a sentence on what to do about it."""
    stub = Stub()
    stub.acquire()
    reply = put(stub, A, If_Match=condition)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (412, ["error"], None)
    assert "If-None-Match: *" in reply.json["error"]
    assert stub.versions() == []


@pytest.mark.parametrize(
    "conditions",
    [
        *({"If_None_Match": value} for value in (tag(A), tag(HEAD), f"W/{tag(A)}", "", '"*"', "x, *", ",")),
        *({"If_None_Match": "*", "If_Match": value} for value in ("*", tag(HEAD), "")),
    ],
)
@pytest.mark.parametrize("client", ["laptop", "desk"])
def test_an_upload_can_ask_for_no_file_but_for_no_other_content(
    stub: Stub, conditions: dict[str, str], client: str
) -> None:
    """400 with the lock or without it: nothing is kept either."""
    before = stub.state()
    reply = put(stub, C, client, **conditions)
    assert (reply.status, reply.json) == (400, NOT_ONE)
    assert stub.state() == before


def test_a_full_disk_is_told_after_a_condition_that_does_not_hold(stub: Stub) -> None:
    """A 412 takes no space."""
    with full_disk(stub.store):
        assert put(stub, B, If_Match=tag(C)).status == 412
        assert put(stub, B, If_Match=tag(HEAD)).status == 507
    assert stub.download().json["content"] == HEAD


@pytest.mark.parametrize("condition", [tag(A), "*", "nonsense"])
def test_a_condition_is_ignored_where_there_is_nothing_to_compare(stub: Stub, condition: str) -> None:
    """On lists, locks, health and restores."""
    for method, path in (
        ("GET", "/projects/demo/files"),
        ("POST", "/projects/demo/lock"),
        ("GET", f"{FILE}/versions"),
        ("GET", "/health"),
        ("POST", f"{FILE}/restore"),
    ):
        headers = {"X-Client-Id": "laptop", "If-Match": condition, "If-None-Match": condition}
        assert stub.ask(method, path, headers, json.dumps({"version": 1})).status == 200
