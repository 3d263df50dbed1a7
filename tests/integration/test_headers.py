"""Headers of any bytes: keys and client ids; and the answers to OPTIONS and HEAD."""

from __future__ import annotations

import json

import pytest

from tests.contract import KEYS, is_time
from tests.daemon import Daemon
from tests.integration import wire
from tests.integration.wire import HOST, NAME, PLACE, UPLOADER

pytestmark = pytest.mark.integration

ODD_VALUES = [
    b"caf\xe9",
    b"\xff\xfe",
    "μνήμη".encode(),
    "🧠".encode(),
    b"\x80",
    b"a\x00b",
    b"a\x01b",
    b"a\x7fb",
    b"\xc2\x85",
    b"a\tb",
]


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_a_key_of_any_bytes_is_refused_and_no_fault(keyed: Daemon, value: bytes) -> None:
    """Bytes that are no ASCII in an Authorization header are a missing or a wrong key, never a fault."""
    for scheme in (b"Bearer ", b"Basic ", b"", b"B\xe9arer "):
        head = (
            b"GET /projects/demo/lock HTTP/1.1\r\n" + HOST + b"Authorization: " + scheme + value + b"\r\n\r\n"
        )
        answer = wire.exchange(keyed, head)
        if answer is None or answer.status == 400:
            assert set(value) & {0, 1, 0x7F}, answer
        else:
            wire.assert_wire_error(answer, 403 if scheme == b"Bearer " else 401)
    assert "Traceback" not in keyed.log()


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "bearer",
        "Bearer  ",
        f"Bearer {KEYS[0]}x",
        f"Bearer {KEYS[0][:-1]}",
        f"Bearer {KEYS[0].upper()}",
        f"Bearer {KEYS[0]},{KEYS[1]}",
        f"Basic {KEYS[0]}",
        KEYS[0],
        "Bearer " + "x" * 8000,
    ],
)
def test_a_key_that_is_nearly_right_is_refused(keyed: Daemon, value: str) -> None:
    """Only a whole key in the Bearer scheme opens the door, and an answer never repeats what was sent."""
    status, _, raw = keyed.ask_raw("GET", "/projects/demo/lock", headers={"Authorization": value})
    assert status in (401, 403)
    assert json.loads(raw)["error"] in ("Missing or invalid Authorization header", "Invalid API key")
    assert KEYS[0] not in keyed.log()


def test_without_a_key_nothing_is_read_or_told(keyed: Daemon) -> None:
    """Without a key each place, known or not, is a 401, uploads before their body is sent."""
    for method, path in [
        ("GET", "/projects/demo/files"),
        ("POST", "/projects/demo/lock"),
        ("GET", "/nowhere"),
        ("PATCH", "/projects/demo/lock"),
    ]:
        status, headers, _ = keyed.ask_raw(method, path, headers={"X-Client-Id": "a"})
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("Bearer")
    head = wire.head("PUT", f"{PLACE}/files/{NAME}", *UPLOADER, "Content-Length: 100000")
    wire.assert_wire_error(wire.exchange(keyed, head + b'{"content":"' + b"x" * 100_000), 401)


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_a_client_id_of_any_bytes_is_no_fault(daemon: Daemon, value: bytes) -> None:
    """Bytes that are no ASCII in a client id are taken or refused with a 400, and the lock can be read afterwards."""
    for method, rest in ((b"POST", b"lock"), (b"POST", b"lock/heartbeat"), (b"DELETE", b"lock")):
        head = b"%b /projects/odd-clients/%b HTTP/1.1\r\n%bX-Client-Id: %b\r\nContent-Length: 0\r\n\r\n"
        answer = wire.exchange(daemon, head % (method, rest, HOST, value))
        assert answer is None or answer.status in (200, 400, 403, 409), answer
        status, body = daemon.ask("GET", "/projects/odd-clients/lock")
        assert status == 200
        assert isinstance(body["locked"], bool)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 200, 200),
        ("x" * 201, 400),
        ("", 400),
        ("   ", 400),
        ("a\x01b", 400),
        ("a\x7fb", 400),
        ("a b", 200),
        ('ana\'s "laptop"', 200),
    ],
    ids=["200", "201", "empty", "blank", "control", "delete", "space", "quotes"],
)
def test_a_client_id_is_bounded(daemon: Daemon, value: str, expected: int) -> None:
    """200 characters without control characters are a client id."""
    status, answer = daemon.ask("POST", "/projects/bounded/lock", headers={"X-Client-Id": value})
    assert status == expected, answer
    if status == 200:
        assert answer["lock"]["clientId"] == value
        assert is_time(answer["lock"]["expiresAt"])
        assert daemon.ask("DELETE", "/projects/bounded/lock", headers={"X-Client-Id": value})[0] == 200
    elif not value.strip():
        assert answer == {"error": "X-Client-Id header required"}


PLACES = [
    "/",
    "/health",
    f"{PLACE}/lock",
    f"{PLACE}/lock/heartbeat",
    f"{PLACE}/files",
    f"{PLACE}/files/{NAME}",
]


@pytest.mark.parametrize("path", PLACES)
def test_options_answers_204_everywhere(daemon: Daemon, keyed: Daemon, path: str) -> None:
    """A preflight carries no key and gets no body."""
    for server in (daemon, keyed):
        headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "PUT"}
        status, _, raw = server.ask_raw("OPTIONS", path, headers=headers)
        assert (status, raw) == (204, b"")


@pytest.mark.parametrize(
    "path",
    [
        *(p for p in PLACES if "heartbeat" not in p),
        f"{PLACE}/files/summary.md",
        f"{PLACE}/files/x",
        "/nowhere",
    ],
)
def test_head_is_get_without_the_body(daemon: Daemon, path: str) -> None:
    """HEAD gets the status and the headers of GET, its Content-Length too, and the connection can be used on."""
    with wire.connect(daemon) as connection:
        connection.sendall(wire.head("GET", path))
        get = wire.read(connection)
        connection.sendall(wire.head("HEAD", path))
        head = wire.read(connection, method="HEAD")
        assert get is not None
        assert head is not None
        assert head.body == b""
        assert head.status == get.status
        for name in ("content-type", "content-length"):
            assert head.headers.get(name) == get.headers.get(name), name
        connection.sendall(wire.head("GET", "/health"))
        after = wire.read(connection)
        assert after is not None
        assert after.status == 200
