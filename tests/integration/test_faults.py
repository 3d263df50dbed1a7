"""What a home server meets: full disks, hang-ups, odd ids, bodies over the limit, malformed HTTP, crowds.

All over real sockets, against the real daemon. After each fault the same process still serves, and no file is
half written.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.contract import KEYS, is_time
from tests.daemon import Daemon, wait_until
from tests.memory import log, memory
from tests.stock_client import Machine, StockClient, encode_uri_component, envelope

pytestmark = pytest.mark.integration

LIMIT = 10 * 1024 * 1024
MEMORY_BOUND = 700 * 1024 * 1024
CLIENT_ID = "ana-laptop-0badcafe"
PROJECT = "-home-ana-src-my.app"
PLACE = f"/projects/{PROJECT}"
NAME = "log.jsonl"
NO_RATE_LIMIT = {"rateLimitPerMinute": 0}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One server for all tests of this module that need no other."""
    with Daemon(tmp_path_factory.mktemp("server"), NO_RATE_LIMIT) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The server of the module, holding `log.jsonl`; it is still the same process afterwards, and has no fault."""
    pid = running.pid
    logged = len(running.log())
    with _client(running) as client:
        assert client.acquire(PROJECT).status == 200
        assert client.upload(PROJECT, NAME, OLD).status == 200
    yield running
    assert running.runs()
    assert running.pid == pid
    assert running.ask("GET", "/health")[0] == 200
    assert "Traceback" not in running.log()[logged:], running.log()[logged:]


OLD = log(1).decode("utf-8")
NEW = log(2).decode("utf-8")


# Disk full


def test_a_full_disk_is_507_and_the_old_content_stays(tmp_path: Path) -> None:
    """On a file system without space an upload is refused whole; with space again, the server goes on."""
    with (
        _small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
        _client(daemon) as client,
    ):
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        filler = disk / "filler"
        _fill(filler, leave=100_000)
        free = shutil.disk_usage(disk).free
        assert 0 < free < len(NEW)
        for _ in range(5):
            _assert_error(client.upload(PROJECT, NAME, NEW), 507)
        assert shutil.disk_usage(disk).free >= free - 8192, "refused uploads fill the disk"
        _assert_serves(daemon, OLD)

        _fill(filler, leave=0)
        _assert_error(client.upload(PROJECT, NAME, NEW), 507)
        _assert_error(client.upload(PROJECT, "summary.json", "{}"), 507)
        _assert_error(client.acquire("another"), 507)
        _assert_serves(daemon, OLD)
        _assert_locked(daemon)

        filler.unlink()
        assert client.upload(PROJECT, NAME, NEW).status == 200
        assert client.acquire("another").status == 200
        _assert_serves(daemon, NEW)
        daemon.kill_and_restart()
        _assert_serves(daemon, NEW)
        _assert_locked(daemon)


def test_a_server_can_be_restarted_on_a_full_disk(tmp_path: Path) -> None:
    """A person who finds the disk full and restarts the server can still read every file."""
    with (
        _small_disk(tmp_path / "disk", 2_000_000) as disk,
        Daemon(tmp_path / "server", NO_RATE_LIMIT, data_dir=disk / "data") as daemon,
        _client(daemon) as client,
    ):
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        _fill(disk / "filler", leave=0)
        _assert_error(client.upload(PROJECT, NAME, NEW), 507)
        daemon.kill_and_restart()
        _assert_serves(daemon, OLD)
        (disk / "filler").unlink()
        assert client.upload(PROJECT, NAME, NEW).status == 200
        _assert_serves(daemon, NEW)


def test_a_file_size_limit_is_507_and_the_old_content_stays(tmp_path: Path) -> None:
    """A file that the system refuses to let grow is a full disk too, with no mount needed to show it."""
    with Daemon(tmp_path, NO_RATE_LIMIT) as daemon, _client(daemon) as client:
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1_000_000, hard))
        large = log(3, 3_000_000).decode("utf-8")
        for _ in range(5):
            _assert_error(client.upload(PROJECT, NAME, large), 507)
        _assert_serves(daemon, OLD)
        _assert_locked(daemon)
        assert client.upload(PROJECT, NAME, NEW).status == 200
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert client.upload(PROJECT, NAME, large).status == 200
        _assert_serves(daemon, large)


# Hang-ups


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_hang_up_in_the_middle_of_an_upload_changes_nothing(
    daemon: Daemon, reset: bool, chunked: bool
) -> None:
    """An upload whose client goes away before its end leaves the content, the lock and the server as they were."""
    request = _upload(envelope(NEW), chunked=chunked)
    for tenth in range(10):
        with _connect(daemon) as connection:
            connection.sendall(request[: len(request) * tenth // 10 + 1])
            _hang_up(connection, reset=reset)
    _wait_until_alone(daemon)
    _assert_serves(daemon, OLD)
    _assert_locked(daemon)
    with _client(daemon) as client:
        assert client.upload(PROJECT, NAME, NEW).status == 200
    _assert_serves(daemon, NEW)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_a_hang_up_in_the_middle_of_a_write_leaves_a_whole_file(daemon: Daemon, reset: bool) -> None:
    """Clients that go away between a full upload and its answer leave the old content or a new one, whole."""
    contents = [log(seed).decode("utf-8") for seed in range(20, 30)]
    for number in range(40):
        with _connect(daemon) as connection:
            connection.sendall(_upload(envelope(contents[number % len(contents)])))
            if number % 2:
                wait_until(lambda: _is_read_by_the_server(connection), within=10, every=0.0005)
            _hang_up(connection, reset=reset)
        status, body = daemon.ask("GET", f"{PLACE}/files/{NAME}")
        assert status == 200
        assert body["content"] in (OLD, *contents)
    _wait_until_alone(daemon)
    _assert_locked(daemon)
    with _client(daemon) as client:
        assert client.upload(PROJECT, NAME, NEW).status == 200
    _assert_serves(daemon, NEW)


def test_an_upload_cut_short_is_refused_whole(daemon: Daemon) -> None:
    """A body shorter than its Content-Length is no upload, however much of it came."""
    body = envelope(NEW)
    for length in (1, 10, 100, len(body) // 2, len(body) - 1):
        head = _head("PUT", f"{PLACE}/files/{NAME}", *_UPLOADER, f"Content-Length: {len(body)}")
        answer = _exchange(daemon, head + body[:length], end=True)
        assert answer is None or 400 <= answer.status < 500
    _wait_until_alone(daemon)
    _assert_serves(daemon, OLD)
    _assert_locked(daemon)


def test_a_download_nobody_reads_to_the_end_disturbs_nobody(daemon: Daemon) -> None:
    """Clients that hang up in the middle of an answer, or never read it, cost the others nothing."""
    large = log(4, 5_000_000).decode("utf-8")
    with _client(daemon) as client:
        assert client.upload(PROJECT, NAME, large).status == 200
    slow = [_connect(daemon) for _ in range(10)]
    for connection in slow:
        connection.sendall(_head("GET", f"{PLACE}/files/{NAME}"))
        assert connection.recv(1000)
    _assert_serves(daemon, large)
    for connection in slow:
        _hang_up(connection, reset=True)
    _wait_until_alone(daemon)
    _assert_serves(daemon, large)


# Ids and names


@pytest.mark.parametrize(
    "id_", ["%ZZ", "%", "a%4", "%2", "%G0", "%%", "%u0041", "%FF%FE", "%C3%28", "%ED%A0%80", "%C0%AF"]
)
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", "lock"), ("POST", "lock"), ("GET", "files"), ("GET", f"files/{NAME}"), ("PUT", f"files/{NAME}")],
)
def test_an_id_that_cannot_be_decoded_is_400(daemon: Daemon, id_: str, method: str, rest: str) -> None:
    """A broken percent escape and bytes that are no UTF-8 are refused in JSON wherever an id stands."""
    body = envelope("x\n") if method == "PUT" else None
    status, answer = daemon.ask(method, f"/projects/{id_}/{rest}", headers=_HOLDER, body=body)
    assert status == 400
    assert isinstance(answer["error"], str)


IDS = [
    ".",
    "..",
    "...",
    "../../etc",
    "../../../../../../tmp/mneme-escaped",
    "/etc/passwd",
    "/",
    "//",
    "a/b",
    "a\\b",
    "a/../b",
    ".history",
    ".lock.json",
    NAME,
    "~",
    "-",
    "--help",
    "CON",
    "a b",
    " ",
    "a+b",
    "a?b",
    "a#b",
    "a;b",
    "a%b",
    "%2F",
    "%25",
    "a:b",
    "*",
    "'\"<>|&$`",
    "μνήμη",
    "記憶",
    "ذاكرة",
    "🧠",
    "e\u0301",
    "\u00e9",
    "ﬁ",
    "a\u200bb",
    "\u202eabc",
    "\ufeff",
    "x\nFORGED LINE",
    "x\r\nFORGED: header",
    "x\ty",
    "\x7f",
    "x" * 255,
    "x" * 256,
    "x" * 512,
    "μ" * 512,
    "/" * 512,
    "." * 512,
]


def test_every_id_has_a_memory_of_its_own(daemon: Daemon) -> None:
    """Ids of dots, slashes, other scripts and of 512 characters are each one id, kept inside the data directory."""
    parent = {path.name for path in daemon.data_dir.parent.iterdir()}
    top = {path.name for path in daemon.data_dir.iterdir()}
    contents = {
        id_: f'{{"ts":"2026-02-01T09:00:00.000Z","type":"note","content":"{n}"}}\n'
        for n, id_ in enumerate(IDS)
    }
    with _client(daemon) as client:
        for id_, content in contents.items():
            for answer in (client.acquire(id_), client.upload(id_, NAME, content), client.release(id_)):
                assert answer.status == 200, (id_, answer)
    with _client(daemon) as client:
        for id_, content in contents.items():
            assert client.download(id_, NAME).body["content"] == content, id_
            assert [file["name"] for file in client.files(id_).body["files"]] == [NAME], id_
    assert {path.name for path in daemon.data_dir.parent.iterdir()} == parent
    assert {path.name for path in daemon.data_dir.iterdir()} == top
    assert not Path("/tmp/mneme-escaped").exists()
    assert all(path.is_dir() for path in daemon.projects.iterdir())
    assert len({path.name.lower() for path in daemon.projects.iterdir()}) >= len(IDS)
    assert not [line for line in daemon.log().splitlines() if line.startswith("FORGED")]


def test_an_id_of_nul_bytes_is_no_fault(daemon: Daemon) -> None:
    """An id with a NUL is served or refused, in JSON."""
    for method, rest in (("GET", "lock"), ("POST", "lock"), ("GET", "files"), ("DELETE", "lock")):
        status, answer = daemon.ask(method, f"/projects/a%00b/{rest}", headers=_HOLDER)
        assert status in (200, 400)
        assert isinstance(answer, dict)


@pytest.mark.parametrize("character", ["x", "/", "μ", "記"])
def test_an_id_of_513_characters_is_refused(daemon: Daemon, character: str) -> None:
    """512 characters are an id, and one more is none."""
    for count, expected in ((512, 200), (513, 400)):
        id_ = encode_uri_component(character * count)
        for method, rest in (("POST", "lock"), ("GET", "files"), ("DELETE", "lock")):
            status, answer = daemon.ask(method, f"/projects/{id_}/{rest}", headers=_HOLDER)
            assert status == expected, (count, method, answer)


def test_ids_that_differ_in_their_last_character_keep_apart(daemon: Daemon) -> None:
    """However long two ids are, they share no memory."""
    first, second = "x" * 511 + "a", "x" * 511 + "b"
    with _client(daemon) as client:
        client.acquire(first)
        assert client.upload(first, NAME, OLD).status == 200
        assert client.download(second, NAME).status == 404
        assert client.files(second).body == {"files": []}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "..",
            ".",
            ".lock.json",
            ".history",
            "log.jsonl.",
            "LOG.JSONL",
            "%2e%2e%2flog.jsonl",
            "..%2Flog.jsonl",
        ),
        *("%00log.jsonl", "log.jsonl%00", "log.jsonl%2F", "log.jsonl%0A", "notes.txt", "%CE%BC", "x" * 5000),
    ],
)
def test_a_name_outside_the_list_is_refused(daemon: Daemon, name: str) -> None:
    """Only the five files can be reached, whatever stands in the place of the name."""
    status, answer = daemon.ask("GET", f"{PLACE}/files/{name}")
    assert (status, answer) == (400, {"error": "File not allowed for sync"})
    status, answer = daemon.ask("PUT", f"{PLACE}/files/{name}", headers=_HOLDER, body=envelope("x"))
    assert (status, answer) == (403, {"error": "File not allowed for sync"})


# Bodies


def test_a_body_over_the_limit_is_refused_before_it_is_sent(daemon: Daemon) -> None:
    """On a Content-Length over the limit the 413 comes though nothing but the headers was sent."""
    for length in (LIMIT + 1, 2**31, 2**63, 10**30):
        head = _head("PUT", f"{PLACE}/files/{NAME}", *_UPLOADER, f"Content-Length: {length}")
        _assert_wire_error(_exchange(daemon, head), 413)
        expecting = head[:-2] + b"Expect: 100-continue\r\n\r\n"
        _assert_wire_error(_exchange(daemon, expecting), 413)
    _assert_serves(daemon, OLD)
    _assert_locked(daemon)


def test_a_chunked_body_is_refused_as_soon_as_it_passes_the_limit(daemon: Daemon) -> None:
    """A chunked body gets its 413 while it is still being sent."""
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
    head = _head("PUT", f"{PLACE}/files/{NAME}", *_UPLOADER, "Transfer-Encoding: chunked")
    _assert_wire_error(_exchange(daemon, head + chunk * 10 + b"1\r\nx\r\n"), 413)
    endless = b"%x\r\n" % (1 << 40) + b"x" * (LIMIT + 1)
    _assert_wire_error(_exchange(daemon, head + endless), 413)
    _assert_serves(daemon, OLD)
    _assert_locked(daemon)


def test_a_413_reaches_a_client_that_sends_its_whole_body(daemon: Daemon) -> None:
    """The stock client sends all of a body before it reads: it must get the 413, not a broken connection."""
    content = log(5, LIMIT).decode("utf-8")
    with _client(daemon) as client:
        answer = client.upload(PROJECT, NAME, content)
    assert answer.status == 413
    _assert_serves(daemon, OLD)


def test_a_body_of_exactly_the_limit_is_taken(daemon: Daemon) -> None:
    """The limit itself is within the limit, with a Content-Length and chunked."""
    content = "x" * (LIMIT - len(envelope("")))
    for number, chunked in enumerate((False, True)):
        body = envelope(str(number) + content[1:])
        assert len(body) == LIMIT
        answer = _exchange(daemon, _upload(body, chunked=chunked))
        assert answer is not None
        assert answer.status == 200
        _assert_serves(daemon, str(number) + content[1:])


@pytest.mark.parametrize(
    ("method", "rest"), [("POST", "lock"), ("DELETE", "lock"), ("POST", "lock/heartbeat"), ("GET", "files")]
)
def test_a_body_over_the_limit_is_refused_everywhere(daemon: Daemon, method: str, rest: str) -> None:
    """Places that want no body do not swallow one of any size either."""
    head = _head(method, f"{PLACE}/{rest}", f"X-Client-Id: {CLIENT_ID}", f"Content-Length: {LIMIT + 1}")
    _assert_wire_error(_exchange(daemon, head), 413)
    _assert_locked(daemon)


def test_the_limit_can_be_configured(tmp_path: Path) -> None:
    """`maxBodyBytes` moves the limit for both ways of sending a body."""
    with Daemon(tmp_path, {"maxBodyBytes": 200_000}) as daemon, _client(daemon) as client:
        client.acquire(PROJECT)
        assert client.upload(PROJECT, NAME, OLD).status == 200
        _assert_error(client.upload(PROJECT, NAME, log(6, 200_000).decode("utf-8")), 413)
        body = envelope(log(6, 200_000).decode("utf-8"))
        _assert_wire_error(_exchange(daemon, _upload(body, chunked=False)), 413)
        _assert_serves(daemon, OLD)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'"text"',
        b"[]",
        b"{}",
        b'{"content":null}',
        b'{"content":1}',
        b'{"content":["x"]}',
        b'{"content":"x"',
        b'{"content":"x"} trailing',
        b'{"content":"\xff\xfe"}',
        b'{"content":"\xed\xa0\x80"}',
        b'{"content":"\\ud800"}',
        b'{"content":"a\\udc00b"}',
        b'{"content":"\\ud83e"}',
        b'{"content":"raw \n newline"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 1000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_unusable_body_is_400_and_changes_nothing(daemon: Daemon, body: bytes) -> None:
    """What is no envelope with a string of valid text is refused, with its length and chunked."""
    for chunked in (False, True):
        _assert_wire_error(_exchange(daemon, _upload(body, chunked=chunked)), 400)
    _assert_serves(daemon, OLD)
    _assert_locked(daemon)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "application/x-ndjson", "text/markdown; charset=utf-8"]
)
def test_a_raw_body_that_is_no_text_is_400(daemon: Daemon, kind: str) -> None:
    """A raw body is the content, so it must be UTF-8."""
    headers = {**_HOLDER, "Content-Type": kind}
    for body in (b"\xff\xfe", b"ok\xc3", b"\xed\xa0\x80", b""):
        status, answer = daemon.ask("PUT", f"{PLACE}/files/{NAME}", headers=headers, body=body)
        assert status == 400, (body, answer)
    _assert_serves(daemon, OLD)
    status, _ = daemon.ask("PUT", f"{PLACE}/files/{NAME}", headers=headers, body=NEW.encode("utf-8"))
    assert status == 200
    _assert_serves(daemon, NEW)


# Malformed HTTP

_HOST = b"Host: localhost\r\n"
_GET = b"GET /health HTTP/1.1\r\n" + _HOST
_POST = b"POST /projects/demo/lock HTTP/1.1\r\n" + _HOST
_PUT = f"PUT {PLACE}/files/{NAME} HTTP/1.1\r\nX-Client-Id: {CLIENT_ID}\r\n".encode() + _HOST
_CHUNKED = _PUT + b"Transfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "garbage": b"garbage\r\n\r\n",
    "garbage lines": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n" * 3,
    "binary": bytes(range(256)) * 8 + b"\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: x\n\n",
    "no version": b"GET /health\r\n\r\n",
    "a version that is none": b"GET /health HTTP/x\r\n" + _HOST + b"\r\n",
    "too many words": b"GET /health HTTP/1.1 please now\r\n" + _HOST + b"\r\n",
    "a giant request line": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a giant line without an end": b"GET /" + b"a" * 1_000_000,
    "a giant header": _GET + b"X-Large: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "600 headers": _GET + b"".join(b"X-%d: y\r\n" % n for n in range(600)) + b"\r\n",
    "600 kB of headers": _GET + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 6000) for n in range(100)) + b"\r\n",
    "a header without a colon": _GET + b"nonsense\r\n\r\n",
    "a space before the colon": _GET + b"Content-Length : 5\r\n\r\nhello",
    "length abc": _POST + b"Content-Length: abc\r\n\r\n",
    "length -1": _POST + b"Content-Length: -1\r\n\r\n",
    "length +5": _POST + b"Content-Length: +5\r\n\r\nhello",
    "length 1_0": _POST + b"Content-Length: 1_0\r\n\r\n",
    "length 0x5": _POST + b"Content-Length: 0x5\r\n\r\nhello",
    "no length": _POST + b"Content-Length:\r\n\r\n",
    "a length of 5000 digits": _POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length and chunks": _PUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "an unknown transfer encoding": _PUT + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "chunk size zz": _CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "chunk size -1": _CHUNKED + b"-1\r\nhello\r\n0\r\n\r\n",
    "chunk size 0x5": _CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "an empty chunk size": _CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk size of 5000 digits": _CHUNKED + b"f" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": _CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "a giant chunk extension": _CHUNKED + b"5;" + b"x" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
    "a giant trailer": _CHUNKED + b"5\r\nhello\r\n0\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
}  # fmt: skip

ODD = {
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "HTTP/9.9": b"GET /health HTTP/9.9\r\n" + _HOST + b"\r\n",
    "a NUL in a header": _GET + b"X-A: a\x00b\r\n\r\n",
    "a folded header": _GET + b"X-A: a\r\n b\r\n\r\n",
    "an empty header name": _GET + b": x\r\n\r\n",
    "an absolute URL": b"GET http://localhost/health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an authority": b"CONNECT example.org:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a path without a slash": b"GET health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an unknown method": b"BREW /projects/demo/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a method of bytes": b"\xff\xfe /projects/demo/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a lower-case method": b"get /health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "bytes in the path": b"GET /projects/\xff\xfe\xe9/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "UTF-8 in the path": b"GET /projects/\xce\xbc/lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "bytes in the query": b"GET /health?\xff=\xfe&%ZZ HTTP/1.1\r\n" + _HOST + b"\r\n",
    "semicolons": b"GET /projects/demo;x=y/lock;z HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a fragment": b"GET /health#top HTTP/1.1\r\n" + _HOST + b"\r\n",
    "double slashes": b"GET //projects//demo//lock HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a long path": b"GET /projects" + b"/a" * 4000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a form": _POST
    + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 11\r\n\r\n--x\r\n\xff\xfe\r\nab",
    "a broken form": _POST + b"Content-Type: multipart/form-data\r\nContent-Length: 5\r\n\r\nhello",
    "a form on an upload": _PUT
    + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\na=%ZZ",
    "an upgrade": _GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "pipelined": (_GET + b"\r\n") * 50,
    "strange content types": _PUT + b"Content-Type: \xff;;==\r\nContent-Length: 5\r\n\r\nhello",
    "two client ids": _POST + b"X-Client-Id: a\r\nX-Client-Id: b\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_http_is_refused(daemon: Daemon, data: bytes) -> None:
    """What is no HTTP gets an error in JSON of the 400 class, or a closed connection."""
    answer = _exchange(daemon, data, end=not data.endswith(b"\r\n"))
    if answer is not None:
        _assert_wire_error(answer)
        assert 400 <= answer.status < 500, answer
    _assert_serves(daemon, OLD)
    _assert_locked(daemon)


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd_http_is_no_fault(daemon: Daemon, data: bytes) -> None:
    """What is odd, but may be HTTP, is answered without a fault, errors in JSON, or the connection is closed."""
    answer = _exchange(daemon, data)
    if answer is not None:
        assert answer.status < 500 or answer.status in (501, 505)
        if answer.status >= 400:
            _assert_wire_error(answer)


def test_a_malformed_request_after_a_good_one_is_refused(daemon: Daemon) -> None:
    """On a kept-alive connection too, what is no HTTP is refused, after the answer to what was."""
    with _connect(daemon) as connection:
        connection.sendall(_head("GET", "/health"))
        first = _read(connection)
        assert first is not None
        assert first.status == 200
        connection.sendall(b"garbage\r\n\r\n")
        second = _read(connection)
        assert second is None or second.status == 400


# Headers

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
            b"GET /projects/demo/lock HTTP/1.1\r\n"
            + _HOST
            + b"Authorization: "
            + scheme
            + value
            + b"\r\n\r\n"
        )
        answer = _exchange(keyed, head)
        if answer is None or answer.status == 400:
            assert set(value) & {0, 1, 0x7F}, answer
        else:
            _assert_wire_error(answer, 403 if scheme == b"Bearer " else 401)
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
    head = _head("PUT", f"{PLACE}/files/{NAME}", *_UPLOADER, "Content-Length: 100000")
    _assert_wire_error(_exchange(keyed, head + b'{"content":"' + b"x" * 100_000), 401)


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_a_client_id_of_any_bytes_is_no_fault(daemon: Daemon, value: bytes) -> None:
    """Bytes that are no ASCII in a client id are taken or refused with a 400, and the lock can be read afterwards."""
    for method, rest in ((b"POST", b"lock"), (b"POST", b"lock/heartbeat"), (b"DELETE", b"lock")):
        head = b"%b /projects/odd-clients/%b HTTP/1.1\r\n%bX-Client-Id: %b\r\nContent-Length: 0\r\n\r\n"
        answer = _exchange(daemon, head % (method, rest, _HOST, value))
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
    with _connect(daemon) as connection:
        connection.sendall(_head("GET", path))
        get = _read(connection)
        connection.sendall(_head("HEAD", path))
        head = _read(connection, method="HEAD")
        assert get is not None
        assert head is not None
        assert head.body == b""
        assert head.status == get.status
        for name in ("content-type", "content-length"):
            assert head.headers.get(name) == get.headers.get(name), name
        connection.sendall(_head("GET", "/health"))
        after = _read(connection)
        assert after is not None
        assert after.status == 200


# Crowds


def test_a_hundred_idle_connections_disturb_no_session(daemon: Daemon, tmp_path: Path) -> None:
    """With a hundred connections that say nothing, or never finish, a session goes through as if alone."""
    beginnings = (
        b"",
        b"G",
        b"GET /health HT",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
        _head("GET", "/health"),
        _upload(b"x" * 100)[:-60],
    )
    idle = []
    for number in range(100):
        connection = _connect(daemon)
        connection.sendall(beginnings[number % len(beginnings)])
        idle.append(connection)
    try:
        began = time.monotonic()
        files = memory(7)
        laptop = Machine(tmp_path / "ana-laptop", daemon.url, delays=())
        desktop = Machine(tmp_path / "ana-desktop", daemon.url, delays=())
        answers = laptop.pull("crowded")
        for name, content in files.items():
            laptop.write("crowded", name, content)
        answers += laptop.push("crowded") + desktop.pull("crowded")
        assert {answer.status for answer in answers} == {200}
        assert desktop.memory("crowded") == files
        assert time.monotonic() - began < 5
    finally:
        for connection in idle:
            connection.close()


def test_a_thousand_connections_one_after_the_other_leave_nothing(daemon: Daemon) -> None:
    """Connections that come and go, answered or not, leave no open file behind."""
    _wait_until_alone(daemon)
    before = _open_files(daemon)
    for number in range(1000):
        with _connect(daemon) as connection:
            connection.sendall(_head("GET", "/health")[: number % 60 + 1])
            _hang_up(connection, reset=number % 2 == 0)
    _wait_until_alone(daemon)
    assert daemon.ask("GET", "/health")[0] == 200
    wait_until(lambda: _open_files(daemon) <= before + 5, within=10)


def test_32_uploads_of_10_mb_at_once_are_all_answered_in_bounded_memory(tmp_path: Path) -> None:
    """32 clients that upload 10 MB at the same time all get their 200, and the server stays under 700 MB."""
    projects = [f"large-{number}" for number in range(32)]
    content = log(8, 9_200_000).decode("utf-8")
    body = envelope(content)
    assert 9_200_000 < len(body) <= LIMIT
    assert "🧠" in content
    with Daemon(tmp_path, NO_RATE_LIMIT) as daemon:
        with _client(daemon) as client:
            for project in projects:
                assert client.acquire(project).status == 200

        all_but_sent = Barrier(len(projects), timeout=60)

        def upload(project: str) -> int:
            request = _upload(body, project=project)
            with _connect(daemon, timeout=60) as connection:
                connection.sendall(request[:-100])
                all_but_sent.wait()
                connection.sendall(request[-100:])
                answer = _read(connection)
            return answer.status if answer is not None else 0

        with ThreadPoolExecutor(len(projects)) as pool:
            statuses = list(pool.map(upload, projects))
        assert statuses == [200] * len(projects)
        assert daemon.peak_rss_bytes() < MEMORY_BOUND
        for project in projects:
            status, answer = daemon.ask("GET", f"/projects/{project}/files/{NAME}")
            assert status == 200
            assert answer["content"] == content, project
        assert daemon.peak_rss_bytes() < MEMORY_BOUND
        assert "Traceback" not in daemon.log()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server with keys."""
    with Daemon(tmp_path_factory.mktemp("keyed"), {**NO_RATE_LIMIT, "apiKeys": list(KEYS)}) as daemon:
        yield daemon


