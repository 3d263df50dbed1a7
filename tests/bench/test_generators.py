"""Both generators send what the stock client sends, to the byte, and notice answers that are wrong."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.bench import data, sessions, wrk
from tests.bench.errors import NotMeasured
from tests.bench.loads import Generator, Load
from tests.bench.sessions import CHANGE, client_name, project_name
from tests.bench.sockets import Sockets
from tests.bench.tiny import Answer, Answering, answer, right, serving
from tests.stock_client import Machine

pytestmark = pytest.mark.integration

MEMORY = dict.fromkeys(data.memory(), f'{{"ts": "é {CHANGE} {"x" * 2000}"}}')
CHANGED = re.compile(rb"\d{20}")


@pytest.fixture(params=["python", "wrk"])
def generator(request: pytest.FixtureRequest) -> Generator:
    """Each of the generators, if it is there."""
    found = wrk.found()
    if request.param == "python":
        return Sockets()
    if found is None:
        pytest.skip("wrk is not installed")
    return found


def simulated(folder: Path, machine: int, project: str) -> list[bytes]:
    """What the simulator of the stock client sends in a session that pulls and pushes every file."""
    with serving(right(MEMORY)) as tiny:
        client = Machine(folder, tiny.url, client_id=client_name(machine))
        client.pull(project)
        client.push(project)
        host = tiny.url.removeprefix("http://").encode()
        return [one.replace(host, b"HOST") for connection in tiny.connections for one in connection]


def generated(generator: Generator, machines: int, projects: int) -> list[list[bytes]]:
    """What the generator sends, by machine."""
    with serving(right(MEMORY)) as tiny:
        requests = sessions.session(tiny.url, MEMORY)
        count = 3 if isinstance(generator, Sockets) else 0
        outcome = generator.run(Load(tiny.url, requests, machines, 0.2, count, projects))
        assert outcome.failed == 0
        assert len(outcome.laps) == machines
        host = tiny.url.removeprefix("http://").encode()
        sent = [
            [one.replace(host, b"HOST") for one in connection]
            for connection in tiny.connections
            if connection  # wrk looks whether anybody listens
        ]
    return sorted(sent, key=lambda connection: connection[1])


def test_a_session_is_the_fourteen_requests_of_the_stock_client(generator: Generator, tmp_path: Path) -> None:
    """Byte for byte, in order, over and over; each machine under its own name, in turns in projects of its own."""
    sent = generated(generator, machines=2, projects=2)
    assert len(sent) == 2
    for machine, requests in enumerate(sent):
        expected = []
        for number in (2 * machine, 2 * machine + 1):
            expected += simulated(tmp_path / f"{machine}-{number}", machine, project_name(number))
        assert len(expected) == 28
        assert len(requests) >= 28
        marked = [CHANGED.sub(CHANGE.encode(), one) for one in requests]
        assert marked == list(islice(cycle(expected), len(requests)))
    changes = [CHANGED.findall(one) for requests in sent for one in requests if b"/files/log.jsonl " in one]
    uploaded = [change[0] for change in changes if change]
    assert len(set(uploaded)) == len(uploaded) >= 4, "each session uploads something else"


def _refusing(_request: bytes) -> Answer:
    return answer({"error": "Too many requests", "content": "", "status": "", "lock": ""}, 429)


def _empty(_request: bytes) -> Answer:
    return answer({})


def _deaf(_request: bytes) -> Answer:
    return None


def test_a_wrong_answer_is_counted(generator: Generator) -> None:
    """A refusal, an answer with nothing in it, and none: each by a load of its own, all at once."""
    count = 1 if isinstance(generator, Sockets) else 0

    def failed(answering: Answering) -> int:
        with serving(answering) as tiny:
            load = Load(tiny.url, sessions.session(tiny.url, MEMORY), 2, 0.2, count)
            return generator.run(load).failed

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(failed, (_refusing, _empty, _deaf)))


def test_python_counts_every_one_of_them() -> None:
    """All 28 requests of two sessions, and a download that is shorter than what was uploaded."""
    with serving(_refusing) as tiny:
        outcome = Sockets().run(Load(tiny.url, sessions.session(tiny.url, MEMORY), 1, 0, sessions=2))
        assert (outcome.asked, outcome.failed) == (28, 28)
    shorter = dict.fromkeys(MEMORY, "x")
    with serving(right(shorter)) as tiny:
        outcome = Sockets().run(Load(tiny.url, sessions.session(tiny.url, MEMORY), 1, 0, sessions=1))
        assert (outcome.asked, outcome.failed) == (14, 4)


def test_python_understands_an_answer_in_chunks() -> None:
    """As a Node server gives it that does not say how long it is."""

    def chunked(_request: bytes) -> Answer:
        body = b'{"status":"ok"}'
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(body),
            body,
        )

    with serving(chunked) as tiny:
        outcome = Sockets().run(Load(tiny.url, (sessions.health(tiny.url),), 1, 0, sessions=3))
    assert (outcome.asked, outcome.failed) == (3, 0)


def test_wrk_that_fails_is_one_sentence() -> None:
    """Here since nobody listens."""
    found = wrk.found()
    if found is None:
        pytest.skip("wrk is not installed")
    with serving(_empty) as tiny:
        url = tiny.url
    with pytest.raises(NotMeasured, match=r"wrk failed: .*connect"):
        found.run(Load(url, (sessions.health(url),), 1, 1.0))


def test_a_lock_is_looked_at_with_the_headers_of_a_list() -> None:
    """The stock client never does it, so that there is nothing to record."""
    listed, status = sessions.listing("http://h:1"), sessions.lock_status("http://h:1")
    assert (
        status.template
        == b"GET /projects/bench-PROJECT/lock HTTP/1.1\r\nHost: h:1\r\nConnection: keep-alive\r\n\r\n"
    )
    assert status.template.split(b"\r\n")[1:] == listed.template.split(b"\r\n")[1:]


def test_what_takes_the_place_of_a_mark_is_as_long() -> None:
    """Else the lengths in the requests would be wrong."""
    assert len(project_name(9_999_999)) == len(sessions.PROJECT)
    assert len(client_name(31)) == len(sessions.CLIENT)
    assert len(sessions.change(1_800_000_000_123_456_789, 31)) == len(CHANGE)
