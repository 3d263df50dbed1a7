"""Servers that the integration tests share, each started once."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.contract import KEYS
from tests.daemon import Daemon

pytest.register_assert_rewrite("tests.integration.wire")

from tests.integration import wire  # noqa: E402 - only now does it explain its failed asserts
from tests.integration.wire import NAME, NO_RATE_LIMIT, OLD, PROJECT  # noqa: E402


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server for all tests that need no other."""
    with Daemon(tmp_path_factory.mktemp("server"), NO_RATE_LIMIT) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server for one module, with its `CONFIG`, which tests may stop and start again."""
    config = getattr(request.module, "CONFIG", NO_RATE_LIMIT)
    with Daemon(tmp_path_factory.mktemp("server"), config) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The shared server, holding `summary.md`; afterwards it still runs, without a fault."""
    pid = running.pid
    logged = len(running.log())
    with wire.client(running) as client:
        assert client.acquire(PROJECT).status == 200
        assert client.upload(PROJECT, NAME, OLD).status == 200
    yield running
    assert running.runs()
    assert running.pid == pid
    assert running.ask("GET", "/health")[0] == 200
    assert "Traceback" not in running.log()[logged:], running.log()[logged:]


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server with keys."""
    with Daemon(tmp_path_factory.mktemp("keyed"), {**NO_RATE_LIMIT, "apiKeys": list(KEYS)}) as daemon:
        yield daemon


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Id of a project that no other test uses."""
    return re.sub(r"\W+", "-", request.node.nodeid)
