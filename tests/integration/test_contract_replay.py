"""The recorded cases of the wire contract, on the real server."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract import KEYS, Case, difference, load
from tests.daemon import Daemon
from tests.often import now_and_then

pytestmark = pytest.mark.integration

CONFIGS: dict[str, Mapping[str, object]] = {"open": {}, "with keys": {"apiKeys": list(KEYS)}}


@pytest.mark.parametrize("group", ["open", "with keys"])
def test_every_recorded_case_is_answered_rightly(group: str, tmp_path: Path) -> None:
    """Bodies come chunked, on a connection that is kept until the server is killed."""
    with Daemon(tmp_path, CONFIGS[group]) as daemon:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)

        def kill() -> None:
            connection.close()
            daemon.kill_and_restart()

        wrong = []
        between = now_and_then(kill, every=20)
        for case in load()[group]:
            wrong += _problems(connection, case)
            between()
        connection.close()
        assert not wrong, "\n".join(wrong)


def _problems(connection: http.client.HTTPConnection, case: Case) -> list[str]:
    """Problems of the server's answer to a case."""
    body = case.body.encode("utf-8") if case.body is not None else None
    if body:
        connection.request(case.method, case.path, iter([body]), dict(case.headers), encode_chunked=True)
    else:
        connection.request(case.method, case.path, body, dict(case.headers))
    answer = connection.getresponse()
    raw = answer.read()
    problem = difference(case, answer.status, dict(answer.getheaders()), raw)
    if problem is None and answer.status != 204 and answer.getheader("Content-Length") is None:
        problem = "no Content-Length"
    return [f"{case.what}: {case.method} {case.path}: {problem}"] if problem is not None else []
