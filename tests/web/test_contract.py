"""The recorded contract, and its locks to the millisecond, without a socket, a disk or a real clock."""

import pytest

from tests.contract import KEYS, difference, load
from tests.web.stub import TTL, Stub


@pytest.mark.parametrize("group", ["open", "with keys"])
def test_every_recorded_answer_is_given(group: str) -> None:
    """All 68 cases, in their order, against one server each."""
    stub = Stub(keys=KEYS if group == "with keys" else ())
    wrong = []
    for case in load()[group]:
        reply = stub.ask(case.method, case.path, case.headers, case.body)
        headers = {name.decode(): values[-1].decode() for name, values in reply.headers.getAllRawHeaders()}
        problem = difference(case, reply.status, headers, reply.body)
        wrong += [f"{case.what}: {problem}"] if problem else []
    assert not wrong


def test_a_lock_ends_at_the_very_millisecond_of_its_expiry() -> None:
    """One millisecond before, another client is refused; at the expiry it is granted."""
    stub = Stub()
    assert stub.acquire("laptop").json["lock"]["expiresAt"] == "2026-02-04T15:30:00.000Z"
    stub.clock.advance((TTL - 1) / 1000)
    refused = stub.acquire("desktop")
    assert (refused.status, refused.json["lock"]["clientId"]) == (409, "laptop")
    stub.clock.advance(0.001)
    assert stub.ask("GET", "/projects/demo/lock").json == {"locked": False, "lock": None}
    assert stub.acquire("desktop").status == 200


def test_an_upload_under_an_expired_lock_is_refused() -> None:
    """A session that outlives its lock pushes without one; what it pushed is kept."""
    stub = Stub()
    stub.acquire()
    stub.clock.advance(TTL / 1000)
    refused = stub.upload()
    assert (refused.status, refused.json) == (
        403,
        {"error": "No lock held - acquire lock before writing", "rescued": True, "version": 1},
    )
    assert stub.ask("GET", "/projects/demo/files").json == {"files": []}


def test_a_heartbeat_moves_the_expiry_and_keeps_the_start() -> None:
    """The lock lives a whole TTL from the heartbeat on."""
    stub = Stub()
    stub.acquire()
    stub.clock.advance(60)
    lock = stub.ask("POST", "/projects/demo/lock/heartbeat", {"X-Client-Id": "laptop"}).json["lock"]
    assert lock["acquiredAt"] == "2026-02-04T15:00:00.000Z"
    assert lock["expiresAt"] == "2026-02-04T15:31:00.000Z"


def test_a_heartbeat_of_an_expired_lock_is_refused() -> None:
    """Expired is gone, reaped or not."""
    stub = Stub()
    stub.acquire()
    stub.clock.advance(TTL / 1000)
    reply = stub.ask("POST", "/projects/demo/lock/heartbeat", {"X-Client-Id": "laptop"})
    assert (reply.status, reply.json) == (403, {"error": "No lock to extend"})


def test_the_release_of_an_expired_lock_finds_none() -> None:
    """It is free, and that is said."""
    stub = Stub()
    stub.acquire()
    stub.clock.advance(TTL / 1000)
    reply = stub.ask("DELETE", "/projects/demo/lock", {"X-Client-Id": "laptop"})
    assert reply.json == {"success": True, "message": "No lock to release"}


def test_a_new_mtime_is_later_than_the_last_although_the_clock_stands_still() -> None:
    """Stock clients compare to the millisecond."""
    stub = Stub()
    stub.acquire()
    assert stub.upload(content="1").json["mtime"] == "2026-02-04T15:00:00.000Z"
    assert stub.upload(content="2").json["mtime"] == "2026-02-04T15:00:00.001Z"


def test_an_identical_upload_is_accepted_and_changes_nothing() -> None:
    """Same version, same mtime."""
    stub = Stub()
    stub.acquire()
    first = stub.upload(content="same").json
    stub.clock.advance(5)
    assert stub.upload(content="same").json == first


def test_an_upload_with_an_older_token_is_refused() -> None:
    """A second session on the same machine took the lock anew: the first one's token is stale."""
    stub = Stub()
    old = stub.acquire().json["lock"]["token"]
    stub.ask("DELETE", "/projects/demo/lock", {"X-Client-Id": "laptop"})
    new = stub.acquire().json["lock"]["token"]
    assert new > old
    headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain"}
    path = "/projects/demo/files/log.jsonl"
    stale = stub.ask("PUT", path, headers | {"X-Lock-Token": str(old)}, "stale")
    assert (stale.status, stale.json["lock"]["token"]) == (409, new)
    assert stub.ask("PUT", path, headers | {"X-Lock-Token": str(new)}, "fresh").status == 200
    assert stub.ask("GET", path).json["content"] == "fresh"


@pytest.mark.parametrize("token", ["", "-1", "x", "1.5", "9" * 400])
def test_a_token_that_is_no_number_is_an_error(token: str) -> None:
    """It says what a token is, and nothing is stored."""
    stub = Stub()
    stub.acquire()
    headers = {"X-Client-Id": "laptop", "X-Lock-Token": token}
    reply = stub.ask("PUT", "/projects/demo/files/log.jsonl", headers, "x")
    assert (reply.status, "X-Lock-Token" in reply.json["error"]) == (400, True)
    assert stub.ask("GET", "/projects/demo/files").json == {"files": []}


def test_a_content_that_is_not_utf8_is_refused() -> None:
    """It would come back as something else."""
    stub = Stub()
    stub.acquire()
    reply = stub.ask("PUT", "/projects/demo/files/log.jsonl", {"X-Client-Id": "laptop"}, b"\xff\xfe")
    assert (reply.status, "UTF-8" in reply.json["error"]) == (400, True)
