"""Merges of lists whose items are kept or removed whole, copies counted."""

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def counted(base: Sequence[Item], head: Sequence[Item], upload: Sequence[Item]) -> Counter[Item]:
    """Copies of each item that stay: those of the side that changed their number.

    If both did, the larger number.
    """
    before, ours, theirs = Counter(base), Counter(head), Counter(upload)
    counts = ((item, _count(before[item], ours[item], theirs[item])) for item in ours | theirs)
    return Counter({item: count for item, count in counts if count})


def interleaved(head: Sequence[Item], upload: Sequence[Item], staying: Counter[Item]) -> list[int]:
    """Positions in `[*head, *upload]` of the items that stay, in their new order.

    That is the order of the head. What comes from the upload goes before the next item that follows it there and is the
    head's as well, or to the end.
    """
    left = Counter(staying)
    kept = [place for place, item in enumerate(head) if _taken(left, item)]
    places: defaultdict[Item, deque[int]] = defaultdict(deque)
    for place in kept:
        places[head[place]].append(place)
    before: dict[int, list[int]] = {}
    added: list[int] = []
    for place, item in enumerate(upload, start=len(head)):
        if places[item]:
            before[places[item].popleft()] = added
            added = []
        elif _taken(left, item):
            added.append(place)
    return [place for one in kept for place in (*before.get(one, ()), one)] + added


def _count(base: int, head: int, upload: int) -> int:
    if head == base:
        return upload
    if upload == base:
        return head
    return max(head, upload)


def _taken(left: Counter[Item], item: Item) -> bool:
    """Take one copy, if there is one left."""
    if not left[item]:
        return False
    left[item] -= 1
    return True
