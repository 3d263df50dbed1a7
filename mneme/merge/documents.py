"""Files that are one JSON document each: read, merged and written."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import UNSET, Struct

from mneme.merge import entities, remembered, summary
from mneme.merge.bounds import MAX_DOCUMENT
from mneme.merge.jsonvalues import JSON, has_form, read, written
from mneme.merge.threeway import Rule, ThreeWay, one_sided, same_items
from mneme.merge.times import wins
from mneme.model import FileName

JsonDocument: TypeAlias = dict[str, JSON] | list[JSON]


class _Format(Struct, frozen=True):
    form: Any
    rule: Rule


_FORMATS: Mapping[FileName, _Format] = {
    FileName.SUMMARY_JSON: _Format(summary.FORM, summary.merge_summaries),
    FileName.REMEMBERED: _Format(remembered.FORM, remembered.merge_remembered),
    FileName.ENTITIES: _Format(entities.FORM, entities.merge_entities),
}


def is_document(file: FileName) -> bool:
    """Whether a file is one JSON document."""
    return file in _FORMATS


def is_json(content: bytes) -> bool:
    """Whether a content is JSON of any form, or nested too deeply to know."""
    try:
        read(content)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def parsed(file: FileName, content: bytes) -> JsonDocument | None:
    """The document in a content; None if it is malformed or too large."""
    if len(content) > MAX_DOCUMENT:
        return None
    try:
        value = read(content)
        is_of_form = has_form(value, _FORMATS[file].form)
    except (ValueError, RecursionError):
        return None
    return value if is_of_form and isinstance(value, dict | list) else None


def merge_documents(
    file: FileName, base: bytes | None, head: bytes, upload: bytes, *, upload_is_later: bool
) -> bytes | None:
    """The merge of two documents; None if one of them is malformed."""
    before = None if base is None else parsed(file, base)
    ours, theirs = parsed(file, head), parsed(file, upload)
    if ours is None or theirs is None:
        return None
    upload_wins = wins(ours, theirs, upload_is_later)
    values = ThreeWay(UNSET if before is None else before, ours, theirs, upload_wins)
    merged = one_sided(values, _FORMATS[file].rule)
    if merged is UNSET or same_items(merged, ours):
        return head
    if same_items(merged, theirs):
        return upload
    return _written(merged, like=upload if upload_is_later else head)


def _written(value: JSON, like: bytes) -> bytes:
    """The document as text, with the indentation and the end of another text."""
    text = written(value, indent=2 if b"\n" in like.strip() else None)
    return text + (b"\n" if like.endswith(b"\n") else b"")
