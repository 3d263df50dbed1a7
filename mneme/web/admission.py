"""Admission: who may ask, and how often. It wraps the tree of resources."""

from contextlib import suppress
from typing import cast

from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import NOT_DONE_YET

from mneme.errors import MnemeError
from mneme.web import reading
from mneme.web.answers import Answer
from mneme.web.errors import MissingKey, StrangeName, TooManyRequests, WrongKey, answer_to
from mneme.web.policy import Policy
from mneme.web.proxies import client_behind
from mneme.web.request import Request

_PUBLIC = (b"/", b"/health")
_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
_HEADERS = (
    b"Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    b"Last-Event-ID, "
    b"X-Client-Id, X-Lock-Token"
)
_READABLE = b"ETag"
"""Headers of answers that a web page may read, beyond the few that it always may."""

_PREFLIGHT_SECONDS = b"600"
_TURNED_AWAY = (MissingKey, WrongKey, StrangeName, TooManyRequests)


class Admission(Resource):
    """Resource of the site: it refuses, answers preflights, and hands the rest to a tree."""

    isLeaf = True

    def __init__(self, tree: Resource, policy: Policy) -> None:
        """`policy` may be exchanged at any time, and counts from the next request."""
        super().__init__()
        self.policy = policy
        self._tree = tree

    def render(self, request: Request) -> int:
        """Answer a request, now or later."""
        try:
            self._tell_browsers(request)
            if request.method == b"OPTIONS":
                self.policy.rate_limit.take_for_address(request.address)
                resource: IResource = Answer(204, b"")
            else:
                self._admit(request)
                resource = getChildForRequest(self._tree, request)
        except Exception as error:  # noqa: BLE001 - the table answers what it knows, and logs what it does not
            request.is_turned_away = isinstance(error, _TURNED_AWAY)
            resource = answer_to(Failure())
        if isinstance(resource, Answer):
            request.render(resource)
            return NOT_DONE_YET
        return cast(int, resource.render(request))

    def shows_key(self, request: Request) -> bool:
        """Whether a request shows a key where one is needed."""
        return not isinstance(self._key_of(request), MnemeError)

    def _key_of(self, request: Request) -> int | MnemeError | None:
        """Number of the key that a request shows, None without keys, or what is wrong."""
        if not request.is_key_checked:
            try:
                request.key = self.policy.keys.check(request.getHeader(b"authorization"))
            except (MissingKey, WrongKey) as error:
                request.key = error
            request.is_key_checked = True
        return request.key

    def count_refusal(self, address: str) -> None:
        """Count malformed HTTP, or a request that did not arrive, against its address."""
        with suppress(TooManyRequests):
            self.policy.rate_limit.take_for_address(address)

    def address_of(self, request: Request) -> str:
        """The address that a request comes from, by the word of trusted proxies."""
        peer, proxies = request.channel.peer_address, self.policy.proxies
        if not proxies.trust(peer):
            return peer
        return client_behind(peer, request.texts(b"forwarded"), request.texts(b"x-forwarded-for"), proxies)

    def _admit(self, request: Request) -> None:
        """Count a request by its key, or else by its address."""
        limit = self.policy.rate_limit
        if self.policy.only_local and not all(
            map(reading.is_local_name, request.requestHeaders.getRawHeaders(b"host", []))
        ):
            limit.take_for_address(request.address)
            raise StrangeName
        key = self._key_of(request)
        if isinstance(key, int):
            limit.take_for_key(key)
            return
        limit.take_for_address(request.address)
        if key and request.path not in _PUBLIC:
            raise key

    def _tell_browsers(self, request: Request) -> None:
        origins = self.policy.origins
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
