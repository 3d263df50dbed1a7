"""The project of a directory and its memory folder, by the plugin's rules."""

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from mneme.client import git
from mneme.client.errors import SettingsError
from mneme.client.folder import PATIENCE, Folder, last_id
from mneme.client.identity import Origin, Rules, directories, identity_of, name_of
from mneme.client.settings import FOLDER
from mneme.clocks import SleepingClock
from mneme.model import ProjectId


class LocalMemory(Struct, frozen=True):
    """A memory folder on this machine; the id of its project, and the id's origin."""

    folder: Path
    project: ProjectId
    origin: Origin

    def opened(self, wall: SleepingClock | None = None, patience: float = PATIENCE) -> Folder:
        """The folder, which may have been in step under its path before."""
        return Folder(self.folder, self.project, wall, patience, self.path_id)

    @property
    def path_id(self) -> ProjectId | None:
        """The id by the path, where that by the remote has taken its place."""
        return ProjectId(_text(self.folder)) if self.origin is Origin.REMOTE else None

    @property
    def ids(self) -> Sequence[ProjectId]:
        """The id, and the id by the path until both are one."""
        return [self.project, self.path_id] if self.path_id else [self.project]


class LocalProject(LocalMemory, frozen=True):
    """A project on this machine: its root and its memory."""

    root: Path


def local_project(directory: Path, home: Path, rules: Rules) -> LocalProject:
    """The project of a directory."""
    root = project_root(directory)
    # The folder's name is UTF-8, whatever encoding the locale has for paths.
    return _at(root, home / FOLDER / "projects" / os.fsdecode(name_of(root).encode()), rules)


def memory_of(folder: Path, rules: Rules) -> LocalMemory:
    """The memory in a folder; its project's directory is found by the folder's name.

    The directory may be gone, or not to be told from another: then the id is that of the last sync, or of the path.
    """
    name, known = _text(folder), last_id(folder)
    places = directories(name)
    if len(places) == 1:
        return _at(places[0], folder, rules)
    if rules.one_for_all:
        return LocalMemory(folder, rules.one_for_all, Origin.ONE_FOR_ALL)
    return LocalMemory(folder, known or ProjectId.parse(name), Origin.LAST_SYNC if known else Origin.PATH)


def _at(root: Path, folder: Path, rules: Rules) -> LocalProject:
    found = identity_of(root, rules, last_id(folder))
    return LocalProject(folder, found.project, found.origin, root)


def _text(folder: Path) -> str:
    return os.fsencode(folder.name).decode(errors="replace")


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
    answer = _paths(directory, "--show-toplevel", "--git-common-dir").split("\n")
    if len(answer) > 2:
        # A path has a line feed in it.
        answer = [_paths(directory, "--show-toplevel"), _paths(directory, "--git-common-dir")]
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


def _paths(directory: Path, *what: str) -> str:
    """Paths of a repository, each in a line; empty without an answer."""
    return git.answer(directory, "rev-parse", *what) or ""
