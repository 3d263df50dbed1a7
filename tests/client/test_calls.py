"""Calls of the client against the real server: requests, results and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mneme import times
from mneme.client.calls import Client, Download, Outdated, Unmodified
from mneme.client.errors import Refused, ServerTrouble, StrangeAnswer, Unreachable
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
from tests.client.lines import URL, Line, Script, answer, exchange_over, problem_in
from tests.results import failure_of, result_of
from tests.web.stub import NOW, TTL, Stub, entry

DEMO = ProjectId("demo")
LAPTOP, DESKTOP = ClientId("laptop-0a1b2c3d"), ClientId("desktop-4e5f6a7b")
LOG, SUMMARY = FileName.LOG, FileName.SUMMARY_MD
ONE, TWO, THREE = (entry(f"entry {n}", n).encode() for n in (1, 2, 3))
NOW_MILLIS = Millis(int(NOW * 1000))
ANY = Precondition(None)


class Two:
    """Two clients of one server."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.line = Line(stub, stub.clock)
        exchange = exchange_over(self.line, stub.clock)
        self.laptop, self.desktop = Client(exchange, LAPTOP), Client(exchange, DESKTOP)

    def with_log(self, content: bytes = ONE) -> None:
        """The laptop holds the lock, and has sent a log."""
        result_of(self.laptop.acquire(DEMO))
        result_of(self.laptop.upload(DEMO, LOG, content, NOT_THERE))
        self.line.paths()


@pytest.fixture
def two() -> Two:
    """A new server."""
    return Two(Stub())


def exactly(content: bytes) -> Precondition:
    """The head must have this content."""
    return Precondition(frozenset({digest(content)}))


# Where a request goes


ODD = [
    "a/b",
    ".",
    "..",
    "...",
    "a%2Fb",
    "%",
    "%ZZ",
    "a b",
    "a+b",
    "a?b",
    "a#b",
    "a;b=c",
    "//",
    "/",
    "~",
    "μνήμη",
    "🧠",
]
ODD += [
    "e\u0301",
    "\u202eabc",
    "x\r\nHost: evil",
    "\x00",
    "x" * 512,
    "μ" * 512,
    "/" * 512,
    "." * 512,
    "../../health",
]


@pytest.mark.parametrize("text", ODD)
def test_any_id_is_one_segment_of_the_path(two: Two, text: str) -> None:
    """The server reads the same id back, whatever is in it."""
    project = ProjectId(text)
    assert isinstance(result_of(two.laptop.acquire(project)), Granted)
    result_of(two.laptop.upload(project, LOG, ONE, NOT_THERE))
    result_of(two.laptop.release(project))
    [found] = result_of(two.laptop.projects())
    assert found.id == text
    for asked in two.line.asked[:-1]:
        assert asked.path.split("/")[1] == "projects"
        assert asked.path.count("/") <= 4


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
@example("..")
@example("%2e%2E")
def test_no_two_ids_share_a_path(text: str) -> None:
    """Whatever an id is made of, the server gets it back."""
    two = Two(Stub())
    project = ProjectId(text)
    result_of(two.laptop.acquire(project))
    result_of(two.laptop.upload(project, LOG, ONE, NOT_THERE))
    assert [one.id for one in result_of(two.laptop.projects())] == [text]


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (lambda laptop: laptop.health(), "GET /health"),
        (lambda laptop: laptop.projects(), "GET /projects"),
        (lambda laptop: laptop.lock(DEMO), "GET /projects/demo/lock"),
        (lambda laptop: laptop.acquire(DEMO), "POST /projects/demo/lock"),
        (lambda laptop: laptop.extend(DEMO), "POST /projects/demo/lock/heartbeat"),
        (lambda laptop: laptop.release(DEMO), "DELETE /projects/demo/lock"),
        (lambda laptop: laptop.heads(DEMO), "GET /projects/demo/files"),
        (lambda laptop: laptop.download(DEMO, LOG), "GET /projects/demo/files/log.jsonl"),
        (lambda laptop: laptop.look(DEMO, LOG), "GET /projects/demo/files/log.jsonl"),
        (lambda laptop: laptop.upload(DEMO, LOG, TWO, ANY), "PUT /projects/demo/files/log.jsonl"),
        (lambda laptop: laptop.append(DEMO, TWO, digest(ONE)), "POST /projects/demo/files/log.jsonl/append"),
        (lambda laptop: laptop.history(DEMO, LOG), "GET /projects/demo/files/log.jsonl/versions"),
        (lambda laptop: laptop.history(DEMO, LOG, 7), "GET /projects/demo/files/log.jsonl/versions?limit=7"),
        (lambda laptop: laptop.version(DEMO, LOG, 1), "GET /projects/demo/files/log.jsonl/versions/1"),
        (lambda laptop: laptop.restore(DEMO, LOG, 1), "POST /projects/demo/files/log.jsonl/restore"),
    ],
)
def test_each_call_is_one_request(
    two: Two, call: Callable[[Client], Coroutine[Any, Any, object]], sent: str
) -> None:
    """To where the API says."""
    two.with_log()
    result_of(call(two.laptop))
    assert two.line.paths() == [sent]


