"""Belief in the clock by which old versions are told from young ones."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from mneme.clockwatch import WAIT_SECONDS, ClockWatch

START = 1_770_217_200.0
DAY, YEAR = 86_400.0, 365 * 86_400.0


class Clocks:
    """The clocks of a machine, and a watch on them."""

    def __init__(self, *days_ago: int) -> None:
        """Versions were kept so many days before the start."""
        self.wall, self.uptime = Clock(), Clock()
        self.wall.advance(START)
        days = {int(START // DAY) - ago for ago in days_ago}
        self.watch = ClockWatch(self.wall, self.uptime, lambda: days)

    def pass_by(self, seconds: float) -> None:
        """Let time pass, by both clocks."""
        self.wall.advance(seconds)
        self.uptime.advance(seconds)

    def jump(self, seconds: float) -> None:
        """Set the time of day."""
        self.wall.rightNow += seconds


def test_a_clock_that_goes_right_is_believed() -> None:
    """From the start on, though it is set a little at times."""
    clocks = Clocks()
    for _ in range(100):
        assert clocks.watch.is_believed()
        clocks.pass_by(3600.0)
        clocks.jump(+20.0)


@pytest.mark.parametrize("seconds", [400.0, 40 * DAY, 3 * YEAR])
def test_a_clock_that_has_jumped_ahead_is_believed_after_a_day(seconds: float) -> None:
    """With each jump the day begins anew."""
    clocks = Clocks()
    assert clocks.watch.is_believed()
    for _ in range(3):
        clocks.jump(seconds)
        assert not clocks.watch.is_believed()
        clocks.pass_by(WAIT_SECONDS - 1)
        assert not clocks.watch.is_believed()
    clocks.pass_by(1)
    assert clocks.watch.is_believed()


def test_a_clock_that_was_put_back_is_believed() -> None:
    """All is younger by it than by the one before."""
    clocks = Clocks()
    assert clocks.watch.is_believed()
    clocks.jump(-3 * YEAR)
    assert clocks.watch.is_believed()


@pytest.mark.parametrize(
    ("days_ago", "is_believed"),
    [
        ((), True),
        ((0, 1, 2), True),
        ((5, 900), True),
        ((0, 1), False),
        ((6, 7), False),
        ((-1095, 1095), False),
    ],
)
def test_a_clock_is_believed_if_versions_are_days_old(days_ago: tuple[int, ...], is_believed: bool) -> None:
    """Versions of yesterday may come from the same wrong clock, before a restart."""
    clocks = Clocks(*days_ago)
    assert clocks.watch.is_believed() is is_believed
    clocks.pass_by(WAIT_SECONDS)
    assert clocks.watch.is_believed()


@pytest.mark.parametrize(
    ("days_ago", "jump", "reason"),
    [
        ((), 3 * YEAR, "The clock has jumped ahead by 1095 days."),
        ((40,), 0.0, "By this clock, no version is from 5 to 2 days ago."),
    ],
)
def test_the_log_says_once_why_nothing_is_pruned(days_ago: tuple[int, ...], jump: float, reason: str) -> None:
    """A person knows whether that is so; the log says for how long, too."""
    clocks = Clocks(*days_ago)
    with capturedLogs() as events:
        clocks.watch.is_believed()
        clocks.jump(jump)
        clocks.watch.is_believed()
        clocks.watch.is_believed()
    [told] = [str(formatEvent(event)) for event in events]
    assert told.startswith(f"{reason} The clock may be wrong, so nothing is pruned for 24 h")
