"""Which handler answers: the paths that come again are remembered, and nothing else is."""

import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from mneme.errors import InvalidProjectId
from mneme.model import ProjectId
from mneme.web.api import Api
from mneme.web.routes import Routes

_LOCK = b"/projects/a%2Fb/lock"


@pytest.fixture
def routes() -> Routes:
    """Those of the API."""
    return Routes(Api.app.url_map)


def test_a_route_is_the_same_the_second_time(routes: Routes) -> None:
    """Its arguments are parsed once."""
    first = routes.find(b"POST", _LOCK)
    assert (first.endpoint, first.arguments) == ("acquire", {"project": ProjectId("a/b")})
    assert routes.find(b"POST", _LOCK) is first
    assert routes.find(b"GET", _LOCK).endpoint == "lock"


def test_a_long_path_is_found_and_not_remembered(routes: Routes) -> None:
    """Many of them would add up."""
    path = b"/projects/" + b"a" * 400 + b"/lock"
    assert routes.find(b"GET", path) == routes.find(b"GET", path)
    assert routes.find(b"GET", path) is not routes.find(b"GET", path)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        (b"GET", b"/nowhere", NotFound),
        (b"PUT", _LOCK, MethodNotAllowed),
        (b"\xff", _LOCK, MethodNotAllowed),
        (b"GET", b"/projects/%zz/lock", InvalidProjectId),
    ],
)
def test_what_leads_nowhere_fails_each_time(
    routes: Routes, method: bytes, path: bytes, error: type[Exception]
) -> None:
    """The second time as the first."""
    for _ in range(2):
        with pytest.raises(error):
            routes.find(method, path)


def test_every_route_of_klein_leads_to_a_handler() -> None:
    """By its name."""
    assert {rule.endpoint for rule in Api.app.url_map.iter_rules()} <= set(vars(Api))
