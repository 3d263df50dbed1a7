"""`summary.json`: lists by item, states by topic, text by the side that was updated later."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mneme.merge import merge
from mneme.model import FileName
from tests.merge.looking import merged_json
from tests.merge.strategies import LIMIT

SUMMARY = FileName.SUMMARY_JSON
EARLY, LATE = "2026-02-02T00:30:00+02:00", "2026-02-01T23:00:00.000Z"


def state(topic: str, status: str, **more: Any) -> dict[str, Any]:
    """How a topic stands."""
    return {"topic": topic, "status": status, **more}


def merged_key(key: str, base: Any, head: Any, upload: Any, *, later: bool = True) -> Any:
    """The merge of one key."""
    return merged_json(SUMMARY, *({key: value} for value in (base, head, upload)), later=later)[key]


@pytest.mark.parametrize("key", ["keyDecisions", "recentWork"])
def test_lists_are_merged_by_item(key: str) -> None:
    """Added items stay, removed items are gone."""
    a, b, c, d = ({"date": "2026-02-01", "summary": word} for word in "abcd")
    assert merged_key(key, [a, b], [a, b, c], [b, d]) == [b, c, d]


def test_an_item_that_one_side_edited_is_not_kept_twice() -> None:
    """A changed item counts as a removed and an added one."""
    old, new, other = ({"decision": word} for word in ("old", "new", "other"))
    assert merged_key("keyDecisions", [old], [new], [old, other]) == [new, other]


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("head_is_late", [True, False])
def test_what_both_changed_is_of_the_side_updated_later(later: bool, head_is_late: bool) -> None:
    """Whichever upload came later; times are compared as instants."""
    head = {
        "lastUpdated": LATE if head_is_late else EARLY,
        "projectContext": "h",
        "currentState": [state("a", "h")],
    }
    upload = {
        "lastUpdated": EARLY if head_is_late else LATE,
        "projectContext": "u",
        "currentState": [state("a", "u")],
    }
    late = head if head_is_late else upload
    base = {"projectContext": "b", "currentState": [state("a", "b")]}
    result = merged_json(SUMMARY, base, head, upload, later=later)
    assert result == late


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("updated", [EARLY, None, "yesterday"])
def test_what_both_changed_is_of_the_later_upload_else(later: bool, updated: str | None) -> None:
    """Where the sides do not say which of them was updated later."""
    head, upload = (
        {"projectContext": "h", "lastUpdated": updated},
        {"projectContext": "u", "lastUpdated": updated},
    )
    assert merged_json(SUMMARY, None, head, upload, later=later) == (upload if later else head)


def test_a_topic_keeps_its_place_when_it_is_changed() -> None:
    """Each side may have changed another."""
    base = [state("a", "1"), state("b", "1")]
    head, upload = [state("a", "2"), state("b", "1")], [state("a", "1"), state("b", "2")]
    assert merged_key("currentState", base, head, upload) == [state("a", "2"), state("b", "2")]


def test_a_topic_that_both_changed_is_not_mixed() -> None:
    """Its status and what else is said of it belong together."""
    head, upload = state("a", "2", by="head"), state("a", "3")
    assert merged_key("currentState", [state("a", "1")], [head], [upload]) == [upload]


def test_a_topic_that_one_side_removed_is_gone() -> None:
    """The other has added one."""
    a, b, c = (state(topic, "1") for topic in "abc")
    assert merged_key("currentState", [a, b], [b], [a, b, c]) == [b, c]


@pytest.mark.parametrize(
    "odd", [[state("a", "2"), state("a", "3")], [{"status": "2"}], [state("a", "2"), {"topic": 5}]]
)
def test_states_without_topics_of_their_own_are_merged_by_item(odd: Any) -> None:
    """On whichever side they are."""
    a, b = state("a", "1"), state("b", "1")
    assert merged_key("currentState", [a, b], [a], [b, *odd]) == odd
    assert merged_key("currentState", [a, *odd], [*odd, b], [a]) == [b]


def test_no_entry_is_left_out_of_the_next_summary() -> None:
    """The smaller index stays: later entries are not yet summarized by both."""
    head, upload = {"lastEntryIndex": 40, "h": 1}, {"lastEntryIndex": 30}
    assert merged_json(SUMMARY, {"lastEntryIndex": 20}, head, upload)["lastEntryIndex"] == 30
    assert merged_json(SUMMARY, None, upload, head)["lastEntryIndex"] == 30


def test_an_index_that_only_one_side_has_stays() -> None:
    """There is nothing to compare it with."""
    assert (
        merged_json(SUMMARY, None, {"lastEntryIndex": 5, "h": 1}, {"lastEntryIndex": None})["lastEntryIndex"]
        == 5
    )
    assert merged_json(SUMMARY, None, {"lastEntryIndex": None, "h": 1}, {"u": 1})["lastEntryIndex"] is None


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"projectContext": 5},
        {"keyDecisions": None},
        {"keyDecisions": {}},
        {"recentWork": ["x"]},
        {"currentState": {"a": 1}},
        {"currentState": [[]]},
        {"lastUpdated": 5},
        {"lastEntryIndex": "5"},
        {"lastEntryIndex": True},
    ],
)
def test_what_is_not_of_its_form_is_not_merged(content: Any) -> None:
    """On either side."""
    spoiled = json.dumps(content).encode()
    assert merge(SUMMARY, None, b"{}", spoiled, upload_is_later=True, max_bytes=LIMIT) is None
    assert merge(SUMMARY, None, spoiled, b"{}", upload_is_later=True, max_bytes=LIMIT) is None
