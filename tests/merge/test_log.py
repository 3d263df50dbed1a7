"""`log.jsonl`: lines of either side, in the order of their times, the newest that fit."""

from __future__ import annotations

import msgspec
import pytest

from mneme import times
from mneme.merge import is_well_formed, merge
from mneme.merge.bounds import MAX_LINES, body_size
from mneme.model import FileName, Millis
from mneme.wire import Download
from tests import plugin_files
from tests.merge.looking import cannot_merge, merged

LOG = FileName.LOG


def entry(time: str, content: str = "x") -> bytes:
    """An entry of 1 February 2026, without its newline."""
    return f'{{"ts":"2026-02-01T{time}","type":"note","content":"{content}"}}'.encode()


def log(*lines: bytes) -> bytes:
    """A log of these lines."""
    return b"".join(line + b"\n" for line in lines)


NINE, TEN, ELEVEN, NOON = (entry(f"{hour:02}:00:00.000Z") for hour in (9, 10, 11, 12))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("base", "head", "upload", "result"),
    [
        pytest.param(
            [NINE], [NINE, ELEVEN], [NINE, TEN, NOON], [NINE, TEN, ELEVEN, NOON], id="in order of times"
        ),
        pytest.param(
            [NINE, TEN], [NINE, TEN, ELEVEN], [TEN, NOON], [TEN, ELEVEN, NOON], id="a removed entry is gone"
        ),
        pytest.param(
            None, [NINE, ELEVEN], [TEN], [NINE, TEN, ELEVEN], id="without a base nothing is removed"
        ),
        pytest.param([NINE], [NINE, NINE], [NINE, TEN], [NINE, NINE, TEN], id="an added copy is kept"),
        pytest.param(
            [NINE], [NINE] * 3, [NINE, NINE, TEN], [NINE, NINE, NINE, TEN], id="copies are not added up"
        ),
        pytest.param(
            [NINE, NINE], [NINE, NINE, TEN], [NINE, ELEVEN], [NINE, TEN, ELEVEN], id="a removed copy is gone"
        ),
        pytest.param(
            None, [NOON, NINE, TEN], [TEN, NINE], [NOON, NINE, TEN], id="a side with all stays as it is"
        ),
    ],
)
def test_entries_are_merged_as_lines(
    base: list[bytes] | None, head: list[bytes], upload: list[bytes], result: list[bytes], turned: bool
) -> None:
    """Whichever side is the head."""
    sides = (upload, head) if turned else (head, upload)
    assert merged(LOG, None if base is None else log(*base), *(log(*one) for one in sides)) == log(*result)


def test_times_are_compared_as_instants() -> None:
    """Text in another time zone would sort otherwise; without a zone it is UTC."""
    zoned, bare = entry("12:30:00+02:00"), entry("10:45:00")
    assert merged(LOG, None, log(TEN, ELEVEN), log(zoned, bare)) == log(TEN, zoned, bare, ELEVEN)
    first, last = b'{"ts":"0001-01-01T00:00:00+14:00"}', b'{"ts":"9999-12-31T23:59:59-14:00"}'
    assert merged(LOG, None, log(NINE, last), log(first)) == log(first, NINE, last)


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"half a li",
        b"\xff\xfe\x00",
        b'{"ts":1769936400000}',
        b'{"ts":"yesterday"}',
        b'{"content":"no time"}',
        b'["ts"]',
        b'{"ts":"2026-02-01T09:00:60Z"}',
        b'{"ts":"2026-02-01T09:00:00Z","content":' + b"[" * 100_000,
    ],
)
def test_a_line_without_a_time_stays_behind_its_neighbour(odd: bytes) -> None:
    """A line without a time stays behind the line before it."""
    assert merged(LOG, log(NINE), log(NINE, odd, NOON), log(NINE, TEN)) == log(NINE, odd, TEN, NOON)


def test_a_first_line_without_a_time_stays_before_its_neighbour() -> None:
    """There is none before it."""
    assert merged(LOG, None, log(NINE, NOON), log(b"odd", TEN)) == log(NINE, b"odd", TEN, NOON)
    assert merged(LOG, None, log(TEN), log(b"odd", TEN, NOON)) == log(b"odd", TEN, NOON)


def test_logs_without_any_time_are_kept_one_behind_the_other() -> None:
    """An entry need not have a time."""
    assert merged(LOG, None, b"{}\nb\n", b'{"c":1}\n') == b'{}\nb\n{"c":1}\n'


