"""Finding the content in the body of an upload."""

import msgspec

from mneme.errors import NOT_JSON, InvalidBody
from mneme.model import ProjectId
from mneme.wire import AliasOrder, Envelope, RestoreOrder

_ENVELOPE = msgspec.json.Decoder(Envelope)
_RESTORE_ORDER = msgspec.json.Decoder(RestoreOrder)
_ALIAS_ORDER = msgspec.json.Decoder(AliasOrder)
_OBJECT = '{"content": "…"}'


def lines_of(body: bytes, content_type: bytes | None) -> bytes:
    """The lines that `body` holds, found as `content_of` finds a content."""
    lines = content_of(body, content_type)
    if not lines:
        raise InvalidBody("There are no lines in the body: send those that are to be added")
    return lines


def content_of(body: bytes, content_type: bytes | None) -> bytes:
    """The content that `body` holds, as UTF-8; raises `InvalidBody` if there is none.

    JSON must be an envelope, an object whose only key is a string `content`. Text and octet streams are the content
    themselves. Anything else is taken as an envelope if it is one, else as the content itself: an entry of the log that
    is sent alone has a `content`, too.
    """
    if not body:
        raise InvalidBody(
            f'The body is empty: send {_OBJECT}, or {{"content": ""}} to empty the file on purpose'
        )
    media_type = (content_type or b"").partition(b";")[0].strip().lower()
    if media_type == b"application/json":
        return _opened(body)
    if media_type.startswith(b"text/") or media_type in (
        b"application/octet-stream",
        b"application/x-ndjson",
    ):
        return _checked(body)
    try:
        return _opened(body)
    except InvalidBody:
        return _checked(body)


def version_in(body: bytes) -> int:
    """Number of the version to restore; raises `InvalidBody` if there is none."""
    try:
        return _RESTORE_ORDER.decode(body).version
    except NOT_JSON:
        raise InvalidBody(
            'The body must say which version is to be the head again, as a number: {"version": 3}'
        ) from None


def project_in(body: bytes) -> ProjectId:
    """Id of the project that gets another name; raises `InvalidBody` if there is none."""
    try:
        return ProjectId.parse(_ALIAS_ORDER.decode(body).of)
    except NOT_JSON:
        raise InvalidBody('The body must name the project, by its id: {"of": "github.com/ana/app"}') from None


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
