"""A JSON value in base, head and upload, and the general rules of merging it.

A key that is not there is UNSET, and so is a base that is not known: what both sides then have may be their own, and is
kept.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import UNSET, Struct
from msgspec.structs import replace

from mneme.merge.jsonvalues import JSON, Value, canonical
from mneme.merge.multisets import counted, interleaved

DEEPEST = 16
"""The depth below which values are merged whole: each level reads all values in it."""


class ThreeWay(Struct, frozen=True):
    """A value in base, head and upload, and which side wins a conflict."""

    base: Value
    head: Value
    upload: Value
    upload_wins: bool
    depth: int = 0

    def of(self, base: Value, head: Value, upload: Value) -> "ThreeWay":
        """A value that is within this one."""
        return replace(self, base=base, head=head, upload=upload, depth=self.depth + 1)

    @property
    def all(self) -> tuple[Value, Value, Value]:
        """Base, head and upload."""
        return self.base, self.head, self.upload

    @property
    def winner(self) -> Value:
        """The value of the side that wins."""
        return self.upload if self.upload_wins else self.head


Rule: TypeAlias = Callable[[ThreeWay], Value]
"""A rule by which a value is merged."""


def one_sided(values: ThreeWay, otherwise: Rule) -> Value:
    """The value of the side that changed it; `otherwise` if both did.

    A side that removed it gives way to one that changed it.
    """
    base, head, upload = map(canonical, values.all)
    if upload in (head, base):
        return values.head
    if head == base or values.head is UNSET:
        return values.upload
    if values.upload is UNSET:
        return values.head
    return otherwise(values)


def general(values: ThreeWay) -> Value:
    """The merge of a value without a rule of its own."""
    return one_sided(values, _both_changed)


def winner(values: ThreeWay) -> Value:
    """The merge of a value that only makes sense as a whole."""
    return one_sided(values, lambda changed: changed.winner)


def by_key(values: ThreeWay, rule_of: Callable[[str], Rule]) -> dict[str, JSON]:
    """The merge of objects key by key, in the order of the head."""
    base, head, upload = (one if isinstance(one, dict) else {} for one in values.all)
    merged = {
        key: rule_of(key)(values.of(base.get(key, UNSET), head.get(key, UNSET), upload.get(key, UNSET)))
        for key in dict.fromkeys([*head, *upload])
    }
    return {key: value for key, value in merged.items() if value is not UNSET}


def by_item(
    values: ThreeWay, identity: Callable[[JSON], bytes] = canonical, rule: Rule = general
) -> list[JSON]:
    """The merge of arrays item by item; `rule` merges items of one identity.

    A side that has all the items of the merge, and no others, gives them its order.
    """
    base, head, upload = (one if isinstance(one, list) else [] for one in values.all)
    three = [Items(one, identity) for one in (base, head, upload)]
    names = three[1].names + three[2].names
    staying = counted(*(items.names for items in three))
    order = [names[place] for place in interleaved(three[1].names, three[2].names, staying)]
    merged = [_item(values.of(*copies), rule) for copies in together(order, three)]
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
    """The values of each copy of an item, in each of several lists."""
    copies: Counter[bytes] = Counter()
    for name in names:
        yield [items.get(name, copies[name]) for items in those]
        copies[name] += 1


def _item(values: ThreeWay, rule: Rule) -> JSON:
    """The merge of an item that stays."""
    both = values.head is not UNSET and values.upload is not UNSET
    value = rule(values) if both else next(one for one in (values.head, values.upload) if one is not UNSET)
    return None if value is UNSET else value


def _both_changed(values: ThreeWay) -> Value:
    match values.head, values.upload:
        case _ if values.depth >= DEEPEST:
            return values.winner
        case dict(), dict():
            return by_key(values, lambda _: general)
        case list(), list():
            return by_item(values)
        case _:
            return values.winner


def _as_ordered_by_either(merged: list[JSON], head: list[JSON], upload: list[JSON]) -> list[JSON]:
    items = sorted(map(canonical, merged))
    return next((one for one in (head, upload) if sorted(map(canonical, one)) == items), merged)


def same_items(one: JSON, other: JSON) -> bool:
    """Whether two values are equal but for the order of keys and items."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_items(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(canonical, one)) == sorted(map(canonical, other))
    return canonical(one) == canonical(other)
