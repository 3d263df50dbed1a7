"""The line that each request leaves."""

import json

from twisted.logger import LogEvent, capturedLogs, formatEvent

from mneme.logs import as_json_line
from tests.web.stub import FailingStore, Stub

KEY = "alpha-key-0123456789"


def _lines(stub: Stub, method: str, path: str, headers: dict[str, str]) -> list[LogEvent]:
    with capturedLogs() as logged:
        stub.ask(method, path, headers)
    return [event for event in logged if event.get("log_namespace") == "mneme.request"]


def test_a_request_leaves_one_line_that_says_who_what_and_how_it_ended() -> None:
    """Address, client, method, project, place, status, bytes and milliseconds."""
    (event,) = _lines(Stub(), "POST", "/projects/org%2Frepo/lock?x=1", {"X-Client-Id": "laptop-0a1b2c3d"})
    assert formatEvent(event) == "127.0.0.1 laptop-0a1b2c3d POST org%2Frepo lock 200 143 bytes 0.0 ms"


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
