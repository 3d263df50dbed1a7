"""`summary.json`: lists by item, states by topic, text by the side that was updated later."""

from __future__ import annotations

from typing import Any

import pytest

from mneme.model import FileName
from tests.merge.looking import merged_json

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
def test_a_conflict_goes_to_the_side_updated_later(later: bool, head_is_late: bool) -> None:
    """Whichever upload came later; times are compared as instants."""
    updated = (LATE, EARLY) if head_is_late else (EARLY, LATE)
    base, head, upload = (
        {"projectContext": side, "currentState": [state("a", side)], "lastUpdated": time}
        for side, time in zip("bhu", (None, *updated), strict=True)
    )
    assert merged_json(SUMMARY, base, head, upload, later=later) == (head if head_is_late else upload)


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("updated", [EARLY, None, "yesterday"])
def test_another_conflict_goes_to_the_later_upload(later: bool, updated: str | None) -> None:
    """Where the sides do not say which of them was updated later."""
    head, upload = ({"projectContext": side, "lastUpdated": updated} for side in "hu")
    assert merged_json(SUMMARY, None, head, upload, later=later) == (upload if later else head)


A, B, C = (state(topic, "1") for topic in "abc")


@pytest.mark.parametrize(
    ("base", "head", "upload", "result"),
    [
        pytest.param(
            [A, B],
            [state("a", "2"), B],
            [A, state("b", "2")],
            [state("a", "2"), state("b", "2")],
            id="changed",
        ),
        pytest.param([A], [state("a", "2", by="head")], [state("a", "3")], [state("a", "3")], id="not mixed"),
        pytest.param([A, B], [B], [A, B, C], [B, C], id="removed and added"),
    ],
)
def test_states_are_merged_by_topic(base: Any, head: Any, upload: Any, result: Any) -> None:
    """A topic keeps its place, and is not mixed of two sides."""
    assert merged_key("currentState", base, head, upload) == result


@pytest.mark.parametrize(
    "odd", [[state("a", "2"), state("a", "3")], [{"status": "2"}], [state("a", "2"), {"topic": 5}]]
)
def test_states_without_topics_of_their_own_are_merged_by_item(odd: Any) -> None:
    """On whichever side they are."""
    assert merged_key("currentState", [A, B], [A], [B, *odd]) == odd
    assert merged_key("currentState", [A, *odd], [*odd, B], [A]) == [B]


@pytest.mark.parametrize(
    ("base", "head", "upload", "result"),
    [(20, 40, 30, 30), (None, 30, 40, 30), (None, 5, None, 5), (None, None, 5, 5), (None, None, None, None)],
)
def test_the_smaller_index_stays(
    base: int | None, head: int | None, upload: int | None, result: int | None
) -> None:
    """Later entries are not yet summarized by both sides."""
    three = ({"lastEntryIndex": base}, {"lastEntryIndex": head, "h": 1}, {"lastEntryIndex": upload, "u": 1})
    assert merged_json(SUMMARY, *three)["lastEntryIndex"] == result
