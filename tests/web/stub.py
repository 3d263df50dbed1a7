"""The HTTP face on a fake clock and a store in memory, asked through treq."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import treq
from attrs import frozen
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from mneme.feed import Feed
from mneme.model import Millis, ProjectId, digest
from mneme.retention import Retention
from mneme.service import SyncService
from mneme.web.auth import Keys
from mneme.web.limits import RateLimit
from mneme.web.policy import Policy
from mneme.web.site import Site
from mneme.work import Worker
from tests.immediate import ImmediateWorker
from tests.keeping import KEEP_ALL
from tests.kept import DiskStore, MemoryStore, lane_of
from tests.stepped import SteppedSteps

NOW = 1_770_217_200.0
"""2026-02-04T15:00:00.000Z, in seconds."""

TTL = Millis(30 * 60 * 1000)
MAX_BODY_BYTES = 10 * 1024 * 1024


def entry(content: str, minute: int = 0) -> str:
    """A line of `log.jsonl` as the plugin writes it."""
    ts = f"2026-02-04T14:{minute:02}:00.000Z"
    return json.dumps({"ts": ts, "type": "note", "content": content}, separators=(",", ":")) + "\n"


def tag(content: str) -> str:
    """The entity tag of a content."""
    return f'"{digest(content.encode())}"'


KEY = "alpha-key-0123456789"
FILE = "/projects/demo/files/log.jsonl"
A, B, C, D = (entry(letter, minute) for minute, letter in enumerate("abcd"))
HISTORY = (A, A + B, A + B + C)
"""Contents of the versions of a `written` server."""


@frozen
class Reply:
    """An answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The last value of a header."""
        values = self.headers.getRawHeaders(name)
        return values[-1] if values else None


class Stub:
    """A server with nothing real in it but the code under test."""

    def __init__(
        self,
        keys: Sequence[str] = (),
        origins: Sequence[str] = (),
        rate_limit: int = 0,
        store: MemoryStore | DiskStore | None = None,
        worker: Worker | None = None,
        only_local: bool = False,
        helps_stock_push: bool = True,
        retention: Retention = KEEP_ALL,
        steps: SteppedSteps | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """With `steps`, the store is theirs."""
        self.clock = Clock()
        self.clock.advance(NOW)
        if steps is not None:
            store = steps.store
        self.store = MemoryStore() if store is None else store
        worker = ImmediateWorker() if worker is None else worker
        lane = lane_of(self.store) if steps is None else steps.lane
        self.sync = SyncService(self.clock, lane, lane, worker, TTL, retention)
        self.sync.startService()
        policy = Policy(Keys(keys), RateLimit(rate_limit), origins, only_local, helps_stock_push)
        feed = Feed(self.clock, self.sync)
        self.store.on_event = feed.wake
        self.site = Site(self.clock, self.clock, worker, self.sync, policy, max_body_bytes, feed)
        self._treq: Any = StubTreq(self.site.admission)
        # The site of its own knows none of the bounds that ours keeps.
        self._treq._agent._serverFactory = self.site

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
    ) -> Reply:
        """Send a request as a test prepares something, not bound by what it tests."""
        limit, self.site.max_body_bytes = self.site.max_body_bytes, MAX_BODY_BYTES
        reply = self.answer(method, path, headers, body.encode() if isinstance(body, str) else body)
        self.site.max_body_bytes = limit
        return reply

    def answer(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        """Send a request and return its answer, which must come at once."""
        answers: list[Any] = []
        asked = self._treq.request(
            method,
            f"http://stub.invalid{path}",
            headers=dict(headers or {}),
            data=body,
            allow_redirects=False,
        )
        asked.addBoth(answers.append)
        self._treq.flush()
        assert answers, f"no answer to {method} {path}"
        bodies: list[bytes] = []
        treq.content(answers[0]).addCallback(bodies.append)
        self._treq.flush()
        return Reply(answers[0].code, answers[0].headers, bodies[0])

    def upload(
        self, client: str = "laptop", content: str = "one\n", name: str = "log.jsonl", project: str = "demo"
    ) -> Reply:
        """Upload as the stock client does."""
        headers = {"X-Client-Id": client, "Content-Type": "application/json"}
        return self.ask("PUT", f"/projects/{project}/files/{name}", headers, json.dumps({"content": content}))

    def acquire(self, client: str = "laptop", project: str = "demo") -> Reply:
        """Acquire the lock."""
        return self.ask("POST", f"/projects/{project}/lock", {"X-Client-Id": client})

    def release(self, client: str = "laptop", project: str = "demo") -> Reply:
        """Give up the lock."""
        return self.ask("DELETE", f"/projects/{project}/lock", {"X-Client-Id": client})

    def download(self, name: str = "log.jsonl", project: str = "demo", client: str | None = None) -> Reply:
        """Download a file, as `client` or without a name."""
        headers = {"X-Client-Id": client} if client else {}
        return self.ask("GET", f"/projects/{project}/files/{name}", headers)

    def versions(self, name: str = "log.jsonl", project: str = "demo") -> list[dict[str, Any]]:
        """The versions of a file, newest first; none if there is no such file."""
        reply = self.ask("GET", f"/projects/{project}/files/{name}/versions")
        return list(reply.json["versions"]) if reply.status == 200 else []

    def restore(self, version: object, client: str = "laptop", name: str = "log.jsonl") -> Reply:
        """Ask for a version to be the head again."""
        path = f"/projects/demo/files/{name}/restore"
        return self.ask("POST", path, {"X-Client-Id": client}, json.dumps({"version": version}))

    def state(self) -> list[Any]:
        """All that a write to the log of `demo` could change."""
        return [self.ask("GET", path).json for path in (FILE, f"{FILE}/versions", "/projects")]


def written(**options: Any) -> Stub:
    """A server on which the laptop holds the lock and has uploaded `HISTORY`."""
    stub = Stub(**options)
    stub.acquire()
    for content in HISTORY:
        stub.upload(content=content)
    return stub


class FailingStore(MemoryStore):
    """A store whose look-ups fail, in a way to be chosen."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self._failure = failure

    def lock(self, project: ProjectId, now: Millis, /) -> None:
        """Fail."""
        raise self._failure
