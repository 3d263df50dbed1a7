"""A value of JSON as it is on both sides and in their base, and the general rules by which it is merged.

A key that is not there is UNSET, and so is a base that is not known: what both sides then have may be their own, and is
kept.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
from attrs import evolve, frozen
from msgspec import UNSET, UnsetType

from mneme.merge.multisets import counted, interleaved

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Value: TypeAlias = "JSON | UnsetType"

DEEPEST = 16
"""What is within more than this counts as a whole: each level costs a look at all that is in it."""

_sorted = msgspec.json.Encoder(order="sorted")


@frozen
class Sides:
    """A value three times, and whose is taken where both have changed it and nothing else decides."""

    base: Value
    head: Value
    upload: Value
    upload_wins: bool
    depth: int = 0

    def of(self, base: Value, head: Value, upload: Value) -> "Sides":
        """A value that is within this one."""
        return evolve(self, base=base, head=head, upload=upload, depth=self.depth + 1)

    @property
    def three(self) -> tuple[Value, Value, Value]:
        """Base, head and upload."""
        return self.base, self.head, self.upload

    @property
    def winner(self) -> Value:
        """The value of the side that wins."""
        return self.upload if self.upload_wins else self.head


Rule: TypeAlias = Callable[[Sides], Value]
"""What becomes of a value."""


def canonical(value: Value) -> bytes:
    """The same bytes for the same value, however it was written; 1, 1.0 and true are three."""
    return b"" if value is UNSET else _sorted.encode(value)


def one_sided(sides: Sides, otherwise: Rule) -> Value:
    """The value of the side that changed it, the other having left or removed it; `otherwise` if both changed it."""
    base, head, upload = map(canonical, sides.three)
    if upload in (head, base):
        return sides.head
    if head == base or sides.head is UNSET:
        return sides.upload
    if sides.upload is UNSET:
        return sides.head
    return otherwise(sides)


def general(sides: Sides) -> Value:
    """What becomes of a value that nothing more is known of."""
    return one_sided(sides, _both_changed)


def winner(sides: Sides) -> Value:
    """What becomes of a value that only makes sense as a whole."""
    return one_sided(sides, lambda changed: changed.winner)


def by_key(sides: Sides, rule_of: Callable[[str], Rule]) -> dict[str, JSON]:
    """Merge objects key by key, in the order of the head; what is no object has no keys."""
    base, head, upload = (one if isinstance(one, dict) else {} for one in sides.three)
    merged = {
        key: rule_of(key)(sides.of(base.get(key, UNSET), head.get(key, UNSET), upload.get(key, UNSET)))
        for key in dict.fromkeys([*head, *upload])
    }
    return {key: value for key, value in merged.items() if value is not UNSET}


def by_item(sides: Sides, identity: Callable[[JSON], bytes] = canonical, rule: Rule = general) -> list[JSON]:
    """Merge arrays item by item, `rule` for those of one identity; what is no array has no items.

    A side that has all the items of the merge, and no others, gives them its order.
    """
    base, head, upload = (one if isinstance(one, list) else [] for one in sides.three)
    three = [Items(one, identity) for one in (base, head, upload)]
    names = three[1].names + three[2].names
    staying = counted(*(items.names for items in three))
    order = [names[place] for place in interleaved(three[1].names, three[2].names, staying)]
    merged = [_item(sides.of(*values), rule) for values in together(order, three)]
    return _as_ordered_by_either(merged, head, upload)


class Items:
    """Items by their identities: `names`, in the order of the items."""

    def __init__(self, items: Sequence[JSON], identity: Callable[[JSON], bytes]) -> None:
        self.names = [identity(item) for item in items]
        self._by_name: dict[bytes, list[JSON]] = {}
        for name, item in zip(self.names, items, strict=True):
            self._by_name.setdefault(name, []).append(item)

    def get(self, name: bytes, copy: int) -> Value:
        """The copy with this number."""
        copies = self._by_name.get(name, [])
        return copies[copy] if copy < len(copies) else UNSET


def together(names: Iterable[bytes], those: Sequence[Items]) -> Iterator[list[Value]]:
    """For each copy of an item, what it is in each of those."""
    copies: Counter[bytes] = Counter()
    for name in names:
        yield [items.get(name, copies[name]) for items in those]
        copies[name] += 1


def _item(sides: Sides, rule: Rule) -> JSON:
    """An item of which it is decided that it stays."""
    both = sides.head is not UNSET and sides.upload is not UNSET
    value = rule(sides) if both else next(one for one in (sides.head, sides.upload) if one is not UNSET)
    return None if value is UNSET else value


def _both_changed(sides: Sides) -> Value:
    match sides.head, sides.upload:
        case _ if sides.depth >= DEEPEST:
            return sides.winner
        case dict(), dict():
            return by_key(sides, lambda _: general)
        case list(), list():
            return by_item(sides)
        case _:
            return sides.winner


def _as_ordered_by_either(merged: list[JSON], head: list[JSON], upload: list[JSON]) -> list[JSON]:
    items = sorted(map(canonical, merged))
    return next((one for one in (head, upload) if sorted(map(canonical, one)) == items), merged)


def same_items(one: JSON, other: JSON) -> bool:
    """Whether two values are the same but for the order of keys and of the items of arrays outside of arrays."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_items(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(canonical, one)) == sorted(map(canonical, other))
    return canonical(one) == canonical(other)
