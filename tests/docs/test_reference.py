"""The reference of the command, compared with `--help`."""

from __future__ import annotations

from tests.docs.reference import PAGE, with_reference


def test_the_reference_is_current() -> None:
    """`python -m tests.docs.reference` writes it anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert "<!-- reference -->" in text
    assert with_reference(text) == text
