"""Which handler answers: the paths that come again are remembered, and nothing else is."""

import pytest
from werkzeug.exceptions import MethodNotAllowed, NotFound

from mneme.errors import InvalidProjectId
from mneme.model import ProjectId
from mneme.web.api import Api
from mneme.web.routes import Match

_LOCK = "/projects/a%2Fb/lock"


def found(method: str, path: str) -> Match:
    """The match of a request, as Klein asks for it."""
    match: Match = Api.app.url_map.bind("", "", path_info=path, default_method=method).match(return_rule=True)
    return match


def test_a_route_is_the_same_the_second_time() -> None:
    """Its arguments are parsed once."""
    first = found("POST", _LOCK)
    assert (first[0].endpoint, first[1]) == ("acquire", {"project": ProjectId("a/b")})
    assert found("POST", _LOCK) is first
    assert found("GET", _LOCK)[0].endpoint == "lock"


def test_a_long_path_is_found_and_not_remembered() -> None:
    """Many of them would add up."""
    path = "/projects/" + "a" * 400 + "/lock"
    assert found("GET", path) == found("GET", path)
    assert found("GET", path) is not found("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/nowhere", NotFound),
        ("PUT", _LOCK, MethodNotAllowed),
        ("\xff", _LOCK, MethodNotAllowed),
        ("GET", "/projects/%zz/lock", InvalidProjectId),
    ],
)
def test_a_request_that_leads_nowhere_fails_each_time(method: str, path: str, error: type[Exception]) -> None:
    """The second time as the first."""
    for _ in range(2):
        with pytest.raises(error):
            found(method, path)
