"""A JSON text changed into another value with as little of it touched as can be: a person may have laid it out.

What is the same stays to the letter; what is new is laid out as its neighbours are.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Never

from attrs import frozen

_SPACE = re.compile(r"[ \t\r\n]*")
_INDENTED = re.compile(r"\n([ \t]+)[^\s\]}]")
_DECODER = json.JSONDecoder()


@frozen
class _Node:
    """A value in the text: where it begins and ends, and what is in it; `key` and `begin` are those of a member."""

    begin: int
    start: int
    end: int
    value: object
    children: "Sequence[_Node]" = ()
    key: str | None = None


def parsed(text: str) -> object:
    """The value of a text; raises ValueError or RecursionError for what is no JSON."""
    return json.loads(text, parse_constant=_refuse)


def patched(text: str, after: object) -> str:
    """A text of the value `after`, made from a `text` that is JSON."""
    root = _node(text, 0)
    return text[: root.start] + _Patch(text).of(root, after) + text[root.end :]


def laid_out(value: object, unit: str = "  ", indent: str = "", newline: str = "\n") -> str:
    """A value on lines of its own, of which all but the first begin with `indent`."""
    lines = json.dumps(value, indent=unit, ensure_ascii=False).split("\n")
    return f"{newline}{indent}".join(lines)


class _Patch:
    """The style of a text, and the changes that keep to it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        indented = _INDENTED.search(text)
        self._unit = indented[1] if indented else "  "
        self._is_one_line = "\n" not in text.strip() and len(text.strip()) > len("{}")

    def of(self, node: _Node, after: object) -> str:
        """The text of a node that is to become `after`."""
        text = self._text
        if node.value == after:
            return text[node.start : node.end]
        news = _news(node, after)
        if news is None:
            return json.dumps(after, ensure_ascii=False)
        kept, added = news
        if not kept:
            return self._filled(node, added)
        pieces, at = [], node.start
        for child, value in kept:
            pieces += [text[at : child.start], self.of(child, value)]
            at = child.end
        before = text[node.start + 1 : kept[0][0].begin]
        pieces += [self._appended(key, value, before) for key, value in added]
        return "".join([*pieces, text[at : node.end]])

    def _appended(self, key: str | None, value: object, before: str) -> str:
        """Something more in what has something already, with what stands before the first thing before it, too."""
        if "\n" not in before:
            return f", {self._told(key)}{json.dumps(value, ensure_ascii=False)}"
        indent = before.rpartition("\n")[2]
        return f",{before}{self._told(key)}{laid_out(value, self._unit, indent, self._newline)}"

    def _filled(self, node: _Node, added: "Sequence[tuple[str | None, object]]") -> str:
        """What was empty, with something in it."""
        value = dict(added) if isinstance(node.value, dict) else [one for _, one in added]
        if self._is_one_line:
            return json.dumps(value, ensure_ascii=False)
        line = self._text[self._text.rfind("\n", 0, node.start) + 1 : node.start]
        return laid_out(value, self._unit, line[: len(line) - len(line.lstrip(" \t"))], self._newline)

    def _told(self, key: str | None) -> str:
        return "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "


_News = tuple[Sequence[tuple[_Node, object]], Sequence[tuple[str | None, object]]]


def _news(node: _Node, after: object) -> _News | None:
    """What each child is to become, and what is added; None if it is not only that."""
    if isinstance(node.value, dict) and isinstance(after, dict) and not node.value.keys() - after.keys():
        # Of a key that is there twice the last one counts, as it does for whoever reads the file.
        last = {child.key: child for child in node.children}
        kept = [(child, after[child.key]) for child in node.children if last[child.key] is child]
        return kept, [(key, value) for key, value in after.items() if key not in node.value]
    if isinstance(node.value, list) and isinstance(after, list) and len(node.children) <= len(after):
        count = len(node.children)
        return list(zip(node.children, after[:count], strict=True)), [(None, one) for one in after[count:]]
    return None


def _node(text: str, at: int, begin: int | None = None, key: str | None = None) -> _Node:
    start = _skip(text, at)
    value, end = _DECODER.raw_decode(text, start)
    children: Iterator[_Node] = iter(())
    if isinstance(value, dict) and value:
        children = _members(text, start + 1)
    elif isinstance(value, list) and value:
        children = _elements(text, start + 1)
    return _Node(start if begin is None else begin, start, end, value, tuple(children), key)


def _members(text: str, at: int) -> Iterator[_Node]:
    while True:
        begin = _skip(text, at)
        key, end = _DECODER.raw_decode(text, begin)
        node = _node(text, _skip(text, end) + 1, begin, key)
        yield node
        comma = _skip(text, node.end)
        if text[comma] != ",":
            return
        at = comma + 1


def _elements(text: str, at: int) -> Iterator[_Node]:
    while True:
        node = _node(text, at)
        yield node
        comma = _skip(text, node.end)
        if text[comma] != ",":
            return
        at = comma + 1


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _refuse(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")
