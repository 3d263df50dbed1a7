"""Links between the pages lead somewhere, and the pages stay short enough to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors_of, links_of, name_of

MOST_OWN_LINKS = 4


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading on that page."""
    for link in links_of(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), f"{name_of(page)} links to {link}"
        assert not anchor or anchor in anchors_of(target), f"{name_of(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_does_not_link_to_itself_all_the_time(page: Path) -> None:
    """A reader follows a page from its top to its end."""
    own = [link for link in links_of(page) if link.startswith("#")]
    assert len(own) <= MOST_OWN_LINKS, own


def test_the_readme_fits_on_a_few_screens() -> None:
    """In 130 lines, and it leads to each page of docs/."""
    readme = ROOT / "README.md"
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 130
    assert {link.partition("#")[0] for link in links_of(readme)} >= {
        name_of(page) for page in ROOT.glob("docs/*.md")
    }
