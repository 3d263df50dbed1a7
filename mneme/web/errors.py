"""The one table of what is answered when something cannot be had."""

import secrets
from collections.abc import Mapping

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import MethodNotAllowed, NotFound

from mneme import errors
from mneme.model import Lock
from mneme.web.answers import Answer
from mneme.wire import Problem, WireLock


class MissingKey(errors.MnemeError):
    """A call that needs an API key, without one."""

    sentence = "Missing or invalid Authorization header"


class WrongKey(errors.MnemeError):
    """A call with an API key that is none of ours."""

    sentence = "Invalid API key"


class StrangeName(errors.MnemeError):
    """A call that reached this machine's own server by a name from the network."""

    sentence = "Without API keys this server answers only to localhost: use that name, or set apiKeys"


class UploadNotAllowed(errors.MnemeError):
    """An upload of a name outside the list."""

    sentence = errors.FileNotAllowed.sentence


class BodyTooLarge(errors.MnemeError):
    """A body over the limit."""


class UnknownCoding(errors.MnemeError):
    """A body in a coding that the server does not know, or in several."""

    sentence = "A body comes as it is, or with Content-Encoding: gzip, and in no other coding"


class Busy(errors.MnemeError):
    """More is being sent at this moment than fits into memory."""

    sentence = "Too much is being uploaded at this moment, try again in a few seconds"


class TooManyRequests(errors.MnemeError):
    """A client over its rate; `retry_after` in whole seconds."""

    sentence = "Too many requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


_STATUS: dict[type[object], int] = {
    errors.InvalidProjectId: 400,
    errors.MissingClientId: 400,
    errors.InvalidClientId: 400,
    errors.InvalidToken: 400,
    errors.InvalidBody: 400,
    errors.InvalidLimit: 400,
    errors.InvalidPrecondition: 400,
    errors.InvalidKey: 400,
    errors.InvalidEventId: 400,
    errors.InvalidWait: 400,
    errors.FileNotAllowed: 400,
    MissingKey: 401,
    WrongKey: 403,
    StrangeName: 403,
    UploadNotAllowed: 403,
    errors.FileUnknown: 404,
    errors.ProjectUnknown: 404,
    errors.VersionUnknown: 404,
    NotFound: 404,
    MethodNotAllowed: 405,
    errors.AliasRefused: 409,
    BodyTooLarge: 413,
    errors.FileTooLarge: 413,
    errors.KeyReused: 422,
    UnknownCoding: 415,
    errors.MissingPrecondition: 428,
    errors.UnnamedHead: 428,
    TooManyRequests: 429,
    errors.ShuttingDown: 503,
    Busy: 503,
    errors.TooManyListeners: 503,
    errors.DatabaseBusy: 503,
    errors.DatabaseGone: 503,
    errors.TooManyProjects: 507,
    errors.DiskFull: 507,
    errors.DamagedContent: 500,
    errors.DamagedDatabase: 500,
}

_log = Logger()


def problem(
    status: int,
    sentence: str,
    lock: Lock | None = None,
    headers: Mapping[bytes, bytes] | None = None,
    rescued: int | None = None,
    bygone: int | None = None,
) -> Answer:
    """Answer with an error.

    `rescued` is the version of a refused upload that was kept, `bygone` that of a briefing that was the head before.
    """
    version = bygone if rescued is None else rescued
    body = Problem(sentence, WireLock.of(lock) if lock else None, rescued is not None, version)
    return Answer(status, msgspec.json.encode(body), headers or {})


def answer_to(failure: Failure) -> Answer:
    """Answer to a failed request. An exception outside the table is logged with an id."""
    error = failure.value
    status = _STATUS.get(type(error))
    if status is not None:
        if status == 500:
            _log.error("{problem}", problem=_sentence(error))
        return problem(status, _sentence(error), headers=_headers(error))
    fault = secrets.token_hex(4)
    _log.failure("Fault {fault}", failure=failure, fault=fault)
    return problem(
        500, f"The server failed, which is its own fault and not yours; look for {fault} in its log"
    )


def _sentence(error: BaseException | None) -> str:
    match error:
        case NotFound():
            return "Not found"
        case MethodNotAllowed():
            return f"Method not allowed here, only {_allowed(error)}"
        case _:
            return str(error)


def _headers(error: BaseException | None) -> Mapping[bytes, bytes]:
    match error:
        case MethodNotAllowed():
            return {b"Allow": _allowed(error).encode()}
        case MissingKey():
            return {b"WWW-Authenticate": b"Bearer"}
        case UnknownCoding():
            return {b"Accept-Encoding": b"gzip"}
        case TooManyRequests():
            return {b"Retry-After": b"%d" % error.retry_after}
        case errors.TooManyListeners():
            return {b"Retry-After": b"60"}
        case errors.ShuttingDown() | errors.DatabaseBusy() | Busy():
            return {b"Retry-After": b"5"}
        case _:
            return {}


def _allowed(error: MethodNotAllowed) -> str:
    return ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
