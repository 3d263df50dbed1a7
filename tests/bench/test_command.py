"""The whole command, as a process, on real sockets."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import wrk
from tests.bench.parts import PARTS
from tests.bench.revisions import HERE
from tests.bench.tables import WIDTH
from tests.bench.test_servers import can_slow_syncs
from tests.daemon import wait_until

pytestmark = pytest.mark.integration

WITHIN = 240.0
FIGURES = (
    "sessions/s",
    "request, p50, ms",
    "request, p99, ms",
    "session, p50, ms",
    "session, p99, ms",
    "processor a session, ms",
)
DOWNLOADS = ("log.jsonl", "summary.json")
ROWS = {
    "sessions": [f"{who}: {what}" for who in ("1 machine", "8 machines", "32 machines") for what in FIGURES],
    "endpoints": [
        f"{name}: {what}"
        for name in (*DOWNLOADS, "list", "lock status", "health")
        for what in ("requests/s", "µs a request")
    ],
    "memory": ["at rest, MB", "after 16 sessions, MB", "after 16 more, MB", "what the second half added, MB"],
    "startup": ["0 projects, ms", "20 projects, ms"],
    "projects": [
        f"{what}, 10 projects"
        for what in ("list, µs", "lock status, µs", "summary.json, µs", "session, ms", "start until quiet, s")
    ],
    "merging": ["log.jsonl, 1.14 MB each, on their base", "elapsed time, ms", "refused, and kept"],
    "slow-sync": ["1 machine: session, p50, ms", "8 machines: syncs a session"],
    "floor": ["bare twisted.web", "4 × content: fdatasync", "4 × plain file: rename", "all of a session"],
}


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, with all that it keeps under the test's directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=HERE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its status, and what it has printed."""
    with process:
        try:
            out, err = process.communicate(timeout=WITHIN)
        finally:
            process.kill()
    return process.returncode, out, err


def left_over(tmp_path: Path) -> list[str]:
    """The processes that have to do with the test's directory, where the system tells."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(tmp_path) in line:
            found.append(line)
    return found


MEASURABLE = [name for name in PARTS if name != "slow-sync" or can_slow_syncs]


@pytest.mark.parametrize(("generator", "parts"), [("python", MEASURABLE), ("wrk", ["sessions"])])
def test_a_brief_run_has_every_row_and_no_failure(tmp_path: Path, generator: str, parts: list[str]) -> None:
    """Every part with Python; with wrk, which measures whole seconds, that in which it has the most to do."""
    if generator == "wrk" and wrk.found() is None:
        pytest.skip("wrk is not installed")
    status, out, err = ended(start(tmp_path, *parts, "--brief", "--generator", generator))
    assert status == 0, err
    lines = out.splitlines()
    for row in [row for part in parts for row in ROWS[part]]:
        assert any(line.startswith(f"{row}  ") for line in lines), row
    assert "load by wrk" in out if generator == "wrk" else "load by Python" in out
    assert "this 0 of " in out
    assert "FAILED" not in out + err
    assert max(map(len, lines)) <= WIDTH + len("and a processor with a very long name")
    assert list(tmp_path.iterdir()) == []
    assert left_over(tmp_path) == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started can be interrupted, even where these tests themselves cannot: a shell's `&` sees to that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_stays_when_it_is_interrupted(tmp_path: Path, number: int, status: int) -> None:
    """No server, no generator, no file."""
    process = start(tmp_path, "endpoints", "--seconds", "60", "--generator", "python")
    assert process.stderr is not None
    for line in process.stderr:
        if "round 1" in line:
            break
    assert left_over(tmp_path)
    process.send_signal(number)
    assert ended(process)[0] == status
    wait_until(lambda: not left_over(tmp_path), within=20)
    assert list(tmp_path.iterdir()) == []


def test_a_flame_graph_is_drawn_or_else_it_says_what_to_do(tmp_path: Path) -> None:
    """Where py-spy may not look into another process, that is one sentence."""
    picture = tmp_path / "flame.svg"
    status, _out, err = ended(start(tmp_path, "--profile", str(picture), "--brief", "--generator", "python"))
    if status == 0:
        assert "mneme" in picture.read_text(encoding="utf-8")
    else:
        assert "--cap-add SYS_PTRACE" in err


def test_a_server_that_fails_is_said_loudly(tmp_path: Path) -> None:
    """Here a bare one, which has no files: one sentence, and the status of a failure."""
    command = f"'{sys.executable}' -m tests.bench.bare_twisted {{port}}"
    process = start(tmp_path, "endpoints", "--brief", "--generator", "python", "--against-command", command)
    status, _out, err = ended(process)
    assert status == 1
    assert "was answered with 405" in err
    assert "Traceback" not in err
