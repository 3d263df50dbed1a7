"""Preconditions of requests: `If-Match` and `If-None-Match` (RFC 9110, section 13).

The tag of a file is the digest of its content, so that a client can tell it from what it has. A coding of the answer
leaves its mark on the tag, which does not count here.
"""

from collections.abc import Mapping

from twisted.web.server import Request
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from mneme.errors import InvalidPrecondition
from mneme.model import NOT_THERE, Head, Precondition, Version
from mneme.web.coding import CODED


def etag(content: Head | Version) -> Mapping[bytes, bytes]:
    """The header that tells the tag of a content."""
    return {b"ETag": b'"%s"' % content.sha256.encode()}


def only_if(request: Request) -> Precondition | None:
    """Precondition of an upload; raises `InvalidPrecondition`."""
    there, absent = _tags(request, b"if-match"), _tags(request, b"if-none-match")
    if absent is not None and (there is not None or not absent.star_tag):
        raise InvalidPrecondition
    if there is None:
        return None if absent is None else NOT_THERE
    # A weak tag says that two contents will do for each other, which is not enough to replace one.
    return Precondition(None if there.star_tag else _digests(there, weak=False))


def unless(request: Request) -> Precondition | None:
    """Precondition under which a client has the content already."""
    known = _tags(request, b"if-none-match")
    if known is None:
        return None
    return Precondition(None if known.star_tag else _digests(known, weak=True))


def _tags(request: Request, name: bytes) -> ETags | None:
    values = request.requestHeaders.getRawHeaders(name)
    return parse_etags(b", ".join(values).decode("latin-1")) if values else None


def _digests(tags: ETags, *, weak: bool) -> frozenset[str]:
    # An empty tag, which is one, comes as None.
    return frozenset(tag.removesuffix(CODED) for tag in tags.as_set(include_weak=weak) if tag)
