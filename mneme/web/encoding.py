"""Contents as JSON strings: large ones are encoded off the reactor thread, a piece at a time."""

import msgspec

from mneme.work import Worker

_LARGE = 256 * 1024
"""Bytes from which a content is encoded on the worker: of control characters that takes 6 ms, each becomes six."""


class Encoding:
    """Encodes contents."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def encoded(self, content: bytes) -> bytes:
        """A content as a JSON string; what was put there by hand need not be UTF-8, and history keeps it as it is."""
        if len(content) < _LARGE:
            return msgspec.json.encode(content.decode(errors="replace"))
        return await self._worker.run(lambda: _in_pieces(content), len(content))


def _in_pieces(content: bytes) -> bytes:
    """The same; the encoder keeps all other threads waiting for as long as a call takes."""
    text = content.decode(errors="replace")
    pieces = (msgspec.json.encode(text[start : start + _LARGE])[1:-1] for start in range(0, len(text), _LARGE))
    return b'"%b"' % b"".join(pieces)
