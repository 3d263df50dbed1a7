"""What every store promises: one suite, run on each of them.

A store is put into `store` by the class that inherits from this one.
"""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    Millis,
    NotLocked,
    ProjectId,
    Released,
    StaleToken,
    Upload,
    digest,
)
from mneme.store import Store
from tests import plugin_files
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, ORG, TTL, content_of

LOG, ENTITIES = FileName.LOG, FileName.ENTITIES
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
    deadline=None,
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


class StoreContract:
    """The promises of the `Store` protocol."""

    @pytest.fixture
    def store(self) -> Store:
        """The store under test, with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def held(self, store: Store) -> Store:
        """The store, with the project locked by Ana since `NOW`."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        return store

    # Projects that nobody has written

    @pytest.mark.parametrize("name", ODD_IDS)
    def test_a_project_never_written_is_empty(self, store: Store, name: str) -> None:
        """Whatever is asked about it, the answer is that there is nothing."""
        project = ProjectId(name)
        assert store.lock(project, NOW) is None
        assert store.heads(project, NOW) == ()
        assert [store.read(project, file, NOW) for file in FileName] == [None] * 5
        assert store.versions(project) == ()
        assert content_of(store, project, 1) is None
        assert store.reap(project, NOW) is None
        store.recover(project)
        assert store.extend(project, ANA, NOW, TTL) == NotLocked()
        assert store.release(project, ANA, NOW) == NotLocked()
        assert list(store.projects()) == []
        assert store.expired(NOW) == ()

    # Locks

    def test_a_free_lock_is_granted(self, store: Store) -> None:
        """It counts from now, for the time asked for."""
        lock = lock_of(store.acquire(ALPHA, ANA, NOW, TTL))
        assert (lock.client, lock.acquired_at, lock.expires_at) == (ANA, NOW, EXPIRY)
        assert lock.token > 0
        assert store.lock(ALPHA, NOW) == lock

    def test_a_lock_is_held_to_its_last_millisecond_and_no_longer(self, held: Store) -> None:
        """Nothing needs to reap it for it to end."""
        assert held.lock(ALPHA, LAST_MOMENT) is not None
        assert held.lock(ALPHA, EXPIRY) is None

    def test_of_two_acquires_at_one_instant_one_wins(self, store: Store) -> None:
        """The second one is told who has the lock."""
        lock = lock_of(store.acquire(ALPHA, ANA, NOW, TTL))
        assert store.acquire(ALPHA, BEN, NOW, TTL) == HeldBy(lock)
        assert store.acquire(ALPHA, BEN, LAST_MOMENT, TTL) == HeldBy(lock)
        assert store.lock(ALPHA, NOW) == lock

    def test_an_expired_lock_is_in_nobodys_way(self, held: Store) -> None:
        """In the millisecond of its expiry another client gets the lock, under a larger token."""
        before = held.lock(ALPHA, NOW)
        assert before
        lock = lock_of(held.acquire(ALPHA, BEN, EXPIRY, TTL))
        assert (lock.client, lock.acquired_at) == (BEN, EXPIRY)
        assert lock.token > before.token

    def test_acquiring_again_extends(self, held: Store) -> None:
        """The start and the token stay."""
        before = held.lock(ALPHA, NOW)
        assert before
        lock = lock_of(held.acquire(ALPHA, ANA, LAST_MOMENT, TTL))
        assert lock == Lock(ANA, NOW, Millis(LAST_MOMENT + TTL), before.token, acquires=2)
        assert held.lock(ALPHA, EXPIRY) == lock

    def test_a_heartbeat_keeps_the_token(self, held: Store) -> None:
        """It moves the expiry, and nothing else."""
        before = held.lock(ALPHA, NOW)
        assert before
        lock = lock_of(held.extend(ALPHA, ANA, LAST_MOMENT, TTL))
        assert lock == Lock(ANA, NOW, Millis(LAST_MOMENT + TTL), before.token)
        assert held.lock(ALPHA, EXPIRY) == lock

    def test_a_heartbeat_is_refused_to_all_but_the_holder(self, held: Store) -> None:
        """And the lock is as it was."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.extend(ALPHA, BEN, LAST_MOMENT, TTL) == HeldBy(lock)
        assert held.extend(ALPHA, ANA, EXPIRY, TTL) == NotLocked()
        assert held.lock(ALPHA, NOW) == lock

    def test_release_frees_the_lock(self, held: Store) -> None:
        """And says which one it was; there is none to release twice."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.release(ALPHA, ANA, LAST_MOMENT) == Released(lock)
        assert held.lock(ALPHA, NOW) is None
        assert held.release(ALPHA, ANA, NOW) == NotLocked()

    def test_release_is_refused_to_all_but_the_holder(self, held: Store) -> None:
        """And the lock is as it was."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert held.release(ALPHA, BEN, LAST_MOMENT) == HeldBy(lock)
        assert held.release(ALPHA, ANA, EXPIRY) == NotLocked()
        assert held.lock(ALPHA, NOW) == lock

    def test_tokens_grow_however_a_lock_ends(self, store: Store) -> None:
        """Released, expired, reaped: the next one has a larger token."""
        tokens = [lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token]
        store.release(ALPHA, ANA, NOW)
        tokens.append(lock_of(store.acquire(ALPHA, ANA, NOW, TTL)).token)
        tokens.append(lock_of(store.acquire(ALPHA, ANA, EXPIRY, TTL)).token)
        assert store.reap(ALPHA, Millis(EXPIRY + TTL))
        tokens.append(lock_of(store.acquire(ALPHA, BEN, Millis(EXPIRY + TTL), TTL)).token)
        assert tokens == sorted(set(tokens))

    def test_locks_of_different_projects_are_different(self, held: Store) -> None:
        """Ana's lock on one project keeps nobody from another."""
        assert lock_of(held.acquire(ORG, BEN, NOW, TTL)).client == BEN
        assert isinstance(held.release(ORG, BEN, NOW), Released)
        assert held.lock(ALPHA, NOW) is not None

    # Reaping

    def test_reap_removes_an_expired_lock_and_says_which(self, held: Store) -> None:
        """From the millisecond of its expiry on, once."""
        lock = held.lock(ALPHA, NOW)
        assert held.reap(ALPHA, LAST_MOMENT) is None
        assert held.lock(ALPHA, NOW) == lock
        assert held.reap(ALPHA, EXPIRY) == lock
        assert held.reap(ALPHA, EXPIRY) is None
        assert held.lock(ALPHA, NOW) is None

    def test_expired_names_the_projects_to_reap(self, held: Store) -> None:
        """Those whose lock has expired, and no longer once it is gone."""
        held.acquire(ORG, BEN, NOW, Millis(TTL + 1))
        assert held.expired(LAST_MOMENT) == ()
        assert held.expired(EXPIRY) == (ALPHA,)
        assert set(held.expired(Millis(EXPIRY + 1))) == {ALPHA, ORG}
        held.reap(ALPHA, EXPIRY)
        held.release(ORG, BEN, EXPIRY)
        assert held.expired(Millis(EXPIRY + 1)) == ()

    # Files

    def test_an_upload_becomes_the_head(self, held: Store) -> None:
        """It is listed and served, with the instant of its acceptance as its mtime."""
        head = head_of(held.upload(ALPHA, Upload(LOG, b"one\n", ANA), after(5)))
        assert head == Head(LOG, version=1, size=4, mtime=after(5))
        assert held.heads(ALPHA, after(6)) == (head,)
        assert held.read(ALPHA, LOG, after(6)) == Document(head, b"one\n")
        assert held.read(ALPHA, ENTITIES, after(6)) is None

    def test_files_as_large_as_in_daily_use_come_back_byte_for_byte(self, held: Store) -> None:
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
    def test_content_is_bytes(self, held: Store, content: bytes) -> None:
        """Nothing is read into it: no line ends, no encoding, no emptiness."""
        assert head_of(held.upload(ALPHA, Upload(LOG, content, ANA), NOW)).size == len(content)
        document = held.read(ALPHA, LOG, NOW)
        assert document
        assert document.content == content

    def test_an_upload_without_the_lock_changes_nothing(self, store: Store) -> None:
        """Not under no lock, not under an expired one, not under another's, not under one's own older one."""
        first = lock_of(store.acquire(ALPHA, ANA, NOW, TTL))
        store.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        second = lock_of(store.acquire(ALPHA, BEN, EXPIRY, TTL))
        before = store.versions(ALPHA), store.heads(ALPHA, EXPIRY)
        assert store.upload(ALPHA, Upload(LOG, b"two", ANA), EXPIRY) == HeldBy(second)
        assert store.upload(ALPHA, Upload(LOG, b"two", ANA, first.token), EXPIRY) == StaleToken(second)
        assert store.upload(ALPHA, Upload(LOG, b"two", BEN, first.token), EXPIRY) == StaleToken(second)
        assert store.upload(ALPHA, Upload(LOG, b"two", BEN), Millis(EXPIRY + TTL)) == NotLocked()
        store.release(ALPHA, BEN, EXPIRY)
        assert store.upload(ALPHA, Upload(LOG, b"two", BEN), EXPIRY) == NotLocked()
        assert (store.versions(ALPHA), store.heads(ALPHA, EXPIRY)) == before

    def test_a_refused_identical_upload_is_refused(self, held: Store) -> None:
        """The lock is checked first: nobody learns without it what the head is."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        assert isinstance(held.upload(ALPHA, Upload(LOG, b"one", BEN), NOW), HeldBy)

    def test_an_upload_under_the_current_token_is_accepted(self, held: Store) -> None:
        """Whether the client says its token or not."""
        lock = held.lock(ALPHA, NOW)
        assert lock
        assert head_of(held.upload(ALPHA, Upload(LOG, b"one", ANA, lock.token), NOW)).version == 1

    def test_an_identical_upload_makes_no_version(self, held: Store) -> None:
        """The head is what it was, its mtime included."""
        head = head_of(held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW))
        assert held.upload(ALPHA, Upload(LOG, b"one", ANA), after(9)) == Accepted(head)
        assert len(held.versions(ALPHA)) == 1

    def test_the_same_content_after_another_is_a_new_version(self, held: Store) -> None:
        """Going back to what was there before is a change like any other."""
        for number, content in enumerate((b"one", b"two", b"one"), start=1):
            assert head_of(held.upload(ALPHA, Upload(LOG, content, ANA), NOW)).version == number

    def test_the_same_content_in_another_file_is_a_new_version(self, held: Store) -> None:
        """Files have nothing to do with each other."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        assert head_of(held.upload(ALPHA, Upload(ENTITIES, b"one", ANA), NOW)).version == 2

    def test_a_new_mtime_is_later_than_the_last_one(self, held: Store) -> None:
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
        self, store: Store, uploads: list[tuple[int, bytes]]
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

    def test_every_version_is_told_and_kept(self, held: Store) -> None:
        """With its number, digest, size, times, client, kind and base; contents that are no longer heads included."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), after(1))
        held.upload(ALPHA, Upload(ENTITIES, b"{}", ANA), after(1))
        held.release(ALPHA, ANA, after(2))
        held.acquire(ALPHA, BEN, after(2), TTL)
        held.upload(ALPHA, Upload(LOG, b"two!", BEN), after(1))
        held.upload(ALPHA, Upload(LOG, b"three", BEN), after(4))
        told = [
            (v.number, v.file, v.size, v.time, v.mtime, v.client, v.kind, v.base)
            for v in held.versions(ALPHA)
        ]
        assert told == [
            (1, LOG, 3, after(1), after(1), ANA, Kind.UPLOAD, None),
            (2, ENTITIES, 2, after(1), after(1), ANA, Kind.UPLOAD, None),
            (3, LOG, 4, after(1), after(2), BEN, Kind.UPLOAD, None),
            (4, LOG, 5, after(4), after(4), BEN, Kind.UPLOAD, 3),
        ]
        contents = [content_of(held, ALPHA, number) for number in (1, 2, 3, 4)]
        assert contents == [b"one", b"{}", b"two!", b"three"]
        assert [v.sha256 for v in held.versions(ALPHA)] == [digest(c) for c in contents if c is not None]

    @pytest.mark.parametrize("number", [-1, 0, 2, 10**30])
    def test_a_version_that_is_not_there_has_no_content(self, held: Store, number: int) -> None:
        """Whatever number is asked for."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        assert content_of(held, ALPHA, number) is None

    def test_a_base_is_the_version_that_the_client_itself_uploaded_last(self, held: Store) -> None:
        """What another client uploaded in between is not known to it."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        held.release(ALPHA, ANA, NOW)
        held.acquire(ALPHA, BEN, NOW, TTL)
        held.upload(ALPHA, Upload(LOG, b"two", BEN), NOW)
        held.release(ALPHA, BEN, NOW)
        held.acquire(ALPHA, ANA, NOW, TTL)
        held.upload(ALPHA, Upload(LOG, b"three", ANA), NOW)
        assert [version.base for version in held.versions(ALPHA)] == [None, None, 1]

    # Projects

    def test_projects_are_apart_however_alike_their_ids(self, store: Store) -> None:
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

    def test_a_project_is_listed_once_it_was_locked(self, store: Store) -> None:
        """And stays so when the lock is gone."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        assert list(store.projects()) == [ALPHA]
        store.release(ALPHA, ANA, NOW)
        assert list(store.projects()) == [ALPHA]

    def test_recover_changes_nothing_that_is_whole(self, held: Store) -> None:
        """It may come at any time."""
        held.upload(ALPHA, Upload(LOG, b"one", ANA), NOW)
        before = held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.versions(ALPHA)
        held.recover(ALPHA)
        assert (held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.versions(ALPHA)) == before

    @pytest.mark.parametrize(
        "name", ["Ana's MacBook.local-0a1b2c3d", "家-1", "", 'q"\\', "x" * 200, "\u2028"]
    )
    def test_client_ids_come_back_as_they_were(self, store: Store, name: str) -> None:
        """Any text that may be one."""
        client = ClientId.parse(name)
        store.acquire(ALPHA, client, NOW, TTL)
        lock = store.lock(ALPHA, NOW)
        assert lock
        assert lock.client == client
        store.upload(ALPHA, Upload(LOG, b"one", client), NOW)
        assert store.versions(ALPHA)[0].client == client
