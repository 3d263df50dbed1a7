"""The command where the server is named by an IPv6 address."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.command import LOG, Home
from tests.daemon import Daemon, wait_until


def _has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


pytestmark = [pytest.mark.integration, pytest.mark.skipif(not _has_ipv6(), reason="there is no IPv6 here")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server without keys: it listens on loopback, by both protocols."""
    with Daemon(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "[::1%1]", "[::1%251]", "localhost"])
def test_a_server_is_reached_by_its_ipv6_address(
    tmp_path_factory: pytest.TempPathFactory, server: Daemon, project: str, host: str
) -> None:
    """By each command, and named in their messages as it was given."""
    url = f"http://{host}:{server.port}"
    home = Home(tmp_path_factory.mktemp("home"), url, projectId=project, enabled=False)
    home.note("first")
    home.run("push", "--strict")
    home.run("pull", "--strict")
    assert url in home.run("status").out
    found = {
        one["code"]: one for one in json.loads(home.run("doctor", "--json", check=False).out)["findings"]
    }
    assert url in found["server-reachable"]["found"]
    assert not [one for one in found.values() if one["state"] == "bad"]
    agent = home.start("agent")
    try:
        home.note("second")
        wait_until(lambda: "second" in _on_server(server, project), within=10)
    finally:
        agent.terminate()
        _, log = agent.communicate(timeout=30)
    assert url in log


def test_an_ipv6_address_without_brackets_is_told_about_them(
    tmp_path_factory: pytest.TempPathFactory, server: Daemon
) -> None:
    """Its last part would be taken for the port."""
    home = Home(tmp_path_factory.mktemp("home"), f"http://::1:{server.port}")
    assert "http://[::1]:3847" in home.run("pull", "--strict", check=False).err
    assert "http://[::1]:3847" in home.run("status", "--server", "http://::1", check=False).err


def test_a_server_that_is_not_there_is_named_with_its_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """As it was given."""
    home = Home(tmp_path_factory.mktemp("home"), "http://[::1]:9", retries=0)
    assert "http://[::1]:9 cannot be reached: connection refused" in home.run("pull").err


def _on_server(server: Daemon, project: str) -> str:
    return str(server.ask("GET", f"/projects/{project}/files/{LOG}")[1].get("content"))
