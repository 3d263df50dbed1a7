"""Calls of the client against the real server: requests, results and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mneme import times
from mneme.client.calls import Client, Download, Outdated, Unmodified
from mneme.client.errors import Refused, ServerTrouble, StrangeAnswer, Unreachable
from mneme.client.exchange import Patience
from mneme.client.http import Response
from mneme.model import (
    NOT_THERE,
    ClientId,
    FileName,
    Granted,
    HeldBy,
    Millis,
    NotLocked,
    Precondition,
    ProjectId,
    Rescued,
    digest,
)
from tests.client.lines import URL, Ahead, Line, Script, answer, canned, exchange_over
from tests.web.stub import NOW, TTL, Stub, entry

DEMO = ProjectId("demo")
LAPTOP, DESKTOP = ClientId("laptop-0a1b2c3d"), ClientId("desktop-4e5f6a7b")
LOG, SUMMARY, BRIEFING = FileName.LOG, FileName.SUMMARY_MD, FileName.BRIEFING
ONE, TWO, THREE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3))
NOW_MILLIS = Millis(int(NOW * 1000))
ANY = Precondition(None)


class Two:
    """Two clients of one server."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.line = Line(stub)
        exchange = exchange_over(self.line, Ahead(stub.clock))
        self.laptop, self.desktop = Client(exchange, LAPTOP), Client(exchange, DESKTOP)

    def with_log(self, content: bytes = ONE) -> None:
        """The laptop holds the lock, and has sent a log."""
        self.laptop.acquire(DEMO)
        self.laptop.upload(DEMO, LOG, content, NOT_THERE)
        self.line.paths()


def told(status: int, body: object, headers: Mapping[str, str] | None = None) -> Client:
    """A client of a server that gives one answer to all."""
    return Client(exchange_over(Script(canned(status, body, headers))), LAPTOP)


@pytest.fixture
def two() -> Two:
    """A new server."""
    return Two(Stub())


def exactly(content: bytes) -> Precondition:
    """The head must have this content."""
    return Precondition(frozenset({digest(content)}))


# Where a request goes


ODD = [
    *("a/b", ".", "..", "...", "a%2Fb", "%", "%ZZ", "a b", "a+b", "a?b", "a#b", "a;b=c", "//", "/", "~"),
    *("μνήμη", "🧠", "e\u0301", "\u202eabc", "x\r\nHost: evil", "\x00", "../../health"),
    *("x" * 512, "μ" * 512, "/" * 512, "." * 512),
]


def assert_is_one_segment(text: str) -> None:
    """The server reads the same id back."""
    two = Two(Stub())
    project = ProjectId(text)
    two.laptop.acquire(project)
    two.laptop.upload(project, LOG, ONE, NOT_THERE)
    assert [one.id for one in two.laptop.projects()] == [text]
    for asked in two.line.asked[:-1]:
        assert asked.path.split("/")[1] == "projects"
        assert asked.path.count("/") <= 4


