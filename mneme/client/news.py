"""News for a session: a few lines about what a sync has brought."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from mneme.merge import jsonvalues
from mneme.model import FileName
from mneme.readable import plain

MOST_BYTES = 4096
"""Most bytes that a session is told. The newest come first, so the oldest are left out."""

_LONGEST_ITEM = 400
"""Most characters of one item."""

Items: TypeAlias = dict[str, list[str]]
"""New items under the title of their section, the newest first."""


class _Section(Struct, frozen=True):
    title: str
    file: FileName
    items: Callable[[bytes], Iterable[str]]
    """The items of a content, the oldest first."""


def fresh(file: FileName, before: bytes, after: bytes) -> Items:
    """Items that `after` has and `before` lacks, as many as can be told."""
    if before == after:
        return {}
    if file is FileName.LOG:
        before, after = _lines_apart(before, after)
    found = {section.title: _fresh(section, before, after) for section in _SECTIONS if section.file is file}
    return {title: items for title, items in found.items() if items}


def told(arrived: Sequence[Items]) -> str:
    """News, the oldest first, as Markdown with the newest first; empty if there are none."""
    blocks = [
        f"### {section.title}\n" + "".join(f"- {item}\n" for item in items)
        for section in _SECTIONS
        if (items := dict.fromkeys(item for one in reversed(arrived) for item in one.get(section.title, ())))
    ]
    if not blocks:
        return ""
    return _cut("## New from your other machines\n\n" + "\n".join(blocks))


def _lines_apart(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """Lines that only one of two contents has: few lines of a log are new."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    of_old, of_new = set(old), set(new)
    return (
        b"".join(line for line in old if line not in of_new),
        b"".join(line for line in new if line not in of_old),
    )


def _fresh(section: _Section, before: bytes, after: bytes) -> list[str]:
    """The new items of a section, the newest first; no more than one beyond `MOST_BYTES`."""
    old = set(section.items(before))
    items, size = list[str](), 0
    for item in reversed(dict.fromkeys(section.items(after))):
        if item not in old:
            items.append(_shown(item))
            size += len(items[-1].encode())
        if size > MOST_BYTES:
            break
    return items


def _cut(text: str) -> str:
    """A text of at most `MOST_BYTES`, cut at the end of a line."""
    if len(text.encode()) <= MOST_BYTES:
        return text
    end = "- … and more: see the memory itself\n"
    lines, size = [], len(end.encode())
    for line in text.splitlines(keepends=True):
        size += len(line.encode())
        if size > MOST_BYTES:
            break
        lines.append(line)
    return "".join(lines) + end


def _shown(item: str) -> str:
    """An item in one line, which can be printed: half an emoji cannot."""
    line = plain(" ".join(item.split()))
    return line if len(line) <= _LONGEST_ITEM else f"{line[:_LONGEST_ITEM]}…"


def _facts(content: bytes) -> Iterator[str]:
    for one in _objects(_value(content)):
        if text := _text(one, "content"):
            yield f"[{_text(one, 'type') or 'fact'}] {text}"


def _decisions(content: bytes) -> Iterator[str]:
    for one in _objects(_member(content, "keyDecisions")):
        if text := _text(one, "decision"):
            reason = _text(one, "reason")
            yield f"{text} ({reason})" if reason else text


def _state(content: bytes) -> Iterator[str]:
    for one in _objects(_member(content, "currentState")):
        if text := _text(one, "status"):
            yield f"{_text(one, 'topic') or 'State'}: {text}"


def _work(content: bytes) -> Iterator[str]:
    for one in _objects(_member(content, "recentWork")):
        if text := _text(one, "summary"):
            yield text


def _log(content: bytes) -> Iterator[str]:
    for line in content.splitlines():
        for one in _objects([_value(line)]):
            if text := _text(one, "content"):
                yield f"{_text(one, 'ts')[:16].replace('T', ' ')} {_text(one, 'type')}: {text}".strip()


def _value(content: bytes) -> object:
    try:
        return jsonvalues.read(content)
    except (ValueError, RecursionError):
        return None


def _member(content: bytes, name: str) -> object:
    value = _value(content)
    return value.get(name) if isinstance(value, dict) else None


def _objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if isinstance(found, str):
        return found.strip()
    return "" if found is None else json.dumps(found, ensure_ascii=False)


_SECTIONS = (
    _Section("Remembered", FileName.REMEMBERED, _facts),
    _Section("Decisions", FileName.SUMMARY_JSON, _decisions),
    _Section("State", FileName.SUMMARY_JSON, _state),
    _Section("Work", FileName.SUMMARY_JSON, _work),
    _Section("Lately", FileName.LOG, _log),
)
