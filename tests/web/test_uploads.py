"""What an upload is told beyond the recorded cases: that it was kept although refused, or merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mneme.model import Merging, Millis, NotLocked, ProjectId, Rescued, Upload
from tests.kept import DiskStore, MemoryStore, full_disk
from tests.web.stub import TTL, Stub, entry

FILE = "/projects/demo/files/log.jsonl"
NO_LOCK = "No lock held - acquire lock before writing"
OTHERS_LOCK = "Lock held by different client"
MINE, THEIRS = entry("mine", 1), entry("theirs", 2)


class NoSpaceStore(MemoryStore):
    """A store that has no space for what it refuses."""

    def upload(self, project: ProjectId, upload: Upload, now: Millis, /) -> Rescued:
        """Refuse, and keep nothing."""
        return Rescued(NotLocked(), None)


# Refused


def test_an_upload_without_a_lock_is_refused_and_kept() -> None:
    """The contract's sentence, and the number under which its content can be had; there is no lock to show."""
    stub = Stub()
    reply = stub.upload(content=MINE)
    assert (reply.status, reply.json) == (403, {"error": NO_LOCK, "rescued": True, "version": 1})
    assert stub.ask("GET", f"{FILE}/versions/1").json["content"] == MINE


def test_an_upload_under_the_lock_of_another_is_refused_and_kept_and_shown_that_lock() -> None:
    """The head stays as the holder knows it."""
    stub = Stub()
    lock = stub.acquire("desk").json["lock"]
    stub.upload(client="desk", content=THEIRS)
    before = stub.ask("GET", FILE).json
    reply = stub.upload(content=MINE)
    assert (reply.status, reply.json) == (
        403,
        {"error": OTHERS_LOCK, "lock": lock, "rescued": True, "version": 2},
    )
    assert stub.ask("GET", FILE).json == before
    assert stub.ask("GET", "/projects/demo/lock").json["lock"] == lock


def test_an_upload_after_its_lock_has_expired_is_refused_and_kept() -> None:
    """From the very millisecond on: the session that outlived its lock loses nothing."""
    stub = Stub()
    stub.acquire()
    stub.clock.advance(TTL / 1000)
    assert stub.upload(content=MINE).json == {"error": NO_LOCK, "rescued": True, "version": 1}


def test_a_refused_upload_is_in_the_head_once_nobody_holds_the_lock() -> None:
    """Together with what was there, and newer than that, so that it will be downloaded."""
    stub = Stub()
    stub.acquire("desk")
    stub.upload(client="desk", content=THEIRS)
    old = stub.ask("GET", FILE).json["mtime"]
    stub.upload(content=MINE)
    stub.release("desk")
    head = stub.ask("GET", FILE).json
    assert sorted(head["content"].splitlines(keepends=True)) == sorted([MINE, THEIRS])
    assert head["mtime"] > old


def test_the_same_refused_upload_again_is_the_same_version() -> None:
    """Clients repeat what went unanswered."""
    stub = Stub()
    stub.acquire("desk")
    first = stub.upload(content=MINE).json
    assert stub.upload(content=MINE).json == first
    assert len(stub.versions()) == 1


def test_what_the_head_holds_already_is_refused_as_ever_and_makes_no_version() -> None:
    """It is safe where it is, and the answer says under which number."""
    stub = Stub()
    stub.acquire("desk")
    stub.upload(client="desk", content=THEIRS)
    reply = stub.upload(content=THEIRS)
    assert (reply.status, reply.json["rescued"], reply.json["version"]) == (403, True, 1)
    assert [one["version"] for one in stub.versions()] == [1]


def test_an_empty_content_is_kept_too() -> None:
    """A file may be emptied on purpose, and a refusal is no reason to forget that."""
    stub = Stub()
    assert stub.upload(content="").json == {"error": NO_LOCK, "rescued": True, "version": 1}
    assert stub.ask("GET", f"{FILE}/versions/1").json["content"] == ""


def test_a_refused_upload_is_kept_though_nothing_is_merged() -> None:
    """With merging off it stays in history, and the answer is the same."""
    stub = Stub(store=MemoryStore(Merging(enabled=False)))
    assert stub.upload(content=MINE).json == {"error": NO_LOCK, "rescued": True, "version": 1}
    stub.acquire("desk")
    assert stub.ask("GET", FILE).status == 404
    assert [one["kind"] for one in stub.versions()] == ["rescued"]


