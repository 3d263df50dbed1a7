"""`mneme hooks` and `mneme doctor`, and hooks as Claude Code runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ENDS_WITHIN, Home
from tests.daemon import Daemon
from tests.integration.disks import fill, small_disk

pytestmark = pytest.mark.integration

MNEME = Path(sys.executable).with_name("mneme")


@pytest.fixture
def home(tmp_path: Path, daemon: Daemon, project: str) -> Home:
    """A machine without hooks, on which the plugin does not sync by itself."""
    return Home(tmp_path / "home", daemon.url, projectId=project, enabled=False)


def settings_of(home: Home) -> Path:
    """The settings of Claude Code."""
    return home.path / ".claude" / "settings.json"


def states(home: Home, *arguments: str) -> dict[str, str]:
    """Findings of the doctor: the state of each thing, by its code."""
    ended = home.run("doctor", "--json", *arguments, check=False)
    found = {one["code"]: one["state"] for one in json.loads(ended.out)["findings"]}
    assert ended.status == (1 if "bad" in found.values() else 0)
    assert ended.err == ""
    return found


def test_installed_hooks_carry_the_memory_to_another_machine(
    tmp_path: Path, daemon: Daemon, home: Home, project: str
) -> None:
    """Run by a shell with a short PATH, as Claude Code does, they print nothing."""
    other = Home(tmp_path / "other", daemon.url, projectId=project)

    def with_short_path(one: Home, command: str) -> str:
        environment = {"HOME": str(one.path), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=one.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN,
            check=True,
        )
        return done.stdout

    home.write("summary.md", b"# Use tabs\n")
    for one, event in ((home, "SessionStart"), (home, "SessionEnd"), (other, "SessionStart")):
        with_short_path(one, f"{MNEME} hooks --install")
        [group] = json.loads(settings_of(one).read_text())["hooks"][event]
        assert with_short_path(one, group["hooks"][0]["command"]) == "", "the agent's context would show it"
    assert other.file("summary.md").read_text() == "# Use tabs\n"


def test_a_full_disk_leaves_the_settings_as_they_were(tmp_path: Path) -> None:
    """A sentence, status 1, and nothing beside them."""
    with small_disk(tmp_path / "disk", 1_000_000) as disk:
        home = Home(disk / "home", "")
        settings_of(home).parent.mkdir()
        settings_of(home).write_text('{"model": "opus"}\n')
        fill(disk / "filler")
        ended = home.run("hooks", "--install", check=False)
        assert (ended.status, ended.err.count("\n")) == (1, 1)
        assert "No space left" in ended.err
        assert settings_of(home).read_text() == '{"model": "opus"}\n'
        assert [one.name for one in settings_of(home).parent.iterdir()] == ["settings.json"]


def test_a_machine_with_its_hooks_is_well(daemon: Daemon, home: Home, project: str) -> None:
    """From the first look, which makes no project, to the first push and after."""
    assert "bad" not in states(home).values()
    home.run("hooks", "--install")
    found = states(home)
    assert "bad" not in found.values(), found
    assert found["sync-by-hooks"] == found["lock-free"] == found["clocks-agree"] == "good"
    assert project not in [one["id"] for one in daemon.ask("GET", "/projects")[1]["projects"]]
    home.write("summary.md", b"# Use tabs\n")
    assert states(home)["changes-unpushed"] == "doubtful"
    home.run("push", "--strict")
    found = states(home)
    assert found["changes-pushed"] == found["project-known"] == "good"
