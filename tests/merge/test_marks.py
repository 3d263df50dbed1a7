"""Contents with the byte order mark that some editors put before UTF-8."""

from __future__ import annotations

import json
from codecs import BOM_UTF8, BOM_UTF16_LE
from collections.abc import Callable, Sequence

import pytest

from mneme.merge import is_damaged, is_well_formed, jsonvalues
from mneme.model import FileName
from tests.merge.looking import chosen, merged

LOG = FileName.LOG
Made = Callable[..., bytes]


def log(*numbers: int) -> bytes:
    """A log with an entry for each number."""
    return b"".join(b'{"ts":"2026-11-24T20:00:%02d.000Z","content":"%d"}\n' % (one, one) for one in numbers)


def facts(*numbers: int) -> bytes:
    """Facts to remember."""
    found = [
        {"ts": f"2026-11-24T20:00:{one:02}.000Z", "type": "fact", "content": str(one)} for one in numbers
    ]
    return json.dumps(found, indent=2).encode()


def text(*numbers: int) -> bytes:
    """A text with a line for each number."""
    return b"".join(b"line %d\n" % one for one in numbers)


MADE: Sequence[tuple[FileName, Made]] = (
    (LOG, log),
    (FileName.REMEMBERED, facts),
    (FileName.SUMMARY_MD, text),
)


@pytest.mark.parametrize(("file", "made"), MADE)
@pytest.mark.parametrize("marked", [1, 2, 3, 4, 5, 6, 7])
def test_a_mark_makes_no_line_and_no_item_differ(file: FileName, made: Made, marked: int) -> None:
    """Whichever sides have one, the merge is that of the sides without."""
    three = made(1, 2, 3), made(1, 2, 3, 4), made(2, 3)
    sides = [BOM_UTF8 + one if marked >> place & 1 else one for place, one in enumerate(three)]
    assert merged(file, *sides) == merged(file, *three)


@pytest.mark.parametrize(("file", "made"), MADE)
def test_a_mark_alone_is_no_change(file: FileName, made: Made) -> None:
    """The other side is the result, byte for byte."""
    base, other = made(1, 2), made(1, 2, 3)
    assert merged(file, base, BOM_UTF8 + base, other) == other
    assert merged(file, base, other, BOM_UTF8 + base) == other
    assert merged(file, base, BOM_UTF8 + other, base) == BOM_UTF8 + other


@pytest.mark.parametrize(("file", "made"), MADE)
def test_a_marked_content_is_well_formed(file: FileName, made: Made) -> None:
    """So it is sent, and merged."""
    assert is_well_formed(file, BOM_UTF8 + made(1))
    assert not is_damaged(file, BOM_UTF8 + made(1))


def test_utf_16_is_refused_with_a_sentence() -> None:
    """Some editors call it Unicode."""
    with pytest.raises(ValueError, match="it is UTF-16: save it as UTF-8"):
        jsonvalues.read(BOM_UTF16_LE + "{}".encode("utf-16-le"))


@pytest.mark.parametrize("file", [LOG, FileName.SUMMARY_MD])
def test_a_mark_takes_no_base_away(file: FileName) -> None:
    """The only line is shared with it all the same."""
    made = dict(MADE)[file]
    assert chosen(file, None, [BOM_UTF8 + made(1)], made(1, 2)) == 0
    assert chosen(file, None, [made(1)], BOM_UTF8 + made(1, 2)) == 0
