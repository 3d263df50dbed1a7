"""Which version an upload was made from, where that is not known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.merge import Candidate, nearest
from mneme.merge.bounds import MAX_LINES
from mneme.model import FileName
from tests import plugin_files
from tests.merge.looking import chosen
from tests.merge.strategies import SMALL

LOG = FileName.LOG


def log(words: str) -> bytes:
    """A log with one line for each word."""
    return b"".join(word.encode() + b"\n" for word in words.split())


def nearest_log(sure: str | None, candidates: list[str], upload: str) -> int | None:
    """Which log an upload was made from."""
    return chosen(LOG, None if sure is None else log(sure), list(map(log, candidates)), log(upload))


def test_the_download_that_a_client_has_built_on_is_it() -> None:
    """Its upload has what was new in it."""
    assert nearest_log("a b", ["a b c", "a b c d"], "a b c mine") == 0
    assert nearest_log("a b", ["a b c", "a b c d"], "a b c d mine") == 1


def test_a_stray_download_is_not_it() -> None:
    """Nothing of what was new in it is in the upload, so what it has and the upload has not was never removed."""
    assert nearest_log("a b", ["a b c"], "a b mine") is None


def test_a_stray_download_is_not_it_even_if_it_is_nearer() -> None:
    """The upload lacks what the download lacks, too, but has nothing that would show that its client received it."""
    assert nearest_log("a b c d e", ["a f"], "a mine") is None


def test_what_was_received_needs_no_sign() -> None:
    """A pull asked for it, and it was sent to the end: a client that wrote all of it anew has removed what it had."""
    candidates = [Candidate(log("a b"), received=True)]
    assert nearest(LOG, candidates, log("mine")) == 0
    assert nearest(LOG, [Candidate(log("a b"), received=False)], log("mine")) is None
    assert nearest(LOG, [Candidate(log("x y z"), received=True), *candidates], log("mine")) == 1


def test_a_client_that_summed_up_a_real_download_had_it() -> None:
    """It removed all the old lines, and what was new is still there."""
    assert nearest_log("a b c d e f", ["a b c d e f g h"], "g h mine") == 0


def test_a_version_that_only_removed_something_can_be_it() -> None:
    """It has nothing that the client would have had to receive."""
    assert nearest_log("a b c d", ["a b"], "a b mine") == 0


def test_of_two_that_are_as_near_the_older_is_it() -> None:
    """The surely known one is the oldest."""
    assert nearest_log("a b", ["a c"], "a b c") is None
    assert nearest_log(None, ["a b", "a c"], "a b c") == 0


def test_without_a_surely_known_one_the_nearest_of_the_others_is_it() -> None:
    """However far it is."""
    assert nearest_log(None, ["a b c d e f"], "f mine") == 0


def test_without_a_surely_known_one_a_stray_download_is_none() -> None:
    """It is not known then."""
    assert nearest_log(None, ["a b"], "mine") is None


def test_where_nothing_is_older_only_the_last_line_is_a_sign() -> None:
    """What is before it may be older than the download: a client that was given an old copy has it, too."""
    assert nearest_log(None, ["a b new"], "a b mine") is None
    assert nearest_log(None, ["a b new"], "a b new mine") == 0
    assert nearest_log(None, ["a b new"], "new mine") == 0


def test_what_does_not_count_itself_is_nothing_older() -> None:
    """Of the download after a stray one, too, only the last line is a sign."""
    assert nearest_log(None, ["x y", "a b new"], "a b mine") is None
    assert nearest_log(None, ["x y", "a b new"], "b new mine") == 1


def test_where_something_is_older_any_line_that_was_new_is_a_sign() -> None:
    """The client can have removed the last one, but cannot have had the others from anywhere else."""
    assert nearest_log("a", ["a b c d"], "a b c mine") == 0


@pytest.mark.parametrize("blank", [b"\n", b"  \n", b"\t\r\n"])
@pytest.mark.parametrize("file", [LOG, FileName.SUMMARY_MD])
def test_a_blank_line_is_no_sign(file: FileName, blank: bytes) -> None:
    """Anybody puts one between two paragraphs."""
    assert chosen(file, b"a\n", [b"a\n" + blank + b"theirs\n"], b"a\n" + blank + b"mine\n") is None
    assert chosen(file, None, [b"theirs\n" + blank], blank + b"mine\n") is None


def fact(content: str, kind: str = "note") -> dict[str, str]:
    """An item that somebody asked the agent to remember."""
    return {"ts": f"2026-02-04T15:00:00.{ord(content[0]):03}Z", "type": kind, "content": content}


@pytest.mark.parametrize("sure", [None, [], [fact(content, "decision") for content in "abcd"]])
@pytest.mark.parametrize("last", ["ts", "type", "content"])
def test_that_two_items_are_of_one_type_is_no_sign(sure: list[dict[str, str]] | None, last: str) -> None:
    """Most of what is remembered is a note; nor is it one though the download is nearer than what is older."""
    older = None if sure is None else json.dumps(sure).encode()
    theirs, mine = ([_with_last(fact(content), last)] for content in ("theirs", "mine"))
    assert theirs[0]["type"] == mine[0]["type"]
    assert (
        chosen(FileName.REMEMBERED, older, [json.dumps(theirs).encode()], json.dumps(mine).encode()) is None
    )


def _with_last(item: dict[str, str], key: str) -> dict[str, str]:
    """The item, written with this key behind the others."""
    return {name: value for name, value in item.items() if name != key} | {key: item[key]}


@pytest.mark.parametrize("sure", [None, [], [fact("a", "decision")]], ids=["none", "empty", "another"])
def test_a_whole_item_is_a_sign(sure: list[dict[str, str]] | None) -> None:
    """Nobody remembers the same in the same millisecond."""
    older = None if sure is None else json.dumps(sure).encode()
    theirs = [*(sure or []), fact("theirs")]
    mine = json.dumps([*theirs, fact("mine")]).encode()
    assert chosen(FileName.REMEMBERED, older, [json.dumps(theirs).encode()], mine) == 0


@pytest.mark.parametrize(
    ("file", "key", "value", "items"),
    [
        (FileName.SUMMARY_JSON, "lastEntryIndex", 20, "recentWork"),
        (FileName.SUMMARY_JSON, "projectContext", "", "recentWork"),
        (FileName.SUMMARY_JSON, "lastUpdated", None, "keyDecisions"),
        (FileName.ENTITIES, "lastPruned", None, "files"),
        (FileName.ENTITIES, "lastUpdated", "", "files"),
    ],
)
def test_an_equal_value_of_a_key_is_no_sign(file: FileName, key: str, value: Any, items: str) -> None:
    """Two counters can meet, and what has not been set is the same everywhere; an item in common is one."""

    def document(names: str) -> bytes:
        entities, listed = {name: {"mentions": 1} for name in names}, [{"date": name} for name in names]
        return json.dumps({items: entities if file is FileName.ENTITIES else listed, key: value}).encode()

    for older in (None, b"{}"):
        assert chosen(file, older, [document("a")], document("b")) is None
        assert chosen(file, older, [document("a")], document("ab")) == 0


def test_what_is_too_much_to_look_at_is_none_and_neither_is_what_is_newer() -> None:
    """Nobody knows what of the newer one is in the older already."""
    large = b"{}\n" * MAX_LINES
    assert nearest(LOG, [Candidate(log("a"), received=True)], large) is None
    assert chosen(LOG, None, [large, log("a")], log("a mine")) is None
    assert chosen(LOG, None, [log("a"), large], log("a mine")) == 0


def test_what_only_a_stray_download_brought_is_still_new_in_the_next() -> None:
    """The client did not receive the first, so the second would have brought it."""
    assert nearest_log("a b c d e", ["a b c d e f", "a f"], "a mine") is None


def test_without_candidates_there_is_none() -> None:
    """Whether there is a surely known one or not."""
    assert nearest_log(None, [], "a") is None
    assert nearest_log("a", [], "a") is None


def test_an_empty_content_is_like_any_other() -> None:
    """It has no items."""
    assert nearest_log("", ["", "a"], "") is None
    assert nearest_log(None, [""], "") == 0


DOCUMENTS: list[tuple[FileName, Any, Any, Any]] = [
    (FileName.REMEMBERED, [{"content": "a"}], [{"content": "a"}, {"content": "b"}], [{"content": "b"}]),
    (
        FileName.ENTITIES,
        {"files": {"a": {"mentions": 1}}},
        {"files": {"a": {"mentions": 1}, "b": {"mentions": 1}}},
        {"files": {"a": {"mentions": 1}, "b": {"mentions": 1}, "c": {"mentions": 1}}},
    ),
    (
        FileName.SUMMARY_JSON,
        {"projectContext": "a", "recentWork": [{"date": "1"}]},
        {"projectContext": "b", "recentWork": [{"date": "1"}, {"date": "2"}]},
        {"projectContext": "b", "recentWork": [{"date": "1"}, {"date": "2"}, {"date": "3"}]},
    ),
]


@pytest.mark.parametrize(("file", "sure", "candidate", "upload"), DOCUMENTS)
def test_documents_are_compared_by_their_items(
    file: FileName, sure: Any, candidate: Any, upload: Any
) -> None:
    """Not by how they are written."""
    written = json.dumps(upload, indent=4).encode()
    one, other = (json.dumps(value).encode() for value in (sure, candidate))
    assert chosen(file, one, [other], written) == 0
    assert chosen(file, other, [one], written) is None


def test_what_is_not_of_its_form_is_compared_by_lines() -> None:
    """It may be half a document."""
    assert chosen(FileName.ENTITIES, b"{\nx", [b"{\nx\ny"], b"{\nx\ny\nz") == 0


def test_what_is_nested_as_deep_as_can_be_does_not_raise() -> None:
    """Somewhere between what can be looked into and what cannot be read, it is compared by lines."""
    for depth in range(1200):
        content = b'{"x": ' + b"[" * depth + b"]" * depth + b"}"
        assert chosen(FileName.SUMMARY_JSON, None, [content], content) == 0


@pytest.mark.parametrize("file", FileName)
@given(data=st.data())
def test_an_upload_that_was_not_changed_was_made_from_its_like(file: FileName, data: st.DataObject) -> None:
    """Unless one that is older has the same items."""
    sure, candidates = data.draw(SMALL[file]), data.draw(st.lists(SMALL[file], min_size=1, max_size=4))
    found = chosen(file, sure, candidates, candidates[-1])
    assert found is None or found < len(candidates)
    known = [*candidates, sure][-1 if found is None else found]
    assert chosen(file, None, [known], candidates[-1]) == 0


def test_files_of_real_size_are_told_apart() -> None:
    """Each from the five before it."""
    lines = plugin_files.log(3).splitlines(keepends=True)
    versions = [b"".join(lines[: 250 + 10 * number]) for number in range(6)]
    for index, version in enumerate(versions):
        assert chosen(LOG, None, versions, version + b"mine\n") == index
