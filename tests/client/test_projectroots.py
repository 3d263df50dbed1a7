"""The root of a project, with the real git.

All expected values were compared with the plugin's own code.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mneme.client.errors import SettingsError
from mneme.client.identity import Rules
from mneme.client.localproject import local_project, project_root, working_directory

AUTHOR = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "protocol.file.allow=always"]


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a repository, or git settings of a person, around it."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    return tmp_path


def git(directory: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *AUTHOR, *arguments], cwd=directory, check=True, capture_output=True)


def repository(path: Path) -> Path:
    """A repository with a commit."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    git(path, "commit", "-q", "--allow-empty", "-m", "first")
    return path


def roots(*directories: Path) -> list[str]:
    """The roots of directories and of others in them, relative to the first's parent."""
    below = [directory / "deep" / "er" for directory in directories]
    for one in below:
        one.mkdir(parents=True)
    found = [*map(project_root, directories), *map(project_root, below)]
    return [os.path.relpath(one, directories[0].parent) for one in found]


def folder_of(directory: Path) -> str:
    """The name of the memory folder of a directory."""
    return local_project(directory, Path("/home/ana"), Rules()).folder.name


def test_a_repository_is_the_root_of_all_in_it(top: Path) -> None:
    """And a directory without one is its own."""
    assert roots(repository(top / "app")) == ["app", "app"]
    assert roots(*[(top / "notes")]) == ["notes", "notes/deep/er"]


def test_a_worktree_shares_the_memory_of_its_repository(top: Path) -> None:
    """Also one that lies in it."""
    app = repository(top / "app")
    git(app, "worktree", "add", "-q", "../feature")
    git(app, "worktree", "add", "-q", "inner/fix")
    assert roots(app, top / "feature", app / "inner/fix") == ["app"] * 6


def test_a_worktree_of_a_bare_repository_has_the_directory_around_that(top: Path) -> None:
    """All worktrees beside a `.bare` share a memory; the repository has its own."""
    app = repository(top / "app")
    project = top / "project"
    project.mkdir()
    git(app, "clone", "-q", "--bare", ".", str(project / ".bare"))
    (project / ".git").write_text("gitdir: ./.bare\n")
    git(project, "worktree", "add", "-q", "one", "main")
    git(project, "worktree", "add", "-q", "-b", "two", "two")
    assert roots(project / "one", project / "two") == ["."] * 4
    assert project_root(project) == project
    assert project_root(project / ".bare") == project / ".bare"
    git(app, "clone", "-q", "--bare", ".", "../app.git")
    git(top / "app.git", "worktree", "add", "-q", "../loose", "main")
    assert roots(top / "loose") == [".", "."]


def test_a_submodule_has_the_directory_of_its_data(top: Path) -> None:
    """In the repository that it belongs to, or in the worktree of that."""
    repository(top / "library")
    app = repository(top / "app")
    git(app, "submodule", "add", "-q", "../library", "vendor/library")
    git(app, "commit", "-q", "-m", "a submodule")
    git(app, "worktree", "add", "-q", "../feature")
    git(top / "feature", "submodule", "update", "-q", "--init")
    assert project_root(app / "vendor/library") == app / ".git/modules/vendor"
    assert project_root(top / "feature/vendor/library") == app / ".git/worktrees/feature/modules/vendor"
    assert folder_of(app / "vendor/library") == f"{str(app).replace('/', '-')}-.git-modules-vendor"


def test_a_repository_whose_data_lie_elsewhere_has_the_directory_around_them(top: Path) -> None:
    """The plugin takes it for a worktree."""
    (top / "app").mkdir()
    (top / "data").mkdir()
    git(top / "app", "init", "-q", "--separate-git-dir", str(top / "data/app.git"))
    assert roots(top / "app") == ["data", "data"]


def test_data_below_the_usual_ones_are_those_of_the_directory(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person can have the environment say so."""
    app = repository(top / "app")
    git(app, "init", "-q", "--bare", ".git/inner")
    monkeypatch.setenv("GIT_DIR", str(app / ".git/inner"))
    monkeypatch.setenv("GIT_WORK_TREE", str(app))
    assert project_root(app) == app


@pytest.mark.parametrize("place", [".git", ".git/refs", "bare.git", "bare.git/refs"])
def test_the_data_of_git_are_directories_like_others(top: Path, place: str) -> None:
    """Git has no top level for them."""
    app = repository(top / "app")
    git(app, "clone", "-q", "--bare", ".", "bare.git")
    assert project_root(app / place) == app / place


def test_a_session_behind_a_link_is_in_the_project_there(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its working directory is the real one, whichever way it came."""
    app = repository(top / "app")
    (app / "src").mkdir()
    for name, target in (("link", app), ("inside", app / "src")):
        (top / name).symlink_to(target)
        monkeypatch.chdir(top / name)
        assert project_root(working_directory()) == app


def test_a_link_that_is_named_is_a_project_as_for_the_plugin(top: Path) -> None:
    """Git tells of its data from where it was asked."""
    app = repository(top / "app")
    (app / "src").mkdir()
    (top / "link").symlink_to(app)
    (top / "inside").symlink_to(app / "src")
    assert project_root(top / "link") == top / "link"
    assert project_root(top / "inside") == top


def test_a_working_directory_that_is_gone_is_told(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence with advice."""
    (top / "gone").mkdir()
    monkeypatch.chdir(top / "gone")
    (top / "gone").rmdir()
    with pytest.raises(SettingsError, match="cd to another"):
        working_directory()


def test_without_git_every_directory_is_a_project(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the plugin; also where the directory is gone."""
    app = repository(top / "app")
    monkeypatch.setenv("PATH", str(top))
    assert roots(app) == ["app", "app/deep/er"]
    assert project_root(top / "gone") == top / "gone"


@pytest.mark.parametrize(
    "name", ["a b", " a ", "a-b", "größe", "記憶", "a\u2028b", "a\x85", "a\x1f", "a\nb", "a\rb"]
)
def test_a_root_has_any_name(top: Path, name: str) -> None:
    """Spaces, other scripts, line feeds."""
    app = repository(top / name)
    assert roots(app) == [name, name]
    assert folder_of(app) == f"{top}/{name}".replace("/", "-")


def test_a_directory_that_is_no_text_has_the_folder_of_its_name_in_node(top: Path) -> None:
    """Node cannot name it to git, and has a replacement character in its path."""
    app = repository(top / os.fsdecode(b"caf\xe9"))
    (app / "src").mkdir()
    assert project_root(app / "src") == app / "src"
    name = str(top).replace("/", "-")
    assert folder_of(app) == f"{name}-caf\ufffd"
    assert folder_of(app / "src") == f"{name}-caf\ufffd-src"


def test_a_git_that_hangs_is_none(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session does not wait for it."""
    app = repository(top / "app")
    (top / "bin").mkdir()
    tool = top / "bin/git"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{top / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("mneme.client.git._SECONDS", 0.05)
    assert roots(app) == ["app", "app/deep/er"]
