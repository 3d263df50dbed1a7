"""The project of a directory and its memory folder, by the plugin's rules."""

import os
import subprocess
from pathlib import Path

from msgspec import Struct

from mneme.client.errors import SettingsError
from mneme.client.settings import FOLDER
from mneme.model import ProjectId

_GIT_SECONDS = 5.0


class LocalProject(Struct, frozen=True):
    """A project on this machine: its root, its memory folder, and its id."""

    root: Path
    folder: Path
    project: ProjectId


def local_project(directory: Path, home: Path, project: ProjectId | None) -> LocalProject:
    """The project of a directory; its id is `project`, or else its path."""
    root = project_root(directory)
    # A path need not be UTF-8; node has U+FFFD for each byte that is none, also in the names that it makes.
    name = os.fsencode(root).decode(errors="replace").replace("/", "-")
    # The folder's name is UTF-8, whatever encoding the locale has for paths.
    folder = home / FOLDER / "projects" / os.fsdecode(name.encode())
    return LocalProject(root, folder, project or ProjectId.parse(name))


def working_directory() -> Path:
    """The directory that this process works in; raises `SettingsError` if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise SettingsError("The directory that this runs in is there no more: cd to another") from None


def project_root(directory: Path) -> Path:
    """The root of a project by the plugin's rule: of the repository, or the directory.

    Where the git directory is not the `.git` of the root, as in a worktree or a submodule, the root is its parent.
    """
    if not _is_text(directory):
        # The plugin asks git in a directory of another name, which is not there.
        return directory
    answer = _git(directory, "--show-toplevel", "--git-common-dir").split("\n")
    if len(answer) > 2:
        # A path has a line feed in it.
        answer = [_git(directory, "--show-toplevel"), _git(directory, "--git-common-dir")]
    if len(answer) != 2:
        return directory
    top, common = (text.strip() for text in answer)
    # git answers relative to the directory.
    found = common if common.startswith("/") else os.path.normpath(directory / common)
    own = f"{top}/.git"
    return Path(top) if found == own or found.startswith(f"{own}/") else Path(found).parent


def _is_text(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _git(directory: Path, *what: str) -> str:
    """Paths of a repository, each in a line; empty without an answer."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            ["git", "rev-parse", *what],  # noqa: S607 - whichever git the person uses
            cwd=directory,
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout).removesuffix("\n") if done.returncode == 0 else ""
