"""Finding the content in the body of an upload."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from mneme.errors import InvalidBody
from mneme.wire import Envelope, RawEnvelope, RestoreOrder

T = TypeVar("T")

_RAW_ENVELOPE = msgspec.json.Decoder(RawEnvelope)
_STRING = msgspec.json.Decoder(str)
_ENVELOPE = msgspec.json.Decoder(Envelope)
_RESTORE_ORDER = msgspec.json.Decoder(RestoreOrder)
_OBJECT = '{"content": "…"}'


def lines_of(body: bytes, content_type: bytes | None) -> bytes:
    """The lines that `body` holds, found as `content_of` finds a content."""
    lines = _found(body, content_type, lambda: _opened(body), _checked)
    if not lines:
        raise InvalidBody("There are no lines in the body: send those that are to be added")
    return lines


def content_of(body: bytes, content_type: bytes | None, max_encoded: int) -> tuple[bytes, bytes | None]:
    """The content that `body` holds, as UTF-8, and as the JSON string that it came as.

    That is None if it did not come as one, or in a body of more than `max_encoded` bytes. Raises `InvalidBody` if there
    is no content.

    JSON must be an envelope, an object whose only key is a string `content`. Text and octet streams are the content
    themselves. Anything else is taken as an envelope if it is one, else as the content itself: an entry of the log that
    is sent alone has a `content`, too.
    """

    def opened() -> tuple[bytes, bytes | None]:
        if len(body) <= max_encoded:
            # What is wrong with it is better said by what knows the whole.
            with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
                encoded = bytes(_RAW_ENVELOPE.decode(body).content)
                return _STRING.decode(encoded).encode(), encoded
        return _opened(body), None

    return _found(body, content_type, opened, lambda whole: (_checked(whole), None))


def _found(
    body: bytes, content_type: bytes | None, opened: Callable[[], T], whole: Callable[[bytes], T]
) -> T:
    """What `opened` finds in an envelope, or what the `whole` body is, as `content_of` says."""
    if not body:
        raise InvalidBody(
            f'The body is empty: send {_OBJECT}, or {{"content": ""}} to empty the file on purpose'
        )
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    if media_type == b"application/json":
        return opened()
    if media_type.startswith(b"text/") or media_type in (
        b"application/octet-stream",
        b"application/x-ndjson",
    ):
        return whole(body)
    try:
        return opened()
    except InvalidBody:
        return whole(body)


def version_in(body: bytes) -> int:
    """The number of the version that is to be restored; raises `InvalidBody` if there is none."""
    try:
        return _RESTORE_ORDER.decode(body).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidBody(
            'The body must say which version is to be the head again, as a number: {"version": 3}'
        ) from None


def _opened(body: bytes) -> bytes:
    try:
        return _ENVELOPE.decode(body).content.encode()
    except UnicodeDecodeError as error:
        raise InvalidBody(f"The body must be UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise InvalidBody(f"The body is nested too deeply: send {_OBJECT}") from None
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidBody(
            f"The body must be a JSON object with one key, content, and a string as its value, {_OBJECT}: {error}"
        ) from None


def _checked(body: bytes) -> bytes:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidBody(f"The content must be UTF-8: {error.reason} at byte {error.start}") from None
    return body
