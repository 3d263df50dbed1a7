"""`mneme hooks` as a person runs it, and its hooks as Claude Code runs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.integration.person import MNEME, Person
from tests.integration.test_disk_full import _fill, _small_disk

pytestmark = pytest.mark.integration


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Somebody without any settings yet."""
    return Person(tmp_path / "home")


def test_the_hooks_that_are_printed_call_this_program(person: Person) -> None:
    """By its path while it is not on PATH, by its name when it is."""
    printed = json.loads(person.mneme("hooks", PATH="/usr/bin:/bin").stdout)
    assert printed["hooks"]["SessionEnd"] == [
        {"hooks": [{"type": "command", "command": f"{MNEME} push", "timeout": 60}]}
    ]
    assert _command(person.mneme("hooks", PATH=f"{MNEME.parent}:/usr/bin:/bin").stdout) == "mneme pull"


def _command(text: str, event: str = "SessionStart") -> str:
    [group] = json.loads(text)["hooks"][event]
    return str(group["hooks"][0]["command"])


def test_installed_hooks_carry_the_memory_to_another_machine(
    tmp_path: Path, person: Person, daemon: Daemon
) -> None:
    """Run by a shell, as Claude Code runs them, with no PATH to speak of."""
    other = Person(tmp_path / "other")
    for one in (person, other):
        one.configure({"serverUrl": daemon.url, "projectId": "hooked"})
        assert one.mneme("hooks", "--install", PATH="/usr/bin:/bin").returncode == 0
    person.write("summary.md", b"# Use tabs\n")
    for one, event in ((person, "SessionStart"), (person, "SessionEnd"), (other, "SessionStart")):
        command = _command(one.claude.read_text(), event)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=one.root,
            env={"HOME": str(one.path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == "", "it would end up in the agent's context"
    assert other.file("summary.md").read_text() == "# Use tabs\n"


def test_a_second_installation_writes_nothing(person: Person) -> None:
    """Not even the same again."""
    person.mneme("hooks", "--install")
    before = person.claude.stat()
    done = person.mneme("hooks", "--install")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to do" in done.stderr
    after = person.claude.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [one.name for one in person.claude.parent.iterdir()] == ["settings.json"]


def test_settings_that_are_no_json_are_refused(person: Person) -> None:
    """One sentence, status 1, and not a byte is another."""
    person.claude.parent.mkdir()
    person.claude.write_text("{ // mine\n}")
    done = person.mneme("hooks", "--install")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "must hold JSON" in done.stderr
    assert person.claude.read_text() == "{ // mine\n}"


def test_a_full_disk_leaves_the_settings_as_they_were(tmp_path: Path) -> None:
    """One sentence, status 1, and nothing beside them."""
    with _small_disk(tmp_path / "disk", 1_000_000) as disk:
        person = Person(disk / "home")
        person.claude.parent.mkdir()
        person.claude.write_text('{"model": "opus"}\n')
        _fill(disk / "filler", leave=0)
        done = person.mneme("hooks", "--install")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "No space left" in done.stderr
        assert person.claude.read_text() == '{"model": "opus"}\n'
        assert [one.name for one in person.claude.parent.iterdir()] == ["settings.json"]


def test_help_says_what_it_is_for(person: Person) -> None:
    """Of both commands, and in the list of all."""
    assert "--install" in person.mneme("hooks", "--help").stdout
    assert "--json" in person.mneme("doctor", "--help").stdout
    listed = person.mneme("--help").stdout
    assert "hooks" in listed
    assert "doctor" in listed
