"""The least that a server on twisted.web can be: every GET gets the same small answer. `... bare_twisted PORT`."""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

ANSWER = b'{"status":"ok","version":"0.0.0","authRequired":false}'


class Same(Resource):
    """The resource of every path."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """The same answer as ever."""
        request.setHeader(b"Content-Type", b"application/json")
        return ANSWER


async def serve(reactor: IReactorTCP, port: str) -> None:
    """Listen for ever."""
    endpoint = TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1")
    await endpoint.listen(Site(Same()))
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, port: Deferred.fromCoroutine(serve(reactor, port)), sys.argv[1:])
