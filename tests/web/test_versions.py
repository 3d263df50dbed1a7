"""History over HTTP: what versions a file has, what is in them, and one of them made the head again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mneme.model import ProjectId
from tests.kept import DiskStore, damage, full_disk
from tests.results import result_of
from tests.store.looking import directory_of
from tests.web.stub import Reply, Stub, entry

FILE = "/projects/demo/files/log.jsonl"
CONTENTS = [entry("a"), entry("a") + entry("b", 1), entry("a") + entry("b", 1) + entry("c", 2)]
BAD_LIMIT = {"error": "limit must be a whole number from 1: how many versions to list"}
NO_VERSION = {"error": "Version not found: GET …/versions lists those there are"}


@pytest.fixture
def stub() -> Stub:
    """A server whose project has three versions of its log, and whose lock is the laptop's."""
    return with_three_versions(Stub())


@pytest.fixture
def on_disk(tmp_path: Path) -> Stub:
    """The same on disk."""
    return with_three_versions(Stub(store=DiskStore(tmp_path)))


def with_three_versions(stub: Stub) -> Stub:
    """The server, once these have been uploaded."""
    stub.acquire()
    for content in CONTENTS:
        stub.upload(content=content)
    return stub


def directory(root: Path) -> Path:
    """Where the project lies."""
    return directory_of(root, ProjectId("demo"))


def order(stub: Stub, body: bytes | str, **headers: str) -> Reply:
    """Ask the laptop's server to restore what a body says."""
    return stub.ask("POST", f"{FILE}/restore", {"X-Client-Id": "laptop"} | headers, body)


def state(stub: Stub) -> list[Any]:
    """All that a restore could change."""
    places = ("/projects", f"{FILE}/versions", FILE, "/projects/demo/files")
    return [stub.ask("GET", place).json for place in places]


# The list


def test_a_version_says_what_it_is_and_where_it_came_from(stub: Stub) -> None:
    """Each field, and no other; the first upload of a file has no base."""
    [_, second, first] = stub.versions()
    assert first == {
        "version": 1,
        "kind": "upload",
        "size": len(CONTENTS[0]),
        "sha256": hashlib.sha256(CONTENTS[0].encode()).hexdigest(),
        "mtime": "2026-02-04T15:00:00.000Z",
        "clientId": "laptop",
        "base": None,
        "parents": [],
    }
    assert (second["version"], second["base"], second["mtime"]) == (2, 1, "2026-02-04T15:00:00.001Z")


def test_each_way_in_which_a_version_came_to_be_has_a_name(on_disk: Stub, tmp_path: Path) -> None:
    """Newest first; a version that was put there by hand has no client, and a merge or a restore has parents."""
    on_disk.upload(client="desk", content=CONTENTS[0] + entry("d", 3))
    on_disk.release()
    result_of(on_disk.sync.export())
    (directory(tmp_path) / "log.jsonl").write_text(entry("by hand"))
    on_disk.acquire()
    on_disk.restore(2)
    told = [(one["kind"], one["clientId"], one["base"], one["parents"]) for one in on_disk.versions()]
    assert told == [
        ("restored", "laptop", None, [2]),
        ("found", None, 5, []),
        ("merged", "desk", None, [3, 4]),
        ("rescued", "desk", None, []),
        ("upload", "laptop", 2, []),
        ("upload", "laptop", 1, []),
        ("upload", "laptop", None, []),
    ]
    assert [one["version"] for one in on_disk.versions()] == [7, 6, 5, 4, 3, 2, 1]


def test_the_versions_of_one_file_are_none_of_another(stub: Stub) -> None:
    """Numbers go by the project, lists by the file."""
    stub.upload(name="summary.md", content="s\n")
    assert [one["version"] for one in stub.versions("summary.md")] == [4]
    assert [one["version"] for one in stub.versions()] == [3, 2, 1]


@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ("limit=1", [3]),
        ("limit=2", [3, 2]),
        ("limit=02", [3, 2]),
        ("limit=%32", [3, 2]),
        ("limit=4", [3, 2, 1]),
        ("limit=9999999999999999999", [3, 2, 1]),
        ("limit=1&limit=2", [3, 2]),
        ("limit=x&limit=2", [3, 2]),
        ("a=b&limit=2&c", [3, 2]),
    ],
)
def test_a_limit_lists_the_newest(stub: Stub, query: str, versions: list[int]) -> None:
    """At most so many; of several limits the last one counts."""
    reply = stub.ask("GET", f"{FILE}/versions?{query}")
    assert [one["version"] for one in reply.json["versions"]] == versions


