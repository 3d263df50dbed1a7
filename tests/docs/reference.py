"""The reference of the command in docs/machines.md, made of `--help`: `python -m tests.docs.reference` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from mneme.cli.commands import mneme as main
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "machines.md"
_PLACE = re.compile(r"(<!-- reference -->\n).*(<!-- end of the reference -->\n)", re.DOTALL)
_WIDTH = 100


def with_reference(text: str) -> str:
    """A page's text with the reference as `--help` has it now."""
    reference = "\n".join(_sections())
    return _PLACE.sub(lambda place: f"{place[1]}\n{reference}\n{place[2]}", text)


def _sections() -> Iterator[str]:
    with click.Context(main, info_name="mneme", max_content_width=_WIDTH, terminal_width=_WIDTH) as context:
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            assert command is not None
            inner = click.Context(command, parent=context, info_name=name)
            yield f"### mneme {name}\n"
            yield f"<!-- not run: the reference -->\n```text\n{command.get_help(inner)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
