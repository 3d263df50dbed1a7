"""When a clock is believed, by which old versions are told from young ones."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from mneme.clockwatch import WAIT_SECONDS, ClockWatch
from mneme.model import Millis

START = 1_770_217_200.0
DAY, YEAR = 86_400.0, 365 * 86_400.0


class Clocks:
    """The clocks of a machine, and a watch on them."""

    def __init__(self, kept_before: float | None = 60.0) -> None:
        """The newest version was kept so many seconds before the start; None: there is none."""
        self.wall, self.uptime = Clock(), Clock()
        self.wall.advance(START)
        newest = None if kept_before is None else Millis(int((START - kept_before) * 1000))
        self.watch = ClockWatch(self.wall, self.uptime, lambda: newest)

    def pass_by(self, seconds: float) -> None:
        """Let time pass, by both clocks."""
        self.wall.advance(seconds)
        self.uptime.advance(seconds)

    def jump(self, seconds: float) -> None:
        """Set the time of day."""
        self.wall.rightNow += seconds


def test_a_clock_that_goes_right_is_believed() -> None:
    """From the start on, day after day, and though it is set a little at times."""
    clocks = Clocks()
    for _ in range(100):
        assert clocks.watch.is_believed()
        clocks.pass_by(3600.0)
        clocks.jump(+20.0)


@pytest.mark.parametrize("seconds", [400.0, 40 * DAY, 3 * YEAR])
def test_a_clock_that_has_jumped_ahead_is_believed_after_a_day(seconds: float) -> None:
    """It may have been wrong before, or be wrong now."""
    clocks = Clocks()
    assert clocks.watch.is_believed()
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


def test_a_clock_that_jumps_again_is_waited_for_again() -> None:
    """The day begins anew."""
    clocks = Clocks()
    assert clocks.watch.is_believed()
    for _ in range(3):
        clocks.jump(+DAY)
        assert not clocks.watch.is_believed()
        clocks.pass_by(WAIT_SECONDS / 2)
    clocks.pass_by(WAIT_SECONDS / 2)
    assert clocks.watch.is_believed()


@pytest.mark.parametrize(
    ("kept_before", "is_believed"),
    [(None, True), (-YEAR, True), (DAY - 1, True), (DAY + 1, False), (3 * YEAR, False)],
)
def test_a_clock_is_believed_at_the_start_if_something_was_kept_lately(
    kept_before: float | None, is_believed: bool
) -> None:
    """By one that is ahead, the newest version looks old; a board without a clock may start with any time."""
    clocks = Clocks(kept_before)
    assert clocks.watch.is_believed() is is_believed
    clocks.pass_by(WAIT_SECONDS)
    assert clocks.watch.is_believed()


def test_the_log_says_once_why_nothing_is_pruned() -> None:
    """And for how long, and what to see to."""
    clocks = Clocks()
    clocks.watch.is_believed()
    clocks.jump(3 * YEAR)
    with capturedLogs() as events:
        clocks.watch.is_believed()
        clocks.watch.is_believed()
    [told] = [str(formatEvent(event)) for event in events]
    assert told.startswith(
        "The clock has jumped ahead by 1095 days. In case it is wrong, nothing is pruned for 24 h"
    )


def test_the_log_says_since_when_nothing_was_kept() -> None:
    """A person knows whether that is so."""
    clocks = Clocks(kept_before=40 * DAY)
    with capturedLogs() as events:
        clocks.watch.is_believed()
    [told] = [str(formatEvent(event)) for event in events]
    assert told.startswith("By this clock nothing was kept for 40 days, since 2025-12-2")
