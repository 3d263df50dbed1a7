"""The recorded contract, and the times of a lock, on a fake clock."""

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


def test_a_lock_is_told_and_ends_to_the_millisecond() -> None:
    """A heartbeat moves its expiry alone; at the expiry another client gets it."""
    stub = Stub()
    lock = {"clientId": "laptop", "acquiredAt": "2026-02-04T15:00:00.000Z", "token": 1}
    granted = stub.acquire()
    assert granted.json == {"success": True, "lock": {**lock, "expiresAt": "2026-02-04T15:30:00.000Z"}}
    stub.clock.advance(60)
    extended = stub.ask("POST", "/projects/demo/lock/heartbeat", {"X-Client-Id": "laptop"})
    lock["expiresAt"] = "2026-02-04T15:31:00.000Z"
    assert extended.json == {"success": True, "lock": lock}
    stub.clock.advance((TTL - 1) / 1000)
    assert stub.ask("GET", "/projects/demo/lock").json == {"locked": True, "lock": lock}
    refused = stub.acquire("desktop")
    assert (refused.status, refused.json["lock"]) == (409, lock)
    stub.clock.advance(0.001)
    assert stub.ask("GET", "/projects/demo/lock").json == {"locked": False, "lock": None}
    assert stub.acquire("desktop").status == 200
