"""Differences that turn one content into another, and no more."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.merge import is_well_formed
from mneme.merge.bounds import MAX_DOCUMENT, MAX_LINES
from mneme.merge.differences import Change, Entries, Hunk, Lines, differences
from mneme.merge.documents import parsed
from mneme.merge.jsonvalues import JSON
from mneme.merge.log import lines
from mneme.merge.text import whole_lines
from mneme.model import MEMORY, FileName
from tests import plugin_files
from tests.merge.looking import alike
from tests.merge.strategies import anything, contents

UNSET = msgspec.UNSET
every_file = pytest.mark.parametrize("file", MEMORY)


def changes(file: FileName, before: Any, after: Any) -> list[Change]:
    """The changes between two documents."""
    found = differences(file, json.dumps(before).encode(), json.dumps(after).encode())
    assert isinstance(found, Entries)
    return list(found.changes)


def applied(file: FileName, before: bytes, found: Entries | Lines) -> bytes:
    """A content after the changes are applied."""
    if isinstance(found, Lines):
        return b"".join(_replaced(whole_lines(before), found.hunks))
    if file is FileName.LOG:
        return b"".join(line + b"\n" for line in _exchanged(lines(before), found.changes))
    document = parsed(file, before)
    for change in found.changes:
        document = _with(document, change)
    return msgspec.json.encode(document)


def _replaced(whole: list[bytes], hunks: Sequence[Hunk]) -> list[bytes]:
    # From the bottom, so that the numbers of the lines above stay right.
    for hunk in reversed(hunks):
        first, last = hunk.line - 1, hunk.line - 1 + len(hunk.removed)
        assert whole[first:last] == list(hunk.removed)
        whole[first:last] = hunk.added
    return whole


def _exchanged(items: list[Any], those: Sequence[Change]) -> list[Any]:
    for change in those:
        if change.before is not UNSET:
            _remove(items, change.before)
        if change.after is not UNSET:
            items.append(change.after)
    return items


def _remove(items: list[Any], item: Any) -> None:
    # By how it is written: 1, 1.0 and true are three.
    place = [repr(one) for one in items].index(repr(item))
    del items[place]


def _with(document: Any, change: Change) -> Any:
    document = copy.deepcopy(document)
    place = change.path if change.is_item else change.path[:-1]
    within = document
    for key in place:
        within = within[key]
    if change.is_item:
        _exchanged(within, [change])
        return document
    if not change.path:
        return change.after
    name = change.path[-1]
    assert repr(within.get(name, UNSET)) == repr(change.before)
    if change.after is UNSET:
        del within[name]
    else:
        within[name] = change.after
    return document


@every_file
@given(data=st.data())
def test_changes_turn_one_content_into_the_other(file: FileName, data: st.DataObject) -> None:
    """ChangedValue by entry, whatever their order; line by line exactly."""
    before, after = data.draw(contents(file)), data.draw(contents(file))
    found = differences(file, before, after)
    assert found is not None
    result = applied(file, before, found)
    if isinstance(found, Lines):
        assert result == after
    elif file is FileName.LOG:
        assert Counter(lines(result)) == Counter(lines(after))
    else:
        assert alike(file, result, after)


@every_file
@given(data=st.data())
def test_no_bytes_raise(file: FileName, data: st.DataObject) -> None:
    """Malformed contents are compared by lines, others by entries."""
    before, after = data.draw(anything(file)), data.draw(anything(file))
    found = differences(file, before, after)
    formed = is_well_formed(file, before) and is_well_formed(file, after)
    assert isinstance(found, Entries if formed and file is not FileName.SUMMARY_MD else Lines)
    if isinstance(found, Lines):
        assert applied(file, before, found) == after


@every_file
@given(data=st.data())
def test_every_change_has_two_sides_that_differ(file: FileName, data: st.DataObject) -> None:
    """Between a content and itself, whatever its form, there are no changes."""
    found = differences(file, data.draw(contents(file)), data.draw(contents(file)))
    for change in found.changes if isinstance(found, Entries) else ():
        assert repr(change.before) != repr(change.after)
    content = data.draw(anything(file))
    assert differences(file, content, content) in (Entries(()), Lines(()))


def test_lines_of_a_log_are_its_entries() -> None:
    """Copies are counted, and the order is nothing that changed."""
    found = differences(FileName.LOG, b'{"a":1}\n{"b":1}\n{"b":1}\n', b'{"b":1}\n{"c":1}\n{"a":1}')
    gone, new = Change((), b'{"b":1}', UNSET, True), Change((), UNSET, b'{"c":1}', True)
    assert found == Entries((gone, new))


def test_a_remembered_item_is_known_again_by_its_words() -> None:
    """If something else about it changes, it is the same item, otherwise."""
    one: JSON = {"ts": "2026", "type": "note", "content": "one"}
    same: JSON = {"ts": "2026", "type": "note", "content": "one", "by": "Ana"}
    two: JSON = {"ts": "2026", "type": "note", "content": "two"}
    assert changes(FileName.REMEMBERED, [one], [same, two]) == [
        Change((), one, same, True),
        Change((), UNSET, two, True),
    ]


def test_a_summary_changes_by_fields_items_and_topics() -> None:
    """States are matched by topic, decisions by their whole text."""
    red: JSON = {"topic": "build", "status": "red"}
    green: JSON = {"topic": "build", "status": "green"}
    before = {
        "projectContext": "old",
        "keyDecisions": [{"decision": "tabs"}, {"decision": "Rust"}],
        "currentState": [red],
        "lastEntryIndex": 1,
    }
    after = {
        "projectContext": "new",
        "keyDecisions": [{"decision": "Rust"}, {"decision": "spaces"}],
        "currentState": [green],
        "recentWork": [],
    }
    assert changes(FileName.SUMMARY_JSON, before, after) == [
        Change(("projectContext",), "old", "new"),
        Change(("keyDecisions",), {"decision": "tabs"}, UNSET, True),
        Change(("keyDecisions",), UNSET, {"decision": "spaces"}, True),
        Change(("currentState",), red, green, True),
        Change(("lastEntryIndex",), 1, UNSET),
        Change(("recentWork",), UNSET, []),
    ]


def test_states_without_topics_of_their_own_are_items() -> None:
    """There is no telling which became which."""
    one, two, three = ({"topic": "x", "status": status} for status in "abc")
    found = changes(FileName.SUMMARY_JSON, {"currentState": [one, two]}, {"currentState": [one, three]})
    assert [(change.before, change.after) for change in found] == [(two, UNSET), (UNSET, three)]


def test_entities_change_by_kind_and_name_and_inside() -> None:
    """Counts, times and contexts, each by itself."""
    context: JSON = {"ts": "2026", "type": "note", "summary": "x"}
    before = {"files": {"a.py": {"mentions": 3, "contexts": []}, "b.py": {"mentions": 1}}}
    after = {"files": {"a.py": {"mentions": 5, "contexts": [context]}, "c.py": {}}, "errors": {"E": {}}}
    assert changes(FileName.ENTITIES, before, after) == [
        Change(("files", "a.py", "mentions"), 3, 5),
        Change(("files", "a.py", "contexts"), UNSET, context, True),
        Change(("files", "b.py"), {"mentions": 1}, UNSET),
        Change(("files", "c.py"), UNSET, {}),
        Change(("errors",), UNSET, {"E": {}}),
    ]


def test_text_is_compared_line_by_line() -> None:
    """With the numbers of the lines, and the newline that the last one may lack."""
    found = differences(FileName.SUMMARY_MD, b"# One\n\n- a\n- b\n\n- c\n", b"# One\n\n- b\n- B\n\n- c")
    assert found == Lines(
        (Hunk(3, (b"- a\n",), ()), Hunk(5, (), (b"- B\n",)), Hunk(6, (b"- c\n",), (b"- c",)))
    )


@pytest.mark.parametrize("file", [file for file in MEMORY if file is not FileName.SUMMARY_MD])
def test_malformed_contents_are_compared_line_by_line(file: FileName) -> None:
    """Rather than not at all."""
    found = differences(file, b"<<<<<<<\none\n", b"<<<<<<<\ntwo\n")
    assert found == Lines((Hunk(2, (b"one\n",), (b"two\n",)),))


def test_documents_nested_too_deep_are_compared_whole_or_by_lines() -> None:
    """Each level costs a look at all that is in it."""
    for depth in (17, 100, 900, 30_000):
        before = b'{"x":' * depth + b"1" + b"}" * depth
        found = differences(FileName.ENTITIES, before, before.replace(b"1", b"2"))
        assert isinstance(found, Entries | Lines)


def test_a_document_that_is_too_large_is_compared_line_by_line() -> None:
    """As it would not be merged either."""
    large = b'[{"ts":"' + b"x" * MAX_DOCUMENT + b'"}]\n'
    assert differences(FileName.REMEMBERED, large, b"[]\n") == Lines((Hunk(1, (large,), (b"[]\n",)),))


@pytest.mark.parametrize("file", MEMORY)
@pytest.mark.parametrize("turned", [False, True])
def test_too_many_lines_are_not_compared(file: FileName, turned: bool) -> None:
    """Whichever of the two has them."""
    both = (b"{}\n" * MAX_LINES, b"{}\n")
    assert differences(file, *(both[::-1] if turned else both)) is None


@every_file
def test_a_megabyte_is_compared_in_no_time(file: FileName) -> None:
    """Contents without a shared line are compared in seconds, too."""
    made = {
        FileName.LOG: plugin_files.log,
        FileName.SUMMARY_JSON: plugin_files.summary,
        FileName.SUMMARY_MD: plugin_files.log,
        FileName.REMEMBERED: plugin_files.remembered,
        FileName.ENTITIES: plugin_files.entities,
    }
    sizes = {FileName.LOG: 1_000_000, FileName.SUMMARY_MD: 1_000_000, FileName.ENTITIES: 900_000}
    before, after = (made[file](seed, sizes.get(file, 60_000)) for seed in (1, 2))
    found = differences(file, before, after)
    assert isinstance(found, Lines if file is FileName.SUMMARY_MD else Entries)