@pytest.mark.parametrize(
    "limit",
    [
        "0",
        "00",
        "-1",
        "+1",
        "%2B1",
        "abc",
        "1.5",
        "1e1",
        "",
        "%20",
        "1%20",
        "1_0",
        "0x1",
        "%00",
        "9" * 20,
        "9" * 5000,
        "%D9%A1",
        "%C2%B2",
        "%EF%BC%91",
        "%FF",
        "1&limit=x",
        "1&limit=",
    ],
)
def test_a_limit_that_is_no_whole_number_from_1_is_an_error(stub: Stub, limit: str) -> None:
    """In a sentence, and nothing is listed; digits of other scripts are none here."""
    reply = stub.ask("GET", f"{FILE}/versions?limit={limit}")
    assert (reply.status, reply.json) == (400, BAD_LIMIT)


@pytest.mark.parametrize(
    "query", ["", "&&", "=", "a=b", "%ZZ", "%", "LIMIT=x", "limit%00=x", "x=limit=0", "\\"]
)
def test_any_other_query_lists_all_versions(stub: Stub, query: str) -> None:
    """It is looked at by nobody."""
    reply = stub.ask("GET", f"{FILE}/versions?{query}")
    assert [one["version"] for one in reply.json["versions"]] == [3, 2, 1]


@pytest.mark.parametrize(
    "name", ["secrets.txt", "log.jsonl.bak", "LOG.JSONL", "..", "%2E%2E", ".lock.json", "%00"]
)
def test_a_name_outside_the_list_has_no_versions(stub: Stub, name: str) -> None:
    """Nor has it any that could be asked for; no path leads out of the five files."""
    for place in ("versions", "versions/1"):
        reply = stub.ask("GET", f"/projects/demo/files/{name}/{place}")
        assert (reply.status, reply.json) == (400, {"error": "File not allowed for sync"})


