"""`entities.json`: the things that the log mentions, by kind and name."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType

from mneme.merge.jsonvalues import JSON, Value, canonical
from mneme.merge.threeway import Rule, ThreeWay, by_item, by_key, general, one_sided
from mneme.merge.times import later, parsed_time

_MOST_CONTEXTS = 5
_LARGEST_COUNT = 2**53
"""From here on JavaScript no longer counts by ones."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class _Entity(msgspec.Struct, rename="camel"):
    mentions: int | float | UnsetType = UNSET
    last_seen: str | UnsetType | None = UNSET
    contexts: list[dict[str, object]] | UnsetType = UNSET


class FORM(msgspec.Struct, rename="camel"):
    """The keys that the plugin writes."""

    files: dict[str, _Entity] | UnsetType = UNSET
    functions: dict[str, _Entity] | UnsetType = UNSET
    errors: dict[str, _Entity] | UnsetType = UNSET
    packages: dict[str, _Entity] | UnsetType = UNSET
    last_updated: str | UnsetType | None = UNSET
    last_pruned: str | UnsetType | None = UNSET


def merge_entities(values: ThreeWay) -> Value:
    """Entities merged by name, with mentions of both sides added up."""
    return by_key(values, lambda key: _RULES.get(key, general))


def _group(values: ThreeWay) -> Value:
    return one_sided(values, lambda changed: by_key(changed, lambda _name: _entity))


def _entity(values: ThreeWay) -> Value:
    return one_sided(values, lambda changed: by_key(changed, lambda key: _ENTITY_RULES.get(key, general)))


def _mentions(values: ThreeWay) -> Value:
    """The counts of both sides since their base, added up; without a base, the larger."""
    base, head, upload = (_number(value) for value in values.all)
    if head is None or upload is None:
        return general(values)
    if base is None or max(abs(base), abs(head), abs(upload)) > _LARGEST_COUNT:
        return max(head, upload)
    return base + max(0, head - base) + max(0, upload - base)


def _number(value: Value) -> int | float | None:
    return value if isinstance(value, int | float) else None


def _contexts(values: ThreeWay) -> Value:
    """The newest contexts, in the order of their times."""
    return one_sided(values, lambda changed: sorted(by_item(changed), key=_age)[-_MOST_CONTEXTS:])


def _age(context: JSON) -> tuple[datetime, bytes]:
    """The sort key of a context: its time, then its content."""
    time = parsed_time(context.get("ts")) if isinstance(context, dict) else None
    return time or _EARLIEST, canonical(context)


_ENTITY_RULES: Mapping[str, Rule] = {"mentions": _mentions, "lastSeen": later, "contexts": _contexts}
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("files", "functions", "errors", "packages"), _group),
    "lastUpdated": later,
    "lastPruned": later,
}
