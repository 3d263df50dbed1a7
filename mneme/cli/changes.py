"""Differences as people read them: `+` added, `-` removed, `~` changed."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain

from msgspec import UNSET
from rich.text import Text

from mneme import times
from mneme.merge.differences import Change, ChangedValue, Entries, Hunk, KeyPath, Lines, inside
from mneme.merge.jsonvalues import JSON, read, written
from mneme.merge.times import parsed_time
from mneme.readable import counted, plain

_COLOURS = {"+": "green", "-": "red", "~": "yellow"}
_INDENT = "  "
_SHORT = 72
"""Up to here an old and a new value stand on one line."""
_WHEN = ("ts", "date")
_WHAT = ("content", "decision", "summary", "topic")
"""Keys of the text that an entry shows first; each entry has one of them."""


def drawn(found: Entries | Lines) -> Iterator[Text]:
    """The changes as lines of text."""
    match found:
        case Entries(changes):
            return _entries(changes)
        case Lines(hunks):
            return chain.from_iterable(map(_hunk, hunks))


def _hunk(hunk: Hunk) -> Iterator[Text]:
    yield Text(f"line {hunk.line}", "cyan")
    for sign, lines in (("-", hunk.removed), ("+", hunk.added)):
        for line in lines:
            end = "" if line.endswith(b"\n") else " (no newline at its end)"
            yield _signed(0, sign, plain(line.removesuffix(b"\n").decode(errors="replace")) + end)


def _entries(changes: tuple[Change, ...]) -> Iterator[Text]:
    last: KeyPath = ()
    for change in chain.from_iterable(map(_spread, changes)):
        heading = change.path if change.is_item else change.path[:-1]
        name = "".join(change.path[len(heading) :])
        yield from _headings(last, heading)
        yield from _entry(change, name, len(heading))
        last = heading


def _spread(change: Change) -> Iterator[Change]:
    """The entries of a list or kind that was added or removed whole."""
    came, went = change.before is UNSET, change.after is UNSET
    if change.is_item or not (came or went):
        yield change
        return
    for path, value, is_item in _parts(change.path, change.after if came else change.before):
        yield Change(path, UNSET, value, is_item) if came else Change(path, value, UNSET, is_item)


def _parts(path: KeyPath, value: ChangedValue) -> Iterator[tuple[KeyPath, ChangedValue, bool]]:
    if isinstance(value, list) and value:
        yield from ((path, item, True) for item in value)
    elif isinstance(value, dict) and value and _is_kind(value):
        yield from (((*path, name), entity, False) for name, entity in value.items())
    else:
        yield path, value, False


def _is_kind(value: Mapping[str, JSON]) -> bool:
    return all(isinstance(inner, dict) for inner in value.values())


def _headings(last: KeyPath, heading: KeyPath) -> Iterator[Text]:
    """Headings for the keys of a path that the last entry's path lacks."""
    common = 0
    while common < min(len(last), len(heading)) and last[common] == heading[common]:
        common += 1
    for depth in range(common, len(heading)):
        yield Text(_INDENT * depth + plain(heading[depth]), "bold")


def _entry(change: Change, name: str, depth: int) -> Iterator[Text]:
    label = f"{plain(name)}: " if name else ""
    if change.before is UNSET:
        yield _signed(depth, "+", label + _words(change.after))
    elif change.after is UNSET:
        yield _signed(depth, "-", label + _words(change.before))
    elif isinstance(change.before, dict) and isinstance(change.after, dict):
        yield _signed(depth, "~", plain(name) or _title(change.after))
        for inner in inside(change.before, change.after):
            yield from _entry(inner, ".".join(inner.path), depth + 1)
    else:
        yield from _changed(depth, label, change.before, change.after)


def _changed(depth: int, label: str, before: ChangedValue, after: ChangedValue) -> Iterator[Text]:
    old, new = _words(before), _words(after)
    if old == new:
        # Times may be equal to the minute, and 1 and "1" look alike.
        old, new = _exact(before), _exact(after)
    if len(old) + len(new) <= _SHORT:
        yield _signed(depth, "~", f"{label}{old} → {new}")
        return
    yield _signed(depth, "~", label.rstrip() or "value:")
    yield _signed(depth + 1, "-", old)
    yield _signed(depth + 1, "+", new)


def _words(entry: ChangedValue) -> str:
    """The text of an entry in one line."""
    match entry:
        case bytes() as line:
            return _line(line)
        case dict() as fields if fields:
            return _described(fields)
        case list() as items if any(isinstance(item, dict | list) for item in items):
            return counted(len(items), "item")
        case str() as text if text:
            time = parsed_time(text)
            return times.to_local_text(times.from_datetime(time)) if time else plain(text)
        case value:
            return _exact(value)


def _line(line: bytes) -> str:
    # A line that is no JSON object, or nested too deep, is shown as it is.
    with suppress(ValueError, RecursionError):
        entry = read(line)
        if isinstance(entry, dict) and entry:
            return _words(entry)
    return _exact(line)


def _described(fields: Mapping[str, JSON]) -> str:
    """Time, type and text, then the rest: `2026-02-04 15:00 note: Use tabs (by: Ana)`."""
    when = next((key for key in _WHEN if _is_text(fields.get(key))), None)
    what = next((key for key in _WHAT if _is_text(fields.get(key))), None)
    kind = "type" if _is_text(fields.get("type")) else None
    first = " ".join(_words(fields[key]) for key in (when, kind) if key)
    rest = ", ".join(
        f"{plain(key)}: {_exact(value) if isinstance(value, dict) else _words(value)}"
        for key, value in fields.items()
        if key not in (when, kind, what)
    )
    main = ": ".join(filter(None, [first, _words(fields[what]) if what else ""]))
    if not main:
        return rest
    return f"{main} ({rest})" if rest else main


def _title(item: Mapping[str, JSON]) -> str:
    what = next((key for key in _WHAT if _is_text(item.get(key))), None)
    return _words(item[what]) if what else "item"


def _is_text(value: JSON) -> bool:
    return isinstance(value, str) and bool(value)


def _exact(entry: ChangedValue) -> str:
    if isinstance(entry, bytes):
        return plain(entry.decode(errors="replace"))
    return plain("" if entry is UNSET else written(entry).decode())


def _signed(depth: int, sign: str, text: str) -> Text:
    return Text(f"{_INDENT * depth}{sign} {text}", _COLOURS[sign])
