"""The command behind a proxy that takes no large bodies, and answers in HTML."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from pathlib import Path

import pytest

from tests.command import LOG, Home, entries, line
from tests.daemon import Daemon, wait_until
from tests.limiting_proxy import LimitingProxy

FACTS = b'[{"ts":"2026-11-24T20:00:00.000Z","type":"fact","content":"Use tabs"}]'

pytestmark = pytest.mark.integration


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory, server: Daemon, project: str) -> Home:
    """A machine with a long log and a fact."""
    home = Home(tmp_path_factory.mktemp("home"), server.url, projectId=project, timeoutMs=5000)
    home.write(LOG, log_of(2_000_000))
    home.write("remembered.json", FACTS)
    return home


def log_of(size: int) -> bytes:
    """A log of such a size, which compression makes no smaller than three quarters."""
    made = random.Random(size)
    notes = [line(base64.b64encode(made.randbytes(30_000)).decode()) for _ in range(size // 40_000)]
    return b"".join(notes)


def asks(home: Home, url: str, project: str) -> None:
    """Have a machine ask there from now on, and try nothing twice."""
    home.configure({"serverUrl": url, "projectId": project, "timeoutMs": 5000, "retries": 0})


def names(server: Daemon, project: str) -> list[str]:
    """The files that the server has."""
    return [one["name"] for one in server.ask("GET", f"/projects/{project}/files")[1]["files"]]


def holder(server: Daemon, project: str) -> object:
    """The lock that is held."""
    return server.ask("GET", f"/projects/{project}/lock")[1]["lock"]


@pytest.mark.parametrize("hangs_up", [False, True], ids=["reads on", "hangs up"])
def test_a_log_that_a_proxy_refuses_keeps_no_other_file_back(
    server: Daemon, machine: Home, project: str, hangs_up: bool
) -> None:
    """The lock is free again; message and doctor name the limit of the proxy."""
    with LimitingProxy(server.port, hangs_up=hangs_up) as proxy:
        asks(machine, proxy.url, project)
        pushed = machine.run("push", "--strict", check=False)
        assert pushed.status == 1
        for word in ("log.jsonl", "proxy", "1.5 MB", "client_max_body_size"):
            assert word in pushed.err
        assert names(server, project) == ["remembered.json"]
        assert holder(server, project) is None
        examined = machine.run("doctor", "--json", check=False)
        found = {one["code"]: one for one in json.loads(examined.out)["findings"]}
        assert "client_max_body_size" in found["body-limit-of-proxy"]["found"]
        assert found["body-limit-of-proxy"]["state"] == "bad"
        assert names(server, project) == ["remembered.json"]
    with LimitingProxy(server.port, limit=10 * 1024 * 1024) as proxy:
        asks(machine, proxy.url, project)
        assert "body-limit-of-proxy" not in machine.run("doctor", "--json", check=False).out
        machine.run("push", "--strict")
    assert names(server, project) == [LOG, "remembered.json"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 408, 409, 410, 412, 415, 431])
def test_a_page_of_a_proxy_in_place_of_an_answer_ends_no_push(
    server: Daemon, machine: Home, project: str, status: int
) -> None:
    """The other file goes, and the lock is released, whatever the status."""
    machine.write(LOG, line("short"))
    with LimitingProxy(
        server.port, refuses=lambda method, path: status if (method, path[-9:]) == ("PUT", LOG) else None
    ) as proxy:
        asks(machine, proxy.url, project)
        pushed = machine.run("push", "--strict", check=False)
        assert (pushed.status, "Traceback" in pushed.err) == (1, False)
        assert f"status {status}, text/html" in pushed.err
        assert "proxy" in pushed.err
    assert names(server, project) == ["remembered.json"]
    assert holder(server, project) is None


def test_a_page_in_place_of_the_list_ends_the_push_without_a_lock(
    server: Daemon, machine: Home, project: str
) -> None:
    """Nothing can be sent, and no other machine has to wait for the lock."""
    with LimitingProxy(
        server.port, refuses=lambda method, path: 403 if (method, path[-6:]) == ("GET", "/files") else None
    ) as proxy:
        asks(machine, proxy.url, project)
        pushed = machine.run("push", "--strict", check=False)
    assert "status 403, text/html" in pushed.err
    assert holder(server, project) is None


def test_the_agent_says_which_file_a_proxy_refuses(server: Daemon, machine: Home, project: str) -> None:
    """The others are in step."""
    with LimitingProxy(server.port) as proxy:
        # With one id for all, the agent keeps folders that were in step once.
        asks(machine, proxy.url, project)
        machine.run("push")
        agent = machine.start("agent")
        try:
            wait_until(lambda: b"client_max_body_size" in _status(machine), within=10)
            assert b"remembered.json" not in _status(machine)
        finally:
            agent.terminate()
            agent.communicate(timeout=30)


def _status(home: Home) -> bytes:
    return home.run("agent", "--status", check=False).out.encode()


def test_a_log_of_13_mb_is_told_what_to_do(server: Daemon, machine: Home, project: str) -> None:
    """By the push, the doctor and the agent; the advice works."""
    machine.write(LOG, log_of(13_000_000))
    pushed = machine.run("push", "--strict", check=False)
    assert "take its oldest lines out" in pushed.err
    assert names(server, project) == ["remembered.json"]
    assert holder(server, project) is None
    assert machine.run("doctor", check=False).out.count("take its oldest lines out") == 1
    agent = machine.start("agent")
    try:
        wait_until(lambda: b"take its oldest lines out" in _status(machine), within=10)
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
    advice = pushed.err.partition("in its folder, ")[2].partition(" && mv new log.jsonl")
    _shell(machine.memory, advice[0] + advice[1])
    machine.run("push", "--strict")
    sent = server.ask("GET", f"/projects/{project}/files/{LOG}", timeout=30)[1]["content"]
    assert entries(sent) == machine.notes()
    assert len(machine.notes()) > 100


def _shell(directory: Path, command: str) -> None:
    subprocess.run(["sh", "-c", command], cwd=directory, check=True)
