"""Keys that the plugin may write one day: merged without knowing what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from mneme.merge import is_damaged, is_well_formed, merge
from mneme.merge.bounds import MAX_DOCUMENT
from mneme.model import FileName
from tests.merge.looking import merged_json
from tests.merge.strategies import LIMIT


def merged_value(base: Any, head: Any, upload: Any, *, later: bool = True) -> Any:
    """The merge of an unknown key's value."""
    three = ({"x": value} for value in (base, head, upload))
    return merged_json(FileName.SUMMARY_JSON, *three, later=later)["x"]


@pytest.mark.parametrize("other", [2, 1.0, True, "1", None, [1], {"a": 1}])
def test_what_one_side_changed_is_as_it_has_it(other: Any) -> None:
    """Even into what Python would call the same."""
    for result in (merged_value(1, other, 1), merged_value(1, 1, other)):
        assert (type(result), result) == (type(other), other)


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize(
    ("head", "upload"), [(1, 2), ([1], {"a": 1}), (None, "x"), ({"a": 1}, [1]), (1, True)]
)
def test_what_both_changed_and_nothing_joins_is_of_the_later_upload(
    head: Any, upload: Any, later: bool
) -> None:
    """Either value, whole."""
    result, expected = merged_value("base", head, upload, later=later), upload if later else head
    assert (type(result), result) == (type(expected), expected)


def test_objects_are_merged_by_key() -> None:
    """In the order of the head, then of the upload."""
    base = {"a": 1, "b": 1, "c": {"d": 1, "e": 1}}
    head, upload = {"c": {"d": 2, "e": 1}, "b": 1, "n": 1}, {"m": 1, "a": 1, "b": 2, "c": {"d": 1}}
    result = merged_value(base, head, upload)
    assert result == {"c": {"d": 2}, "b": 2, "n": 1, "m": 1}
    assert list(result) == ["c", "b", "n", "m"]


def test_arrays_are_merged_by_whole_items() -> None:
    """Items keep their order of either side."""
    base, head, upload = [{"a": 1}, 2, 3], [{"a": 1}, 2, 4], [0, {"a": 1, "b": 1}, 2, 3]
    assert merged_value(base, head, upload) == [0, {"a": 1, "b": 1}, 2, 4]


def test_the_order_is_that_of_the_head() -> None:
    """An item of the upload goes before its successor there."""
    assert merged_value([1, 2, 3], [3, 2, 1, 8], [1, 9, 2, 3]) == [3, 9, 2, 1, 8]


def test_what_one_side_removed_and_the_other_changed_stays() -> None:
    """As the other has it."""
    base = {"a": 1, "k": 1}
    assert merged_value(base, {"k": 1, "h": 1}, {"a": 2, "k": 1})["a"] == 2
    assert merged_value(base, {"a": 2, "k": 1}, {"k": 1, "u": 1})["a"] == 2


def test_what_was_of_another_kind_before_has_no_base() -> None:
    """Nothing is removed for not being in it."""
    assert merged_value("text", {"a": 1}, {"b": 1}) == {"a": 1, "b": 1}
    assert merged_value({"a": 1}, ["a"], ["b"]) == ["a", "b"]


@pytest.mark.parametrize("file", [FileName.SUMMARY_JSON, FileName.ENTITIES, FileName.REMEMBERED])
def test_a_document_that_is_too_large_is_not_merged(file: FileName) -> None:
    """On either side, by a single byte; as a base it is none."""
    one = b'[{"x": 1}]' if file is FileName.REMEMBERED else b'{"x": 1}'
    largest = one + b" " * (MAX_DOCUMENT - len(one))
    other = one.replace(b"1", b"2")
    merged = merge(file, None, other, largest, upload_is_later=True, max_bytes=LIMIT)
    assert merged is not None
    assert is_well_formed(file, largest)
    large = largest + b" "
    assert not is_well_formed(file, large)
    assert merge(file, None, other, large, upload_is_later=True, max_bytes=LIMIT) is None
    assert merge(file, None, large, other, upload_is_later=True, max_bytes=LIMIT) is None
    three = one.replace(b"1", b"3")
    unknown = merge(file, None, other, three, upload_is_later=True, max_bytes=LIMIT)
    assert unknown is not None
    assert merge(file, large, other, three, upload_is_later=True, max_bytes=LIMIT) == unknown


def test_what_is_nested_as_deep_as_can_be_does_not_raise() -> None:
    """At some depth a document is not merged any more, without an error."""
    results = []
    for depth in range(100, 1100):
        head, upload = (b'{"x":' * depth + leaf + b"}" * depth for leaf in (b"[1]", b"[2]"))
        results.append(
            merge(FileName.SUMMARY_JSON, None, head, upload, upload_is_later=True, max_bytes=LIMIT)
        )
    assert results[0] is not None
    assert results[-1] is None


@pytest.mark.parametrize("later", [True, False])
def test_what_is_nested_very_deep_is_merged_whole(later: bool) -> None:
    """Each level costs a look at all that is within."""
    head: Any = {"h": 1}
    upload: Any = {"u": 1}
    for _ in range(30):
        head, upload = {"a": head}, {"a": upload}
    assert merged_value(None, head, upload, later=later) == (upload if later else head)


@pytest.mark.parametrize(
    ("file", "content", "damaged"),
    [
        (FileName.ENTITIES, b"", True),
        (FileName.ENTITIES, b'{"files":', True),
        (FileName.ENTITIES, b"[1]", False),
        (FileName.ENTITIES, b"[" * 100_000, False),
        (FileName.SUMMARY_JSON, b"\xff", True),
        (FileName.LOG, b"", True),
        (FileName.LOG, b"\n", True),
        (FileName.LOG, b"\0" * 10, True),
        (FileName.LOG, b'half a line\n{"a":1}\n', False),
        (FileName.SUMMARY_MD, b"\0", True),
        (FileName.SUMMARY_MD, b"{", False),
    ],
)
def test_what_the_plugin_cannot_have_written_is_damaged(
    file: FileName, content: bytes, damaged: bool
) -> None:
    """Other JSON is no damage, nor are some bad lines in a log."""
    assert is_damaged(file, content) is damaged
