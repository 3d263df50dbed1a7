"""Repetitions of a test: few in the suite, many in `scripts/check --long`.

The environment variable `LONG` switches to the many: `LONG=1` for as many as the test says, `LONG=3` for three
times that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

from hypothesis import HealthCheck, settings

LONG = int(os.environ.get("LONG") or 0)

FEW, MANY = 25, 1000
"""Examples of a property that names no number of its own."""


def times(few: int, many: int) -> int:
    """The number of rounds, kills or examples of a test."""
    return many * LONG if LONG else few


def examples(few: int = FEW, many: int = MANY, steps: int = 50) -> settings:
    """Settings of a property, or of a machine that takes `steps` in each example."""
    return settings(
        max_examples=times(few, many),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def now_and_then(act: Callable[[], object], every: int = 7) -> Callable[[], None]:
    """A function that does something at every seventh call; in `--long` at every call."""
    calls = count(1)

    def between() -> None:
        if LONG or next(calls) % every == 0:
            act()

    return between
