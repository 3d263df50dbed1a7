"""The plugin's own rules on this machine: its switches, locks and small server.

The summarizer holds `log.jsonl.lock` for as long as its model call takes. It has read `summary.json` before, and drops
lines of the log by their position after that. Other commands hold their locks for some milliseconds.
"""

import http.client
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from mneme import durable
from mneme.merge import jsonvalues
from mneme.model import FileName

_SUMMARIZER = ("log.jsonl.lock", 120.0)
_LOG_WRITER = ("log.jsonl.wlock", 30.0)

_LOCKS: Mapping[FileName, Sequence[tuple[str, float]]] = {
    FileName.LOG: (_SUMMARIZER, _LOG_WRITER),
    FileName.SUMMARY_JSON: (_SUMMARIZER, _LOG_WRITER),
    FileName.SUMMARY_MD: (_SUMMARIZER,),
    FileName.REMEMBERED: (("remembered.json.lock", 10.0),),
    FileName.ENTITIES: (("entities.json.lock", 10.0),),
}
"""Lock files for each file that has some, with the seconds after which the plugin breaks them."""

LOCK_NAMES = frozenset(name for locks in _LOCKS.values() for name, _ in locks)

_EXCLUDED = (".ao-worktrees-",)
"""Parts of paths that the plugin leaves out if `excludePatterns` is not set."""

_FLUSH_SECONDS = 0.5

_LONGEST_PLACE = 4096
"""Most bytes of a file that names the plugin's server."""

_NO_SERVER = (OSError, http.client.HTTPException, ValueError, OverflowError, RecursionError)
"""Errors where there is no server, or a file that names none: a port may be any number."""


class _Server(msgspec.Struct, frozen=True):
    host: str
    port: int


def held(folder: Path, file: FileName, now: float) -> Path | None:
    """The lock file by which the plugin holds a file of a project, if any."""
    for name, seconds in _LOCKS.get(file, ()):
        path = folder / name
        with suppress(OSError):
            # A lock from the future, by a clock that was set, is a fresh one for the plugin, too.
            if now - path.stat().st_mtime < seconds:
                return path
    return None


def is_summarizing(folder: Path, now: float) -> bool:
    """Whether the summarizer is at work on a project."""
    return held(folder, FileName.SUMMARY_MD, now) is not None


def why_off(directory: str, config: Path) -> str | None:
    """The switch by which the plugin leaves sessions in a directory alone, if any."""
    if os.environ.get("MNEME_DISABLED") == "1":
        return "MNEME_DISABLED is 1"
    path = os.fsencode(directory).decode(errors="replace")
    found = next((one for one in excluded(config) if one in path), None)
    return None if found is None else f"excludePatterns in {config} has {found!r}"


def excluded(config: Path) -> Sequence[str]:
    """Parts of paths whose sessions the plugin leaves alone."""
    try:
        settings = jsonvalues.read(config.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (OSError, ValueError, RecursionError):
        return _EXCLUDED
    found = settings.get("excludePatterns") if isinstance(settings, dict) else None
    # A pattern that is no text keeps none of the others from its effect.
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else _EXCLUDED


def flush(home: Path, root: Path) -> bool:
    """Have the plugin's own server write the entries that it holds; whether it did."""
    try:
        server = msgspec.json.decode(_place(home / ".claude-mneme/.server.pid"), type=_Server)
        connection = http.client.HTTPConnection(server.host, server.port, timeout=_FLUSH_SECONDS)
        with closing(connection):
            body = json.dumps({"project": str(root)})
            connection.request("POST", "/log/flush", body, {"Content-Type": "application/json"})
            return connection.getresponse().status == http.HTTPStatus.OK
    except _NO_SERVER:
        return False


def _place(path: Path) -> bytes:
    """Content of the file that names the plugin's server; empty if there is none."""
    state = durable.look(path)
    found = durable.read(path) if state and state.st_size <= _LONGEST_PLACE else None
    return found[0] if found else b""
