"""Which project a directory belongs to, asked of the real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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


def test_a_repository_is_a_project(tmp_path: Path) -> None:
    """From wherever in it; a directory without one is itself, also where it is gone."""
    root = repository(tmp_path / "app")
    assert project_root(root) == root
    assert project_root(below(root / "src" / "deep")) == root
    assert project_root(below(tmp_path / "notes")) == tmp_path / "notes"
    assert project_root(tmp_path / "gone") == tmp_path / "gone"


def test_a_worktree_belongs_to_its_main_repository(tmp_path: Path) -> None:
    """From wherever in it."""
    root = repository(tmp_path / "app")
    git(root, "worktree", "add", "-q", "../feature")
    assert project_root(tmp_path / "feature") == root
    assert project_root(below(tmp_path / "feature" / "src")) == root


def test_a_worktree_of_a_bare_repository_is_a_project(tmp_path: Path) -> None:
    """There is no main one."""
    git(repository(tmp_path / "app"), "clone", "-q", "--bare", ".", "../app.git")
    git(tmp_path / "app.git", "worktree", "add", "-q", "../feature")
    assert project_root(tmp_path / "feature") == tmp_path / "feature"
    assert project_root(below(tmp_path / "feature" / "src")) == tmp_path / "feature"


def test_a_submodule_is_a_project(tmp_path: Path) -> None:
    """Its repository lies in the other's, but it is its own."""
    repository(tmp_path / "library")
    root = repository(tmp_path / "app")
    git(root, "submodule", "add", "-q", "../library", "vendor/library")
    assert project_root(root / "vendor" / "library") == root / "vendor" / "library"
    assert project_root(below(root / "vendor" / "library" / "src")) == root / "vendor" / "library"


def test_a_repository_whose_data_lie_elsewhere_is_a_project(tmp_path: Path) -> None:
    """The directory of the files counts."""
    (tmp_path / "app").mkdir()
    git(tmp_path / "app", "init", "-q", "--separate-git-dir", str(tmp_path / "data.git"))
    assert project_root(tmp_path / "app") == tmp_path / "app"


@pytest.mark.parametrize("place", [".git", ".git/refs", "bare.git"])
def test_what_has_no_files_is_a_directory(tmp_path: Path, place: str) -> None:
    """Git has no top level for it."""
    root = repository(tmp_path / "app")
    git(root, "clone", "-q", "--bare", ".", "bare.git")
    assert project_root(root / place) == root / place


def test_without_git_a_directory_is_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were no repositories."""
    root = repository(tmp_path / "app")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert project_root(below(root / "src")) == root / "src"


def test_a_git_that_hangs_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session does not wait for it."""
    tool = tmp_path / "git"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("mneme.client.localproject._GIT_SECONDS", 0.05)
    assert project_root(tmp_path) == tmp_path


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


def test_a_link_leads_to_the_project_that_it_leads_to(tmp_path: Path) -> None:
    """A project has one root, whichever symbolic link leads to it."""
    root = repository(tmp_path / "app")
    below(root / "src")
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "inside").symlink_to(root / "src")
    assert project_root(tmp_path / "link") == root
    assert project_root(tmp_path / "inside") == root


@pytest.mark.parametrize(
    "name", ["a b", "a-b", "μνήμη", "a\u2028b", "a\x0bb", "a\x85b", "a\rb", "café".encode("latin-1")]
)
def test_a_root_has_any_name(tmp_path: Path, name: str | bytes) -> None:
    """Spaces, other scripts, what splits lines elsewhere, bytes that are no text."""
    text = os.fsdecode(name)
    root = repository(tmp_path / text)
    assert project_root(below(root / "src")) == root


def test_a_place_has_the_folder_and_the_id_of_the_plugin(tmp_path: Path) -> None:
    """The path, with dashes for slashes; another id is for the server alone."""
    root = repository(tmp_path / "app")
    name = str(root).replace("/", "-")
    for given in (None, ProjectId("shared")):
        place = local_project(root, Path("/home/ana"), given)
        assert place.root == root
        assert place.folder == Path("/home/ana/.claude-mneme/projects") / name
        assert place.project == (given or ProjectId(name))


def test_a_path_that_is_no_text_has_an_id_that_is(tmp_path: Path) -> None:
    """The folder has the very bytes."""
    root = repository(tmp_path / os.fsdecode(b"caf\xe9"))
    place = local_project(root, tmp_path, None)
    assert os.fsencode(place.folder.name).endswith(b"caf\xe9")
    assert place.project.value.endswith("caf\ufffd")
    assert place.project.value.encode()


def test_a_path_that_is_too_long_for_an_id_is_told_so(tmp_path: Path) -> None:
    """A project id of one's own helps."""
    long = Path("/" + "/".join(["x" * 200] * 3))
    with pytest.raises(InvalidProjectId, match="512"):
        local_project(long, tmp_path, None)
    assert local_project(long, tmp_path, ProjectId("short")).project == ProjectId("short")
