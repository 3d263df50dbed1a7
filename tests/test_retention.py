"""Pruning of a history: examples at the edges of each rule, and laws."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mneme.model import FileName, Kind, Millis, Version, digest
from mneme.retention import Retention, prunable

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LOG, ENTITIES = FileName.LOG, FileName.ENTITIES


def at(text: str) -> Millis:
    """An instant, UTC."""
    return Millis(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000))


NOW = at("2026-02-04T15:00")
"""A Wednesday."""


def version(number: int, time: str | Millis, file: FileName = LOG, size: int = 100) -> Version:
    """A version that was accepted at a time."""
    when = at(time) if isinstance(time, str) else time
    return Version(number, file, digest(b""), size, when, when, None, Kind.UPLOAD, None, stored=size)


def keeping(all_of: int = 0, daily: int = 0, weekly: int = 0, max_bytes: int = 0) -> Retention:
    """A retention by ages in milliseconds."""
    return Retention(Millis(all_of), Millis(daily), Millis(weekly), max_bytes)


def pruned(
    versions: Iterable[Version],
    retention: Retention,
    protected: Collection[int] = (),
    apart: Collection[int] = (),
    now: Millis = NOW,
) -> list[int]:
    """The numbers of what goes."""
    return [one.number for one in prunable(versions, protected, apart, now, retention)]


def test_ages_count_to_the_millisecond() -> None:
    """The age is that of the version, not of its day; the future is young."""
    ages = (2 * HOUR + 1, 2 * HOUR, 2 * HOUR - 1, 0, -1)
    versions = [version(n, Millis(NOW - age)) for n, age in enumerate(ages, start=1)]
    assert pruned(versions, keeping(all_of=2 * HOUR)) == [1, 2]
    assert pruned(versions[:3], keeping(daily=2 * HOUR)) == [1, 2]
    assert pruned(versions[:3], keeping(weekly=2 * HOUR), apart={1, 2, 3}) == [1, 2]
    assert pruned([version(1, Millis(NOW + 1))], keeping()) == []


def test_days_and_weeks_are_those_of_utc() -> None:
    """A week begins on Monday, 00:00; a new year begins none."""
    times = ("2026-01-30T00:00", "2026-01-30T23:59", "2026-01-31T00:00", "2026-01-31T12:00")
    assert pruned([version(n, time) for n, time in enumerate(times)], keeping(daily=10 * DAY)) == [0, 2]
    versions = [
        version(1, "2025-12-28T23:59"),  # Sunday
        version(2, "2025-12-29T00:00"),  # Monday, and of the same week:
        version(3, "2025-12-31T23:00"),
        version(4, "2026-01-01T01:00"),
        version(5, "2026-01-04T23:59"),  # Sunday
        version(6, "2026-01-05T00:00"),
        version(7, "2026-01-08T00:00"),  # Thursday, as 1970-01-01 was
    ]
    assert pruned(versions, keeping(weekly=100 * DAY)) == [2, 3, 4, 6]


def test_a_clock_that_was_put_back_does_not_make_an_older_version_the_newest() -> None:
    """Newer is what was accepted later."""
    versions = [version(1, "2026-02-01T10:00"), version(2, "2026-02-01T09:00")]
    assert pruned(versions, keeping(daily=10 * DAY)) == [1]


FIVE = tuple(version(n, Millis(NOW - 10 + n), size=100) for n in range(1, 6))


@pytest.mark.parametrize(
    ("max_bytes", "protected", "gone"),
    [
        (0, (), []),
        (500, (), []),
        (499, (), [1]),
        (400, (), [1]),
        (399, (), [1, 2]),
        (1, (), [1, 2, 3, 4, 5]),
        (300, (1, 2), [3, 4]),
        (1, (1, 5), [2, 3, 4]),
    ],
)
def test_the_oldest_make_room(max_bytes: int, protected: tuple[int, ...], gone: list[int]) -> None:
    """No more than needed go, however young; protected ones stay. 0 is no bound."""
    assert pruned(FIVE, keeping(all_of=DAY, max_bytes=max_bytes), protected, apart={1}) == gone


def test_versions_that_go_by_age_make_room_first() -> None:
    """Of all files together the oldest go."""
    versions = (version(1, "2025-01-01T00:00", size=10_000), *FIVE[1:])
    assert pruned(versions, keeping(all_of=DAY, max_bytes=400)) == [1]
    versions = (version(1, NOW, ENTITIES, size=300), version(2, NOW, LOG, size=300))
    assert pruned(versions, keeping(all_of=DAY, max_bytes=599)) == [1]


ages = st.integers(0, 40 * DAY)
retentions = st.builds(keeping, ages, ages, ages, st.just(0) | st.integers(1, 2000))
numbers = st.frozensets(st.integers(1, 12))


@st.composite
def histories(draw: st.DrawFn) -> list[Version]:
    """Some versions, numbered in the order in which they were accepted, given in any order."""
    found = draw(
        st.lists(
            st.tuples(st.integers(-50 * DAY, HOUR), st.sampled_from([LOG, ENTITIES]), st.integers(0, 500)),
            max_size=12,
        )
    )
    # By a right clock, for what a wrong one does has laws of its own.
    versions = [
        version(number, Millis(NOW + moved), file, size)
        for number, (moved, file, size) in enumerate(sorted(found, key=lambda one: one[0]), start=1)
    ]
    return draw(st.permutations(versions))


@given(histories(), retentions, numbers, numbers)
def test_a_pruned_history_fits_and_stays_as_it_is(
    versions: list[Version], retention: Retention, protected: frozenset[int], apart: frozenset[int]
) -> None:
    """Only protected versions stay without space; the order of arguments means nothing."""
    gone = pruned(versions, retention, protected, apart)
    assert gone == sorted(set(gone) & {one.number for one in versions} - protected)
    assert gone == pruned(sorted(versions, key=lambda one: one.number), retention, protected, apart)
    left = [one for one in versions if one.number not in gone]
    fits = retention.max_bytes == 0 or sum(one.stored for one in left) <= retention.max_bytes
    assert fits or {one.number for one in left} <= protected
    # The oldest may have been removed for the time being.
    for some in range(len(gone) + 1):
        left = [one for one in versions if one.number not in gone[:some]]
        assert pruned(left, retention, protected, apart) == gone[some:]


@given(histories(), retentions, numbers, numbers)
def test_without_a_bound_the_young_stay_and_the_newest_of_days_and_weeks(
    versions: list[Version], retention: Retention, protected: frozenset[int], apart: frozenset[int]
) -> None:
    """Each file has its own; versions apart stay for the longest age."""
    longest = max(retention.keep_all, retention.keep_daily, retention.keep_weekly)

    def stays(one: Version) -> bool:
        age = NOW - one.time
        if one.number in protected or age < retention.keep_all or one.number in apart:
            return one.number in protected or age < longest
        later = [
            other.time
            for other in versions
            if other.number > one.number and other.file is one.file and other.number not in apart
        ]
        return (age < retention.keep_daily and day(one.time) not in map(day, later)) or (
            age < retention.keep_weekly and week(one.time) not in map(week, later)
        )

    gone = {one.number for one in versions if not stays(one)}
    assert set(pruned(versions, replace(retention, max_bytes=0), protected, apart)) == gone
    assert gone <= set(pruned(versions, retention, protected, apart))


def day(instant: Millis) -> str:
    """The day in UTC, as a calendar has it."""
    return f"{moment(instant):%Y-%m-%d}"


def week(instant: Millis) -> str:
    """The ISO week, as a calendar has it."""
    return f"{moment(instant):%G-%V}"


def moment(instant: Millis) -> datetime:
    """An instant as a calendar has it."""
    return datetime.fromtimestamp(instant / 1000, UTC)


@given(
    st.lists(st.integers(-400 * DAY, 0), max_size=12),
    retentions,
    st.tuples(st.integers(0, 11), st.integers(0, 11)).map(sorted),
    st.sampled_from([3 * 365 * DAY, -56 * 365 * DAY, -90 * DAY, 3 * DAY]),
    st.sampled_from([0, 4 * DAY, 100 * DAY]),
)
def test_nothing_goes_that_a_right_clock_would_have_kept(
    ages: list[int], retention: Retention, stretch: list[int], wrong_by: int, later: int
) -> None:
    """The clock was ahead, or behind, or showed 1970, and is right again.

    Where it was wrong is told by the order of versions, so the law is about what is between others.
    """
    unbounded, now = replace(retention, max_bytes=0), Millis(NOW + later)
    times = [NOW - 400 * DAY, *(NOW + age for age in sorted(ages)), NOW]
    right = [version(number, Millis(time)) for number, time in enumerate(times, start=1)]
    first, last = stretch
    wrong = [
        replace(one, time=Millis(one.time + wrong_by))
        if 1 + first <= place <= min(1 + last, len(ages))
        else one
        for place, one in enumerate(right)
    ]
    contradicted = {
        one.number
        for one in wrong
        if any(
            (other.number < one.number and other.time > one.time + HOUR)
            or (other.number > one.number and other.time < one.time - HOUR)
            for other in wrong
        )
    }
    changed = {one.number for one, other in zip(wrong, right, strict=True) if one.time != other.time}
    if changed <= contradicted or abs(wrong_by) > 365 * DAY:
        assert set(pruned(wrong, unbounded, now=now)) <= set(pruned(right, unbounded, now=now))


def test_a_version_that_a_wrong_clock_dated_goes_in_the_end() -> None:
    """At least as old as the next version that has a right time."""
    future, early = Millis(NOW + 3 * 365 * DAY), Millis(0)
    for wrong in (future, early):
        versions = [version(1, wrong), version(2, Millis(NOW - 10 * DAY)), version(3, Millis(NOW - 1))]
        assert pruned(versions, keeping(all_of=9 * DAY)) == [1, 2]
        assert pruned(versions, keeping(all_of=11 * DAY)) == []
