"""The hooks of a session without an agent: a sync, then a child."""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path

from mneme import clocks, homedir
from mneme.client import arrivals, plugin
from mneme.client.connection import connected
from mneme.client.errors import Unreachable
from mneme.client.exchange import Patience
from mneme.client.folder import adopt
from mneme.client.localproject import LocalProject, local_project, working_directory
from mneme.client.news import briefing, told
from mneme.client.settings import FOLDER, Settings, address_in, client_id, config_path, load, needed
from mneme.client.sync import Sync
from mneme.clocks import TimeOfDay
from mneme.errors import MnemeError
from mneme.model import FileName

_AWAY = ".mneme-away"
"""A file whose mtime is when the server could last not be reached."""

_AWAY_SECONDS = 600.0
_SHORT_SECONDS = 0.3
"""Seconds that a session waits for a server that could not be reached in the last ten minutes."""

_LATE_SECONDS = 120.0
_LOOK_EVERY = 1.0
_QUIET_LOOKS = 5
"""Looks without a change after which a project counts as quiet."""


def run(name: str, program: str, seconds: float) -> Mapping[str, str]:
    """The news for the session from the hook of this name, and its problem."""
    home, directory = needed(homedir.home()), working_directory()
    if plugin.why_off(str(directory), config_path(home)):
        return {}
    settings = load(home)
    local = local_project(directory, home, settings.rules)
    if name == "session-start":
        return _start(home, settings, local, settings.hook_seconds)
    return _end(home, settings, local, seconds, program)


def _start(home: Path, settings: Settings, local: LocalProject, seconds: float) -> Mapping[str, str]:
    wall, briefed, until = TimeOfDay(), list[str](), clocks.monotonic() + seconds
    since = wall.seconds() - arrivals.BEFORE
    adopt(local.folder)
    problem = _synced(home, settings, local, seconds, seconds, lambda sync: _begin(sync, briefed, until))
    arrived = arrivals.since(local.folder, since, wall.seconds())
    return {"news": "\n".join(filter(None, (*briefed, told(arrived)))), "problem": problem or ""}


def _begin(sync: Sync, briefed: list[str], until: float) -> None:
    """A step, and the briefing that it brought, if there is time for it.

    One that was here before is told by the plugin.
    """
    waits = sync.briefings.is_waiting
    sync.step()
    left = until - clocks.monotonic()
    content = None if waits or left <= 0 else sync.briefings.take(left)
    if content is not None and sync.briefings.claim(content):
        briefed.append(briefing(content))


def _end(
    home: Path, settings: Settings, local: LocalProject, seconds: float, program: str
) -> Mapping[str, str]:
    plugin.flush(home, local.root)
    problem = _synced(home, settings, local, seconds)
    # The plugin writes its last entries a second later, and a summary up to a minute later.
    subprocess.Popen(  # noqa: S603 - this very program
        [program, "session-late"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return {"problem": problem or ""}


def send_late() -> None:
    """Send late writes of the plugin, for at most two minutes after a session."""
    home = needed(homedir.home())
    settings = load(home)
    local = local_project(working_directory(), home, settings.rules)
    wall = TimeOfDay()
    until, quiet, before = wall.seconds() + _LATE_SECONDS, 0, _contents(local.folder)
    while quiet < _QUIET_LOOKS and wall.seconds() < until:
        wall.sleep(_LOOK_EVERY)
        now = _contents(local.folder)
        is_busy = now != before or plugin.is_summarizing(local.folder, wall.seconds())
        quiet, before = 0 if is_busy else quiet + 1, now
    _synced(home, settings, local, settings.patience.timeout)


def _synced(
    home: Path,
    settings: Settings,
    local: LocalProject,
    seconds: float,
    within: float = inf,
    step: Callable[[Sync], object] = Sync.step,
) -> str | None:
    """Bring a project in step; the problem, if that failed.

    Each answer may take some `seconds`, and all of them together `within` some.
    """
    away = home / FOLDER / _AWAY
    is_away, has_answered = _is_away(away), False
    if is_away:
        seconds, within = min(seconds, _SHORT_SECONDS), min(within, _SHORT_SECONDS)
    try:
        address, patience = address_in(settings, home), Patience(seconds, 0)
        with connected(address, client_id(home), patience, within) as client:
            try:
                wall = TimeOfDay()
                step(Sync(client, wall, local.opened(wall, seconds)))
            finally:
                has_answered = client.server_ahead is not None
    except Unreachable as problem:
        # A short wait says nothing about a slow server: after ten minutes it gets all its time again.
        if not (is_away or has_answered):
            with suppress(OSError):
                away.touch()
        return str(problem)
    except MnemeError as problem:
        return str(problem)
    with suppress(OSError):
        away.unlink(missing_ok=True)
    return None


def _is_away(away: Path) -> bool:
    """Whether the server could not be reached in the last ten minutes."""
    try:
        return 0 <= TimeOfDay().seconds() - away.stat().st_mtime < _AWAY_SECONDS
    except OSError:
        return False


def _contents(folder: Path) -> Mapping[FileName, bytes]:
    found = {}
    for file in FileName:
        with suppress(OSError):
            found[file] = (folder / file.value).read_bytes()
    return found
