"""Contents as JSON strings; large ones are encoded in pieces, off the reactor thread."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
from twisted.internet.defer import DeferredSemaphore

from mneme import times
from mneme.model import Millis
from mneme.store.recent import Recent
from mneme.wire import EncodedDownload
from mneme.work import Worker

_LARGE = 256 * 1024
"""Bytes from which a content is encoded on the worker: of control characters that takes 6 ms, each becomes six."""

_AT_ONCE = 8
"""Downloads between the store and their answers: each holds its content, perhaps of 10 MB, in two forms."""


class Encoding:
    """Encodes contents, of few downloads at a time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._semaphore = DeferredSemaphore(_AT_ONCE)
        self._recent = Recent()

    def room(self) -> AbstractAsyncContextManager[None]:
        """Room for a download, from before its content is read until it is encoded."""
        return _held(self._semaphore)

    async def download(self, content: bytes, sha256: str, mtime: Millis, version: int) -> EncodedDownload:
        """Answer with a content; bytes that are no UTF-8 are replaced."""
        encoded = self._recent.get(sha256)
        if encoded is None:
            encoded = await self._encoded(content)
            self._recent.keep(sha256, encoded)
        return EncodedDownload(msgspec.Raw(encoded), times.to_text(mtime), version)

    async def _encoded(self, content: bytes) -> bytes:
        if len(content) < _LARGE:
            return msgspec.json.encode(content.decode(errors="replace"))
        return await self._worker.run(lambda: _in_pieces(content), len(content))


@asynccontextmanager
async def _held(semaphore: DeferredSemaphore) -> AsyncIterator[None]:
    await semaphore.acquire()
    try:
        yield
    finally:
        semaphore.release()


def _in_pieces(content: bytes) -> bytes:
    """JSON string of a large content; other threads run between the pieces."""
    text = content.decode(errors="replace")
    pieces = (
        msgspec.json.encode(text[start : start + _LARGE])[1:-1] for start in range(0, len(text), _LARGE)
    )
    return b'"%b"' % b"".join(pieces)