@pytest.mark.parametrize(
    "call",
    [
        lambda laptop: laptop.health(),
        lambda laptop: laptop.projects(),
        lambda laptop: laptop.lock(DEMO),
        lambda laptop: laptop.heads(DEMO),
        lambda laptop: laptop.look(DEMO, LOG),
        lambda laptop: laptop.history(DEMO, LOG),
        lambda laptop: laptop.version(DEMO, LOG, 1),
    ],
)
def test_who_only_looks_does_not_say_who_it_is(
    two: Two, call: Callable[[Client], Coroutine[Any, Any, object]]
) -> None:
    """The server would take it to have what it looked at."""
    two.with_log()
    result_of(call(two.laptop))
    assert two.line.asked[0].header("X-Client-Id") is None


# The server


def test_health_is_told_as_it_is() -> None:
    """Also to who has no key."""
    told = result_of(Two(Stub(keys=["key"])).laptop.health())
    assert (told.status, told.auth_required) == ("ok", True)


def test_the_status_is_read() -> None:
    """By a script: this server may be too old to have one."""
    body = {"version": "1", "startedAt": "a", "now": "b", "uptimeSeconds": 5, "dataBytes": 6, "freeBytes": 7}
    clock = Clock()
    http = Script(answer(200, json.dumps(body).encode()))
    status = result_of(Client(exchange_over(http, clock), LAPTOP).status())
    assert (status.uptime_seconds, status.data_bytes, status.free_bytes) == (5, 6, 7)
    assert str(http.asked[0]) == "GET /status"


def test_what_is_not_there_is_refused() -> None:
    """In the words of the server."""
    http = Script(answer(404, b'{"error":"Not found"}'))
    problem = failure_of(Client(exchange_over(http, Clock()), LAPTOP).status())
    assert isinstance(problem, Refused)
    assert str(problem) == "Not found"


def test_a_client_says_where_its_server_is(two: Two) -> None:
    """And what the server's clock says, by this machine's until it has heard of it."""
    assert (two.laptop.url, two.laptop.client) == (URL, LAPTOP)
    assert two.laptop.server_ahead is None
    assert two.laptop.server_now() == NOW_MILLIS
    result_of(two.laptop.health())
    assert two.laptop.server_ahead == pytest.approx(0, abs=1)
    assert abs(two.laptop.server_now() - NOW_MILLIS) <= 1000


# Locks


