"""What stands before the routes: who may ask, how often, and what browsers are told."""

from collections.abc import Sequence
from contextlib import suppress

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mneme.model import ProjectId
from mneme.service import SyncService
from mneme.web import reading
from mneme.web.answers import Answer
from mneme.web.api import Api, Handler
from mneme.web.auth import Keys
from mneme.web.coding import Coding
from mneme.web.encoding import Encoding
from mneme.web.errors import MissingKey, StrangeName, TooManyRequests, WrongKey, answer_to
from mneme.web.limits import RateLimit
from mneme.web.proxies import TrustedProxies
from mneme.web.request import Request
from mneme.web.requestlog import RequestLog
from mneme.web.routes import Routes
from mneme.work import Worker

_PUBLIC = (b"/", b"/health")
_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
_HEADERS = (
    b"Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    b"X-Client-Id, X-Lock-Token"
)
_READABLE = b"ETag"
"""The headers of answers that a web page may read, beyond the few that it always may."""

_PREFLIGHT_SECONDS = b"600"
_TURNED_AWAY = (MissingKey, WrongKey, StrangeName, TooManyRequests)


@frozen
class Policy:
    """Who may ask, from where, and how often; `origins` are those of web pages, `*` for any.

    `helps_stock_push` is whether a list tells the stock client to upload what it has: see `Store.stock_heads`.

    `proxies` are believed on whose behalf they ask.

    `only_local` is for a server that is open to all who reach it because only this machine does: it answers to no name
    that a web page could have made up for it (DNS rebinding).
    """

    keys: Keys = field(factory=lambda: Keys(()))
    rate_limit: RateLimit = field(factory=lambda: RateLimit(0))
    origins: Sequence[str] = ()
    only_local: bool = False
    helps_stock_push: bool = True
    proxies: TrustedProxies = field(factory=TrustedProxies)


class Front:
    """Turns away, answers preflights, and hands the rest to the routes."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, worker: Worker, sync: SyncService, policy: Policy) -> None:
        self._sync = sync
        self._coding = Coding(worker)
        self._api = Api(clock, sync, self._coding, Encoding(worker), policy.keys, policy.helps_stock_push)
        self._routes = Routes(self._api.app.url_map)
        self.log = RequestLog(clock)
        self._policy = policy

    @property
    def policy(self) -> Policy:
        """The policy in force; setting it counts from the next request."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._api.keys = policy.keys
        self._api.helps_stock_push = policy.helps_stock_push

    def answer(self, request: Request) -> None:
        """Answer `request`, now or later."""
        try:
            self._tell_browsers(request)
            if request.method == b"OPTIONS":
                self._policy.rate_limit.take_for_address(request.address)
                request.send(Answer(204, b""))
                return
            self._admit(request)
            route = self._routes.find(request.method, request.path)
            if isinstance(project := route.arguments.get("project"), ProjectId):
                self._api.receipts.settle(project)
            handler: Handler = getattr(self._api, route.endpoint)
            answering = Deferred.fromCoroutine(handler(request, **route.arguments))
        except Exception as error:  # noqa: BLE001 - the table answers what it knows, and logs what it does not
            request.is_turned_away = isinstance(error, _TURNED_AWAY)
            request.send(answer_to(Failure()))
            return
        request.answering = answering
        answering.addCallbacks(
            self._send, self._send_failure, callbackArgs=(request,), errbackArgs=(request,)
        )

    def _send(self, answer: Answer, request: Request) -> None:
        if not request.is_over:
            request.send(answer)

    def _send_failure(self, failure: Failure, request: Request) -> None:
        if not request.is_over:
            request.send(answer_to(failure))
        elif not failure.check(CancelledError):
            self._log.failure("A request failed after its client had hung up", failure)

    @property
    def abandoned_bytes(self) -> int:
        """The bytes that are held for nobody: see `SyncService` and `Coding`."""
        return self._sync.abandoned_bytes + self._coding.abandoned_bytes

    def count_refusal(self, address: str) -> None:
        """Count what was no request, or did not arrive, against its address; it is refused anyhow."""
        with suppress(TooManyRequests):
            self._policy.rate_limit.take_for_address(address)

    def shows_key(self, request: Request) -> bool:
        """Whether the request shows a key where one is needed: what does not is not worth keeping a body for."""
        try:
            self._policy.keys.check(request.getHeader(b"authorization"))
        except (MissingKey, WrongKey):
            return False
        return True

    def _admit(self, request: Request) -> None:
        """Count the request and check its key; one without a good key counts against its address."""
        limit = self._policy.rate_limit
        if self._policy.only_local and not all(
            map(reading.is_local_name, request.requestHeaders.getRawHeaders(b"host", []))
        ):
            limit.take_for_address(request.address)
            raise StrangeName
        try:
            number = self._policy.keys.check(request.getHeader(b"authorization"))
        except (MissingKey, WrongKey):
            limit.take_for_address(request.address)
            if request.path not in _PUBLIC:
                raise
            return
        if number is None:
            limit.take_for_address(request.address)
        else:
            limit.take_for_key(number)

    def _tell_browsers(self, request: Request) -> None:
        origins = self._policy.origins
        if not origins:
            return
        request.setHeader(b"Vary", b"Origin")
        origin = request.getHeader(b"origin")
        if origin is None or not ("*" in origins or origin.decode("latin-1") in origins):
            return
        request.setHeader(b"Access-Control-Allow-Origin", origin)
        request.setHeader(b"Access-Control-Allow-Methods", _METHODS)
        request.setHeader(b"Access-Control-Allow-Headers", _HEADERS)
        request.setHeader(b"Access-Control-Expose-Headers", _READABLE)
        request.setHeader(b"Access-Control-Max-Age", _PREFLIGHT_SECONDS)
