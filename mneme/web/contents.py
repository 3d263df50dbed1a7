"""Contents as JSON strings, kept at hand: what is uploaded is soon downloaded, and to encode it anew takes a while.

They go by the digest of what they mean, so that nothing here can be out of date.
"""

from collections import OrderedDict

import msgspec

from mneme.model import Head, digest

_MAX_BYTES = 16 * 1024 * 1024
MAX_KEPT = 1024 * 1024
"""What is larger is encoded each time: there would be no room for others."""


class Contents:
    """The contents that were last used, of so many bytes in all."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, sha256: str) -> bytes | None:
        """The content of this digest as a JSON string, from any thread."""
        return self._kept.get(sha256)

    def use(self, sha256: str) -> None:
        """Take note that a content was used."""
        if sha256 in self._kept:
            self._kept.move_to_end(sha256)

    def keep(self, sha256: str, encoded: bytes) -> None:
        """Keep a content; those not used for longest go to make room for it."""
        if len(encoded) > MAX_KEPT or sha256 in self._kept:
            return
        self._kept[sha256] = encoded
        self._size += len(encoded)
        while self._size > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)

    def encoded(self, head: Head, content: bytes) -> bytes:
        """What was read at a head as a JSON string; kept, unless somebody has written the head meanwhile.

        What was put there by hand need not be UTF-8, and history keeps it as it is.
        """
        kept = self.get(head.sha256)
        if kept is not None:
            return kept
        encoded = msgspec.json.encode(content.decode(errors="replace"))
        if len(encoded) <= MAX_KEPT and digest(content) == head.sha256:
            self.keep(head.sha256, encoded)
        return encoded