def test_a_lock_is_granted_and_extended_by_acquiring_it_again(two: Two) -> None:
    """The lock keeps its token, and its expiry moves."""
    first = result_of(two.laptop.acquire(DEMO))
    two.stub.clock.advance(60)
    second = result_of(two.laptop.acquire(DEMO))
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    assert first.lock.client == second.lock.client == LAPTOP
    assert first.lock.token == second.lock.token
    assert (first.lock.expires_at, second.lock.expires_at) == (NOW_MILLIS + TTL, NOW_MILLIS + TTL + 60_000)


def test_who_holds_a_lock_is_told_to_all(two: Two) -> None:
    """To who wants it, to who looks, to who would extend or release it."""
    assert result_of(two.laptop.lock(DEMO)) is None
    granted = result_of(two.laptop.acquire(DEMO))
    assert isinstance(granted, Granted)
    held = HeldBy(granted.lock)
    assert result_of(two.desktop.acquire(DEMO)) == held
    assert result_of(two.desktop.extend(DEMO)) == held
    assert result_of(two.desktop.release(DEMO)) == held
    assert result_of(two.desktop.lock(DEMO)) == granted.lock


def test_a_heartbeat_moves_the_expiry(two: Two) -> None:
    """Of a lock that is there; else there is none."""
    assert result_of(two.laptop.extend(DEMO)) == NotLocked()
    result_of(two.laptop.acquire(DEMO))
    two.stub.clock.advance(60)
    extended = result_of(two.laptop.extend(DEMO))
    assert isinstance(extended, Granted)
    assert extended.lock.expires_at == NOW_MILLIS + TTL + 60_000
    two.stub.clock.advance(TTL / 1000)
    assert result_of(two.laptop.extend(DEMO)) == NotLocked()


def test_a_lock_is_released_once(two: Two) -> None:
    """The second time there is none."""
    result_of(two.laptop.acquire(DEMO))
    assert result_of(two.laptop.release(DEMO)) is None
    assert result_of(two.laptop.release(DEMO)) == NotLocked()


def test_a_person_can_release_the_lock_of_another_machine(two: Two) -> None:
    """In its name."""
    result_of(two.laptop.acquire(DEMO))
    assert result_of(two.desktop.release(DEMO, LAPTOP)) is None
    assert result_of(two.desktop.lock(DEMO)) is None


@pytest.mark.parametrize("status", [403, 409])
def test_a_refused_lock_without_its_holder_is_no_lock(status: int) -> None:
    """As the Node server may answer: acquiring is refused then, in its words."""
    client = Client(exchange_over(Script(answer(status, b'{"error":"Locked"}')), Clock()), LAPTOP)
    assert str(failure_of(client.acquire(DEMO))) == "Locked"
    if status == 403:
        assert result_of(client.extend(DEMO)) == NotLocked()
        assert result_of(client.release(DEMO)) == NotLocked()


LOCK = {"clientId": "x", "acquiredAt": "2026-02-04T15:00:00.000Z", "expiresAt": "soon", "token": 1}


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, {"lock": LOCK}), (409, {"error": "Locked", "lock": LOCK}), (200, {"lock": None}), (200, {})],
)
def test_a_lock_that_makes_no_sense_is_strange(status: int, body: object) -> None:
    """Its times are none, or there is none."""
    http = Script(answer(status, json.dumps(body).encode()))
    assert isinstance(failure_of(Client(exchange_over(http, Clock()), LAPTOP).acquire(DEMO)), StrangeAnswer)


# Files


def test_heads_are_listed_with_their_digests(two: Two) -> None:
    """By which a client knows what it has already."""
    assert result_of(two.laptop.heads(DEMO)) == ()
    two.with_log()
    [head] = result_of(two.laptop.heads(DEMO))
    assert (head.file, head.version, head.size, head.sha256) == (LOG, 1, len(ONE), digest(ONE))
    assert head.mtime == NOW_MILLIS


