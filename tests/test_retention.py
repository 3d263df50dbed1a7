"""How a history is thinned out: examples of each rule, and laws that hold for every history."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

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


class TestAges:
    """What stays for its age."""

    def test_the_young_all_stay(self) -> None:
        """To the millisecond."""
        ages = (2 * HOUR + 1, 2 * HOUR, 2 * HOUR - 1, 5, 4, 0)
        versions = [version(n, Millis(NOW - age)) for n, age in enumerate(ages, start=1)]
        assert pruned(versions, keeping(all_of=2 * HOUR)) == [1, 2]

    def test_what_comes_from_the_future_is_young(self) -> None:
        """A clock was wrong; nothing is lost for it."""
        assert pruned([version(1, Millis(NOW + DAY)), version(2, NOW)], keeping(all_of=1)) == []
        assert pruned([version(1, Millis(NOW + 1))], keeping()) == []

    def test_the_newest_of_each_day_stays(self) -> None:
        """Days are those of UTC: a minute before midnight is one day, midnight another."""
        versions = [
            version(1, "2026-01-30T00:00"),
            version(2, "2026-01-30T23:59"),
            version(3, "2026-01-31T00:00"),
            version(4, "2026-01-31T12:00"),
            version(5, "2026-02-01T08:00"),
        ]
        assert pruned(versions, keeping(daily=10 * DAY)) == [1, 3]

    def test_daily_versions_stay_for_their_time(self) -> None:
        """By the age of each, not of its day."""
        versions = [version(1, Millis(NOW - 2 * DAY)), version(2, Millis(NOW - 2 * DAY + 1))]
        assert pruned(versions, keeping(daily=2 * DAY)) == [1]
        assert pruned(versions, keeping(daily=2 * DAY), now=Millis(NOW + 1)) == [1, 2]

    def test_the_newest_of_each_iso_week_stays(self) -> None:
        """It begins on Monday, 00:00 UTC; a new year begins none."""
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

    def test_one_rule_is_enough_to_stay(self) -> None:
        """The rules are asked one by one: what is no day's newest may be young."""
        versions = [
            version(1, "2026-01-05T10:00"),
            version(2, "2026-01-09T10:00"),  # the last one of its week
            version(3, "2026-02-02T10:00"),
            version(4, "2026-02-02T11:00"),  # the last one of its day
            version(5, "2026-02-04T14:10"),
            version(6, "2026-02-04T14:20"),  # both young
        ]
        retention = keeping(all_of=HOUR, daily=3 * DAY, weekly=90 * DAY)
        assert pruned(versions, retention) == [1, 3]

    def test_each_file_has_days_and_weeks_of_its_own(self) -> None:
        """A log that changes hourly does not push out the entities of the morning."""
        versions = [
            version(1, "2026-02-01T08:00", ENTITIES),
            version(2, "2026-02-01T09:00", LOG),
            version(3, "2026-02-01T10:00", LOG),
        ]
        assert pruned(versions, keeping(daily=10 * DAY)) == [2]
        assert pruned(versions, keeping(weekly=10 * DAY)) == [2]

    def test_newer_is_what_was_accepted_later(self) -> None:
        """A clock that was put back does not make an older version the newest of its day."""
        versions = [version(1, "2026-02-01T10:00"), version(2, "2026-02-01T09:00")]
        assert pruned(versions, keeping(daily=10 * DAY)) == [1]

    def test_without_anything_to_keep_all_goes(self) -> None:
        """But what is protected."""
        versions = [version(n, Millis(NOW - n)) for n in (3, 2, 1)]
        assert pruned(versions, keeping()) == [1, 2, 3]
        assert pruned(versions, keeping(), protected={2}) == [1, 3]
        assert pruned([], keeping()) == []


