"""Events: the numbered changes of which listeners are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mneme.model import ClientId, Event, EventId, EventKind, FileName, Millis, Upload
from mneme.store import backup
from mneme.store.queries import MAX_EVENTS
from mneme.store.sqlite import NAME
from tests.store.looking import ALPHA, ANA, BEN, NOW, TTL
from tests.store.stores import Patient

LOG = FileName.LOG
Short = tuple[EventKind, FileName | None, int | None]


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Patient:
    """A store of each kind."""
    return Patient(tmp_path / "data" if request.param == "disk" else None)


def since(store: Patient, after: EventId) -> list[Short]:
    """The kind, file and version of each event after an id."""
    return [short(event) for event in store.store.events_after(after, 1000).events]


def short(event: Event) -> Short:
    """The kind, file and version of an event."""
    return event.kind, event.file, event.version


def upload(store: Patient, text: str, client: ClientId = ANA) -> None:
    """Upload a log."""
    store.upload(ALPHA, Upload(LOG, f'{{"content":"{text}"}}\n'.encode(), client, None, None), NOW)


def test_each_step_of_a_session_is_an_event(store: Patient) -> None:
    """An upload that changes nothing is none."""
    begin = store.store.last_event()
    store.acquire(ALPHA, ANA, NOW, TTL)
    upload(store, "one")
    upload(store, "one")
    store.release(ALPHA, ANA, NOW)
    assert since(store, begin) == [
        (EventKind.LOCK, None, None),
        (EventKind.HEAD, LOG, 1),
        (EventKind.LOCK, None, None),
    ]


def test_a_refused_upload_and_its_merge_are_events(store: Patient) -> None:
    """The merge comes when the lock is free."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    upload(store, "one")
    begin = store.store.last_event()
    upload(store, "two", BEN)
    assert since(store, begin) == [(EventKind.WAITING, LOG, 2)]
    begin = store.store.last_event()
    store.release(ALPHA, ANA, NOW)
    assert since(store, begin) == [(EventKind.LOCK, None, None), (EventKind.HEAD, LOG, 3)]


def test_an_event_tells_the_client_the_content_and_the_lock(store: Patient) -> None:
    """The lock is the one that is held when the event is read."""
    begin = store.store.last_event()
    store.acquire(ALPHA, ANA, NOW, TTL)
    upload(store, "one")
    lock, head = store.store.events_after(begin, 10).events
    assert lock.lock is not None
    assert (lock.project, lock.lock.client, lock.client) == (ALPHA, ANA, None)
    version = store.store.version(ALPHA, 1)
    assert version is not None
    assert (head.project, head.client, head.sha256, head.lock) == (ALPHA, ANA, version.version.sha256, None)


def test_events_are_read_in_pages(store: Patient) -> None:
    """The last id of one page is the begin of the next."""
    last = store.store.last_event()
    store.acquire(ALPHA, ANA, NOW, TTL)
    for text in "abc":
        upload(store, text)
    found = []
    while (page := store.store.events_after(last, 3)).events:
        found += [event.number for event in page.events]
        last = page.last
    assert found == [1, 2, 3, 4]


def test_a_file_removed_by_hand_is_an_event_without_a_version(tmp_path: Path) -> None:
    """Putting the file back is one with the version."""
    store = Patient(tmp_path / "data")
    store.acquire(ALPHA, ANA, NOW, TTL)
    upload(store, "one")
    path = tmp_path / "data/projects/alpha/log.jsonl"
    begin, content = store.store.last_event(), path.read_bytes()
    path.unlink()
    store.heads(ALPHA, NOW)
    path.write_bytes(content)
    store.heads(ALPHA, NOW)
    assert since(store, begin) == [(EventKind.HEAD, LOG, None), (EventKind.HEAD, LOG, 1)]


def test_an_id_that_was_never_given_asks_for_a_new_look(store: Patient) -> None:
    """So does an id of another database, and one from which events are missing."""
    store.acquire(ALPHA, ANA, NOW, TTL)
    last = store.store.last_event()
    for strange in (EventId(last.line, last.number + 1), EventId("other", 0), EventId(last.line, -1)):
        page = store.store.events_after(strange, 10)
        assert (page.is_reset, page.events, page.last) == (True, (), last)
    assert not store.store.events_after(last, 10).is_reset


def test_old_events_are_removed_and_their_numbers_stay_used(store: Patient) -> None:
    """Whoever comes late must look at everything again."""
    begin = store.store.last_event()
    store.acquire(ALPHA, ANA, NOW, TTL)
    with store.database.step() as queries:
        for _ in range(MAX_EVENTS + 600):
            queries.add_event(1, EventKind.LOCK, None, None)
        (kept,) = store.database.connection.execute("SELECT count(*) FROM events").fetchone()
    assert MAX_EVENTS <= kept <= MAX_EVENTS + 256
    assert store.store.events_after(begin, 10).is_reset
    store.database.connection.execute("DELETE FROM events")
    assert store.store.last_event().number == MAX_EVENTS + 601


def test_a_restored_database_begins_a_new_line(tmp_path: Path) -> None:
    """Its numbers are used again for other events."""
    store = Patient(tmp_path / "data")
    store.acquire(ALPHA, ANA, NOW, TTL)
    backup.make(tmp_path / "data" / NAME, tmp_path / "copy.db", NOW, None)
    last = store.store.last_event()
    store.database.close()
    backup.restore(tmp_path / "copy.db", tmp_path / "other", Millis(NOW + 1), replace=False)
    restored = Patient(tmp_path / "other")
    assert restored.store.last_event().number == last.number
    assert restored.store.events_after(last, 10).is_reset


def test_a_step_that_fails_tells_nobody(store: Patient) -> None:
    """A listener is told of what is committed."""
    told: list[EventId] = []
    store.store.on_event = lambda: told.append(store.store.last_event())
    store.acquire(ALPHA, ANA, NOW, TTL)
    assert [event.number for event in told] == [1]

    def fails() -> None:
        with store.database.step() as queries:
            queries.add_event(1, EventKind.LOCK, None, None)
            raise RuntimeError

    store.database.run([fails])
    assert store.store.last_event().number == 1
    assert len(told) == 1
