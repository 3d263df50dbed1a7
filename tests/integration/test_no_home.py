"""Server and command of a user without a home: no HOME, unknown user id."""

from __future__ import annotations

import http.client
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon import wait_until

STRANGER = 54_321
"""A user id that no list of users has."""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that does not exist"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv"),
]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A directory that is the stranger's own."""
    with pytest.raises(KeyError):
        pwd.getpwuid(STRANGER)
    room = tmp_path / "room"
    room.mkdir()
    os.chown(room, STRANGER, STRANGER)
    return room


def as_stranger(program: str, *arguments: str) -> list[str]:
    """A command of the stranger, who may read everything.

    Python itself may lie in the home of root.
    """
    become = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups"]
    reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return [*become, *reading, str(Path(sys.executable).parent / program), *arguments]


def ended(room: Path, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of the stranger, run to its end without HOME."""
    return subprocess.run(
        as_stranger(program, *arguments),
        cwd=room,
        env={"PATH": os.defpath, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@contextmanager
def serving(room: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, str]]:
    """A server of the stranger in the foreground: its address, and its log so far."""
    log = room.parent / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            as_stranger("twistd", "-n", "--pidfile=", "mneme", "--port", "0", *arguments),
            cwd=room,
            env={"PATH": os.defpath, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(
            lambda: " listens on " in log.read_text() or server.poll() is not None,
            within=20,
        )
        said = log.read_text()
        found = re.search(r"listens on (http://\S+?)[; ]", said)
        assert found, said
        # Only once it answers does it end in order.
        asking = http.client.HTTPConnection(found[1].removeprefix("http://"), timeout=10)
        asking.request("GET", "/health")
        assert asking.getresponse().status == 200
        asking.close()
        yield found[1], said
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        assert "Traceback" not in log.read_text()
    finally:
        server.kill()
        server.wait()


def test_a_server_without_a_home_serves_where_it_is_told_to(room: Path) -> None:
    """By option or by variable; the command reaches it without a home, too."""
    with serving(room, "--data-dir", str(room / "data")) as (url, said):
        assert f"its data is in {room / 'data'}, there is no config file" in said
        for key in ((), ("--key", "any-key-0123456789")):
            status = ended(room, "mneme", "status", "--server", url, *key)
            assert (status.returncode, status.stderr) == (0, "")
            assert url in status.stdout
    with serving(room, MNEME_DATA_DIR=str(room / "other")):
        assert (room / "other" / "projects").is_dir()


def test_a_server_without_a_home_reads_the_config_file_that_is_named(room: Path) -> None:
    """The line with its address says which file it was."""
    file = room / "c.json"
    file.write_text('{"dataDir": "data"}')
    with serving(room, MNEME_CONFIG=str(file)) as (_, said):
        assert f"its data is in {room / 'data'}, its settings in {file}" in said


@pytest.mark.parametrize(
    ("how", "options"), [(["-n"], []), (["--logfile=own.log"], ["--data-dir", "data", "--config", "~/c"])]
)
def test_a_server_without_a_home_asks_where_in_one_sentence(
    room: Path, how: list[str], options: list[str]
) -> None:
    """In the foreground and daemonized, and nothing is made."""
    refused = ended(room, "twistd", "--pidfile=", *how, "mneme", "--port", "0", *options)
    assert refused.returncode == 1
    assert re.fullmatch(r"mneme: This user has no home directory .*\n", refused.stderr)
    assert list(room.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    ["status", "projects", "hooks", "hooks --install", "watch", "agent", "agent --status", "agent --install"],
)
def test_a_command_that_needs_a_home_says_so_in_one_sentence(room: Path, arguments: str) -> None:
    """With status 1, and nothing is made."""
    refused = ended(room, "mneme", *arguments.split())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(r"mneme: .*no home directory.*set HOME.*\n", refused.stderr)
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("end", ["pull", "push"])
def test_a_hook_without_a_home_stops_no_session(room: Path, end: str) -> None:
    """A single warning, and status 0."""
    refused = ended(room, "mneme", end)
    assert (refused.returncode, refused.stdout) == (0, "")
    assert re.fullmatch(r"mneme: This user has no home directory.*\n", refused.stderr)


def test_hooks_can_be_installed_without_a_home_where_the_file_is_named(room: Path) -> None:
    """The settings of a project, say."""
    done = ended(room, "mneme", "hooks", "--install", "--settings", str(room / "settings.json"))
    assert done.returncode == 0
    assert (room / "settings.json").exists()


@pytest.mark.parametrize("name", ["session-start", "session-end", "session-late"])
def test_a_hook_of_a_session_without_a_home_says_so_and_stops_no_session(room: Path, name: str) -> None:
    """Nobody reads what the last of them says."""
    refused = ended(room, "mneme", name)
    assert (refused.returncode, refused.stdout) == (0, "")
    assert re.fullmatch(r"(mneme: This user has no home directory.*set HOME.*\n)?", refused.stderr)
    assert bool(refused.stderr) is (name != "session-late")
    assert list(room.iterdir()) == []


def test_the_doctor_finds_that_there_is_no_home(room: Path) -> None:
    """With advice, and for scripts, too."""
    for options in ((), ("--json",)):
        told = ended(room, "mneme", "doctor", *options)
        assert (told.returncode, told.stderr) == (1, "")
        assert "home directory" in told.stdout
        assert "Set HOME" in told.stdout


@pytest.mark.parametrize("home", ["/nonexistent", "/dev/null", "/proc"])
@pytest.mark.parametrize(
    "arguments",
    ["pull", "push", "doctor", "status", "hooks --install", "agent", "session-start", "session-end"],
)
def test_a_home_that_cannot_be_used_is_told_in_a_sentence(room: Path, home: str, arguments: str) -> None:
    """A directory that is not there, is none, or takes no files."""
    done = ended(room, "mneme", *arguments.split(), HOME=home)
    assert "Traceback" not in done.stderr
    assert home in done.stdout + done.stderr