def test_a_file_without_versions_is_not_found(stub: Stub) -> None:
    """The others of its project change nothing about that."""
    reply = stub.ask("GET", "/projects/demo/files/entities.json/versions")
    assert (reply.status, reply.json) == (404, {"error": "File not found"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_asking_for_the_history_of_a_project_that_was_never_written_makes_none(
    method: str, tmp_path: Path
) -> None:
    """It is not found, and nothing appears on disk."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    for project in ("demo", "org%2Frepo"):
        for place in ("versions", "versions/1"):
            assert stub.ask(method, f"/projects/{project}/files/log.jsonl/{place}").status == 404
    assert list(tmp_path.rglob("*")) == before


def test_a_file_that_was_only_refused_has_a_history_all_the_same(tmp_path: Path) -> None:
    """Its head does not exist, and what was kept beside it can be seen and read."""
    stub = Stub(store=DiskStore(tmp_path))
    stub.acquire("desk")
    stub.upload(content=CONTENTS[0])
    assert stub.ask("GET", FILE).status == 404
    assert [one["kind"] for one in stub.versions()] == ["rescued"]
    assert stub.ask("GET", f"{FILE}/versions/1").json["content"] == CONTENTS[0]


# One version


def test_a_version_is_sent_in_the_shape_of_a_download(stub: Stub) -> None:
    """The newest is the download of the head, to the byte; the others have their own content and mtime."""
    assert stub.ask("GET", f"{FILE}/versions/3").body == stub.ask("GET", FILE).body
    assert stub.ask("GET", f"{FILE}/versions/1").json == {
        "content": CONTENTS[0],
        "mtime": "2026-02-04T15:00:00.000Z",
        "version": 1,
    }


@pytest.mark.parametrize("number", ["%31", "01", "0000000000000000001"])
def test_a_number_may_be_written_in_other_ways(stub: Stub, number: str) -> None:
    """With its digits encoded, or zeros before them."""
    assert stub.ask("GET", f"{FILE}/versions/{number}").json["version"] == 1


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "4",
        "-1",
        "+1",
        "1.0",
        "1e0",
        "x",
        "latest",
        "%20",
        "1%20",
        "%00",
        "1%2F2",
        "..",
        "%2E%2E",
        "9" * 19,
        "9" * 20,
        "9" * 5000,
        "%D9%A1",
        "%C2%B9",
        "0x1",
        "1_0",
        "00000001-log.jsonl",
    ],
)
def test_a_number_that_no_version_has_is_not_found(stub: Stub, number: str) -> None:
    """The sentence says where to find those that there are."""
    reply = stub.ask("GET", f"{FILE}/versions/{number}")
    assert (reply.status, reply.json) == (404, NO_VERSION)


@pytest.mark.parametrize("number", ["%ff", "%", "%GG", "%ed%a0%80"])
def test_a_number_that_is_no_text_is_an_error(stub: Stub, number: str) -> None:
    """As everywhere in a path."""
    reply = stub.ask("GET", f"{FILE}/versions/{number}")
    assert (reply.status, list(reply.json)) == (400, ["error"])


@pytest.mark.parametrize(
    "place", ["versions/", "versions//", "versions/1/", "versions/1/2", "versions/1/restore"]
)
def test_there_is_nothing_behind_a_version(stub: Stub, place: str) -> None:
    """No redirect, no guess."""
    reply = stub.ask("GET", f"{FILE}/{place}")
    assert (reply.status, reply.json) == (404, {"error": "Not found"})


def test_a_version_of_another_file_is_not_found(stub: Stub) -> None:
    """Its number is known, but not of this file."""
    stub.upload(name="summary.md", content="s\n")
    for path in (f"{FILE}/versions/4", "/projects/demo/files/summary.md/versions/1"):
        assert stub.ask("GET", path).json == NO_VERSION


def test_a_version_of_another_project_is_not_found(stub: Stub) -> None:
    """Each project counts for itself."""
    stub.acquire(project="other")
    stub.upload(project="other")
    assert stub.ask("GET", "/projects/other/files/log.jsonl/versions/2").json == NO_VERSION


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("place", ["versions", "versions/1"])
def test_history_cannot_be_changed(stub: Stub, method: str, place: str) -> None:
    """It can be looked at, by GET and HEAD."""
    before = state(stub)
    reply = stub.ask(method, f"{FILE}/{place}", {"X-Client-Id": "laptop"}, json.dumps({"content": "x"}))
    assert (reply.status, reply.header("Allow")) == (405, "GET, HEAD, OPTIONS")
    assert state(stub) == before


@pytest.mark.parametrize("place", ["versions", "versions?limit=1", "versions/1"])
def test_history_answers_head(stub: Stub, place: str) -> None:
    """Without the body."""
    reply = stub.ask("HEAD", f"{FILE}/{place}")
    assert (reply.status, reply.body, reply.header("Content-Type")) == (200, b"", "application/json")


@pytest.mark.parametrize("place", ["versions", "versions/1", "restore"])
def test_history_needs_the_key(place: str) -> None:
    """What was once in a file is as private as what is there now."""
    stub = Stub(keys=["alpha-key-0123456789"])
    method = "POST" if place == "restore" else "GET"
    assert stub.ask(method, f"{FILE}/{place}").status == 401
    assert stub.ask(method, f"{FILE}/{place}", {"Authorization": "Bearer wrong"}).status == 403


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_damaged_version_is_told_and_never_passed_off_as_what_was_accepted(stub: Stub, method: str) -> None:
    """In a sentence that says what to do; it cannot be made the head, either."""
    before = state(stub)
    damage(stub.store, CONTENTS[0].encode())
    reply = stub.ask("GET", f"{FILE}/versions/1") if method == "GET" else stub.restore(1)
    assert (reply.status, list(reply.json)) == (500, ["error"])
    assert "mneme verify" in reply.json["error"]
    assert b"otherwise" not in reply.body
    assert state(stub) == before


def test_a_version_that_is_not_utf8_is_sent_as_far_as_it_is_text(on_disk: Stub, tmp_path: Path) -> None:
    """Somebody put it there by hand: what is no text is shown as such, and history has the bytes."""
    result_of(on_disk.sync.export())
    (directory(tmp_path) / "log.jsonl").write_bytes(b"a\xffb")
    [found, *_] = on_disk.versions()
    assert (found["kind"], found["size"]) == ("found", 3)
    assert on_disk.ask("GET", f"{FILE}/versions/4").json["content"] == "a\ufffdb"
    kept = on_disk.store.version(ProjectId("demo"), 4)
    assert kept
    assert kept.content == b"a\xffb"


# Restoring


def test_a_restored_version_is_the_head_again(stub: Stub) -> None:
    """It is answered like an upload, is a version of its own, and so new that every machine fetches it."""
    stub.clock.advance(5)
    reply = stub.restore(1)
    assert (reply.status, reply.json) == (
        200,
        {"success": True, "mtime": "2026-02-04T15:00:05.000Z", "version": 4},
    )
    assert stub.ask("GET", FILE).json == {
        "content": CONTENTS[0],
        "mtime": "2026-02-04T15:00:05.000Z",
        "version": 4,
    }
    [restored, *others] = stub.versions()
    assert (restored["kind"], restored["parents"]) == ("restored", [1])
    assert [one["version"] for one in others] == [3, 2, 1]


def test_the_mtime_of_a_restored_version_is_later_although_the_clock_stands_still(stub: Stub) -> None:
    """Stock clients compare to the millisecond."""
    assert stub.restore(1).json["mtime"] == "2026-02-04T15:00:00.003Z"


@pytest.mark.parametrize("number", [3, 4])
def test_restoring_what_is_the_head_changes_nothing(stub: Stub, number: int) -> None:
    """By its own number, or by that of another version of the same content; the answer is that of the head."""
    if number == 4:
        stub.restore(1)
        stub.restore(3)
        number = 3
    before = state(stub)
    stub.clock.advance(5)
    assert stub.restore(number).json["version"] == before[2]["version"]
    assert state(stub) == before


def test_a_refused_upload_can_be_made_the_head(stub: Stub) -> None:
    """So that what was kept is of use to the holder, too."""
    stub.upload(client="desk", content=entry("desk"))
    assert stub.restore(4).status == 200
    assert stub.ask("GET", FILE).json["content"] == entry("desk")


def test_a_restore_says_who_asks_for_it(stub: Stub) -> None:
    """Without that, or with an id that is none, it is an error."""
    before = state(stub)
    body = json.dumps({"version": 1})
    assert stub.ask("POST", f"{FILE}/restore", {}, body).json == {"error": "X-Client-Id header required"}
    for client in (" ", "x" * 201, "a\tb"):
        assert stub.ask("POST", f"{FILE}/restore", {"X-Client-Id": client}, body).status == 400
    assert state(stub) == before


def test_a_restore_without_a_lock_is_refused_in_the_words_of_an_upload(stub: Stub) -> None:
    """And there is nothing to rescue."""
    stub.release()
    before = state(stub)
    reply = stub.restore(1)
    assert (reply.status, reply.json) == (403, {"error": "No lock held - acquire lock before writing"})
    assert state(stub) == before


def test_a_restore_under_the_lock_of_another_is_refused_with_that_lock(stub: Stub) -> None:
    """As an upload would be, in the contract's words."""
    before = state(stub)
    reply = stub.restore(1, client="desk")
    lock = stub.ask("GET", "/projects/demo/lock").json["lock"]
    assert (reply.status, reply.json) == (403, {"error": "Lock held by different client", "lock": lock})
    assert state(stub) == before


def test_a_restore_in_a_project_that_was_never_written_makes_none(tmp_path: Path) -> None:
    """There is no lock, and hence no right to it."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    reply = stub.restore(1)
    assert (reply.status, reply.json) == (403, {"error": "No lock held - acquire lock before writing"})
    assert list(tmp_path.rglob("*")) == before


def test_a_restore_with_the_token_of_an_older_lock_is_refused(stub: Stub) -> None:
    """The same client has acquired anew; the answer has the lock of now."""
    stub.release()
    lock = stub.acquire().json["lock"]
    before = state(stub)
    reply = order(stub, '{"version":1}', **{"X-Lock-Token": str(lock["token"] - 1)})
    assert (reply.status, reply.json["lock"]) == (409, lock)
    assert sorted(reply.json) == ["error", "lock"]
    assert state(stub) == before
    assert order(stub, '{"version":1}', **{"X-Lock-Token": str(lock["token"])}).status == 200


@pytest.mark.parametrize("token", ["", "-1", "x", "1.5", "9" * 400])
def test_a_restore_with_a_token_that_is_none_is_an_error(stub: Stub, token: str) -> None:
    """It says what a token is."""
    before = state(stub)
    reply = order(stub, '{"version":1}', **{"X-Lock-Token": token})
    assert (reply.status, "X-Lock-Token" in reply.json["error"]) == (400, True)
    assert state(stub) == before


@pytest.mark.parametrize("number", [4, 99, 2**63, 2**64, 10**40])
def test_a_version_that_does_not_exist_cannot_be_restored(stub: Stub, number: int) -> None:
    """However large its number."""
    before = state(stub)
    reply = stub.restore(number)
    assert (reply.status, reply.json) == (404, NO_VERSION)
    assert state(stub) == before


def test_a_version_of_another_file_cannot_be_restored(stub: Stub) -> None:
    """Its content is of another form."""
    stub.upload(name="summary.md", content="s\n")
    before = state(stub)
    assert stub.restore(4).json == NO_VERSION
    assert stub.restore(1, name="summary.md").json == NO_VERSION
    assert state(stub) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b"[]",
        b"[1]",
        b"1",
        b"null",
        b'"1"',
        b"version=1",
        b'{"Version":1}',
        b'{"version":"1"}',
        b'{"version":1.5}',
        b'{"version":1e400}',
        b'{"version":NaN}',
        b'{"version":0}',
        b'{"version":-1}',
        b'{"version":true}',
        b'{"version":null}',
        b'{"version":[1]}',
        b'{"version":{"version":1}}',
        b'{"version":1',
        b'{"version":1}x',
        b'{"version":' + b"9" * 5000 + b"}",
        b'\xef\xbb\xbf{"version":1}',
        b'{"version":1}'.decode().encode("utf-16"),
        b"\xff",
        b'{"vers\xffion":1}',
        b"[" * 5_000,
        b'{"version":' * 5_000,
        b'{"version":1,"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_a_body_that_names_no_version_is_an_error_that_says_what_was_expected(
    stub: Stub, body: bytes
) -> None:
    """Whatever is wrong with it; and nothing is changed."""
    before = state(stub)
    reply = order(stub, body)
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert '{"version": 3}' in reply.json["error"]
    assert state(stub) == before


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 400), ("br", 415), ("deflate", 415), ("x", 415)])
def test_an_order_that_is_not_coded_as_it_says_is_an_error(stub: Stub, encoding: str, status: int) -> None:
    """And nothing is restored."""
    before = state(stub)
    reply = order(stub, '{"version":1}', **{"Content-Encoding": encoding})
    assert (reply.status, list(reply.json)) == (status, ["error"])
    assert state(stub) == before


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"]
)
def test_an_order_is_json_whatever_it_is_said_to_be(stub: Stub, content_type: str) -> None:
    """Tools send what they are used to; fields that are not known are left alone."""
    body = '{"version": 1, "why": ["broke it"]}'
    assert order(stub, body, **{"Content-Type": content_type}).json["version"] == 4


@pytest.mark.parametrize("name", ["secrets.txt", ".lock.json", "..", "LOG.JSONL"])
def test_a_name_outside_the_list_cannot_be_restored(stub: Stub, name: str) -> None:
    """It is refused as its upload would be."""
    before = state(stub)
    reply = stub.restore(1, name=name)
    assert (reply.status, reply.json) == (403, {"error": "File not allowed for sync"})
    assert state(stub) == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_restore_is_a_post_and_nothing_else(stub: Stub, method: str) -> None:
    """A look at the address must not set anything back."""
    before = state(stub)
    reply = stub.ask(method, f"{FILE}/restore", {"X-Client-Id": "laptop"})
    assert (reply.status, reply.header("Allow")) == (405, "OPTIONS, POST")
    assert state(stub) == before


def test_a_restore_that_finds_no_space_changes_nothing(stub: Stub) -> None:
    """It is told, and can be tried again."""
    before = state(stub)
    with full_disk(stub.store):
        reply = stub.restore(1)
    assert (reply.status, list(reply.json)) == (507, ["error"])
    assert state(stub) == before
    assert stub.restore(1).status == 200
