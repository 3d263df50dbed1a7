"""Ids and folders of projects; git in odd environments. Roots are in `test_projectroots`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mneme.client.identity import Rules
from mneme.client.localproject import local_project, project_root
from mneme.errors import InvalidProjectId
from mneme.model import ProjectId

AUTHOR = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "protocol.file.allow=always"]


@pytest.fixture(autouse=True)
def no_git_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No repository and no git settings of a person around the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


def git(directory: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *AUTHOR, *arguments], cwd=directory, check=True, capture_output=True)


def repository(path: Path) -> Path:
    """A repository with a commit."""
    path.mkdir(parents=True)
    git(path, "init", "-q")
    git(path, "commit", "-q", "--allow-empty", "-m", "first")
    return path


def below(path: Path) -> Path:
    """A directory in another."""
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("data", ["/nowhere", "", "relative", "\x01"])
def test_a_git_that_is_led_astray_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    """By the environment, to where no repository is."""
    root = repository(tmp_path / "app")
    monkeypatch.setenv("GIT_DIR", data)
    assert project_root(below(root / "src")) == root / "src"


def test_a_hook_of_git_finds_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git tells it in the environment where its data are."""
    root = repository(tmp_path / "app")
    monkeypatch.setenv("GIT_DIR", ".git")
    assert project_root(root) == root


def test_a_place_has_the_folder_and_the_id_of_the_plugin(tmp_path: Path) -> None:
    """The path, with dashes for slashes; another id is for the server alone."""
    root = repository(tmp_path / "app")
    name = str(root).replace("/", "-")
    for given in (None, ProjectId("shared")):
        place = local_project(root, Path("/home/ana"), Rules(one_for_all=given))
        assert place.root == root
        assert place.folder == Path("/home/ana/.claude-mneme/projects") / name
        assert place.project == (given or ProjectId(name))


def test_a_path_that_is_too_long_for_an_id_is_told_so(tmp_path: Path) -> None:
    """A project id of one's own helps."""
    long = Path("/" + "/".join(["x" * 200] * 3))
    with pytest.raises(InvalidProjectId, match="512"):
        local_project(long, tmp_path, Rules())
    short = Rules(((str(long), ProjectId("short")),))
    assert local_project(long, tmp_path, short).project == ProjectId("short")
