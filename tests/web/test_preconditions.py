"""`If-Match` and `If-None-Match` over HTTP, in all the forms in which they come, and the tags that answers carry."""

from __future__ import annotations

import json

import pytest

from mneme.model import Merging, digest
from tests.kept import MemoryStore, full_disk
from tests.web.connections import Server
from tests.web.stub import TTL, Reply, Stub, entry

FILE = "/projects/demo/files/log.jsonl"
A, B, C, D = (entry(content, minute) for minute, content in enumerate("abcd"))
NOT_ONE = {
    "error": "If-None-Match of an upload must be *, for a file that does not exist yet, and without If-Match"
}


def tag(content: str) -> str:
    """The tag of a content."""
    return f'"{digest(content.encode())}"'


def put(stub: Stub, content: str, client: str = "laptop", **conditions: str) -> Reply:
    """Upload under conditions, each named as its header with underscores."""
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    return stub.ask("PUT", FILE, {"X-Client-Id": client, "Content-Type": "text/plain"} | headers, content)


def get(stub: Stub, known: str, method: str = "GET", path: str = FILE, client: str | None = None) -> Reply:
    """Ask for a file, unless it is known."""
    named = {"X-Client-Id": client} if client else {}
    return stub.ask(method, path, {"If-None-Match": known} | named)


@pytest.fixture
def stub() -> Stub:
    """A server on which the laptop holds the lock, and has uploaded twice."""
    stub = Stub()
    stub.acquire()
    for content in (A, A + B):
        assert stub.upload(content=content).status == 200
    return stub


def state(stub: Stub) -> tuple[object, ...]:
    """All that an upload could change."""
    return stub.download().json, stub.versions(), stub.ask("GET", "/projects").json


# Tags


def test_a_download_a_version_an_upload_and_a_list_tell_the_digest_of_the_content(stub: Stub) -> None:
    """Of just that content, in quotes where it is a tag."""
    assert stub.download().header("ETag") == tag(A + B)
    assert stub.ask("HEAD", FILE).header("ETag") == tag(A + B)
    assert stub.ask("GET", f"{FILE}/versions/1").header("ETag") == tag(A)
    assert stub.upload(content=B + C).header("ETag") == tag(B + C)
    [listed] = stub.ask("GET", "/projects/demo/files").json["files"]
    assert f'"{listed["sha256"]}"' == tag(B + C)


def test_the_tag_of_a_merge_is_that_of_the_merge(stub: Stub) -> None:
    """Not that of what was uploaded, which is no longer all there is."""
    stub.release()
    stub.acquire("desk")
    reply = stub.upload("desk", C)
    assert (reply.json["merged"], reply.header("ETag")) == (True, tag(A + B + C))


@pytest.mark.parametrize(
    "path", [f"{FILE}/versions", f"{FILE}/versions/9", "/projects/demo/files", "/health"]
)
def test_what_is_no_content_has_no_tag(stub: Stub, path: str) -> None:
    """A list, or an error."""
    assert stub.ask("GET", path).header("ETag") is None


# Downloads