class TestSpace:
    """What goes for its size."""

    VERSIONS = tuple(version(n, Millis(NOW - 10 + n), size=100) for n in range(1, 6))

    @pytest.mark.parametrize(
        ("max_bytes", "gone"),
        [(0, []), (500, []), (499, [1]), (400, [1]), (399, [1, 2]), (1, [1, 2, 3, 4, 5])],
    )
    def test_the_oldest_make_room(self, max_bytes: int, gone: list[int]) -> None:
        """No more of them than needed, however young; 0 is no bound."""
        assert pruned(self.VERSIONS, keeping(all_of=DAY, max_bytes=max_bytes)) == gone

    def test_what_is_protected_takes_its_space_and_stays(self) -> None:
        """Others go instead; where they do not suffice, it is too much, and that is all."""
        retention = keeping(all_of=DAY, max_bytes=300)
        assert pruned(self.VERSIONS, retention, protected={1, 2}) == [3, 4]
        assert pruned(self.VERSIONS, keeping(all_of=DAY, max_bytes=1), protected={1, 5}) == [2, 3, 4]

    def test_what_goes_by_age_makes_room_first(self) -> None:
        """It is not counted."""
        versions = (version(1, "2025-01-01T00:00", size=10_000), *self.VERSIONS[1:])
        assert pruned(versions, keeping(all_of=DAY, max_bytes=400)) == [1]

    def test_the_bound_is_that_of_all_files_together(self) -> None:
        """The oldest go, of whichever file."""
        versions = [version(1, NOW, ENTITIES, size=300), version(2, NOW, LOG, size=300)]
        assert pruned(versions, keeping(all_of=DAY, max_bytes=599)) == [1]


class TestApart:
    """What holds a content that was never part of a head."""

    def test_it_is_not_thinned_out(self) -> None:
        """There is nothing newer that has what it has."""
        versions = [version(n, Millis(NOW - 90 * DAY + n)) for n in range(1, 5)]
        retention = keeping(all_of=HOUR, daily=DAY, weekly=91 * DAY)
        assert pruned(versions, retention, apart={1, 2}) == [3]

    def test_it_costs_no_other_its_day_or_week(self) -> None:
        """It comes last on that day, and what was the head at its end stays all the same."""
        versions = [version(1, "2026-02-01T10:00"), version(2, "2026-02-01T11:00")]
        for retention in (keeping(daily=10 * DAY), keeping(weekly=10 * DAY)):
            assert pruned(versions, retention, apart={2}) == []

    @pytest.mark.parametrize(
        "retention", [keeping(all_of=5 * DAY), keeping(daily=5 * DAY), keeping(DAY, DAY, 5 * DAY)]
    )
    def test_it_goes_when_nothing_would_be_kept_for_its_age(self, retention: Retention) -> None:
        """The longest of the ages counts, whichever that is."""
        versions = [version(1, Millis(NOW - 5 * DAY)), version(2, Millis(NOW - 5 * DAY + 1))]
        assert pruned(versions, retention, apart={1, 2}) == [1]

    def test_it_makes_room_like_any_other(self) -> None:
        """When it is the oldest."""
        versions = [version(1, NOW), version(2, NOW)]
        assert pruned(versions, keeping(all_of=DAY, max_bytes=100), apart={1}) == [1]


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
def test_what_is_protected_never_goes(
    versions: list[Version], retention: Retention, protected: frozenset[int], apart: frozenset[int]
) -> None:
    """Whatever else holds; and what goes is of the history, told once, the oldest first."""
    gone = pruned(versions, retention, protected, apart)
    assert not set(gone) & protected
    assert gone == sorted(set(gone))
    assert set(gone) <= {one.number for one in versions}


@given(histories(), retentions, numbers, numbers)
def test_who_has_pruned_has_nothing_more_to_prune(
    versions: list[Version], retention: Retention, protected: frozenset[int], apart: frozenset[int]
) -> None:
    """Not even if only the oldest were removed for the time being: the rest is the same as before."""
    gone = pruned(versions, retention, protected, apart)
    left = [one for one in versions if one.number not in gone]
    assert pruned(left, retention, protected, apart) == []
    for some in range(len(gone)):
        left = [one for one in versions if one.number not in gone[:some]]
        assert pruned(left, retention, protected, apart) == gone[some:]


