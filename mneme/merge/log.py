"""`log.jsonl`: an entry a line, sorted by time."""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate

import msgspec

from mneme.merge.bounds import body_size, fits, has_few_lines, line_size
from mneme.merge.jsonvalues import read
from mneme.merge.multisets import counted, interleaved
from mneme.merge.times import in_utc

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class _TimedEntry(msgspec.Struct):
    ts: datetime


_entries = msgspec.json.Decoder(_TimedEntry)


def is_log(content: bytes) -> bool:
    """Whether a content is empty or has an entry, and has few enough lines."""
    return has_few_lines(content) and (not content.strip() or any(map(is_entry, lines(content))))


def merge_logs(base: bytes | None, head: bytes, upload: bytes, max_bytes: int) -> bytes | None:
    """The merge of two logs: the newest of its lines that fit.

    None when not even the newest fits.
    """
    ours, theirs = lines(head), lines(upload)
    staying = counted(lines(base or b""), ours, theirs)
    if staying == Counter(ours):
        return head
    if staying == Counter(theirs):
        return upload
    both = [*ours, *theirs]
    times = [*_times(ours), *_times(theirs)]
    places = sorted(interleaved(ours, theirs, staying), key=times.__getitem__)
    ends = head.endswith(b"\n") or upload.endswith(b"\n")
    return _fitting([both[place] for place in places], ends, max_bytes)


def lines(content: bytes) -> list[bytes]:
    """Lines without their newlines, nor a byte order mark; the last may lack its own."""
    found = content.removeprefix(BOM_UTF8).split(b"\n")
    if not found[-1]:
        found.pop()
    return found


def _times(found: Sequence[bytes]) -> list[datetime]:
    """The sort key of each line: its time, or that of the line before."""
    own = [_time(line) for line in found]
    first = next((time for time in own if time), _EARLIEST)
    return list(_filled(own, first))


def _filled(times: Sequence[datetime | None], last: datetime) -> Iterator[datetime]:
    for time in times:
        last = time or last
        yield last


def is_entry(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(read(line), dict)
    except (ValueError, RecursionError):
        return False


def _time(line: bytes) -> datetime | None:
    try:
        return in_utc(_entries.decode(line).ts)
    except (ValueError, RecursionError):
        return None


def _fitting(found: Sequence[bytes], ends: bool, max_bytes: int) -> bytes | None:
    """The last lines, as many as fit."""
    content = _joined(found, ends)
    if fits(content, max_bytes):
        return content
    sizes = accumulate(map(line_size, reversed(found)), initial=body_size(b""))
    fitting = sum(size <= max_bytes for size in sizes) - 1
    return _joined(found[-fitting:], ends) if fitting > 0 else None


def _joined(found: Sequence[bytes], ends: bool) -> bytes:
    # An empty last line needs its newline.
    return b"\n".join(found) + (b"\n" if found and (ends or not found[-1]) else b"")
