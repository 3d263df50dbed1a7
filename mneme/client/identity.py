"""The id of a project: by the settings, by git, or by its path.

The first of these that says one:

1. `sync.projects` in the settings, a folder or a pattern for each id
2. `git config mneme.project` of the project
3. with `sync.identity: "git"` the remote of its repository: `github.com/ana/app`
4. `sync.projectId`, one id for all projects of the machine
5. its path: `-home-ana-src-app`
"""

import enum
import os
import re
import shlex
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from mneme.client import git
from mneme.client.errors import SettingsError
from mneme.errors import MnemeError
from mneme.model import ProjectId

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCP_LIKE = re.compile(
    r"(?:(?P<user>[^@/:]*)@)?(?P<host>\[[^\]/]+\]|[^/:\[\]]+):(?P<path>(?!:).+)", re.DOTALL
)

_LOOPBACK = re.compile(r"127(?:\.\d+){3}")

_EVERYBODY = "git"
"""The user of repositories that are nobody's in particular."""


class Origin(enum.Enum):
    """Origins of a project's id."""

    PROJECTS = "sync.projects"
    GIT_CONFIG = "git config mneme.project"
    REMOTE = "its git remote"
    ONE_FOR_ALL = "sync.projectId, which is one id for all projects of this machine"
    PATH = "the path"
    LAST_SYNC = "its last sync"


class Identity(Struct, frozen=True):
    """The id of a project, and its origin."""

    project: ProjectId
    origin: Origin


class Rules(Struct, frozen=True):
    """The settings about ids. `chosen` has patterns with their ids, in the file's order."""

    chosen: tuple[tuple[str, ProjectId], ...] = ()
    uses_remote: bool = False
    one_for_all: ProjectId | None = None


def checked(text: str, name: str) -> ProjectId:
    """A project id from the setting of this name; raises `SettingsError`."""
    try:
        text.encode()
        return ProjectId.parse(text)
    except UnicodeEncodeError:
        raise SettingsError(f"{name} cannot be used: a project id is UTF-8 text") from None
    except MnemeError as problem:
        raise SettingsError(f"{name} cannot be used: {problem}") from None


def patterns_of(projects: Mapping[str, str], home: Path | None) -> tuple[tuple[str, ProjectId], ...]:
    """The patterns of `sync.projects`, as whole paths; raises `SettingsError`."""
    return tuple(
        (_whole(pattern, home), checked(project, f"The id of {pattern!r} in sync.projects"))
        for pattern, project in projects.items()
    )


def _whole(pattern: str, home: Path | None) -> str:
    in_home = pattern == "~" or pattern.startswith("~/")
    whole = f"{home}{pattern[1:]}" if home and in_home else pattern
    if not whole.startswith("/"):
        raise SettingsError(
            f"sync.projects names {pattern!r}: a folder, or a pattern for folders, begins with / or ~/"
        )
    return whole.rstrip("/") or "/"


def name_of(root: Path) -> str:
    """The plugin's name for the project at a path."""
    # A path need not be UTF-8; node has U+FFFD for each byte that is none, also in the names that it makes.
    return os.fsencode(root).decode(errors="replace").replace("/", "-")


def identity_of(root: Path, rules: Rules, known: ProjectId | None) -> Identity:
    """The id of the project at `root`; `known` is that of its last sync.

    Raises `SettingsError`, and `InvalidProjectId` for a path that is too long.
    """
    chosen = next((project for pattern, project in rules.chosen if _matches(pattern, root)), None)
    if chosen:
        return Identity(chosen, Origin.PROJECTS)
    try:
        of_git = _by_git(root, rules)
    except _NoGitError:
        if known:
            return Identity(known, Origin.LAST_SYNC)
        of_git = None
    # Two directories with one name have one folder, which must have one id.
    if of_git and len(directories(name_of(root))) <= 1:
        return of_git
    if rules.one_for_all:
        return Identity(rules.one_for_all, Origin.ONE_FOR_ALL)
    return Identity(ProjectId.parse(name_of(root)), Origin.PATH)


def _matches(pattern: str, root: Path) -> bool:
    return bool(_compiled(pattern).fullmatch(os.fsencode(root).decode(errors="replace")))


