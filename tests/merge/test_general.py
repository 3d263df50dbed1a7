"""Merges of unknown keys, of any depth and size, and of malformed contents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mneme.merge import is_damaged, is_well_formed, merge
from mneme.merge.bounds import MAX_DOCUMENT
from mneme.model import FileName
from tests.merge.looking import cannot_merge, merged, merged_json
from tests.merge.strategies import LIMIT


def merged_value(base: Any, head: Any, upload: Any, *, later: bool = True) -> Any:
    """The merge of an unknown key's value."""
    three = ({"x": value} for value in (base, head, upload))
    return merged_json(FileName.SUMMARY_JSON, *three, later=later)["x"]


@pytest.mark.parametrize("other", [2, 1.0, True, "1", None, [1], {"a": 1}])
def test_a_value_that_one_side_changed_stays_so(other: Any) -> None:
    """Even into what Python would call the same."""
    for result in (merged_value(1, other, 1), merged_value(1, 1, other)):
        assert (type(result), result) == (type(other), other)


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize(
    ("head", "upload"), [(1, 2), ([1], {"a": 1}), (None, "x"), ({"a": 1}, [1]), (1, True)]
)
def test_a_value_that_both_changed_is_that_of_the_later_upload(head: Any, upload: Any, later: bool) -> None:
    """Either value, whole."""
    result, expected = merged_value("base", head, upload, later=later), upload if later else head
    assert (type(result), result) == (type(expected), expected)


@pytest.mark.parametrize(
    ("base", "head", "upload", "result"),
    [
        pytest.param(
            [{"a": 1}, 2, 3], [{"a": 1}, 2, 4], [0, {"b": 1}, 2, 3], [0, {"b": 1}, 2, 4], id="whole items"
        ),
        pytest.param(
            [1, 2, 3], [3, 2, 1, 8], [1, 9, 2, 3], [3, 9, 2, 1, 8], id="the order is that of the head"
        ),
        pytest.param(
            {"a": 1, "k": 1}, {"k": 1, "h": 1}, {"a": 2, "k": 1}, {"k": 1, "h": 1, "a": 2}, id="changed here"
        ),
        pytest.param(
            {"a": 1, "k": 1}, {"a": 2, "k": 1}, {"k": 1, "u": 1}, {"a": 2, "k": 1, "u": 1}, id="changed there"
        ),
        pytest.param("text", {"a": 1}, {"b": 1}, {"a": 1, "b": 1}, id="a base of another kind is none"),
        pytest.param({"a": 1}, ["a"], ["b"], ["a", "b"], id="a base of another kind is none for arrays"),
        pytest.param(
            {"a": 1, "b": 1, "c": {"d": 1, "e": 1}},
            {"c": {"d": 2, "e": 1}, "b": 1, "n": 1},
            {"m": 1, "a": 1, "b": 2, "c": {"d": 1}},
            {"c": {"d": 2}, "b": 2, "n": 1, "m": 1},
            id="objects by key",
        ),
    ],
)
def test_objects_are_merged_by_key_and_arrays_by_item(base: Any, head: Any, upload: Any, result: Any) -> None:
    """The order is that of the head; a change outranks a removal."""
    found = merged_value(base, head, upload)
    assert found == result
    assert list(found) == list(result)


@pytest.mark.parametrize("file", [FileName.SUMMARY_JSON, FileName.ENTITIES, FileName.REMEMBERED])
def test_a_document_that_is_too_large_is_not_merged(file: FileName) -> None:
    """On either side, by a single byte; as a base it is none."""
    form = b'[{"x": %d}]' if file is FileName.REMEMBERED else b'{"x": %d}'
    one, other, third = form % 1, form % 2, form % 3
    largest = one.ljust(MAX_DOCUMENT)
    assert is_well_formed(file, largest)
    assert merged(file, None, other, largest)
    large = largest + b" "
    assert not is_well_formed(file, large)
    assert cannot_merge(file, other, large)
    assert merged(file, large, other, third) == merged(file, None, other, third)


