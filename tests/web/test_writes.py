"""Uploads, appends and restores: the answers that all three share, and those of merged uploads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kept import DiskStore, full_disk
from tests.web.stub import FILE, HISTORY, A, B, C, D, Stub, tag, written
from tests.web.writes import APPEND, RESTORE, UPLOAD, WRITES, Write

NO_LOCK = "No lock held - acquire lock before writing"
OTHERS_LOCK = "Lock held by different client"

EACH = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
KEPT = {"rescued": True, "version": 4}


@pytest.fixture
def stub() -> Stub:
    """A server on which the laptop holds the lock, and has uploaded three versions."""
    return written()


@EACH
def test_an_accepted_write_tells_mtime_version_and_tag_of_the_new_head(stub: Stub, write: Write) -> None:
    """And nothing of merging."""
    stub.clock.advance(5)
    reply = write.send(stub)
    told = {"mtime": "2026-02-04T15:00:05.000Z", "version": 4}
    assert (reply.status, reply.json) == (200, {"success": True, **told})
    assert reply.header("ETag") == tag(write.content)
    assert stub.download().json == {"content": write.content, **told}


@EACH
def test_a_write_without_a_lock_is_refused(stub: Stub, write: Write) -> None:
    """An upload or append is kept all the same, and the answer says where."""
    stub.release()
    before = stub.state()
    reply = write.send(stub)
    assert (reply.status, reply.json) == (403, {"error": NO_LOCK, **(KEPT if write.is_kept else {})})
    if write.is_kept:
        assert stub.ask("GET", f"{FILE}/versions/4").json["content"] == write.content
    else:
        assert stub.state() == before


@EACH
def test_a_write_under_the_lock_of_another_is_refused_with_that_lock(stub: Stub, write: Write) -> None:
    """Whatever its condition; the head stays as it was."""
    lock = stub.ask("GET", "/projects/demo/lock").json["lock"]
    reply = write.send(stub, "desk", If_Match=tag(A))
    kept = KEPT if write.is_kept else {}
    assert (reply.status, reply.json) == (403, {"error": OTHERS_LOCK, "lock": lock, **kept})
    assert reply.header("ETag") is None
    assert stub.download().json["content"] == HISTORY[-1]
    assert stub.ask("GET", "/projects/demo/lock").json["lock"] == lock


@EACH
def test_a_write_with_the_token_of_an_older_lock_is_refused_and_not_kept(stub: Stub, write: Write) -> None:
    """409 with the lock of now, whose token is accepted."""
    old = stub.ask("GET", "/projects/demo/lock").json["lock"]["token"]
    stub.release()
    lock = stub.acquire().json["lock"]
    before = stub.state()
    reply = write.send(stub, X_Lock_Token=str(old))
    assert (reply.status, sorted(reply.json), reply.json["lock"]) == (409, ["error", "lock"], lock)
    assert stub.state() == before
    assert write.send(stub, X_Lock_Token=str(lock["token"])).status == 200


@pytest.mark.parametrize("token", ["", "-1", "x", "1.5", "9" * 400])
@EACH
def test_a_token_that_is_no_number_is_an_error(stub: Stub, write: Write, token: str) -> None:
    """The answer says what a token is."""
    before = stub.state()
    reply = write.send(stub, X_Lock_Token=token)
    assert (reply.status, "X-Lock-Token" in reply.json["error"]) == (400, True)
    assert stub.state() == before


BAD_BODIES = [
    *((write, body) for write in WRITES.values() for body in (b"", b"{}", b"{", b"[" * 5_000, b"\xff")),
    (UPLOAD, b'{"content":1}'),
    (APPEND, b'{"content":""}'),
    (RESTORE, b'{"version":0}'),
]


@pytest.mark.parametrize(("write", "body"), BAD_BODIES)
@pytest.mark.parametrize("holder", ["laptop", "desk", None])
def test_a_bad_body_is_an_error_whoever_holds_the_lock(
    stub: Stub, write: Write, body: bytes, holder: str | None
) -> None:
    """Nothing is changed, and nothing kept."""
    stub.release()
    if holder:
        stub.acquire(holder)
    before = stub.state()
    reply = write.send(stub, body=body)
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert stub.state() == before


@EACH
def test_a_project_is_not_made_by_a_bad_body(write: Write, tmp_path: Path) -> None:
    """Nothing appears on disk."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    assert write.send(stub, body="{").status == 400
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("write", [UPLOAD, APPEND])
def test_a_refusal_says_nothing_of_rescue_when_there_was_no_space(stub: Stub, write: Write) -> None:
    """The client must not believe that its work is safe."""
    lock = stub.ask("GET", "/projects/demo/lock").json["lock"]
    with full_disk(stub.store):
        assert write.send(stub, "desk").json == {"error": OTHERS_LOCK, "lock": lock}


def test_a_merged_upload_is_answered_with_the_merge() -> None:
    """By version, mtime and tag of the new head; a repetition is answered alike."""
    stub = written()
    stub.release()
    stub.acquire("desk")
    reply, again = (stub.upload("desk", D) for _ in range(2))
    head = stub.download()
    told = {"mtime": head.json["mtime"], "version": 5}
    assert (reply.status, reply.json) == (200, {"success": True, **told, "merged": True})
    assert reply.header("ETag") == tag(A + B + C + D)
    assert head.json == {"content": A + B + C + D, **told}
    assert again.json == reply.json


def test_a_restore_is_json_whatever_its_content_type(stub: Stub) -> None:
    """Fields that are not known are ignored."""
    body = '{"version": 1, "why": ["broke it"]}'
    assert RESTORE.send(stub, body=body, Content_Type="text/plain").json["version"] == 4
