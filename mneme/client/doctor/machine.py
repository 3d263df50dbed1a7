"""Checks of this machine: folders, changes, hooks and git. Blocking code."""

import codecs
import os
import secrets
import shutil
import socket
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mneme import durable
from mneme.client.doctor.findings import Finding, bad, doubtful, good
from mneme.client.errors import SettingsError
from mneme.client.folder import Folder, FolderBusy, Snapshot
from mneme.client.hooks import Hook, hooks_in, settings_path, unquoted
from mneme.client.jsonfile import read
from mneme.client.settings import CONNECT, Settings, config_path, load
from mneme.client.sizes import how_to_shorten, travels
from mneme.client.socketpath import socket_path
from mneme.client.sync import is_spoiled
from mneme.errors import MnemeError
from mneme.merge import is_damaged
from mneme.model import FileName, digest
from mneme.readable import size

_ENOUGH = 100_000_000
"""Bytes for the five files with their bases and backups, at nearly full size."""

_PAGE = 4096
_AGENT_SECONDS = 2.0
_UTF_16 = "UTF-16"
_RUNS = "agent-runs"
_ABSENT = "agent-absent"
_OFF = 'put "enabled": false into "sync" in'


def home_finding() -> Finding:
    """The finding for a user without a home directory."""
    return bad(
        "home-missing",
        "This user has no home directory, where the plugin keeps memory and settings: HOME is no whole path, and the "
        "list of users has no entry",
        "Set HOME to the directory that has .claude-mneme in it, also for what starts Claude Code",
    )


def encoding_findings(encoding: str) -> Iterator[Finding]:
    """A finding for output that cannot show all characters."""
    if codecs.lookup(encoding).name != "utf-8":
        yield good(
            "output-not-utf-8",
            f"The encoding of the output is {encoding}: characters that it lacks are shown as escapes; files, and the "
            "output for scripts, are UTF-8 all the same",
            "To see them: set LANG to a locale of UTF-8, C.UTF-8 say, and leave PYTHONIOENCODING alone",
        )


def settings_found(home: Path, server: str | None, key: str | None) -> tuple[Settings | None, Finding]:
    """The settings, if they can be read, and whether they say where the server is."""
    path = config_path(home)
    try:
        settings = load(home, server, key)
    except SettingsError as problem:
        advice = f"Mend it in {path}" + (", or give another --server" if server else "")
        return None, bad("settings-unusable", str(problem), advice)
    if settings.address is None:
        return settings, bad(
            "server-not-set",
            f"{path} does not say where the server is",
            f"Connect this machine: {CONNECT}; or give --server",
        )
    origin = "--server" if server else path
    return settings, good("settings-usable", f"The server is {settings.address.url}, from {origin}")


def folder_finding(code: str, path: Path) -> Finding:
    """A check that a folder can be written or made, and has free space."""
    try:
        there = next(one for one in (path, *path.parents) if durable.exists(one))
        probe = there / f".mneme-doctor.{secrets.token_hex(8)}{durable.TEMPORARY}"
        durable.write_new(probe, b"\0" * _PAGE)
        probe.unlink()
        free = shutil.disk_usage(there).free
    except OSError as error:
        if durable.means_no_space(error):
            advice = "Free some space on this disk, and see that it is not mounted read-only"
        else:
            advice = "See whose it is, and what lies there: ls -ld shows it"
        return bad(f"{code}-not-writable", f"{path} cannot be written: {error.strerror}", advice)
    space = f"{size(free)} free"
    if free < _ENOUGH:
        return doubtful(
            f"{code}-low-space",
            f"{path} can be written, but has only {space}",
            "Free some space on this disk",
        )
    can = "can be written" if there == path else "is not there yet, and can be made"
    return good(f"{code}-writable", f"{path} {can}, with {space}")


def disk_findings(folder: Folder) -> Iterator[Finding]:
    """Findings for a disk that syncs no directories, or has no locks."""
    there = next(one for one in (folder.path, *folder.path.parents) if one.is_dir())
    probe = there / f".mneme-doctor.{secrets.token_hex(8)}{durable.TEMPORARY}"
    with suppress(OSError):
        if not durable.sync_directory(there):
            yield doubtful(
                "directory-sync-missing",
                f"The disk of {folder.path} syncs no directories, as some disks of a network do: all is kept in step, "
                "but a power cut may take away what was written last",
                "Nothing, if the power is safe; else keep ~/.claude-mneme on a local disk",
            )
        durable.write_new(probe, b"")
        try:
            has_locks = _has_locks(probe)
        finally:
            probe.unlink()
        if not has_locks:
            yield doubtful(
                "locks-missing",
                f"The disk of {folder.path} has no locks, so that machines which share it do not wait for each other",
                "Nothing, if this machine alone uses it; else keep ~/.claude-mneme on a local disk of each",
            )


