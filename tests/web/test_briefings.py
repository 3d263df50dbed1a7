"""`briefing.json` and `handoff.json`: for clients that name themselves, and for nobody else."""

from __future__ import annotations

import json

import pytest

from mneme.model import BRIEFINGS, Millis, digest
from mneme.retention import Retention
from tests.web.connections import Server
from tests.web.stub import Reply, Stub, tag
from tests.web.test_events import listening, messages

NAMES = [file.value for file in BRIEFINGS]
ONE, TWO, THREE = (f'{{"ts": "2026-02-04T14:0{minute}:00.000Z"}}' for minute in (1, 2, 3))
NEEDS = (
    'briefing.json and handoff.json need If-Match: "<sha256 of the file on the server>", or for an upload where there '
    "is none If-None-Match: *"
)


def put(
    stub: Stub, content: str, name: str = "briefing.json", client: str = "laptop", **conditions: str
) -> Reply:
    """Upload a briefing, under conditions that are named as their headers with underscores."""
    headers = {key.replace("_", "-"): value for key, value in conditions.items()}
    named = {"X-Client-Id": client, "Content-Type": "text/plain"}
    return stub.ask("PUT", f"/projects/demo/files/{name}", named | headers, content)


def delete(
    stub: Stub, name: str = "briefing.json", client: str | None = "laptop", **conditions: str
) -> Reply:
    """Remove a briefing, as `client` or without a name."""
    headers = {key.replace("_", "-"): value for key, value in conditions.items()}
    named = {"X-Client-Id": client} if client else {}
    return stub.ask("DELETE", f"/projects/demo/files/{name}", named | headers)


def with_briefings() -> Stub:
    """A server with a line in the log and both briefings."""
    stub = Stub()
    stub.acquire()
    stub.upload()
    for name in NAMES:
        assert put(stub, ONE, name, If_None_Match="*").status == 200
    return stub


@pytest.mark.parametrize("name", NAMES)
def test_a_client_uploads_lists_downloads_and_removes_one(name: str) -> None:
    """Without the lock, which another has."""
    stub = Stub()
    stub.acquire("desk")
    uploaded = put(stub, ONE, name, If_None_Match="*")
    assert (uploaded.status, uploaded.json["version"], uploaded.header("etag")) == (200, 1, tag(ONE))
    [listed] = stub.ask("GET", "/projects/demo/files", {"X-Client-Id": "laptop"}).json["files"]
    assert (listed["name"], listed["sha256"]) == (name, digest(ONE.encode()))
    found = stub.download(name, client="desk")
    assert (found.json["content"], found.header("etag")) == (ONE, tag(ONE))
    path = f"/projects/demo/files/{name}"
    assert stub.ask("GET", path, {"X-Client-Id": "desk", "If-None-Match": tag(ONE)}).status == 304
    removed = delete(stub, name, "desk", If_Match=tag(ONE))
    assert (removed.status, removed.json) == (200, {"success": True})
    assert stub.download(name, client="laptop").status == 404
    assert delete(stub, name, "laptop", If_Match=tag(ONE)).json == {"error": "File not found"}
    versions = stub.ask("GET", f"{path}/versions", {"X-Client-Id": "desk"}).json["versions"]
    assert [(one["version"], one["kind"], one["clientId"]) for one in versions] == [
        (2, "removed", "desk"),
        (1, "upload", "laptop"),
    ]


def test_an_upload_or_removal_must_name_the_head() -> None:
    """The answer says what to send, or has the tag of the head."""
    stub = with_briefings()
    for reply in (put(stub, TWO), put(stub, TWO, If_Match="*"), delete(stub), delete(stub, If_Match="*")):
        assert (reply.status, reply.json) == (428, {"error": NEEDS})
    for reply in (
        put(stub, TWO, If_None_Match="*"),
        put(stub, TWO, If_Match=tag(TWO)),
        delete(stub, If_Match=tag(TWO)),
    ):
        assert (reply.status, reply.header("etag"), list(reply.json)) == (412, tag(ONE), ["error"])
    assert stub.download("briefing.json", client="laptop").json["content"] == ONE


def test_a_content_that_was_the_head_is_refused_with_its_version() -> None:
    """So that a client knows the difference to another head."""
    stub = with_briefings()
    assert put(stub, TWO, If_Match=tag(ONE)).status == 200
    refused = put(stub, ONE, If_Match=tag(TWO))
    assert (refused.status, refused.json) == (
        412,
        {
            "error": "The file had this content before, nothing was changed: only a restore brings that back",
            "version": 2,
        },
    )


@pytest.mark.parametrize("name", NAMES)
def test_to_all_others_they_are_names_like_any(name: str) -> None:
    """Every answer is that for a name that nobody uses."""
    stub = with_briefings()
    path, other = f"/projects/demo/files/{name}", "/projects/demo/files/other.json"
    asked = [
        *(("GET", end, None) for end in ("", "/versions", "/versions/2")),
        ("HEAD", "", None),
        ("PUT", "", json.dumps({"content": "x"})),
        *((method, "", None) for method in ("DELETE", "POST", "PATCH", "LOCK")),
        ("POST", "/restore", '{"version": 2}'),
    ]
    for method, end, body in asked:
        found, expected = (stub.ask(method, base + end, {}, body) for base in (path, other))
        assert (found.status, found.body) == (expected.status, expected.body), (method, end)
        assert found.header("allow") == expected.header("allow")


def test_no_overview_has_them_for_others() -> None:
    """Neither lists, nor sizes, nor what can be pruned."""
    stub, plain = with_briefings(), Stub()
    plain.acquire()
    plain.upload()
    me = {"X-Client-Id": "laptop"}
    for path in ("/projects/demo/files", "/projects"):
        assert stub.ask("GET", path).body == plain.ask("GET", path).body
        assert all(name in stub.ask("GET", path, me).body.decode() for name in NAMES)


def test_what_pruning_would_remove_of_them_is_not_told_to_others() -> None:
    """Nor does it count."""
    stub = Stub(retention=Retention(Millis(0), Millis(0), Millis(0), 0))
    for content, before in ((ONE, None), (TWO, ONE), (THREE, TWO)):
        put(stub, content, **{"If_Match": tag(before)} if before else {"If_None_Match": "*"})
    stub.clock.advance(100 * 24 * 60 * 60)
    path = "/projects/demo/prunable"
    assert stub.ask("GET", path).json == {"versions": [], "size": 0}
    found = stub.ask("GET", path, {"X-Client-Id": "desk"}).json["versions"]
    assert [(one["version"], one["file"]) for one in found] == [(1, "briefing.json"), (2, "briefing.json")]


def test_only_listeners_that_name_themselves_are_told_of_them() -> None:
    """To the others not even a sign of life is sent."""
    server = Server()
    other, named = listening(server), listening(server, "X-Client-Id: laptop")
    before = other.transport.value()
    put(server.stub, ONE, If_None_Match="*")
    delete(server.stub, If_Match=tag(ONE))
    assert other.transport.value() == before
    told = [(data["file"], data["version"]) for name, data in messages(named) if name == "head"]
    assert told == [("briefing.json", 1), ("briefing.json", None)]
    server.stub.acquire()
    assert [name for name, _ in messages(other)] == ["ready", "lock"]


def test_a_wait_for_events_goes_on_over_them() -> None:
    """Another event ends it, or its time."""
    server = Server()
    connection = server.connect()
    connection.get("/events?wait=30", "Host: localhost")
    put(server.stub, ONE, If_None_Match="*")
    assert connection.transport.value() == b""
    server.stub.clock.advance(30)
    assert b'"events":[]' in connection.transport.value()