# The wire, byte by byte

_HOLDER = {"X-Client-Id": CLIENT_ID, "Content-Type": "application/json"}
_UPLOADER = tuple(f"{name}: {value}" for name, value in _HOLDER.items())


class WireAnswer:
    """An answer read from a bare socket."""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:300]!r}>"


def _client(daemon: Daemon) -> StockClient:
    return StockClient(daemon.url, CLIENT_ID, delays=())


def _connect(daemon: Daemon, *, timeout: float = 15.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), timeout)


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode("latin-1")


def _upload(body: bytes, *, chunked: bool = True, project: str = PROJECT) -> bytes:
    """The bytes of an upload to `log.jsonl`."""
    path = f"/projects/{project}/files/{NAME}"
    if not chunked:
        return _head("PUT", path, *_UPLOADER, f"Content-Length: {len(body)}") + body
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return _head("PUT", path, *_UPLOADER, "Transfer-Encoding: chunked") + chunk + b"0\r\n\r\n"


def _exchange(daemon: Daemon, data: bytes, *, end: bool = False) -> WireAnswer | None:
    """Send bytes, and with `end` that no more come, and read an answer; None when the connection is closed instead."""
    with _connect(daemon) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return _read(connection)


def _read(connection: socket.socket, method: str = "GET") -> WireAnswer | None:
    try:
        with http.client.HTTPResponse(connection, method=method) as response:
            response.begin()
            return WireAnswer(response, response.read())
    except (ConnectionError, http.client.BadStatusLine):
        return None


