"""Texts that JavaScript cut in the middle of an emoji are merged like any other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.merge import is_damaged, is_well_formed
from mneme.merge.jsonvalues import canonical, read, written
from mneme.model import FileName
from tests.merge.looking import merged

texts = st.text(st.characters() | st.sampled_from('\ud83d\ude00\udfff\ud800\\"u'), max_size=8)


def remembered(*contents: str) -> bytes:
    """A file of items, as ASCII."""
    items = [{"ts": "2026-02-01T10:00:00.000Z", "type": "fact", "content": content} for content in contents]
    return json.dumps(items).encode()


@given(st.lists(texts, max_size=4), st.sampled_from([None, 2]))
def test_a_lone_surrogate_is_read_and_written(contents: list[str], indent: int | None) -> None:
    """The value stays the same, whatever stands around a surrogate."""
    content = remembered(*contents)
    value = read(content)
    assert value == json.loads(content)
    assert read(written(value, indent)) == value
    assert canonical(value) == canonical(read(written(value, indent)))


def test_a_cut_text_is_merged() -> None:
    """The cut text stays beside the other side's item."""
    base, head, upload = (remembered("cut \ud83d", *more) for more in ((), ("a",), ("\ude00b",)))
    result = merged(FileName.REMEMBERED, base, head, upload)
    assert [item["content"] for item in json.loads(result)] == ["cut \ud83d", "a", "\ude00b"]
    assert rb"\ud83d" in result


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (FileName.SUMMARY_JSON, rb'{"\ud83d": "\ude00"}'),
        (FileName.ENTITIES, rb'{"\ud83d": "\ude00"}'),
        (FileName.REMEMBERED, rb'[{"\ud83d": "\ude00"}]'),
        (FileName.LOG, rb'{"ts":"2026-02-01T10:00:00.000Z","content":"cut \ud83d"}' + b"\n"),
    ],
)
def test_keys_and_texts_with_lone_surrogates_are_of_the_form(file: FileName, content: bytes) -> None:
    """A surrogate in a key that the plugin does not know is merged, too."""
    assert is_well_formed(file, content)
    assert not is_damaged(file, content)


def test_a_cut_time_is_no_time() -> None:
    """Documents that differ in it are merged all the same."""
    three = [json.dumps({"lastUpdated": time}).encode() for time in ("\ud83d", "\ud83e", "\ud83f")]
    assert merged(FileName.SUMMARY_JSON, *three) == three[2]


@pytest.mark.parametrize("content", [b"NaN", b"1e999", b'"\xff"', b'"\xed\xa0\xbd"', b"{"])
def test_a_text_that_is_no_json_is_refused(content: bytes) -> None:
    """The standard library alone would take some of these."""
    with pytest.raises(ValueError, match=r"."):
        read(content)
