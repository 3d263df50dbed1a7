"""Statistics: what is said of figures that were measured several times."""

import math

import pytest

from tests.bench.figures import NOTHING, cell, number, ratios, spread
from tests.bench.loads import Lap, Outcome, percentile


def test_a_cell_has_the_median_and_in_brackets_the_least_and_the_most() -> None:
    """Whatever the order of the rounds."""
    assert cell([30.0, 10.0, 20.0, 900.0]) == "25.0 (10.0–900)"


def test_a_single_value_has_no_spread() -> None:
    """It stands by itself."""
    assert cell([1234.5]) == "1,234"


def test_what_is_no_number_is_left_out() -> None:
    """And where nothing is left, the cell says so."""
    assert cell([math.nan, 2.0, math.inf]) == "2.00"
    assert cell([math.nan]) == cell([]) == NOTHING
    assert spread([]) is None


def test_ratios_are_taken_round_by_round() -> None:
    """A slow round of both leaves the ratio as it is."""
    assert ratios([10.0, 1.0], [5.0, 0.5]) == [2.0, 2.0]


def test_a_ratio_to_nothing_is_no_number() -> None:
    """Nor is one to a loss, or of one."""
    assert cell(ratios([1.0, 3.0], [0.0, 2.0])) == "1.50"
    assert cell(ratios([1.0, -1.0], [-2.0, 2.0])) == NOTHING


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0123, "0.012"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345.6, "12,346"),
        (-1.5, "-1.50"),
    ],
)
def test_a_figure_has_about_three_digits(value: float, text: str) -> None:
    """More could not be believed."""
    assert number(value) == text


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The nearest rank, for few values and for many."""
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert math.isnan(percentile([], 0.5))


def test_rates_of_machines_add_up_whenever_each_began() -> None:
    """Four requests in a second and four in two seconds are six a second, in sessions of two three."""
    laps = (Lap(0.0, 1.0, [0.25] * 4, [0.5] * 2, 0), Lap(5.0, 7.0, [0.5] * 4, [1.0] * 2, 1))
    outcome = Outcome(2, laps)
    assert (outcome.requests_per_second, outcome.sessions_per_second) == (6.0, 3.0)
    assert (outcome.asked, outcome.failed, outcome.session(0.99)) == (8, 1, 1.0)


def test_a_machine_that_came_to_nothing_has_a_rate_of_nothing() -> None:
    """It is no error: its failures are counted."""
    assert Outcome(14, (Lap(0.0, 0.0, [], [], 0),)).sessions_per_second == 0.0
