"""All routes: ids, headers, methods and keys, and the answers to failures."""

import errno
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, capturedLogs

from mneme.errors import DiskFull, ShuttingDown
from mneme.model import ProjectId
from tests.kept import DiskStore, MemoryStore
from tests.stepped import SteppedSteps
from tests.web.stub import FILE, KEY, FailingStore, Stub, written

LOCK = "/projects/demo/lock"
LOOK = "GET, HEAD, OPTIONS"
ROUTES = {
    "/": LOOK,
    "/health": LOOK,
    "/status": LOOK,
    "/projects": LOOK,
    "/projects/demo/alias": "OPTIONS, PUT",
    "/projects/demo/prunable": LOOK,
    LOCK: "DELETE, GET, HEAD, OPTIONS, POST",
    f"{LOCK}/heartbeat": "OPTIONS, POST",
    "/projects/demo/files": LOOK,
    FILE: "GET, HEAD, OPTIONS, PUT",
    f"{FILE}/append": "OPTIONS, POST",
    f"{FILE}/restore": "OPTIONS, POST",
    f"{FILE}/versions": LOOK,
    f"{FILE}/versions/1": LOOK,
}
"""All places, each with the methods that it allows."""

PUBLIC = ("/", "/health")
CALLS = [(method, path) for path, methods in ROUTES.items() for method in methods.split(", ")]
ASKING = [(method, path) for method, path in CALLS if method != "OPTIONS"]
READS = [(method, path) for method, path in CALLS if method in ("GET", "HEAD")]
NAMED = [(method, path) for method, path in CALLS if method in ("POST", "PUT", "DELETE")]
"""Calls that need an `X-Client-Id`."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_an_id_of_any_text_is_one_id(project: str) -> None:
    """Slashes, dots, other scripts: an upload is read under the same id alone."""
    stub = Stub()
    encoded = quote(project, safe="!'()*")
    stub.acquire(project=encoded)
    assert stub.upload(project=encoded, content=project).status == 200
    assert stub.ask("GET", f"/projects/{encoded}/files/log.jsonl").json["content"] == project
    assert list(stub.store.projects()) == [ProjectId(project)]


@pytest.mark.parametrize(
    "project", ["%", "%2", "%GG", "a%", "%ff", "%ed%a0%80", "%c0%af", "a" * 513, "%F0%9F%A7%A0" * 513]
)
@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path in ASKING if "demo" in path])
def test_an_id_that_is_none_is_an_error_in_a_sentence(project: str, method: str, path: str) -> None:
    """400, in JSON, on every route."""
    reply = Stub().ask(method, path.replace("demo", project), {"X-Client-Id": "laptop"})
    assert reply.status == 400
    assert method == "HEAD" or list(reply.json) == ["error"]


def test_an_id_of_512_characters_is_one() -> None:
    """Characters, not bytes."""
    assert Stub().ask("GET", f"/projects/{quote('🧠' * 512)}/lock").status == 200


def test_the_name_of_a_file_may_be_escaped() -> None:
    """An escaped name is the same name."""
    assert written().ask("GET", "/projects/demo/files/log%2Ejsonl").status == 200


@pytest.mark.parametrize(
    "name", ["secrets.txt", ".lock.json", "log.jsonl.bak", "..", "%2E%2E", "LOG.JSONL", "log.jsonl%20", "%00"]
)
def test_a_name_outside_the_list_is_refused_everywhere(name: str, tmp_path: Path) -> None:
    """Nothing appears on disk."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    for method, path in [call for call in ASKING if FILE in call[1]]:
        reply = stub.ask(method, path.replace("log.jsonl", name), {"X-Client-Id": "laptop"}, "x")
        if path.endswith("append"):
            assert (reply.status, reply.json) == (404, {"error": "Not found"})
        else:
            assert reply.status == (400 if method in ("GET", "HEAD") else 403)
            assert method == "HEAD" or reply.json == {"error": "File not allowed for sync"}
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        *(f"{path}/" for path in ROUTES),
        *(path.replace("/demo", "//demo") for path in ROUTES if "/demo" in path),
        "//health",
        "/projects//lock",
        "/status/x",
        "/projects/status",
        f"{FILE}//append",
        f"{FILE}/append/1",
        f"{FILE}/versions/1/2",
        f"{FILE}/versions/1/restore",
        "/projects/files/log.jsonl/append",
    ],
)
def test_a_place_beside_a_route_is_not_found(path: str) -> None:
    """No redirect, no guess."""
    reply = written().ask("GET", path)
    assert (reply.status, reply.json) == (404, {"error": "Not found"})


@pytest.mark.parametrize("path", ROUTES)
def test_a_method_that_a_place_lacks_is_answered_with_those_it_has(path: str) -> None:
    """405 with `Allow`, and nothing is changed."""
    stub = written()
    before = stub.state()
    for method in set(METHODS) - set(ROUTES[path].split(", ")):
        reply = stub.ask(method, path, {"X-Client-Id": "laptop"}, json.dumps({"content": "x", "version": 1}))
        assert (reply.status, reply.header("Allow")) == (405, ROUTES[path])
    assert stub.state() == before


