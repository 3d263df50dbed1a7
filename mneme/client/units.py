"""The agent as a service of one user, by systemd or launchd."""

import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from mneme import durable
from mneme.client.errors import SettingsError
from mneme.clocks import TimeOfDay

_LABEL = "io.github.mneme.agent"
_NAME = "mneme-agent.service"

_NOT_LOADED = (3, 113)
"""Statuses of `launchctl bootout` for a service that is not loaded."""

_TRIES, _PAUSE = 25, 0.2
"""Tries to start a changed service, and seconds between two."""


class Unit(Struct, frozen=True):
    """A service file with its commands; each command is a list of words.

    `unload` are commands before a changed file is started, `after_removal` those for when the file is gone.
    """

    path: Path
    content: bytes
    start: Sequence[Sequence[str]]
    stop: Sequence[Sequence[str]]
    after_removal: Sequence[Sequence[str]] = ()
    unload: Sequence[Sequence[str]] = ()


def unit_of(home: Path, program: str) -> Unit | None:
    """The service of this system for `program`; None without systemd and launchd.

    Raises `SettingsError` for a program that no service file can name.
    """
    is_darwin = sys.platform == "darwin"
    if not is_darwin and not shutil.which("systemctl"):
        return None
    # systemd takes no program with a quotation mark or a backslash in its path.
    if not program.isprintable() or (not is_darwin and set(program) & set("'\"\\")):
        raise SettingsError(f"{program!a} cannot be named in a service file: install mneme elsewhere")
    return _launchd(home, program) if is_darwin else _systemd(home, program)


def install(unit: Unit) -> bool:
    """Write the service file and start the service; False if the file was there."""
    try:
        found = durable.read(unit.path)
        is_new = found is None or found[0] != unit.content
        if is_new:
            unit.path.parent.mkdir(parents=True, exist_ok=True)
            durable.replace(unit.path, unit.content)
    except OSError as error:
        raise SettingsError(f"{unit.path} cannot be written: {error.strerror}") from None
    is_changed = is_new and found is not None
    try:
        for command in unit.unload if is_changed else ():
            _run(command)
        _start(unit, _TRIES if is_changed else 1)
    except SettingsError:
        # Without a bus of this user, say: a file that nobody starts would only be in the way.
        if found is None:
            unit.path.unlink(missing_ok=True)
        raise
    return is_new


def _start(unit: Unit, tries: int) -> None:
    """Start a service; launchd takes a moment to let go of the one before."""
    for left in reversed(range(tries)):
        try:
            for command in unit.start:
                _run(command)
        except SettingsError:
            if not left:
                raise
            TimeOfDay().sleep(_PAUSE)
        else:
            return


def uninstall(unit: Unit) -> bool:
    """Stop the service and remove its file; False if there was none."""
    if not durable.exists(unit.path):
        return False
    for command in unit.stop:
        _run(command)
    try:
        unit.path.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{unit.path} cannot be removed: {error.strerror}") from None
    for command in unit.after_removal:
        _run(command)
    return True


def _systemd(home: Path, program: str) -> Unit:
    named = os.environ.get("XDG_CONFIG_HOME", "")
    # systemd ignores a relative path.
    config = Path(named) if named.startswith("/") else home / ".config"
    word = program.replace("%", "%%")
    content = f"""\
[Unit]
Description=Keeps the memory of coding agents in step (mneme agent)

[Service]
ExecStart="{word}" agent
# The memory of a large merge goes back to the system at once: by its own rules glibc keeps 15 MB of it.
Environment=MALLOC_TRIM_THRESHOLD_=131072
Restart=always
RestartSec=10
RestartPreventExitStatus=78
Nice=5

[Install]
WantedBy=default.target
"""
    user = ["systemctl", "--user"]
    return Unit(
        config / "systemd/user" / _NAME,
        content.encode(),
        [[*user, "daemon-reload"], [*user, "enable", _NAME], [*user, "restart", _NAME]],
        [[*user, "disable", "--now", _NAME]],
        [[*user, "daemon-reload"]],
    )


def _launchd(home: Path, program: str) -> Unit:
    path = home / "Library/LaunchAgents" / f"{_LABEL}.plist"
    content = plistlib.dumps(
        {
            "Label": _LABEL,
            "ProgramArguments": [program, "agent"],
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": 10,
            "ProcessType": "Background",
        }
    )
    domain = f"gui/{os.getuid()}"
    bootout = ["launchctl", "bootout", f"{domain}/{_LABEL}"]
    return Unit(
        path,
        content,
        [
            ["launchctl", "bootstrap", domain, str(path)],
            ["launchctl", "kickstart", "-k", f"{domain}/{_LABEL}"],
        ],
        [bootout],
        # A service that is loaded stays as it was loaded, whatever its file says by then.
        unload=[bootout],
    )


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - commands of ours
    except OSError as error:
        raise SettingsError(f"{command[0]} cannot be run: {error.strerror}") from None
    is_away = "bootout" in command and done.returncode in _NOT_LOADED
    if done.returncode and not is_away and "bootstrap" not in command:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise SettingsError(f"`{' '.join(command)}` failed: {said}")
