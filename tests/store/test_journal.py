"""The journal: what is committed is read again, and what is damaged stops nobody."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mneme.model import Appended, ClientId, FileName, Kind, Lock, Millis, Place, Version, digest
from mneme.store import journal as journals
from mneme.store.journal import Journal
from mneme.store.ledger import ONE_PUSH, Base, BaseKnown, Entry, Ledger, Listed, LockGranted, Settled
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed
from tests.store.looking import ANA, BEN, EVE, NOW, having

instants = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(Millis)
clients = st.text(max_size=200).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)).map(ClientId)

keys = st.text(min_size=1, max_size=200).filter(str.isprintable)


def version(number: int, file: FileName = FileName.LOG, client: ClientId | None = ANA) -> Version:
    """A version as the store makes them."""
    content = b"content %d" % number
    kind = Kind.UPLOAD if client else Kind.FOUND
    now = Millis(NOW + number)
    return Version(number, file, digest(content), len(content), now, now, client, kind, None)


def compact(journal: Journal, pruned: AbstractSet[int] = frozenset()) -> None:
    """Write a journal anew, without these versions."""
    journal.compact({one.number for one in journal.read_versions()} - pruned)


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
    assert (
        again.ledger.base(ANA, FileName.LOG) == written.ledger.base(ANA, FileName.LOG) == Base.of(version(1))
    )


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
        st.lists(st.integers(1, 10**12), max_size=3).map(tuple),
        st.sampled_from(Place),
        st.none() | st.builds(Appended, st.none() | keys, st.just(digest(b"a line")), st.booleans()),
        st.booleans(),
        st.booleans(),
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


def test_a_journal_from_before_there_were_appends_is_read(path: Path, written: Journal) -> None:
    """Its lines are as they always were, and so is what is written of an upload."""
    lines = path.read_bytes()
    assert b"appended" not in lines
    assert [one.appended for one in Journal(path).read_versions()] == [None, None]
    assert Journal(path).ledger.keyed == {}
    journal = Journal(path)
    journal.add(evolve(version(3), appended=Appended("key", digest(b"lines"))))
    assert path.read_bytes().startswith(lines)
    assert Journal(path).ledger.keyed == {(ANA, FileName.LOG, "key"): 3}


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


def state(ledger: Ledger) -> dict[str, object]:
    """All that a ledger comes to; of the times, those of the clients whose bases are known."""
    bases = {(client, file): base for client, file, base in ledger.bases() if base.known}
    return {
        "newest": ledger.newest,
        "latest mtimes": ledger.latest_mtime,
        "waiting": ledger.waiting,
        "overtaken": ledger.overtaken & ledger.waiting.keys(),
        "unmerged": ledger.unmerged,
        "last number": ledger.last_number,
        "last token": ledger.last_token,
        "listed": ledger.listed,
        "keyed": ledger.keyed,
        "bases": bases,
        "seen": {client: ledger.last_seen[client] for client, _ in bases},
    }


ALL_ENTRIES: list[Entry] = [
    LockGranted(1, ANA, NOW),
    version(1),
    Listed(1, NOW),
    evolve(version(2, client=BEN), kind=Kind.RESCUED, place=Place.WAITING, base=1),
    BaseKnown(BEN, FileName.LOG, having(None, version(1)), Millis(NOW + 7)),
    evolve(version(3, client=EVE), kind=Kind.RESCUED, place=Place.WAITING),
    Settled(evolve(version(3, client=EVE), kind=Kind.RESCUED, place=Place.WAITING), merged=False),
    BaseKnown(EVE, FileName.LOG, Base.of(version(1)), Millis(NOW + 8)),
    evolve(version(4), kind=Kind.UPLOAD, place=Place.WAITING, base=1),
    evolve(version(5), kind=Kind.MERGED, base=1, parents=(1, 4)),
    Listed(1, Millis(NOW + 9)),
]

WITH_APPENDS: list[Entry] = [
    *ALL_ENTRIES,
    evolve(version(6), appended=Appended("key", digest(b"6"))),
    evolve(version(7, client=BEN), appended=Appended("key", digest(b"7"), blind=True)),
    evolve(
        version(8), kind=Kind.RESCUED, place=Place.WAITING, appended=Appended(None, digest(b"8"), blind=True)
    ),
    evolve(version(9), kind=Kind.MERGED, parents=(7, 8)),
]

WITH_BASES: list[Entry] = [
    *ALL_ENTRIES,
    evolve(version(6), base=5, names_base=True),
    BaseKnown(EVE, FileName.LOG, Base.of(version(1), lacking=Millis(NOW + 9)), Millis(NOW + 10)),
    BaseKnown(
        EVE,
        FileName.LOG,
        Base.of(version(1), lacking=NOW).with_sent(evolve(version(6), base=5, names_base=True)),
        NOW,
    ),
    BaseKnown(
        EVE,
        FileName.LOG,
        having(version(1), evolve(version(6), base=5, names_base=True)).with_received(6),
        NOW,
    ),
    evolve(version(7, client=EVE), is_unrelated=True),
    evolve(version(8, client=BEN), kind=Kind.RESCUED, place=Place.WAITING, is_unrelated=True),
    evolve(
        version(9, client=BEN), kind=Kind.RESCUED, place=Place.WAITING, base=7, names_base=True, parents=(8,)
    ),
]


@pytest.mark.parametrize(
    "entries", [story[:last] for story in (WITH_APPENDS, WITH_BASES) for last in range(1, len(story) + 1)]
)
def test_every_kind_of_entry_survives(path: Path, entries: list[Entry]) -> None:
    """After each of them, the journal that is opened anew comes to the same."""
    journal = Journal(path)
    for number, entry in enumerate(entries):
        (journal.jot if number % 2 else journal.add)(entry)
    again = Journal(path)
    assert state(again.ledger) == state(journal.ledger)
    assert again.ledger.strangers == journal.ledger.strangers


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Entries as a project has them: each about what is there by then."""
    ledger, entries, versions = Ledger(), list[Entry](), list[Version]()
    for _ in range(draw(st.integers(0, 14))):
        choices = ["upload", "stale", "rescued", "kept", "found", "lock", "listed"]
        choices += ["candidate", "sure", "lacking", "received"] if ledger.newest else []
        choices += ["merged", "merged", "settled", "settled as merged"] if ledger.waiting else []
        entry = draw_entry(draw, draw(st.sampled_from(choices)), ledger, versions)
        if isinstance(entry, Version):
            versions.append(entry)
        ledger.take(entry)
        entries.append(entry)
    return entries


