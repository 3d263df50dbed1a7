"""The journal: what is committed is read again, and what is damaged stops nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.model import ClientId, FileName, Kind, Lock, Millis, Version, digest
from mneme.store.journal import Journal
from mneme.store.ledger import Base, LockGranted
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed
from tests.store.looking import ANA, BEN, NOW

instants = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(Millis)
clients = st.text(max_size=200).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)).map(ClientId)


def version(number: int, file: FileName = FileName.LOG, client: ClientId | None = ANA) -> Version:
    """A version as the store makes them."""
    content = b"content %d" % number
    kind = Kind.UPLOAD if client else Kind.FOUND
    now = Millis(NOW + number)
    return Version(number, file, digest(content), len(content), now, now, client, kind, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal is to be."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def written(path: Path) -> Journal:
    """A journal of two versions and a lock."""
    journal = Journal(path)
    journal.add(version(1))
    journal.add(LockGranted(5, ANA, NOW))
    journal.add(version(2, FileName.ENTITIES, None))
    return journal


def test_a_journal_that_is_not_there_is_empty(path: Path) -> None:
    """And is not made by being looked at."""
    journal = Journal(path)
    assert (journal.read_versions(), journal.ledger.last_number, journal.ledger.last_token) == ((), 0, 0)
    assert not path.exists()
    assert Journal(path / "of" / "nothing").read_versions() == ()


def test_what_was_added_is_read_again(path: Path, written: Journal) -> None:
    """All of it, and the last token."""
    again = Journal(path)
    assert (
        again.read_versions() == written.read_versions() == (version(1), version(2, FileName.ENTITIES, None))
    )
    assert again.ledger.newest == written.ledger.newest == {v.file: v for v in again.read_versions()}
    assert (
        (again.ledger.last_number, again.ledger.last_token)
        == (written.ledger.last_number, written.ledger.last_token)
        == (2, 5)
    )
    assert again.ledger.base(ANA, FileName.LOG) == written.ledger.base(ANA, FileName.LOG) == Base(version(1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.builds(
        Version,
        st.integers(1, 10**12),
        st.sampled_from(FileName),
        st.just(digest(b"")),
        st.integers(0, 2**40),
        instants,
        instants,
        st.none() | clients,
        st.sampled_from(Kind),
        st.none() | st.integers(1, 10**12),
    ),
    st.builds(Lock, clients, instants, instants, st.integers(1, 10**12)),
)
def test_every_value_survives(tmp_path: Path, one: Version, lock: Lock) -> None:
    """To the millisecond, from the year 1 to the year 9999, and whatever the client calls itself."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    journal.add(LockGranted.of(lock))
    journal.add(one)
    with capturedLogs() as events:
        again = Journal(path)
    assert events == []
    assert (again.read_versions(), again.ledger.last_token) == ((one,), lock.token)


