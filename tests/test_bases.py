"""Rules of bases: the origin of an upload, and the items that it removed."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.bases import Candidate, Choice, Evidence, choose, continues, removable, share_nothing
from mneme.merge.bounds import MAX_LINES
from mneme.model import MEMORY, FileName
from tests import plugin_files
from tests.merge.looking import chosen
from tests.merge.strategies import contents

LOG = FileName.LOG


def log(words: str) -> bytes:
    """A log with one line for each word."""
    return b"".join(word.encode() + b"\n" for word in words.split())


def received(words: str) -> Candidate:
    """A log that its client took whole."""
    return Candidate(log(words), Evidence.RECEIVED)


def sent(words: str) -> Candidate:
    """A log whose answer was perhaps cut off."""
    return Candidate(log(words), Evidence.SENT)


NEAREST: list[tuple[str, str | None, list[str], str, int | None]] = [
    ("an upload has what was new in the download", "a b", ["a b c", "a b c d"], "a b c mine", 0),
    ("an upload has what was new in a later download", "a b", ["a b c", "a b c d"], "a b c d mine", 1),
    ("a stray download has nothing new that is in the upload", "a b", ["a b c"], "a b mine", None),
    ("a stray download is none even if it is nearer", "a b c d e", ["a f"], "a mine", None),
    ("a client that summed up a real download had it", "a b c d e f", ["a b c d e f g h"], "g h mine", 0),
    ("a version that only removed something can be it", "a b c d", ["a b"], "a b mine", 0),
    ("of two that are as near the older is it", "a b c d", ["a b"], "a b c", None),
    ("without a sure one the nearest is it, however far", None, ["a b c d e f"], "f mine", 0),
    ("without a sure one a stray download is none", None, ["a b"], "mine", None),
    ("where nothing is older only the last line is a sign", None, ["a b new"], "a b mine", None),
    ("the last line is a sign", None, ["a b new"], "a b new mine", 0),
    ("the last line alone is a sign", None, ["a b new"], "new mine", 0),
    ("a stray download is nothing older", None, ["x y", "a b new"], "a b mine", None),
    ("after a stray download the last line is a sign", None, ["x y", "a b new"], "b new mine", 1),
    ("where something is older any new line is a sign", "a", ["a b c d"], "a b c mine", 0),
    ("lines of a stray download are new in the next", "a b c d e", ["a b c d e f", "a f"], "a mine", None),
    ("without candidates there is none", None, [], "a", None),
    ("beside a sure one without candidates there is none", "a", [], "a", None),
    ("an empty sure one is like any other", "", ["", "a"], "", None),
    ("an empty candidate is like any other", None, [""], "", 0),
]


@pytest.mark.parametrize(
    ("sure", "candidates", "upload", "index"),
    [case[1:] for case in NEAREST],
    ids=[case[0] for case in NEAREST],
)
def test_the_nearest_candidate_that_can_have_arrived_is_the_base(
    sure: str | None, candidates: list[str], upload: str, index: int | None
) -> None:
    """None is for the sure one, or for no base."""
    known = None if sure is None else log(sure)
    assert chosen(LOG, known, list(map(log, candidates)), log(upload)) == index


@pytest.mark.parametrize(
    ("newest", "upload", "choice"),
    [
        (received("a b c d"), "a b", 1),
        (received("a b c d"), "", 1),
        (sent("a b c d"), "a b", 0),
        (sent("a b c d"), "a b c mine", 1),
        (sent("a b c d"), "b c mine", 1),
        (sent("a b c d"), "b mine", 0),
    ],
)
def test_a_version_needs_a_sign_only_if_it_was_cut_off(newest: Candidate, upload: str, choice: int) -> None:
    """An upload that forgets all that was fetched looks like the older version."""
    assert choose(LOG, [received("a b"), newest], log(upload)) == Choice(choice)


def test_a_named_version_is_the_base_whatever_else_was_received() -> None:
    """The upload itself says so, also where it shares nothing with it."""
    named = Candidate(log("a b"), Evidence.NAMED)
    assert choose(LOG, [named, received("a b c")], log("a b c")) == Choice(0)
    assert choose(LOG, [named], log("mine")) == Choice(0)


@pytest.mark.parametrize("evidence", [Evidence.SENT, Evidence.RECEIVED])
def test_an_upload_that_shares_nothing_with_its_base_has_none(evidence: Evidence) -> None:
    """Only a version that was surely received tells of one id in two folders."""
    choice = choose(LOG, [Candidate(log("a b"), evidence)], log("mine"))
    assert choice == Choice(None, is_unrelated=evidence is Evidence.RECEIVED)


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
    """Most items are notes, though the download may be nearer than older versions."""
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
    """Counters can meet, and unset values are equal everywhere; a common item is a sign."""

    def document(names: str) -> bytes:
        entities, listed = {name: {"mentions": 1} for name in names}, [{"date": name} for name in names]
        return json.dumps({items: entities if file is FileName.ENTITIES else listed, key: value}).encode()

    for older in (None, b"{}"):
        assert chosen(file, older, [document("a")], document("b")) is None
        assert chosen(file, older, [document("a")], document("ab")) == 0


def test_a_version_with_too_many_lines_is_no_base_and_no_newer_one_is() -> None:
    """Nobody knows what of the newer one is in the older already."""
    large = b"{}\n" * MAX_LINES
    assert choose(LOG, [sent("a")], large) == Choice(None)
    assert chosen(LOG, None, [large, log("a")], log("a mine")) is None
    assert chosen(LOG, None, [log("a"), large], log("a mine")) == 0


@pytest.mark.parametrize(
    ("file", "sure", "candidate", "upload"),
    [
        (FileName.REMEMBERED, [fact("a")], [fact("a"), fact("b")], [fact("b")]),
        (FileName.ENTITIES, {"files": {"a": {}}}, {"files": {"a": {}, "b": {}}}, {"files": {"b": {}}}),
        (FileName.SUMMARY_JSON, {"x": [{"a": 1}]}, {"x": [{"a": 1}, {"b": 1}]}, {"x": [{"b": 1}]}),
    ],
)
def test_documents_are_compared_by_items(file: FileName, sure: Any, candidate: Any, upload: Any) -> None:
    """The layout means nothing."""
    written = json.dumps(upload, indent=4).encode()
    one, other = (json.dumps(value).encode() for value in (sure, candidate))
    assert chosen(file, one, [other], written) == 0
    assert chosen(file, other, [one], written) is None


def test_malformed_documents_are_compared_by_lines() -> None:
    """Half a document is such a content."""
    assert chosen(FileName.ENTITIES, b"{\nx", [b"{\nx\ny"], b"{\nx\ny\nz") == 0


def test_documents_of_any_depth_do_not_raise() -> None:
    """At some depth the contents are compared by lines."""
    for depth in range(1200):
        content = b'{"x": ' + b"[" * depth + b"]" * depth + b"}"
        assert chosen(FileName.SUMMARY_JSON, None, [content], content) == 0


@pytest.mark.parametrize("file", MEMORY)
@given(data=st.data())
def test_an_upload_that_was_not_changed_was_made_from_its_like(file: FileName, data: st.DataObject) -> None:
    """An older one may have the same items."""
    known = data.draw(st.lists(candidates_of(file), min_size=1, max_size=4))
    upload = known[-1].content
    index = choose(file, known, upload).index
    assert index is not None
    assert choose(file, [Candidate(known[index].content, Evidence.SENT)], upload).index == 0


def candidates_of(file: FileName) -> st.SearchStrategy[Candidate]:
    """Candidates of a file, with any evidence but a name."""
    return st.builds(Candidate, contents(file), st.sampled_from([Evidence.SENT, Evidence.RECEIVED]))


# Laws


@pytest.mark.parametrize("file", MEMORY)
@given(data=st.data())
def test_certain_outranks_near(file: FileName, data: st.DataObject) -> None:
    """A named version is chosen, wherever it stands and whatever the upload looks like."""
    known = data.draw(st.lists(candidates_of(file), max_size=4))
    place = data.draw(st.integers(0, len(known)))
    named = Candidate(data.draw(contents(file)), Evidence.NAMED)
    upload = data.draw(st.sampled_from([*(one.content for one in known), named.content]) | contents(file))
    assert choose(file, [*known[:place], named, *known[place:]], upload) == Choice(place)


@pytest.mark.parametrize("file", MEMORY)
@given(data=st.data())
def test_more_evidence_never_makes_an_older_choice(file: FileName, data: st.DataObject) -> None:
    """Whichever candidate turns out to have been received, or is named."""
    known = data.draw(st.lists(candidates_of(file), min_size=1, max_size=4))
    upload = data.draw(st.sampled_from([one.content for one in known]) | contents(file))
    before = choose(file, known, upload).index
    place = data.draw(st.integers(before or 0, len(known) - 1))
    known[place] = Candidate(
        known[place].content, data.draw(st.sampled_from([Evidence.RECEIVED, Evidence.NAMED]))
    )
    after = choose(file, known, upload).index
    assert before is None or after is None or after >= before


@pytest.mark.parametrize("file", MEMORY)
@given(data=st.data())
def test_disjoint_is_none(file: FileName, data: st.DataObject) -> None:
    """No chosen version shares nothing with the upload, whatever its evidence."""
    known = data.draw(st.lists(candidates_of(file), min_size=1, max_size=4))
    upload = data.draw(contents(file))
    choice = choose(file, known, upload)
    if choice.index is not None:
        assert not share_nothing(file, known[choice.index].content, upload)
    if choice.is_unrelated:
        assert choice.index is None
        assert any(share_nothing(file, one.content, upload) for one in known)


@pytest.mark.parametrize(
    ("file", "one", "other"),
    [
        (FileName.REMEMBERED, [{"ts": "1", "content": "a"}], [{"ts": "2", "content": "a"}]),
        (FileName.ENTITIES, {"files": {"a": {"mentions": 1}}}, {"files": {"a": {"mentions": 2}}}),
        (
            FileName.SUMMARY_JSON,
            {"recentWork": [{"date": "1"}]},
            {"recentWork": [{"date": "2"}], "lastEntryIndex": 0},
        ),
    ],
)
def test_documents_share_by_their_entries(file: FileName, one: Any, other: Any) -> None:
    """Counters and times are equal by chance; an empty document is no stranger."""
    mine, theirs = json.dumps(one).encode(), json.dumps(other).encode()
    assert share_nothing(file, mine, theirs)
    assert not share_nothing(file, mine, json.dumps(one, indent=2).encode())
    empty = json.dumps(type(one)()).encode()
    assert not share_nothing(file, mine, empty)
    assert not share_nothing(file, empty, theirs)


def test_an_entity_is_known_again_by_what_was_seen_of_it() -> None:
    """All entities may be counted up in a session; two projects may have a README."""

    def index(mentions: int, *contexts: str) -> bytes:
        entity = {"mentions": mentions, "contexts": [{"ts": one, "summary": "Fix it"} for one in contexts]}
        return json.dumps({"files": {"README.md": entity}}).encode()

    assert not share_nothing(FileName.ENTITIES, index(1, "1"), index(2, "1", "2"))
    assert share_nothing(FileName.ENTITIES, index(1, "1"), index(2, "2", "3"))


def test_a_summary_is_known_again_by_what_it_says_of_the_project() -> None:
    """All else in it may have been written anew."""

    def summary(context: str, work: str) -> bytes:
        return json.dumps({"projectContext": context, "recentWork": [{"date": work}]}).encode()

    assert not share_nothing(FileName.SUMMARY_JSON, summary("An app", "1"), summary("An app", "2"))
    assert share_nothing(FileName.SUMMARY_JSON, summary("An app", "1"), summary("A site", "2"))
    assert share_nothing(FileName.SUMMARY_JSON, summary("", "1"), summary("", "2"))


# What an upload can have removed from its base


@pytest.mark.parametrize("base", [b"\na\nb\nc\n", b"a\n\nb\nc\n", b"a\nb\n\nc\n"])
def test_a_blank_line_does_not_tell_where_a_log_was_cut(base: bytes) -> None:
    """The summarizer leaves none, wherever it was."""
    assert removable(LOG, base, b"c\nmine\n") == base


@pytest.mark.parametrize(
    ("base", "upload", "left"),
    [
        ("a b c d", "c d mine", "a b c d"),
        ("a b c d", "", "a b c d"),
        ("a b c d", "mine", "a b c d"),
        ("a b c d", "a b c mine", "a b c"),
        ("a b c d e", "a c mine", "a c"),
        ("a b c d e", "b d mine", "a b d"),
        ("x y x", "x mine", "x y x"),
        ("x x", "x mine", "x x"),
    ],
)
def test_lines_of_a_log_behind_a_kept_one_were_not_removed(base: str, upload: str, left: str) -> None:
    """The summarizer drops the oldest lines; nothing takes others."""
    assert removable(LOG, log(base), log(upload)) == log(left)


@pytest.mark.parametrize("file", [one for one in MEMORY if one is not LOG])
def test_anything_can_be_removed_from_the_other_files(file: FileName) -> None:
    """A person forgets any fact, and the plugin prunes any entity."""
    assert removable(file, b"a\nb\nc\n", b"a\nc\n") == b"a\nb\nc\n"


words = st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join)


@given(base=words, upload=words)
def test_the_removable_part_has_all_that_was_kept(base: str, upload: str) -> None:
    """And asking again comes to the same."""
    before, kept = Counter(base.split()), Counter(base.split()) & Counter(upload.split())
    left = removable(LOG, log(base), log(upload))
    assert kept <= Counter(left.decode().split()) <= before
    assert removable(LOG, left, log(upload)) == left


@given(base=words, count=st.integers(0, 8), added=words)
def test_lines_can_be_removed_from_the_front_of_a_log(base: str, count: int, added: str) -> None:
    """Any cut counts, if the added lines are no copies of it."""
    lines = base.split()
    new = [f"new {word}" for word in added.split()]
    upload = b"".join(line.encode() + b"\n" for line in [*lines[count:], *new])
    assert removable(LOG, log(base), upload) == log(base)


def test_a_later_upload_continues_an_earlier_one_unless_it_lacks_what_a_stock_client_keeps() -> None:
    """Uploads of two folders with one id, or of clones, do not replace each other."""
    assert continues(LOG, log("a b mine"), log("b mine more"))
    assert not continues(LOG, log("a b mine"), log("a b other"))
    assert not continues(LOG, log("mine"), log("other"))
    facts = [json.dumps(one).encode() for one in ([fact("a"), fact("b")], [fact("a")], [fact("c")])]
    assert continues(FileName.REMEMBERED, facts[0], facts[1])
    assert not continues(FileName.REMEMBERED, facts[0], facts[2])


def test_files_of_real_size_are_told_apart() -> None:
    """Each from the five before it."""
    lines = plugin_files.log(3).splitlines(keepends=True)
    versions = [b"".join(lines[: 250 + 10 * number]) for number in range(6)]
    for index, version in enumerate(versions):
        assert chosen(LOG, None, versions, version + b"mine\n") == index
