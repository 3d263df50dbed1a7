"""Bases: pure rules that find the version that an upload was made from.

A merge removes the items that the base has and the upload lacks. So a base that is too new removes items of other
machines. A base that is too old brings back items that somebody removed. CONTRACT.md, "Bases", has the rules. Items are
the lines of a log, the facts of `remembered.json`, and the entries of the other files.
"""

import enum
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TypeAlias

import msgspec
from msgspec import Struct

from mneme.merge.bounds import MAX_DOCUMENT, has_few_lines
from mneme.merge.documents import JsonDocument, is_document, parsed
from mneme.merge.jsonvalues import JSON, canonical
from mneme.merge.log import lines
from mneme.model import FileName

_A_FEW = 8

_Items: TypeAlias = AbstractSet[Hashable]


class Evidence(enum.IntEnum):
    """Degree of certainty that a client has a version."""

    SENT = 0
    """The version was sent to the client, which may not have received it."""
    RECEIVED = 1
    """The client received the whole answer, or uploaded this content itself."""
    NAMED = 2
    """The upload itself names this content as its base."""


class Candidate(Struct, frozen=True):
    """A possible base of an upload."""

    content: bytes
    evidence: Evidence


class Choice(Struct, frozen=True):
    """The index of the base among the candidates; None without a base.

    `is_unrelated` is whether the reason for None is that the upload shares nothing with the nearest candidate.
    """

    index: int | None
    is_unrelated: bool = False


def choose(file: FileName, candidates: Sequence[Candidate], upload: bytes) -> Choice:
    """Choose the base of an upload among the candidates.

    `candidates` are in the order in which the client got them. A named candidate is the base. Otherwise a received
    candidate rules out all older ones. A sent candidate counts as received if the upload has an item that only this
    candidate brought. Of the rest, the candidate nearest to the upload is the base; of two equally near, the older one.
    If the upload shares nothing with the chosen candidate, there is no base.
    """
    if not candidates:
        return Choice(None)
    named = _newest(candidates, Evidence.NAMED)
    if named is not None:
        return Choice(named)
    first = _newest(candidates, Evidence.RECEIVED) or 0
    is_last = first == len(candidates) - 1 and candidates[first].evidence is Evidence.RECEIVED
    chosen = first if is_last else _nearest(file, candidates, first, upload)
    if chosen is not None and share_nothing(file, candidates[chosen].content, upload):
        return Choice(None, is_unrelated=True)
    return Choice(chosen)


def share_nothing(file: FileName, one: bytes, other: bytes) -> bool:
    """Whether two contents have no item in common, and neither is empty.

    Then neither was made from the other: one client id is used in two folders, or a machine was set up again.
    """
    if _share_at_a_glance(file, one, other):
        return False
    ours, theirs = _signs(file, one), _signs(file, other)
    return bool(ours) and bool(theirs) and ours.isdisjoint(theirs)


def removable(file: FileName, base: bytes, upload: bytes) -> bytes:
    """The part of a base from which an upload can have removed items.

    A stock client removes lines only from the start of a log. If the upload lacks a line of the base, but has an
    earlier one, it did not remove that line: the client never had it. The removable part of any other file is the whole
    base.
    """
    if file is not FileName.LOG or upload.startswith(base) or not has_few_lines(base):
        return base
    kept = _kept(lines(base), Counter(lines(upload)))
    # The summarizer drops all blank lines, so these do not show where it has cut.
    first = next((place for place, line in enumerate(kept) if line and line.strip()), len(kept))
    if None not in kept[first:]:
        return base
    left = [*lines(base)[:first], *(line for line in kept[first:] if line is not None)]
    return b"".join(line + b"\n" for line in left)


def continues(file: FileName, earlier: bytes, upload: bytes) -> bool:
    """Whether an upload was made from an earlier one of its client, and replaces it."""
    return not share_nothing(file, earlier, upload) and removable(file, earlier, upload) == earlier


def repeats(file: FileName, earlier: bytes, upload: bytes) -> bool:
    """Whether an upload continues an earlier one, and has all its items, perhaps changed."""
    if not continues(file, earlier, upload):
        return False
    ours, theirs = _entries(file, upload), _entries(file, earlier)
    return theirs <= ours


def _entries(file: FileName, content: bytes) -> frozenset[Hashable]:
    """Array items of a document, and the names of the entries in its objects."""
    items = (_items(file, content) or ()) if is_document(file) else ()
    return frozenset(
        (path, name) if name else item
        for item in items
        if isinstance(item, tuple) and len(item) == 3
        for path, name, _ in [item]
    )


def _newest(candidates: Sequence[Candidate], evidence: Evidence) -> int | None:
    """The index of the newest candidate with at least this evidence; None without one."""
    found = [index for index, one in enumerate(candidates) if one.evidence >= evidence]
    return found[-1] if found else None


