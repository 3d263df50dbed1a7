"""`mneme doctor` as a person runs it, against a real server, or what is no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from mneme.store import layout
from tests.contract import KEYS
from tests.daemon import Daemon
from tests.integration import wire
from tests.integration.person import Person

pytestmark = pytest.mark.integration


def _person(tmp_path: Path, daemon: Daemon, **sync: object) -> Person:
    return Person(tmp_path / "home", {"serverUrl": daemon.url, "projectId": "doctored", **sync})


def _bad(states: dict[str, str]) -> list[str]:
    return [code for code, state in states.items() if state == "bad"]


def test_a_person_is_told_line_by_line(tmp_path: Path, daemon: Daemon) -> None:
    """Marks, sentences, what to do, and a count; nothing is bad, so the status is 0."""
    done = _person(tmp_path, daemon).mneme("doctor")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"✓ The server is {daemon.url}, from ")
    assert "? No session syncs by itself" in done.stdout
    assert lines[-1].endswith("doubtful")
    assert done.stderr == ""


def test_a_machine_with_its_hooks_is_well(tmp_path: Path, daemon: Daemon) -> None:
    """From the first look to the first push, and after it."""
    person = _person(tmp_path, daemon, projectId="well")
    assert person.mneme("hooks", "--install").returncode == 0
    states = person.states()
    assert not _bad(states)
    assert states["sync-by-hooks"] == states["lock-free"] == states["clocks-agree"] == "good"
    person.write("summary.md", b"# Use tabs\n")
    assert person.states()["changes-unpushed"] == "doubtful"
    assert person.mneme("push", "--strict").returncode == 0
    states = person.states()
    assert states["changes-pushed"] == states["project-known"] == "good"


def test_a_look_is_no_visit(tmp_path: Path) -> None:
    """No project, lock or base comes of it, however often."""
    with Daemon(tmp_path / "server", wire.NO_RATE_LIMIT) as daemon:
        person = _person(tmp_path, daemon)
        for _ in range(2):
            person.states()
        assert daemon.ask("GET", "/projects") == (200, {"projects": []})
        assert [path.name for path in daemon.projects.iterdir()] == [layout.MARK]


def test_keys_are_right_wrong_or_missing(tmp_path: Path, keyed: Daemon) -> None:
    """Each is told apart, and none is shown."""
    person = _person(tmp_path, keyed)
    assert _bad(person.states()) == ["key-missing"]
    assert _bad(person.states("--server", keyed.url, "--key", "no-key-0123456789")) == ["key-wrong"]
    person.configure({"serverUrl": keyed.url, "apiKey": KEYS[1]})
    assert person.states()["key-right"] == "good"
    assert KEYS[1] not in person.mneme("doctor").stdout


def test_a_machine_without_settings_is_told_what_to_set(tmp_path: Path) -> None:
    """The first thing that a person runs may well be this."""
    done = Person(tmp_path).mneme("doctor")
    assert done.returncode == 1
    assert '"serverUrl"' in done.stdout
    assert done.stderr == ""


def test_a_machine_without_git_is_told(tmp_path: Path, daemon: Daemon) -> None:
    """It works on, with each directory a project."""
    (tmp_path / "empty").mkdir()
    person = _person(tmp_path, daemon)
    assert person.states(PATH=str(tmp_path / "empty"))["git-missing"] == "doubtful"
