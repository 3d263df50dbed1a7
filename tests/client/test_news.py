"""News: what a session is told of what a sync has brought."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.client.news import MOST_BYTES, fresh, told
from mneme.model import FileName

LOG, SUMMARY, REMEMBERED = FileName.LOG, FileName.SUMMARY_JSON, FileName.REMEMBERED
HEAD = "## New from your other machines\n\n"


def news(before: Mapping[FileName, bytes], after: Mapping[FileName, bytes]) -> str:
    """The news of contents that replace others."""
    return told([fresh(file, before.get(file, b""), after.get(file, b"")) for file in FileName])


def fact(content: Any, kind: str = "lesson") -> dict[str, Any]:
    """A remembered fact."""
    return {"ts": "2026-02-04T14:00:00.000Z", "type": kind, "content": content}


def remembered(*facts: Any) -> bytes:
    """The content of `remembered.json`."""
    return json.dumps(facts).encode()


def summary(**parts: Any) -> bytes:
    """The content of `summary.json`."""
    return json.dumps({"projectContext": "An app", **parts}).encode()


def line(content: Any, minute: int = 0) -> bytes:
    """A line of the log."""
    entry = {"ts": f"2026-02-04T14:{minute:02}:31.000Z", "type": "commit", "content": content}
    return json.dumps(entry).encode() + b"\n"


def test_several_arrivals_are_told_together_each_thing_once() -> None:
    """The newest first, whatever came in between that is no news."""
    first = fresh(LOG, line("own"), line("own") + line("one"))
    second = fresh(
        LOG, line("own") + line("one") + line("own too"), line("one") + line("two") + line("own too")
    )
    facts = fresh(REMEMBERED, b"", remembered(fact("tabs")))
    assert told([first, second, facts, second]) == HEAD + (
        "### Remembered\n- [lesson] tabs\n\n"
        "### Lately\n- 2026-02-04 14:00 commit: two\n- 2026-02-04 14:00 commit: one\n"
    )


def test_without_anything_new_nothing_is_told() -> None:
    """Neither of empty folders, nor of files that hold the same, nor of removals."""
    contents = {LOG: line("one"), REMEMBERED: remembered(fact("tabs")), SUMMARY: summary()}
    assert news({}, {}) == ""
    assert news(contents, contents) == ""
    assert news(contents, {}) == ""
    assert news(contents, {**contents, LOG: b"", REMEMBERED: b"[]"}) == ""


def test_each_kind_of_memory_is_told_the_newest_first() -> None:
    """Facts, decisions, the state, the work, and the last lines of the log."""
    before = {REMEMBERED: remembered(fact("old")), LOG: line("old")}
    after = {
        REMEMBERED: remembered(fact("old"), fact("tabs"), fact("spaces", "preference")),
        SUMMARY: summary(
            keyDecisions=[
                {"date": "2026-02-03", "decision": "SQLite", "reason": "one file"},
                {"date": "2026-02-04", "decision": "WAL"},
            ],
            currentState=[{"topic": "Sync", "status": "works", "updated": "2026-02-04"}],
            recentWork=[{"date": "2026-02-04", "summary": "Wrote the store"}],
        ),
        LOG: line("old") + line("first", 5) + line("second", 6),
    }
    assert news(before, after) == HEAD + (
        "### Remembered\n- [preference] spaces\n- [lesson] tabs\n\n"
        "### Decisions\n- WAL\n- SQLite (one file)\n\n"
        "### State\n- Sync: works\n\n"
        "### Work\n- Wrote the store\n\n"
        "### Lately\n- 2026-02-04 14:06 commit: second\n- 2026-02-04 14:05 commit: first\n"
    )


def test_what_was_known_is_not_told_again() -> None:
    """Wherever it has moved in its file, and whatever else of it changed."""
    before = {SUMMARY: summary(keyDecisions=[{"decision": "SQLite"}, {"decision": "WAL"}])}
    decisions = [{"decision": "WAL", "date": "2026-02-05"}, {"decision": "SQLite"}, {"decision": "zstd"}]
    after = {SUMMARY: summary(keyDecisions=decisions)}
    assert news(before, after) == f"{HEAD}### Decisions\n- zstd\n"


def test_news_are_short() -> None:
    """The newest are told, whole lines of them, and that there are more."""
    text = news({}, {LOG: b"".join(line(f"entry {n} {'x' * 80}", n % 60) for n in range(500))})
    assert MOST_BYTES - 200 < len(text.encode()) <= MOST_BYTES
    lines = text.splitlines()
    assert "entry 499" in lines[3]
    assert lines[-1] == "- … and more: see the memory itself"
    assert all(one.endswith("x" * 80) for one in lines[3:-1])


def test_bytes_are_counted_and_no_character_is_cut() -> None:
    """In a script of three bytes a character."""
    text = news({}, {REMEMBERED: remembered(*[fact(f"{n} " + "記" * 300) for n in range(50)])})
    assert len(text.encode()) <= MOST_BYTES
    assert text.count("記" * 300) == text.count("記") // 300


def test_a_long_item_is_shortened() -> None:
    """So that it leaves room for others."""
    text = news({}, {REMEMBERED: remembered(fact("y" * 5000), fact("short"))})
    assert "y" * 300 in text
    assert "…" in text
    assert "short" in text


def test_an_item_is_a_line() -> None:
    """Whatever it holds: it makes no heading, and does not drive a terminal."""
    content = "a\n\n## b\r\tc\x1b[31m\x07"
    text = news({}, {REMEMBERED: remembered(fact(content)), LOG: line(content)})
    assert text.splitlines()[2:4] == ["### Remembered", "- [lesson] a ## b c\\x1b[31m\\x07"]
    assert "\x1b" not in text


@pytest.mark.parametrize("content", ["\ud83d", "a\udcffb"])
def test_half_an_emoji_is_told_as_an_escape(content: str) -> None:
    """The plugin cuts strings at any place; what is told can be written."""
    text = news({}, {REMEMBERED: remembered(fact(content)), LOG: line(content)})
    assert "\\ud" in text
    assert text.encode()


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (fact(""), ""),
        (fact(None), ""),
        (fact(17), "- [lesson] 17"),
        (fact({"a": ["ä"]}), '- [lesson] {"a": ["ä"]}'),
        ({"content": "untyped"}, "- [fact] untyped"),
        ({"type": "lesson"}, ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_odd_items_are_told_as_far_as_they_can_be(item: Any, told: str) -> None:
    """Those without a content are left out."""
    lines = news({}, {REMEMBERED: remembered(item)}).splitlines()
    assert lines[3:] == ([told] if told else [])


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"null", b'"text"', b"[" * 100_000, b"{}", b'{"keyDecisions": 7}', b"NaN"]
)
@pytest.mark.parametrize("file", list(FileName))
def test_a_file_that_is_damaged_is_no_news(file: FileName, content: bytes) -> None:
    """After a damaged file, all of a whole one is new."""
    assert news({}, {file: content}) == ""
    assert "tabs" in news({REMEMBERED: content}, {REMEMBERED: remembered(fact("tabs"))})


def test_a_damaged_line_of_the_log_hides_no_other() -> None:
    """Each line stands for itself."""
    log = line("one") + b'{"ts": "2026\n' + b"\xff\n" + b"[1]\n\n" + line("two")
    assert [one.split(": ")[1] for one in news({}, {LOG: log}).splitlines()[3:]] == ["two", "one"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("ts", "type", "content", "topic", "status", "decision", "reason", "summary", "date")
ITEMS = st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4) | JSON, max_size=30)
SUMMARIES = st.dictionaries(
    st.sampled_from(["keyDecisions", "currentState", "recentWork"]), ITEMS | JSON, max_size=3
)


@given(ITEMS, SUMMARIES, ITEMS, st.integers(1, 40))
def test_any_memory_makes_short_news_that_can_be_written(
    facts: list[Any], parts: dict[str, Any], entries: list[Any], times: int
) -> None:
    """And none at all against itself."""
    contents = {
        REMEMBERED: json.dumps(facts * times).encode(),
        SUMMARY: json.dumps(parts).encode(),
        LOG: b"".join(json.dumps(one).encode() + b"\n" for one in entries),
    }
    text = news({}, contents)
    assert len(text.encode()) <= MOST_BYTES
    assert not text or text.startswith(HEAD)
    assert news(contents, contents) == ""
    assert all(one == "" or one[:2] in ("##", "- ") for one in text.splitlines())


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True), st.randoms())
def test_news_are_what_after_has_and_before_lacks(
    before: list[int], after: list[int], chance: random.Random
) -> None:
    """In the order of the file, from its end."""
    chance.shuffle(after)
    text = news(
        {REMEMBERED: remembered(*[fact(f"no {n}") for n in before])},
        {REMEMBERED: remembered(*[fact(f"no {n}") for n in after])},
    )
    expected = [f"- [lesson] no {n}" for n in reversed(after) if n not in before]
    assert [one for one in text.splitlines() if one.startswith("- ")] == expected