def draw_entry(draw: st.DrawFn, what: str, ledger: Ledger, versions: Sequence[Version]) -> Entry:
    """An entry of this kind that may come next."""
    time = Millis(NOW + draw(st.integers(0, 50)))
    client = draw(st.sampled_from([ANA, BEN]))
    file = draw(st.sampled_from([FileName.LOG, FileName.ENTITIES]))
    new = evolve(version(ledger.last_number + 1, file, client), time=time, mtime=time)
    appended = Appended(draw(st.sampled_from([None, "a", "b"])), digest(b"a line"), draw(st.booleans()))
    append = evolve(new, appended=appended if draw(st.booleans()) else None)
    if what in ("merged", "settled", "settled as merged"):
        waiting = draw(st.sampled_from(sorted(ledger.waiting.values(), key=lambda one: one.number)))
        if what != "merged":
            return Settled(waiting, merged=what == "settled as merged")
        new = evolve(new, file=waiting.file, client=waiting.client)
        return evolve(new, kind=Kind.MERGED, parents=(waiting.number,))
    match what:
        case "upload":
            return append
        case "stale":
            return evolve(append, place=Place.WAITING)
        case "rescued":
            return evolve(append, kind=Kind.RESCUED, place=Place.WAITING)
        case "kept":
            return evolve(append, kind=Kind.RESCUED, place=Place.BESIDE)
        case "found":
            return evolve(new, kind=Kind.FOUND, client=None)
        case "lock":
            return LockGranted(ledger.last_token + 1, client, time)
        case "listed":
            return Listed(ledger.last_token, time)
        case _:
            heads = [one for one in versions if one.place is Place.HEAD]
            head = draw(st.sampled_from(heads))
            before = ledger.base(client, head.file)
            bases = {
                "sure": Base.of(head),
                "lacking": Base.of(head, time),
                "candidate": before.with_sent(head),
                "received": before.with_sent(head).with_received(head.number),
            }
            return BaseKnown(client, head.file, bases[what], time)


