"""How large a content is for a stock client, which sends and receives it as a string in JSON."""

import msgspec

MAX_LINES = 200_000
"""How many lines a file may have to be merged: 10 MB of the shortest entries. More take gigabytes and minutes."""
MAX_DOCUMENT = 1024 * 1024
"""How large a JSON file may be to be merged, in bytes: the plugin's are a twentieth of that."""

_LONGEST_ESCAPE = len(rb"\u0000")


def has_few_lines(content: bytes) -> bool:
    """Whether a file has few enough lines to be merged."""
    return content.count(b"\n") < MAX_LINES


def body_size(content: bytes) -> int:
    """The size of what a stock client gets when it downloads `content`, which is more than it uploads."""
    answer = {
        "content": content.decode(errors="replace"),
        "mtime": "9999-12-31T23:59:59.999Z",
        "version": 10**12,
    }
    return len(msgspec.json.encode(answer))


def line_size(line: bytes) -> int:
    """By how much a line and its newline make the body larger."""
    return len(msgspec.json.encode(line.decode(errors="replace") + "\n")) - len('""')


def fits(content: bytes, max_bytes: int) -> bool:
    """Whether the body is within `max_bytes`."""
    # Whatever is escaped in it, which is quicker to know.
    surely = body_size(b"") + len(content) * _LONGEST_ESCAPE <= max_bytes
    return surely or body_size(content) <= max_bytes
