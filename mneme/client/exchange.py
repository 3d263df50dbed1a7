"""Requests with retries, and answers, of which 401, 429 and 5xx are raised.

Any call of `Client` may raise these errors.
"""

import zlib
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, IncompleteRead
from socket import gaierror
from ssl import SSLCertVerificationError, SSLEOFError, SSLError, SSLZeroReturnError
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from mneme import __version__, wire
from mneme.client.errors import (
    KeyRefused,
    ServerFault,
    ServerTrouble,
    StrangeAnswer,
    TooLarge,
    Unreachable,
    Untrusted,
)
from mneme.client.http import Address, Http, Response
from mneme.clocks import SleepingClock
from mneme.errors import NOT_JSON
from mneme.readable import size

T = TypeVar("T", bound=msgspec.Struct)

SLOWEST = 32 * 1024
"""Bytes a second on the slowest network; a timeout grows with the body by this."""

WORTH_COMPRESSING = 1024
"""Bytes from which a body is compressed; a smaller body fits into one packet."""

_FIRST_DELAY = 0.5
_GZIP = 31
_ANOTHER_NAME = (62, 64)
"""Codes of OpenSSL for a certificate of another name, or of another address."""

_CLOSED = (ConnectionResetError, BrokenPipeError, IncompleteRead, SSLEOFError, SSLZeroReturnError)
"""Errors of a connection that the server has closed."""