any_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@any_path
@given(histories())
def test_a_compacted_journal_comes_to_the_same(tmp_path: Path, entries: list[Entry]) -> None:
    """Whatever is in it: the ledger at hand, and that of the journal when it is opened anew."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for entry in entries:
        journal.add(entry)
    before, versions = state(journal.ledger), journal.read_versions()
    compact(journal)
    assert journal.is_current()
    assert (state(journal.ledger), journal.read_versions()) == (before, versions)
    again = Journal(path)
    assert (state(again.ledger), again.read_versions()) == (before, versions)
    lines = sorted(path.read_bytes().splitlines())
    compact(again)
    assert sorted(path.read_bytes().splitlines()) == lines


@any_path
@given(histories(), st.integers(0, 14))
def test_a_journal_goes_on_as_if_it_had_not_been_compacted(
    tmp_path: Path, entries: list[Entry], number: int
) -> None:
    """What comes after that has the same effect."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal, plain = Journal(path), Ledger()
    for entry in entries[:number]:
        journal.add(entry)
        plain.take(entry)
    compact(journal)
    for entry in entries[number:]:
        journal.add(entry)
        plain.take(entry)
    found, wanted = state(journal.ledger), state(plain)
    # When a client was seen that has no base yet is forgotten, for it is of no use to anybody.
    assert {what: found[what] for what in found if what != "seen"} == {
        what: wanted[what] for what in wanted if what != "seen"
    }


