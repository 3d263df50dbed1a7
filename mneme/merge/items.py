"""Which version an upload was made from, by what they have in common."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TypeAlias

from attrs import frozen

from mneme.merge.bounds import has_few_lines
from mneme.merge.documents import Document, is_document, parsed
from mneme.merge.log import lines
from mneme.merge.sides import JSON, canonical
from mneme.model import FileName

_Items: TypeAlias = AbstractSet[Hashable]


@frozen
class Candidate:
    """A content that an upload may have been made from; `received` if its client was sent it to the end."""

    content: bytes
    received: bool


def nearest(file: FileName, candidates: Sequence[Candidate], upload: bytes) -> int | None:
    """Which of the candidates, oldest first, an upload was made from; None if there is no telling.

    It is the one that differs from the upload in the fewest items, the older one of two such. One that was perhaps not
    received does not count if it has items which no older one that counts has, and the upload none of those: there is
    no sign that its client has ever seen it. What says little, an empty line or a single value, is no sign; and where
    there is nothing older, only the last item is one, for the others may be older than the candidate.
    """
    its = _items(file, upload)
    if its is None:
        return None
    ours = frozenset(its)
    older: _Items = frozenset()
    best, shortest = None, None
    for index, candidate in enumerate(candidates):
        listed = _items(file, candidate.content)
        if listed is None:
            # What is newer could not be judged without it.
            break
        items = frozenset(listed)
        if not candidate.received and items != ours and not _was_seen(listed, older, ours):
            continue
        older |= items
        distance = len(items ^ ours)
        if shortest is None or distance < shortest:
            best, shortest = index, distance
    return best


def _was_seen(listed: Sequence[Hashable], older: _Items, ours: _Items) -> bool:
    """Whether an upload shows that its client has seen what was new in a candidate, if there was anything."""
    added = [item for item in listed if item not in older]
    signs = [item for item in added if _is_sign(item)]
    return not added or any(item in ours for item in (signs if older else signs[-1:]))


def _is_sign(item: Hashable) -> bool:
    """Whether two contents are unlikely to have this in common by chance."""
    match item:
        case bytes():
            return bool(item.strip())
        case (_, _, _):
            return True
        case _:
            return False


def _items(file: FileName, content: bytes) -> Sequence[Hashable] | None:
    """What a content is made of: the items of its document, or else its lines; None if that is too much to look at."""
    # What could just be read can be nested too deep to be looked into.
    with suppress(RecursionError):
        document = parsed(file, content) if is_document(file) else None
        if document is not None:
            return list(_flat(document))
    return lines(content) if has_few_lines(content) else None


def _flat(document: Document) -> Iterator[Hashable]:
    """The items of arrays and of objects, down to those of the objects and arrays in the document."""
    if isinstance(document, list):
        yield from (("", "", canonical(item)) for item in document)
        return
    for path, value in document.items():
        if isinstance(value, dict | list):
            yield from ((path, name, canonical(item)) for name, item in _entries(value))
        else:
            yield path, canonical(value)


def _entries(value: Document) -> Iterable[tuple[str, JSON]]:
    return value.items() if isinstance(value, dict) else (("", item) for item in value)
