"""Differences between two contents of a file, for people. Pure functions that never raise."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

from msgspec import UNSET, Struct

from mneme.merge.bounds import has_few_lines
from mneme.merge.documents import is_document, parsed
from mneme.merge.jsonvalues import JSON, Value, canonical
from mneme.merge.log import is_log, lines
from mneme.merge.matching import UniqueLines
from mneme.merge.remembered import identity
from mneme.merge.summary import has_topics, topic_of
from mneme.merge.text import whole_lines
from mneme.merge.threeway import DEEPEST, Items, together
from mneme.model import FileName

KeyPath: TypeAlias = tuple[str, ...]
"""The keys that lead to a value in a document; empty for a log."""

ChangedValue: TypeAlias = "bytes | Value"
"""A line without its newline, or a value of JSON; UNSET where there is none."""

_FINEST = 8
"""How deep the lines between shared lines are compared again; each level reads all lines."""


class Change(Struct, frozen=True):
    """An entry that differs between two contents, or that one of them lacks.

    It is what lies at `path`, or else, where it `is_item`, one of the items of the array there.
    """

    path: KeyPath
    before: ChangedValue
    after: ChangedValue
    is_item: bool = False


class Entries(Struct, frozen=True):
    """Changes by entries, copies counted, order ignored."""

    changes: tuple[Change, ...]


class Hunk(Struct, frozen=True):
    """Lines replaced by others, from the number `line` on, counted from 1."""

    line: int
    removed: tuple[bytes, ...]
    added: tuple[bytes, ...]


class Lines(Struct, frozen=True):
    """Changes by lines, from the top."""

    hunks: tuple[Hunk, ...]


def differences(file: FileName, before: bytes, after: bytes) -> Entries | Lines | None:
    """Changes by entries if both contents have the form of their file, else by lines.

    None if there are too many lines for that.
    """
    # A document that can be read may be nested too deep for recursion.
    with suppress(RecursionError):
        changes = _by_entries(file, before, after)
        if changes is not None:
            return Entries(tuple(changes))
    if not (has_few_lines(before) and has_few_lines(after)):
        return None
    return Lines(tuple(_hunks(whole_lines(before), whole_lines(after))))


def inside(before: JSON, after: JSON) -> tuple[Change, ...]:
    """Changes within a value that `differences` returned."""
    return tuple(_between((), before, after, _no_identity))


_IdentityOf: TypeAlias = Callable[[KeyPath, JSON, JSON], Callable[[JSON], bytes]]
"""The identity function for items of the arrays at a path."""


def _by_entries(file: FileName, before: bytes, after: bytes) -> list[Change] | None:
    if file is FileName.LOG:
        both = is_log(before) and is_log(after)
        return list(_between_logs(lines(before), lines(after))) if both else None
    if not is_document(file):
        return None
    one, other = parsed(file, before), parsed(file, after)
    if one is None or other is None:
        return None
    return list(_between((), one, other, _IDENTITIES.get(file, _no_identity)))


def _between_logs(before: Sequence[bytes], after: Sequence[bytes]) -> Iterator[Change]:
    ours, theirs = Counter(before), Counter(after)
    for line in (ours - theirs).elements():
        yield Change((), line, UNSET, is_item=True)
    for line in (theirs - ours).elements():
        yield Change((), UNSET, line, is_item=True)


def _between(path: KeyPath, before: Value, after: Value, identity_of: _IdentityOf) -> Iterator[Change]:
    if canonical(before) == canonical(after):
        return
    match before, after:
        case dict(), dict() if len(path) < DEEPEST:
            for key in dict.fromkeys([*before, *after]):
                values = before.get(key, UNSET), after.get(key, UNSET)
                yield from _between((*path, key), *values, identity_of)
        case list(), list():
            yield from _between_items(path, before, after, identity_of(path, before, after))
        case _:
            yield Change(path, before, after)


def _between_items(
    path: KeyPath, before: Sequence[JSON], after: Sequence[JSON], identity: Callable[[JSON], bytes]
) -> Iterator[Change]:
    both = [Items(before, identity), Items(after, identity)]
    names = Counter(both[0].names) | Counter(both[1].names)
    for one, other in together(names.elements(), both):
        if canonical(one) != canonical(other):
            yield Change(path, one, other, is_item=True)


def _no_identity(_place: KeyPath, _before: JSON, _after: JSON) -> Callable[[JSON], bytes]:
    return canonical


def _by_topic(path: KeyPath, before: JSON, after: JSON) -> Callable[[JSON], bytes]:
    states = path == ("currentState",) and has_topics(before) and has_topics(after)
    return topic_of if states else canonical


def _as_remembered(path: KeyPath, _before: JSON, _after: JSON) -> Callable[[JSON], bytes]:
    return canonical if path else identity


_IDENTITIES = {FileName.SUMMARY_JSON: _by_topic, FileName.REMEMBERED: _as_remembered}


def _hunks(before: Sequence[bytes], after: Sequence[bytes], line: int = 1, depth: int = 0) -> Iterator[Hunk]:
    """Hunks between two lists of lines; the first line has the number `line`."""
    blocks = UniqueLines(a=before, b=after).get_matching_blocks()
    # A repeated line, blank for instance, may be unique between two shared lines.
    finer = len(blocks) > 1 and depth < _FINEST
    here = there = 0
    for ours, theirs, length in blocks:
        removed, added = before[here:ours], after[there:theirs]
        if removed and added and finer:
            yield from _hunks(removed, added, line + here, depth + 1)
        elif removed or added:
            yield Hunk(line + here, tuple(removed), tuple(added))
        here, there = ours + length, theirs + length