def _has_locks(path: Path) -> bool:
    with path.open("rb") as file:
        return durable.has_locks(file.fileno())


def removed_finding(folder: Folder, removed: Collection[FileName]) -> Finding:
    """Files that were removed on the server, and are still here."""
    names = ", ".join(file.value for file in FileName if file in removed)
    return doubtful(
        "removed-on-server",
        f"Removed on the server, and still here: {names}. Nothing of it is sent until it changes here",
        "To bring it back: mneme history and mneme restore; to be rid of it here, too, remove it from "
        f"{folder.path}",
    )


def changes_finding(
    folder: Folder, heads: Mapping[str, str] | None, removed: Collection[FileName] = ()
) -> Finding:
    """Whole files that the server lacks, and that were not removed there.

    `heads` are its digests, if known.
    """
    try:
        changes = list(_changes(folder, heads, removed))
    except FolderBusy as problem:
        return bad("folder-busy", str(problem), "Wait until that process is done, or end it")
    except (OSError, MnemeError) as error:
        return bad(
            "changes-unreadable",
            f"The memory in {folder.path} cannot be read: {error.strerror if isinstance(error, OSError) else error}",
            "See whose the files in it are: ls -la shows it",
        )
    if not changes:
        return good("changes-pushed", "Nothing on this machine waits to be pushed")
    return doubtful(
        "changes-unpushed",
        f"Not pushed yet: {', '.join(changes)}",
        "Nothing to do while a session runs, its end pushes them; else: mneme push",
    )


def damage_findings(folder: Folder) -> Iterator[Finding]:
    """Findings for damaged files."""
    for file in FileName:
        path = folder.path / file.value
        try:
            seen = folder.snapshot(file)
            is_strange = path.exists() and not path.is_file()
        except (OSError, MnemeError):
            continue
        if is_strange:
            yield bad(
                "file-strange", f"{path} is no plain file, so nothing comes into it", "Move it away, and pull"
            )
            continue
        local = seen.local
        if local and not travels(local.content):
            yield bad(
                "file-too-large",
                f"{path} has {size(len(local.content))}, and neither the server (unless its "
                "maxBodyBytes says otherwise) nor the plugin's own sync takes over 10 MiB",
                how_to_shorten(file),
            )
        if mark := _mark_of(path):
            yield marked_finding(path, mark)
        if mark != _UTF_16 and _is_damaged(file, seen):
            yield bad(
                "file-damaged",
                f"{path} is not what the plugin writes",
                f"Mend it, or remove it and pull; {file.value}.bak beside it, if there is one, has what it held before",
            )


def marked_finding(path: Path, mark: str) -> Finding:
    """A file that an editor has saved as the plugin does not read it."""
    # mneme itself reads a marked file, but not UTF-16.
    return (bad if mark == _UTF_16 else doubtful)(
        "file-marked",
        f"{path} is {mark}, as some editors save it, and the plugin does not read that",
        "Save it as UTF-8 without a byte order mark: in Notepad, Save as, with the encoding UTF-8",
    )


def _mark_of(path: Path) -> str | None:
    """The encoding by the mark at the begin of a file; None without a mark."""
    try:
        with path.open("rb") as file:
            start = file.read(len(codecs.BOM_UTF8))
    except OSError:
        return None
    if start == codecs.BOM_UTF8:
        return "UTF-8 with a byte order mark"
    return _UTF_16 if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def largest_upload(seen: Iterable[Snapshot]) -> int:
    """The bytes of the largest body that is to be sent, compressed."""
    return max(
        (len(zlib.compress(one.local.content)) for one in seen if one.local and one.is_changed), default=0
    )


def sync_findings(home: Path, root: Path, plugin_syncs: bool, *, server_answers: bool) -> Iterator[Finding]:
    """Whether hooks, or the plugin, or both, or neither keep the memory in step."""
    hooks: list[Hook] = []
    all_read = True
    for path in _hook_settings(home, root):
        try:
            found = read(path)
            hooks += hooks_in(found[1]) if found else []
        except (SettingsError, OSError) as problem:
            all_read = False
            yield doubtful(
                "hooks-unreadable",
                f"Whether it has hooks of mneme cannot be told: {problem}",
                f"Mend {path}, or remove it",
            )
    if mark := _mark_of(config_path(home)):
        yield marked_finding(config_path(home), mark)
    agent = agent_finding(home, server_answers=server_answers)
    if hooks or all_read:
        yield _syncs(hooks, plugin_syncs, agent.code == _RUNS, config_path(home))
    yield agent
    if gone := sorted({hook.word for hook in hooks if shutil.which(unquoted(hook.word)) is None}):
        yield bad(
            "hooks-broken",
            f"Hooks call {', '.join(gone)}, which is no program on this machine",
            "Mend them: mneme hooks --install (with --settings for those of a project)",
        )