@lru_cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern: `*` and `?` stand for parts of a name, `**` for several names."""
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*|\*|\?)", pattern)
    return re.compile("".join(parts.get(word) or re.escape(word) for word in words), re.DOTALL)


# By git


class _NoGitError(Exception):
    """A git that cannot be run, or takes too long."""


def _by_git(root: Path, rules: Rules) -> Identity | None:
    # Else git would look above, where another project may be.
    if not os.path.lexists(root / ".git"):
        return None
    # That of the repository alone: one of the person's would be one id for all.
    named = _git(root, "config", "--local", "--get", "mneme.project")
    if named:
        return Identity(checked(named, f"git config mneme.project of {root}"), Origin.GIT_CONFIG)
    remote = remote_id(_remote(root)) if rules.uses_remote else None
    return Identity(checked(remote, f"The git remote of {root}"), Origin.REMOTE) if remote else None


def _remote(root: Path) -> str:
    """The URL of the remote `origin`, or else of the only remote; empty without one."""
    remotes = _git(root, "remote").split()
    name = "origin" if "origin" in remotes else "".join(remotes[:1])
    return _git(root, "remote", "get-url", name) if name == "origin" or len(remotes) == 1 else ""


def _git(root: Path, *words: str) -> str:
    answer = git.answer(root, *words, ceiling=root.parent)
    if answer is None:
        raise _NoGitError
    return answer


def remote_id(url: str) -> str | None:
    """The id `host/owner/name` of a repository by its URL; None for one on this machine.

    A path below the home directory of somebody on the host has that name in it: `host/~ana/name`.
    """
    try:
        found = _parts_of_url(url) if _URL.match(url) else _parts_of_scp(url)
    except ValueError:
        return None
    if found is None:
        return None
    host, path = found
    host = host.lower().rstrip(".")
    parts = [part for part in path.removesuffix("/").split("/") if part]
    if not host or _is_here(host) or not parts:
        return None
    parts[-1] = parts[-1].removesuffix(".git") or parts[-1]
    return "/".join([host, *parts])


def _parts_of_url(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    if parts.scheme == "file" or not parts.hostname:
        return None
    path = unquote(parts.path)
    if path.startswith("/~/") and "ssh" in parts.scheme:
        path = _in_home(parts.username, path[3:])
    return parts.hostname, path


def _parts_of_scp(text: str) -> tuple[str, str] | None:
    """Host and path of `user@host:path`; None for a path on this machine."""
    found = _SCP_LIKE.fullmatch(text)
    if found is None:
        return None
    user, path = found["user"], found["path"]
    if path.startswith("~/"):
        path = _in_home(user, path[2:])
    elif not path.startswith(("/", "~")) and user != _EVERYBODY:
        path = _in_home(user, path)
    return found["host"].strip("[]"), path


def _in_home(user: str | None, path: str) -> str:
    return f"~{user}/{path}" if user else path


def _is_here(host: str) -> bool:
    """Whether a host is another machine on each machine."""
    return host in ("localhost", "::1") or host.endswith(".localhost") or bool(_LOOPBACK.fullmatch(host))


# By the name of a folder


def directories(name: str) -> list[Path]:
    """The directories on this machine to which the plugin gives this name; links are none."""
    return list(_below(Path("/"), os.fsdecode(name[1:].encode()))) if name.startswith("-") else []


def _below(directory: Path, name: str) -> Iterator[Path]:
    """Directories below another with this name; each dash in it may be a slash."""
    for end in [place for place, letter in enumerate(name) if letter == "-"] + [len(name)]:
        entry = directory / name[:end]
        if not name[:end].strip(".") or not _is_directory(entry):
            continue
        if end == len(name):
            yield entry
        else:
            yield from _below(entry, name[end + 1 :])


def _is_directory(path: Path) -> bool:
    """Whether a directory is there that this user can see; a link is none."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


# Ids of one project, perhaps


def last_part(project: ProjectId, root: Path) -> str:
    """The last part of a project's id, or of its path."""
    return project.value.rpartition("/")[2] if "/" in project.value else root.name


def is_named(project: ProjectId, name: str) -> bool:
    """Whether an id is a name, or ends with it as its last part."""
    text, last = _folded(project.value), _folded(name)
    return bool(last) and (text == last or text.endswith((f"-{last}", f"/{last}")))


def offered(mine: ProjectId, other: ProjectId) -> tuple[ProjectId, ProjectId]:
    """Two ids of one project; the first is to become the alias."""
    is_path = mine.value.startswith("-") and not other.value.startswith("-")
    return (mine, other) if is_path else (other, mine)


def link_command(old: ProjectId, new: ProjectId) -> str:
    """The command that makes an id another name of a project."""
    return shlex.join(["mneme", "link", old.value, new.value])


def twins(mine: ProjectId, root: Path, others: Iterable[ProjectId]) -> list[ProjectId]:
    """Other ids with the last part of this project's, which may be its own."""
    name = last_part(mine, root)
    return [other for other in others if other != mine and is_named(other, name)]


def _folded(text: str) -> str:
    # A Mac writes an é in a path as two characters, Linux as one.
    return unicodedata.normalize("NFC", text).casefold()
