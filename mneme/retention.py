"""How the history of a project is thinned out: pure functions of (versions, now). Nothing here reads a clock."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import accumulate

from attrs import evolve, frozen

from mneme.model import SLACK, FileName, Millis, Version

_DAY = 24 * 60 * 60 * 1000

EARLIEST = Millis(1_735_689_600_000)
"""2025-01-01, before there was anything to keep: a clock that shows an earlier time is wrong."""


@frozen
class Retention:
    """How much of a history is kept: ages in milliseconds, `max_bytes` of a whole project (0: no bound)."""

    keep_all: Millis
    """Versions younger than this stay, all of them."""
    keep_daily: Millis
    """Of those younger than this, the newest of each day stays."""
    keep_weekly: Millis
    """Of those younger than this, the newest of each week stays."""
    max_bytes: int
    """What more than this takes is removed, the oldest first."""


def prunable(
    versions: Iterable[Version],
    protected: Container[int],
    unmerged: Container[int],
    now: Millis,
    retention: Retention,
) -> tuple[Version, ...]:
    """The versions to delete, oldest first, of all the `versions` that a project has.

    Older and newer go by number, the order in which versions were accepted: a clock can have been wrong. Ages go by
    time. Days and ISO weeks are those of UTC, and each file has its own.

    The numbers in `protected` stay, whatever their age and size. Those in `unmerged` hold what is nowhere else: they
    are not thinned out, go only when they are older than everything that is kept by age, or for space, and are not
    the newest of a day or a week, which would cost the others theirs. The same holds for those that were accepted while
    the clock was wrong, as far as that can be told; they count as young as they can be.

    Where what stays takes more than `max_bytes`, what is protected included, the oldest that are not protected go until
    it fits, the young among them too. Whoever deletes what is returned, and asks again, is told of nothing more, but
    perhaps of versions whose time was only contradicted by what went for space.
    """
    oldest_first = sorted(versions, key=lambda version: version.number)
    right = _right_ones(oldest_first, now)
    numbers = {version.number for version in oldest_first}
    apart = (numbers - right) | {number for number in numbers if number in unmerged}
    kept = set(_kept_by_age(_believed(oldest_first, right, now), apart, now, retention))
    staying = [one for one in oldest_first if one.number in kept or one.number in protected]
    fitting = staying if retention.max_bytes == 0 else _fitting(staying, protected, retention.max_bytes)
    left = {version.number for version in fitting}
    return tuple(version for version in oldest_first if version.number not in left)


def _right_ones(oldest_first: Sequence[Version], now: Millis) -> set[int]:
    """The numbers of versions accepted while the clock can have been right.

    It was wrong if it showed a time before `EARLIEST`, one to come, or one that contradicts the order of versions.
    """
    possible = [version for version in oldest_first if EARLIEST <= version.time <= now + SLACK]
    latest_before = accumulate((version.time for version in possible), max)
    earliest_after = list(accumulate((version.time for version in reversed(possible)), min))[::-1]
    return {
        version.number
        for version, before, after in zip(possible, latest_before, earliest_after, strict=True)
        if before - SLACK <= version.time <= after + SLACK
    }


def _believed(oldest_first: Sequence[Version], right: Container[int], now: Millis) -> list[Version]:
    """The versions, those of a wrong clock as young as they can be.

    Such a version was accepted before the next one whose time is right, or now, at the latest.
    """
    found: list[Version] = []
    latest = now
    for version in reversed(oldest_first):
        is_right = version.number in right
        latest = min(latest, version.time) if is_right else latest
        found.append(version if is_right else evolve(version, time=latest))
    return found[::-1]


def _kept_by_age(
    oldest_first: Sequence[Version], apart: Container[int], now: Millis, retention: Retention
) -> Iterator[int]:
    """The numbers of the versions that stay for their age, some of them more than once; those `apart` as a whole."""

    def younger(than: Millis, among: Iterable[Version]) -> list[Version]:
        return [version for version in among if now - version.time < than]

    longest = max(retention.keep_all, retention.keep_daily, retention.keep_weekly)
    thinned = [version for version in oldest_first if version.number not in apart]
    yield from (one.number for one in younger(longest, oldest_first) if one.number in apart)
    yield from (one.number for one in younger(retention.keep_all, thinned))
    yield from _newest_of_each(_day, younger(retention.keep_daily, thinned))
    yield from _newest_of_each(_week, younger(retention.keep_weekly, thinned))


def _newest_of_each(period: Callable[[Millis], int], oldest_first: Iterable[Version]) -> Iterable[int]:
    newest: dict[tuple[FileName, int], int] = {}
    for version in oldest_first:
        newest[version.file, period(version.time)] = version.number
    return newest.values()


def _day(instant: Millis) -> int:
    return instant // _DAY


def _week(instant: Millis) -> int:
    # 1970 began on a Thursday, and ISO weeks begin on Mondays.
    return (_day(instant) + 3) // 7


def _fitting(oldest_first: Sequence[Version], protected: Container[int], max_bytes: int) -> list[Version]:
    """What is left when the oldest have made room."""
    excess = sum(version.stored for version in oldest_first) - max_bytes
    left = []
    for version in oldest_first:
        if excess > 0 and version.number not in protected:
            excess -= version.stored
        else:
            left.append(version)
    return left
