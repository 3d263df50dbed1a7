"""Sizes of contents for a stock client, which transfers them as JSON strings."""

import msgspec

MAX_LINES = 200_000
"""Lines of a file up to which it is merged: more take gigabytes and minutes."""
MAX_DOCUMENT = 1024 * 1024
"""Bytes of a JSON file up to which it is merged, twenty times the plugin's."""

_LONGEST_ESCAPE = len(rb"\u0000")


def has_few_lines(content: bytes) -> bool:
    """Whether a file has few enough lines to be merged."""
    return content.count(b"\n") < MAX_LINES


def body_size(content: bytes) -> int:
    """The size of the answer to a download of `content`."""
    answer = {
        "content": content.decode(errors="replace"),
        "mtime": "9999-12-31T23:59:59.999Z",
        "version": 10**12,
    }
    return len(msgspec.json.encode(answer))


def line_size(line: bytes) -> int:
    """The bytes that a line and its newline add to the body."""
    return len(msgspec.json.encode(line.decode(errors="replace") + "\n")) - len('""')


def fits(content: bytes, max_bytes: int) -> bool:
    """Whether a download of `content` takes at most `max_bytes`."""
    # The quick upper bound: every byte escaped.
    surely = body_size(b"") + len(content) * _LONGEST_ESCAPE <= max_bytes
    return surely or body_size(content) <= max_bytes
