"""`entities.json`: entities by name, what both sides have seen of them added up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mneme.model import FileName
from tests import plugin_files
from tests.merge.looking import merged, merged_json

ENTITIES = FileName.ENTITIES


def context(minute: int, summary: str = "x") -> dict[str, str]:
    """Where an entity was mentioned."""
    return {"ts": f"2026-02-01T10:{minute:02}:00.000Z", "type": "task", "summary": summary}


def entity(mentions: float = 1, *contexts: dict[str, str], **more: Any) -> dict[str, Any]:
    """An entity, last seen in the last of its contexts."""
    last = contexts[-1]["ts"] if contexts else None
    return {"mentions": mentions, "lastSeen": last, "contexts": list(contexts), **more}


def merged_entity(base: Any, head: Any, upload: Any, *, later: bool = True) -> Any:
    """The merge of an entity; None if it is gone."""
    three = [{"files": {} if one is None else {"a.py": one}} for one in (base, head, upload)]
    return merged_json(ENTITIES, *three, later=later)["files"].get("a.py")


@pytest.mark.parametrize(
    ("base", "head", "upload", "result"),
    [
        (10, 12, 13, 15),
        (10, 10, 13, 13),
        (10, 12, 1, 12),
        (10, 3, 1, 10),
        (1.5, 2, 2.5, 3.0),
        (-3, -2, -1, 0),
    ],
)
def test_mentions_grow_by_the_counts_of_both(base: float, head: float, upload: float, result: float) -> None:
    """And never shrink: a side that counts less has begun anew."""
    assert merged_entity(entity(base), entity(head, h=1), entity(upload, u=1))["mentions"] == result


@pytest.mark.parametrize("base", [None, {}])
def test_mentions_without_a_base_are_not_added_up(base: Any) -> None:
    """They would be counted twice when the same is merged again."""
    assert merged_entity(base, entity(4), entity(7))["mentions"] == 7


@pytest.mark.parametrize("large", [2**60, 10**4200, 1e308])
def test_mentions_too_large_to_count_with_are_not_added_up(large: float) -> None:
    """No number comes of it that cannot be written."""
    upload = large - 1 if isinstance(large, int) else 9e307
    assert merged_entity(entity(0), entity(large, h=1), entity(upload, u=1))["mentions"] == large


EARLIER, LATER = "2026-02-01T12:00:00+02:00", "2026-02-01T11:00:00.000Z"


@pytest.mark.parametrize(("one", "other"), [(EARLIER, LATER), (None, LATER), ("yesterday", LATER)])
def test_the_later_instant_stays(one: str | None, other: str) -> None:
    """On whichever side; a text that is no time is earlier than any."""
    head, upload = {"lastSeen": one, "h": 1}, {"lastSeen": other, "u": 1}
    assert merged_entity(None, head, upload)["lastSeen"] == other
    assert merged_entity(None, upload, head)["lastSeen"] == other


def test_the_newest_five_contexts_of_both_stay() -> None:
    """In the order of their times."""
    old = [context(minute) for minute in range(1, 6)]
    base, head = entity(5, *old), entity(6, *old[1:], context(9))
    upload = entity(7, *old[2:], context(8), context(10))
    assert merged_entity(base, head, upload)["contexts"] == [*old[3:], context(8), context(9), context(10)]


def test_a_context_that_one_side_removed_does_not_come_back() -> None:
    """Though there would be room for it: perhaps it was secret."""
    secret = context(2, "secret")
    base, head = entity(1, context(1), secret), entity(2, context(1), secret, context(3))
    upload = entity(1, context(1), edited=True)
    assert merged_entity(base, head, upload)["contexts"] == [context(1), context(3)]


def test_contexts_without_a_time_go_first() -> None:
    """They count as the oldest."""
    head, upload = entity(1, *[context(minute) for minute in range(5)]), {"contexts": [{"ts": "now"}, {}]}
    assert merged_entity(None, head, upload)["contexts"] == head["contexts"]


@pytest.mark.parametrize(
    ("base", "one", "other", "result"),
    [
        pytest.param(entity(9), entity(9), entity(2), entity(2), id="changed, mentions may even have shrunk"),
        pytest.param(entity(9), entity(9), None, None, id="pruned, and not touched by the other"),
        pytest.param(entity(9), entity(10), None, entity(10), id="pruned, and changed by the other"),
        pytest.param(None, {"h": 1}, {"mentions": 2}, {"h": 1, "mentions": 2}, id="mentions on one side"),
    ],
)
def test_an_entity_is_as_the_changed_side_has_it(base: Any, one: Any, other: Any, result: Any) -> None:
    """Whichever side that is."""
    assert merged_entity(base, one, other) == result
    assert merged_entity(base, other, one) == result


def test_entities_of_all_kinds_are_merged_by_name() -> None:
    """A name can be in two groups."""
    kinds = ("files", "functions", "errors", "packages")
    base = {kind: {"a": entity(1)} for kind in kinds}
    head, upload = ({kind: {"a": entity(2), side: entity(1)} for kind in kinds} for side in "hu")
    assert merged_json(ENTITIES, base, head, upload) == {
        kind: {"a": entity(2), "h": entity(1), "u": entity(1)} for kind in kinds
    }


@pytest.mark.parametrize("key", ["lastUpdated", "lastPruned"])
def test_the_later_time_of_the_whole_stays(key: str) -> None:
    """Whichever side has it."""
    early, late = {key: "2026-02-01T10:00:00.000Z"}, {key: "2026-02-02T10:00:00.000Z", "h": 1}
    assert merged_json(ENTITIES, None, early, late)[key] == late[key]
    assert merged_json(ENTITIES, None, late, early)[key] == late[key]


@pytest.mark.parametrize("later", [True, False])
def test_an_unknown_key_that_both_changed_is_of_the_side_updated_later(later: bool) -> None:
    """Whichever upload came later."""
    head = {"lastUpdated": "2026-02-02T10:00:00.000Z", "x": "head"}
    upload = {"lastUpdated": "2026-02-01T10:00:00.000Z", "x": "upload"}
    assert merged_json(ENTITIES, None, head, upload, later=later)["x"] == "head"
    assert merged_json(ENTITIES, None, upload, head, later=later)["x"] == "head"


def test_the_files_of_two_machines_have_all_entities_of_both() -> None:
    """At the size that they really have."""
    ours, theirs = plugin_files.entities(1), plugin_files.entities(2)
    document = json.loads(merged(ENTITIES, None, ours, theirs))
    for kind in ("files", "functions", "errors", "packages"):
        assert document[kind].keys() == json.loads(ours)[kind].keys() | json.loads(theirs)[kind].keys()