def _hang_up(connection: socket.socket, *, reset: bool) -> None:
    """Close a connection: in order, or with a reset, as when a machine loses its network or its power."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _is_read_by_the_server(connection: socket.socket) -> bool:
    """Whether everything sent on the connection has left this side's buffer."""
    return fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4


def _open_files(daemon: Daemon) -> int:
    return sum(1 for _ in Path(f"/proc/{daemon.pid}/fd").iterdir())


def _connections(daemon: Daemon) -> int:
    """How many connections the server has not closed yet."""
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if local.endswith(f":{daemon.port:04X}") and state in ("01", "08"):
                count += 1
    return count


def _wait_until_alone(daemon: Daemon) -> None:
    """Wait until the server has noticed every hang-up."""
    wait_until(lambda: _connections(daemon) == 0, within=15)


# What must hold


def _assert_error(answer: Any, status: int) -> None:
    assert answer.status == status, answer
    assert isinstance(answer.body["error"], str)


def _assert_wire_error(answer: WireAnswer | None, status: int | None = None) -> None:
    assert answer is not None, "the connection was closed without an answer"
    if status is not None:
        assert answer.status == status, answer
    assert answer.headers.get("content-type", "").startswith("application/json"), answer
    assert isinstance(json.loads(answer.body)["error"], str)


