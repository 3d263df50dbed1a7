"""Instants as dates and as text."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme import times
from mneme.model import Millis

FIRST, LAST = Millis(-62_135_596_800_000), Millis(253_402_300_799_999)
instants = st.integers(FIRST, LAST).map(Millis)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_770_217_200_000, "2026-02-04T15:00:00.000Z"),
        (1_770_217_200_010, "2026-02-04T15:00:00.010Z"),
        (LAST, "9999-12-31T23:59:59.999Z"),
        (FIRST, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_text_is_as_javascript_writes_it(instant: int, text: str) -> None:
    """Always three decimals and a Z, as `toISOString` has it."""
    assert times.to_text(Millis(instant)) == text


@pytest.mark.parametrize(("instant", "nearest"), [(LAST + 1, LAST), (10**30, LAST), (FIRST - 1, FIRST)])
def test_an_instant_that_no_date_can_say_becomes_the_nearest_date(instant: int, nearest: Millis) -> None:
    """A clock outside the years 1 to 9999 is no reason to fail."""
    assert times.to_datetime(Millis(instant)) == times.to_datetime(nearest)
    assert times.to_text(Millis(instant)) == times.to_text(nearest)


@given(instants)
def test_an_instant_survives_the_way_to_a_date_or_text_and_back(instant: Millis) -> None:
    """The text is ISO 8601 that others read as the same millisecond."""
    assert times.from_datetime(times.to_datetime(instant)) == instant
    text = times.to_text(instant)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert times.from_datetime(datetime.fromisoformat(text)) == instant


@given(instants, instants)
def test_text_sorts_as_the_instants_do(one: Millis, other: Millis) -> None:
    """A client that compares the texts comes to what one that compares the instants does."""
    assert (one < other) == (times.to_text(one) < times.to_text(other))


def test_a_date_of_another_time_zone_is_the_same_instant() -> None:
    """A hand-written lock file may have an offset, or none, which means UTC."""
    there = datetime(2026, 2, 4, 20, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert times.from_datetime(there) == 1_770_217_200_000
    naive = datetime(2026, 2, 4, 15, 0, 0, 7_999)  # noqa: DTZ001 - what the test is about
    assert times.from_datetime(naive) == times.from_datetime(naive.replace(tzinfo=UTC)) == 1_770_217_200_007


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"])
def test_dates_at_the_ends_of_time_in_odd_time_zones_are_read(text: str) -> None:
    """In UTC, these dates lie outside the years 1 to 9999."""
    instant = times.from_datetime(datetime.fromisoformat(text))
    assert instant < FIRST or instant > LAST
    assert times.to_text(instant) in (times.to_text(FIRST), times.to_text(LAST))


@pytest.mark.parametrize(
    ("zone", "instant", "text"),
    [
        ("EET-2", 1_770_217_200_000, "2026-02-04 17:00"),
        ("EST5", 1_770_217_200_000, "2026-02-04 10:00"),
        ("EET-2", FIRST, "0001-01-01 02:00"),
        ("EST5", FIRST, "0001-01-01 00:00"),
        ("EET-2", LAST, "9999-12-31 23:59"),
        ("EST5", 10**30, "9999-12-31 18:59"),
    ],
)
def test_people_see_local_time(zone: str, instant: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where their zone would lead out of the calendar, the zone is UTC."""
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        assert times.to_local_text(Millis(instant)) == text
    time.tzset()
