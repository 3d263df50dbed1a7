"""`remembered.json`: what either side had remembered, and did not forget."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mneme.merge import merge
from mneme.model import FileName
from tests.merge.looking import merged, merged_json
from tests.merge.strategies import LIMIT

REMEMBERED = FileName.REMEMBERED


def item(content: str, **more: Any) -> dict[str, Any]:
    """Something that was remembered."""
    return {"ts": "2026-02-01T10:00:00.000Z", "type": "fact", "content": content, **more}


A, B, C, D = map(item, "abcd")


def test_what_either_side_appended_is_kept() -> None:
    """That of the head first."""
    assert merged_json(REMEMBERED, [A], [A, B], [A, C]) == [A, B, C]


def test_what_either_side_put_in_front_stays_in_front() -> None:
    """Additions go where they were in relation to what both have."""
    assert merged_json(REMEMBERED, [A], [B, A], [C, A]) == [B, C, A]


def test_what_either_side_removed_is_gone() -> None:
    """Each side may have removed another item."""
    assert merged_json(REMEMBERED, [A, B, C], [B, C], [A, B]) == [B]


def test_without_a_base_nothing_is_removed() -> None:
    """Without a base, a missing item was not removed."""
    assert merged_json(REMEMBERED, None, [A, B], [B, C]) == [A, B, C]


def test_further_keys_of_one_item_are_merged() -> None:
    """An item with other keys changed is still one item, kept once."""
    base, head, upload = item("a", seen=1), item("a", seen=2), item("a", seen=1, pinned=True)
    assert merged_json(REMEMBERED, [base], [head], [upload]) == [item("a", seen=2, pinned=True)]


@pytest.mark.parametrize("later", [True, False])
def test_a_further_key_that_both_changed_is_that_of_the_later_upload(later: bool) -> None:
    """Nothing else decides."""
    head, upload = item("a", seen=2), item("a", seen=3)
    assert merged_json(REMEMBERED, None, [head], [upload], later=later) == [upload if later else head]


def test_copies_of_an_item_are_merged_one_by_one() -> None:
    """The second is what only the upload has."""
    second = item("a", seen=2)
    assert merged_json(REMEMBERED, [A], [A, B], [A, second]) == [A, B, second]


def test_a_copy_whose_number_changed_on_both_sides_is_kept() -> None:
    """Even where it is the one that the head removed."""
    base, upload = [A, item("a", seen=2)], [A, item("a", seen=2), item("a", seen=3)]
    assert merged_json(REMEMBERED, base, [A], upload) == upload


def test_items_that_do_not_say_what_they_are_are_kept_whole() -> None:
    """They have nothing to be known by."""
    assert merged_json(REMEMBERED, None, [{"ts": "x"}], [{"ts": "x", "a": 1}]) == [
        {"ts": "x"},
        {"ts": "x", "a": 1},
    ]


def test_one_and_true_are_two_values() -> None:
    """Python would say that they are equal."""
    assert merged_json(REMEMBERED, None, [{"a": 1}], [{"a": True}, {"a": 1.0}]) == [
        {"a": 1},
        {"a": True},
        {"a": 1.0},
    ]


def test_the_same_in_another_layout_changes_nothing() -> None:
    """The head stays, byte for byte."""
    head, upload = json.dumps([A, B]).encode(), json.dumps([B, A], indent=4).encode()
    assert merged(REMEMBERED, None, head, upload) == head


def test_an_upload_that_lacks_nothing_becomes_the_head_as_it_is() -> None:
    """Byte for byte, in its own order and layout."""
    head, upload = json.dumps([A, B]).encode(), json.dumps([C, B, A], indent=4).encode()
    assert merged(REMEMBERED, None, head, upload) == upload


@pytest.mark.parametrize("later", [True, False])
def test_a_merge_is_laid_out_like_the_later_upload(later: bool) -> None:
    """Indented by two with a newline at the end, or neither."""
    indented = json.dumps([B, C], indent=2).encode() + b"\n"
    result = merged(REMEMBERED, None, json.dumps([A, B]).encode(), indented, later=later)
    one_line = json.dumps([A, B, C], separators=(",", ":")).encode()
    assert result == (json.dumps([A, B, C], indent=2).encode() + b"\n" if later else one_line)


def test_text_in_other_scripts_is_written_as_it_is() -> None:
    """No escapes that would make it larger."""
    head, upload = (json.dumps([one]).encode() for one in (A, item("μνήμη 🧠")))
    assert "μνήμη 🧠".encode() in merged(REMEMBERED, None, head, upload)


def test_a_base_that_is_not_of_its_form_is_not_known() -> None:
    """Nothing is removed then."""
    head, upload = json.dumps([A]).encode(), json.dumps([B]).encode()
    assert json.loads(merged(REMEMBERED, b'{"not": "a list"}', head, upload)) == [A, B]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b"[null]",
        b'[{"ts": 1}]',
        b'[{"content": null}]',
        b"[{}",
        b"[{}] [{}]",
        b"\xef\xbb\xbf[]",
        b'[{"a": NaN}]',
        b'[{"a": 1e400}]',
        b'[{"a": "\xff"}]',
        b'[{"a": ' + b"[" * 100_000,
        b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b'[{"a": ' + b"9" * 10_000 + b"}]",
    ],
)
def test_what_is_not_of_its_form_is_not_merged(content: bytes) -> None:
    """On either side."""
    assert merge(REMEMBERED, None, b"[{}]", content, upload_is_later=True, max_bytes=LIMIT) is None
    assert merge(REMEMBERED, None, content, b"[{}]", upload_is_later=True, max_bytes=LIMIT) is None


def test_what_is_nested_as_deep_as_can_be_does_not_raise() -> None:
    """At some depth a document is not merged any more, without an error."""
    for depth in range(0, 1200, 3):
        head, upload = (b'[{"a":' * depth + leaf + b"}]" * depth for leaf in (b"[]", b"[1]"))
        result = merge(REMEMBERED, None, head, upload, upload_is_later=True, max_bytes=LIMIT)
        assert result is None or json.loads(result)


def test_a_merge_that_is_too_large_is_not_made() -> None:
    """Stock clients could not upload it again."""
    head, upload = json.dumps([A]).encode(), json.dumps([B]).encode()
    assert merge(REMEMBERED, None, head, upload, upload_is_later=True, max_bytes=150) is None
    assert merge(REMEMBERED, None, head, upload, upload_is_later=True, max_bytes=250) is not None


def test_numbers_of_any_size_are_kept() -> None:
    """They are not rounded on the way."""
    large = 10**4200
    head = f'[{{"a": {large}}}]'.encode()
    assert str(large).encode() in merged(REMEMBERED, None, head, json.dumps([B]).encode())
