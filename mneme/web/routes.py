"""Routes of Klein that remember their matches, since matching takes long."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from klein import Klein
from msgspec import Struct
from werkzeug.routing import BaseConverter, Map, Rule

from mneme.model import ProjectId
from mneme.web import reading

_REMEMBERED = 4096
"""Paths, each with its method."""
_LONGEST_REMEMBERED = 256
"""Bytes of a path; with the number of paths, this bounds what is remembered to two megabytes or so."""

Match = tuple[Rule, Mapping[str, Any]]


class ProjectConverter(BaseConverter):
    """`<project:…>` in a route: one raw segment, decoded and checked."""

    regex = "[^/]+"

    def to_python(self, value: str) -> ProjectId:
        """Raises `InvalidProjectId`."""
        return ProjectId.parse(reading.decoded(value))


class SegmentConverter(BaseConverter):
    """`<segment:…>` in a route: one raw segment, decoded."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        """Raises `InvalidProjectId`."""
        return reading.decoded(value)


class RoutedApp(Klein):
    """A Klein app that matches raw segments, so that `a%2Fb` is one segment."""

    def __init__(self) -> None:
        super().__init__()
        routes = super().url_map
        routes.converters = routes.converters | {"project": ProjectConverter, "segment": SegmentConverter}
        # `//` is an empty segment, not a slip to redirect.
        routes.merge_slashes = False
        self._matcher: _Matcher | None = None

    @property
    def url_map(self) -> Any:  # noqa: ANN401 - what Klein asks of a map is `bind` alone
        """The routes, as Klein uses them."""
        if self._matcher is None:
            self._matcher = _Matcher(super().url_map)
        return self._matcher


class _Matcher:
    """A map of routes that remembers matches."""

    def __init__(self, routes: Map) -> None:
        self._adapter = routes.bind("mneme")
        self._remembered = lru_cache(_REMEMBERED)(self._match)

    def bind(
        self, _server_name: str, _script_name: str, *, path_info: str, default_method: str, **_options: str
    ) -> "_Bound":
        """The routes for one request."""
        return _Bound(self, path_info, default_method)

    def find(self, path: str, method: str) -> Match:
        """Rule and arguments for a request; raises `HTTPException`, or `MnemeError` for a wrong name."""
        return (self._match if len(path) > _LONGEST_REMEMBERED else self._remembered)(path, method)

    def _match(self, path: str, method: str) -> Match:
        return self._adapter.match(path, method, return_rule=True)


class _Bound(Struct, frozen=True):
    """The routes, bound to one request."""

    matcher: _Matcher
    path: str
    method: str

    def match(self, *, return_rule: bool) -> Match:
        """See `_Matcher.find`."""
        return self.matcher.find(self.path, self.method)