@pytest.mark.parametrize(
    "head",
    [
        {"name": "log.jsonl", "size": 1, "mtime": "yesterday", "version": 1, "sha256": "a"},
        {"name": "log.jsonl", "size": 1, "mtime": "2026-02-04T15:00:00.000Z"},
    ],
    ids=["no time", "as the Node server tells it"],
)
def test_a_list_that_cannot_be_kept_in_step_with_is_strange(head: object) -> None:
    """Nothing is done by half of it."""
    http = Script(answer(200, json.dumps({"files": [head]}).encode()))
    assert isinstance(failure_of(Client(exchange_over(http, Clock()), LAPTOP).heads(DEMO)), StrangeAnswer)


def test_a_file_of_a_newer_server_is_left_to_newer_clients() -> None:
    """The files of known names are listed."""
    other = {"name": "notes.txt", "size": 1, "mtime": "2026-02-04T15:00:00.000Z", "version": 1, "sha256": "a"}
    http = Script(answer(200, json.dumps({"files": [other, {**other, "name": "log.jsonl"}]}).encode()))
    [head] = result_of(Client(exchange_over(http, Clock()), LAPTOP).heads(DEMO))
    assert head.file is LOG


def test_a_download_has_all_that_a_base_needs(two: Two) -> None:
    """The server takes note of who has it."""
    two.with_log()
    found = result_of(two.desktop.download(DEMO, LOG))
    assert found == Download(ONE, 1, NOW_MILLIS, digest(ONE))
    assert two.line.asked[0].header("X-Client-Id") == DESKTOP.value


def test_what_a_machine_has_is_not_sent_again(two: Two) -> None:
    """The digest names the known content; another digest gets a download."""
    two.with_log()
    assert result_of(two.desktop.download(DEMO, LOG, digest(ONE))) == Unmodified()
    assert isinstance(result_of(two.desktop.download(DEMO, LOG, digest(TWO))), Download)
    assert [asked.header("If-None-Match") for asked in two.line.asked] == [
        f'"{digest(ONE)}"',
        f'"{digest(TWO)}"',
    ]


def test_a_file_that_is_not_there_is_none(two: Two) -> None:
    """For each way to ask for it."""
    assert result_of(two.laptop.download(DEMO, LOG)) is None
    assert result_of(two.laptop.look(DEMO, LOG)) is None
    assert result_of(two.laptop.history(DEMO, LOG)) == ()
    assert result_of(two.laptop.version(DEMO, LOG, 1)) is None


def test_a_look_finds_the_same(two: Two) -> None:
    """But for who has seen it."""
    two.with_log()
    assert result_of(two.desktop.look(DEMO, LOG)) == Download(ONE, 1, NOW_MILLIS, digest(ONE))


@pytest.mark.parametrize("tag", [None, '"{}"', '"{}-gzip"', 'W/"{}"', '"5f-1a"'])
def test_the_digest_of_a_download_is_its_tag(tag: str | None) -> None:
    """Suffixes of codings are dropped; without a tag, the content is digested."""
    body = json.dumps({"content": ONE.decode(), "mtime": times.to_text(NOW_MILLIS), "version": 1}).encode()
    headers = {"ETag": tag.format(digest(ONE))} if tag else {}
    found = result_of(
        Client(exchange_over(Script(answer(200, body, headers)), Clock()), LAPTOP).look(DEMO, LOG)
    )
    assert isinstance(found, Download)
    assert found.sha256 == digest(ONE)


def test_a_download_of_no_time_is_strange() -> None:
    """There is nothing to go by in a merge."""
    http = Script(answer(200, b'{"content":"x","mtime":"noon","version":1}'))
    client = Client(exchange_over(http, Clock()), LAPTOP)
    assert isinstance(failure_of(client.download(DEMO, LOG)), StrangeAnswer)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_what_is_sent_is_what_is_fetched(content: str) -> None:
    """Byte for byte, any text."""
    two = Two(Stub())
    result_of(two.laptop.acquire(DEMO))
    result_of(two.laptop.upload(DEMO, SUMMARY, content.encode(), NOT_THERE))
    found = result_of(two.desktop.download(DEMO, SUMMARY))
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
    result_of(two.laptop.upload(DEMO, LOG, ONE, only_if))
    name, value = header
    assert two.line.asked[0].header(name) == value


