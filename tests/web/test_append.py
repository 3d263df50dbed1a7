"""`POST …/files/log.jsonl/append`: lines that are added, and what an `Idempotency-Key` is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mneme.merge.bounds import body_size
from mneme.model import Append, FileName, Merging, Millis, NotLocked, ProjectId, Rescued, digest
from tests.kept import DiskStore, MemoryStore, full_disk
from tests.web.connections import LIMIT, Server
from tests.web.stub import TTL, Reply, Stub, entry

FILE = "/projects/demo/files/log.jsonl"
PLACE = f"{FILE}/append"
A, B, C, D = (entry(content, minute) for minute, content in enumerate("abcd"))
NO_LOCK = "No lock held - acquire lock before writing"
BAD_KEY = {"error": "Idempotency-Key must be 1 to 200 characters, none of them control characters"}
REUSED = {"error": "This Idempotency-Key came with other lines before: take a new one for each append"}


def tag(content: str) -> str:
    """The tag of a content."""
    return f'"{digest(content.encode())}"'


def append(
    stub: Stub, lines: bytes | str, client: str = "laptop", key: str | None = None, **headers: str
) -> Reply:
    """Append lines to what is there, unless a header says otherwise; headers are named with underscores."""
    if not headers.keys() & {"If_Match", "If_None_Match"}:
        headers |= {"If_None_Match": "*"} if content(stub) is None else {"If_Match": tag(content(stub))}
    sent = {"X-Client-Id": client, "Content-Type": "application/x-ndjson"}
    sent |= {"Idempotency-Key": key} if key is not None else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return stub.ask("POST", PLACE, sent, lines)


def content(stub: Stub) -> Any:
    """What the head holds."""
    return stub.download().json.get("content")


def state(stub: Stub) -> list[Any]:
    """All that an append could change."""
    return [stub.ask("GET", place).json for place in (FILE, f"{FILE}/versions", "/projects")]


@pytest.fixture
def stub() -> Stub:
    """A server on which the laptop holds the lock, and has uploaded a line."""
    stub = Stub()
    stub.acquire()
    stub.upload(content=A)
    return stub


# What is added


def test_lines_are_added_and_the_answer_is_that_of_an_upload(stub: Stub) -> None:
    """With the mtime, version and tag of the whole."""
    reply = append(stub, B)
    head = stub.download()
    assert (reply.status, reply.json) == (
        200,
        {"success": True, "mtime": head.json["mtime"], "version": 2},
    )
    assert reply.header("ETag") == head.header("ETag") == tag(A + B)
    assert head.json["content"] == A + B


@pytest.mark.parametrize(
    ("body", "content_type", "added"),
    [
        (B, "application/x-ndjson", B),
        (B, "text/plain; charset=utf-8", B),
        (B, "application/octet-stream", B),
        (json.dumps({"content": B}), "application/json", B),
        (json.dumps({"content": B}), None, B),
        (B, None, B),
        (B, "application/x-www-form-urlencoded", B),
        (B.rstrip(), "text/plain", B),
        (B + C, "text/plain", B + C),
        (B.replace("\n", "\r\n"), "text/plain", B.replace("\n", "\r\n")),
        ("\n", "text/plain", "\n"),
        ("no entry", "text/plain", "no entry\n"),
        ("é🧠\n", "text/plain", "é🧠\n"),
        (json.dumps({"content": "🧠"}), "application/json", "🧠\n"),
        (json.dumps({"content": "a\0b\u2028c"}), "application/json", "a\0b\u2028c\n"),
    ],
)
def test_lines_come_in_the_bodies_in_which_uploads_do(
    stub: Stub, body: str, content_type: str | None, added: str
) -> None:
    """And are added as they are, with a newline at the end."""
    headers = {"X-Client-Id": "laptop", "If-Match": tag(A)} | (
        {"Content-Type": content_type} if content_type else {}
    )
    assert stub.ask("POST", PLACE, headers, body).status == 200
    assert content(stub) == A + added


@pytest.mark.parametrize("holder", ["laptop", "desk", None])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/x-ndjson"),
        (b"", "application/json"),
        (b'{"content":""}', "application/json"),
        (b'{"content":""}', "application/x-custom"),
        (b"{}", "application/json"),
        (A.encode(), "application/json"),
        ((A + B).encode(), "application/json"),
        (b"[]", "application/json"),
        (b'{"content":1}', "application/json"),
        (b'{"content":["a"]}', "application/json"),
        (b"{", "application/json"),
        (b'{"content":"\xff"}', "application/json"),
        (rb'{"content":"\ud800"}', "application/json"),
        (b"[" * 5_000, "application/json"),
        (b"\xff\n", "application/x-ndjson"),
        (b"ok\n\xed\xa0\x80\n", "text/plain"),
    ],
)
def test_a_body_without_lines_is_an_error_and_changes_nothing(
    stub: Stub, body: bytes, content_type: str, holder: str | None
) -> None:
    """Whoever holds the lock; its key is as good as new."""
    stub.release()
    if holder:
        stub.acquire(holder)
    before = state(stub)
    reply = append(stub, body, key="key", Content_Type=content_type)
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert state(stub) == before
    assert append(stub, B, key="key").status == (200 if holder == "laptop" else 403)


def test_a_compressed_body_is_an_error(stub: Stub) -> None:
    """It would be added as it is."""
    assert append(stub, B, Content_Encoding="gzip").status == 400
    assert content(stub) == A


def test_a_body_over_the_limit_is_refused() -> None:
    """As of an upload, before it is looked at."""
    server = Server()
    server.stub.acquire()
    connection = server.connect()
    head = f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nX-Client-Id: laptop\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    connection.send(head.encode())
    assert connection.statuses == [413]
    assert server.stub.versions() == []


def test_a_file_that_no_stock_client_could_download_is_not_made(stub: Stub) -> None:
    """413 with a sentence that says what to do; one byte less is fine."""
    size = body_size((A + B).encode())
    stub.store.merging = Merging(max_bytes=size - 1)
    before = state(stub)
    reply = append(stub, B, key="key")
    assert (reply.status, list(reply.json)) == (413, ["error"])
    assert "without its oldest lines" in reply.json["error"]
    assert state(stub) == before
    stub.store.merging = Merging(max_bytes=size)
    assert append(stub, B, key="key").status == 200


# Whose, and where


@pytest.mark.parametrize("client", ["", "x" * 201, "a\x1b"])
def test_an_append_of_nobody_is_an_error(client: str) -> None:
    """There is no telling whose memory it would be."""
    stub = Stub()
    assert append(stub, A, client).status == 400
    assert stub.ask("POST", PLACE, {"Content-Type": "text/plain"}, A).status == 400
    assert list(stub.store.projects()) == []


def test_an_append_without_a_key_of_the_server_is_refused() -> None:
    """And nothing is kept."""
    stub = Stub(keys=["alpha-key-0123456789"])
    assert append(stub, A, key="key").status == 401
    assert append(stub, A, Authorization="Bearer wrong-key").status == 403
    assert list(stub.store.projects()) == []


@pytest.mark.parametrize(
    "name",
    [
        "entities.json",
        "summary.json",
        "summary.md",
        "remembered.json",
        "secrets.txt",
        "..",
        "LOG.JSONL",
        "log.jsonl%20",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_only_the_log_has_lines_to_be_added_to(stub: Stub, name: str, method: str) -> None:
    """There is no such place for the others."""
    before = state(stub)
    reply = stub.ask(method, f"/projects/demo/files/{name}/append", {"X-Client-Id": "laptop"}, B)
    assert (reply.status, reply.json) == (404, {"error": "Not found"})
    assert state(stub) == before


@pytest.mark.parametrize(
    "place", [f"{PLACE}/", f"{FILE}//append", f"{PLACE}/1", "/projects/files/log.jsonl/append"]
)
def test_a_place_beside_it_is_not_found(stub: Stub, place: str) -> None:
    """No redirect, no guess."""
    assert stub.ask("POST", place, {"X-Client-Id": "laptop"}, B).status == 404
    assert content(stub) == A


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_appending_is_all_that_can_be_done_there(stub: Stub, method: str) -> None:
    """405 with what is allowed."""
    reply = stub.ask(method, PLACE, {"X-Client-Id": "laptop"}, B if method == "PUT" else None)
    assert (reply.status, reply.header("Allow")) == (405, "OPTIONS, POST")
    assert content(stub) == A


def test_options_are_answered_there_too() -> None:
    """204, with nothing asked of whoever asks."""
    reply = Stub(keys=["alpha-key-0123456789"]).ask("OPTIONS", PLACE)
    assert (reply.status, reply.body) == (204, b"")


def test_a_query_string_breaks_nothing(stub: Stub) -> None:
    """It is not looked at."""
    headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain", "If-Match": tag(A)}
    assert stub.ask("POST", f"{PLACE}?key=x&%ZZ", headers, B).status == 200


@pytest.mark.parametrize("project", ["org%2Frepo", "-home-ana-src-my.app", "%E8%A8%98%E6%86%B6"])
def test_it_is_the_project_that_is_named(project: str) -> None:
    """However its id is encoded."""
    stub = Stub()
    stub.acquire(project=project)
    headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain", "If-None-Match": "*"}
    assert stub.ask("POST", f"/projects/{project}/files/log.jsonl/append", headers, A).status == 200
    assert stub.download(project=project).json["content"] == A


# Refused


@pytest.mark.parametrize("condition", [tag(A), tag(D), '"nonsense"'])
def test_an_append_under_the_lock_of_another_is_refused_and_kept(stub: Stub, condition: str) -> None:
    """With all that a refused upload is told, whatever its condition; it is in the head once that lock is free."""
    lock = stub.ask("GET", "/projects/demo/lock").json["lock"]
    reply = append(stub, B, "desk", If_Match=condition)
    assert (reply.status, reply.json) == (
        403,
        {"error": "Lock held by different client", "lock": lock, "rescued": True, "version": 2},
    )
    assert (content(stub), reply.header("ETag")) == (A, None)
    stub.release()
    assert content(stub) == A + B


def test_all_refused_appends_of_a_client_are_in_the_head_once_the_lock_is_free(stub: Stub) -> None:
    """Not the last of them alone."""
    for lines in (B, C, D):
        assert append(stub, lines, "desk").json["rescued"] is True
    stub.release()
    assert content(stub) == A + B + C + D


def test_an_append_after_its_lock_has_expired_is_refused_and_merged(stub: Stub) -> None:
    """At once, for nobody has the lock."""
    stub.clock.advance(TTL / 1000)
    reply = append(stub, B)
    assert (reply.status, reply.json) == (403, {"error": NO_LOCK, "rescued": True, "version": 2})
    assert content(stub) == A + B


def test_an_append_with_a_stale_token_is_refused_and_not_kept(stub: Stub) -> None:
    """409 with the lock that is held."""
    old = stub.ask("GET", "/projects/demo/lock").json["lock"]["token"]
    stub.release()
    lock = stub.acquire().json["lock"]
    before = state(stub)
    reply = append(stub, B, key="key", **{"X-Lock-Token": str(old)})
    assert (reply.status, reply.json["lock"]) == (409, lock)
    assert state(stub) == before
    assert append(stub, B, **{"X-Lock-Token": "x"}).status == 400


class NoSpaceStore(MemoryStore):
    """A store that has no space for what it refuses."""

    def append(self, project: ProjectId, append: Append, now: Millis, /) -> Rescued:
        """Refuse, and keep nothing."""
        return Rescued(NotLocked(), None)


def test_a_refusal_says_nothing_of_rescue_when_there_was_no_space() -> None:
    """The contract's sentence alone: the client must not believe that its lines are safe."""
    reply = append(Stub(store=NoSpaceStore()), A)
    assert (reply.status, reply.json) == (403, {"error": NO_LOCK})


