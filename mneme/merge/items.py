"""Which version an upload was made from, by what they have in common."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TypeAlias

from mneme.merge.documents import Document, is_document, parsed
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
    # What could just be read can be nested too deep to be looked into.
    with suppress(RecursionError):
        document = parsed(file, content) if is_document(file) else None
        if document is not None:
            return frozenset(_flat(document))
    return frozenset(lines(content))


def _flat(document: Document) -> Iterator[Hashable]:
    """The items of arrays and of objects, down to those of the objects and arrays in the document."""
    for path, value in _entries(document):
        if isinstance(value, dict | list):
            yield from ((path, name, canonical(item)) for name, item in _entries(value))
        else:
            yield path, canonical(value)


def _entries(value: Document) -> Iterable[tuple[str, JSON]]:
    return value.items() if isinstance(value, dict) else (("", item) for item in value)
