"""The benchmark: it measures every part, and notices answers that are wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from tests.bench import servers
from tests.bench.__main__ import PARTS, measure
from tests.bench.generator import generating
from tests.bench.revisions import HERE
from tests.bench.rounds import BRIEF, Bench

pytestmark = pytest.mark.integration

ROWS = {
    "sessions": [
        "32 machines: sessions/s",
        "8 machines: request, p99, ms",
        "1 machine: processor a session, ms",
    ],
    "endpoints": ["log.jsonl: requests/s", "lock status: µs a request"],
    "memory": ["at rest, MB", "after 16 sessions, MB"],
    "startup": ["0 projects, ms", "20 projects, ms"],
    "projects": ["list, µs, 10 projects", "session, ms, 10 projects", "start until quiet, s, 10 projects"],
    "merging": ["log.jsonl, 1.14 MB each, on their base", "elapsed time, ms", "refused, and kept"],
    "slow-sync": ["1 machine: session, p50, ms", "8 machines: syncs a session"],
}
MEASURABLE = [part for part in PARTS if part != "slow-sync" or shutil.which("cc")]
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.mark.parametrize(
    ("parts", "options"),
    [(MEASURABLE, []), pytest.param(["sessions"], ["--against-node", "--markdown"], marks=NODE)],
    ids=["every part", "against node"],
)
def test_a_brief_run_has_every_row_and_no_failure(
    tmp_path: Path, parts: list[str], options: list[str]
) -> None:
    """Nothing stays in the temporary directory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *parts, "--brief", *options],
        cwd=HERE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("| ") for line in done.stdout.splitlines()]
    for row in [row for part in parts for row in ROWS[part]]:
        assert any(line.startswith(f"{row} ") for line in lines), row
    assert "this 0 of " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_wrong_answers_end_with_status_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Here most requests are refused, since too many come in a minute."""
    files = {"config.json": json.dumps({"rateLimitPerMinute": 300})}
    with generating() as generate:
        limited = evolve(servers.mneme(servers.THIS), files=files)
        assert measure(Bench((limited,), generate, BRIEF, tmp_path), ["endpoints"]) == 1
    assert "FAILED, so that these figures are worth nothing" in capfd.readouterr().err