def test_a_full_disk_is_told_to_the_holder() -> None:
    """507, nothing changed; the same append is done when there is space again."""
    stub = Stub()
    stub.acquire()
    append(stub, A)
    with full_disk(stub.store):
        assert append(stub, B, key="key").status == 507
    assert content(stub) == A
    assert append(stub, B, key="key").status == 200
    assert content(stub) == A + B


# Conditions


@pytest.mark.parametrize("condition", [tag(A), digest(A.encode())])
def test_an_append_whose_condition_holds_is_accepted(stub: Stub, condition: str) -> None:
    """In each form in which that can be said."""
    assert append(stub, B, If_Match=condition).status == 200
    assert content(stub) == A + B


@pytest.mark.parametrize("condition", [tag(B), "nonsense"])
def test_an_append_whose_condition_does_not_hold_changes_nothing(stub: Stub, condition: str) -> None:
    """412 with the tag of what is there."""
    before = state(stub)
    reply = append(stub, B, key="key", If_Match=condition)
    assert (reply.status, list(reply.json), reply.header("ETag")) == (412, ["error"], tag(A))
    assert state(stub) == before


@pytest.mark.parametrize(("condition", "status"), [("*", 412), (tag(A), 400), (tag(B), 400), ("", 400)])
def test_an_append_may_ask_that_there_is_nothing_yet(stub: Stub, condition: str, status: int) -> None:
    """And nothing else by that header; here there is something."""
    before = state(stub)
    assert append(stub, B, If_None_Match=condition).status == status
    assert state(stub) == before


