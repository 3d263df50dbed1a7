"""kill -9 right after an append was sent: sent again with its key, each line is there once, and none is lost."""

from __future__ import annotations

import http.client
import json
import os
import time
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from attrs import frozen

from mneme.model import digest
from tests.daemon import Daemon
from tests.often import times
from tests.plugin_files import log

pytestmark = pytest.mark.integration

KILLS = times(9, 300)
LATEST_END = 0.006
PLACE = "/projects/alpha"
LOG = f"{PLACE}/files/log.jsonl"
CONFIG = {"rateLimitPerMinute": 0, "lockTTLMinutes": 600}
HOLDER, OTHER = "ana-laptop-0badcafe", "ben-desktop-1c2d3e4f"


@frozen
class Append:
    """A line that a client appends to the content of this digest, with a key of its own."""

    client: str
    number: int
    base: str

    @property
    def line(self) -> str:
        """A line like no other."""
        ts = f"2026-02-04T15:{self.number // 60 % 60:02}:{self.number % 60:02}.000Z"
        return json.dumps({"ts": ts, "type": "note", "content": f"{self.client} {self.number}"}) + "\n"

    @property
    def headers(self) -> dict[str, str]:
        """As a client sends them."""
        return {
            "X-Client-Id": self.client,
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": f"key {self.number}",
            "If-Match": f'"{self.base}"',
        }


def test_an_append_that_is_sent_again_after_a_kill_is_there_once(tmp_path: Path) -> None:
    """Whether it was answered or not, from the holder of the lock or from another, whose lines wait meanwhile."""
    seed = int.from_bytes(os.urandom(4))
    rng, first = Random(seed), log(1).decode()
    sent: list[Append] = []
    answered = 0
    with Daemon(tmp_path, CONFIG) as daemon:
        ask(daemon, "POST", f"{PLACE}/lock", {"X-Client-Id": HOLDER})
        whole = {"X-Client-Id": HOLDER, "Content-Type": "application/x-ndjson"}
        ask(daemon, "PUT", LOG, whole, first)
        for number in range(KILLS):
            content = ask(daemon, "GET", LOG)[1]["content"]
            append = Append(rng.choice((HOLDER, OTHER)), number, digest(content.encode()))
            sent.append(append)
            delay = (0.0, rng.uniform(0, LATEST_END), None)[number % 3]
            answered += sent_before_a_kill(daemon, append, delay)
            daemon.start()
            wanted = 200 if append.client == HOLDER else 403
            for _ in range(2):
                status, body = ask(daemon, "POST", f"{LOG}/append", append.headers, append.line)
                assert (status, body.get("rescued", False)) == (wanted, wanted == 403), (seed, append, body)
        ask(daemon, "DELETE", f"{PLACE}/lock", {"X-Client-Id": HOLDER})
        for append in sent:
            status, body = ask(daemon, "POST", f"{LOG}/append", append.headers, append.line)
            assert status == 200, (seed, append, body)
        found = ask(daemon, "GET", LOG)[1]["content"].splitlines(keepends=True)
        assert "Traceback" not in daemon.log(), daemon.log()
    added = [append.line for append in sent]
    assert sorted(found) == sorted([*first.splitlines(keepends=True), *added]), seed
    assert 0 < answered < len(sent), f"{answered} of {len(sent)} appends were answered before their kill"


def ask(
    daemon: Daemon, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> tuple[int, dict[str, str]]:
    """One request, and its answer."""
    return daemon.ask(method, path, headers=headers, body=body.encode() if body is not None else None)


def sent_before_a_kill(daemon: Daemon, append: Append, delay: float | None) -> bool:
    """Send an append, and kill the server so many seconds later, or after its answer; whether an answer came."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)) as connection:
        connection.request("POST", f"{LOG}/append", append.line.encode(), append.headers)
        if delay is None:
            status = connection.getresponse().status
            daemon.kill()
            return status in (200, 403)
        time.sleep(delay)
        daemon.kill()
        try:
            return connection.getresponse().status in (200, 403)
        except (OSError, http.client.HTTPException):
            return False
