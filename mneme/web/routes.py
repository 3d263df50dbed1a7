"""Which handler answers a request, by its method and path.

The routes are Klein's; Werkzeug matches them, as it does for Klein, but once for each path: to match it again at every
request took longer than all that most requests do. A path is split at its slashes before it is decoded, so that
`a%2Fb` is one segment.
"""

from collections.abc import Mapping
from functools import lru_cache

from attrs import frozen
from werkzeug.routing import Map

from mneme.model import ProjectId
from mneme.web import reading

_REMEMBERED = 4096
"""Paths, each with its method."""
_LONGEST_REMEMBERED = 256
"""Bytes of a path; with how many there are, this bounds what is remembered to two megabytes or so."""


@frozen
class Route:
    """The name of a handler, and its arguments besides the request."""

    endpoint: str
    arguments: Mapping[str, ProjectId | str]


class Routes:
    """The routes of an API."""

    def __init__(self, url_map: Map) -> None:
        self._adapter = url_map.bind("mneme")
        self._remembered = lru_cache(_REMEMBERED)(self._match)

    def find(self, method: bytes, path: bytes) -> Route:
        """The route; raises `NotFound`, `MethodNotAllowed`, or `MnemeError` for what the path names wrongly."""
        if len(path) > _LONGEST_REMEMBERED:
            return self._match(method, path)
        return self._remembered(method, path)

    def _match(self, method: bytes, path: bytes) -> Route:
        segments = reading.raw_segments(path)
        endpoint, arguments = self._adapter.match(
            "/" + b"/".join(segments).decode("ascii"), method.decode("latin-1")
        )
        return Route(endpoint, arguments)
