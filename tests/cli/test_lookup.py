"""Contents for `show` and `diff`, which become nobody's base."""

from __future__ import annotations

import pytest

from mneme.cli.comparing import pair_of
from mneme.cli.lookup import NotThere, content_of
from mneme.client.calls import Download
from mneme.client.errors import Refused
from mneme.model import FileName, ProjectId
from tests.cli.asked import DEMO, Asked
from tests.web.stub import Stub, tag

TEXT = FileName.SUMMARY_MD


@pytest.fixture
def asked() -> Asked:
    """A text in two versions, and one that waits."""
    stub = Stub()
    stub.acquire("laptop")
    stub.upload("laptop", "# One\n", TEXT.value)
    stub.upload("laptop", "# Two\r\n\x1b", TEXT.value)
    stub.upload("desktop", "# Three", TEXT.value)
    return Asked(stub)


def content(asked: Asked, number: int | None = None, file: FileName = TEXT) -> Download:
    """A version, or the head."""
    return content_of(asked.client, DEMO, file, number)


def test_the_head_is_not_what_waits(asked: Asked) -> None:
    """Though that is newer; and it is byte for byte what was uploaded."""
    assert content(asked).content == b"# Two\r\n\x1b"
    assert content(asked).version == 2


def test_any_version_can_be_had(asked: Asked) -> None:
    """That which waits, too."""
    assert [content(asked, number).content for number in (1, 3)] == [b"# One\n", b"# Three"]


def test_nobody_is_taken_to_have_what_is_looked_at(asked: Asked) -> None:
    """The head is requested as a version, without a client id."""
    content(asked)
    assert asked.requests == ["GET /projects/demo/files", "GET /projects/demo/files/summary.md/versions/2"]
    assert not asked.named


def test_a_briefing_is_looked_at_by_its_number_and_as_the_head(asked: Asked) -> None:
    """A client id makes it visible; a removed one has its history alone."""
    me, path = {"X-Client-Id": "laptop", "Content-Type": "text/plain"}, "/projects/demo/files/briefing.json"
    asked.stub.ask("PUT", path, me | {"If-None-Match": "*"}, "{}")
    assert [content(asked, number, FileName.BRIEFING).content for number in (None, 4)] == [b"{}", b"{}"]
    asked.stub.ask("DELETE", path, me | {"If-Match": tag("{}")})
    with pytest.raises(NotThere, match=r"^demo has no briefing\.json"):
        content(asked, None, FileName.BRIEFING)
    assert content(asked, 5, FileName.BRIEFING).content == b"{}"
    kinds = [(one.version, one.kind) for one in asked.client.history(DEMO, FileName.BRIEFING)]
    assert kinds == [(5, "removed"), (4, "upload")]


def test_a_head_that_is_no_version_is_looked_at() -> None:
    """There was no space to take it in."""
    asked = Asked(Stub())
    head = {"name": TEXT.value, "size": 5, "mtime": "2026-02-04T15:00:00.000Z", "version": 0, "sha256": "x"}
    body = {"content": "# One", "mtime": "2026-02-04T15:00:00.000Z", "version": 0}
    asked.answer_by_hand("GET /projects/demo/files", 200, {"files": [head]})
    asked.answer_by_hand("GET /projects/demo/files/summary.md", 200, body)
    assert content(asked).content == b"# One"
    assert not asked.named


def test_what_is_not_there_is_told_in_one_sentence(asked: Asked) -> None:
    """With the command that lists what is."""
    with pytest.raises(
        NotThere, match=r"^summary\.md of demo has no version 9, .*`mneme history demo summary\.md`"
    ):
        content(asked, 9)
    with pytest.raises(NotThere, match=r"^log\.jsonl of demo has no version 2"):
        content(asked, 2, FileName.LOG)
    with pytest.raises(
        NotThere, match=r"^demo has no log\.jsonl on http://homeserver:3847: `mneme projects`"
    ):
        content(asked, None, FileName.LOG)
    with pytest.raises(NotThere, match=r"^my nope has no log\.jsonl"):
        content_of(asked.client, ProjectId("my nope"), FileName.LOG, None)


def test_a_damaged_version_is_told_in_one_sentence(asked: Asked) -> None:
    """That of the server."""
    path = "GET /projects/demo/files/summary.md/versions/1"
    asked.answer_by_hand(path, 410, {"error": "The file of this version was changed by hand"})
    with pytest.raises(Refused, match=r"^The file of this version was changed by hand$"):
        content(asked, 1)


@pytest.mark.parametrize(("newer", "numbers"), [(3, (1, 3)), (None, (1, 2))])
def test_without_a_newer_version_the_head_is_compared(
    asked: Asked, newer: int | None, numbers: tuple[int, int]
) -> None:
    """The head is the default for the newer version."""
    pair = pair_of(asked.client, DEMO, TEXT, 1, newer)
    assert (pair.older.version, pair.newer.version) == numbers
    assert pair.is_head is (newer is None)
