"""`summary.md`: text by lines, and the later side where both changed the same."""

from __future__ import annotations

import random

import pytest

from mneme.merge.bounds import MAX_LINES
from mneme.model import FileName
from tests.merge.looking import merged

TEXT = FileName.SUMMARY_MD
BASE = b"# Title\n\n- one\n\n- two\n\n- three\n"


def test_changes_in_different_places_are_joined() -> None:
    """Though there are blank lines all over, which are alike."""
    head, upload = BASE.replace(b"one", b"ONE"), BASE.replace(b"three", b"THREE") + b"\n- four\n"
    assert merged(TEXT, BASE, head, upload) == b"# Title\n\n- ONE\n\n- two\n\n- THREE\n\n- four\n"


def test_lines_that_one_side_removed_are_gone() -> None:
    """The other side has changed something else."""
    head, upload = BASE.replace(b"- one\n\n", b""), BASE.replace(b"three", b"THREE")
    assert merged(TEXT, BASE, head, upload) == b"# Title\n\n- two\n\n- THREE\n"


def test_the_same_change_on_both_sides_is_one() -> None:
    """An equal change on both sides is no conflict, and is made once."""
    head, upload = BASE.replace(b"one", b"ONE"), BASE.replace(b"one", b"ONE").replace(b"three", b"THREE")
    assert merged(TEXT, BASE, head, upload) == upload


@pytest.mark.parametrize("later", [True, False])
def test_where_both_changed_a_line_the_later_side_stays_whole(later: bool) -> None:
    """With no marks of a conflict, and without what the other side changed elsewhere."""
    head = BASE.replace(b"two", b"TWO").replace(b"one", b"ONE")
    upload = BASE.replace(b"two", b"2")
    assert merged(TEXT, BASE, head, upload, later=later) == (upload if later else head)


@pytest.mark.parametrize("later", [True, False])
def test_without_a_base_the_later_side_stays_whole(later: bool) -> None:
    """There is no telling what was changed."""
    assert merged(TEXT, None, BASE, b"# Other\n", later=later) == (b"# Other\n" if later else BASE)


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("large", range(3), ids=["base", "head", "upload"])
def test_of_texts_of_too_many_lines_the_later_side_stays_whole(later: bool, large: int) -> None:
    """Wherever they are; it would take minutes to find what was changed."""
    sides = [BASE, BASE.replace(b"one", b"ONE"), BASE.replace(b"three", b"THREE")]
    assert merged(TEXT, *sides, later=later) not in sides
    sides[large] += b"x\n" * (MAX_LINES + 1)
    assert merged(TEXT, *sides, later=later) == sides[2 if later else 1]


@pytest.mark.parametrize("odd", [b"\xff\xfe\n", b"\x00\n", b"a\rb\x0cc\n", b"\xe2\x80\xa8\n", b"end"])
def test_bytes_of_any_kind_are_lines(odd: bytes) -> None:
    """Only a newline ends one."""
    head, upload = b"first\n" + BASE, BASE + odd
    assert merged(TEXT, BASE, head, upload) == b"first\n" + BASE + odd


def test_a_line_that_gets_its_newline_from_one_side_is_not_glued_to_another() -> None:
    """To a merge it is another line, which both sides changed here."""
    assert merged(TEXT, b"a\nb", b"a\nb\nc\n", b"0\na\nb") == b"0\na\nb\nc\n"


def test_an_empty_side_has_removed_everything() -> None:
    """An empty side is no conflict if the other side added nothing in between."""
    assert merged(TEXT, b"", b"a\n", b"b\n", later=False) == b"a\n"


def test_moved_lines_make_no_mess() -> None:
    """Unique lines match as far as their order is equal."""
    base = b"".join(b"%d\n" % number for number in range(10))
    upload = b"7\n8\n9\n" + base[:14]
    head = base.replace(b"3\n", b"three\n")
    assert merged(TEXT, base, head, upload) == upload.replace(b"3\n", b"three\n")


def test_a_merge_that_would_not_stay_as_it_is_is_none() -> None:
    """Repeated lines matched by chance would merge differently each time."""
    base, head = b"b\na\na\nb\nb\nb\na\nb", b"a\nb"
    upload = b"b\na\na\nb\nb\nb\na\na"
    assert merged(TEXT, base, head, upload, later=True) == upload
    assert merged(TEXT, base, head, upload, later=False) == head


def test_long_texts_do_not_take_long() -> None:
    """A hundred thousand lines, of which most are alike: with difflib this would take minutes."""
    rng = random.Random(1)
    words = [b"%d\n" % number for number in range(150)]
    base = [rng.choice(words) if number % 4 else b"only %d\n" % number for number in range(100_000)]
    head, upload = [b"head\n", *base], [*base, b"upload\n"]
    assert merged(TEXT, *map(b"".join, (base, head, upload))) == b"".join((b"head\n", *base, b"upload\n"))
