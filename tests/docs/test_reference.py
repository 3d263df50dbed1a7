"""The reference of the command, compared with `--help`."""

from __future__ import annotations

from tests.docs.findings import DOCTOR, rows, with_findings
from tests.docs.reference import PAGE, with_reference


def test_the_reference_is_current() -> None:
    """`python -m tests.docs.reference` writes it anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert "<!-- reference -->" in text
    assert with_reference(text) == text


def test_the_findings_of_the_doctor_are_current() -> None:
    """`python -m tests.docs.findings` writes them anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert "<!-- findings -->" in text
    assert with_findings(text) == text


def test_every_finding_is_made_where_the_list_finds_it() -> None:
    """By `good`, `doubtful` or `bad`, with advice where something is to be done."""
    for path in DOCTOR.glob("*.py"):
        if path.name != "findings.py":
            assert " Finding(" not in path.read_text(encoding="utf-8"), path
    found = rows()
    assert len(found) > 50
    for row in found:
        assert "…" not in row.code
        assert row.advice or row.states == ("good",), row
