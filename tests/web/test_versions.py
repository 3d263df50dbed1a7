"""History over HTTP: the versions of a file, their contents, and restores."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from mneme.model import ProjectId
from tests.kept import DiskStore, damage
from tests.results import result_of
from tests.store.looking import directory_of
from tests.web.stub import FILE, HISTORY, A, Stub, entry, written

BAD_LIMIT = {"error": "limit must be a whole number from 1: how many versions to list"}
NO_VERSION = {"error": "Version not found: GET …/versions lists those there are"}


@pytest.fixture
def stub() -> Stub:
    """A server on which the laptop holds the lock, and has uploaded three versions."""
    return written()


@pytest.fixture
def on_disk(tmp_path: Path) -> Stub:
    """Such a server on disk."""
    return written(store=DiskStore(tmp_path))


def put_by_hand(stub: Stub, root: Path, content: bytes) -> None:
    """Write a content into the working copy."""
    result_of(stub.sync.export())
    (directory_of(root, ProjectId("demo")) / "log.jsonl").write_bytes(content)


# The list


def test_a_version_says_where_it_came_from(stub: Stub) -> None:
    """Each field, and no other; the first upload of a file has no base."""
    [_, second, first] = stub.versions()
    assert first == {
        "version": 1,
        "kind": "upload",
        "size": len(HISTORY[0]),
        "sha256": hashlib.sha256(HISTORY[0].encode()).hexdigest(),
        "mtime": "2026-02-04T15:00:00.000Z",
        "clientId": "laptop",
        "base": None,
        "parents": [],
    }
    assert (second["version"], second["base"], second["mtime"]) == (2, 1, "2026-02-04T15:00:00.001Z")


def test_each_way_in_which_a_version_came_to_be_has_a_name(on_disk: Stub, tmp_path: Path) -> None:
    """An edit by hand has no client, and a merge or a restore has parents."""
    on_disk.upload(client="desk", content=A + entry("d", 3))
    on_disk.release()
    put_by_hand(on_disk, tmp_path, entry("by hand").encode())
    on_disk.acquire()
    on_disk.restore(2)
    fields = ("version", "kind", "clientId", "base", "parents")
    assert [tuple(version[field] for field in fields) for version in on_disk.versions()] == [
        (7, "restored", "laptop", None, [2]),
        (6, "found", None, 5, []),
        (5, "merged", "desk", None, [3, 4]),
        (4, "rescued", "desk", None, []),
        (3, "upload", "laptop", 2, []),
        (2, "upload", "laptop", 1, []),
        (1, "upload", "laptop", None, []),
    ]


@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ("limit=1", [3]),
        ("limit=02", [3, 2]),
        ("limit=%32", [3, 2]),
        ("limit=4", [3, 2, 1]),
        ("limit=9999999999999999999", [3, 2, 1]),
        ("limit=x&limit=2", [3, 2]),
        ("a=b&limit=2&c", [3, 2]),
        *((other, [3, 2, 1]) for other in ("", "&&", "=", "%ZZ", "LIMIT=x", "limit%00=x", "x=limit=0", "\\")),
    ],
)
def test_a_limit_lists_the_newest(stub: Stub, query: str, versions: list[int]) -> None:
    """Of several limits the last one counts; any other query is ignored."""
    reply = stub.ask("GET", f"{FILE}/versions?{query}")
    assert [version["version"] for version in reply.json["versions"]] == versions


@pytest.mark.parametrize(
    "limit",
    [
        *("0", "00", "-1", "+1", "%2B1", "abc", "1.5", "1e1", "", "%20", "1%20", "1_0", "0x1", "%00"),
        *("9" * 20, "9" * 5000, "%D9%A1", "%C2%B2", "%EF%BC%91", "%FF", "1&limit=x", "1&limit="),
    ],
)
def test_a_limit_that_is_no_whole_number_from_1_is_an_error(stub: Stub, limit: str) -> None:
    """Digits of other scripts are none here."""
    reply = stub.ask("GET", f"{FILE}/versions?limit={limit}")
    assert (reply.status, reply.json) == (400, BAD_LIMIT)


def test_a_file_without_versions_is_not_found(stub: Stub) -> None:
    """The others of its project change nothing about that."""
    reply = stub.ask("GET", "/projects/demo/files/entities.json/versions")
    assert (reply.status, reply.json) == (404, {"error": "File not found"})


# One version


def test_a_version_is_sent_in_the_shape_of_a_download(stub: Stub) -> None:
    """The newest is the download of the head, to the byte."""
    assert stub.ask("GET", f"{FILE}/versions/3").body == stub.ask("GET", FILE).body
    for number in ("1", "%31", "01", "0000000000000000001"):
        told = {"content": A, "mtime": "2026-02-04T15:00:00.000Z", "version": 1}
        assert stub.ask("GET", f"{FILE}/versions/{number}").json == told


@pytest.mark.parametrize(
    "number",
    [
        *("0", "4", "-1", "+1", "1.0", "1e0", "x", "latest", "%20", "1%20", "%00", "1%2F2", "..", "%2E%2E"),
        *("9" * 19, "9" * 20, "9" * 5000, "%D9%A1", "%C2%B9", "0x1", "1_0", "00000001-log.jsonl"),
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


def test_a_version_of_another_file_or_project_is_not_found(stub: Stub) -> None:
    """Although its number is known."""
    stub.upload(name="summary.md", content="s\n")
    stub.acquire(project="other")
    stub.upload(project="other")
    for path in (
        f"{FILE}/versions/4",
        "/projects/demo/files/summary.md/versions/1",
        "/projects/other/files/log.jsonl/versions/2",
    ):
        assert stub.ask("GET", path).json == NO_VERSION
    assert stub.restore(4).json == NO_VERSION
    assert stub.restore(1, name="summary.md").json == NO_VERSION


@pytest.mark.parametrize("number", [4, 99, 2**63, 2**64, 10**40])
def test_a_version_that_does_not_exist_cannot_be_restored(stub: Stub, number: int) -> None:
    """However large its number."""
    before = stub.state()
    reply = stub.restore(number)
    assert (reply.status, reply.json) == (404, NO_VERSION)
    assert stub.state() == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_damaged_version_is_told_and_never_passed_off_as_the_accepted_one(stub: Stub, method: str) -> None:
    """In a sentence that says what to do; it cannot be made the head, either."""
    before = stub.state()
    damage(stub.store, A.encode())
    with capturedLogs():
        reply = stub.ask("GET", f"{FILE}/versions/1") if method == "GET" else stub.restore(1)
    assert (reply.status, list(reply.json)) == (500, ["error"])
    assert "mneme verify" in reply.json["error"]
    assert b"otherwise" not in reply.body
    assert stub.state() == before


def test_a_file_that_is_not_utf8_is_sent_as_far_as_it_is_text(on_disk: Stub, tmp_path: Path) -> None:
    """Somebody put it there by hand; the file and its version keep the bytes."""
    put_by_hand(on_disk, tmp_path, b"a\xffb")
    for path in (FILE, f"{FILE}/versions/4"):
        assert on_disk.ask("GET", path).json["content"] == "a\ufffdb"
    kept = on_disk.store.version(ProjectId("demo"), 4)
    assert kept
    assert kept.content == b"a\xffb"
    assert (directory_of(tmp_path, ProjectId("demo")) / "log.jsonl").read_bytes() == b"a\xffb"
