"""How large a content is for a stock client, which sends and receives it as a string in JSON."""

import msgspec

_LONGEST_ESCAPE = len(rb"\u0000")


def body_size(content: bytes) -> int:
    """The size of the body of a stock upload of `content`."""
    return len(msgspec.json.encode({"content": content.decode(errors="replace")}))


def line_size(line: bytes) -> int:
    """By how much a line and its newline make the body larger."""
    return len(msgspec.json.encode(line.decode(errors="replace") + "\n")) - len('""')


def fits(content: bytes, max_bytes: int) -> bool:
    """Whether the body is within `max_bytes`."""
    # Whatever is escaped in it, which is quicker to know.
    surely = body_size(b"") + len(content) * _LONGEST_ESCAPE <= max_bytes
    return surely or body_size(content) <= max_bytes
