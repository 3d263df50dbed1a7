"""The routes beyond the recorded cases: odd ids and headers, methods, and what is answered when the store fails."""

import errno
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, capturedLogs

from mneme.errors import DiskFull, ShuttingDown
from mneme.model import ProjectId
from tests.kept import MemoryStore
from tests.stepped import SteppedSteps
from tests.web.stub import FailingStore, Stub

PLACES = {
    "lock": "GET",
    "lock/heartbeat": "POST",
    "files": "GET",
    "files/log.jsonl": "GET",
    "files/log.jsonl/versions": "GET",
    "files/log.jsonl/versions/1": "GET",
    "files/log.jsonl/restore": "POST",
    "prunable": "GET",
}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_an_id_of_any_text_is_one_id(project: str) -> None:
    """Slashes, dots, other scripts: what is uploaded under it is read under it, and under no other."""
    stub = Stub()
    encoded = quote(project, safe="!'()*")
    stub.acquire(project=encoded)
    assert stub.upload(project=encoded, content=project).status == 200
    assert stub.ask("GET", f"/projects/{encoded}/files/log.jsonl").json["content"] == project
    assert list(stub.store.projects()) == [ProjectId(project)]


@pytest.mark.parametrize(
    "project", ["%", "%2", "%GG", "a%", "%ff", "%ed%a0%80", "%c0%af", "a" * 513, "%F0%9F%A7%A0" * 513]
)
@pytest.mark.parametrize("place", PLACES)
def test_an_id_that_is_none_is_an_error_in_a_sentence(project: str, place: str) -> None:
    """400, in JSON, on every route."""
    reply = Stub().ask(PLACES[place], f"/projects/{project}/{place}", {"X-Client-Id": "laptop"})
    assert (reply.status, list(reply.json)) == (400, ["error"])


def test_an_id_of_512_characters_is_one() -> None:
    """Characters, not bytes."""
    assert Stub().ask("GET", f"/projects/{quote('🧠' * 512)}/lock").status == 200


@pytest.mark.parametrize(
    "path", ["/health/", "/projects//", "/projects//lock", "/projects/a//lock", "/projects/a/lock/"]
)
def test_a_place_with_too_many_slashes_is_not_found(path: str) -> None:
    """No redirect, no guess."""
    reply = Stub().ask("GET", path)
    assert (reply.status, reply.json) == (404, {"error": "Not found"})


@pytest.mark.parametrize("place", ["lock?x=1", "files?", "files/nothing?a=b&c", "lock?%ZZ"])
def test_a_query_string_breaks_no_route(place: str) -> None:
    """It is looked at by none."""
    assert Stub().ask("GET", f"/projects/demo/{place}").status in (200, 400)


@pytest.mark.parametrize(
    ("method", "place"),
    [("PATCH", "lock"), ("PUT", "lock"), ("POST", "files"), ("DELETE", "files/log.jsonl")],
)
def test_a_method_that_a_place_lacks_is_answered_with_those_it_has(method: str, place: str) -> None:
    """In a sentence, and in `Allow`."""
    reply = Stub().ask(method, f"/projects/demo/{place}")
    assert reply.status == 405
    assert "GET" in (reply.header("Allow") or "")
    assert method not in (reply.header("Allow") or "").split(", ")


@pytest.mark.parametrize("place", PLACES)
def test_options_are_answered_everywhere(place: str) -> None:
    """204, with nothing asked of whoever asks."""
    reply = Stub(keys=["alpha-key-0123456789"]).ask("OPTIONS", f"/projects/demo/{place}")
    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.parametrize("path", ["/health", "/projects/demo/lock", "/projects/demo/files", "/nowhere"])
