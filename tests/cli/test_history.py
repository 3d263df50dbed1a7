"""`history`: versions of one file, or of all, the newest first."""

from __future__ import annotations

import pytest

from mneme.cli import history
from mneme.cli.history import Listing, listing_of
from mneme.cli.lookup import NotThere
from mneme.model import FileName, ProjectId
from tests.cli.asked import DEMO, Asked
from tests.web.stub import Stub, entry

EVERY = tuple(FileName)


@pytest.fixture
def asked() -> Asked:
    """A project with versions of two files, one of which is merged of two."""
    stub = Stub()
    stub.acquire("laptop")
    stub.upload("laptop", entry("one"))
    stub.upload("laptop", "# One", "summary.md")
    stub.upload("laptop", entry("one") + entry("two", 1))
    stub.upload("desktop", entry("one") + entry("three", 2))
    stub.release("laptop")
    return Asked(stub)


def listed(asked: Asked, files: tuple[FileName, ...] = EVERY, limit: int = 25) -> Listing:
    """The rows of these files."""
    return listing_of(asked.client, DEMO, files, limit)


def test_the_files_of_a_project_are_listed_together(asked: Asked) -> None:
    """In the order of their numbers, the newest first, with what each was made from."""
    rows = [history._row(version) for version in listed(asked).versions]
    made = [(row[0], row[1], row[2], row[4], row[5], row[6]) for row in rows]
    assert made == [
        ("5", "log.jsonl", "merged", "desktop", "194 B", "3 + 4"),
        ("4", "log.jsonl", "rescued", "desktop", "130 B", ""),
        ("3", "log.jsonl", "upload", "laptop", "128 B", "1"),
        ("2", "summary.md", "upload", "laptop", "5 B", ""),
        ("1", "log.jsonl", "upload", "laptop", "64 B", ""),
    ]
    assert not asked.named


@pytest.mark.parametrize(
    ("files", "limit", "numbers", "more"),
    [
        (EVERY, 3, [5, 4, 3], True),
        (EVERY, 5, [5, 4, 3, 2, 1], False),
        ((FileName.LOG,), 3, [5, 4, 3], True),
        ((FileName.SUMMARY_MD,), 3, [2], False),
    ],
)
def test_a_limit_leaves_the_newest(
    asked: Asked, files: tuple[FileName, ...], limit: int, numbers: list[int], more: bool
) -> None:
    """Over all files, and it is known whether there are more."""
    listing = listed(asked, files, limit)
    assert [version.version for version in listing.versions] == numbers
    assert listing.more is more


def test_where_there_is_nothing_one_sentence_says_so(asked: Asked) -> None:
    """And how to find what there is."""
    with pytest.raises(
        NotThere, match=r"^demo has no entities\.json on http://homeserver:3847: `mneme projects`"
    ):
        listed(asked, (FileName.ENTITIES,))
    with pytest.raises(
        NotThere, match=r"^nope has no versions on http://homeserver:3847: `mneme projects` lists"
    ):
        listing_of(asked.client, ProjectId("nope"), EVERY, 1)
