"""Claims: a data directory has one server."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mneme.errors import StartupError
from mneme.store.claim import LOCK_NAME, Claim


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "home" / "data"


def test_a_claim_makes_the_directory_and_closes_it(directory: Path) -> None:
    """0700 and 0600, and says which process has it."""
    claim = Claim.take(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / LOCK_NAME).stat().st_mode) == 0o600
    assert (directory / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    claim.release()


def test_a_directory_that_was_open_is_closed(directory: Path) -> None:
    """As the Node server left it."""
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    Claim.take(directory).release()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_second_claim_is_refused_with_the_first_ones_pid(directory: Path) -> None:
    """In one sentence that says what to do."""
    claim = Claim.take(directory)
    for _ in range(2):
        with pytest.raises(StartupError) as caught:
            Claim.take(directory)
        sentence = str(caught.value)
        assert f"{directory} is in use by another mneme server (pid {os.getpid()})" in sentence
        assert "--data-dir" in sentence
        assert "\n" not in sentence
    claim.release()


def test_a_claim_that_has_not_said_its_pid_yet_is_respected(directory: Path) -> None:
    """Between the claim and its first word there is a moment."""
    claim = Claim.take(directory)
    (directory / LOCK_NAME).write_bytes(b"")
    with pytest.raises(StartupError, match="not known yet"):
        Claim.take(directory)
    claim.release()


def test_a_released_directory_can_be_claimed_again(directory: Path) -> None:
    """At once, and what an earlier server wrote there is overwritten whole."""
    Claim.take(directory).release()
    (directory / LOCK_NAME).write_text("123456789012345\n")
    claim = Claim.take(directory)
    assert (directory / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    claim.release()


def test_refusals_leave_no_descriptor_open(directory: Path) -> None:
    """Whoever tries on and on does no harm."""
    claim = Claim.take(directory)
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
    for _ in range(3):
        with pytest.raises(StartupError):
            Claim.take(directory)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names alone
    claim.release()


@pytest.mark.parametrize("kind", ["file", "dangling link", "file above", "link for a lock"])
def test_a_directory_that_cannot_be_used_is_told_in_one_sentence(
    directory: Path, tmp_path: Path, kind: str
) -> None:
    """Which one, why, and what to do; no lock is taken through a link."""
    directory.parent.mkdir()
    if kind == "file":
        directory.write_text("hello")
    elif kind == "dangling link":
        directory.symlink_to(tmp_path / "nowhere")
    elif kind == "file above":
        directory.parent.rmdir()
        directory.parent.write_text("hello")
    else:
        directory.mkdir()
        (directory / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartupError) as caught:
        Claim.take(directory)
    sentence = str(caught.value)
    assert sentence.startswith(f"The data directory {directory} cannot be used: ")
    assert "--data-dir" in sentence
    assert caught.value.__cause__ is None
    assert not (tmp_path / "elsewhere").exists()


CHILD = """
import os, sys
from pathlib import Path
from mneme.store.claim import Claim
claim = Claim.take(Path(sys.argv[1]))
if sys.argv[2] == "daemonize" and os.fork():
    os._exit(0)
claim.write_pid()
print(os.getpid(), flush=True)
sys.stdin.read()
os._exit(9)
"""


def start(directory: Path, how: str) -> subprocess.Popen[str]:
    """Another process that claims the directory, until its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.integration
@pytest.mark.parametrize("how", ["stay", "daemonize"])
def test_a_claim_lasts_exactly_as_long_as_its_process(directory: Path, how: str) -> None:
    """The child of a daemonizing server holds it on, and is named."""
    with start(directory, how) as process:
        assert process.stdin
        assert process.stdout
        pid = process.stdout.readline().strip()
        assert (pid == str(process.pid)) == (how == "stay")
        with pytest.raises(StartupError, match=rf"\(pid {pid}\)"):
            Claim.take(directory)
        process.stdin.close()
        assert process.stdout.read() == ""
        process.wait(30)
    Claim.take(directory).release()


@pytest.mark.integration
def test_a_killed_process_leaves_no_claim(directory: Path) -> None:
    """Its file is there, and nobody minds."""
    with start(directory, "stay") as process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
        process.wait(30)
    claim = Claim.take(directory)
    assert (directory / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    claim.release()
