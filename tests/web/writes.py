"""The three writes of a file, each ready to be sent to a `written` server."""

import json
from collections.abc import Mapping

from attrs import frozen

from tests.web.stub import FILE, HISTORY, A, D, Reply, Stub, tag


@frozen
class Write:
    """A request that changes the log, and the content that it makes of it."""

    method: str
    path: str
    body: str
    headers: Mapping[str, str]
    content: str
    is_kept: bool
    """Whether it is kept when it is refused for want of the lock."""

    def send(
        self, stub: Stub, client: str = "laptop", body: str | bytes | None = None, **headers: str
    ) -> Reply:
        """Send it; headers are named with underscores."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"X-Client-Id": client, **self.headers, **more}
        return stub.ask(self.method, self.path, sent, self.body if body is None else body)


_JSON = {"Content-Type": "application/json"}
_ALL = HISTORY[-1] + D

UPLOAD = Write("PUT", FILE, json.dumps({"content": _ALL}), _JSON, _ALL, is_kept=True)
APPEND = Write(
    "POST",
    f"{FILE}/append",
    json.dumps({"content": D}),
    {**_JSON, "If-Match": tag(HISTORY[-1])},
    _ALL,
    is_kept=True,
)
RESTORE = Write("POST", f"{FILE}/restore", json.dumps({"version": 1}), {}, A, is_kept=False)
WRITES = {"upload": UPLOAD, "append": APPEND, "restore": RESTORE}