@pytest.mark.parametrize("path", [FILE, f"{FILE}/versions/2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "known",
    [
        tag(A + B),
        f"W/{tag(A + B)}",
        f"w/{tag(A + B)}",
        f"{tag(C)}, {tag(A + B)}",
        f"{tag(C)},W/{tag(A + B)},{tag(D)}",
        f'"{digest((A + B).encode())}-gzip"',
        f'W/"{digest((A + B).encode())}-gzip"',
        digest((A + B).encode()),
        f'"with, a comma", {tag(A + B)}',
        f"  {tag(A + B)}\t",
        "*",
    ],
)
def test_what_is_known_is_not_sent_again(stub: Stub, known: str, method: str, path: str) -> None:
    """304, with the tag, and nothing that would describe a body."""
    reply = get(stub, known, method, path)
    assert (reply.status, reply.body, reply.header("ETag")) == (304, b"", tag(A + B))
    assert reply.header("Content-Type") is None
    assert reply.header("Content-Length") in (None, "0")


@pytest.mark.parametrize("path", [FILE, f"{FILE}/versions/2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "known",
    [
        "",
        " ",
        ",",
        '""',
        '"*"',
        "nonsense",
        '"',
        tag(A),
        f"{tag(A)}, {tag(C)}",
        tag(A + B).upper(),
        tag(A + B)[:-2] + '"',
        f'"{digest((A + B).encode())}-br"',
        f'"x{digest((A + B).encode())}"',
        '"Ã©"',
        "W/",
        '"' * 4000,
        "," * 4000,
    ],
)
def test_what_is_not_known_is_sent(stub: Stub, known: str, method: str, path: str) -> None:
    """Whatever the header is; it is no mistake that anybody would be told of."""
    reply = get(stub, known, method, path)
    assert (reply.status, reply.header("ETag")) == (200, tag(A + B))
    assert method == "HEAD" or reply.json["content"] == A + B


@pytest.mark.parametrize("known", [tag(A), "*"])
@pytest.mark.parametrize("path", [FILE, f"{FILE}/versions/1", f"{FILE}/versions/x"])
def test_what_is_not_there_is_not_there_whatever_is_known(known: str, path: str) -> None:
    """404 as ever, without a tag."""
    reply = get(Stub(), known, path=path)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (404, ["error"], None)


@pytest.mark.parametrize(("known", "head"), [(tag(A + B), B + C), ("*", A + B + C)])
def test_a_client_that_names_the_head_has_it_and_one_that_names_any_has_not(
    stub: Stub, known: str, head: str
) -> None:
    """What its next upload lacks of that it has removed."""
    get(stub, known, client="desk")
    stub.release()
    stub.acquire("desk")
    stub.upload("desk", B + C)
    assert stub.download().json["content"] == head


@pytest.mark.parametrize("path", ["HEAD", f"{FILE}/versions/2"])
def test_whoever_looks_in_another_way_is_not_known_to_have_the_head(stub: Stub, path: str) -> None:
    """By a HEAD, or at a version."""
    if path == "HEAD":
        get(stub, tag(A + B), "HEAD", client="desk")
    else:
        get(stub, tag(A + B), path=path, client="desk")
    stub.release()
    stub.acquire("desk")
    stub.upload("desk", B + C)
    assert stub.download().json["content"] == A + B + C


def test_a_connection_goes_on_after_a_304() -> None:
    """It has no body, and no length that a client would wait for."""
    server = Server()
    server.stub.acquire()
    server.stub.upload(content=A)
    connection = server.connect()
    for _ in range(3):
        connection.get(FILE, "Host: x", f"If-None-Match: {tag(A)}")
    connection.get(FILE, "Host: x")
    assert connection.statuses == [304, 304, 304, 200]
    assert connection.json["content"] == A
    first, _, rest = connection.transport.value().partition(b"\r\n\r\n")
    assert rest.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"transfer-encoding" not in first.lower()


def test_repeated_headers_are_one_list() -> None:
    """As RFC 9110 has it."""
    server = Server()
    server.stub.acquire()
    server.stub.upload(content=A)
    connection = server.connect()
    connection.get(FILE, "Host: x", f"If-None-Match: {tag(B)}", f"If-None-Match: {tag(A)}")
    connection.get(FILE, "Host: x", f"If-None-Match: {tag(B)}", f"If-None-Match: {tag(C)}")
    assert connection.statuses == [304, 200]


def test_bytes_that_are_no_text_are_no_tag() -> None:
    """They are compared, and found different."""
    server = Server()
    server.stub.acquire()
    server.stub.upload(content=A)
    connection = server.connect()
    connection.send(b'GET %b HTTP/1.1\r\nHost: x\r\nIf-None-Match: "\xff\xfe"\r\n\r\n' % FILE.encode())
    assert connection.statuses == [200]


def test_a_wrong_key_is_told_before_anything_is_compared() -> None:
    """Nobody learns what a file holds by asking whether it is this."""
    stub = Stub(keys=["alpha-key-0123456789"])
    for known in ("*", tag(A)):
        reply = get(stub, known)
        assert (reply.status, reply.header("ETag")) == (401, None)


# Uploads


@pytest.mark.parametrize(
    "condition",
    [
        tag(A + B),
        f"{tag(C)}, {tag(A + B)}",
        f'"{digest((A + B).encode())}-gzip"',
        digest((A + B).encode()),
        f"W/{tag(C)}, {tag(A + B)}",
        "*",
    ],
)
def test_an_upload_whose_condition_holds_is_accepted(stub: Stub, condition: str) -> None:
    """As it would be without, and with its own tag."""
    reply = put(stub, B + C, If_Match=condition)
    assert (reply.status, reply.json["version"], reply.header("ETag")) == (200, 3, tag(B + C))
    assert "merged" not in reply.json
    assert stub.download().json["content"] == B + C


@pytest.mark.parametrize("content", [A, A + C, C])
def test_an_upload_that_names_the_head_replaces_it_whatever_it_lacks(stub: Stub, content: str) -> None:
    """Even the end of a log is removed so, or all of it."""
    reply = put(stub, content, If_Match=tag(A + B))
    assert (reply.status, "merged" in reply.json) == (200, False)
    assert stub.download().json["content"] == content
    assert put(stub, D).json["merged"] is True


@pytest.mark.parametrize(
    "condition",
    [
        tag(A),
        f"W/{tag(A + B)}",
        f"{tag(A)}, {tag(C)}",
        "",
        ",",
        '""',
        '"*"',
        "nonsense",
        '"',
        '"Ã©"',
        tag(A + B).upper(),
        f'"{digest((A + B).encode())}-br"',
        '"' * 4000,
    ],
)
def test_an_upload_whose_condition_does_not_hold_changes_nothing(stub: Stub, condition: str) -> None:
    """412, with the tag of what is there, and a sentence that says what to do; a weak tag is too weak for this."""
    before = state(stub)
    reply = put(stub, A + C, If_Match=condition)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (412, ["error"], tag(A + B))
    assert "download it, merge" in reply.json["error"]
    assert state(stub) == before


def test_a_first_upload_may_ask_that_there_is_nothing_yet() -> None:
    """Only the first is."""
    stub = Stub()
    stub.acquire()
    assert put(stub, A, If_None_Match="*").status == 200
    reply = put(stub, B, If_None_Match="*")
    assert (reply.status, reply.header("ETag"), stub.download().json["content"]) == (412, tag(A), A)


@pytest.mark.parametrize("condition", ["*", tag(A), "", "nonsense"])
def test_an_upload_over_what_is_not_there_says_so(condition: str) -> None:
    """412 without a tag, and what to do about it."""
    stub = Stub()
    stub.acquire()
    reply = put(stub, A, If_Match=condition)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (412, ["error"], None)
    assert "If-None-Match: *" in reply.json["error"]
    assert stub.versions() == []


@pytest.mark.parametrize("condition", [tag(A), tag(A + B), f"W/{tag(A)}", "", '"*"', "x, *", ","])
@pytest.mark.parametrize("holder", ["laptop", "desk", None])
def test_an_upload_can_only_ask_that_there_is_nothing_and_not_what_it_is_not(
    stub: Stub, condition: str, holder: str | None
) -> None:
    """400, whoever holds the lock: nothing is kept either."""
    stub.release()
    if holder:
        stub.acquire(holder)
    before = state(stub)
    reply = put(stub, C, If_None_Match=condition)
    assert (reply.status, reply.json) == (400, NOT_ONE)
    assert state(stub) == before


@pytest.mark.parametrize("condition", ["*", tag(A + B), ""])
def test_an_upload_cannot_ask_for_both(stub: Stub, condition: str) -> None:
    """That there is this file, and that there is none."""
    before = state(stub)
    reply = put(stub, C, If_Match=condition, If_None_Match="*")
    assert (reply.status, reply.json) == (400, NOT_ONE)
    assert state(stub) == before


@pytest.mark.parametrize("condition", [tag(A), tag(C), "*", "nonsense"])
def test_a_lock_is_asked_for_first(stub: Stub, condition: str) -> None:
    """403 with all that belongs to it; what is refused is kept, whatever its condition."""
    lock = stub.ask("GET", "/projects/demo/lock").json["lock"]
    reply = put(stub, A + C, "desk", If_Match=condition)
    assert (reply.status, reply.json["lock"], reply.json["rescued"]) == (403, lock, True)
    stub.clock.advance(TTL / 1000)
    assert put(stub, D, If_Match=condition).status == 403
    assert stub.ask("GET", f"{FILE}/versions/{reply.json['version']}").json["content"] == A + C


def test_what_a_refused_upload_names_is_its_base(stub: Stub) -> None:
    """What it lacks of that it has removed; what came after that stays."""
    stub.upload(content=A + B + D)
    reply = put(stub, B + C, "desk", If_Match=tag(A + B))
    [kept, *_] = stub.versions()
    assert (kept["version"], kept["base"]) == (reply.json["version"], 2)
    stub.release()
    assert stub.download().json["content"] == B + C + D


def test_a_repetition_is_accepted_though_its_condition_holds_no_more(stub: Stub) -> None:
    """The answer to the first was lost; it was the head that changed what the condition is about."""
    for _ in range(2):
        reply = put(stub, A + B + C, If_Match=tag(A + B))
        assert (reply.status, reply.json["version"], reply.header("ETag")) == (200, 3, tag(A + B + C))


def test_going_back_is_no_repetition_if_the_head_is_named(stub: Stub) -> None:
    """It makes a version, although its content is an old one."""
    reply = put(stub, A, If_Match=tag(A + B))
    assert (reply.status, reply.json["version"], stub.download().json["content"]) == (200, 3, A)


def test_a_condition_keeps_a_server_that_merges_nothing_from_losing_anything() -> None:
    """That is all there is against it then."""
    stub = Stub(store=MemoryStore(Merging(enabled=False)))
    stub.acquire()
    stub.upload(content=A)
    stub.release()
    stub.acquire("desk")
    assert put(stub, B, "desk", If_None_Match="*").status == 412
    assert put(stub, A + B, "desk", If_Match=tag(A)).status == 200


def test_a_full_disk_is_told_after_a_condition_that_does_not_hold() -> None:
    """It takes no space to say so."""
    stub = Stub()
    stub.acquire()
    stub.upload(content=A)
    with full_disk(stub.store):
        assert put(stub, B, If_Match=tag(C)).status == 412
        assert put(stub, B, If_Match=tag(A)).status == 507
    assert stub.download().json["content"] == A


@pytest.mark.parametrize("condition", [tag(A), "*", "nonsense"])
def test_the_stock_client_never_sends_a_condition_and_others_may_send_it_anywhere(
    stub: Stub, condition: str
) -> None:
    """Where there is nothing to compare it is not looked at."""
    for method, path in (
        ("GET", "/projects/demo/files"),
        ("POST", "/projects/demo/lock"),
        ("GET", f"{FILE}/versions"),
        ("GET", "/health"),
    ):
        headers = {"X-Client-Id": "laptop", "If-Match": condition, "If-None-Match": condition}
        assert stub.ask(method, path, headers).status == 200
    body = json.dumps({"version": 1})
    assert (
        stub.ask("POST", f"{FILE}/restore", {"X-Client-Id": "laptop", "If-Match": condition}, body).status
        == 200
    )
