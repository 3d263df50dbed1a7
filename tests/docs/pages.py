"""The pages of the documentation: their blocks, their headings, their links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md")))

_FENCE = re.compile(r"^( *)```(\w*)$")
_DIRECTIVE = re.compile(r"^ *<!-- ([\w ]+?)(?:: (.+))? -->$")
_DIRECTIVES = frozenset({"server", "not run", "before", "file", "on", "status", "interrupted", "proxy"})
_LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$")


@frozen
class Block:
    """A fenced block of a page.

    `directives` are the HTML comments just above it. `follows` is whether only empty lines lie between the
    block before and this one.
    """

    page: Path
    line: int
    language: str
    text: str
    directives: dict[str, str]
    follows: bool

    @property
    def place(self) -> str:
        """Page and line, as an editor takes them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> Sequence[Block]:
    """All fenced blocks of a page, in order."""
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: Path, lines: Sequence[str]) -> Iterator[Block]:
    directives: dict[str, str] = {}
    follows, number = False, 0
    while number < len(lines):
        line = lines[number]
        if fence := _FENCE.match(line):
            end = lines.index(f"{fence[1]}```", number + 1)
            text = "\n".join(one.removeprefix(fence[1]) for one in lines[number + 1 : end])
            yield Block(page, number + 1, fence[2], text, directives, follows)
            directives, follows, number = {}, True, end
        elif directive := _DIRECTIVE.match(line):
            if directive[1] in _DIRECTIVES:
                directives[directive[1]] = directive[2] or ""
        elif line.strip():
            assert not directives, f"{name_of(page)}:{number}: a directive without a block"
            follows = False
        number += 1


def prose_of(page: Path) -> Sequence[str]:
    """The lines of a page outside its blocks."""
    prose, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            prose.append(line)
    return prose


def links_of(page: Path) -> Sequence[str]:
    """Where a page's links lead."""
    return [link for line in prose_of(page) for link in _LINK.findall(line)]


def anchors_of(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = [heading[1] for line in prose_of(page) if (heading := _HEADING.match(line))]
    return frozenset(_anchor(heading) for heading in headings)


def _anchor(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
