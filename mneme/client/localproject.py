"""The project of a directory and its memory folder, by the plugin's rules."""

import os
import subprocess
from pathlib import Path

from attrs import frozen

from mneme.client.settings import FOLDER
from mneme.model import ProjectId

_GIT_SECONDS = 5.0


@frozen
class LocalProject:
    """A project on this machine: its root, its memory folder, and its id."""

    root: Path
    folder: Path
    project: ProjectId


def local_project(directory: Path, home: Path, project: ProjectId | None) -> LocalProject:
    """The project of a directory; its id is `project`, or else its path."""
    root = project_root(directory)
    name = str(root).replace("/", "-")
    # An id is UTF-8, a path need not be.
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return LocalProject(root, home / FOLDER / "projects" / name, project or ProjectId.parse(text))


def project_root(directory: Path) -> Path:
    """The root of a directory's git repository; for a worktree, of its main repository.

    The directory itself where there is no repository, or no git.
    """
    answer = _git(directory, "rev-parse", "--show-toplevel", "--git-common-dir")
    if len(answer) != 2:
        return directory
    top, common = answer
    # git answers relative to the directory.
    shared = (directory / common).resolve()
    return shared.parent if shared.name == ".git" else Path(top)


def _git(directory: Path, *arguments: str) -> list[str]:
    """The lines of an answer of git; none without an answer."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            ["git", *arguments],  # noqa: S607 - whichever git the person uses
            cwd=directory,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    # Not splitlines(): a path may hold other line separators.
    return os.fsdecode(done.stdout).removesuffix("\n").split("\n") if done.returncode == 0 else []
