"""How differences are drawn: an entry a line, escaped, with a sign and its colour."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.cli import comparing
from mneme.cli.changes import drawn
from mneme.cli.comparing import Pair
from mneme.client.calls import Download
from mneme.merge.differences import differences
from mneme.model import MEMORY, FileName, Millis
from mneme.readable import plain
from tests.cli.asked import DEMO
from tests.merge.strategies import anything


def drawing(file: FileName, before: bytes, after: bytes) -> list[str]:
    """The lines that are drawn for two contents."""
    found = differences(file, before, after)
    assert found is not None
    return [line.plain for line in drawn(found)]


def of_documents(file: FileName, before: Any, after: Any) -> list[str]:
    """The lines that are drawn for two documents."""
    return drawing(file, json.dumps(before).encode(), json.dumps(after).encode())


def test_an_entry_of_a_log_says_when_of_what_type_and_what() -> None:
    """In the time of the person's zone; what else it has stands behind."""
    before = b'{"ts":"2026-02-04T15:00:00.000Z","type":"note","content":"Use tabs"}\n'
    after = b'{"ts":"2026-02-04T23:00:00.000Z","type":"task","content":"a\\nb","subject":"x"}\n'
    assert drawing(FileName.LOG, before, after) == [
        "- 2026-02-04 17:00 note: Use tabs",
        r"+ 2026-02-05 01:00 task: a\nb (subject: x)",
    ]


def test_a_line_of_a_log_that_is_no_entry_is_drawn_as_it_is() -> None:
    """Control characters and bad bytes are escaped."""
    before = b'{"ts":1}\n'
    after = before + b"half \x1b[2J\xff\n[1]\n{}\n" + b'{"content":"\\ud83d"}\n' + b'{"a":' * 5000 + b"\n"
    assert drawing(FileName.LOG, before, after)[:4] == [
        "+ half \\x1b[2J\N{REPLACEMENT CHARACTER}",
        *("+ [1]", "+ {}", "+ \\ud83d"),
    ]


def test_a_summary_is_drawn_under_the_names_of_its_lists() -> None:
    """Fields by themselves; long text in two lines; what came whole entry by entry."""
    before = {
        "projectContext": "long " * 20,
        "keyDecisions": [{"date": "2026-02-01", "decision": "Use tabs", "reason": "so"}],
        "currentState": [{"topic": "build", "status": "red"}],
        "lastEntryIndex": 412,
    }
    after = {
        "projectContext": "short",
        "keyDecisions": [],
        "currentState": [{"topic": "build", "status": "green"}],
        "lastEntryIndex": 500,
        "recentWork": [{"date": "2026-02-02", "summary": "Built"}, {"summary": "Tested"}],
    }
    assert of_documents(FileName.SUMMARY_JSON, before, after) == [
        "~ projectContext:",
        "  - " + "long " * 20,
        "  + short",
        "keyDecisions",
        "  - 2026-02-01: Use tabs (reason: so)",
        "currentState",
        "  ~ build",
        "    ~ status: red → green",
        "~ lastEntryIndex: 412 → 500",
        "recentWork",
        "  + 2026-02-02: Built",
        "  + Tested",
    ]


def test_entities_are_drawn_by_kind_and_name() -> None:
    """With what changed inside, and a kind that came whole name by name."""
    context = {"ts": "2026-02-04T15:00:00.000Z", "type": "note", "summary": "x"}
    seen = "2026-02-04T15:00:00.000Z"
    before = {"files": {"a.py": {"mentions": 3, "lastSeen": seen, "contexts": []}, "b.py": {"mentions": 1}}}
    after = {
        "files": {
            "a.py": {"mentions": 5, "lastSeen": "2026-02-04T15:00:01.000Z", "contexts": [context]},
            "c.py": {"mentions": 1, "lastSeen": seen, "contexts": [context], "tags": ["x"]},
        },
        "errors": {"E": {"mentions": 1}, "F": {}},
    }
    assert of_documents(FileName.ENTITIES, before, after) == [
        "files",
        "  a.py",
        "    ~ mentions: 3 → 5",
        '    ~ lastSeen: "2026-02-04T15:00:00.000Z" → "2026-02-04T15:00:01.000Z"',
        "    contexts",
        "      + 2026-02-04 17:00 note: x",
        "  - b.py: mentions: 1",
        '  + c.py: mentions: 1, lastSeen: 2026-02-04 17:00, contexts: 1 item, tags: ["x"]',
        "errors",
        "  + E: mentions: 1",
        "  + F: {}",
    ]