def _assert_serves(daemon: Daemon, content: str) -> None:
    """The server lists and serves the content, and the head file on disk is the same."""
    status, body = daemon.ask("GET", f"{PLACE}/files/{NAME}")
    assert status == 200
    assert body["content"] == content
    status, listed = daemon.ask("GET", f"{PLACE}/files")
    assert status == 200
    assert [file["size"] for file in listed["files"] if file["name"] == NAME] == [
        len(content.encode("utf-8"))
    ]
    heads = [
        path
        for path in daemon.projects.glob(f"*/{NAME}")
        if "my_app" in path.parent.name or "my.app" in path.parent.name
    ]
    assert [head.read_text(encoding="utf-8") for head in heads] == [content]


def _assert_locked(daemon: Daemon) -> None:
    status, body = daemon.ask("GET", f"{PLACE}/lock")
    assert status == 200
    assert body["locked"] is True
    assert body["lock"]["clientId"] == CLIENT_ID


@contextmanager
def _small_disk(at: Path, size: int) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none can be mounted."""
    at.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def _fill(filler: Path, *, leave: int) -> None:
    """Fill the file system that holds `filler` until no more than `leave` bytes are free."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while (free := shutil.disk_usage(filler.parent).free) > leave:
            file.write(b"\0" * min(free - leave, 1 << 16))


def test_downloads_that_nobody_reads_stay_within_bounded_memory(tmp_path: Path) -> None:
    """64 clients ask for 9 MB each and never read: the server holds some, turns the rest away, and goes on."""
    with Daemon(tmp_path, {"rateLimitPerMinute": 0}) as daemon:
        assert daemon.ask("POST", "/projects/demo/lock", headers={"X-Client-Id": "laptop"})[0] == 200
        headers = {"X-Client-Id": "laptop", "Content-Type": "text/plain"}
        path = "/projects/demo/files/log.jsonl"
        assert daemon.ask("PUT", path, headers=headers, body=b"x" * 9_200_000)[0] == 200
        with ExitStack() as connections:
            for _ in range(64):
                client = connections.enter_context(
                    socket.create_connection(("127.0.0.1", daemon.port), timeout=10)
                )
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: daemon.log().count("GET demo files/log.jsonl") == 64, within=30)
            assert daemon.ask("GET", "/health")[0] == 200
            assert daemon.peak_rss_bytes() < 700_000_000
        wait_until(lambda: daemon.ask("GET", path)[0] == 200, within=10)
