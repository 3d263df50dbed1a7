"""A cache of contents that were used lately, by their digests.

The content of a digest never changes, so the cache is never out of date.
"""

from collections import OrderedDict

MAX_BYTES = 8 * 1024 * 1024
MAX_KEPT = 1024 * 1024
"""Size, in bytes, of the largest content in the cache: larger ones would leave no room for others."""


class Recent:
    """A cache of at most `max_bytes` of contents; the least recently used go first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, sha256: str) -> bytes | None:
        """The content with this digest; None if the cache lacks it."""
        content = self._kept.get(sha256)
        if content is not None:
            self._kept.move_to_end(sha256)
        return content

    def keep(self, sha256: str, content: bytes) -> None:
        """Put a content into the cache. The caller has checked its digest."""
        if len(content) > MAX_KEPT or sha256 in self._kept:
            return
        self._kept[sha256] = content
        self._size += len(content)
        while self._size > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)
