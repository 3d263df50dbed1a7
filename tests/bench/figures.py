"""Figures that were measured several times: their middle, their spread, and how they compare."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from attrs import frozen

NOTHING = "—"


@frozen
class Spread:
    """The median of some values, the least and the most of them."""

    median: float
    least: float
    most: float
    count: int

    def __str__(self) -> str:
        """The median, and in brackets from where to where the others lie, if there are any."""
        if self.count == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(self.least)}–{number(self.most)})"


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of those values that are numbers; None if there are none."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """How many times the other's value ours is, round by round, since what disturbs a round disturbs both.

    Of a loss there is no ratio.
    """
    return [our / other if other > 0 <= our else math.nan for our, other in zip(ours, others, strict=False)]


def cell(values: Sequence[float]) -> str:
    """What a table says of the values."""
    found = spread(values)
    return str(found) if found else NOTHING


def number(value: float) -> str:
    """A figure with as many digits as can be believed."""
    size = abs(value)
    if size == 0:
        return "0"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"