def test_an_item_that_changed_inside_says_where() -> None:
    """Down to the key."""
    one = {"ts": "2026-02-04T15:00:00.000Z", "type": "note", "content": "x", "by": {"who": "Ana"}}
    other = {**one, "by": {"who": "Bo"}, "tags": ["a"]}
    assert of_documents(FileName.REMEMBERED, [one], [other]) == [
        "~ x",
        "  ~ by.who: Ana → Bo",
        '  + tags: ["a"]',
    ]


def test_text_is_drawn_with_the_numbers_of_its_lines() -> None:
    """Whatever it says, it says in the terminal's own colour."""
    assert drawing(FileName.SUMMARY_MD, b"# One\n- a\n", b"# One\n\x1b[31m[b]") == [
        *("line 2", "- - a", r"+ \x1b[31m[b] (no newline at its end)")
    ]


def test_each_sign_has_its_colour() -> None:
    """Which only a terminal shows."""
    found = differences(FileName.ENTITIES, b'{"a":1,"b":1}', b'{"b":2,"c":1}')
    assert found
    assert [(line.plain[0], str(line.style)) for line in drawn(found)] == [
        *(("-", "red"), ("~", "yellow"), ("+", "green"))
    ]


@pytest.mark.parametrize("file", MEMORY)
@given(data=st.data())
def test_whatever_the_bytes_a_line_is_a_line(file: FileName, data: st.DataObject) -> None:
    """And nothing raises; for scripts, it is JSON."""
    before, after = data.draw(anything(file)), data.draw(anything(file))
    found = differences(file, before, after)
    assert found is not None
    assert all(plain(line.plain) == line.plain for line in drawn(found))
    document = json.loads(comparing._json(DEMO, file, pair(before, after), found))
    assert bool(document["changes"]) == bool(list(drawn(found)))


def test_what_is_nested_deep_is_drawn() -> None:
    """Whole, where there is too much to go into."""
    deep = b'{"other":' + b'{"x":' * 300 + b"1" + b"}" * 301
    assert drawing(FileName.ENTITIES, b"{}", deep)
    assert drawing(FileName.ENTITIES, deep, deep.replace(b"1", b"2"))
    assert drawing(FileName.REMEMBERED, b"[]", b"[" + deep + b"]")


def test_scripts_get_values_as_they_are() -> None:
    """A missing value has no key; lines are strings."""
    before, after = b'{"a":1,"b":"\\ud83d"}', b'{"a":2}'
    found = differences(FileName.ENTITIES, before, after)
    assert found
    written = comparing._json(DEMO, FileName.ENTITIES, pair(before, after), found)
    assert rb"\ud83d" in written
    assert json.loads(written) == {
        "project": "demo",
        "file": "entities.json",
        "from": 1,
        "to": 2,
        "by": "entries",
        "changes": [
            {"place": ["a"], "isItem": False, "before": 1, "after": 2},
            {"place": ["b"], "isItem": False, "before": "\ud83d"},
        ],
    }
    lines = differences(FileName.SUMMARY_MD, b"a\n", b"b\xff")
    assert lines
    told = msgspec.json.decode(comparing._json(DEMO, FileName.SUMMARY_MD, pair(b"a\n", b"b\xff"), lines))
    assert (told["by"], told["changes"]) == (
        "lines",
        [{"line": 1, "removed": ["a\n"], "added": ["b\N{REPLACEMENT CHARACTER}"]}],
    )


def test_what_is_the_same_is_told_apart_from_what_is_only_written_otherwise() -> None:
    """Nothing is drawn for either."""
    assert comparing._nothing(pair(b"[]", b"[]")) == "The two versions are the same"
    assert comparing._nothing(pair(b"[]", b"[ ]")) == (
        "The two versions have the same entries, in another order or with other white space"
    )


def pair(before: bytes, after: bytes) -> Pair:
    """Versions 1 and 2."""
    return Pair(Download(before, 1, Millis(0), ""), Download(after, 2, Millis(0), ""), is_head=False)