def test_an_append_to_nothing_makes_the_file() -> None:
    """Under that condition, too; a condition that there is something does not hold."""
    stub = Stub()
    stub.acquire()
    assert append(stub, A, If_Match=tag("")).status == 412
    assert append(stub, A, If_None_Match="*").status == 200
    assert content(stub) == A


@pytest.mark.parametrize("client", ["laptop", "desk"])
@pytest.mark.parametrize("condition", [None, "*", "", f"W/{tag(A)}", f"{tag(A)}, {tag(B)}"])
def test_an_append_that_does_not_name_its_content_is_told_what_to_send(
    stub: Stub, condition: str | None, client: str
) -> None:
    """428, with the lock or without it, and nothing is added or kept."""
    before = state(stub)
    headers = {"X-Client-Id": client, "Content-Type": "text/plain"}
    headers |= {} if condition is None else {"If-Match": condition}
    reply = stub.ask("POST", PLACE, headers, B)
    assert (reply.status, list(reply.json)) == (428, ["error"])
    assert 'If-Match: "<sha256 of the content you append to>"' in reply.json["error"]
    assert state(stub) == before


# Keys


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("k", "k"),
        ("k", '"k"'),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', '"8e03978e-40d5-43dd-bc93-6894a57f9324"'),
        ("k" * 200, "k" * 200),
        ("a key; with=\\ (signs)", "a key; with=\\ (signs)"),
        ("clé-記憶", "clé-記憶"),
        ("k", "  k\t"),
    ],
)
def test_an_append_with_a_key_that_came_before_is_the_same(stub: Stub, first: str, again: str) -> None:
    """One answer, one version."""
    answers = [append(stub, B, key=key) for key in (first, again)]
    assert answers[0].json == answers[1].json
    assert [one.header("ETag") for one in answers] == [tag(A + B)] * 2
    assert (content(stub), len(stub.versions())) == (A + B, 2)


