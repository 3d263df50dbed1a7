"""Arrivals: late news from the server, in a file that all processes share.

An agent, a hook or its child may fetch something while a session begins. Whichever did, the session's hook tells it.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mneme import durable
from mneme.client.news import Items
from mneme.errors import NOT_JSON

BEFORE = 5.0
"""Age of the oldest news, in seconds, that the plugin may not have read when a hook asks."""

_KEPT = 70.0
"""Seconds for which arrivals are kept; a hook waits for a minute at most."""

_FILE = ".mneme/arrivals.json"


class _Arrival(msgspec.Struct, frozen=True):
    at: float
    items: dict[str, list[str]]


def note(folder: Path, now: float, items: Items) -> None:
    """Note news that come into a folder, or wait for the plugin.

    Two calls for a folder must not overlap.
    """
    if not items:
        return
    path = folder / _FILE
    kept = [one for one in _read(path) if abs(now - one.at) < _KEPT]
    staged = path.with_name(f"{path.name}{durable.TEMPORARY}")
    durable.clear(staged)
    # A power cut ends the session, too: no sync is needed.
    staged.write_bytes(msgspec.json.encode([*kept, _Arrival(now, items)]))
    staged.replace(path)


def since(folder: Path, at: float, now: float) -> Sequence[Items]:
    """The news that came from `at` until `now`, the oldest first."""
    return [one.items for one in _read(folder / _FILE) if at <= one.at <= now]


def _read(path: Path) -> Sequence[_Arrival]:
    try:
        found = durable.read(path)
        return msgspec.json.decode(found[0], type=list[_Arrival]) if found else ()
    except (OSError, *NOT_JSON):
        return ()
