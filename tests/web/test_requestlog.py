"""The line that each request leaves."""

import json

import pytest
from twisted.logger import LogEvent, capturedLogs, formatEvent

from mneme.logs import as_json_line
from mneme.web.policy import Policy
from mneme.web.proxies import TrustedProxies
from tests.web.connections import Server
from tests.web.stub import KEY, FailingStore, Stub


def _lines(stub: Stub, method: str, path: str, headers: dict[str, str]) -> list[LogEvent]:
    with capturedLogs() as logged:
        stub.ask(method, path, headers)
    return [event for event in logged if event.get("log_namespace") == "mneme.request"]


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("POST", "/projects/org%2Frepo/lock?x=1", "POST org%2Frepo lock 200 143 bytes 0.0 ms"),
        ("HEAD", "/projects?limit=1", "HEAD - /projects 200 "),
        ("GET", "/projects/", "GET - - 404 "),
        ("GET", "/projects/demo/prunable", "GET demo prunable 200 "),
        ("GET", "/projects/demo/files/log.jsonl/versions?limit=x", "GET demo files/log.jsonl/versions 400 "),
        ("GET", "/projects/demo/files/log.jsonl/versions/%0A", "GET demo files/log.jsonl/versions/%0A 404 "),
        ("GET", "/projects/demo/files/log.jsonl/restore", "GET demo files/log.jsonl/restore 405 "),
    ],
)
def test_a_request_leaves_one_line_that_says_who_asked_what_and_how_it_ended(
    method: str, path: str, told: str
) -> None:
    """Without the query, and with a dash where there is no project."""
    (event,) = _lines(Stub(), method, path, {"X-Client-Id": "laptop-0a1b2c3d"})
    assert (formatEvent(event) or "").startswith(f"127.0.0.1 laptop-0a1b2c3d {told}")


def test_a_refused_upload_that_was_kept_leaves_the_line_of_a_refused_one() -> None:
    """Another line tells that it was kept."""
    stub = Stub()
    stub.acquire("desk")
    with capturedLogs() as logged:
        stub.upload("laptop")
    kept, refused = (formatEvent(event) or "" for event in logged)
    assert kept == "Kept log.jsonl of demo from laptop, which does not hold the lock, as version 1"
    assert refused.startswith("127.0.0.1 laptop PUT demo files/log.jsonl 403 ")


def test_a_client_id_in_latin_1_is_read_as_node_writes_it() -> None:
    """Which is how JavaScript's `fetch` sends the name of a machine."""
    with capturedLogs() as logged:
        server = Server()
        server.connect().send(
            b"POST /projects/demo/lock HTTP/1.1\r\nHost: x\r\nX-Client-Id: caf\xe9-0a1b2c3d\r\n\r\n"
        )
    assert server.stub.ask("GET", "/projects/demo/lock").json["lock"]["clientId"] == "café-0a1b2c3d"
    assert " caf%C3%A9-0a1b2c3d POST demo lock 200 " in (formatEvent(logged[-1]) or "")


def test_nothing_in_a_request_can_forge_a_line() -> None:
    """Line breaks and escape sequences stay encoded, and an unusable client id is left out."""
    (event,) = _lines(Stub(), "GET", "/projects/a%0A%1B[2J/lock", {"X-Client-Id": "a\x1b[2J"})
    text = formatEvent(event)
    assert "\n" not in text
    assert "\x1b" not in text
    assert "GET a%0A%1B%5B2J lock" in text


def test_keys_never_reach_the_log() -> None:
    """Good ones, bad ones, and ones that were put into the address by mistake."""
    stub = Stub(keys=[KEY])
    for shown in (KEY, "wrong-" + KEY):
        for event in _lines(
            stub, "GET", f"/projects/demo/lock?key={KEY}", {"Authorization": f"Bearer {shown}"}
        ):
            assert KEY not in formatEvent(event)
            assert KEY not in as_json_line(event)


def test_the_line_for_machines_is_one_json_object_with_each_part_by_name() -> None:
    """And ends with one line break, whatever is in it."""
    (event,) = _lines(Stub(), "GET", "/nowhere", {})
    line = as_json_line(event)
    assert line.count("\n") == 1
    fields = json.loads(line)
    assert (fields["level"], fields["status"], fields["place"]) == ("info", 404, "/nowhere")
    assert fields["time"].endswith("Z")


def test_a_fault_is_one_line_for_machines_with_its_traceback() -> None:
    """Nothing of it is lost, and nothing breaks the line."""
    with capturedLogs() as logged:
        Stub(store=FailingStore(RuntimeError("broken inside"))).ask("GET", "/projects/demo/lock")
    (line,) = [as_json_line(event) for event in logged if "fault" in event]
    assert line.count("\n") == 1
    assert "Traceback" in json.loads(line)["message"]
    assert "broken inside" in json.loads(line)["message"]


@pytest.mark.parametrize(("trusted", "told"), [("192.0.2.7", "198.51.100.9"), ("192.0.2.8", "192.0.2.7")])
def test_behind_a_trusted_proxy_the_line_tells_who_asked(trusted: str, told: str) -> None:
    """Anybody else's word is ignored."""
    server = Server()
    server.stub.site.policy = Policy(proxies=TrustedProxies.parse([trusted]))
    with capturedLogs() as logged:
        server.connect().get("/health", "Host: x", "X-Forwarded-For: 1.2.3.4, 198.51.100.9")
    assert [event["address"] for event in logged if "address" in event] == [told]