@pytest.mark.parametrize("text", ODD)
def test_any_id_is_one_segment_of_the_path(text: str) -> None:
    """However odd."""
    assert_is_one_segment(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
@example("%2e%2E")
def test_no_two_ids_share_a_path(text: str) -> None:
    """Whatever an id is made of, the server gets it back."""
    assert_is_one_segment(text)


Call = Callable[[Client], object]
CALLS: dict[str, Call] = {
    "GET /health": lambda client: client.health(),
    "GET /status": lambda client: client.status(),
    "GET /projects": lambda client: client.projects(),
    "GET /projects/demo/lock": lambda client: client.lock(DEMO),
    "GET /projects/demo/files/log.jsonl": lambda client: client.look(DEMO, LOG),
    "GET /projects/demo/files/log.jsonl/versions": lambda client: client.history(DEMO, LOG),
    "GET /projects/demo/files/log.jsonl/versions?limit=7": lambda client: client.history(DEMO, LOG, 7),
    "GET /projects/demo/files/log.jsonl/versions/1": lambda client: client.version(DEMO, LOG, 1),
}
NAMED_CALLS: dict[str, Call] = {
    "GET /projects/demo/files": lambda client: client.heads(DEMO),
    "GET /projects/demo/files/briefing.json": lambda client: client.look(DEMO, BRIEFING),
    "GET /projects/demo/files/briefing.json/versions": lambda client: client.history(DEMO, BRIEFING),
    "GET /projects/demo/files/briefing.json/versions/1": lambda client: client.version(DEMO, BRIEFING, 1),
    "PUT /projects/demo/files/briefing.json": lambda client: client.leave(DEMO, BRIEFING, TWO, NOT_THERE),
    "DELETE /projects/demo/files/briefing.json": lambda client: client.remove(DEMO, BRIEFING, digest(ONE)),
    "POST /projects/demo/lock": lambda client: client.acquire(DEMO),
    "POST /projects/demo/lock/heartbeat": lambda client: client.extend(DEMO),
    "DELETE /projects/demo/lock": lambda client: client.release(DEMO),
    "GET /projects/demo/files/log.jsonl": lambda client: client.download(DEMO, LOG),
    "PUT /projects/demo/files/log.jsonl": lambda client: client.upload(DEMO, LOG, TWO, ANY),
    "POST /projects/demo/files/log.jsonl/append": lambda client: client.append(DEMO, TWO, digest(ONE)),
    "POST /projects/demo/files/log.jsonl/restore": lambda client: client.restore(DEMO, LOG, 1),
}


@pytest.mark.parametrize(
    ("sent", "call", "named"),
    [*((*one, None) for one in CALLS.items()), *((*one, LAPTOP.value) for one in NAMED_CALLS.items())],
)
def test_each_call_is_one_request(sent: str, call: Call, named: str | None) -> None:
    """A look names no client: the server would take it for a download."""
    http = Script(answer(404, b'{"error":"Not found"}'))
    with suppress(Refused):
        call(Client(exchange_over(http), LAPTOP))
    [asked] = http.asked
    assert (str(asked), asked.header("X-Client-Id")) == (sent, named)


# The server


def test_health_is_told_as_it_is() -> None:
    """Also to who has no key."""
    told = Two(Stub(keys=["key"])).laptop.health()
    assert (told.status, told.auth_required) == ("ok", True)


def test_the_status_is_read() -> None:
    """By a script: this server may be too old to have one."""
    body = {"version": "1", "startedAt": "a", "now": "b", "uptimeSeconds": 5, "dataBytes": 6, "freeBytes": 7}
    status = told(200, body).status()
    assert (status.uptime_seconds, status.data_bytes, status.free_bytes) == (5, 6, 7)
    with pytest.raises(Refused, match=r"^Not found$"):
        told(404, {"error": "Not found"}).status()


def test_a_client_says_where_its_server_is(two: Two) -> None:
    """And what the server's clock says, by this machine's until it has heard of it."""
    assert (two.laptop.url, two.laptop.client) == (URL, LAPTOP)
    assert two.laptop.server_ahead is None
    assert two.laptop.server_now() == NOW_MILLIS
    two.laptop.health()
    assert two.laptop.server_ahead == pytest.approx(0, abs=1)
    assert abs(two.laptop.server_now() - NOW_MILLIS) <= 1000


# Locks


@pytest.mark.parametrize("extend", [Client.acquire, Client.extend])
def test_a_lock_is_extended_by_a_heartbeat_and_by_acquiring_it_again(
    two: Two, extend: Callable[[Client, ProjectId], object]
) -> None:
    """The lock keeps its token, and its expiry moves."""
    first = two.laptop.acquire(DEMO)
    two.stub.clock.advance(60)
    second = extend(two.laptop, DEMO)
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    assert first.lock.client == second.lock.client == LAPTOP
    assert first.lock.token == second.lock.token
    assert (first.lock.expires_at, second.lock.expires_at) == (NOW_MILLIS + TTL, NOW_MILLIS + TTL + 60_000)


def test_who_holds_a_lock_is_told_to_all(two: Two) -> None:
    """To who wants it, to who looks, to who would extend or release it."""
    assert two.laptop.lock(DEMO) is None
    granted = two.laptop.acquire(DEMO)
    assert isinstance(granted, Granted)
    held = HeldBy(granted.lock)
    assert two.desktop.acquire(DEMO) == held
    assert two.desktop.extend(DEMO) == held
    assert two.desktop.release(DEMO) == held
    assert two.desktop.lock(DEMO) == granted.lock


def test_a_lock_is_released_once(two: Two) -> None:
    """The second time there is none, nor any to extend."""
    two.laptop.acquire(DEMO)
    assert two.laptop.release(DEMO) is None
    assert two.laptop.release(DEMO) == NotLocked()
    assert two.laptop.extend(DEMO) == NotLocked()


def test_a_person_can_release_the_lock_of_another_machine(two: Two) -> None:
    """In its name."""
    two.laptop.acquire(DEMO)
    assert two.desktop.release(DEMO, LAPTOP) is None
    assert two.desktop.lock(DEMO) is None


@pytest.mark.parametrize("status", [403, 409])
def test_a_refused_lock_without_its_holder_is_no_lock(status: int) -> None:
    """As the Node server may answer: acquiring is refused then, in its words."""
    client = told(status, {"error": "Locked"})
    with pytest.raises(Refused, match=r"^Locked$"):
        client.acquire(DEMO)
    if status == 403:
        assert client.extend(DEMO) == NotLocked()
        assert client.release(DEMO) == NotLocked()
        assert client.upload(DEMO, LOG, ONE, NOT_THERE) == Rescued(NotLocked(), None)


LOCK = {"clientId": "x", "acquiredAt": "2026-02-04T15:00:00.000Z", "expiresAt": "soon", "token": 1}


HEAD = {"name": "log.jsonl", "size": 1, "mtime": "2026-02-04T15:00:00.000Z", "version": 1, "sha256": "a"}


@pytest.mark.parametrize(
    ("status", "body", "call"),
    [
        (200, {"lock": LOCK}, NAMED_CALLS["POST /projects/demo/lock"]),
        (409, {"error": "Locked", "lock": LOCK}, NAMED_CALLS["POST /projects/demo/lock"]),
        (200, {"lock": None}, NAMED_CALLS["POST /projects/demo/lock"]),
        (200, {}, NAMED_CALLS["POST /projects/demo/lock"]),
        (200, {"files": [HEAD | {"mtime": "yesterday"}]}, NAMED_CALLS["GET /projects/demo/files"]),
        (200, {"content": "x", "mtime": "noon", "version": 1}, CALLS["GET /projects/demo/files/log.jsonl"]),
    ],
)
def test_an_answer_that_makes_no_sense_is_strange(status: int, body: object, call: Call) -> None:
    """Bad times, or no lock in it."""
    with pytest.raises(StrangeAnswer):
        call(told(status, body))


# Files


def test_heads_are_listed_with_their_digests(two: Two) -> None:
    """By which a client knows what it has already."""
    assert two.laptop.heads(DEMO) == ()
    two.with_log()
    [head] = two.laptop.heads(DEMO)
    assert (head.file, head.version, head.size, head.sha256) == (LOG, 1, len(ONE), digest(ONE))
    assert head.mtime == NOW_MILLIS


def test_a_file_of_a_newer_server_is_left_to_newer_clients() -> None:
    """The files of known names are listed."""
    [head] = told(200, {"files": [{**HEAD, "name": "notes.txt"}, HEAD]}).heads(DEMO)
    assert head.file is LOG


def test_a_download_has_all_that_a_base_needs(two: Two) -> None:
    """And so has a look; what a machine has already is not sent again."""
    two.with_log()
    found = Download(ONE, 1, NOW_MILLIS, digest(ONE))
    assert two.desktop.download(DEMO, LOG) == found
    assert two.desktop.look(DEMO, LOG) == found
    assert two.desktop.download(DEMO, LOG, digest(ONE)) == Unmodified()
    assert two.desktop.download(DEMO, LOG, digest(TWO)) == found


def test_a_file_that_is_not_there_is_none(two: Two) -> None:
    """For each way to ask for it."""
    assert two.laptop.download(DEMO, LOG) is None
    assert two.laptop.look(DEMO, LOG) is None
    assert two.laptop.history(DEMO, LOG) == ()
    assert two.laptop.version(DEMO, LOG, 1) is None


@pytest.mark.parametrize("tag", [None, '"{}"', '"{}-gzip"', 'W/"{}"', '"5f-1a"'])
def test_the_digest_of_a_download_is_its_tag(tag: str | None) -> None:
    """Suffixes of codings are dropped; without a tag, the content is digested."""
    body = {"content": ONE.decode(), "mtime": times.to_text(NOW_MILLIS), "version": 1}
    known = digest(ONE) if tag in (None, '"5f-1a"') else digest(TWO)
    found = told(200, body, {"ETag": tag.format(known)} if tag else {}).look(DEMO, LOG)
    assert found
    assert found.sha256 == known


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_what_is_sent_is_what_is_fetched(content: str) -> None:
    """Byte for byte, any text."""
    two = Two(Stub())
    two.laptop.acquire(DEMO)
    two.laptop.upload(DEMO, SUMMARY, content.encode(), NOT_THERE)
    found = two.desktop.download(DEMO, SUMMARY)
    assert isinstance(found, Download)
    assert found.content == content.encode()
    assert found.sha256 == digest(content.encode())


@pytest.mark.parametrize(
    ("only_if", "header"),
    [
        (NOT_THERE, ("If-None-Match", "*")),
        (ANY, ("If-Match", "*")),
        (Precondition(frozenset({"b", "a"})), ("If-Match", '"a", "b"')),
    ],
)
def test_an_upload_says_what_the_head_must_be(
    two: Two, only_if: Precondition, header: tuple[str, str]
) -> None:
    """In the words of HTTP."""
    two.laptop.upload(DEMO, LOG, ONE, only_if)
    name, value = header
    assert two.line.asked[0].header(name) == value


def test_an_upload_counts_only_for_the_head_that_it_was_made_from(two: Two) -> None:
    """Else it is outdated, and changes nothing."""
    two.with_log()
    assert two.laptop.upload(DEMO, LOG, TWO, exactly(TWO)) == Outdated()
    assert two.laptop.upload(DEMO, LOG, TWO, NOT_THERE) == Outdated()
    assert two.laptop.append(DEMO, TWO, digest(THREE)) == Outdated()
    uploaded = two.laptop.upload(DEMO, LOG, ONE + TWO, exactly(ONE))
    assert not isinstance(uploaded, Outdated | Rescued)
    assert uploaded.version == 2


@pytest.mark.parametrize(
    "send",
    [
        lambda client: client.upload(DEMO, LOG, ONE + TWO, exactly(ONE)),
        lambda client: client.append(DEMO, TWO, digest(ONE)),
    ],
)
def test_an_upload_without_the_lock_is_kept(two: Two, send: Callable[[Client], object]) -> None:
    """The outcome has the version number and the holder, if there is any."""
    two.with_log()
    lock = two.laptop.lock(DEMO)
    assert lock
    assert send(two.desktop) == Rescued(HeldBy(lock), 2)
    version = two.desktop.version(DEMO, LOG, 2)
    assert isinstance(version, Download)
    assert version.content == ONE + TWO
    two.laptop.release(DEMO)
    free = two.desktop.upload(DEMO, SUMMARY, ONE, NOT_THERE)
    assert isinstance(free, Rescued)
    assert free.refusal == NotLocked()


def test_lines_are_added_once(two: Two) -> None:
    """Equal lines to an equal version of the log have an equal key."""
    two.with_log()
    for lines, base, version in [(TWO, ONE, 1), (TWO, ONE, 1), (THREE, ONE, 1), (TWO, TWO, 1), (TWO, ONE, 3)]:
        two.laptop.append(DEMO, lines, digest(base), version)
    keys = [asked.header("Idempotency-Key") for asked in two.line.asked]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    assert two.line.asked[0].body == TWO
    found = two.laptop.look(DEMO, LOG)
    assert found
    assert found.content == ONE + TWO


# History


def test_versions_are_told_newest_first(two: Two) -> None:
    """As many as were asked for."""
    two.with_log()
    two.laptop.append(DEMO, TWO, digest(ONE))
    assert [one.version for one in two.laptop.history(DEMO, LOG)] == [2, 1]
    assert [one.version for one in two.laptop.history(DEMO, LOG, 1)] == [2]


def test_a_version_is_had_and_confirmed(two: Two) -> None:
    """By its number and its digest: another content under that number is sent."""
    two.with_log()
    assert two.laptop.version(DEMO, LOG, 1) == Download(ONE, 1, NOW_MILLIS, digest(ONE))
    assert two.laptop.version(DEMO, LOG, 1, digest(ONE)) == Unmodified()
    assert isinstance(two.laptop.version(DEMO, LOG, 1, digest(TWO)), Download)
    assert two.laptop.version(DEMO, SUMMARY, 1, digest(ONE)) is None
    assert two.laptop.version(DEMO, LOG, 99) is None


def test_a_damaged_version_confirms_nothing() -> None:
    """Who wants to read it is told what became of it."""
    client = told(410, {"error": "Version 1 is damaged"})
    assert client.version(DEMO, LOG, 1, digest(ONE)) is None
    with pytest.raises(Refused, match=r"^Version 1 is damaged$"):
        client.version(DEMO, LOG, 1)


def test_a_version_is_restored_under_the_lock(two: Two) -> None:
    """The restored content is the head, as a new version."""
    two.with_log()
    two.laptop.append(DEMO, TWO, digest(ONE))
    restored = two.laptop.restore(DEMO, LOG, 1)
    assert restored
    assert not isinstance(restored, HeldBy | NotLocked)
    assert restored.version == 3
    assert isinstance(two.desktop.restore(DEMO, LOG, 1), HeldBy)
    assert two.laptop.restore(DEMO, LOG, 99) is None
    two.laptop.release(DEMO)
    assert two.laptop.restore(DEMO, LOG, 1) == NotLocked()


# What any call may raise


@pytest.mark.parametrize("call", [*CALLS.values(), *NAMED_CALLS.values()])
def test_every_call_can_go_wrong_in_the_same_ways(call: Call) -> None:
    """Each kind of failure is one type of error in every call."""
    parts: list[tuple[Response | Exception, type[Exception]]] = [
        (answer(507, b'{"error":"full"}'), ServerTrouble),
        (answer(418, b'{"error":"teapot"}'), Refused),
        (answer(302, b'{"error":"elsewhere"}', {"Location": "http://elsewhere.invalid/"}), Refused),
        (answer(302, b"<html>"), StrangeAnswer),
        (answer(200, b"<html>"), StrangeAnswer),
        (answer(200, b"[1]"), StrangeAnswer),
        (answer(204, b""), StrangeAnswer),
        (answer(400, b""), StrangeAnswer),
        (OSError("no"), Unreachable),
    ]
    for part, error in parts:
        http = Script(part)
        with pytest.raises(error) as raised:
            call(Client(exchange_over(http, patience=Patience(retries=0)), LAPTOP))
        assert raised.type is error
        assert len(http) == 1