_REFUSALS = set(range(400, 500)) - {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
"""Statuses whose answers from the server have a reason in JSON.

The other two mean the same from a proxy.
"""

_WRONG_KEY = "Invalid API key"


class Patience(Struct, frozen=True):
    """Seconds to wait for an answer, and the number of retries."""

    timeout: float = 10.0
    retries: int = 3


class Ask(Struct, frozen=True):
    """A request. `size` is that of a large answer that is expected."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    size: int = 0


class Exchange:
    """The sender of requests to one server.

    `server_ahead` is by how many seconds the server's clock was ahead of this machine's at the last answer, to within a
    second; None before the first.
    """

    def __init__(self, http: Http, wall: SleepingClock, address: Address, patience: Patience) -> None:
        self.address = address
        self.server_ahead: float | None = None
        self._http = http
        self._wall = wall
        self._patience = patience

    def server_seconds(self) -> float:
        """The time by the server's clock, if known, in seconds since 1970."""
        return self._wall.seconds() + (self.server_ahead or 0.0)

    def send(self, ask: Ask) -> Response:
        """Send with retries; raise for 401, a wrong key, 429 and 5xx."""
        ask = self._compressed(ask)
        reply = self._answer(ask)
        url = self.address.url
        if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise self._too_large(reply, len(ask.body or b""))
        if reply.status in _REFUSALS and not self._trouble(reply):
            raise self.strange(f"status {reply.status}, {_kind(reply)}")
        if reply.status == HTTPStatus.UNAUTHORIZED:
            raise KeyRefused(
                f"The server at {url} wants an API key: `mneme connect {url}` asks for it, or give --key"
            )
        if reply.status == HTTPStatus.FORBIDDEN and self.problem(reply).error == _WRONG_KEY:
            raise KeyRefused(
                f"The server at {url} does not know this API key: `mneme connect {url}` asks for another"
            )
        if reply.status == HTTPStatus.NOT_IMPLEMENTED:
            # A server of files answers so to the POST that takes the lock.
            raise self.strange("status 501")
        if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerFault(f"The server at {url} answered 500{self._trouble(reply)}")
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ServerTrouble(f"The server at {url} answered {reply.status}{self._trouble(reply)}")
        return reply

    def _trouble(self, reply: Response) -> str:
        # A proxy may answer in HTML while the server is away.
        with suppress(StrangeAnswer):
            return f": {self.problem(reply).error}"
        return ""

    def _too_large(self, reply: Response, sent: int) -> TooLarge:
        """The error for a body that is too large somewhere."""
        trouble, url = self._trouble(reply), self.address.url
        if trouble:
            return TooLarge(f"The server at {url} does not take it{trouble}", by_proxy=False)
        return TooLarge(
            f"A proxy in front of the server at {url} takes no upload of {size(sent)}: raise its limit on bodies to "
            "the server's maxBodyBytes, 10 MiB unless set (nginx: client_max_body_size 10m)",
            by_proxy=True,
        )

    def problem(self, reply: Response) -> wire.Problem:
        """The body of an error answer; raises `StrangeAnswer`."""
        return self.decoded(reply, wire.Problem)

    def decoded(self, reply: Response, form: type[T]) -> T:
        """The body of an answer; raises `StrangeAnswer`."""
        try:
            return msgspec.json.decode(reply.body, type=form)
        except NOT_JSON as error:
            raise self.strange(f"status {reply.status}, {error}") from None

    def strange(self, what: str) -> StrangeAnswer:
        """The error for an answer that is not from a mneme server."""
        return StrangeAnswer(
            f"What answers at {self.address.url} does not speak as a mneme server does ({what}): "
            "see that serverUrl is right, that no proxy in between answers in its place, and that the server is no "
            "older than this client"
        )

    def _compressed(self, ask: Ask) -> Ask:
        body = ask.body or b""
        if len(body) < WORTH_COMPRESSING:
            return ask
        compressed = zlib.compress(body, wbits=_GZIP)
        return replace(ask, body=compressed, headers={**ask.headers, "Content-Encoding": "gzip"})

    def _answer(self, ask: Ask) -> Response:
        delay = _FIRST_DELAY
        for _ in range(self._patience.retries):
            try:
                reply = self._attempt(ask)
            except Unreachable:
                pass
            else:
                if reply.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return reply
            self._wall.sleep(delay)
            delay *= 2
        return self._attempt(ask)

    def _attempt(self, ask: Ask) -> Response:
        seconds = self._patience.timeout + (len(ask.body or b"") + ask.size) / SLOWEST
        sent = self._wall.seconds()
        try:
            response = self._http.request(ask.method, ask.path, self._headers(ask), ask.body, seconds)
        except (OSError, HTTPException) as error:
            raise self.unreachable(error) from None
        self._note_clock(response, (sent + self._wall.seconds()) / 2)
        return response

    def _headers(self, ask: Ask) -> Mapping[str, str]:
        key = {"Authorization": f"Bearer {self.address.key}"} if self.address.key else {}
        return {"User-Agent": f"mneme/{__version__}", **key, **ask.headers}

    def unreachable(self, error: Exception) -> Unreachable:
        """The error that says why no answer came."""
        kind = Untrusted if _is_untrusted(error) else Unreachable
        return kind(f"The server at {self.address.url} cannot be reached: {_reason(error)}")

    def _note_clock(self, response: Response, here: float) -> None:
        with suppress(ValueError):
            # The header has whole seconds, on average half a second past.
            date = parsedate_to_datetime(response.headers.get("date", ""))
            self.server_ahead = date.timestamp() + 0.5 - here


def _kind(reply: Response) -> str:
    """The type of an answer that is no JSON of ours."""
    return reply.headers.get("content-type", "").partition(";")[0].strip() or "without a type"


def _is_untrusted(error: Exception) -> bool:
    """Whether TLS failed at the certificate, and not at its name or at the protocol."""
    return isinstance(error, SSLCertVerificationError) and error.verify_code not in _ANOTHER_NAME


def _reason(error: Exception) -> str:
    """The reason why no answer came, in a few words."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if _is_untrusted(error):
        return "its certificate is not trusted on this machine; name it, or its authority's, in sync.caFile"
    if isinstance(error, SSLCertVerificationError):
        return "its certificate is for another name: use one that the certificate has"
    if isinstance(error, _CLOSED):
        return "it closed the connection before it had answered; is the address one of http, or of https?"
    if isinstance(error, SSLError):
        return "it speaks no TLS that this machine understands; is the address one of http, or of https?"
    if isinstance(error, BadStatusLine):
        return "what it answers is no HTTP; is the address one of http, or of https?"
    if isinstance(error, gaierror):
        return "no machine of this name is known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).rstrip(".") or type(error).__name__
