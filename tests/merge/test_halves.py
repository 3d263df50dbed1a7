"""Texts that JavaScript has cut in two in the middle of a character: they are merged like any other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.merge import is_well_formed, merge
from mneme.merge.halves import hidden, shown
from mneme.model import FileName

texts = st.text(st.characters() | st.sampled_from('\ud83d\ude00\udfff\ud800\\"u'), max_size=8)


def remembered(*contents: str) -> bytes:
    """A file of items, as ASCII."""
    items = [{"ts": "2026-02-01T10:00:00.000Z", "type": "fact", "content": content} for content in contents]
    return json.dumps(items).encode()


@given(st.lists(texts, max_size=4))
def test_what_is_hidden_is_shown_again(contents: list[str]) -> None:
    """Whatever stands around a half, backslashes and the other half included."""
    content = remembered(*contents)
    assert json.loads(shown(hidden(content))) == json.loads(content)


def test_a_cut_text_is_merged() -> None:
    """It stays as it is, half a character included, beside what the other side added."""
    base, head, upload = (
        remembered("cut \ud83d"),
        remembered("cut \ud83d", "a"),
        remembered("cut \ud83d", "\ude00b"),
    )
    merged = merge(FileName.REMEMBERED, base, head, upload, upload_is_later=True, max_bytes=10_000)
    assert merged is not None
    assert [item["content"] for item in json.loads(merged)] == ["cut \ud83d", "a", "\ude00b"]
    assert rb"\ud83d" in merged


def test_an_escaped_backslash_begins_no_half() -> None:
    """It is a backslash and five letters."""
    content = rb'[{"content":"\\ud83d"}]'
    assert hidden(content) == content


def test_a_whole_character_is_left_alone() -> None:
    """Two halves that belong together, however they are written."""
    content = rb'["\uD83D\ude00"]'
    assert hidden(content) == content


@pytest.mark.parametrize("character", ["\U00100000", "\U001007ff"])
def test_a_character_that_would_stand_for_a_half_is_not_merged(character: str) -> None:
    """Nobody would know what it was."""
    content = json.dumps([{"content": character}], ensure_ascii=False).encode()
    assert not is_well_formed(FileName.REMEMBERED, content)
    with pytest.raises(ValueError, match="half"):
        hidden(content)
