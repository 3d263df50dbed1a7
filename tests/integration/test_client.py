"""The client over real connections: whatever treq and Twisted do to a path, an id arrives as it was sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.integration.test_ids_and_names import IDS
from tests.integration.wire import CLIENT_ID

pytestmark = pytest.mark.integration

SEND_TO_EACH = """
import json, sys
from mneme.cli.run import run
from mneme.client import Address, Patience
from mneme.client.connection import connected
from mneme.model import NOT_THERE, ClientId, FileName, ProjectId

url, client = sys.argv[1:]

async def command(here):
    async with connected(
        here.reactor, here.wall, here.worker, Address(url), ClientId(client), Patience()
    ) as server:
        for project in map(ProjectId, json.load(sys.stdin)):
            content = json.dumps({"ts": "2026-02-01T09:00:00.000Z", "content": project.value}).encode()
            await server.acquire(project)
            await server.upload(project, FileName.LOG, content, NOT_THERE)
            found = await server.download(project, FileName.LOG)
            assert found.content == content, project
            await server.release(project)

run(command)
"""


def test_every_odd_id_arrives_as_it_was_sent(tmp_path: Path) -> None:
    """Dots, slashes, percent signs, other scripts, 512 characters."""
    with Daemon(tmp_path / "server", {"rateLimitPerMinute": 0}) as daemon:
        done = subprocess.run(
            [sys.executable, "-c", SEND_TO_EACH, daemon.url, CLIENT_ID],
            input=json.dumps(IDS),
            capture_output=True,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        _, told = daemon.ask("GET", "/projects")
        assert sorted(one["id"] for one in told["projects"]) == sorted(IDS)
