"""Taking turns: a courtesy among threads, which holds nobody up for long."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest

from mneme.turns import CourteousPoller, Seat, Turn, waiting


def _takes(turn: Turn) -> bool:
    """Whether somebody new gets the turn now."""
    seat = Seat(turn)
    seat.come_back()
    got = turn._holder is seat
    seat.leave()
    return got


@pytest.fixture
def turn() -> Turn:
    """A turn that nobody has."""
    return Turn()


def test_one_at_a_time_has_the_turn(turn: Turn) -> None:
    """And who does not get it goes on without, rather than waiting for ever."""
    seat = Seat(turn)
    seat.come_back()
    assert not _takes(turn)
    seat.leave()
    assert _takes(turn)


def test_who_goes_on_without_the_turn_takes_it_from_nobody(turn: Turn) -> None:
    """Its leaving gives up nothing."""
    first, second = Seat(turn), Seat(turn)
    first.come_back()
    second.come_back()
    second.leave()
    assert not _takes(turn)


def test_leaving_and_coming_back_twice_is_as_good_as_once(turn: Turn) -> None:
    """Others may say that a thread waits, before it does itself."""
    seat = Seat(turn)
    seat.come_back()
    seat.come_back()
    seat.leave()
    seat.leave()
    assert _takes(turn)


def test_a_thread_that_waits_lets_others_run(turn: Turn) -> None:
    """And has the turn again when it goes on, also after an error."""

    def run() -> None:
        seat = Seat(turn)
        seat.sit_down()
        seat.come_back()
        with suppress(OSError), waiting():
            seen.append(_takes(turn))
            raise OSError("full")
        seen.append(_takes(turn))
        seat.leave()

    seen: list[bool] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True, False]


def test_a_thread_that_takes_no_part_waits_as_ever(turn: Turn) -> None:
    """The turn of others is no affair of its own."""
    holder = Seat(turn)
    holder.come_back()
    with waiting():
        assert not _takes(turn)


def test_a_reactor_has_the_turn_whenever_it_does_not_poll(turn: Turn) -> None:
    """All else that a poller can do goes through."""

    class Poller:
        def poll(self, *arguments: Any) -> list[tuple[int, int]]:
            seen.append(_takes(turn))
            return [(len(arguments), 0)]

        def register(self, descriptor: int) -> int:
            return descriptor

    def run() -> None:
        poller: Any = CourteousPoller(Poller(), turn)
        seen.append(poller.poll(0.1, 5) == [(2, 0)])
        seen.append(_takes(turn))
        seen.append(poller.register(7) == 7)

    seen: list[bool] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True, True, False, True]