@pytest.mark.parametrize("content", [b"a\nb\n", b"[]\n", b"\xff\x00", b"{\n}\n", b"[" * 100_000])
def test_contents_without_any_entry_are_not_merged(content: bytes) -> None:
    """Text without an entry is no log."""
    assert cannot_merge(LOG, content, log(NINE))
    assert not is_well_formed(LOG, content)


@pytest.mark.parametrize(
    ("head", "upload", "result"),
    [
        (NINE, TEN, NINE + b"\n" + TEN),
        (NINE, log(TEN), log(NINE, TEN)),
        (TEN + b"\n", NINE, log(NINE, TEN)),
        (TEN, NINE + b"\r\n", NINE + b"\r\n" + TEN + b"\n"),
        (b"", NINE, NINE),
    ],
)
def test_two_lines_are_never_glued_together(head: bytes, upload: bytes, result: bytes) -> None:
    """The result ends with a newline if a side does."""
    assert merged(LOG, None, head, upload) == result


def test_a_log_of_which_each_side_removed_the_rest_is_empty() -> None:
    """Nothing stands in for the entries; an empty line that both have stays a line."""
    assert merged(LOG, log(NINE, TEN), NINE, TEN) == b""
    assert merged(LOG, b"\n" + NINE + b"\n" + TEN, b"\n" + NINE, b"\n" + TEN) == b"\n"


def test_of_a_log_that_is_too_large_the_newest_entries_stay() -> None:
    """As many as fit into the body of an upload, to the byte."""
    sides = (log(NINE, ELEVEN), log(TEN, entry("12:00:00Z", '\\" naïve \x01')))
    whole = merged(LOG, None, *sides)
    assert merged(LOG, None, *sides, max_bytes=body_size(whole)) == whole
    assert merged(LOG, None, *sides, max_bytes=body_size(whole) - 1) == whole.split(b"\n", 1)[1]


def test_of_a_log_that_is_far_too_large_a_single_entry_stays() -> None:
    """A log of which none fits is not merged."""
    assert merged(LOG, None, log(NINE), log(TEN), max_bytes=body_size(log(TEN))) == log(TEN)
    assert merge(LOG, None, log(NINE), log(TEN), upload_is_later=True, max_bytes=40) is None


def test_the_rest_of_a_log_fits_into_the_answer_to_a_download() -> None:
    """The whole answer is within the limit, and with a line more is not."""
    head, upload = (log(*(entry(f"10:{minute:02}:00Z") for minute in range(of, 60, 2))) for of in (0, 1))
    whole = merged(LOG, None, head, upload)
    for max_bytes in range(len(whole) // 2, len(whole) // 2 + 200):
        kept = merged(LOG, None, head, upload, max_bytes=max_bytes)
        assert whole.endswith(kept)
        latest = times.to_text(Millis(253_402_300_799_999))
        answer = msgspec.json.encode(Download(kept.decode(), latest, 99_999_999))
        assert max_bytes - 2 * len(NOON) < len(answer) <= max_bytes


def test_a_log_of_too_many_lines_is_not_merged() -> None:
    """Unless just one side changed; a base of too many lines is none."""
    large = b"{}\n" * (MAX_LINES + 1)
    assert cannot_merge(LOG, large, log(NINE))
    assert not is_well_formed(LOG, large)
    assert merged(LOG, log(NINE), log(NINE), large) == large
    assert merged(LOG, log(NINE, TEN) + large, log(NINE), log(TEN)) == log(NINE, TEN)
    few = b"{}\n" * (MAX_LINES // 100)
    assert merged(LOG, None, few, log(NINE)).count(b"\n") == MAX_LINES // 100 + 1


def test_bytes_that_are_no_text_count_as_what_they_are_sent_as() -> None:
    """A download has a character of three bytes in their place."""
    assert body_size(b"\xff") == body_size("\ufffd".encode())


def test_logs_of_the_plugin_keep_every_entry() -> None:
    """In the order in which they happened."""
    ours, theirs = plugin_files.log(1), plugin_files.log(2)
    lines = merged(LOG, None, ours, theirs).splitlines()
    assert sorted(lines) == sorted({*ours.splitlines(), *theirs.splitlines()})
    assert [line[7:31] for line in lines] == sorted(line[7:31] for line in lines)
