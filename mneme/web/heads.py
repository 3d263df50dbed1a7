"""Heads of requests, checked line by line before twisted.web reads them."""

import re

MOST_BYTES = 16_384
"""Bytes of a request line and all headers together."""
MOST_LINES = 500
"""Headers of one request."""

TOO_LONG = "A request line, or all headers together, must stay under 16 kB"
MALFORMED = "Malformed HTTP request"

_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0\r\n]*)")
_CONTINUED = re.compile(rb"[ \t][^\0\r\n]*")
_LENGTH = re.compile(rb"[0-9]{1,4000}")  # `int` takes a few more
_CODINGS = (b"chunked", b"identity")


class HeadCheck:
    """The check of one head after the other."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with another head."""
        self._is_begun = False
        self._is_after_blank = False
        self._size = 0
        self._lines = 0
        self._lengths = 0

    def problem(self, line: bytes) -> str | None:
        """A sentence on a line that cannot stand there; None if it can."""
        self._size += len(line)
        if self._size > MOST_BYTES:
            return TOO_LONG
        if not self._is_begun:
            if not line and not self._is_after_blank:
                # Left from the request before.
                self._is_after_blank = True
                return None
            self._is_begun = True
            return None if _REQUEST_LINE.fullmatch(line) else MALFORMED
        if not line or (self._lines and _CONTINUED.fullmatch(line)):
            return None
        self._lines += 1
        if self._lines > MOST_LINES:
            return TOO_LONG
        header = _HEADER.fullmatch(line)
        return None if header and self._is_possible(header[1].lower(), header[2].strip(b" \t")) else MALFORMED

    def _is_possible(self, name: bytes, value: bytes) -> bool:
        """Whether a header can have this value; one alone says how long the body is."""
        if name == b"content-length":
            self._lengths += 1
            return self._lengths == 1 and _LENGTH.fullmatch(value) is not None
        if name == b"transfer-encoding":
            self._lengths += value.lower() == b"chunked"
            return self._lengths <= 1 and value.lower() in _CODINGS
        return True
