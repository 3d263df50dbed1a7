"""Contents that were lately used, by their digests: what a digest means never changes, so that none is out of date."""

from collections import OrderedDict

MAX_BYTES = 8 * 1024 * 1024
MAX_KEPT = 1024 * 1024
"""Bytes of the largest content that is kept: a larger one would leave no room for others."""


class Recent:
    """Contents of so many bytes in all; those not used for longest go first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, sha256: str) -> bytes | None:
        """The content with this digest, if it is here."""
        content = self._kept.get(sha256)
        if content is not None:
            self._kept.move_to_end(sha256)
        return content

    def keep(self, sha256: str, content: bytes) -> None:
        """Keep a content; the caller has seen that the digest is its own."""
        if len(content) > MAX_KEPT or sha256 in self._kept:
            return
        self._kept[sha256] = content
        self._size += len(content)
        while self._size > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)
