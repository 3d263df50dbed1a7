"""Compression of the contents in the database, by zstd."""

import zstandard

_LEVEL = 1
"""The compression level. Level 3 would make a log 4 % smaller, and take 50 % more time."""


class Compression:
    """A compressor and a decompressor, for one thread at a time.

    They are made once: making them each time would take a third of the time of a call.
    """

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def compressed(self, content: bytes) -> bytes:
        """A zstd frame of a content."""
        return self._compressor.compress(content)

    def decompressed(self, frame: bytes, size: int) -> bytes | None:
        """The content of a zstd frame; None for a damaged frame or another size."""
        try:
            if zstandard.frame_content_size(frame) != size:
                return None
            return self._decompressor.decompress(frame)
        except zstandard.ZstdError:
            return None
