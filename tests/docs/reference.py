"""The reference of the command in docs/reference.md, made of `--help`: `python -m tests.docs.reference` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.testing import CliRunner

from mneme.cli.commands import mneme
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference.md"
_PLACE = re.compile(r"(<!-- reference -->\n).*(<!-- end of the reference -->\n)", re.DOTALL)
_WIDTH = 100


def with_reference(text: str) -> str:
    """A page's text with the reference as `--help` has it now."""
    reference = "\n".join(_sections())
    return _PLACE.sub(lambda place: f"{place[1]}\n{reference}\n{place[2]}", text)


def _sections() -> Iterator[str]:
    for name in mneme.list_commands(click.Context(mneme)):
        asked = CliRunner().invoke(
            mneme, [name, "--help"], prog_name="mneme", terminal_width=_WIDTH, max_content_width=_WIDTH
        )
        assert asked.exit_code == 0, asked.output
        yield f"### mneme {name}\n"
        yield f"<!-- not run: the reference -->\n```text\n{asked.output}```\n"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
