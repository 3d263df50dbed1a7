"""`remembered.json`: the facts that a person wanted remembered, an array of objects."""

import msgspec
from msgspec import UNSET, UnsetType

from mneme.merge.jsonvalues import JSON, Value, canonical
from mneme.merge.threeway import ThreeWay, by_item, general


class _Item(msgspec.Struct):
    ts: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


FORM = list[_Item]


def merge_remembered(values: ThreeWay) -> Value:
    """The items that either side added, without those that either side removed."""
    return by_item(values, identity, general)


def identity(item: JSON) -> bytes:
    """Time, type and content of an item; the whole item if it lacks one."""
    if isinstance(item, dict) and {"ts", "type", "content"} <= item.keys():
        return canonical([item["ts"], item["type"], item["content"]])
    return canonical(item)
