"""`summary.md`: text that is merged by lines, like source code."""

from merge3 import Merge3

from mneme.merge.matching import UniqueLines


def merge_texts(base: bytes | None, head: bytes, upload: bytes, *, upload_is_later: bool) -> bytes:
    """What both sides made of their base; the later side, whole, where both changed the same, or it is not known."""
    later = upload if upload_is_later else head
    if base is None:
        return later
    merged: list[bytes] = []
    for group in Merge3(_lines(base), _lines(head), _lines(upload), False, UniqueLines).merge_groups():
        if group[0] == "conflict":
            return later
        merged += group[1]
    return b"".join(merged)


def _lines(content: bytes) -> list[bytes]:
    """The lines, each with its newline, which the last one may lack."""
    *lines, last = content.split(b"\n")
    return [*(line + b"\n" for line in lines), *([last] if last else [])]
