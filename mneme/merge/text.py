"""`summary.md`: text that is merged by lines, like source code."""

from codecs import BOM_UTF8

from merge3 import Merge3

from mneme.merge.bounds import has_few_lines
from mneme.merge.matching import UniqueLines


def merge_texts(base: bytes | None, head: bytes, upload: bytes, *, upload_is_later: bool) -> bytes:
    """The merge of two texts; the later one if both changed the same lines.

    The later one, too, if there is no base.
    """
    later = upload if upload_is_later else head
    if base is None or not all(map(has_few_lines, (base, head, upload))):
        return later
    before, ours, theirs = whole_lines(base), whole_lines(head), whole_lines(upload)
    merged = _joined(before, ours, theirs)
    # Repeated lines may be matched by chance; merging again would then give another result.
    if merged is None or merged != _joined(before, merged, theirs) or merged != _joined(before, ours, merged):
        return later
    return b"".join(merged)


def _joined(base: list[bytes], head: list[bytes], upload: list[bytes]) -> list[bytes] | None:
    """The merged lines; None if both sides changed the same."""
    merged: list[bytes] = []
    for group in Merge3(base, head, upload, sequence_matcher=UniqueLines).merge_groups():
        if group[0] == "conflict":
            return None
        merged += group[1]
    return merged


def whole_lines(content: bytes) -> list[bytes]:
    """The lines, each with its newline, which the last may lack; no byte order mark."""
    *lines, last = content.removeprefix(BOM_UTF8).split(b"\n")
    return [*(line + b"\n" for line in lines), *([last] if last else [])]
