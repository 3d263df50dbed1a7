"""The rules for pruning the history of a project, as pure functions of (versions, now)."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import accumulate

from msgspec import Struct
from msgspec.structs import replace

from mneme.model import SLACK, FileName, Millis, Version

_DAY = 24 * 60 * 60 * 1000

EARLIEST = Millis(1_735_689_600_000)
"""2025-01-01, before the first version of mneme. A clock that shows an earlier time is wrong."""


class Retention(Struct, frozen=True):
    """Settings for pruning; ages are in milliseconds, `max_bytes` is for a project."""

    keep_all: Millis
    """All versions younger than this stay."""
    keep_daily: Millis
    """Of the versions younger than this, the newest of each day stays."""
    keep_weekly: Millis
    """Of the versions younger than this, the newest of each week stays."""
    max_bytes: int
    """If the history takes more than this, the oldest versions are removed. 0 is no limit."""


def prunable(
    versions: Iterable[Version],
    protected: Container[int],
    unmerged: Container[int],
    now: Millis,
    retention: Retention,
) -> tuple[Version, ...]:
    """The versions to remove, oldest first, out of all `versions` of a project.

    "Older" and "newer" go by number, the order in which versions were accepted, since a clock may have been wrong. Ages
    go by time. Days and ISO weeks are those of UTC, and each file has its own.

    The versions in `protected` always stay. The versions in `unmerged` have content that is nowhere else. They are not
    thinned out by day and week: they stay until they are older than all three ages, or until there is no space. They do
    not count as the newest of a day or week, so they do not replace another version there. The same rules hold for
    versions that were accepted while the clock was wrong, as far as that is known. Such a version is taken to be as
    young as possible.

    If the remaining versions take more than `max_bytes`, the oldest are removed until the rest fits. Protected versions
    count, but are not removed. Young versions may be removed, too.

    After the returned versions are removed, a second call returns nothing more. There is one exception: a version whose
    time contradicted only versions that were removed for space.
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
    """The numbers of the versions accepted while the clock may have been right.

    The clock was wrong if the time is before `EARLIEST`, in the future, or contradicts the order of versions.
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
    """The versions, with corrected times for those of a wrong clock.

    The corrected time is the latest possible one: that of the next version with a right time, or now.
    """
    found: list[Version] = []
    latest = now
    for version in reversed(oldest_first):
        is_right = version.number in right
        latest = min(latest, version.time) if is_right else latest
        found.append(version if is_right else replace(version, time=latest))
    return found[::-1]


def _kept_by_age(
    oldest_first: Sequence[Version], apart: Container[int], now: Millis, retention: Retention
) -> Iterator[int]:
    """The numbers of the versions that stay because of their age, some more than once.

    The versions in `apart` are not thinned out.
    """

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
    """The versions that stay after the oldest were removed for space."""
    excess = sum(version.stored for version in oldest_first) - max_bytes
    left = []
    for version in oldest_first:
        if excess > 0 and version.number not in protected:
            excess -= version.stored
        else:
            left.append(version)
    return left