def test_a_refusal_says_nothing_of_rescue_when_there_was_no_space() -> None:
    """The contract's sentence alone: the client must not believe that its work is safe."""
    reply = Stub(store=NoSpaceStore()).upload(content=MINE)
    assert (reply.status, reply.json) == (403, {"error": NO_LOCK})


def test_a_full_disk_leaves_a_refusal_as_the_contract_has_it() -> None:
    """With the lock that is held, or without one; the holder is told of the disk."""
    stub = Stub()
    lock = stub.acquire("desk").json["lock"]
    with full_disk(stub.store):
        assert stub.upload(content=MINE).json == {"error": OTHERS_LOCK, "lock": lock}
        assert stub.upload(content=MINE, project="never-written").json == {"error": NO_LOCK}
        full = stub.upload(client="desk", content=THEIRS)
    assert (full.status, list(full.json)) == (507, ["error"])
    assert stub.versions() == []


def test_an_upload_with_a_stale_token_is_refused_and_not_kept() -> None:
    """Its client knows of tokens: it is told to acquire, merge, and upload again."""
    stub = Stub()
    old = stub.acquire().json["lock"]["token"]
    stub.release()
    lock = stub.acquire().json["lock"]
    headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain", "X-Lock-Token": str(old)}
    reply = stub.ask("PUT", FILE, headers, MINE)
    assert (reply.status, sorted(reply.json), reply.json["lock"]) == (409, ["error", "lock"], lock)
    assert stub.versions() == []


@pytest.mark.parametrize("holder", [None, "desk", "laptop"])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"{}", {}),
        (b"[]", {}),
        (b"{", {}),
        (b'{"content":1}', {}),
        (b'{"content":null}', {}),
        (b'{"content":"\xff"}', {}),
        (rb'{"content":"\ud800"}', {}),
        (b"[" * 5_000, {}),
        (b"\xff", {"Content-Type": "text/plain"}),
        (b"\xff", {"Content-Type": "application/octet-stream"}),
        (b'{"content":"x"}', {"Content-Encoding": "gzip"}),
    ],
)
def test_a_body_without_a_content_is_an_error_and_never_a_version(
    holder: str | None, body: bytes, headers: dict[str, str]
) -> None:
    """Whoever holds the lock: there is nothing that could be kept."""
    stub = Stub()
    if holder:
        stub.acquire(holder)
    reply = stub.ask(
        "PUT", FILE, {"X-Client-Id": "laptop", "Content-Type": "application/json"} | headers, body
    )
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert stub.versions() == []


@pytest.mark.parametrize("body", [b"", b"{"])
def test_a_project_is_not_made_by_a_body_without_a_content(body: bytes, tmp_path: Path) -> None:
    """What a 400 refuses changes nothing."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    headers = {"X-Client-Id": "laptop", "Content-Type": "application/json"}
    assert stub.ask("PUT", FILE, headers, body).status == 400
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["secrets.txt", ".lock.json", "..", "LOG.JSONL"])
def test_an_upload_of_a_name_outside_the_list_is_refused_and_not_kept(name: str, tmp_path: Path) -> None:
    """The contract's sentence and nothing else, and nothing on disk."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    reply = stub.upload(name=name)
    assert (reply.status, reply.json) == (403, {"error": "File not allowed for sync"})
    assert list(tmp_path.rglob("*")) == before


def test_an_upload_without_a_key_is_not_kept() -> None:
    """Only those who may upload at all can fill the history."""
    stub = Stub(keys=["alpha-key-0123456789"])
    reply = stub.upload(content=MINE)
    assert (reply.status, list(reply.json)) == (401, ["error"])
    assert list(stub.store.projects()) == []


@pytest.mark.parametrize("client", [None, "", "x" * 201, "a\x1b"])
def test_an_upload_of_nobody_is_an_error_and_not_kept(client: str | None) -> None:
    """There is no telling whose memory it would be."""
    stub = Stub()
    headers = {"Content-Type": "text/plain"} | ({} if client is None else {"X-Client-Id": client})
    assert stub.ask("PUT", FILE, headers, MINE).status == 400
    assert list(stub.store.projects()) == []


# Accepted