@pytest.mark.parametrize("path", ROUTES)
def test_options_are_answered_everywhere(path: str) -> None:
    """204, with nothing asked of whoever asks."""
    reply = Stub(keys=[KEY]).ask("OPTIONS", path)
    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.parametrize("path", [*(path for method, path in READS if method == "GET"), "/nowhere"])
def test_reads_answer_head_and_ignore_any_query(path: str) -> None:
    """HEAD without the body, and a query as if there were none."""
    stub = written()
    got, head = stub.ask("GET", path), stub.ask("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    assert head.header("Content-Type") == got.header("Content-Type") == "application/json"
    assert stub.ask("GET", f"{path}?x=1&%ZZ&=").json == got.json


@pytest.mark.parametrize(("method", "path"), READS)
def test_reads_of_a_project_that_was_never_written_make_none(method: str, path: str, tmp_path: Path) -> None:
    """Nothing appears on disk."""
    stub = Stub(store=DiskStore(tmp_path))
    before = list(tmp_path.rglob("*"))
    assert stub.ask(method, path).status in (200, 404)
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("method", "path"), [*((method, path) for method, path in ASKING if path not in PUBLIC), ("GET", "/no")]
)
def test_each_place_but_health_needs_the_key(method: str, path: str) -> None:
    """Unknown places too; without a key nothing is learned, and nothing kept."""
    stub = Stub(keys=[KEY])
    for shown, status in (({}, 401), ({"Authorization": "Bearer nope"}, 403)):
        assert stub.ask(method, path, {"X-Client-Id": "laptop"} | shown, "x").status == status
    assert stub.ask("GET", "/health", {"Authorization": "Bearer nope"}).json["authRequired"] is True
    assert list(stub.store.projects()) == []


@pytest.mark.parametrize("client", [None, "", "  "])
@pytest.mark.parametrize(("method", "path"), NAMED)
def test_writes_need_a_client_id(method: str, path: str, client: str | None) -> None:
    """Nothing but spaces is none."""
    stub = Stub()
    reply = stub.ask(method, path, {} if client is None else {"X-Client-Id": client}, "x")
    assert (reply.status, reply.json) == (400, {"error": "X-Client-Id header required"})
    assert list(stub.store.projects()) == []


@pytest.mark.parametrize("client", ["x" * 201, "a\x1b[31m", "a\x7f", "a\tb"])
@pytest.mark.parametrize(("method", "path"), [*NAMED, ("GET", FILE), ("HEAD", FILE)])
def test_a_client_id_that_cannot_be_one_is_an_error(method: str, path: str, client: str) -> None:
    """Such an id would end up in logs and lock files."""
    stub = Stub()
    reply = stub.ask(method, path, {"X-Client-Id": client}, "x")
    assert (reply.status, b"X-Client-Id" in reply.body) == (400, method != "HEAD")
    assert list(stub.store.projects()) == []


def test_a_client_id_of_other_scripts_is_one() -> None:
    """As UTF-8."""
    assert Stub().acquire("書斎-0a1b2c3d").json["lock"]["clientId"] == "書斎-0a1b2c3d"


@pytest.mark.parametrize(("failure", "status"), [(DiskFull(), 507), (ShuttingDown(), 503)])
def test_a_failure_that_has_a_status_is_answered_with_it(failure: BaseException, status: int) -> None:
    """And with a sentence that says what to do."""
    reply = Stub(store=FailingStore(failure)).ask("GET", LOCK)
    assert (reply.status, reply.json["error"]) == (status, str(failure))


@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "bad disk", "/secret/path"), RuntimeError("internal"), ValueError()]
)
def test_a_fault_is_logged_under_an_id_that_the_answer_repeats(failure: BaseException) -> None:
    """The answer itself tells nothing of the inside."""
    with capturedLogs() as logged:
        reply = Stub(store=FailingStore(failure)).ask("GET", LOCK)
    faults: list[LogEvent] = [event for event in logged if "fault" in event]
    assert reply.status == 500
    assert faults[0]["fault"] in reply.json["error"]
    assert faults[0]["log_failure"].value is failure
    assert b"secret" not in reply.body
    assert b"internal" not in reply.body


@pytest.mark.parametrize(("method", "path"), [call for call in ASKING if call[1] not in PUBLIC])
def test_each_request_takes_one_step_off_the_reactor_and_no_more(method: str, path: str) -> None:
    """At most one hop to a thread."""
    steps = SteppedSteps(MemoryStore(), holding=False)
    stub = Stub(steps=steps)
    steps.holding = True
    bodies = {"restore": {"version": 1}, "alias": {"of": "another"}}
    body = json.dumps(bodies.get(path.rpartition("/")[2], {"content": "x"}))
    headers = {"X-Client-Id": "laptop", "If-None-Match": "*"}
    with pytest.raises(AssertionError, match="no answer"):
        stub.ask(method, path, headers, body)
    assert len(steps) == 1
