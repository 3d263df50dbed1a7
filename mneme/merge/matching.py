"""Lines that two texts share: the unique ones, and equal ones around those.

Merge3 would take difflib for it, which can need minutes for a megabyte; patiencediff gives up, by a panic, on texts
nested deep enough. This takes time that grows like that of sorting, for any text. What it does not find becomes a
conflict, never a wrong merge.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

_Pair: TypeAlias = tuple[int, int]
"""Where a line is in the one text and in the other."""


class UniqueLines:
    """A matcher for Merge3, with the parameters of `difflib.SequenceMatcher`."""

    def __init__(
        self,
        isjunk: Callable[[bytes], bool] | None = None,
        a: Sequence[bytes] = (),
        b: Sequence[bytes] = (),
        autojunk: bool = True,
    ) -> None:
        self._a = a
        self._b = b

    def get_matching_blocks(self) -> list[tuple[int, int, int]]:
        """Shared stretches as (start in a, start in b, length); the last has no length."""
        end = (len(self._a), len(self._b))
        blocks = []
        done = (0, 0)
        for anchor in (done, *_increasing(_shared_once(self._a, self._b)), end):
            if anchor >= done:
                before = self._equal(anchor, done, -1)
                length = before + self._equal(anchor, end, 1)
                start = (anchor[0] - before, anchor[1] - before)
                done = (start[0] + length, start[1] + length)
                blocks.append((*start, length))
        return [*(block for block in blocks if block[2]), (*end, 0)]

    def _equal(self, start: _Pair, stop: _Pair, step: int) -> int:
        """The number of equal lines from a position on, forwards or backwards."""
        first = min(step, 0)
        ours = range(start[0] + first, stop[0] + first, step)
        theirs = range(start[1] + first, stop[1] + first, step)
        count = 0
        for here, there in zip(ours, theirs, strict=False):
            if self._a[here] != self._b[there]:
                break
            count += 1
        return count


def _shared_once(a: Sequence[bytes], b: Sequence[bytes]) -> list[_Pair]:
    """The lines that each has exactly once, in the order of `a`."""
    ours, theirs = Counter(a), Counter(b)
    places = {line: place for place, line in enumerate(b) if theirs[line] == 1}
    return [(place, places[line]) for place, line in enumerate(a) if ours[line] == 1 and line in places]


def _increasing(pairs: Sequence[_Pair]) -> list[_Pair]:
    """The longest increasing subsequence of the pairs: same order in both texts."""
    # For each chain length, the pair at which such a chain ends soonest.
    places: list[int] = []
    numbers: list[int] = []
    previous: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(places, place)
        previous.append(numbers[length - 1] if length else -1)
        places[length : length + 1] = [place]
        numbers[length : length + 1] = [number]
    chain = []
    number = numbers[-1] if numbers else -1
    while number >= 0:
        chain.append(pairs[number])
        number = previous[number]
    return chain[::-1]