@pytest.mark.parametrize("key", ["K", "k2", "'k'", "k k"])
def test_another_key_is_another_append(stub: Stub, key: str) -> None:
    """Each counts as it is written."""
    append(stub, B, key="k")
    append(stub, B, key=key)
    assert content(stub) == A + B + B


@pytest.mark.parametrize(
    "key",
    ["", " ", '""', '"', "k" * 201, '"' + "k" * 201 + '"', "a\tb", "a\x1b[31m", "\x7f", "a\u0085b"],
)
@pytest.mark.parametrize("holder", ["laptop", "desk"])
def test_a_key_that_cannot_be_one_is_an_error(stub: Stub, key: str, holder: str) -> None:
    """400, whoever holds the lock, and no line is added or kept: a retry would double it."""
    stub.release()
    stub.acquire(holder)
    before = state(stub)
    reply = append(stub, B, key=key)
    assert (reply.status, reply.json) == (400, BAD_KEY)
    assert state(stub) == before


def test_a_key_of_bytes_that_are_no_utf_8_is_one() -> None:
    """Node sends Latin-1."""
    server = Server()
    server.stub.acquire()
    connection = server.connect()
    for _ in range(2):
        head = f"POST {PLACE} HTTP/1.1\r\nHost: x\r\nX-Client-Id: laptop\r\nContent-Length: {len(A)}\r\n"
        connection.send(head.encode() + b"If-None-Match: *\r\nIdempotency-Key: cl\xe9\r\n\r\n" + A.encode())
    assert connection.statuses == [200, 200]
    assert server.stub.download().json["content"] == A