@pytest.mark.parametrize("form", [b'[{"a":%b}]', b'{"a":%b}'])
def test_documents_nested_as_deep_as_can_be_do_not_raise(form: bytes) -> None:
    """At some depth a document is not merged any more, without an error."""
    file = FileName.REMEMBERED if form.startswith(b"[") else FileName.SUMMARY_JSON
    before, after = form.split(b"%b")
    results = []
    for depth in range(1, 1200, 3):
        head, upload = (before * depth + leaf + after * depth for leaf in (b"[1]", b"[2]"))
        results.append(merge(file, None, head, upload, upload_is_later=True, max_bytes=LIMIT))
    assert results[0] is not None
    assert results[-1] is None


@pytest.mark.parametrize("later", [True, False])
def test_values_nested_very_deep_are_merged_whole(later: bool) -> None:
    """Each level costs a look at all that is within."""
    head: Any = {"h": 1}
    upload: Any = {"u": 1}
    for _ in range(30):
        head, upload = {"a": head}, {"a": upload}
    assert merged_value(None, head, upload, later=later) == (upload if later else head)


@pytest.mark.parametrize(
    ("file", "document"),
    [
        (FileName.REMEMBERED, None),
        (FileName.REMEMBERED, {}),
        (FileName.REMEMBERED, [1]),
        (FileName.REMEMBERED, [None]),
        (FileName.REMEMBERED, [{"ts": 1}]),
        (FileName.REMEMBERED, [{"content": None}]),
        (FileName.SUMMARY_JSON, []),
        (FileName.SUMMARY_JSON, {"projectContext": 5}),
        (FileName.SUMMARY_JSON, {"keyDecisions": None}),
        (FileName.SUMMARY_JSON, {"keyDecisions": {}}),
        (FileName.SUMMARY_JSON, {"recentWork": ["x"]}),
        (FileName.SUMMARY_JSON, {"currentState": {"a": 1}}),
        (FileName.SUMMARY_JSON, {"currentState": [[]]}),
        (FileName.SUMMARY_JSON, {"lastUpdated": 5}),
        (FileName.SUMMARY_JSON, {"lastEntryIndex": "5"}),
        (FileName.SUMMARY_JSON, {"lastEntryIndex": True}),
        (FileName.ENTITIES, []),
        (FileName.ENTITIES, {"files": []}),
        (FileName.ENTITIES, {"files": None}),
        (FileName.ENTITIES, {"packages": {"a": None}}),
        (FileName.ENTITIES, {"errors": {"a": {"mentions": "2"}}}),
        (FileName.ENTITIES, {"functions": {"a": {"mentions": True}}}),
        (FileName.ENTITIES, {"files": {"a": {"contexts": {}}}}),
        (FileName.ENTITIES, {"files": {"a": {"contexts": ["x"]}}}),
        (FileName.ENTITIES, {"files": {"a": {"lastSeen": 5}}}),
        (FileName.ENTITIES, {"lastUpdated": 5}),
        (FileName.ENTITIES, {"lastPruned": []}),
    ],
)
def test_a_document_that_is_not_of_its_form_is_not_merged(file: FileName, document: Any) -> None:
    """On either side."""
    empty = b"[{}]" if file is FileName.REMEMBERED else b"{}"
    assert cannot_merge(file, empty, json.dumps(document).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[{}",
        b"[{}] [{}]",
        b'[{"a": NaN}]',
        b'[{"a": 1e400}]',
        b'[{"a": "\xff"}]',
        b'[{"a": ' + b"[" * 100_000,
        b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b'[{"a": ' + b"9" * 10_000 + b"}]",
    ],
)
def test_a_text_that_cannot_be_read_is_not_merged(content: bytes) -> None:
    """On either side."""
    assert cannot_merge(FileName.REMEMBERED, b"[{}]", content)


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
def test_contents_that_the_plugin_cannot_write_are_bad(file: FileName, content: bytes, damaged: bool) -> None:
    """Other JSON is no damage, nor are some bad lines in a log."""
    assert is_damaged(file, content) is damaged
