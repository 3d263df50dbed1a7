"""Commands in the background, whose shell has them ignore signals."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import ENDS_WITHIN, LOG, Home, entries
from tests.daemon import Daemon, wait_until

MNEME = shlex.quote(str(Path(sys.executable).parent / "mneme"))

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A server for all tests here."""
    with Daemon(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("command", ["watch", "agent"])
@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT], ids=["HUP", "INT"])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(
    tmp_path_factory: pytest.TempPathFactory,
    server: Daemon,
    project: str,
    command: str,
    ignored: signal.Signals,
) -> None:
    """SIGHUP is by nohup, SIGINT by a shell; SIGTERM ends the command in order."""
    # The path of the agent's socket must be short.
    home = Home(tmp_path_factory.mktemp("home"), server.url, projectId=project)
    home.note("first")
    # A folder without a sync so far is not the agent's, with one id for all.
    home.run("push", "--strict")
    log = home.path / "log"
    line = f"trap '' {ignored.name.removeprefix('SIG')}; exec {MNEME} {command} >{shlex.quote(str(log))} 2>&1"
    process = subprocess.Popen(["sh", "-c", line], cwd=home.root, env=home.environment())
    try:
        wait_until(lambda: log.exists() and "in step with" in log.read_text(), within=8)
        process.send_signal(ignored)
        home.note("second")
        wait_until(lambda: _on_server(server, project) == ["first", "second"], within=8)
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_WITHIN) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _on_server(server: Daemon, project: str) -> list[str]:
    status, body = server.ask("GET", f"/projects/{project}/files/{LOG}")
    return entries(body["content"]) if status == 200 else []