@pytest.mark.parametrize("others", [C, B + C, A + B, "x" + B])
@pytest.mark.parametrize("client", ["laptop", "desk"])
def test_a_key_that_comes_with_other_lines_is_a_mistake(stub: Stub, others: str, client: str) -> None:
    """422, and the lines are not added; the answer does not repeat the key."""
    append(stub, B, client, key="key")
    before = state(stub)
    reply = append(stub, others, client, key="key")
    assert (reply.status, reply.json) == (422, REUSED)
    assert state(stub) == before


def test_a_refused_append_comes_to_what_became_of_it(stub: Stub) -> None:
    """Refused as long as it waits, and 200 once its lines are in the head, with or without the lock."""
    first = append(stub, B, "desk", key="key")
    assert append(stub, B, "desk", key="key").json == first.json
    stub.release()
    for _ in range(2):
        reply = append(stub, B, "desk", key="key")
        assert (reply.status, reply.json["merged"], reply.header("ETag")) == (200, True, tag(A + B))
        stub.acquire("desk")
    assert content(stub) == A + B


def test_an_append_is_known_after_a_restart(tmp_path: Path) -> None:
    """Its key is in the journal, with its version."""
    for _ in range(3):
        stub = Stub(store=DiskStore(tmp_path))
        stub.acquire()
        assert append(stub, A, key="key").json["version"] == 1
        assert content(stub) == A


def test_a_key_of_an_upload_is_not_looked_at(stub: Stub) -> None:
    """An upload is the same again by its content."""
    headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain", "Idempotency-Key": ""}
    assert stub.ask("PUT", FILE, headers, A + B).status == 200
    assert append(stub, C, key="key").status == 200
    assert stub.ask("PUT", FILE, headers | {"Idempotency-Key": "key"}, C + D).status == 200
    assert content(stub) == C + D


def test_no_answer_tells_of_keys(stub: Stub) -> None:
    """They are between the server and one client."""
    append(stub, B, key="secret-idempotency")
    append(stub, C, "desk", key="secret-idempotency")
    for place in (FILE, f"{FILE}/versions", "/projects", "/projects/demo/files", f"{FILE}/versions/2"):
        assert b"secret-idempotency" not in stub.ask("GET", place).body
    assert FileName.LOG.value in stub.ask("GET", "/projects").body.decode()