def test_an_upload_that_became_the_head_as_it_is_says_nothing_of_merging() -> None:
    """Neither the first one, nor the next, nor the same again; `merged` is not even there."""
    stub = Stub()
    stub.acquire()
    for content, version in ((MINE, 1), (MINE + THEIRS, 2), (MINE + THEIRS, 2)):
        reply = stub.upload(content=content)
        assert (reply.status, reply.json["version"]) == (200, version)
        assert sorted(reply.json) == ["mtime", "success", "version"]


def test_an_upload_over_what_its_client_never_had_is_merged_and_says_so() -> None:
    """200 as ever; version and mtime are those of the merge, which is what a download now gives."""
    stub = Stub()
    stub.acquire("desk")
    stub.upload(client="desk", content=THEIRS)
    stub.release("desk")
    stub.acquire()
    reply = stub.upload(content=MINE)
    head = stub.ask("GET", FILE).json
    assert (reply.status, reply.json) == (
        200,
        {"success": True, "mtime": head["mtime"], "version": 3, "merged": True},
    )
    assert (head["content"], head["version"]) == (MINE + THEIRS, 3)


def test_a_repeated_upload_that_was_merged_is_merged_again_in_words_alone() -> None:
    """The client never saw the first answer; the second tells it the same, and no version is made."""
    stub = Stub()
    stub.acquire("desk")
    stub.upload(client="desk", content=THEIRS)
    stub.release("desk")
    stub.acquire()
    first = stub.upload(content=MINE).json
    assert stub.upload(content=MINE).json == first
    assert len(stub.versions()) == 3


def test_an_upload_that_cannot_be_merged_becomes_the_head_and_says_nothing_of_merging() -> None:
    """It is not of its file's form, so what it replaced is in history only."""
    stub = Stub()
    stub.acquire("desk")
    stub.upload(client="desk", name="remembered.json", content="[]\n")
    stub.release("desk")
    stub.acquire()
    reply = stub.upload(name="remembered.json", content="{broken")
    assert sorted(reply.json) == ["mtime", "success", "version"]
    assert stub.download("remembered.json").json["content"] == "{broken"
    assert [one["kind"] for one in stub.versions("remembered.json")] == ["upload", "upload"]


def test_without_merging_an_upload_replaces_the_head_and_says_nothing_of_it() -> None:
    """As the plain contract has it; history keeps what was replaced."""
    stub = Stub(store=MemoryStore(Merging(enabled=False)))
    stub.acquire("desk")
    stub.upload(client="desk", content=THEIRS)
    stub.release("desk")
    stub.acquire()
    assert sorted(stub.upload(content=MINE).json) == ["mtime", "success", "version"]
    assert stub.ask("GET", FILE).json["content"] == MINE
    assert stub.ask("GET", f"{FILE}/versions/1").json["content"] == THEIRS


def test_uploads_of_any_content_type_are_kept_as_the_content_that_they_hold() -> None:
    """The envelope is opened before anything is refused for the lock."""
    stub = Stub()
    for number, (content_type, body) in enumerate(
        [
            ("application/json", json.dumps({"content": "a\n"})),
            ("text/plain", "b\n"),
            ("application/x-ndjson", "c\n"),
            ("x/y", json.dumps({"content": "d\n"})),
        ],
        start=1,
    ):
        headers = {"X-Client-Id": f"client-{number}", "Content-Type": content_type}
        assert stub.ask("PUT", "/projects/demo/files/summary.md", headers, body).json["rescued"] is True
    contents = {
        stub.ask("GET", f"/projects/demo/files/summary.md/versions/{one['version']}").json["content"]
        for one in stub.versions("summary.md")
        if one["kind"] == "rescued"
    }
    assert contents == {"a\n", "b\n", "c\n", "d\n"}


def test_an_entry_of_the_log_sent_alone_is_stored_with_its_time_and_type() -> None:
    """The body as `curl -T` sends it; as JSON it is a 400 that changes nothing."""
    stub = Stub()
    stub.acquire()
    alone = json.dumps({"ts": "2026-01-02T03:04:05.678Z", "type": "note", "content": "Use tabs"})
    refused = stub.ask("PUT", FILE, {"X-Client-Id": "laptop", "Content-Type": "application/json"}, alone)
    assert (refused.status, stub.ask("GET", FILE).status) == (400, 404)
    assert "one key, content" in refused.json["error"]
    assert stub.ask("PUT", FILE, {"X-Client-Id": "laptop"}, alone).status == 200
    assert stub.ask("GET", FILE).json["content"] == alone