@any_path
@given(histories(), st.sets(st.integers(1, 14)))
def test_a_compacted_journal_lacks_what_was_pruned_and_nothing_else(
    tmp_path: Path, entries: list[Entry], chosen: set[int]
) -> None:
    """Of what nobody needs, as a project prunes it."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for entry in entries:
        journal.add(entry)
    before, versions = state(journal.ledger), journal.read_versions()
    needed = {journal.ledger.last_number}
    needed |= {one.number for one in journal.ledger.newest.values()}
    needed |= {one.number for one in journal.ledger.waiting.values()}
    needed |= {one.number for _, _, base in journal.ledger.bases() for one in base.known}
    pruned = chosen - needed
    compact(journal, pruned)
    left = [one for one in versions if one.number not in pruned]
    for opened in (journal, Journal(path)):
        assert list(opened.read_versions()) == left
        after = state(opened.ledger)
        for what in (
            "newest",
            "waiting",
            "overtaken",
            "last number",
            "last token",
            "listed",
            "bases",
            "seen",
        ):
            assert after[what] == before[what], what
        unmerged = {one for one in opened.ledger.unmerged if one not in pruned}
        assert unmerged == {one.number for one in left} & journal.ledger.unmerged


WAITS = evolve(version(2), kind=Kind.RESCUED, place=Place.WAITING, base=1)
MADE = evolve(version(3), kind=Kind.MERGED, parents=(2,))
NEWER = version(1, client=BEN)


@pytest.mark.parametrize("end", [MADE, Settled(WAITS, merged=True)], ids=["merged", "settled"])
def test_what_waits_is_the_base_once_it_is_merged_although_the_journal_was_compacted(
    path: Path, end: Entry
) -> None:
    """Nothing else was sent to its client in the meantime."""
    journal = Journal(path)
    journal.add(version(1))
    journal.add(WAITS)
    compact(journal)
    journal.add(end)
    assert journal.ledger.base(ANA, FileName.LOG) == Base.of(WAITS)


@pytest.mark.parametrize("place", [Place.HEAD, Place.WAITING])
def test_a_client_that_seems_to_be_in_two_places_is_told_of_after_compacting(
    path: Path, place: Place
) -> None:
    """Another file of another push says nothing, nor does compacting twice."""
    journal = Journal(path)
    stranger = evolve(version(1), kind=Kind.RESCUED, place=place, is_unrelated=True)
    later = Millis(NOW + 10 * ONE_PUSH)
    for entry in (stranger, evolve(version(2, FileName.ENTITIES), base=1, time=later)):
        journal.add(entry)
    for _ in range(2):
        assert journal.ledger.strangers == {ANA: stranger}
        compact(journal)
        assert journal.ledger.strangers == {ANA: stranger}
        journal = Journal(path)


def test_what_may_be_the_base_may_be_it_after_compacting(path: Path) -> None:
    """The client fetched a version while its upload waited: nobody knows which of them it has."""
    journal = Journal(path)
    for entry in (NEWER, WAITS, BaseKnown(ANA, FileName.LOG, having(None, NEWER), NOW), MADE):
        journal.add(entry)
    before = journal.ledger.base(ANA, FileName.LOG)
    assert before == having(None, NEWER, WAITS)
    compact(journal)
    assert journal.ledger.base(ANA, FileName.LOG) == before


@pytest.mark.parametrize("base", [Base.of(NEWER), having(None, NEWER)], ids=["sure", "candidate"])
def test_what_was_overtaken_keeps_its_place_after_compacting(path: Path, base: Base) -> None:
    """Once compacted or twice, at hand or opened anew: the next upload waits beside it, and so does one more."""
    journal = Journal(path)
    for entry in (
        NEWER,
        BaseKnown(ANA, FileName.LOG, base, NOW),
        WAITS,
        BaseKnown(ANA, FileName.LOG, base, NOW),
    ):
        journal.add(entry)
    for number in (4, 5):
        compact(journal)
        compact(journal)
        journal = Journal(path)
        assert journal.ledger.waiting_of(ANA, FileName.LOG) is None
        assert journal.ledger.base(ANA, FileName.LOG) == base
        journal.add(evolve(WAITS, number=number))
        journal.jot(BaseKnown(ANA, FileName.LOG, base, NOW))
    assert list(Journal(path).ledger.waiting) == [2, 4, 5]


def test_what_waits_is_in_order_after_compacting(path: Path) -> None:
    """In that it is merged, and the first goes when it is too many."""
    journal = Journal(path)
    by_eve = evolve(version(2, client=EVE), kind=Kind.RESCUED, place=Place.WAITING)
    for entry in (NEWER, by_eve, evolve(WAITS, number=3), BaseKnown(ANA, FileName.LOG, Base.of(NEWER), NOW)):
        journal.add(entry)
    assert [one.number for one in journal.ledger.queue()] == [2, 3]
    compact(journal)
    assert [one.number for one in journal.ledger.queue()] == [2, 3]


@pytest.mark.parametrize("gone", [{1}, {1, 2}])
def test_compacting_leaves_out_that_nothing_is_known_of_a_client(path: Path, gone: AbstractSet[int]) -> None:
    """What it once downloaded is no more, and it has uploaded nothing: whoever looked once costs no line."""
    journal = Journal(path)
    for number in (1, 2, 3):
        journal.add(version(number))
    lookers = [ClientId(f"looker-{number}") for number in range(20)]
    for looker in lookers:
        journal.jot(BaseKnown(looker, FileName.LOG, having(version(1), version(2)), NOW))
    compact(journal, gone)
    assert b"looker" not in path.read_bytes()
    assert [journal.ledger.base(looker, FileName.LOG) for looker in lookers] == [Base()] * 20


def test_a_base_that_is_no_more_stays_unknown_although_its_client_has_uploaded_before(path: Path) -> None:
    """What it had since is not what it uploaded: that would be too sure."""
    journal = Journal(path)
    for entry in (
        version(1),
        version(2, client=BEN),
        BaseKnown(ANA, FileName.LOG, Base.of(version(2, client=BEN)), NOW),
    ):
        journal.add(entry)
    journal.add(version(3, client=BEN))
    compact(journal, {2})
    for opened in (journal, Journal(path)):
        assert opened.ledger.base(ANA, FileName.LOG) == Base()
        compact(opened)
        assert opened.ledger.base(ANA, FileName.LOG) == Base()
    compact(journal, {1})
    assert b'"base","clientId":"ana' not in path.read_bytes()


def test_compacting_leaves_out_what_says_nothing_more(path: Path) -> None:
    """A journal of many locks and downloads has a line for the last of them."""
    journal = Journal(path)
    journal.add(version(1))
    for number in range(1, 20):
        journal.add(LockGranted(number, ANA, Millis(NOW + number)))
        journal.jot(Listed(1, Millis(NOW + number)))
        journal.jot(BaseKnown(BEN, FileName.LOG, Base.of(version(1)), Millis(NOW + number)))
    before = state(journal.ledger)
    compact(journal)
    assert len(path.read_bytes().splitlines()) <= 5
    assert state(Journal(path).ledger) == before


def test_a_journal_wants_to_be_compacted_when_it_is_full_of_what_says_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions do not count, however many; once it is compacted it is content, also when it is opened anew."""
    monkeypatch.setattr(journals, "COMPACT_AFTER", 5)
    journal = Journal(path)
    there = range(1, 21)
    for number in there:
        journal.add(version(number))
    for number in range(1, 6):
        journal.jot(Listed(1, Millis(NOW + number)))
        assert not journal.wants_compaction(there)
    journal.jot(Listed(1, Millis(NOW + 6)))
    assert [one.wants_compaction(there) for one in (journal, Journal(path))] == [True, True]
    compact(journal)
    assert [one.wants_compaction(there) for one in (journal, Journal(path))] == [False, False]


