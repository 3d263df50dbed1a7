"""`unlock`: the lock that a person was asked about is released, and no other."""

from __future__ import annotations

import io

import pytest

from mneme.cli import unlocking
from mneme.cli.unlocking import End, Unlocking, unlocked
from mneme.model import ClientId, Lock, Millis
from tests.cli.asked import DEMO, Asked
from tests.web.stub import NOW, TTL, Stub

HELD = Lock(ClientId("laptop"), Millis(round(NOW * 1000)), Millis(round(NOW * 1000) + TTL), 1)
RELEASE = "DELETE /projects/demo/lock"


class Person:
    """Somebody who is asked, and says the same each time, `meanwhile` something happens."""

    def __init__(self, answer: bool) -> None:
        self.asked_about: list[Lock] = []
        self._answer = answer

    def agrees(self, lock: Lock) -> bool:
        """Whether the lock is to be released."""
        self.asked_about.append(lock)
        return self._answer


@pytest.fixture
def asked() -> Asked:
    """A server on which the laptop holds the lock."""
    stub = Stub()
    stub.acquire("laptop")
    return Asked(stub)


def locked(asked: Asked) -> bool:
    """Whether anybody holds the lock."""
    return bool(asked.stub.ask("GET", "/projects/demo/lock").json["locked"])


def test_a_lock_is_released_as_its_holder(asked: Asked) -> None:
    """Once it is known who that is, and somebody agreed."""
    ana = Person(True)
    assert unlocked(asked.client, DEMO, ana.agrees) == Unlocking(End.RELEASED, HELD)
    assert ana.asked_about == [HELD]
    assert asked.named == {"laptop"}
    assert not locked(asked)


def test_a_lock_stays_if_nobody_agrees(asked: Asked) -> None:
    """Nothing is asked of the server but who holds it."""
    done = unlocked(asked.client, DEMO, Person(False).agrees)
    assert done == Unlocking(End.LEFT, HELD, HELD)
    assert asked.requests == ["GET /projects/demo/lock"]


def test_where_there_is_no_lock_nobody_is_asked() -> None:
    """There is nothing to unlock, in a project or in none."""
    asked, ana = Asked(Stub()), Person(True)
    assert unlocked(asked.client, DEMO, ana.agrees) == Unlocking(End.NOT_HELD)
    assert not ana.asked_about


@pytest.mark.parametrize("holder", ["desktop", "laptop"])
def test_a_lock_that_is_acquired_while_the_person_thinks_stays(asked: Asked, holder: str) -> None:
    """Be it by another machine, or for another session of the same."""

    def thinks(lock: Lock) -> bool:
        asked.stub.release("laptop")
        asked.stub.acquire(holder)
        return True

    done = unlocked(asked.client, DEMO, thinks)
    assert done.end is End.PASSED_ON
    assert done.now
    assert (done.now.client.value, done.now.token) == (holder, 2)
    assert locked(asked)


def test_a_lock_that_is_acquired_at_the_last_moment_stays(asked: Asked) -> None:
    """The server refuses a release by who is not the holder."""
    asked.meanwhile[RELEASE] = lambda: (asked.stub.release("laptop"), asked.stub.acquire("desktop"))
    done = unlocked(asked.client, DEMO, Person(True).agrees)
    assert done.end is End.PASSED_ON
    assert done.now
    assert done.now.client.value == "desktop"
    assert locked(asked)


@pytest.mark.parametrize("request_", [RELEASE, "GET /projects/demo/lock"])
def test_a_lock_that_is_released_in_between_is_gone(asked: Asked, request_: str) -> None:
    """That is what was wanted."""

    def thinks(lock: Lock) -> bool:
        asked.meanwhile[request_] = lambda: asked.stub.release("laptop")
        return True

    assert unlocked(asked.client, DEMO, thinks) == Unlocking(End.GONE, HELD)


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Unlocking(End.RELEASED, HELD), "Released the lock of demo, held by laptop since "),
        (Unlocking(End.NOT_HELD), "Nobody holds the lock of demo: there is nothing to unlock"),
        (Unlocking(End.LEFT, HELD, HELD), "demo is locked by laptop since "),
        (Unlocking(End.LEFT, HELD, HELD), " at the latest: to release that lock, give --yes"),
        (Unlocking(End.GONE, HELD), "The lock of demo was released in between"),
        (
            Unlocking(End.PASSED_ON, HELD, HELD),
            "The lock of demo has changed hands in between, and stays: laptop",
        ),
    ],
)
@pytest.mark.parametrize("stdin", [None, io.StringIO()], ids=["closed", "no terminal"])
def test_each_end_has_its_sentence(
    done: Unlocking,
    said: str,
    stdin: io.StringIO | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a terminal, here."""
    monkeypatch.setattr("sys.stdin", stdin)
    unlocking._say(DEMO, done)
    assert said in capsys.readouterr().err
