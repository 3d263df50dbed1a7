"""Merges of `remembered.json`: items that either side had remembered, and did not forget."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mneme.merge import merge
from mneme.model import FileName
from tests.merge.looking import merged, merged_json

REMEMBERED = FileName.REMEMBERED


def item(content: str, **more: Any) -> dict[str, Any]:
    """A thing that was remembered."""
    return {"ts": "2026-02-01T10:00:00.000Z", "type": "fact", "content": content, **more}


A, B, C, D = map(item, "abcd")
SEEN, SEEN_AGAIN = item("a", seen=2), item("a", seen=3)


@pytest.mark.parametrize(
    ("base", "head", "upload", "result"),
    [
        pytest.param([A], [A, B], [A, C], [A, B, C], id="additions stay, those of the head first"),
        pytest.param([A], [B, A], [C, A], [B, C, A], id="additions in front stay in front"),
        pytest.param([A, B, C], [B, C], [A, B], [B], id="each side removed another item"),
        pytest.param([A], [A, B], [A, SEEN], [A, B, SEEN], id="copies are merged one by one"),
        pytest.param(
            [A, SEEN], [A], [A, SEEN, SEEN_AGAIN], [A, SEEN, SEEN_AGAIN], id="a changed number of copies"
        ),
        pytest.param(
            None, [{"ts": "x"}], [{"ts": "x", "a": 1}], [{"ts": "x"}, {"ts": "x", "a": 1}], id="no content"
        ),
        pytest.param(
            [item("a", seen=1)],
            [item("a", seen=2)],
            [item("a", seen=1, pinned=True)],
            [item("a", seen=2, pinned=True)],
            id="further keys of one item",
        ),
    ],
)
def test_items_are_merged_by_their_words(base: Any, head: Any, upload: Any, result: Any) -> None:
    """An item without a content has nothing to be known by, and is kept whole."""
    assert merged_json(REMEMBERED, base, head, upload) == result


def test_without_a_base_nothing_is_removed() -> None:
    """A base that is not of its form is none."""
    assert merged_json(REMEMBERED, None, [A, B], [B, C]) == [A, B, C]
    head, upload = json.dumps([A]).encode(), json.dumps([B]).encode()
    assert json.loads(merged(REMEMBERED, b'{"not": "a list"}', head, upload)) == [A, B]


@pytest.mark.parametrize("later", [True, False])
def test_a_further_key_that_both_changed_is_that_of_the_later_upload(later: bool) -> None:
    """Nothing else decides."""
    assert merged_json(REMEMBERED, None, [SEEN], [SEEN_AGAIN], later=later) == [SEEN_AGAIN if later else SEEN]


def test_one_and_true_are_two_values() -> None:
    """Python would say that they are equal."""
    result = merged_json(REMEMBERED, None, [{"a": 1}], [{"a": True}, {"a": 1.0}])
    assert json.dumps(result) == '[{"a": 1}, {"a": true}, {"a": 1.0}]'


def test_a_side_that_has_all_of_the_other_stays_byte_for_byte() -> None:
    """In its own order and layout; a head with the same items stays, too."""
    two, three = json.dumps([A, B]).encode(), json.dumps([C, B, A], indent=4).encode()
    assert merged(REMEMBERED, None, two, json.dumps([B, A], indent=4).encode()) == two
    assert merged(REMEMBERED, None, two, three) == three


@pytest.mark.parametrize("later", [True, False])
def test_a_merge_is_laid_out_like_the_later_upload(later: bool) -> None:
    """Indented by two with a newline at the end, or neither."""
    indented = json.dumps([B, C], indent=2).encode() + b"\n"
    result = merged(REMEMBERED, None, json.dumps([A, B]).encode(), indented, later=later)
    one_line = json.dumps([A, B, C], separators=(",", ":")).encode()
    assert result == (json.dumps([A, B, C], indent=2).encode() + b"\n" if later else one_line)


@pytest.mark.parametrize("odd", ["μνήμη 🧠", 10**4200])
def test_text_in_other_scripts_and_large_numbers_are_written_as_they_are(odd: Any) -> None:
    """No escapes that would make them larger, and no rounding."""
    head = f'[{{"a": {json.dumps(odd, ensure_ascii=False)}}}]'.encode()
    assert str(odd).encode() in merged(REMEMBERED, None, head, json.dumps([B]).encode())


def test_a_merge_that_is_too_large_is_not_made() -> None:
    """Stock clients could not upload it again."""
    head, upload = json.dumps([A]).encode(), json.dumps([B]).encode()
    assert merge(REMEMBERED, None, head, upload, upload_is_later=True, max_bytes=150) is None
    assert merge(REMEMBERED, None, head, upload, upload_is_later=True, max_bytes=250) is not None
