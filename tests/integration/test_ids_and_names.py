"""Odd ids over real connections and on a real disk; `tests/store/test_layout.py` makes up others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import Daemon, wait_until
from tests.integration.wire import CLIENT_ID, NO_RATE_LIMIT

pytestmark = pytest.mark.integration

IDS = [
    *(".", "..", "...", "../../etc", "../../../../../../tmp/mneme-escaped", "/etc/passwd", "/", "//", "a/b"),
    *("a\\b", "a/../b", ".history", ".lock.json", "summary.md", "~", "-", "--help", "CON", "a b", " ", "a+b"),
    *("a?b", "a#b", "a;b", "a%b", "%2F", "%25", "a:b", "*", "'\"<>|&$`", "μνήμη", "記憶", "ذاكرة", "🧠"),
    *("e\u0301", "\u00e9", "ﬁ", "a\u200bb", "\u202eabc", "\ufeff", "x\nFORGED LINE", "x\r\nFORGED: header"),
    *(
        "x\ty",
        "\x7f",
        "x" * 255,
        "x" * 256,
        "x" * 511 + "a",
        "x" * 511 + "b",
        "μ" * 512,
        "/" * 512,
        "." * 512,
    ),
]
SEND_TO_EACH = """
import json, sys
from mneme.client.connection import connected
from mneme.client.exchange import Patience
from mneme.client.http import Address
from mneme.model import NOT_THERE, ClientId, FileName, ProjectId

url, client = sys.argv[1:]
projects = list(map(ProjectId, json.load(sys.stdin)))
contents = {
    project: json.dumps({"ts": "2026-02-01T09:00:00.000Z", "content": project.value}).encode()
    for project in projects
}
with connected(Address(url), ClientId(client), Patience()) as server:
    for project, content in contents.items():
        server.acquire(project)
        server.upload(project, FileName.LOG, content, NOT_THERE)
        server.release(project)
    for project, content in contents.items():
        assert server.download(project, FileName.LOG).content == content, project
"""


def test_every_id_has_a_memory_of_its_own(tmp_path: Path) -> None:
    """Odd ids arrive as they were sent, and stay inside the data directory."""
    with Daemon(tmp_path / "server", NO_RATE_LIMIT) as daemon:
        before = sorted(daemon.home.iterdir())
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
        assert sorted(daemon.home.iterdir()) == before
        ours = {"mneme.db", "mneme.db-shm", "mneme.db-wal", "projects", "server.lock"}
        assert {path.name for path in daemon.data_dir.iterdir()} == ours
        assert not Path("/tmp/mneme-escaped").exists()
        # As a file system that knows no case would tell them apart.
        wait_until(lambda: len({path.parent.name.lower() for path in _logs(daemon)}) == len(IDS), within=10)
        assert not [line for line in daemon.log().splitlines() if line.startswith("FORGED")]


def _logs(daemon: Daemon) -> list[Path]:
    return list(daemon.projects.glob("*/log.jsonl"))
