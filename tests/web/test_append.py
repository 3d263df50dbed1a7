"""`POST …/files/log.jsonl/append`: its conditions, and keys that make a retry harmless."""

from __future__ import annotations

import json

import pytest

from mneme.merge.bounds import body_size
from mneme.model import Merging
from tests.web.connections import Server
from tests.web.stub import FILE, A, B, C, Reply, Stub, tag

PLACE = f"{FILE}/append"


def append(stub: Stub, lines: str, client: str = "laptop", key: str | None = None, **headers: str) -> Reply:
    """Append to the head, unless a header says otherwise; headers are named with underscores."""
    if not headers.keys() & {"If_Match", "If_None_Match"}:
        head = content(stub)
        headers |= {"If_None_Match": "*"} if head is None else {"If_Match": tag(head)}
    sent = {"X-Client-Id": client, "Content-Type": "application/x-ndjson"}
    sent |= {"Idempotency-Key": key} if key is not None else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return stub.ask("POST", PLACE, sent, lines)


def content(stub: Stub) -> str | None:
    """The content of the head."""
    found: str | None = stub.download().json.get("content")
    return found


@pytest.fixture
def stub() -> Stub:
    """A server on which the laptop holds the lock, and has uploaded a line."""
    stub = Stub()
    stub.acquire()
    stub.upload(content=A)
    return stub


@pytest.mark.parametrize(
    ("content_type", "body", "added"),
    [
        ("application/x-ndjson", B, B),
        ("application/json", json.dumps({"content": B + C}), B + C),
        ("text/plain", json.dumps({"content": B}), json.dumps({"content": B}) + "\n"),
        ("x/y", "é🧠", "é🧠\n"),
    ],
)
def test_lines_come_in_the_bodies_in_which_uploads_do(
    stub: Stub, content_type: str, body: str, added: str
) -> None:
    """Each is on a line of its own."""
    assert append(stub, body, Content_Type=content_type).status == 200
    assert content(stub) == A + added


def test_a_file_that_no_stock_client_could_download_is_not_made(stub: Stub) -> None:
    """413 with a sentence that says what to do; one byte less is fine."""
    size = body_size((A + B).encode())
    stub.store.merging = Merging(max_bytes=size - 1)
    before = stub.state()
    reply = append(stub, B, key="key")
    assert (reply.status, list(reply.json)) == (413, ["error"])
    assert "without its oldest lines" in reply.json["error"]
    assert stub.state() == before
    stub.store.merging = Merging(max_bytes=size)
    assert append(stub, B, key="key").status == 200


@pytest.mark.parametrize("name", ["entities.json", "summary.json", "summary.md", "remembered.json"])
def test_only_the_log_has_lines_to_be_added_to(stub: Stub, name: str) -> None:
    """There is no such place for the other files."""
    reply = stub.ask("POST", f"/projects/demo/files/{name}/append", {"X-Client-Id": "laptop"}, B)
    assert (reply.status, reply.json) == (404, {"error": "Not found"})


# Conditions


@pytest.mark.parametrize("condition", [{"If_Match": tag(B)}, {"If_None_Match": "*"}])
def test_an_append_whose_condition_does_not_hold_changes_nothing(
    stub: Stub, condition: dict[str, str]
) -> None:
    """412 with the tag of the head."""
    before = stub.state()
    reply = append(stub, B, key="key", **condition)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (412, ["error"], tag(A))
    assert stub.state() == before


@pytest.mark.parametrize("client", ["laptop", "desk"])
@pytest.mark.parametrize("condition", [None, "*", "", f"W/{tag(A)}", f"{tag(A)}, {tag(B)}"])
def test_an_append_that_does_not_name_its_content_is_told_what_to_send(
    stub: Stub, condition: str | None, client: str
) -> None:
    """428, with the lock or without it, and nothing is added or kept."""
    before = stub.state()
    headers = {"X-Client-Id": client, "Content-Type": "text/plain"}
    headers |= {} if condition is None else {"If-Match": condition}
    reply = stub.ask("POST", PLACE, headers, B)
    assert (reply.status, list(reply.json)) == (428, ["error"])
    assert 'If-Match: "<sha256 of the content you append to>"' in reply.json["error"]
    assert stub.state() == before


# Keys


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("k", '"k"'),
        ("k", "  k\t"),
        ("k" * 200, "k" * 200),
        ("a key; with=\\ (signs)", "a key; with=\\ (signs)"),
        ("clé-記憶", "clé-記憶"),
    ],
)
def test_an_append_with_a_key_that_came_before_is_the_same(stub: Stub, first: str, again: str) -> None:
    """Both have one answer and make one version."""
    answers = [append(stub, B, key=key) for key in (first, again)]
    assert answers[0].json == answers[1].json
    assert [answer.header("ETag") for answer in answers] == [tag(A + B)] * 2
    assert (content(stub), len(stub.versions())) == (A + B, 2)


@pytest.mark.parametrize("key", ["K", "'k'", "k k"])
def test_another_key_is_another_append(stub: Stub, key: str) -> None:
    """Each counts as it is written."""
    append(stub, B, key="k")
    append(stub, B, key=key)
    assert content(stub) == A + B + B


@pytest.mark.parametrize(
    "key", ["", " ", '""', '"', "k" * 201, '"' + "k" * 201 + '"', "a\tb", "a\x1b[31m", "\x7f", "a\u0085b"]
)
@pytest.mark.parametrize("client", ["laptop", "desk"])
def test_a_key_that_cannot_be_one_is_an_error(stub: Stub, key: str, client: str) -> None:
    """400 with the lock or without it, and no line is added or kept."""
    before = stub.state()
    reply = append(stub, B, client, key)
    assert (reply.status, reply.json) == (
        400,
        {"error": "Idempotency-Key must be 1 to 200 characters, none of them control characters"},
    )
    assert stub.state() == before


def test_a_key_in_latin_1_is_one() -> None:
    """Node sends it so."""
    server = Server()
    server.stub.acquire()
    connection = server.connect()
    for _ in range(2):
        head = f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nX-Client-Id: laptop\r\nContent-Length: {len(A)}\r\n"
        connection.send(head.encode() + b"If-None-Match: *\r\nIdempotency-Key: cl\xe9\r\n\r\n" + A.encode())
    assert connection.statuses == [200, 200]
    assert content(server.stub) == A


def test_a_key_that_comes_with_other_lines_is_a_mistake(stub: Stub) -> None:
    """422, and the lines are not added; the answer does not repeat the key."""
    append(stub, B, key="key")
    before = stub.state()
    reply = append(stub, C, key="key")
    assert (reply.status, reply.json) == (
        422,
        {"error": "This Idempotency-Key came with other lines before: take a new one for each append"},
    )
    assert stub.state() == before


def test_no_answer_tells_of_keys(stub: Stub) -> None:
    """They are between the server and one client."""
    append(stub, B, key="secret-idempotency")
    append(stub, C, "desk", key="secret-idempotency")
    for place in (FILE, f"{FILE}/versions", "/projects", "/projects/demo/files", f"{FILE}/versions/2"):
        reply = stub.ask("GET", place)
        assert (reply.status, b"secret-idempotency" in reply.body) == (200, False)