def agent_finding(home: Path, *, server_answers: bool) -> Finding:
    """Whether the agent runs; hooks work without one, too."""
    try:
        path = socket_path(home)
    except SettingsError as problem:
        return good(_ABSENT, f"No agent runs: {problem}", "The hooks work without it: mneme hooks --install")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_AGENT_SECONDS)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(b'{"do": "status"}\n')
            answers = bool(connection.recv(1))
        except TimeoutError:
            answers = False
        except OSError:
            return good(
                _ABSENT,
                "No agent runs: what other machines send comes with the next session, or `mneme pull`",
                "To be always in step: mneme agent --install",
            )
    if answers:
        does = "keeps all projects of this machine in step" if server_answers else "tries again"
        return good(_RUNS, f"The agent runs, and {does}")
    return bad(
        "agent-hangs",
        f"The agent has its socket at {path}, and does not answer",
        "End its process, and start it again: mneme agent --install",
    )


def git_findings() -> Iterator[Finding]:
    """A finding if git, which finds the root of a repository, is missing."""
    if shutil.which("git") is None:
        yield doubtful(
            "git-missing",
            "git is not on PATH, so that a project is the very directory that a command runs in",
            "Install git, or run mneme from the top directory of each project",
        )


def _changes(folder: Folder, heads: Mapping[str, str] | None, removed: Collection[FileName]) -> Iterator[str]:
    for file, seen in folder.look().items():
        change = None if file in removed else _change(file, seen, heads)
        if change:
            yield change


def _change(file: FileName, seen: Snapshot, heads: Mapping[str, str] | None) -> str | None:
    """The change in a file that the server lacks, if there is one."""
    local = seen.local
    if local is None or _is_damaged(file, seen):
        return None
    if heads is not None and (head := heads.get(file.value)) in (None, digest(local.content)):
        return None if head else f"{file.value} (the server has none)"
    if not seen.is_changed or (seen.refused and seen.refused.content == local.content):
        return None
    if seen.base is None:
        return f"{file.value} (never pushed from here to this server)"
    return f"{file.value} (changed since version {seen.base.version})"


def _is_damaged(file: FileName, seen: Snapshot) -> bool:
    """Whether a file is damaged, or half written: it is not pushed then."""
    local, base = seen.local, seen.base
    return local is not None and (
        is_damaged(file, local.content) or (base is not None and is_spoiled(file, local, base))
    )


def _hook_settings(home: Path, root: Path) -> Sequence[Path]:
    """The settings files of Claude Code that count in a project."""
    project = root / ".claude"
    return list(
        dict.fromkeys([settings_path(home), project / "settings.json", project / "settings.local.json"])
    )


def _syncs(hooks: Sequence[Hook], plugin_syncs: bool, agent_runs: bool, config: Path) -> Finding:
    events = [event for event in ("SessionStart", "SessionEnd") if any(hook.event == event for hook in hooks)]
    if plugin_syncs and not events and not agent_runs:
        return good("sync-by-plugin", "The plugin's own sync is on, and no hook of mneme: one sync")
    if plugin_syncs:
        ours = "hooks of mneme" if events else "the agent"
        return bad(
            "sync-twice",
            f"Two syncs at once: {ours} and the plugin's own, which overwrites local changes at its start",
            f"Leave it to mneme: {_OFF} {config}",
        )
    if not events and agent_runs:
        return good(
            "sync-by-agent",
            "The agent syncs, and there is no hook of mneme",
            "To have sessions told of what comes as they begin: mneme hooks --install",
        )
    if not events:
        return doubtful(
            "sync-by-nobody",
            "No session syncs by itself: there are no hooks of mneme, and the plugin's own sync is off",
            "Install the hooks: mneme hooks --install; and start the agent: mneme agent --install",
        )
    if len(events) == 1:
        return doubtful(
            "hooks-half",
            f"Only {events[0]} has a hook of mneme",
            "Install both hooks: mneme hooks --install",
        )
    return good("sync-by-hooks", "Hooks of mneme sync at the start and the end of a session")
