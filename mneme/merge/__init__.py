"""Three-way merges of memory files: pure functions of bytes that never raise.

What either side added to the base is kept, what either side removed from it is removed. A base of None is one that is
not known, and so is one that is not of the form of its file: nothing is removed then. Of two briefings the later stays.
"""

from codecs import BOM_UTF8

from mneme.merge.bounds import fits
from mneme.merge.documents import is_document, is_json, merge_documents, parsed
from mneme.merge.log import is_entry, is_log, lines, merge_logs
from mneme.merge.text import merge_texts
from mneme.model import BRIEFINGS, FileName

__all__ = ["is_damaged", "is_well_formed", "merge"]


def merge(
    file: FileName,
    base: bytes | None,
    head: bytes,
    upload: bytes,
    *,
    upload_is_later: bool,
    max_bytes: int,
) -> bytes | None:
    """The merge of head and upload.

    It is one of the sides, byte for byte, if the other has nothing to add. None when both are changed and one is not of
    the form of its file, or too large to be merged, or when the answer to a download of the result would be larger than
    `max_bytes`. A log loses its oldest lines rather, and is None only when not one fits.

    `upload_is_later` decides where both changed the same, unless the contents themselves say which of them is later.
    """
    before = None if base is None else base.removeprefix(BOM_UTF8)
    ours, theirs = head.removeprefix(BOM_UTF8), upload.removeprefix(BOM_UTF8)
    if theirs in (ours, before):
        return head
    if ours == before:
        return upload
    if file in BRIEFINGS:
        return upload if upload_is_later else head
    merged = _merged(file, before, ours, theirs, upload_is_later, max_bytes)
    # A mark that an editor has put before a side is none of its contents, and stays where the side stays.
    return head if merged == ours else upload if merged == theirs else merged


def is_well_formed(file: FileName, content: bytes) -> bool:
    """Whether a content has the form of its file, so that it can be merged."""
    if file is FileName.LOG:
        return is_log(content)
    return not is_document(file) or parsed(file, content) is not None


def is_damaged(file: FileName, content: bytes) -> bool:
    """Whether a content was left by a power cut or a half-done write.

    That is nothing at all, zero bytes at its end, what is no JSON, or a log without a single entry in its lines.
    """
    if not content.strip() or content.endswith(b"\0"):
        return True
    if file is FileName.LOG:
        return not any(map(is_entry, lines(content)))
    return file is not FileName.SUMMARY_MD and not is_json(content)


def _merged(
    file: FileName, base: bytes | None, head: bytes, upload: bytes, upload_is_later: bool, max_bytes: int
) -> bytes | None:
    if file is FileName.LOG:
        if not (is_log(head) and is_log(upload)):
            return None
        before = base if base is not None and is_log(base) else None
        return merge_logs(before, head, upload, max_bytes)
    try:
        if is_document(file):
            merged = merge_documents(file, base, head, upload, upload_is_later=upload_is_later)
        else:
            merged = merge_texts(base, head, upload, upload_is_later=upload_is_later)
    except RecursionError:
        return None
    return merged if merged in (None, head, upload) or fits(merged, max_bytes) else None
