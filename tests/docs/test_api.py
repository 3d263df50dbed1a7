"""The table of calls in docs/api.md has every call of the server, and no other."""

from __future__ import annotations

import re

from klein import Klein

from mneme.web.api import Api
from tests.docs.pages import ROOT

_ROW = re.compile(r"^\| (`[A-Z]+ /.*?) \|", re.MULTILINE)
_CALL = re.compile(r"`([A-Z]+) (/[^`?]*)")
_ARGUMENT = re.compile(r"<[^>]*:(\w+)>")
_SHOWN = {"project": ":id", "name": ":name", "number": ":n"}


def test_the_table_of_calls_is_that_of_the_routes() -> None:
    """HEAD and OPTIONS are answered everywhere, and have no rows."""
    rows = _ROW.findall((ROOT / "docs/api.md").read_text(encoding="utf-8"))
    documented = [call for row in rows for call in _CALL.findall(row)]
    # Those that the app keeps; its own `url_map` only finds one for a request.
    routes = vars(Klein)["url_map"].fget(Api.app).iter_rules()
    served = {
        (method, _ARGUMENT.sub(lambda found: _SHOWN[found[1]], route.rule))
        for route in routes
        # The place of a project is none for all methods but one.
        if route.endpoint != Api.nothing.__name__
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert sorted(documented) == sorted(served)