def _nearest(file: FileName, candidates: Sequence[Candidate], first: int, upload: bytes) -> int | None:
    """The index of the candidate, from `first` on, with the fewest different items.

    A candidate that was only sent may have brought new items. If the upload has none of them, the candidate does not
    count. If the upload has some, the candidate was received, and all older ones are ruled out.
    """
    its = _items(file, upload)
    if its is None:
        return None
    ours = frozenset(its)
    older: set[Hashable] | None = None
    best, shortest = None, None
    for index, candidate in enumerate(candidates[first:], start=first):
        listed = _items(file, candidate.content)
        if listed is None:
            # Newer candidates cannot be judged without the items of this one.
            break
        items = frozenset(listed)
        if candidate.evidence is Evidence.SENT and items != ours:
            brought = [item for item in listed if older is None or item not in older]
            if brought and not _is_seen(brought, older is None, ours):
                continue
            if brought:
                best, shortest = None, None
        older = (older or set()) | items
        distance = len(items ^ ours)
        if shortest is None or distance < shortest:
            best, shortest = index, distance
    return best


def _is_seen(brought: Sequence[Hashable], alone: bool, ours: _Items) -> bool:
    """Whether an upload has items that a candidate brought.

    If the candidate is `alone`, with no older one, only its last item counts: the client may have had the others
    before.
    """
    signs = [item for item in brought if _is_sign(item)]
    return any(item in ours for item in (signs[-1:] if alone else signs))


def _kept(base: Sequence[bytes], upload: Counter[bytes]) -> list[bytes | None]:
    """The lines of a base, with None for each line that the upload lacks.

    If a line occurs several times, the last occurrences are matched first.
    """
    kept: list[bytes | None] = []
    for line in reversed(base):
        is_kept = upload[line] > 0 or not line.strip()
        upload[line] -= 1
        kept.append(line if is_kept else None)
    return kept[::-1]


def _share_at_a_glance(file: FileName, one: bytes, other: bytes) -> bool:
    """Whether a quick look finds an item in common.

    Nearly every upload has one, and comparing all items takes ten times as long.
    """
    if not is_document(file):
        _, _, last = one.rstrip().rpartition(b"\n")
        return bool(last) and b"\n%b\n" % last in b"\n%b\n" % other
    with suppress(ValueError, RecursionError):
        ours, theirs = (msgspec.json.decode(content[:MAX_DOCUMENT]) for content in (one, other))
        if isinstance(ours, dict) and isinstance(theirs, dict):
            return any(_have_an_entry(value, theirs.get(path)) for path, value in ours.items())
        return _have_an_entry(ours, theirs)
    return False


def _have_an_entry(ours: JSON, theirs: JSON) -> bool:
    """Whether two objects or arrays have an entry in common.

    Only the first and the last few items of an array are compared.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return any(name in theirs and theirs[name] == value for name, value in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return any(item in theirs for item in (*ours[:_A_FEW], *ours[-_A_FEW:]))
    return False


def _is_sign(item: Hashable) -> bool:
    """Whether two contents are unlikely to share this item by chance."""
    match item:
        case bytes():
            return bool(item.strip())
        case (_, _, _):
            return True
        case _:
            return False


def _signs(file: FileName, content: bytes) -> frozenset[Hashable]:
    """The items that two contents rarely share by chance; none if too large."""
    signs = frozenset(
        item.strip() if isinstance(item, bytes) else item
        for item in _items(file, content) or ()
        if _is_sign(item)
    )
    with suppress(RecursionError):
        document = parsed(file, content) if is_document(file) else None
        if isinstance(document, dict):
            return signs | frozenset(_finer(document))
    return signs


def _finer(document: dict[str, JSON]) -> Iterator[Hashable]:
    """Small items that stay equal when an entry around them changes.

    These are the contexts of entities, and the text about the project.
    """
    for path, value in document.items():
        if isinstance(value, dict):
            for name, entry in value.items():
                contexts = entry.get("contexts") if isinstance(entry, dict) else None
                if isinstance(contexts, list):
                    yield from ((path, name, canonical(one)) for one in contexts)
        elif isinstance(value, str) and path == "projectContext" and value.strip():
            yield (path, "", value)


def _items(file: FileName, content: bytes) -> Sequence[Hashable] | None:
    """The items of a JSON document, or the lines of others; None if too many."""
    # A document that can be parsed may still be nested too deeply for `_flat`.
    with suppress(RecursionError):
        document = parsed(file, content) if is_document(file) else None
        if document is not None:
            return list(_flat(document))
    return lines(content) if has_few_lines(content) else None


def _flat(document: JsonDocument) -> Iterator[Hashable]:
    """The items of a document: those of its arrays, and the entries of its objects."""
    if isinstance(document, list):
        yield from (("", "", canonical(item)) for item in document)
        return
    for path, value in document.items():
        if isinstance(value, dict):
            yield from ((path, name, canonical(item)) for name, item in value.items())
        elif isinstance(value, list):
            yield from ((path, "", canonical(item)) for item in value)
        else:
            yield path, canonical(value)