def test_an_upload_to_another_head_is_outdated(two: Two) -> None:
    """And changes nothing."""
    two.with_log()
    assert result_of(two.laptop.upload(DEMO, LOG, TWO, exactly(TWO))) == Outdated()
    assert result_of(two.laptop.upload(DEMO, LOG, TWO, NOT_THERE)) == Outdated()
    [head] = result_of(two.laptop.heads(DEMO))
    assert head.sha256 == digest(ONE)


def test_an_upload_to_the_head_that_it_was_made_from_is_the_next(two: Two) -> None:
    """With a version of its own."""
    two.with_log()
    uploaded = result_of(two.laptop.upload(DEMO, LOG, ONE + TWO, exactly(ONE)))
    assert not isinstance(uploaded, Outdated | Rescued)
    assert uploaded.version == 2


def test_an_upload_without_the_lock_is_kept(two: Two) -> None:
    """The outcome has the version number and the holder."""
    two.with_log()
    rescued = result_of(two.desktop.upload(DEMO, LOG, TWO, exactly(ONE)))
    assert isinstance(rescued, Rescued)
    assert rescued.version == 2
    assert isinstance(rescued.refusal, HeldBy)
    assert rescued.refusal.lock.client == LAPTOP


def test_an_upload_under_no_lock_is_kept(two: Two) -> None:
    """There is nobody to name."""
    assert result_of(two.laptop.upload(DEMO, LOG, ONE, NOT_THERE)) == Rescued(NotLocked(), 1)


def test_a_refused_upload_that_found_no_space_has_no_version() -> None:
    """The server says nothing of a rescue then."""
    http = Script(answer(403, b'{"error":"No lock held - acquire lock before writing"}'))
    client = Client(exchange_over(http, Clock()), LAPTOP)
    assert result_of(client.upload(DEMO, LOG, ONE, NOT_THERE)) == Rescued(NotLocked(), None)


def test_lines_are_added_to_the_log_that_they_belong_to(two: Two) -> None:
    """Which is then what both are, in this order."""
    two.with_log()
    appended = result_of(two.laptop.append(DEMO, TWO, digest(ONE)))
    assert not isinstance(appended, Outdated | Rescued)
    found = result_of(two.laptop.look(DEMO, LOG))
    assert found
    assert found.content == ONE + TWO
    assert two.line.asked[0].body == TWO


def test_lines_are_added_once(two: Two) -> None:
    """Equal lines to an equal log have an equal key, others another."""
    two.with_log()
    for lines, base in [(TWO, ONE), (TWO, ONE), (THREE, ONE), (TWO, TWO)]:
        result_of(two.laptop.append(DEMO, lines, digest(base)))
    keys = [asked.header("Idempotency-Key") for asked in two.line.asked]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    found = result_of(two.laptop.look(DEMO, LOG))
    assert found
    assert found.content == ONE + TWO


def test_lines_for_a_log_that_nobody_knows_are_outdated(two: Two) -> None:
    """They are not added to another."""
    two.with_log()
    assert result_of(two.laptop.append(DEMO, TWO, digest(THREE))) == Outdated()


def test_lines_without_the_lock_are_kept(two: Two) -> None:
    """As a whole upload of the log would be."""
    two.with_log()
    kept = result_of(two.desktop.append(DEMO, TWO, digest(ONE)))
    assert isinstance(kept, Rescued)
    version = result_of(two.desktop.version(DEMO, LOG, kept.version or 0))
    assert isinstance(version, Download)
    assert version.content == ONE + TWO


# History


def test_versions_are_told_newest_first(two: Two) -> None:
    """As many as were asked for."""
    two.with_log()
    result_of(two.laptop.append(DEMO, TWO, digest(ONE)))
    assert [one.version for one in result_of(two.laptop.history(DEMO, LOG))] == [2, 1]
    assert [one.version for one in result_of(two.laptop.history(DEMO, LOG, 1))] == [2]


