"""Server and command on disks that sync no directories, and have no locks."""

from __future__ import annotations

import errno
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.command import ENDS_WITHIN, LOG, Home
from tests.daemon import Daemon, free_port, wait_until
from tests.odd_disk import environment

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the disk of these tests needs /proc"),
]


def command(program: str, *arguments: str) -> Sequence[str]:
    """A program of ours on an odd disk."""
    path = str(Path(sys.executable).parent / program)
    return [sys.executable, "-m", "tests.odd_disk", path, *arguments]


def run(home: Home, no_sync: int, no_lock: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command on a machine whose home is on an odd disk."""
    return subprocess.run(
        command("mneme", *arguments),
        cwd=home.root,
        env={
            **home.environment(),
            "PYTHONPATH": str(ROOT),
            **environment(no_sync, no_lock, home.path),
        },
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
        check=False,
    )


@pytest.mark.parametrize(
    ("no_sync", "no_lock"),
    [(errno.EINVAL, 0), (errno.ENOTSUP, errno.ENOLCK)],
    ids=["EINVAL", "ENOTSUP, ENOLCK"],
)
def test_a_machine_syncs_on_a_disk_that_cannot_do_all(
    tmp_path: Path, running: Daemon, project: str, no_sync: int, no_lock: int
) -> None:
    """Both ways, and the doctor says what is not covered there."""
    home = Home(tmp_path / "laptop", running.url, projectId=project, enabled=False)
    other = Home(tmp_path / "desktop", running.url, projectId=project)
    home.note("from here")
    pushed = run(home, no_sync, no_lock, "push", "--strict")
    assert pushed.returncode == 0, pushed
    other.run("pull", "--strict")
    other.note("from there")
    other.run("push", "--strict")
    for words in (("pull", "--strict"), ("session-start",), ("hooks", "--install")):
        done = run(home, no_sync, no_lock, *words)
        assert done.returncode == 0, done
    assert home.notes() == ["from here", "from there"]
    found = json.loads(run(home, no_sync, no_lock, "doctor", "--json").stdout)["findings"]
    codes = {one["code"] for one in found}
    assert "directory-sync-missing" in codes
    assert ("locks-missing" in codes) is bool(no_lock)
    assert not [one for one in found if one["state"] == "bad"]
    usual = {one["code"] for one in home.json("doctor")["findings"]}
    assert not usual & {"directory-sync-missing", "locks-missing"}


def test_a_server_serves_on_a_disk_that_cannot_do_all(tmp_path: Path) -> None:
    """A warning says so once, and a second server is still kept out."""
    port, data = free_port(), tmp_path / "data"
    words = ("-n", "--pidfile=", "mneme", "--data-dir", str(data), "--port")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MNEME_")}
    there = {
        **ours,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        **environment(errno.EINVAL, errno.ENOLCK, data),
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(command("twistd", *words, str(port)), env=there, stdout=out, stderr=out)
    try:
        wait_until(lambda: "listens on" in log.read_text() or server.poll() is not None, within=20)
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for method, path, body in (
            ("POST", "/projects/demo/lock", b""),
            ("PUT", f"/projects/demo/files/{LOG}", b"{}\n"),
        ):
            asking.request(method, path, body, {"X-Client-Id": "laptop", "Content-Type": "text/plain"})
            answer = asking.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        asking.close()
        second = subprocess.run(
            command("twistd", *words, str(free_port())),
            env=there,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert f"in use by another mneme server (pid {server.pid})" in second.stdout + second.stderr
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
    assert log.read_text().count("syncs no directories") == 1
    assert "Traceback" not in log.read_text()