def test_a_journal_wants_to_be_compacted_when_it_tells_of_versions_that_are_no_more(path: Path) -> None:
    """One of them is enough."""
    journal = Journal(path)
    for number in (1, 2, 3):
        journal.add(version(number))
    assert not journal.wants_compaction({1, 2, 3})
    assert journal.wants_compaction({2, 3})
    journal.compact({2, 3})
    assert [one.number for one in journal.read_versions()] == [2, 3]
    assert not journal.wants_compaction({2, 3})


def test_compacting_what_is_not_there_makes_no_trouble(path: Path) -> None:
    """The journal was never written."""
    journal = Journal(path)
    compact(journal)
    journal.add(version(1))
    assert Journal(path).read_versions() == (version(1),)


@pytest.mark.parametrize("line", STRANGE_LINES, ids=lambda line: repr(line[:40]))
def test_compacting_keeps_what_it_cannot_read(path: Path, written: Journal, line: bytes) -> None:
    """Somebody may still find out what it was; no token comes again for it."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], line + b"\n", *lines[1:]]))
    journal = Journal(path)
    before = state(journal.ledger)
    for _ in range(2):
        compact(journal)
        assert path.read_bytes().split(b"\n").count(line) >= 1
        after = state(Journal(path).ledger)
        assert Journal(path).ledger.last_token >= journal.ledger.last_token >= 5
        assert {what: after[what] for what in after if what != "last token"} == {
            what: before[what] for what in before if what != "last token"
        }


def test_the_line_of_a_later_server_is_kept(path: Path, written: Journal) -> None:
    """Who goes back to an older one and forth again finds it."""
    line = b'{"entry":"label","version":1,"text":"before the move"}'
    path.write_bytes(line + b"\n" + path.read_bytes())
    compact(Journal(path), {1})
    assert line in path.read_bytes().splitlines()


def test_what_is_about_a_version_that_is_no_more_is_passed_over(path: Path) -> None:
    """A base, or the end of waiting; it is no damage, and the log is silent."""
    journal = Journal(path)
    journal.add(version(1))
    journal.jot(BaseKnown(BEN, FileName.LOG, having(version(1), version(2)), NOW))
    journal.add(Settled(version(1), merged=True))
    journal.add(version(2, client=BEN))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    with capturedLogs() as events:
        again = Journal(path)
    assert events == []
    assert again.read_versions() == (version(2, client=BEN),)
    assert again.ledger.base(BEN, FileName.LOG) == Base.of(version(2, client=BEN))
    assert again.ledger.last_token == 0


def full(path: Path) -> Journal:
    """A journal with entries of all kinds, and a line that cannot be read."""
    journal = Journal(path)
    for entry in ALL_ENTRIES:
        journal.add(entry)
    path.write_bytes(b"#\n" + path.read_bytes())
    return Journal(path)


def test_a_kill_while_compacting_leaves_the_old_journal_or_the_new(path: Path, faults: Faults) -> None:
    """Whole, at every step."""
    full(path)
    before = path.read_bytes()
    with faults.failing() as clean:
        compact(Journal(path), {3})
    after = path.read_bytes()
    assert before != after
    found = set()
    for at in KILL.places(clean):
        path.write_bytes(before)
        with faults.failing(at, KILL), pytest.raises(Killed):
            compact(Journal(path), {3})
        found.add(path.read_bytes())
        versions = [one.number for one in Journal(path).read_versions()]
        assert versions in ([1, 2, 3, 4, 5], [1, 2, 4, 5])
    assert found == {before, after}


@pytest.mark.parametrize("fault", [NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
def test_compacting_that_fails_leaves_all_as_it_was_or_is_done(
    path: Path, faults: Faults, fault: Fault
) -> None:
    """The journal is written on, with what it says when it is opened anew."""
    full(path)
    before = path.read_bytes()
    with faults.failing() as clean:
        compact(Journal(path), {3})
    after = path.read_bytes()
    for at in fault.places(clean):
        path.write_bytes(before)
        with faults.failing(at, fault), suppress(OSError):
            compact(Journal(path), {3})
            assert path.read_bytes() == after
        assert path.read_bytes() in (before, after)
        again = Journal(path)
        again.add(version(6))
        assert Journal(path).ledger.last_number == 6
