"""`summary.json`: the plugin's summary of the log."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from mneme.merge.jsonvalues import JSON, Value, canonical
from mneme.merge.threeway import Rule, ThreeWay, by_item, by_key, general, one_sided, winner
from mneme.merge.times import later


class FORM(msgspec.Struct, rename="camel"):
    """The keys that the plugin writes."""

    project_context: str | UnsetType | None = UNSET
    key_decisions: list[dict[str, object]] | UnsetType = UNSET
    current_state: list[dict[str, object]] | UnsetType = UNSET
    recent_work: list[dict[str, object]] | UnsetType = UNSET
    last_updated: str | UnsetType | None = UNSET
    last_entry_index: int | float | UnsetType | None = UNSET


def merge_summaries(values: ThreeWay) -> Value:
    """Lists by item, states by topic, text by the side that was updated later."""
    return by_key(values, lambda key: _RULES.get(key, general))


def _states(values: ThreeWay) -> Value:
    """The merge of states: by topic, if each has its own."""
    if all(has_topics(value) for value in values.all if value is not UNSET):
        return by_item(values, topic_of, winner)
    return by_item(values)


def has_topics(value: JSON) -> bool:
    """Whether each item has a topic of its own."""
    topics = [topic_of(item) for item in value] if isinstance(value, list) else [b""]
    return all(topics) and len(topics) == len(set(topics))


def topic_of(item: JSON) -> bytes:
    """The topic of a state; empty if it has none."""
    topic = item.get("topic") if isinstance(item, dict) else None
    return canonical(topic) if isinstance(topic, str) else b""


def _smaller(values: ThreeWay) -> Value:
    """The smaller number: neither side has summed up the entries after it."""
    numbers = [value for value in (values.head, values.upload) if isinstance(value, int | float)]
    return min(numbers) if numbers else general(values)


_RULES: Mapping[str, Rule] = {
    "currentState": lambda values: one_sided(values, _states),
    "lastUpdated": later,
    "lastEntryIndex": _smaller,
}
