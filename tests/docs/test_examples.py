"""Examples of the pages, run in their order from a fresh directory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Block, blocks_of, name_of
from tests.docs.shell import Person

_RUN = frozenset({"sh", "console", "python"})
_SHOWN = frozenset({"text", "json"})


def _runs(page: Path) -> bool:
    """Whether something of a page runs."""
    return any(block.language in _RUN and "not run" not in block.directives for block in blocks_of(page))


@pytest.mark.integration
@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)], ids=name_of)
def test_the_examples_of_a_page_do_what_it_says(page: Path) -> None:
    """They run on a new machine, and print what the page shows."""
    # The socket of an agent needs a short path.
    with tempfile.TemporaryDirectory(prefix="docs-", ignore_cleanup_errors=True) as base:
        Person(Path(base)).follow(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    """Or is the output of the block above it, or is written to a file."""
    before: Block | None = None
    for block in blocks_of(page):
        known = (
            block.language in _RUN
            or block.directives.keys() & {"not run", "file", "proxy"}
            or (block.language in _SHOWN and Person(page.parent).is_output(block, before))
        )
        assert known, f"{block.place}: nothing says whether this runs"
        assert block.directives.get("not run", "why"), f"{block.place}: say why it is not run"
        before = block