def test_a_torn_tail_is_cut_off_at_every_length(path: Path, written: Journal) -> None:
    """Whatever part of the last line a crash left: the line is gone, the lines before it stand, and the log says so."""
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for length in range(start + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        with capturedLogs() as events:
            journal = Journal(path)
        [event] = events
        assert event["log_level"] is LogLevel.warn
        assert formatEvent(event) == f"Cut half a line off the end of {path}: a crash left it"
        assert path.read_bytes() == whole[:start]
        assert (journal.read_versions(), journal.ledger.last_number, journal.ledger.last_token) == (
            (version(1),),
            1,
            5,
        )
        journal.add(version(2))
        with capturedLogs() as events:
            assert Journal(path).read_versions() == (version(1), version(2))
        assert events == []


def test_a_torn_only_line_is_cut_off_at_every_length(path: Path) -> None:
    """The very first line too."""
    Journal(path).add(version(1))
    whole = path.read_bytes()
    for length in range(1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert Journal(path).read_versions() == ()
        assert path.read_bytes() == b""


def test_a_last_line_without_its_line_break_is_whole(path: Path, written: Journal) -> None:
    """An editor left it so, or a crash at the very last byte; the next line goes on a line of its own."""
    whole, known = path.read_bytes(), written.read_versions()
    path.write_bytes(whole[:-1])
    with capturedLogs() as events:
        journal = Journal(path)
    assert events == []
    assert path.read_bytes() == whole
    journal.add(version(3))
    assert Journal(path).read_versions() == (*known, version(3))


def test_a_whole_journal_is_cut_nowhere(path: Path, written: Journal) -> None:
    """Neither one with lines, nor an empty one."""
    whole = path.read_bytes()
    with capturedLogs() as events:
        Journal(path)
        assert path.read_bytes() == whole
        path.write_bytes(b"")
        assert Journal(path).read_versions() == ()
    assert events == []


STRANGE_LINES = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b'{"entry":"merge","version":9}',
    b'{"entry":"version","version":"9"}',
    b'{"entry":"lock","token":1.5,"clientId":"a","time":"2026-02-04T15:00:00Z"}',
    b'{"entry":"lock","token":9,"clientId":"a","time":"yesterday"}',
    b'{"entry":"lock","note":' + b"[" * 100_000,
    b"\0" * 512,
]


@pytest.mark.parametrize("line", STRANGE_LINES, ids=lambda line: repr(line[:40]))
def test_a_line_that_cannot_be_read_is_passed_over(path: Path, written: Journal, line: bytes) -> None:
    """It is kept, the lines around it count, and the log says which it was."""
    lines = path.read_bytes().splitlines(keepends=True)
    content = b"".join([lines[0], line + b"\n", *lines[1:]])
    path.write_bytes(content)
    with capturedLogs() as events:
        journal = Journal(path)
    [event] = events
    assert event["log_level"] is LogLevel.warn
    assert str(formatEvent(event)).startswith(f"Passed over line 2 of {path}")
    assert journal.read_versions() == written.read_versions()
    assert journal.ledger.last_token == written.ledger.last_token
    assert path.read_bytes() == content


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_no_token_comes_again_whichever_line_is_damaged(path: Path, damaged: int) -> None:
    """A line that cannot be read may have been that of a lock: its token counts as given."""
    journal = Journal(path)
    for token in (1, 2, 3):
        journal.add(LockGranted(token, ANA, NOW))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[damaged] = b"#" * (len(lines[damaged]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    assert Journal(path).ledger.last_token >= 3


def test_a_field_of_a_later_version_of_this_server_is_passed_over(path: Path) -> None:
    """What is known of the line counts."""
    Journal(path).add(version(1))
    path.write_bytes(path.read_bytes().replace(b"{", b'{"merged":[1,2],', 1))
    assert Journal(path).read_versions() == (version(1),)


@pytest.mark.parametrize("fault", [NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
def test_an_append_that_fails_leaves_no_trace(
    path: Path, written: Journal, faults: Faults, fault: Fault
) -> None:
    """Whichever step fails, neither the file nor what is known of it has changed, and the next line is added."""
    before, known = path.read_bytes(), written.read_versions()
    with faults.failing() as clean:
        written.add(version(3))
    path.write_bytes(before)
    for at in fault.places(clean):
        if at > clean.last("fdatasync"):
            continue
        journal = Journal(path)
        with faults.failing(at, fault), pytest.raises(OSError, match=r"No space|Input/output"):
            journal.add(version(3))
        assert path.read_bytes() == before
        assert journal.ledger.last_number == 2
        journal.add(version(3))
        assert Journal(path).read_versions() == (*known, version(3))
        path.write_bytes(before)


def test_a_kill_while_appending_leaves_the_line_whole_or_not_at_all(
    path: Path, written: Journal, faults: Faults
) -> None:
    """Once the journal is opened again."""
    before, known = path.read_bytes(), written.read_versions()
    with faults.failing() as clean:
        written.add(version(3, client=BEN))
    for at in KILL.places(clean):
        path.write_bytes(before)
        journal = Journal(path)
        with faults.failing(at, KILL), pytest.raises(Killed):
            journal.add(version(3, client=BEN))
        assert Journal(path).read_versions() in (known, (*known, version(3, client=BEN)))
