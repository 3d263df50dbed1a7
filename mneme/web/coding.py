"""Content codings: gzip for bodies and for answers, and no other.

It all happens on the worker. A client that names no coding, the stock client for one, never gets here.
"""

import gzip
import zlib
from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace
from werkzeug.http import parse_accept_header

from mneme.errors import InvalidBody
from mneme.web.answers import Answer
from mneme.web.errors import BodyTooLarge, Busy, UnknownCoding
from mneme.web.request import Request
from mneme.work import Worker

MIN_CODED = 1400
"""Bytes from which an answer is compressed: what is shorter goes into one packet of 1500 bytes, compressed or not."""

_LEVEL = 5
"""Where more effort stops to pay, measured on a `log.jsonl` of 158 kB, and with the same outcome on one of 5 MB.

Level 1 makes 41 kB of it in 0.8 ms, level 5 32 kB in 1.9 ms, level 6 31 kB in 3.0 ms, and level 9 30 kB in 4.3 ms.
"""

CODED = "-gzip"
"""What stands at the end of the tag of an answer that is compressed."""

_GZIP_WBITS = 31
_SIZE_BYTES = 4
_DAMAGED = "The body must be one whole gzip stream with nothing after it: it is damaged, or was cut off"


class Coding:
    """Inflates bodies and deflates answers.

    The bytes under way are counted: as held for the request, and as abandoned once its client has hung up.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def abandoned_bytes(self) -> int:
        """The bytes of bodies and answers under way although their clients have hung up."""
        return self._worker.abandoned_weight

    async def take_body(self, request: Request) -> bytes:
        """Take the inflated body from a request, which then holds no copy of it.

        Raises `UnknownCoding`, `InvalidBody` if it is damaged, `BodyTooLarge`, or `Busy`. Who hangs up before it is
        inflated has sent nothing.
        """
        body = request.take_body()
        codings = (coding.strip() for coding in _value(request, b"content-encoding").lower().split(","))
        match [coding for coding in codings if coding]:
            case [] | ["identity"]:
                return body
            case ["gzip" | "x-gzip"]:
                return await self._inflate(request, body)
            case _:
                raise UnknownCoding

    async def coded(self, request: Request, answer: Answer) -> Answer:
        """Compress an answer, if it is long enough and its client accepts gzip.

        HEAD pays for it like GET, so that all its headers are those of GET.
        """
        if answer.status != 200 or len(answer.body) < MIN_CODED:
            return answer
        plain = replace(answer, headers={**answer.headers, b"Vary": b"Accept-Encoding"})
        # What finds no room goes on as it is, and is refused where it is sent, with all that has to be done then.
        if not _takes_gzip(request) or not request.hold(len(plain.body)):
            return plain
        body = await self._worker.run(partial(_deflated, plain.body), len(plain.body))
        return replace(plain, body=body, headers=_coded_headers(plain.headers))

    async def _inflate(self, request: Request, body: bytes) -> bytes:
        limit = request.max_body_bytes
        size = min(_size_told(body), limit)
        if not request.hold(size):
            raise Busy
        content = await self._worker.run(partial(_inflated, body, size), len(body) + size)
        if content is not None and len(content) > limit:
            raise BodyTooLarge(f"A body may have at most {limit} bytes, and this one has more once inflated")
        if content is None or len(content) > size:
            raise InvalidBody(_DAMAGED)
        return content


def _value(request: Request, name: bytes) -> str:
    """A header's value, which may have come in several lines."""
    return b",".join(request.requestHeaders.getRawHeaders(name, [])).decode("latin-1")


def _takes_gzip(request: Request) -> bool:
    return parse_accept_header(_value(request, b"accept-encoding")).quality("gzip") > 0


def _size_told(body: bytes) -> int:
    """Length of the content by the end of a gzip stream; zlib checks it."""
    return int.from_bytes(body[-_SIZE_BYTES:], "little")


def _inflated(body: bytes, size: int) -> bytes | None:
    """Content of a gzip stream, `size` + 1 bytes at most; None if damaged."""
    stream = zlib.decompressobj(_GZIP_WBITS)
    try:
        content = stream.decompress(body, size + 1)
    except zlib.error:
        return None
    whole = stream.eof and not stream.unused_data
    return content if whole or len(content) > size else None


def _deflated(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


def _coded_headers(headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Headers of a compressed answer; a strong ETag names bytes, and these are others."""
    tag = headers.get(b"ETag", b"")
    retagged = {b"ETag": tag[:-1] + b'%b"' % CODED.encode()} if tag.startswith(b'"') else {}
    return {**headers, **retagged, b"Content-Encoding": b"gzip"}