def test_a_version_is_had_and_confirmed(two: Two) -> None:
    """By its number and its digest: another content under that number is sent."""
    two.with_log()
    assert result_of(two.laptop.version(DEMO, LOG, 1)) == Download(ONE, 1, NOW_MILLIS, digest(ONE))
    assert result_of(two.laptop.version(DEMO, LOG, 1, digest(ONE))) == Unmodified()
    assert isinstance(result_of(two.laptop.version(DEMO, LOG, 1, digest(TWO))), Download)
    assert result_of(two.laptop.version(DEMO, SUMMARY, 1, digest(ONE))) is None
    assert result_of(two.laptop.version(DEMO, LOG, 99)) is None


def test_a_damaged_version_confirms_nothing() -> None:
    """Who wants to read it is told what became of it."""
    http = Script(answer(410, b'{"error":"Version 1 is damaged"}'))
    client = Client(exchange_over(http, Clock()), LAPTOP)
    assert result_of(client.version(DEMO, LOG, 1, digest(ONE))) is None
    assert str(failure_of(client.version(DEMO, LOG, 1))) == "Version 1 is damaged"


def test_a_version_is_restored_under_the_lock(two: Two) -> None:
    """The restored content is the head, as a new version."""
    two.with_log()
    result_of(two.laptop.append(DEMO, TWO, digest(ONE)))
    restored = result_of(two.laptop.restore(DEMO, LOG, 1))
    assert restored
    assert not isinstance(restored, HeldBy | NotLocked)
    assert restored.version == 3
    assert isinstance(result_of(two.desktop.restore(DEMO, LOG, 1)), HeldBy)
    assert result_of(two.laptop.restore(DEMO, LOG, 99)) is None
    result_of(two.laptop.release(DEMO))
    assert result_of(two.laptop.restore(DEMO, LOG, 1)) == NotLocked()


# What any call may raise


CALLS: list[Callable[[Client], Coroutine[Any, Any, object]]] = [
    lambda client: client.health(),
    lambda client: client.status(),
    lambda client: client.projects(),
    lambda client: client.lock(DEMO),
    lambda client: client.acquire(DEMO),
    lambda client: client.extend(DEMO),
    lambda client: client.release(DEMO),
    lambda client: client.heads(DEMO),
    lambda client: client.download(DEMO, LOG),
    lambda client: client.look(DEMO, LOG),
    lambda client: client.upload(DEMO, LOG, ONE, NOT_THERE),
    lambda client: client.append(DEMO, ONE, digest(TWO)),
    lambda client: client.history(DEMO, LOG),
    lambda client: client.version(DEMO, LOG, 1),
    lambda client: client.restore(DEMO, LOG, 1),
]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_can_go_wrong_in_the_same_ways(
    call: Callable[[Client], Coroutine[Any, Any, object]],
) -> None:
    """Each kind of failure is one type of error in every call."""
    for part, error in [
        (answer(507, b'{"error":"full"}'), ServerTrouble),
        (answer(418, b'{"error":"teapot"}'), Refused),
        (answer(302, b'{"error":"elsewhere"}', {"Location": "http://elsewhere.invalid/"}), Refused),
        (answer(302, b"<html>"), StrangeAnswer),
        (answer(200, b"<html>"), StrangeAnswer),
        (answer(200, b"[1]"), StrangeAnswer),
        (answer(204, b""), StrangeAnswer),
        (answer(400, b""), StrangeAnswer),
    ]:
        http = Script(part)
        assert type(failure_of(call(Client(exchange_over(http, Clock()), LAPTOP)))) is error
        assert len(http) == 1
    clock = Clock()
    problem = problem_in(clock, call(Client(exchange_over(Script(OSError("no")), clock), LAPTOP)))
    assert isinstance(problem, Unreachable)
