"""What every store promises: one suite, run on each of them.

A store is put into `store` by the class that inherits from this one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count, pairwise
from random import Random

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from mneme.merge import merge
from mneme.merge.bounds import MAX_DOCUMENT, MAX_LINES
from mneme.model import (
    Accepted,
    ClientId,
    Document,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    Lock,
    Merging,
    Millis,
    NotLocked,
    Overview,
    ProjectId,
    Pruned,
    Reader,
    Receipt,
    Released,
    Rescued,
    Restore,
    Role,
    Served,
    StaleToken,
    TwoPlaces,
    Unnamed,
    Upload,
    VersionContent,
    digest,
)
from mneme.retention import Retention
from mneme.store.base import MAX_CANDIDATES
from tests import plugin_files
from tests.keeping import KEEP_NONE
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, ORG, TTL, content_of
from tests.store.stores import Patient

LOG, SUMMARY_MD = FileName.LOG, FileName.SUMMARY_MD
ENTITIES, REMEMBERED = FileName.ENTITIES, FileName.REMEMBERED
HOUR = 60 * 60 * 1000
DAY = 24 * HOUR
"""Nothing is kept for its age."""
LAST_MOMENT, EXPIRY = Millis(NOW + TTL - 1), Millis(NOW + TTL)
ODD_IDS = (
    "a.b",
    "a/b",
    "a_b",
    ".",
    "..",
    "../../etc",
    "a\0b",
    "記憶",
    "🧠",
    "-home-ana-src-my.app",
    "x" * 512,
)

shared_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
"""For properties that need no fresh store: each example takes a project of its own."""


_NUMBERS = count()


def after(milliseconds: int) -> Millis:
    """The instant so many milliseconds after `NOW`."""
    return Millis(NOW + milliseconds)


def lock_of(outcome: object) -> Lock:
    """The lock that was granted."""
    assert isinstance(outcome, Granted), outcome
    return outcome.lock


def head_of(outcome: object) -> Head:
    """The head that an upload became."""
    assert isinstance(outcome, Accepted), outcome
    return outcome.head


def head_with(held: bytes, version: int, mtime: Millis, file: FileName = LOG) -> Head:
    """The head that holds just this."""
    return Head(file, version, len(held), mtime, digest(held))


def note(number: int) -> bytes:
    """A line of a log; the larger the number, the later."""
    time = f"{15 + number // 60}:{number % 60:02}"
    return f'{{"ts":"2026-02-04T{time}:00.000Z","type":"note","content":"number {number}"}}\n'.encode()


ONE, TWO, THREE, FOUR = (note(number) for number in (1, 2, 3, 4))


def notes(last: int) -> bytes:
    """A log of the lines from the first to the last."""
    return b"".join(map(note, range(1, last + 1)))


def facts(*numbers: int) -> bytes:
    """A `remembered.json` of these facts."""
    return b"[" + b",".join(note(number).rstrip() for number in numbers) + b"]"


GOOD = {LOG: ONE, FileName.SUMMARY_JSON: b"{}", REMEMBERED: b"[]", ENTITIES: b"{}"}
JUNK = [
    (LOG, b"one\n"),
    (FileName.SUMMARY_JSON, b"[]"),
    (REMEMBERED, b"\xff"),
    (ENTITIES, b'{"files":'),
    pytest.param(LOG, b"{}\n" * (MAX_LINES + 1), id="too many lines"),
    pytest.param(ENTITIES, b"{}".ljust(MAX_DOCUMENT + 1), id="too large"),
]
"""What is not of the form of its file, or too large, and cannot be merged."""


def rescued(outcome: object) -> int:
    """The number of the version as which a refused upload was kept."""
    assert isinstance(outcome, Rescued), outcome
    assert outcome.version is not None
    return outcome.version


def content(store: Patient, file: FileName = LOG, now: Millis = NOW) -> bytes | None:
    """What the head of a file of `ALPHA` holds."""
    document = store.read(ALPHA, file, now)
    return document.content if document else None


def waiting(store: Patient, now: Millis = NOW) -> int:
    """How many uploads of `ALPHA` wait to be merged."""
    overview = store.overview(ALPHA, now)
    assert overview
    return len(overview.waiting)


def remembered(store: Patient, now: Millis = NOW) -> list[int]:
    """The facts that the head of `remembered.json` holds."""
    found = json.loads(content(store, REMEMBERED, now) or b"[]")
    return sorted(int(one["content"].removeprefix("number ")) for one in found)


def fetch(store: Patient, client: ClientId) -> None:
    """Download the log, and receive it, as a client that says who it is."""
    served = store.download(ALPHA, LOG, client, NOW)
    assert isinstance(served, Served)
    store.confirm(ALPHA, Receipt(client, LOG, served.document.head.version), NOW)


def pull(store: Patient, file: FileName = LOG, now: Millis = NOW) -> Receipt:
    """Download a file as the stock client does; the receipt is still to come."""
    served = store.download(ALPHA, file, Unnamed.STOCK, now)
    assert isinstance(served, Served)
    assert served.receipt
    return served.receipt


class StoreContract:
    """The promises of the `Patient` protocol."""

    @pytest.fixture
    def store(self) -> Patient:
        """The store under test, with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def held(self, store: Patient) -> Patient:
        """The store, with the project locked by Ana since `NOW`."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        return store

    # Projects that nobody has written

    @pytest.mark.parametrize("name", ODD_IDS)
    def test_a_project_never_written_is_empty(self, store: Patient, name: str) -> None:
        """Whatever is asked about it, the answer is that there is nothing."""
        project = ProjectId(name)
        assert store.lock(project, NOW) is None
        assert store.heads(project, NOW) == ()
        assert [store.read(project, file, NOW) for file in FileName] == [None] * 5
        assert store.versions(project) == ()
        assert content_of(store, project, 1) is None
        assert store.reap(project, NOW) is None
        assert store.stock_heads(project, NOW) == ()
        assert store.download(project, LOG, ANA, NOW) is None
        store.confirm(project, Receipt(ANA, LOG, 1), NOW)
        assert store.history(project, LOG, NOW) == ()
        assert store.version(project, 1) is None
        assert store.overview(project, NOW) is None
        assert store.restore(project, Restore(LOG, 1, ANA), NOW) == NotLocked()
        assert store.extend(project, ANA, NOW, TTL) == NotLocked()
        assert store.release(project, ANA, NOW) == NotLocked()
        assert store.projects() == []
        assert store.expired(NOW) == ()

    # Locks

    def test_a_free_lock_is_granted(self, store: Patient) -> None:
        """It counts from now, for the time asked for."""
        lock = lock_of(store.acquire(ALPHA, ANA, NOW, TTL))
        assert (lock.client, lock.acquired_at, lock.expires_at) == (ANA, NOW, EXPIRY)
        assert lock.token > 0
        assert store.lock(ALPHA, NOW) == lock

    def test_a_lock_is_held_to_its_last_millisecond_and_no_longer(self, held: Patient) -> None:
        """Nothing needs to reap it for it to end."""
        assert held.lock(ALPHA, LAST_MOMENT) is not None
        assert held.lock(ALPHA, EXPIRY) is None

    def test_of_two_acquires_at_one_instant_one_wins(self, store: Patient) -> None:
        """The second one is told who has the lock."""
        lock = lock_of(store.acquire(ALPHA, ANA, NOW, TTL))
        assert store.acquire(ALPHA, BEN, NOW, TTL) == HeldBy(lock)
        assert store.acquire(ALPHA, BEN, LAST_MOMENT, TTL) == HeldBy(lock)
        assert store.lock(ALPHA, NOW) == lock

    def test_an_expired_lock_is_in_nobodys_way(self, held: Patient) -> None:
        """In the millisecond of its expiry another client gets the lock, under a larger token."""
        before = held.lock(ALPHA, NOW)
        assert before
        lock = lock_of(held.acquire(ALPHA, BEN, EXPIRY, TTL))
        assert (lock.client, lock.acquired_at) == (BEN, EXPIRY)
        assert lock.token > before.token

    def test_acquiring_again_extends(self, held: Patient) -> None:
        """The start and the token stay."""
        before = held.lock(ALPHA, NOW)
        assert before
        lock = lock_of(held.acquire(ALPHA, ANA, LAST_MOMENT, TTL))
        assert lock == Lock(ANA, NOW, Millis(LAST_MOMENT + TTL), before.token, LAST_MOMENT)
        assert held.lock(ALPHA, EXPIRY) == lock

    def test_a_heartbeat_keeps_the_token(self, held: Patient) -> None:
        """It moves the expiry, and says when."""
        before = held.lock(ALPHA, NOW)
        assert before
        lock = lock_of(held.extend(ALPHA, ANA, LAST_MOMENT, TTL))
        assert lock == Lock(ANA, NOW, Millis(LAST_MOMENT + TTL), before.token, NOW, LAST_MOMENT)
        assert held.lock(ALPHA, EXPIRY) == lock

    def test_a_heartbeat_is_refused_to_all_but_the_holder(self, held: Patient) -> None:
        """And the lock is as it was."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.extend(ALPHA, BEN, LAST_MOMENT, TTL) == HeldBy(lock)
        assert held.extend(ALPHA, ANA, EXPIRY, TTL) == NotLocked()
        assert held.lock(ALPHA, NOW) == lock

    def test_release_frees_the_lock(self, held: Patient) -> None:
        """And says which one it was; there is none to release twice."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.release(ALPHA, ANA, LAST_MOMENT) == Released(lock)
        assert held.lock(ALPHA, NOW) is None
        assert held.release(ALPHA, ANA, NOW) == NotLocked()

    def test_release_is_refused_to_all_but_the_holder(self, held: Patient) -> None:
        """And the lock is as it was."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.release(ALPHA, BEN, LAST_MOMENT) == HeldBy(lock)
        assert held.release(ALPHA, ANA, EXPIRY) == NotLocked()
        assert held.lock(ALPHA, NOW) == lock

    def test_tokens_grow_however_a_lock_ends(self, store: Patient) -> None:
        """Released, expired, reaped: the next one has a larger token."""
        tokens = [lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token]
        store.release(ALPHA, ANA, NOW)
        tokens.append(lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token)
        tokens.append(lock_of(store.acquire(ALPHA, ANA, EXPIRY, TTL)).token)
        assert store.reap(ALPHA, Millis(EXPIRY + TTL))
        tokens.append(lock_of(store.acquire(ALPHA, BEN, Millis(EXPIRY + TTL), TTL)).token)
        assert tokens == sorted(set(tokens))

    def test_a_lock_of_a_time_to_come_is_in_nobodys_way(self, store: Patient) -> None:
        """A clock was wrong, and has been put right since: the next lock is a new one, under a larger token."""
        ahead = after(HOUR + 1)
        before = lock_of(store.acquire(ALPHA, ANA, ahead, TTL))
        store.upload(ALPHA, Upload(LOG, ONE, ANA), ahead)
        store.upload(ALPHA, Upload(LOG, TWO, BEN), ahead)
        assert store.lock(ALPHA, NOW) is None
        lock = lock_of(store.acquire(ALPHA, BEN, NOW, TTL))
        assert (lock.client, lock.acquired_at, lock.expires_at) == (BEN, NOW, EXPIRY)
        assert lock.token > before.token
        assert content(store) == ONE + TWO

    def test_a_lock_of_up_to_an_hour_to_come_is_held(self, store: Patient) -> None:
        """The clock was put back by an hour, as it is in autumn where nobody minds UTC."""
        lock = lock_of(store.acquire(ALPHA, ANA, after(HOUR), TTL))
        assert store.lock(ALPHA, NOW) == lock
        assert store.acquire(ALPHA, BEN, NOW, TTL) == HeldBy(lock)

    def test_locks_of_different_projects_are_different(self, held: Patient) -> None:
        """Ana's lock on one project keeps nobody from another."""
        assert lock_of(held.acquire(ORG, BEN, NOW, TTL)).client == BEN
        assert isinstance(held.release(ORG, BEN, NOW), Released)
        assert held.lock(ALPHA, NOW) is not None

    # Reaping

    def test_reap_removes_an_expired_lock_and_says_which(self, held: Patient) -> None:
        """From the millisecond of its expiry on, once."""
        lock = held.lock(ALPHA, NOW)
        assert held.reap(ALPHA, LAST_MOMENT) is None
        assert held.lock(ALPHA, NOW) == lock
        assert held.reap(ALPHA, EXPIRY) == lock
        assert held.reap(ALPHA, EXPIRY) is None
        assert held.lock(ALPHA, NOW) is None

    def test_expired_names_the_projects_to_reap(self, held: Patient) -> None:
        """Those whose lock has expired, and no longer once it is gone."""
        held.acquire(ORG, BEN, NOW, Millis(TTL + 1))
        assert held.expired(LAST_MOMENT) == ()
        assert held.expired(EXPIRY) == (ALPHA,)
        assert set(held.expired(Millis(EXPIRY + 1))) == {ALPHA, ORG}
        held.reap(ALPHA, EXPIRY)
        held.release(ORG, BEN, EXPIRY)
        assert held.expired(Millis(EXPIRY + 1)) == ()

    # Files

    def test_an_upload_becomes_the_head(self, held: Patient) -> None:
        """It is listed and served, with the instant of its acceptance as its mtime."""
        head = head_of(held.upload(ALPHA, Upload(LOG, b"one\n", ANA), after(5)))
        assert head == head_with(b"one\n", 1, after(5))
        assert held.heads(ALPHA, after(6)) == (head,)
        assert held.read(ALPHA, LOG, after(6)) == Document(head, b"one\n")
        assert held.read(ALPHA, ENTITIES, after(6)) is None

    def test_files_as_large_as_in_daily_use_come_back_byte_for_byte(self, held: Patient) -> None:
        """All five, as the plugin really writes them, in the order in which they are always listed."""
        contents = {FileName(name): content for name, content in plugin_files.memory(1).items()}
        for file in reversed(contents):
            held.upload(ALPHA, Upload(file, contents[file], ANA), NOW)
        heads = held.heads(ALPHA, NOW)
        assert [(head.file, head.size) for head in heads] == [(f, len(c)) for f, c in contents.items()]
        for file, content in contents.items():
            document = held.read(ALPHA, file, NOW)
            assert document
            assert document.content == content

    @pytest.mark.parametrize("content", [b"", b"\0", b"\r\n\r", "é\u2028🧠".encode(), b"\xef\xbb\xbf{}"])
    def test_content_is_bytes(self, held: Patient, content: bytes) -> None:
        """Nothing is read into it: no line ends, no encoding, no emptiness."""
        assert head_of(held.upload(ALPHA, Upload(LOG, content, ANA), NOW)).size == len(content)
        document = held.read(ALPHA, LOG, NOW)
        assert document
        assert document.content == content

    def test_an_upload_without_the_lock_is_refused(self, store: Patient) -> None:
        """Not under no lock, not under an expired one, not under another's, not under one's own older one.

        What is refused here can be no head, so that one sees what becomes of it by itself.
        """
        first = lock_of(store.acquire(ALPHA, ANA, NOW, TTL))
        store.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), NOW)
        second = lock_of(store.acquire(ALPHA, BEN, EXPIRY, TTL))
        before, late = store.heads(ALPHA, EXPIRY), Millis(EXPIRY + TTL)
        assert store.upload(ALPHA, Upload(ENTITIES, b"{", EVE), EXPIRY) == Rescued(HeldBy(second), 2)
        assert store.upload(ALPHA, Upload(ENTITIES, b"{", ANA, first.token), EXPIRY) == StaleToken(second)
        assert store.upload(ALPHA, Upload(ENTITIES, b"{", BEN, first.token), EXPIRY) == StaleToken(second)
        assert store.upload(ALPHA, Upload(ENTITIES, b"{{", BEN), late) == Rescued(NotLocked(), 3)
        store.release(ALPHA, BEN, EXPIRY)
        assert store.upload(ALPHA, Upload(ENTITIES, b"{{{", BEN), EXPIRY) == Rescued(NotLocked(), 4)
        assert store.heads(ALPHA, EXPIRY) == before
        assert [(v.kind, content_of(store, ALPHA, v.number)) for v in store.versions(ALPHA)] == [
            (Kind.UPLOAD, b"{}"),
            (Kind.RESCUED, b"{"),
            (Kind.RESCUED, b"{{"),
            (Kind.RESCUED, b"{{{"),
        ]

    def test_a_refused_identical_upload_is_refused(self, held: Patient) -> None:
        """The lock is checked first; there is nothing to keep, and the version that it repeats is told."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        assert held.upload(ALPHA, Upload(LOG, b"one", BEN), NOW) == Rescued(HeldBy(lock), 1)
        assert len(held.versions(ALPHA)) == 1

    def test_an_upload_under_the_current_token_is_accepted(self, held: Patient) -> None:
        """Whether the client says its token or not."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert head_of(held.upload(ALPHA, Upload(LOG, b"one", ANA, lock.token), NOW)).version == 1

    def test_an_identical_upload_makes_no_version(self, held: Patient) -> None:
        """The head is what it was, its mtime included."""
        head = head_of(held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW))
        assert held.upload(ALPHA, Upload(LOG, b"one", ANA), after(9)) == Accepted(head)
        assert len(held.versions(ALPHA)) == 1

    def test_the_same_content_after_another_is_a_new_version(self, held: Patient) -> None:
        """Going back to what was there before is a change like any other."""
        for number, content in enumerate((b"one", b"two", b"one"), start=1):
            assert head_of(held.upload(ALPHA, Upload(LOG, content, ANA), NOW)).version == number

    def test_the_same_content_in_another_file_is_a_new_version(self, held: Patient) -> None:
        """Files have nothing to do with each other."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        assert head_of(held.upload(ALPHA, Upload(ENTITIES, b"one", ANA), NOW)).version == 2

    def test_a_new_mtime_is_later_than_the_last_one(self, held: Patient) -> None:
        """Within one millisecond, and with a clock that was put back; other files are not held up by it."""
        instants = (after(5), after(5), after(5), after(3), after(6), after(100))
        mtimes = [
            head_of(held.upload(ALPHA, Upload(LOG, b"%d" % number, ANA), now)).mtime
            for number, now in enumerate(instants)
        ]
        assert mtimes == [after(5), after(6), after(7), after(8), after(9), after(100)]
        assert head_of(held.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), after(3))).mtime == after(3)

    @shared_store
    @given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([b"a", b"b", b"cc"])), max_size=8))
    def test_mtimes_grow_with_every_change_and_only_then(
        self, store: Patient, uploads: list[tuple[int, bytes]]
    ) -> None:
        """However the clock moves, a client that compares mtimes sees each change, and nothing else."""
        project = ProjectId(f"project {next(_NUMBERS)}")
        store.acquire(project, ANA, NOW, TTL)
        last: Document | None = None
        for moved, content in uploads:
            head = head_of(store.upload(project, Upload(LOG, content, ANA), after(moved)))
            if last and last.content == content:
                assert head == last.head
            else:
                assert head.mtime >= after(moved)
                assert not last or head.mtime > last.head.mtime
            last = Document(head, content)
            assert store.read(project, LOG, after(moved)) == last

    # History

    def test_every_version_is_told_and_kept(self, held: Patient) -> None:
        """With its number, digest, size, times, client, kind and base; contents that are no longer heads included."""
        held.upload(ALPHA, Upload(LOG, b"a\nb\n", ANA), after(1))
        held.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), after(1))
        held.release(ALPHA, ANA, after(2))
        held.acquire(ALPHA, BEN, after(2), TTL)
        fetch(held, BEN)
        held.upload(ALPHA, Upload(LOG, b"b\n", BEN), after(1))
        held.upload(ALPHA, Upload(LOG, b"b\nc", BEN), after(4))
        told = [
            (v.number, v.file, v.size, v.time, v.mtime, v.client, v.kind, v.base)
            for v in held.versions(ALPHA)
        ]
        assert told == [
            (1, LOG, 4, after(1), after(1), ANA, Kind.UPLOAD, None),
            (2, ENTITIES, 2, after(1), after(1), ANA, Kind.UPLOAD, None),
            (3, LOG, 2, after(1), after(2), BEN, Kind.UPLOAD, 1),
            (4, LOG, 3, after(4), after(4), BEN, Kind.UPLOAD, 3),
        ]
        contents = [content_of(held, ALPHA, number) for number in (1, 2, 3, 4)]
        assert contents == [b"a\nb\n", b"{}", b"b\n", b"b\nc"]
        assert [v.sha256 for v in held.versions(ALPHA)] == [digest(c) for c in contents if c is not None]

    @pytest.mark.parametrize("number", [-1, 0, 2, 10**30])
    def test_a_version_that_is_not_there_has_no_content(self, held: Patient, number: int) -> None:
        """Whatever number is asked for."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        assert content_of(held, ALPHA, number) is None

    def test_a_base_is_the_version_that_the_client_itself_uploaded_last(self, held: Patient) -> None:
        """What another client uploaded in between is not known to it."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        held.release(ALPHA, BEN, NOW)
        held.acquire(ALPHA, ANA, NOW, TTL)
        held.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW)
        assert [v.base for v in held.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, None, 1]

    # Refused uploads

    def test_a_refused_upload_is_kept_beside_the_head(self, held: Patient) -> None:
        """The head, the lock and what the holder sees are as they were; its content is in history."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        before = held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.read(ALPHA, LOG, NOW)
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), after(5)) == Rescued(HeldBy(lock), 2)
        assert (held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.read(ALPHA, LOG, NOW)) == before
        kept = held.version(ALPHA, 2)
        assert kept
        assert kept.content == ONE + TWO
        assert (kept.version.client, kept.version.kind, kept.version.role) == (
            BEN,
            Kind.RESCUED,
            Role.WAITING,
        )
        assert (kept.version.time, kept.version.size) == (after(5), len(ONE + TWO))
        assert waiting(held) == 1

    def test_the_newest_refused_upload_of_each_client_and_file_waits(self, held: Patient) -> None:
        """What it takes the place of is in history, and is merged no more."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        earlier = rescued(held.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, BEN), NOW))
        later = rescued(held.upload(ALPHA, Upload(LOG, ONE + THREE + note(5), EVE), NOW))
        later = rescued(held.upload(ALPHA, Upload(LOG, THREE + FOUR, BEN), NOW))
        held.upload(ALPHA, Upload(SUMMARY_MD, b"# Ben\n", BEN), NOW)
        assert waiting(held) == 3
        assert [v.parents for v in held.versions(ALPHA) if v.number == later] == [(earlier,)]
        held.release(ALPHA, ANA, after(1))
        assert waiting(held) == 0
        assert content(held) == ONE + THREE + FOUR + note(5)
        assert content(held, SUMMARY_MD) == b"# Ben\n"
        assert content_of(held, ALPHA, earlier) == ONE + TWO + THREE

    @pytest.mark.parametrize(
        ("file", "base", "one", "other", "wanted"),
        [
            (LOG, ONE, ONE + TWO, ONE + THREE, ONE + TWO + THREE),
            (LOG, ONE, ONE + TWO, FOUR, ONE + TWO + FOUR),
            (LOG, None, TWO, FOUR, TWO + FOUR),
            (REMEMBERED, facts(1), facts(2), facts(3), None),
            (REMEMBERED, None, facts(1, 2), facts(3), None),
        ],
    )
    def test_refused_uploads_of_which_neither_continues_the_other_are_both_merged(
        self,
        held: Patient,
        file: FileName,
        base: bytes | None,
        one: bytes,
        other: bytes,
        wanted: bytes | None,
    ) -> None:
        """Two folders have one id, or a machine and its clone."""
        if base:
            held.upload(ALPHA, Upload(file, base, ANA), NOW)
        numbers = [rescued(held.upload(ALPHA, Upload(file, each, BEN), NOW)) for each in (one, other)]
        assert waiting(held) == 2
        assert [v.parents for v in held.versions(ALPHA) if v.number in numbers] == [(), ()]
        for each, number in ((one, numbers[0]), (other, numbers[1])):
            assert rescued(held.upload(ALPHA, Upload(file, each, BEN), NOW)) == number
        held.release(ALPHA, ANA, after(1))
        assert waiting(held) == 0
        assert content(held, file) == wanted if wanted else remembered(held) == [1, 2, 3]

    def test_what_is_there_already_makes_no_version(self, held: Patient) -> None:
        """Identical to the head, to what waits of the same client, or to the client's base."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        assert rescued(held.upload(ALPHA, Upload(LOG, ONE, BEN), NOW)) == 1
        held.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        assert rescued(held.upload(ALPHA, Upload(LOG, ONE, BEN), NOW)) == 1
        assert waiting(held) == 0
        for _ in range(2):
            assert rescued(held.upload(ALPHA, Upload(LOG, ONE + THREE, BEN), NOW)) == 3
        assert [version.number for version in held.versions(ALPHA)] == [1, 2, 3]

    def test_the_same_content_of_two_clients_waits_twice(self, held: Patient) -> None:
        """Each is known to have it, and the second adds nothing but a later mtime, by which it downloads the merge."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        numbers = [rescued(held.upload(ALPHA, Upload(LOG, TWO, client), NOW)) for client in (BEN, EVE)]
        assert numbers == [2, 3]
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO
        assert [version.parents for version in held.versions(ALPHA)][3:] == [(1, 2), (4, 3)]
        assert waiting(held) == 0

    def test_a_client_that_sends_the_head_waits_no_more(self, held: Patient) -> None:
        """What it had sent before is out of date: it is in history, and not merged."""
        held.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), NOW)
        held.upload(ALPHA, Upload(REMEMBERED, facts(1, 2), BEN), NOW)
        held.upload(ALPHA, Upload(REMEMBERED, facts(1), BEN), NOW)
        assert waiting(held) == 0
        held.release(ALPHA, ANA, NOW)
        assert remembered(held) == [1]
        assert content_of(held, ALPHA, 2) == facts(1, 2)

    def test_a_log_that_waits_is_not_given_up_for_a_head_without_its_last_lines(self, held: Patient) -> None:
        """Another folder of the client has sent the head: no log loses its last lines."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        held.upload(ALPHA, Upload(LOG, ONE, BEN), NOW)
        assert waiting(held) == 1
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO

    def test_64_uploads_wait_and_one_more_pushes_out_the_oldest(self, held: Patient) -> None:
        """Which is in history, like all others, and not merged."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        clients = [ClientId(f"client-{number}") for number in range(65)]
        numbers = [
            rescued(held.upload(ALPHA, Upload(LOG, ONE + note(10 + n), client), NOW))
            for n, client in enumerate(clients)
        ]
        assert waiting(held) == 64
        for n, number in enumerate(numbers):
            assert content_of(held, ALPHA, number) == ONE + note(10 + n)
        held.release(ALPHA, ANA, NOW)
        assert waiting(held) == 0
        assert content(held) == ONE + b"".join(note(10 + n) for n in range(1, 65))

    def test_an_upload_of_the_holder_pushes_nobody_out(self, held: Patient) -> None:
        """It is merged at once, and does not wait."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        for n in range(64):
            held.upload(ALPHA, Upload(LOG, ONE + note(10 + n), ClientId(f"client-{n}")), NOW)
        held.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        assert waiting(held) == 64
        held.release(ALPHA, BEN, NOW)
        assert content(held) == ONE + TWO + b"".join(note(10 + n) for n in range(64))

    def test_a_client_that_waits_already_pushes_nobody_out(self, held: Patient) -> None:
        """64 others wait on when it sends something newer."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        for n in range(64):
            held.upload(ALPHA, Upload(LOG, ONE + note(10 + n), ClientId(f"client-{n}")), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + note(73) + note(99), ClientId("client-63")), NOW)
        assert waiting(held) == 64
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + b"".join(note(10 + n) for n in range(64)) + note(99)

    def test_in_a_free_project_a_refused_upload_is_merged_at_once(self, held: Patient) -> None:
        """It is refused all the same; the new head tells what it was made of, and is later than the old one."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), after(9))
        held.release(ALPHA, ANA, after(9))
        number = rescued(held.upload(ALPHA, Upload(LOG, TWO, BEN), after(5)))
        document = held.read(ALPHA, LOG, after(5))
        assert document
        assert (document.content, document.head.mtime) == (ONE + TWO, after(10))
        merged = held.versions(ALPHA)[-1]
        assert (merged.number, merged.kind, merged.role) == (
            document.head.version,
            Kind.MERGED,
            Role.HEAD,
        )
        assert (merged.client, merged.parents) == (BEN, (1, number))
        assert waiting(held) == 0

    def test_in_a_project_without_the_file_a_refused_upload_becomes_it(self, store: Patient) -> None:
        """Byte for byte, and the project is made for it."""
        odd = TWO + b"\n" + ONE
        assert store.upload(ALPHA, Upload(LOG, odd, BEN), NOW) == Rescued(NotLocked(), 1)
        assert content(store) == odd
        assert [(v.kind, v.parents) for v in store.versions(ALPHA)] == [
            (Kind.RESCUED, ()),
            (Kind.MERGED, (1,)),
        ]
        assert list(store.projects()) == [ALPHA]

    @pytest.mark.parametrize(
        "step",
        "lock acquire extend release reap heads stock_heads read download confirm upload restore "
        "history overview".split(),
    )
    def test_whatever_finds_an_expired_lock_merges_what_waits(self, held: Patient, step: str) -> None:
        """Before it does what it is there for."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        steps: dict[str, Callable[[Millis], object]] = {
            "lock": lambda now: held.lock(ALPHA, now),
            "acquire": lambda now: held.acquire(ALPHA, EVE, now, TTL),
            "extend": lambda now: held.extend(ALPHA, EVE, now, TTL),
            "release": lambda now: held.release(ALPHA, EVE, now),
            "reap": lambda now: held.reap(ALPHA, now),
            "heads": lambda now: held.heads(ALPHA, now),
            "stock_heads": lambda now: held.stock_heads(ALPHA, now),
            "read": lambda now: held.read(ALPHA, ENTITIES, now),
            "download": lambda now: held.download(ALPHA, ENTITIES, Unnamed.STOCK, now),
            "confirm": lambda now: held.confirm(ALPHA, Receipt(EVE, LOG, 1), now),
            "upload": lambda now: held.upload(ALPHA, Upload(ENTITIES, b"junk", EVE), now),
            "history": lambda now: held.history(ALPHA, ENTITIES, now),
            "restore": lambda now: held.restore(ALPHA, Restore(LOG, 1, EVE), now),
            "overview": lambda now: held.overview(ALPHA, now),
        }
        if step not in ("acquire", "reap", "extend", "release", "restore"):
            steps[step](LAST_MOMENT)
            assert not [version for version in held.versions(ALPHA) if version.kind is Kind.MERGED]
        steps[step](EXPIRY)
        [merged] = [version for version in held.versions(ALPHA) if version.kind is Kind.MERGED]
        assert (merged.time, merged.parents) == (EXPIRY, (1, 2))
        assert content_of(held, ALPHA, merged.number) == ONE + TWO

    def test_a_list_that_finds_an_expired_lock_shows_what_was_merged(self, held: Patient) -> None:
        """What waits is merged first."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        assert [(head.version, head.mtime) for head in held.heads(ALPHA, EXPIRY)] == [(3, EXPIRY)]

    def test_whoever_acquires_finds_all_that_waited(self, held: Patient) -> None:
        """However the lock before ended, and although nobody has asked for anything in between."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        lock = lock_of(held.acquire(ALPHA, EVE, EXPIRY, TTL))
        assert held.version(ALPHA, 3)
        assert content(held, now=EXPIRY) == ONE + TWO
        held.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), EXPIRY)
        held.release(ALPHA, EVE, EXPIRY)
        assert lock_of(held.acquire(ALPHA, EVE, EXPIRY, TTL)).token > lock.token
        assert content(held, now=EXPIRY) == ONE + TWO + THREE

    def test_a_refused_upload_removes_what_its_client_removed(self, held: Patient) -> None:
        """It is merged on the version that the client had, and so is the next, on what the first one was."""
        held.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        held.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, BEN), NOW)
        number = rescued(held.upload(ALPHA, Upload(LOG, TWO + FOUR, ANA), NOW))
        held.release(ALPHA, BEN, NOW)
        assert content(held) == TWO + THREE + FOUR
        assert [v.base for v in held.versions(ALPHA) if v.number == number] == [1]
        later = rescued(held.upload(ALPHA, Upload(LOG, FOUR, ANA), NOW))
        assert content(held) == THREE + FOUR
        assert [v.base for v in held.versions(ALPHA) if v.number == later] == [number]

    def test_of_what_waits_the_newest_has_the_base_of_the_first(self, held: Patient) -> None:
        """What was never merged is no base: what both of them say is said once, and nothing is taken for removed."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        held.upload(ALPHA, Upload(LOG, ONE + THREE, BEN), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO + FOUR, ANA), NOW)
        assert [v.base for v in held.versions(ALPHA)][-2:] == [1, 1]
        held.release(ALPHA, BEN, NOW)
        assert content(held) == ONE + TWO + THREE + FOUR

    def test_what_adds_nothing_makes_a_new_head_of_the_same_content(self, held: Patient) -> None:
        """By its later mtime its client downloads what it lacks."""
        held.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        number = rescued(held.upload(ALPHA, Upload(LOG, ONE, BEN), NOW))
        held.release(ALPHA, ANA, NOW)
        assert held.heads(ALPHA, NOW) == (head_with(ONE + TWO, 3, after(1)),)
        assert content(held) == ONE + TWO
        assert held.versions(ALPHA)[-1].parents == (1, number)
        assert waiting(held) == 0

    @pytest.mark.parametrize(("file", "junk"), JUNK)
    @pytest.mark.parametrize("over_a_head", [False, True])
    def test_what_cannot_be_merged_stays_in_history(
        self, held: Patient, file: FileName, junk: bytes, over_a_head: bool
    ) -> None:
        """It becomes no head, and the log says so, once."""
        if over_a_head:
            held.upload(ALPHA, Upload(file, GOOD[file], ANA), NOW)
        before = held.heads(ALPHA, NOW)
        number = rescued(held.upload(ALPHA, Upload(file, junk, BEN), NOW))
        with capturedLogs() as events:
            held.release(ALPHA, ANA, NOW)
            assert held.heads(ALPHA, NOW) == before
        assert ["was not merged" in str(formatEvent(event)) for event in events] == [True]
        assert (content_of(held, ALPHA, number), waiting(held)) == (junk, 0)
        assert held.versions(ALPHA)[-1].kind is Kind.RESCUED

    @pytest.mark.parametrize(("file", "junk"), JUNK)
    def test_what_cannot_be_merged_is_no_head_even_if_the_head_is_its_base(
        self, held: Patient, file: FileName, junk: bytes
    ) -> None:
        """A session outlived its lock, and pushes a broken file over the one it had."""
        held.upload(ALPHA, Upload(file, GOOD[file], ANA), NOW)
        before = held.heads(ALPHA, NOW)
        number = rescued(held.upload(ALPHA, Upload(file, junk, ANA), EXPIRY))
        assert held.heads(ALPHA, EXPIRY) == before
        assert (content_of(held, ALPHA, number), waiting(held, EXPIRY)) == (junk, 0)

    @pytest.fixture(params=["as it was", "another"])
    def overtaken(self, held: Patient, request: pytest.FixtureRequest) -> Patient:
        """Ben's line two waits, and since then he has fetched the head: what he had before, or one by Ana."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        fetch(held, BEN)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        if request.param == "another":
            held.upload(ALPHA, Upload(LOG, ONE + FOUR, ANA), NOW)
        fetch(held, BEN)
        return held

    @pytest.mark.parametrize("pruned", [False, True])
    def test_what_waits_of_a_client_that_was_sent_something_since_is_merged_as_well(
        self, overtaken: Patient, pruned: bool
    ) -> None:
        """Its next upload is made from what it was sent, and does not hold what waits; whatever is pruned between."""
        before = content(overtaken) or b""
        for document in (b"{}", b'{"files": {}}'):
            overtaken.upload(ALPHA, Upload(ENTITIES, document, ANA), NOW)
        if pruned:
            assert overtaken.prune(ALPHA, KEEP_NONE, NOW, 99).versions
        rescued(overtaken.upload(ALPHA, Upload(LOG, before + THREE, BEN), NOW))
        assert waiting(overtaken) == 2
        overtaken.release(ALPHA, ANA, NOW)
        assert waiting(overtaken) == 0
        merged = content(overtaken) or b""
        assert sorted(merged.splitlines()) == sorted((before + TWO + THREE).splitlines())

    def test_what_waits_of_a_client_that_was_sent_something_since_is_not_given_up_for_the_head(
        self, overtaken: Patient
    ) -> None:
        """To upload what it was sent says nothing about what it had uploaded before."""
        before = content(overtaken) or b""
        for _ in range(2):
            overtaken.upload(ALPHA, Upload(LOG, before, BEN), NOW)
        assert waiting(overtaken) == 1
        overtaken.release(ALPHA, ANA, NOW)
        merged = content(overtaken) or b""
        assert sorted(merged.splitlines()) == sorted((before + TWO).splitlines())

    def test_of_what_waits_of_a_client_the_newest_takes_the_place_of_its_like_alone(
        self, overtaken: Patient
    ) -> None:
        """What was sent after the download is sent anew; what was sent before it stays."""
        before = content(overtaken) or b""
        numbers = [
            rescued(overtaken.upload(ALPHA, Upload(LOG, lines, BEN), NOW))
            for lines in (before + THREE, before + THREE + note(9), THREE + note(9))
        ]
        assert waiting(overtaken) == 2
        parents = {version.number: version.parents for version in overtaken.versions(ALPHA)}
        assert [parents[number] for number in numbers[1:]] == [(numbers[0],), (numbers[1],)]
        overtaken.release(ALPHA, ANA, NOW)
        assert content(overtaken) == TWO + THREE + note(9)

    def test_what_waits_is_said_once_though_it_was_perhaps_never_overtaken(self, held: Patient) -> None:
        """Ben asked for the head and never received it: what he uploads next holds what waits, too."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        fetch(held, BEN)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        held.download(ALPHA, LOG, BEN, NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, BEN), NOW)
        assert waiting(held) == 2
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_all_that_waits_of_a_client_that_was_sent_something_since_is_merged_as_well(
        self, held: Patient
    ) -> None:
        """Two uploads that do not continue each other; the next holds neither of them."""
        held.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), NOW)
        held.upload(ALPHA, Upload(REMEMBERED, facts(1, 2), BEN), NOW)
        held.upload(ALPHA, Upload(REMEMBERED, facts(3), BEN), NOW)
        assert waiting(held) == 2
        held.download(ALPHA, REMEMBERED, BEN, NOW)
        held.upload(ALPHA, Upload(REMEMBERED, facts(1, 4), BEN), NOW)
        assert waiting(held) == 3
        held.release(ALPHA, ANA, NOW)
        assert remembered(held) == [1, 2, 3, 4]

    @pytest.mark.parametrize("based", [True, False])
    @pytest.mark.parametrize(
        ("order", "winner"),
        [((ANA, BEN, EVE), EVE), ((BEN, ANA, EVE), EVE), ((BEN, EVE, ANA), ANA), ((ANA, EVE, BEN), BEN)],
        ids=lambda value: value.value[:3] if isinstance(value, ClientId) else None,
    )
    def test_of_uploads_in_conflict_the_one_that_came_last_wins(
        self, held: Patient, order: tuple[ClientId, ...], winner: ClientId, based: bool
    ) -> None:
        """Whichever is merged first; the holder's own counts by when it was uploaded, too."""
        if based:
            held.upload(ALPHA, Upload(SUMMARY_MD, b"# Memory\n\nbase\n", ANA), after(-1))
            for client in (BEN, EVE):
                served = held.download(ALPHA, SUMMARY_MD, client, after(-1))
                assert isinstance(served, Served)
                held.confirm(ALPHA, Receipt(client, SUMMARY_MD, served.document.head.version), after(-1))
        written = {client: f"# Memory\n\n{client}\n".encode() for client in order}
        for number, client in enumerate(order, start=1):
            held.upload(ALPHA, Upload(SUMMARY_MD, written[client], client), after(10 * number))
        assert waiting(held, after(40)) == 2
        held.release(ALPHA, ANA, after(40))
        assert content(held, SUMMARY_MD, after(40)) == written[winner]
        assert waiting(held, after(40)) == 0

    def test_an_upload_under_an_older_token_is_not_kept(self, held: Patient) -> None:
        """Its client knows of tokens, is told, and can do better than to have it merged."""
        first = held.lock(ALPHA, NOW)
        assert first
        held.release(ALPHA, ANA, NOW)
        lock = lock_of(held.acquire(ALPHA, ANA, NOW, TTL))
        for client in (ANA, BEN):
            assert held.upload(ALPHA, Upload(LOG, ONE, client, first.token), NOW) == StaleToken(lock)
        assert held.versions(ALPHA) == ()

    def test_without_merging_a_refused_upload_is_kept_and_that_is_all(self, held: Patient) -> None:
        """Nothing waits, whatever becomes of the lock, and nothing is merged later."""
        held.merging = Merging(enabled=False)
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        number = rescued(held.upload(ALPHA, Upload(LOG, TWO, BEN), NOW))
        assert waiting(held) == 0
        held.release(ALPHA, ANA, NOW)
        free = rescued(held.upload(ALPHA, Upload(LOG, THREE, BEN), NOW))
        held.merging = Merging()
        assert [head.version for head in held.heads(ALPHA, NOW)] == [1]
        assert [content_of(held, ALPHA, one) for one in (number, free)] == [TWO, THREE]
        assert [v.role for v in held.versions(ALPHA)] == [Role.HEAD, Role.BESIDE, Role.BESIDE]

    def test_what_waited_when_merging_was_turned_off_is_merged_when_it_is_on_again(
        self, held: Patient
    ) -> None:
        """It is not forgotten."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, TWO, BEN), NOW)
        held.merging = Merging(enabled=False)
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE
        held.merging = Merging()
        assert content(held) == ONE + TWO

    def test_what_waited_when_merging_was_turned_off_is_merged_although_more_was_refused_since(
        self, held: Patient
    ) -> None:
        """What was kept and no more in the meantime takes the place of nothing."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        held.merging = Merging(enabled=False)
        number = rescued(held.upload(ALPHA, Upload(LOG, ONE + THREE, BEN), NOW))
        assert waiting(held) == 1
        held.merging = Merging()
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO
        assert (waiting(held), content_of(held, ALPHA, number)) == (0, ONE + THREE)

    # Stale uploads

    @pytest.fixture
    def moved(self, held: Patient) -> Patient:
        """Ana and Ben both had the line one; Ben has added two since, as version 2; Ana holds the lock."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), after(-1))
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        fetch(held, BEN)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        held.release(ALPHA, BEN, NOW)
        held.acquire(ALPHA, ANA, NOW, TTL)
        return held

    def test_a_stale_upload_is_merged(self, moved: Patient) -> None:
        """It is kept beside the head, and the new head has both as its parents."""
        outcome = moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), after(5))
        assert outcome == Accepted(head_with(ONE + TWO + THREE, 4, after(5)), merged=True)
        assert content(moved) == ONE + TWO + THREE
        upload, merged = moved.versions(ALPHA)[2:]
        assert (upload.kind, upload.client, upload.base, upload.size) == (
            Kind.UPLOAD,
            ANA,
            1,
            len(ONE + THREE),
        )
        assert upload.role is not Role.HEAD
        assert (merged.kind, merged.client, merged.parents) == (Kind.MERGED, ANA, (2, 3))
        assert content_of(moved, ALPHA, 3) == ONE + THREE
        assert waiting(moved) == 0

    def test_a_client_has_what_it_uploaded_and_not_what_that_was_merged_into(self, moved: Patient) -> None:
        """What it has not seen yet it cannot have removed."""
        moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW)
        moved.upload(ALPHA, Upload(LOG, THREE + FOUR, ANA), NOW)
        assert content(moved) == TWO + THREE + FOUR
        assert [v.base for v in moved.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1, 3]

    def test_a_client_that_fetched_the_merge_can_remove_from_it(self, moved: Patient) -> None:
        """Its base is the head then, and what it uploads becomes the head as it stands."""
        moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW)
        fetch(moved, ANA)
        odd = THREE + TWO
        outcome = moved.upload(ALPHA, Upload(LOG, odd, ANA), after(2))
        assert outcome == Accepted(head_with(odd, 5, after(2)))
        assert content(moved) == odd

    def test_an_upload_of_what_the_client_had_changes_nothing(self, moved: Patient) -> None:
        """It has not changed since; it is told of the head, which is not that any more."""
        [head] = moved.heads(ALPHA, NOW)
        assert moved.upload(ALPHA, Upload(LOG, ONE, ANA), after(5)) == Accepted(head, merged=True)
        assert len(moved.versions(ALPHA)) == 2

    def test_an_upload_of_an_unknown_client_removes_nothing(self, moved: Patient) -> None:
        """Nobody knows what it had."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        outcome = moved.upload(ALPHA, Upload(LOG, TWO + FOUR, EVE), NOW)
        assert isinstance(outcome, Accepted)
        assert outcome.merged
        assert content(moved) == ONE + TWO + FOUR
        assert (moved.versions(ALPHA)[2].base, moved.versions(ALPHA)[2].is_unrelated) == (None, False)

    def test_an_upload_that_has_all_that_the_head_has_becomes_the_head(self, moved: Patient) -> None:
        """Byte for byte, for there is nothing to add to it."""
        content_now = ONE + TWO + THREE
        outcome = moved.upload(ALPHA, Upload(LOG, content_now, ANA), after(5))
        assert outcome == Accepted(head_with(content_now, 3, after(5)))
        assert moved.versions(ALPHA)[-1].kind is Kind.UPLOAD

    def test_a_stale_upload_that_adds_nothing_is_merged_all_the_same(self, moved: Patient) -> None:
        """By the later mtime of the new head its client downloads what it lacks; what it uploaded is its base."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        outcome = moved.upload(ALPHA, Upload(LOG, TWO, EVE), after(5))
        assert outcome == Accepted(head_with(ONE + TWO, 4, after(5)), merged=True)
        assert content(moved) == ONE + TWO
        moved.upload(ALPHA, Upload(LOG, b"", EVE), NOW)
        assert content(moved) == ONE

    @pytest.mark.parametrize(("file", "junk"), JUNK)
    def test_a_stale_upload_that_cannot_be_merged_replaces_the_head(
        self, held: Patient, file: FileName, junk: bytes
    ) -> None:
        """What it replaced is in history, and the log says so."""
        held.upload(ALPHA, Upload(file, GOOD[file], ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        with capturedLogs() as events:
            outcome = held.upload(ALPHA, Upload(file, junk, BEN), after(5))
        assert outcome == Accepted(head_with(junk, 2, after(5), file))
        assert ["was not merged" in str(formatEvent(event)) for event in events] == [True]
        assert (content(held, file), content_of(held, ALPHA, 1)) == (junk, GOOD[file])

    def test_without_merging_an_upload_replaces_the_head(self, moved: Patient) -> None:
        """Whoever had what; what it replaced is in history."""
        moved.merging = Merging(enabled=False)
        outcome = moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), after(1))
        assert outcome == Accepted(head_with(ONE + THREE, 3, after(1)))
        moved.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        contents = [content_of(moved, ALPHA, v.number) for v in moved.versions(ALPHA)]
        assert contents == [ONE, ONE + TWO, ONE + THREE, ONE]
        assert {v.role for v in moved.versions(ALPHA)} == {Role.HEAD}

    def test_files_have_bases_of_their_own(self, moved: Patient) -> None:
        """What a client had of one says nothing about another."""
        moved.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), NOW)
        assert moved.versions(ALPHA)[-1].base is None

    # Bases

    @pytest.fixture
    def taught(self, held: Patient) -> Patient:
        """A fact of Ana's, a second by Ben as version 2; Ana holds the lock."""
        held.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), after(-1))
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        held.confirm(ALPHA, pull(held, REMEMBERED), NOW)
        held.upload(ALPHA, Upload(REMEMBERED, facts(1, 2), BEN), NOW)
        held.release(ALPHA, BEN, NOW)
        held.acquire(ALPHA, ANA, NOW, TTL)
        return held

    def test_what_a_client_fetched_is_its_base(self, moved: Patient) -> None:
        """What it left out of it, it removed."""
        fetch(moved, ANA)
        outcome = moved.upload(ALPHA, Upload(LOG, TWO + THREE, ANA), NOW)
        assert head_of(outcome).version == 3
        assert content(moved) == TWO + THREE
        assert moved.versions(ALPHA)[-1].base == 2

    def test_a_base_that_was_fetched_stays_while_the_head_moves_on(self, moved: Patient) -> None:
        """The upload is merged on it."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, BEN, NOW, TTL)
        fetch(moved, EVE)
        moved.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, BEN), NOW)
        moved.release(ALPHA, BEN, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        moved.upload(ALPHA, Upload(LOG, TWO + FOUR, EVE), NOW)
        assert content(moved) == TWO + THREE + FOUR

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    def test_whatever_was_received_puts_out_all_that_is_older(self, taught: Patient, reader: Reader) -> None:
        """Facts that were just fetched can be forgotten, though that leaves the older version."""
        served = taught.download(ALPHA, REMEMBERED, reader, NOW)
        assert isinstance(served, Served)
        assert served.receipt == Receipt(ANA, REMEMBERED, 2)
        taught.confirm(ALPHA, served.receipt, NOW)
        outcome = taught.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), after(5))
        assert outcome == Accepted(head_with(facts(1), 3, after(5), REMEMBERED))
        assert taught.versions(ALPHA)[-1].base == 2

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    @pytest.mark.parametrize("doubted", [False, True])
    def test_a_version_that_was_only_sent_is_no_base_without_a_sign(
        self, taught: Patient, reader: Reader, doubted: bool
    ) -> None:
        """Answers that were cut off say nothing, nor do those that are in doubt again."""
        served = taught.download(ALPHA, REMEMBERED, reader, NOW)
        assert isinstance(served, Served)
        assert served.receipt
        if doubted:
            taught.confirm(ALPHA, served.receipt, NOW)
            taught.doubt(ALPHA, served.receipt, NOW)
        [head] = taught.heads(ALPHA, NOW)
        assert taught.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), NOW) == Accepted(head, merged=True)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1, 3), ANA), NOW)
        assert remembered(taught) == [1, 2, 3]
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1]

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    def test_a_version_that_was_only_sent_is_the_base_with_a_sign(
        self, taught: Patient, reader: Reader
    ) -> None:
        """The upload holds what nothing older had, and so it was received after all."""
        taught.download(ALPHA, REMEMBERED, reader, NOW)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(2, 3), ANA), NOW)
        assert remembered(taught) == [2, 3]
        assert taught.versions(ALPHA)[-1].base == 2

    def test_a_version_may_be_received_long_after_a_newer_one_was_sent(self, taught: Patient) -> None:
        """Newer versions may be the base still."""
        first = pull(taught, REMEMBERED)
        taught.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), NOW)
        taught.release(ALPHA, ANA, NOW)
        taught.acquire(ALPHA, BEN, NOW, TTL)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1, 2, 3), BEN), NOW)
        taught.release(ALPHA, BEN, NOW)
        taught.acquire(ALPHA, ANA, NOW, TTL)
        pull(taught, REMEMBERED)
        taught.confirm(ALPHA, first, NOW)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), NOW)
        assert remembered(taught) == [1, 3]
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD][-1] == 2

    def test_a_download_is_news_until_it_was_received(self, moved: Patient) -> None:
        """The pull of the holder may ask again, and so may a named client."""
        for reader, client in ((Unnamed.STOCK, ANA), (EVE, EVE)):
            receipt = Receipt(client, LOG, 2)

            def receipt_of(reader: Reader = reader) -> Receipt | None:
                served = moved.download(ALPHA, LOG, reader, NOW)
                assert isinstance(served, Served)
                return served.receipt

            assert [receipt_of(), receipt_of()] == [receipt, receipt]
            moved.confirm(ALPHA, receipt, NOW)
            assert receipt_of() is None
            moved.doubt(ALPHA, receipt, NOW)
            assert receipt_of() == receipt

    def test_a_look_is_nobodys_base(self, taught: Patient) -> None:
        """Somebody uses curl while Ana holds the lock, which is no sign of hers."""
        served = taught.download(ALPHA, REMEMBERED, Unnamed.OTHER, NOW)
        assert isinstance(served, Served)
        assert served.receipt is None
        taught.confirm(ALPHA, Receipt(ANA, REMEMBERED, 2), NOW)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(2, 3), ANA), NOW)
        assert remembered(taught) == [1, 2, 3]

    def test_a_pull_that_was_cut_off_removes_nothing_from_under_an_old_copy(self, moved: Patient) -> None:
        """A new machine was given the memory of another: that it has old lines is no sign of the new ones."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        pull(moved)
        moved.upload(ALPHA, Upload(LOG, ONE + THREE, EVE), NOW)
        assert content(moved) == ONE + TWO + THREE
        assert [v.base for v in moved.versions(ALPHA)[2:] if v.kind is Kind.UPLOAD] == [None]

    def test_an_unknown_client_that_has_the_newest_of_a_download_had_it(self, moved: Patient) -> None:
        """What it left out of it, it removed; and what it received to the end it had in any case."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        pull(moved)
        moved.upload(ALPHA, Upload(LOG, TWO + THREE, EVE), NOW)
        assert content(moved) == TWO + THREE

    @pytest.mark.parametrize(
        ("file", "before", "stranger"),
        [
            (LOG, ONE + TWO, THREE + FOUR),
            (LOG, ONE + b"\n", b"\n" + FOUR),
            (REMEMBERED, facts(1, 2), facts(3)),
            (ENTITIES, b'{"files":{"a":{"mentions":1}}}', b'{"files":{"b":{"mentions":1}}}'),
            (FileName.SUMMARY_JSON, b'{"recentWork":[{"date":"1"}]}', b'{"recentWork":[{"date":"2"}]}'),
        ],
    )
    @pytest.mark.parametrize("how", ["base is the head", "base is older", "refused"])
    def test_an_upload_that_shares_nothing_with_its_base_removes_nothing(
        self, held: Patient, file: FileName, before: bytes, stranger: bytes, how: str
    ) -> None:
        """An id is used in two places: the version says so, and the log."""
        held.upload(ALPHA, Upload(file, before, ANA), NOW)
        if how == "base is older":
            held.release(ALPHA, ANA, NOW)
            held.acquire(ALPHA, BEN, NOW, TTL)
            held.confirm(ALPHA, pull(held, file), NOW)
            held.upload(ALPHA, Upload(file, before + b"\n", BEN), NOW)
            held.release(ALPHA, BEN, NOW)
            held.acquire(ALPHA, ANA, NOW, TTL)
        elif how == "refused":
            held.release(ALPHA, ANA, NOW)
            held.acquire(ALPHA, BEN, NOW, TTL)
        count, head = len(held.versions(ALPHA)), content(held, file) or b""
        with capturedLogs() as events:
            held.upload(ALPHA, Upload(file, stranger, ANA), NOW)
            held.upload(ALPHA, Upload(file, stranger, ANA), NOW)
        told = [formatEvent(event) or "" for event in events]
        assert len([one for one in told if "has nothing in common with what that client had" in one]) == 1
        held.release(ALPHA, BEN if how == "refused" else ANA, NOW)
        upload, merged = held.versions(ALPHA)[count:]
        assert (upload.client, upload.base, upload.is_unrelated) == (ANA, None, True)
        assert (merged.kind, merged.is_unrelated) == (Kind.MERGED, False)
        bound = Merging().max_bytes
        assert (
            content(held, file)
            == merge(file, None, head, stranger, upload_is_later=True, max_bytes=bound)
            not in (head, stranger)
        )

    def test_ids_that_seem_to_be_used_in_two_places_are_told(self, held: Patient) -> None:
        """Each comes with the client, and the file and time of its last such upload."""
        assert held.in_two_places() == ()
        for file, number in ((REMEMBERED, 5), (LOG, 6)):
            held.upload(ALPHA, Upload(file, facts(1) + b"\n", ANA), after(number))
            held.upload(ALPHA, Upload(file, facts(2) + b"\n", ANA), after(number))
        assert held.in_two_places() == (TwoPlaces(ALPHA, ANA, LOG, after(6)),)
        held.acquire(ORG, BEN, NOW, TTL)
        for each in (ONE, TWO):
            held.upload(ORG, Upload(LOG, each, BEN), NOW)
        told = {TwoPlaces(ALPHA, ANA, LOG, after(6)), TwoPlaces(ORG, BEN, LOG, NOW)}
        assert set(held.in_two_places()) == told

    @pytest.mark.parametrize(("before", "upload"), [(b"", ONE), (ONE, b""), (b"\n", ONE), (b"", b"")])
    def test_an_empty_file_is_no_stranger(self, held: Patient, before: bytes, upload: bytes) -> None:
        """Somebody emptied the file, or filled an empty one."""
        held.upload(ALPHA, Upload(LOG, before, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, upload, ANA), NOW)
        assert content(held) == upload
        assert not [version for version in held.versions(ALPHA) if version.is_unrelated]

    def test_a_client_without_a_base_is_no_stranger(self, moved: Patient) -> None:
        """Nothing of the head was ever sent to it."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        with capturedLogs() as events:
            moved.upload(ALPHA, Upload(LOG, FOUR, EVE), NOW)
        assert not [event for event in events if "nothing in common" in str(formatEvent(event))]
        assert [version.is_unrelated for version in moved.versions(ALPHA)] == [False] * 4
        assert content(moved) == ONE + TWO + FOUR

    @pytest.mark.parametrize("refused", [False, True])
    def test_a_line_of_a_log_behind_one_that_was_kept_stays(self, moved: Patient, refused: bool) -> None:
        """Lines at the front alone are removed, even where the base is the head."""
        fetch(moved, ANA)
        if refused:
            moved.release(ALPHA, ANA, NOW)
            moved.acquire(ALPHA, BEN, NOW, TTL)
        moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW)
        moved.release(ALPHA, BEN if refused else ANA, NOW)
        assert content(moved) == ONE + TWO + THREE
        fetch(moved, EVE)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        moved.upload(ALPHA, Upload(LOG, TWO + FOUR, EVE), NOW)
        assert content(moved) == TWO + THREE + FOUR

    def test_a_cloned_machine_takes_no_lines_from_the_other(self, moved: Patient) -> None:
        """Both have one id and one log, but not each other's lines."""
        fetch(moved, ANA)
        moved.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, ANA), NOW)
        outcome = moved.upload(ALPHA, Upload(LOG, TWO + FOUR, ANA), after(5))
        assert outcome == Accepted(head_with(TWO + THREE + FOUR, 5, after(5)), merged=True)
        assert content(moved) == TWO + THREE + FOUR

    def test_of_too_many_downloads_the_oldest_may_be_the_base(self, moved: Patient) -> None:
        """A base that is too old removes nothing; what is known for sure stays among them."""
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, BEN, NOW, TTL)
        lines = ONE + TWO
        for number in range(MAX_CANDIDATES + 4):
            moved.download(ALPHA, LOG, ANA, NOW)
            lines += note(10 + number)
            moved.upload(ALPHA, Upload(LOG, lines, BEN), NOW)
        base = rescued(moved.upload(ALPHA, Upload(LOG, lines + note(99), ANA), NOW))
        assert [v.base for v in moved.versions(ALPHA) if v.number == base] == [MAX_CANDIDATES + 1]
        base = rescued(moved.upload(ALPHA, Upload(SUMMARY_MD, b"another file\n", ANA), NOW))
        assert [v.base for v in moved.versions(ALPHA) if v.number == base] == [None]

    def test_too_many_pulls_that_were_cut_off_remove_nothing(self, moved: Patient) -> None:
        """The holder has received none of them, and its upload shows no sign of any."""
        moved.release(ALPHA, ANA, NOW)
        lines = ONE + TWO
        for number in range(MAX_CANDIDATES + 4):
            moved.acquire(ALPHA, BEN, NOW, TTL)
            lines += note(10 + number)
            moved.upload(ALPHA, Upload(LOG, lines, BEN), NOW)
            moved.release(ALPHA, BEN, NOW)
            moved.acquire(ALPHA, ANA, NOW, TTL)
            pull(moved)
            moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, ANA, NOW, TTL)
        moved.upload(ALPHA, Upload(LOG, ONE + note(99), ANA), NOW)
        assert content(moved) == lines + note(99)
        assert [v.base for v in moved.versions(ALPHA) if v.client == ANA][-1] == 1

    def test_a_download_by_somebody_else_says_nothing_about_the_holder(self, taught: Patient) -> None:
        """Who says who it is cannot be taken for another."""
        served = taught.download(ALPHA, REMEMBERED, EVE, NOW)
        assert isinstance(served, Served)
        assert served.receipt == Receipt(EVE, REMEMBERED, 2)
        taught.confirm(ALPHA, served.receipt, NOW)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1, 2, 3), ANA), NOW)
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1]
        taught.release(ALPHA, ANA, NOW)
        taught.acquire(ALPHA, EVE, NOW, TTL)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1), EVE), NOW)
        assert remembered(taught) == [1, 3]

    @pytest.mark.parametrize("late", [0, 60_000])
    def test_a_pull_whose_lock_was_given_away_is_that_of_its_last_holder(
        self, taught: Patient, late: int
    ) -> None:
        """Another session of the same machine has ended within the minute of the pull."""
        taught.release(ALPHA, ANA, NOW)
        taught.confirm(ALPHA, pull(taught, REMEMBERED, after(late)), after(late))
        taught.acquire(ALPHA, EVE, after(late), TTL)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(2, 3), EVE), after(late))
        assert remembered(taught) == [1, 2, 3]
        taught.release(ALPHA, EVE, after(late))
        taught.acquire(ALPHA, ANA, after(late), TTL)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1), ANA), after(late))
        assert remembered(taught) == [1, 3]

    @pytest.mark.parametrize("late", [60_001, -1])
    def test_a_stock_download_of_a_free_project_is_nobodys_later(self, taught: Patient, late: int) -> None:
        """No pull takes over a minute, nor begins before its acquire."""
        taught.release(ALPHA, ANA, NOW)
        served = taught.download(ALPHA, REMEMBERED, Unnamed.STOCK, after(late))
        assert isinstance(served, Served)
        assert served.receipt is None
        for client in (EVE, ANA):
            taught.confirm(ALPHA, Receipt(client, REMEMBERED, 2), NOW)
            taught.acquire(ALPHA, client, NOW, TTL)
            taught.upload(ALPHA, Upload(REMEMBERED, facts(2, 3), client), NOW)
            taught.release(ALPHA, client, NOW)
        assert remembered(taught) == [1, 2, 3]

    def test_reading_says_nothing_about_anybody(self, taught: Patient) -> None:
        """It is `download` that does."""
        taught.read(ALPHA, REMEMBERED, NOW)
        taught.upload(ALPHA, Upload(REMEMBERED, facts(1, 2, 3), ANA), NOW)
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1]

    def test_what_was_never_downloaded_cannot_be_confirmed(self, moved: Patient) -> None:
        """Nor a version that never was, nor in a project that never was."""
        for number in (2, 7, 0):
            moved.confirm(ALPHA, Receipt(EVE, LOG, number), NOW)
        moved.confirm(ORG, Receipt(EVE, LOG, 1), NOW)
        moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        moved.upload(ALPHA, Upload(LOG, TWO + FOUR, EVE), NOW)
        assert content(moved) == ONE + TWO + FOUR
        assert list(moved.projects()) == [ALPHA]

    @pytest.mark.parametrize("reader", [Unnamed.STOCK, Unnamed.OTHER, ANA, EVE])
    def test_a_download_tells_what_is_read(self, moved: Patient, reader: Reader) -> None:
        """For whomever; of what is not there, nothing."""
        served = moved.download(ALPHA, LOG, reader, NOW)
        assert isinstance(served, Served)
        assert served.document == moved.read(ALPHA, LOG, NOW)
        assert moved.download(ALPHA, ENTITIES, reader, NOW) is None
        assert moved.download(ORG, LOG, reader, NOW) is None

    # Lists of the stock client

    def test_the_first_stock_list_after_each_acquire_is_true_and_no_other(self, held: Patient) -> None:
        """All else but the mtimes is true in the others, too; `heads` never lies."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), NOW)
        true = held.heads(ALPHA, NOW)
        helping = tuple(evolve(head, mtime=Millis(0)) for head in true)
        assert [held.stock_heads(ALPHA, after(1)) for _ in range(3)] == [true, helping, helping]
        held.extend(ALPHA, ANA, after(2), TTL)
        assert held.stock_heads(ALPHA, after(2)) == helping
        held.acquire(ALPHA, ANA, after(3), TTL)
        assert [held.stock_heads(ALPHA, after(4)) for _ in range(2)] == [true, helping]
        held.release(ALPHA, ANA, after(5))
        assert held.stock_heads(ALPHA, after(5)) == helping
        held.acquire(ALPHA, BEN, after(6), TTL)
        assert [held.stock_heads(ALPHA, after(6)) for _ in range(2)] == [true, helping]
        assert held.stock_heads(ALPHA, after(6 + TTL)) == helping
        assert held.heads(ALPHA, after(6)) == true

    def test_a_stock_list_long_after_the_acquire_is_that_of_a_push(self, held: Patient) -> None:
        """A pull asks for its list at once, or the stock client has given it up: a minute later it is another's."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        assert [head.mtime for head in held.stock_heads(ALPHA, after(60_001))] == [0]
        assert [head.mtime for head in held.stock_heads(ALPHA, after(60_000))] == [NOW]

    def test_two_acquires_within_a_millisecond_are_two(self, held: Patient) -> None:
        """Two sessions of one machine; each pull is told the truth."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.stock_heads(ALPHA, NOW)
        held.acquire(ALPHA, ANA, NOW, TTL)
        assert [head.mtime for head in held.stock_heads(ALPHA, NOW)] == [NOW]

    def test_a_list_that_was_lost_is_told_again(self, held: Patient) -> None:
        """Each loss counts, of the same acquire and within the same minute."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)

        def mtimes(now: Millis, again: bool) -> list[Millis]:
            return [head.mtime for head in held.stock_heads(ALPHA, now, again=again)]

        assert mtimes(NOW, again=True) == [0]
        assert mtimes(NOW, again=False) == [NOW]
        for _ in range(2):
            assert mtimes(after(60_000), again=True) == [NOW]
            assert mtimes(after(60_000), again=False) == [0]
        assert mtimes(after(60_001), again=True) == [0]
        held.acquire(ALPHA, ANA, after(2), TTL)
        assert mtimes(after(2), again=True) == [0]
        held.release(ALPHA, ANA, after(3))
        assert mtimes(after(3), again=True) == [0]

    def test_a_list_of_nothing_is_the_first_one_too(self, held: Patient) -> None:
        """The pull of a machine that is the first to use a project."""
        assert held.stock_heads(ALPHA, NOW) == ()
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        assert [head.mtime for head in held.stock_heads(ALPHA, NOW)] == [0]

    def pulled_list(self, store: Patient, client: ClientId, now: Millis) -> list[Millis]:
        """The mtimes told to the pull of a client, whose lock is released again."""
        store.acquire(ALPHA, client, now, TTL)
        told = [head.mtime for head in store.stock_heads(ALPHA, now)]
        assert [head.mtime for head in store.stock_heads(ALPHA, now)] == [0] * len(told)
        store.release(ALPHA, client, now)
        return told

    @pytest.mark.parametrize("refused", [False, True])
    def test_a_client_that_pushes_its_base_is_told_that_the_head_is_as_new(
        self, moved: Patient, refused: bool
    ) -> None:
        """A clock that is ahead makes files newer than the head; others hear the truth."""
        moved.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), after(2))
        if refused:
            moved.release(ALPHA, ANA, after(5))
        moved.upload(ALPHA, Upload(LOG, ONE, ANA), after(5))
        moved.release(ALPHA, ANA, after(5))
        assert self.pulled_list(moved, BEN, after(6)) == [NOW, after(2)]
        assert self.pulled_list(moved, EVE, after(7)) == [NOW, after(2)]
        for now in (after(8), after(9)):
            assert self.pulled_list(moved, ANA, now) == [after(5), after(2)]
            assert [head.mtime for head in moved.heads(ALPHA, now)] == [NOW, after(2)]

    def test_a_head_that_is_newer_than_the_push_of_a_base_is_told_by_its_true_mtime(
        self, moved: Patient
    ) -> None:
        """So what was written after that push is never overwritten by this."""
        moved.upload(ALPHA, Upload(LOG, ONE, ANA), after(5))
        moved.release(ALPHA, ANA, after(5))
        moved.acquire(ALPHA, BEN, after(9), TTL)
        moved.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, BEN), after(9))
        moved.release(ALPHA, BEN, after(9))
        assert self.pulled_list(moved, ANA, after(10)) == [after(9)]

    def test_each_push_of_a_base_counts_anew(self, moved: Patient) -> None:
        """The last of them is the mtime that its pull is told."""
        for now in (after(5), after(7)):
            moved.upload(ALPHA, Upload(LOG, ONE, ANA), now)
            moved.release(ALPHA, ANA, now)
            assert self.pulled_list(moved, ANA, now) == [now]
            moved.acquire(ALPHA, ANA, now, TTL)

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    def test_a_client_that_has_received_the_head_is_told_the_truth_again(
        self, moved: Patient, reader: Reader
    ) -> None:
        """Not before it has taken the whole answer."""
        moved.upload(ALPHA, Upload(LOG, ONE, ANA), after(5))
        moved.release(ALPHA, ANA, after(5))
        assert self.pulled_list(moved, ANA, after(6)) == [after(5)]
        served = moved.download(ALPHA, LOG, reader, after(6))
        assert isinstance(served, Served)
        assert served.receipt
        assert self.pulled_list(moved, ANA, after(7)) == [after(5)]
        moved.confirm(ALPHA, served.receipt, after(7))
        assert self.pulled_list(moved, ANA, after(8)) == [NOW]

    @pytest.mark.parametrize("upload", [ONE + THREE, ONE + TWO])
    def test_a_client_that_pushes_something_else_lacks_nothing_any_more(
        self, moved: Patient, upload: bytes
    ) -> None:
        """A merge is newer than all that it had, or it has the head itself."""
        moved.upload(ALPHA, Upload(LOG, ONE, ANA), after(5))
        moved.upload(ALPHA, Upload(LOG, upload, ANA), after(3))
        true = [head.mtime for head in moved.heads(ALPHA, after(6))]
        moved.release(ALPHA, ANA, after(6))
        assert self.pulled_list(moved, ANA, after(6)) == true != [after(5)]

    # What can be seen of history

    def test_the_history_of_a_file_is_told_newest_first(self, moved: Patient) -> None:
        """All of its versions, whatever became of them, and those of no other."""
        moved.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), NOW)
        moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), NOW)
        moved.upload(ALPHA, Upload(LOG, FOUR, BEN), NOW)
        told = moved.history(ALPHA, LOG, NOW)
        assert [v.number for v in told] == [6, 5, 4, 2, 1]
        assert told == tuple(v for v in reversed(moved.versions(ALPHA)) if v.file is LOG)
        assert moved.history(ALPHA, SUMMARY_MD, NOW) == ()

    def test_a_version_is_told_with_its_content(self, moved: Patient) -> None:
        """Heads, former heads and what waits alike."""
        moved.upload(ALPHA, Upload(LOG, FOUR, BEN), NOW)
        for version, wanted in zip(moved.versions(ALPHA), (ONE, ONE + TWO, FOUR), strict=True):
            assert moved.version(ALPHA, version.number) == VersionContent(version, wanted)

    def test_a_project_is_told_at_a_glance(self, moved: Patient) -> None:
        """Its files, its lock while it is held, and the uploads that wait."""
        moved.upload(ALPHA, Upload(LOG, FOUR, BEN), NOW)
        moved.upload(ALPHA, Upload(ENTITIES, b"{}", EVE), NOW)
        heads, lock = moved.heads(ALPHA, NOW), moved.lock(ALPHA, NOW)
        assert lock
        waits = moved.versions(ALPHA)[-2:]
        assert [one.client for one in waits] == [BEN, EVE]
        assert moved.overview(ALPHA, NOW) == Overview(ALPHA, heads, lock, waits)
        assert moved.overview(ALPHA, EXPIRY) == Overview(ALPHA, moved.heads(ALPHA, EXPIRY), None, ())

    # Restoring

    def test_a_restored_version_is_a_new_one(self, moved: Patient) -> None:
        """With the old content, a later mtime, and the old version as its parent."""
        outcome = moved.restore(ALPHA, Restore(LOG, 1, ANA), after(-5))
        assert outcome == Accepted(head_with(ONE, 3, after(1)))
        assert content(moved) == ONE
        version = moved.versions(ALPHA)[-1]
        assert (version.kind, version.client, version.parents) == (Kind.RESTORED, ANA, (1,))
        assert moved.heads(ALPHA, NOW) == (head_of(outcome),)

    def test_a_version_that_was_rescued_can_be_restored(self, moved: Patient) -> None:
        """That is what it was kept for."""
        number = rescued(moved.upload(ALPHA, Upload(LOG, b"junk", BEN), NOW))
        moved.restore(ALPHA, Restore(LOG, number, ANA), NOW)
        assert content(moved) == b"junk"

    def test_to_restore_takes_the_lock(self, moved: Patient) -> None:
        """The current one; who has none learns nothing of the versions, and nothing has changed."""
        first = moved.lock(ALPHA, NOW)
        assert first
        before = moved.versions(ALPHA), moved.heads(ALPHA, NOW)
        moved.release(ALPHA, ANA, NOW)
        for number in (1, 99):
            assert moved.restore(ALPHA, Restore(LOG, number, ANA), NOW) == NotLocked()
            assert moved.restore(ORG, Restore(LOG, number, ANA), NOW) == NotLocked()
        lock = lock_of(moved.acquire(ALPHA, ANA, NOW, TTL))
        for number in (1, 99):
            assert moved.restore(ALPHA, Restore(LOG, number, BEN), NOW) == HeldBy(lock)
            stale = Restore(LOG, number, ANA, first.token)
            assert moved.restore(ALPHA, stale, NOW) == StaleToken(lock)
            assert moved.restore(ALPHA, Restore(LOG, number, ANA), EXPIRY) == NotLocked()
        assert (moved.versions(ALPHA), moved.heads(ALPHA, NOW)) == before
        assert list(moved.projects()) == [ALPHA]

    @pytest.mark.parametrize(("file", "number"), [(LOG, 0), (LOG, -1), (LOG, 99), (ENTITIES, 1)])
    def test_only_a_version_of_the_file_can_be_restored(
        self, moved: Patient, file: FileName, number: int
    ) -> None:
        """All else is unknown, and changes nothing."""
        before = moved.versions(ALPHA), moved.heads(ALPHA, NOW)
        assert moved.restore(ALPHA, Restore(file, number, ANA), NOW) is None
        assert (moved.versions(ALPHA), moved.heads(ALPHA, NOW)) == before

    def test_to_restore_what_is_the_head_makes_no_version(self, moved: Patient) -> None:
        """Nor to restore an older version of the same content."""
        moved.restore(ALPHA, Restore(LOG, 1, ANA), NOW)
        [head] = moved.heads(ALPHA, NOW)
        for number in (1, 3):
            assert moved.restore(ALPHA, Restore(LOG, number, ANA), after(9)) == Accepted(head)
        assert len(moved.versions(ALPHA)) == 3

    def test_who_restores_has_no_other_memory_for_it(self, held: Patient) -> None:
        """Its machine still has what it had: what it uploads then is merged on that, and undoes nothing."""
        held.upload(ALPHA, Upload(LOG, ONE, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO, ANA), NOW)
        held.restore(ALPHA, Restore(LOG, 1, ANA), NOW)
        held.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, ANA), NOW)
        assert content(held) == ONE + THREE

    # Pruning

    def test_pruning_removes_the_oldest_that_nobody_needs(self, held: Patient) -> None:
        """At most so many at once; what it would remove can be asked for before."""
        for number in range(1, 8):
            held.upload(ALPHA, Upload(LOG, notes(number), ANA), NOW)
        told = held.versions(ALPHA)
        assert held.prunable(ALPHA, KEEP_NONE, NOW) == Pruned(ALPHA, told[:6])
        assert held.versions(ALPHA) == told
        assert held.prune(ALPHA, KEEP_NONE, NOW, 4) == Pruned(ALPHA, told[:4])
        assert held.versions(ALPHA) == told[4:]
        assert [content_of(held, ALPHA, number) for number in range(1, 8)] == [
            *[None] * 4,
            *(notes(number) for number in (5, 6, 7)),
        ]
        assert held.prunable(ALPHA, KEEP_NONE, NOW) == Pruned(ALPHA, told[4:6])
        assert held.prune(ALPHA, KEEP_NONE, NOW, 4) == Pruned(ALPHA, told[4:6])
        for _ in range(2):
            assert held.prune(ALPHA, KEEP_NONE, NOW, 4) == Pruned(ALPHA, ())
        assert held.history(ALPHA, LOG, NOW) == told[6:]
        assert held.restore(ALPHA, Restore(LOG, 1, ANA), NOW) is None

    def test_pruning_changes_nothing_else(self, held: Patient) -> None:
        """Heads, lock and mtimes are as they were, and uploads go on."""
        for number in range(1, 4):
            held.upload(ALPHA, Upload(LOG, notes(number), ANA), after(9))
        before = held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.read(ALPHA, LOG, NOW)
        assert len(held.prune(ALPHA, KEEP_NONE, after(9), 99).versions) == 2
        assert (held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.read(ALPHA, LOG, NOW)) == before
        assert head_of(held.upload(ALPHA, Upload(LOG, notes(4), ANA), NOW)).mtime == after(12)

    def test_pruning_keeps_what_retention_keeps(self, held: Patient) -> None:
        """What is young enough."""
        keeping = Retention(Millis(100), Millis(0), Millis(0), 0)
        for number in range(1, 5):
            held.upload(ALPHA, Upload(LOG, notes(number), ANA), after(50 * number))
        removed = held.prune(ALPHA, keeping, after(201), 99).versions
        assert [version.number for version in removed] == [1, 2]

    def test_no_number_comes_again_whatever_is_pruned(self, moved: Patient) -> None:
        """That of the newest version of the project, which is no head, included."""
        number = rescued(moved.upload(ALPHA, Upload(LOG, b"junk", BEN), NOW))
        moved.release(ALPHA, ANA, NOW)
        month = Millis(NOW + 40 * DAY)
        for _ in range(2):
            moved.prune(ALPHA, KEEP_NONE, month, 99)
        moved.acquire(ALPHA, ANA, month, TTL)
        for step in range(1, 4):
            head = head_of(moved.upload(ALPHA, Upload(LOG, note(4 + step), ANA), month))
            assert head.version > number
            number = head.version
            moved.prune(ALPHA, KEEP_NONE, month, 99)

    def test_no_token_comes_again_whatever_is_pruned(self, held: Patient) -> None:
        """That of a lock that is gone included."""
        before = held.lock(ALPHA, NOW)
        assert before
        for number in range(3):
            held.upload(ALPHA, Upload(LOG, note(number), ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.prune(ALPHA, KEEP_NONE, NOW, 99)
        assert lock_of(held.acquire(ALPHA, BEN, NOW, TTL)).token > before.token

    def test_what_waits_is_not_pruned_nor_its_base(self, moved: Patient) -> None:
        """However long it waits."""
        lock_of(moved.acquire(ALPHA, ANA, NOW, Millis(100 * DAY)))
        moved.upload(ALPHA, Upload(LOG, ONE + TWO + THREE, ANA), NOW)
        number = rescued(moved.upload(ALPHA, Upload(LOG, TWO + FOUR, BEN), NOW))
        late = Millis(NOW + 90 * DAY)
        removed = {version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions}
        assert 1 in removed
        assert not removed & {2, number}
        moved.release(ALPHA, ANA, late)
        assert content(moved, now=late) == TWO + THREE + FOUR

    def test_the_base_of_a_client_is_kept_for_30_days(self, moved: Patient) -> None:
        """From when it was last seen; whoever comes back in time removes what it removed."""
        day_before = Millis(NOW + 30 * DAY - 1)
        numbers = [version.number for version in moved.prunable(ALPHA, KEEP_NONE, day_before).versions]
        assert numbers == []
        moved.acquire(ALPHA, ANA, Millis(NOW + TTL), Millis(40 * DAY))
        moved.download(ALPHA, LOG, Unnamed.STOCK, Millis(NOW + 5 * DAY))
        moved.prune(ALPHA, KEEP_NONE, Millis(NOW + 30 * DAY), 99)
        moved.upload(ALPHA, Upload(LOG, b"", ANA), Millis(NOW + 31 * DAY))
        assert content(moved, now=Millis(NOW + 31 * DAY)) == TWO

    def test_the_base_of_a_client_that_was_seen_by_a_clock_of_1970_is_kept(self, store: Patient) -> None:
        """A board without a clock started with that time; minutes later it is right."""
        early = Millis(600_000)
        store.acquire(ALPHA, ANA, early, TTL)
        store.upload(ALPHA, Upload(LOG, ONE, ANA), early)
        store.release(ALPHA, ANA, early)
        store.acquire(ALPHA, BEN, NOW, TTL)
        store.upload(ALPHA, Upload(LOG, ONE + TWO, BEN), NOW)
        assert store.prunable(ALPHA, KEEP_NONE, NOW).versions == ()

    @pytest.mark.parametrize("ahead", [HOUR + 1, 3 * 365 * DAY])
    @pytest.mark.parametrize("lines", [ONE, ONE + TWO])
    def test_a_new_mtime_is_now_where_the_last_one_is_to_come(
        self, held: Patient, ahead: int, lines: bytes
    ) -> None:
        """The clock was ahead then; the same content puts it right as well, and so it stays."""
        held.acquire(ALPHA, ANA, after(ahead), TTL)
        held.upload(ALPHA, Upload(LOG, ONE, ANA), after(ahead))
        held.acquire(ALPHA, ANA, NOW, TTL)
        assert head_of(held.upload(ALPHA, Upload(LOG, lines, ANA), NOW)).mtime == NOW
        assert head_of(held.upload(ALPHA, Upload(LOG, lines + THREE, ANA), NOW)).mtime == after(1)

    def test_the_base_of_a_client_that_is_seen_daily_is_kept(self, moved: Patient) -> None:
        """However long: it asks for the same head every day, which is its base already, and changes nothing."""
        for day in range(60):
            now = Millis(NOW + day * DAY)
            moved.download(ALPHA, LOG, EVE, now)
            moved.confirm(ALPHA, Receipt(EVE, LOG, 2), now)
        late = Millis(NOW + 60 * DAY)
        moved.acquire(ALPHA, BEN, late, TTL)
        moved.upload(ALPHA, Upload(LOG, ONE + TWO + FOUR, BEN), late)
        moved.release(ALPHA, BEN, late)
        removed = {version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions}
        assert removed == {1}
        moved.acquire(ALPHA, EVE, late, TTL)
        moved.upload(ALPHA, Upload(LOG, TWO + THREE, EVE), late)
        assert content(moved, now=late) == TWO + THREE + FOUR

    def test_the_base_of_a_client_that_stays_away_goes(self, moved: Patient) -> None:
        """Should it come back all the same, nothing is taken for removed."""
        late = Millis(NOW + 30 * DAY)
        removed = [version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions]
        assert removed == [1]
        moved.acquire(ALPHA, ANA, late, TTL)
        moved.upload(ALPHA, Upload(LOG, b"", ANA), late)
        assert content(moved, now=late) == ONE + TWO

    def test_a_client_whose_base_was_pruned_loses_nothing(self, moved: Patient) -> None:
        """What it has not changed since then it uploads again: the head says what it said."""
        late = Millis(NOW + 30 * DAY)
        moved.prune(ALPHA, KEEP_NONE, late, 99)
        moved.acquire(ALPHA, ANA, late, TTL)
        assert isinstance(moved.upload(ALPHA, Upload(LOG, ONE, ANA), late), Accepted)
        assert content(moved, now=late) == ONE + TWO

    def test_a_pull_that_was_cut_off_takes_nothing_from_a_client_whose_base_was_pruned(
        self, moved: Patient
    ) -> None:
        """Its own copy is a month old, and shows no sign of the new line."""
        late = Millis(NOW + 30 * DAY)
        assert [version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions] == [1]
        moved.acquire(ALPHA, ANA, late, TTL)
        moved.download(ALPHA, LOG, Unnamed.STOCK, late)
        moved.upload(ALPHA, Upload(LOG, ONE + THREE, ANA), late)
        assert content(moved, now=late) == ONE + TWO + THREE

    def test_pruning_a_project_never_written_writes_nothing(self, store: Patient) -> None:
        """There is nothing to prune."""
        assert store.prunable(ALPHA, KEEP_NONE, NOW) == Pruned(ALPHA, ())
        assert store.prune(ALPHA, KEEP_NONE, NOW, 9) == Pruned(ALPHA, ())
        assert store.projects() == []

    # Projects

    def test_projects_are_apart_however_alike_their_ids(self, store: Patient) -> None:
        """What is uploaded to one is read from it alone, and the true ids are listed."""
        projects = [ProjectId(name) for name in ODD_IDS]
        for number, project in enumerate(projects):
            store.acquire(project, EVE, NOW, TTL)
            store.upload(project, Upload(LOG, b"%d" % number, EVE), NOW)
        for number, project in enumerate(projects):
            document = store.read(project, LOG, NOW)
            assert document
            assert document.content == b"%d" % number
        assert sorted(p.value for p in store.projects()) == sorted(ODD_IDS)

    def test_a_project_is_listed_once_it_was_locked(self, store: Patient) -> None:
        """And stays so when the lock is gone."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert list(store.projects()) == [ALPHA]
        store.release(ALPHA, ANA, NOW)
        assert list(store.projects()) == [ALPHA]

    def test_what_is_kept_takes_space_until_it_is_pruned(self, held: Patient) -> None:
        """The versions that are no heads, too."""
        contents = [Random(number).randbytes(100_000) for number in range(3)]
        taken = [held.usage().data_bytes]
        for content in contents:
            held.upload(ALPHA, Upload(LOG, content, ANA), NOW)
            # What a session keeps for itself goes with its lock.
            held.release(ALPHA, ANA, NOW)
            held.acquire(ALPHA, ANA, NOW, TTL)
            taken.append(held.usage().data_bytes)
        assert all(later - earlier >= 90_000 for earlier, later in pairwise(taken))
        assert len(held.prune(ALPHA, KEEP_NONE, NOW, 99).versions) == 2
        assert held.usage().data_bytes <= taken[2] - 90_000

    def test_what_is_kept_for_others_takes_space_too(self, held: Patient) -> None:
        """A refused upload that waits."""
        before = held.usage().data_bytes
        rescued(held.upload(ALPHA, Upload(LOG, Random(1).randbytes(100_000), BEN), NOW))
        assert held.usage().data_bytes - before >= 90_000

    def test_a_look_at_the_space_takes_none(self, store: Patient) -> None:
        """And there is some left."""
        before = store.usage()
        assert before.data_bytes >= 0
        assert before.free_bytes > 0
        assert store.usage().data_bytes == before.data_bytes
        assert store.projects() == []

    @pytest.mark.parametrize(
        "name", ["Ana's MacBook.local-0a1b2c3d", "家-1", "", 'q"\\', "x" * 200, "\u2028"]
    )
    def test_client_ids_come_back_as_they_were(self, store: Patient, name: str) -> None:
        """Any text that may be one."""
        client = ClientId.parse(name)
        store.acquire(ALPHA, client, NOW, TTL)
        lock = store.lock(ALPHA, NOW)
        assert lock
        assert lock.client == client
        store.upload(ALPHA, Upload(LOG, b"one", client), NOW)
        assert store.versions(ALPHA)[0].client == client
