"""Merging for tests, and looking at what is in a content."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mneme.bases import Candidate, Evidence, choose
from mneme.merge import merge
from mneme.model import FileName
from tests.merge.strategies import LIMIT

_LISTS = {"keyDecisions", "recentWork"}


def merged(
    file: FileName,
    base: bytes | None,
    head: bytes,
    upload: bytes,
    *,
    later: bool = True,
    max_bytes: int = LIMIT,
) -> bytes:
    """The merge of contents that can be merged."""
    result = merge(file, base, head, upload, upload_is_later=later, max_bytes=max_bytes)
    assert result is not None
    return result


def cannot_merge(file: FileName, one: bytes, other: bytes) -> bool:
    """Whether two contents are not merged, whichever of them is the head."""
    sides = ((one, other), (other, one))
    return all(merge(file, None, *two, upload_is_later=True, max_bytes=LIMIT) is None for two in sides)


def merged_json(file: FileName, base: Any, head: Any, upload: Any, *, later: bool = True) -> Any:
    """The merge of documents; a base of None is one that is not known."""
    before = None if base is None else json.dumps(base).encode()
    return json.loads(
        merged(file, before, json.dumps(head).encode(), json.dumps(upload).encode(), later=later)
    )


def items(file: FileName, content: bytes) -> Counter[str]:
    """The items of a content that a merge keeps or removes whole."""
    if file in (FileName.LOG, FileName.SUMMARY_MD):
        lines = content.split(b"\n")
        return Counter(repr(line) for line in (lines if lines[-1] else lines[:-1]))
    return Counter(json.dumps(item, sort_keys=True) for item in _json_items(file, json.loads(content)))


def _json_items(file: FileName, document: Any) -> list[Any]:
    if file is FileName.REMEMBERED:
        whole = {"ts", "type", "content"}
        return [[one[key] for key in sorted(whole)] if whole <= one.keys() else one for one in document]
    if file is FileName.ENTITIES:
        return [[group, name] for group in ("files", "functions") for name in document.get(group, {})]
    return [[name, one] for name in _LISTS for one in document.get(name, [])]


def has_lists(*summaries: bytes) -> bool:
    """Whether all of these summaries have all lists, be they empty."""
    return all(json.loads(summary).keys() >= _LISTS for summary in summaries)


def alike(file: FileName, one: bytes, other: bytes) -> bool:
    """Whether two contents have the same in them, whatever its order."""
    if file in (FileName.LOG, FileName.SUMMARY_MD):
        return items(file, one) == items(file, other)
    return bool(_unordered(json.loads(one)) == _unordered(json.loads(other)))


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unordered(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted(json.dumps(_unordered(inner), sort_keys=True) for inner in value)
    return json.dumps(value)


def chosen(file: FileName, sure: bytes | None, candidates: Sequence[bytes], upload: bytes) -> int | None:
    """The candidate that an upload was made from; None for `sure` or no base.

    The candidates were perhaps never received.
    """
    known = [] if sure is None else [Candidate(sure, Evidence.RECEIVED)]
    index = choose(file, [*known, *(Candidate(one, Evidence.SENT) for one in candidates)], upload).index
    return index - len(known) if index is not None and index >= len(known) else None
