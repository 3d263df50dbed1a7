"""Which version an upload was made from, by what they have in common."""

from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from mneme.merge.documents import is_document, parsed
from mneme.merge.log import lines
from mneme.merge.sides import JSON, canonical
from mneme.model import FileName

_Items: TypeAlias = AbstractSet[Hashable]


def nearest_of(file: FileName, sure: bytes | None, candidates: Sequence[bytes], upload: bytes) -> int | None:
    """See `mneme.merge.nearest`."""
    ours = _items(file, upload)
    older = _items(file, sure) if sure is not None else frozenset()
    best, shortest = None, len(older ^ ours) if sure is not None else None
    for index, candidate in enumerate(candidates):
        items = _items(file, candidate)
        added = items - older
        if added and added.isdisjoint(ours):
            continue
        older |= items
        distance = len(items ^ ours)
        if shortest is None or distance < shortest:
            best, shortest = index, distance
    return best


def _items(file: FileName, content: bytes) -> _Items:
    """What a content is made of: the items of its document, or else its lines."""
    try:
        document = parsed(file, content) if is_document(file) else None
        return frozenset(lines(content) if document is None else _flat(document))
    except RecursionError:
        return frozenset(lines(content))


def _flat(document: JSON) -> Iterator[Hashable]:
    """The items of arrays and of objects, down to those of the objects and arrays in the document."""
    for path, value in _entries(document):
        if isinstance(value, dict | list):
            yield from ((path, name, canonical(item)) for name, item in _entries(value))
        else:
            yield path, canonical(value)


def _entries(value: JSON) -> Iterator[tuple[str, JSON]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from (("", item) for item in value)
