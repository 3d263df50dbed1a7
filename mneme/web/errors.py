"""The one table of what is answered when something cannot be had."""

import secrets

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import MethodNotAllowed, NotFound

from mneme import errors
from mneme.model import Lock
from mneme.web.answers import Answer
from mneme.web.wire import Problem, WireLock


class MissingKey(errors.MnemeError):
    """A call that needs an API key, without one."""

    sentence = "Missing or invalid Authorization header"


class WrongKey(errors.MnemeError):
    """A call with an API key that is none of ours."""

    sentence = "Invalid API key"


class UploadNotAllowed(errors.MnemeError):
    """An upload of a name outside the list."""

    sentence = errors.FileNotAllowed.sentence


class BodyTooLarge(errors.MnemeError):
    """A body over the limit."""


class Busy(errors.MnemeError):
    """More is being sent at this moment than fits into memory."""

    sentence = "Too much is being uploaded at this moment, try again in a few seconds"


class TooManyRequests(errors.MnemeError):
    """A client over its rate; `retry_after` in whole seconds."""

    sentence = "Too many requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Refused(errors.MnemeError):
    """A call that the lock stands against. Not a fault: it carries an outcome to the table."""

    def __init__(self, status: int, sentence: str, lock: Lock | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.lock = lock


_STATUS: dict[type[object], int] = {
    errors.InvalidProjectId: 400,
    errors.MissingClientId: 400,
    errors.InvalidClientId: 400,
    errors.InvalidToken: 400,
    errors.InvalidBody: 400,
    errors.FileNotAllowed: 400,
    MissingKey: 401,
    WrongKey: 403,
    UploadNotAllowed: 403,
    errors.FileUnknown: 404,
    BodyTooLarge: 413,
    TooManyRequests: 429,
    errors.ShuttingDown: 503,
    Busy: 503,
    errors.DiskFull: 507,
}

_log = Logger()


def problem(status: int, sentence: str, lock: Lock | None = None, **headers: str) -> Answer:
    """An error as it goes over the wire."""
    body = msgspec.json.encode(Problem(sentence, WireLock.of(lock) if lock else None))
    return Answer(
        status, body, {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
    )


def answer_to(failure: Failure) -> Answer:
    """What to answer to a failed request. What is not in the table is a fault: logged, with an id to find it by."""
    error = failure.value
    match error:
        case Refused():
            return problem(error.status, str(error), error.lock)
        case NotFound():
            return problem(404, "Not found")
        case MethodNotAllowed():
            allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
            return problem(405, f"Method not allowed here, only {allowed}", Allow=allowed)
        case MissingKey():
            return problem(401, str(error), WWW_Authenticate="Bearer")
        case TooManyRequests():
            return problem(429, str(error), Retry_After=str(error.retry_after))
        case errors.ShuttingDown() | Busy():
            return problem(503, str(error), Retry_After="5")
    status = _STATUS.get(type(error))
    if status is not None:
        return problem(status, str(error))
    fault = secrets.token_hex(4)
    _log.failure("Fault {fault}", failure=failure, fault=fault)
    return problem(
        500, f"The server failed, which is its own fault and not yours; look for {fault} in its log"
    )