def test_head_is_answered_like_get_without_the_body(path: str) -> None:
    """With the length that the body would have."""
    stub = Stub()
    got, head = stub.ask("GET", path), stub.ask("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    assert head.header("Content-Type") == "application/json"


@pytest.mark.parametrize("client", ["x" * 201, "a\x1b[31m", "a\x7f", "a\tb"])
def test_a_client_id_that_cannot_be_one_is_an_error(client: str) -> None:
    """It would end up in logs and lock files."""
    reply = Stub().ask("POST", "/projects/demo/lock", {"X-Client-Id": client})
    assert (reply.status, "X-Client-Id" in reply.json["error"]) == (400, True)


def test_a_client_id_of_other_scripts_is_one() -> None:
    """As UTF-8."""
    assert Stub().acquire("書斎-0a1b2c3d").json["lock"]["clientId"] == "書斎-0a1b2c3d"


def test_a_blank_client_id_is_a_missing_one() -> None:
    """Nothing but spaces says nothing."""
    reply = Stub().ask("POST", "/projects/demo/lock", {"X-Client-Id": "  "})
    assert reply.json == {"error": "X-Client-Id header required"}


def test_the_name_of_a_file_may_be_escaped() -> None:
    """It is the same name."""
    stub = Stub()
    stub.acquire()
    stub.upload()
    assert stub.ask("GET", "/projects/demo/files/log%2Ejsonl").status == 200


def test_a_bad_body_does_not_touch_the_file_or_the_lock() -> None:
    """What a 400 refuses changes nothing."""
    stub = Stub()
    stub.acquire()
    stub.upload(content="kept")
    before = stub.ask("GET", "/projects/demo/files/log.jsonl").json
    headers = {"X-Client-Id": "laptop", "Content-Type": "application/json"}
    assert stub.ask("PUT", "/projects/demo/files/log.jsonl", headers, "{").status == 400
    assert stub.ask("GET", "/projects/demo/files/log.jsonl").json == before
    assert stub.ask("GET", "/projects/demo/lock").json["locked"] is True


@pytest.mark.parametrize(("failure", "status"), [(DiskFull(), 507), (ShuttingDown(), 503)])
def test_a_failure_that_has_a_status_is_answered_with_it(failure: BaseException, status: int) -> None:
    """And with a sentence that says what to do."""
    reply = Stub(store=FailingStore(failure)).ask("GET", "/projects/demo/lock")
    assert (reply.status, reply.json["error"]) == (status, str(failure))


@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "bad disk", "/secret/path"), RuntimeError("internal"), ValueError()]
)
def test_a_fault_is_logged_under_an_id_that_the_answer_repeats(failure: BaseException) -> None:
    """The answer itself tells nothing of the inside."""
    with capturedLogs() as logged:
        reply = Stub(store=FailingStore(failure)).ask("GET", "/projects/demo/lock")
    faults: list[LogEvent] = [event for event in logged if "fault" in event]
    assert reply.status == 500
    assert faults[0]["fault"] in reply.json["error"]
    assert faults[0]["log_failure"].value is failure
    assert b"secret" not in reply.body
    assert b"internal" not in reply.body


def test_each_request_takes_one_step_off_the_reactor_and_no_more() -> None:
    """At most one hop to a thread."""
    places = [
        "GET lock",
        "POST lock",
        "DELETE lock",
        "POST lock/heartbeat",
        "GET files",
        "GET files/log.jsonl",
        "HEAD files/log.jsonl",
        "GET files/log.jsonl/versions",
        "GET files/log.jsonl/versions/1",
        "POST files/log.jsonl/restore",
        "GET prunable",
    ]
    for method, _, place in (one.partition(" ") for one in [*places, "PUT files/log.jsonl"]):
        steps = SteppedSteps(MemoryStore(), holding=False)
        stub = Stub(steps=steps)
        steps.holding = True
        headers = {"X-Client-Id": "laptop"}
        with pytest.raises(AssertionError, match="no answer"):
            stub.ask(method, f"/projects/demo/{place}", headers, json.dumps({"content": "x", "version": 1}))
        assert len(steps) == 1
