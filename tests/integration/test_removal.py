"""`mneme rm`, and the machines on which the project still lies."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from mneme.model import ProjectId
from mneme.store import layout
from tests.command import LOG, Ended, Home
from tests.daemon import Daemon

pytestmark = pytest.mark.integration


@pytest.fixture
def laptop(tmp_path_factory: pytest.TempPathFactory, server: Daemon, project: str) -> Home:
    """A machine that has pushed a log and a summary."""
    home = Home(tmp_path_factory.mktemp("home"), server.url, projectId=project, enabled=False)
    home.note("first")
    home.write("summary.md", b"# Use tabs\n")
    home.run("push", "--strict")
    return home


def projects(home: Home) -> list[str]:
    """The projects that the server lists."""
    return [one["id"] for one in home.json("projects")["projects"]]


def test_a_removed_project_stays_removed_while_the_machines_have_it(
    server: Daemon, laptop: Home, project: str
) -> None:
    """Sessions and an agent bring nothing back; the history can be read, and restored."""
    told = laptop.run("rm", project, "--yes").err
    assert f"Removed {project}" in told
    agent = laptop.start("agent")
    try:
        for words in (("pull", "--strict"), ("push", "--strict"), ("session-start",), ("session-end",)):
            laptop.run(*words)
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
    assert project not in projects(laptop)
    assert not (server.projects / layout.directory_name(ProjectId(project)) / LOG).exists()
    found = {one["code"]: one for one in laptop.json("doctor")["findings"]}
    assert "log.jsonl, summary.md" in found["removed-on-server"]["found"]
    assert "changes-pushed" in found
    assert laptop.run("history", project, LOG).out.count("\n") == 2
    laptop.run("restore", project, LOG, "--version", "1")
    assert [one["name"] for one in server.ask("GET", f"/projects/{project}/files")[1]["files"]] == [LOG]
    laptop.run("pull", "--strict")
    assert laptop.notes() == ["first"]


def test_a_change_after_a_removal_is_sent_alone(server: Daemon, laptop: Home, project: str) -> None:
    """The push says which file was removed and stays here."""
    laptop.run("rm", project, "--yes")
    laptop.note("second")
    pushed = laptop.run("push")
    assert "log.jsonl sent, summary.md removed on the server" in pushed.err
    assert "summary.md was removed on the server, and left on this machine" in pushed.err
    assert [one["name"] for one in server.ask("GET", f"/projects/{project}/files")[1]["files"]] == [LOG]


@pytest.mark.parametrize(("answer", "is_removed"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_a_person_is_asked(laptop: Home, project: str, answer: bytes, is_removed: bool) -> None:
    """The question says what is on the server; no is the default."""
    terminal, its_end = pty.openpty()
    process = laptop.start("rm", project, stdin=its_end)
    os.close(its_end)
    os.write(terminal, answer)
    ended = Ended(process)
    os.close(terminal)
    assert f"Remove {project} with 2 files" in ended.err
    assert ended.status == (0 if is_removed else 1)
    assert (project not in projects(laptop)) is is_removed


def test_without_a_terminal_nothing_is_removed(laptop: Home, project: str) -> None:
    """A script says --yes."""
    ended = laptop.run("rm", project, check=False)
    assert (ended.status, "give --yes" in ended.err) == (1, True)
    assert project in projects(laptop)


def test_a_locked_project_stays(server: Daemon, laptop: Home, project: str) -> None:
    """The sentence says who has the lock, and how to release it."""
    server.ask("POST", f"/projects/{project}/lock", headers={"X-Client-Id": "desktop-1a2b3c4d"})
    ended = laptop.run("rm", project, "--yes", check=False)
    assert ended.status == 1
    for word in ("desktop-1a2b3c4d", f"`mneme unlock {project}`"):
        assert word in ended.err
    laptop.run("unlock", project, "--yes")
    assert laptop.json("rm", project, "--yes") == {"project": project, "removed": True}


def test_an_unknown_project_is_told(tmp_path: Path, laptop: Home) -> None:
    """With the command that lists those there are."""
    ended = laptop.run("rm", "-no-such-one", "--yes", check=False)
    assert (ended.status, "has no project -no-such-one" in ended.err) == (1, True)
