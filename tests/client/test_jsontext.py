"""JSON texts that are changed: what is the same stays to the letter, what is new looks like its neighbours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.client.jsontext import laid_out, parsed, patched

_SCALARS = st.none() | st.booleans() | st.integers() | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


@given(_VALUES, _VALUES, st.sampled_from([None, 1, 2, 4, "\t"]))
def test_a_patched_text_says_what_it_is_to_say(before: Any, after: Any, indent: Any) -> None:
    """Whatever becomes of whatever, however it is laid out, is read back as it should be."""
    text = json.dumps(before, indent=indent)
    assert parsed(patched(text, after)) == after


@given(_VALUES, st.sampled_from([None, 1, 2, 4, "\t"]), st.booleans())
def test_the_same_value_is_the_same_text(value: Any, indent: Any, ascii_only: bool) -> None:
    """Where nothing changes, no byte does."""
    text = f" {json.dumps(value, indent=indent, ensure_ascii=ascii_only)} \r\n"
    assert patched(text, value) == text


@given(st.dictionaries(st.text(), _VALUES), st.text(), _VALUES, st.sampled_from([1, 2, 4, "\t"]))
def test_what_is_added_to_a_laid_out_text_is_laid_out_as_it_is(
    before: dict[str, Any], key: str, value: Any, indent: Any
) -> None:
    """A text as a program lays it out stays as that program would lay it out."""
    if not before or key in before:
        return
    after = {**before, key: value}
    text = json.dumps(before, indent=indent, ensure_ascii=False)
    assert patched(text, after) == json.dumps(after, indent=indent, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("{}", {"a": 1}, '{\n  "a": 1\n}'),
        ("{ \n }\n", {"a": [1]}, '{\n  "a": [\n    1\n  ]\n}\n'),
        ('{"a":1}', {"a": 1, "b": {}}, '{"a":1, "b": {}}'),
        ('{\n\t"a": {}\n}', {"a": {"b": 1}}, '{\n\t"a": {\n\t\t"b": 1\n\t}\n}'),
        ('{\r\n "a": 1\r\n}', {"a": 1, "b": [2]}, '{\r\n "a": 1,\r\n "b": [\r\n  2\r\n ]\r\n}'),
        ('{\n  "a": [1, 2]\n}', {"a": [1, 2, 3]}, '{\n  "a": [1, 2, 3]\n}'),
        ('{"a": 1, "a": 2}', {"a": 3}, '{"a": 1, "a": 3}'),
        ('{"x": 1.50, "s": "\\u00e9\\/", "a": 1}', {"x": 1.5, "s": "é/", "a": 2}, None),
    ],
)
def test_only_what_changes_is_written_anew(text: str, after: Any, expected: str | None) -> None:
    """Indentation, line ends, escapes, numbers and members that count no more stay as somebody wrote them."""
    if expected is None:
        expected = text.replace('"a": 1', '"a": 2')
    assert patched(text, after) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "{", "{} {}", "{a: 1}", "// no\n{}", "[NaN]", "[-Infinity]", "\ufeff{}", "'a'"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """No more is taken for JSON than what every reader takes for it."""
    with pytest.raises(ValueError):  # noqa: PT011 - each is refused with a sentence of its own
        parsed(text)


def test_a_value_is_laid_out_below_where_it_stands() -> None:
    """All lines but the first are indented, with the line ends that the text has."""
    assert laid_out({"a": [1]}, "\t", "  ", "\r\n") == '{\r\n  \t"a": [\r\n  \t\t1\r\n  \t]\r\n  }'
