"""The recorded cases of the wire contract, replayed against the real daemon."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract import KEYS, Case, difference, load
from tests.daemon import Daemon

pytestmark = pytest.mark.integration

CONFIGS: dict[str, Mapping[str, object]] = {"open": {}, "with keys": {"apiKeys": list(KEYS)}}


@pytest.mark.parametrize("group", ["open", "with keys"])
def test_every_recorded_case_is_answered_rightly(group: str, tmp_path: Path) -> None:
    """Each recorded request, on a connection of its own, gets the answer that the contract wants."""
    with Daemon(tmp_path, CONFIGS[group]) as daemon:
        wrong = []
        for case in load()[group]:
            connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
            wrong += _problems(connection, case, chunked=False)
            connection.close()
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("group", ["open", "with keys"])
def test_the_recorded_cases_hold_on_one_kept_alive_connection(group: str, tmp_path: Path) -> None:
    """The answers are the same when all requests share a connection and bodies come chunked, as the plugin sends."""
    with Daemon(tmp_path, CONFIGS[group]) as daemon:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        wrong = [problem for case in load()[group] for problem in _problems(connection, case, chunked=True)]
        connection.close()
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("group", ["open", "with keys"])
def test_a_restart_between_any_two_cases_changes_no_answer(group: str, tmp_path: Path) -> None:
    """What the server knows is on disk: killed before every sixth case, it still answers as recorded."""
    with Daemon(tmp_path, CONFIGS[group]) as daemon:
        wrong = []
        for number, case in enumerate(load()[group]):
            if number % 6 == 5:
                daemon.kill_and_restart()
            connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
            wrong += _problems(connection, case, chunked=False)
            connection.close()
        assert not wrong, "\n".join(wrong)


def _problems(connection: http.client.HTTPConnection, case: Case, *, chunked: bool) -> list[str]:
    """What is wrong with the server's answer to one case."""
    body = case.body.encode("utf-8") if case.body is not None else None
    if chunked and body:
        connection.request(case.method, case.path, iter([body]), dict(case.headers), encode_chunked=True)
    else:
        connection.request(case.method, case.path, body, dict(case.headers))
    answer = connection.getresponse()
    raw = answer.read()
    problem = difference(case, answer.status, dict(answer.getheaders()), raw)
    if problem is None and answer.status != 204 and answer.getheader("Content-Length") is None:
        problem = "no Content-Length"
    return [f"{case.what}: {case.method} {case.path}: {problem}"] if problem is not None else []