@given(histories(), retentions, numbers, numbers)
def test_what_stays_fits_as_far_as_it_may(
    versions: list[Version], retention: Retention, protected: frozenset[int], apart: frozenset[int]
) -> None:
    """Either it fits, or nothing is left that could still go."""
    gone = pruned(versions, retention, protected, apart)
    left = [one for one in versions if one.number not in gone]
    fits = retention.max_bytes == 0 or sum(one.stored for one in left) <= retention.max_bytes
    assert fits or {one.number for one in left} <= protected


@given(histories(), retentions, numbers, numbers)
def test_without_a_bound_the_young_stay(
    versions: list[Version], retention: Retention, protected: frozenset[int], apart: frozenset[int]
) -> None:
    """And of every file the newest of each day and week that are kept, what is apart not counted."""
    unbounded = evolve(retention, max_bytes=0)
    gone = set(pruned(versions, unbounded, protected, apart))
    longest = max(retention.keep_all, retention.keep_daily, retention.keep_weekly)
    for one in versions:
        age = NOW - one.time
        if age < retention.keep_all or (one.number in apart and age < longest):
            assert one.number not in gone
        later = [
            other.time
            for other in versions
            if other.number > one.number and other.file is one.file and other.number not in apart
        ]
        if one.number not in apart and age < retention.keep_daily and day(one.time) not in map(day, later):
            assert one.number not in gone
        if one.number not in apart and age < retention.keep_weekly and week(one.time) not in map(week, later):
            assert one.number not in gone
        if age >= longest and one.number not in protected:
            assert one.number in gone


@given(histories(), retentions, numbers, numbers, st.integers(0, 2000))
def test_a_bound_takes_more_and_leaves_nothing_that_would_go_without_it(
    versions: list[Version],
    retention: Retention,
    protected: frozenset[int],
    apart: frozenset[int],
    max_bytes: int,
) -> None:
    """Space is made on top of what goes by age."""
    without = pruned(versions, evolve(retention, max_bytes=0), protected, apart)
    bounded = pruned(versions, evolve(retention, max_bytes=max_bytes), protected, apart)
    assert set(without) <= set(bounded)


@given(histories(), retentions, numbers, numbers)
def test_the_order_in_which_versions_are_given_is_nothing(
    versions: list[Version],
    retention: Retention,
    protected: frozenset[int],
    apart: frozenset[int],
) -> None:
    """Numbers say what is newer."""
    in_order = sorted(versions, key=lambda one: one.number)
    assert pruned(versions, retention, protected, apart) == pruned(in_order, retention, protected, apart)


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
    """For a while it was ahead, or behind, or showed 1970, as on a board without a clock; now it is right again.

    Where it was wrong is told by the order of versions, so the law is about what is between others.
    """
    unbounded, now = evolve(retention, max_bytes=0), Millis(NOW + later)
    times = [NOW - 400 * DAY, *(NOW + age for age in sorted(ages)), NOW]
    right = [version(number, Millis(time)) for number, time in enumerate(times, start=1)]
    first, last = stretch
    wrong = [
        evolve(one, time=Millis(one.time + wrong_by))
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


def test_what_a_wrong_clock_dated_goes_in_the_end() -> None:
    """It is as old at least as the next version that has a right time."""
    future, early = Millis(NOW + 3 * 365 * DAY), Millis(0)
    for wrong in (future, early):
        versions = [version(1, wrong), version(2, Millis(NOW - 10 * DAY)), version(3, Millis(NOW - 1))]
        assert pruned(versions, keeping(all_of=9 * DAY)) == [1, 2]
        assert pruned(versions, keeping(all_of=11 * DAY)) == []
