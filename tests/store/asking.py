"""Short forms of the steps of a store, mostly in the project `ALPHA`."""

from __future__ import annotations

import json
from typing import Any

from mneme.model import (
    Accepted,
    ClientId,
    FileName,
    Granted,
    Head,
    Lock,
    Millis,
    Precondition,
    ProjectId,
    Receipt,
    Rescued,
    Restore,
    Unnamed,
    Upload,
    digest,
)
from mneme.store import Store
from tests.keeping import KEEP_NONE
from tests.store.looking import ALPHA, ANA, NOW, TTL
from tests.store.stores import Patient

LOG, SUMMARY_MD = FileName.LOG, FileName.SUMMARY_MD
ENTITIES, REMEMBERED = FileName.ENTITIES, FileName.REMEMBERED
LAST_MOMENT, EXPIRY = Millis(NOW + TTL - 1), Millis(NOW + TTL)


def after(milliseconds: int) -> Millis:
    """The instant so many milliseconds after `NOW`."""
    return Millis(NOW + milliseconds)


def note(number: int) -> bytes:
    """A line of a log; the larger the number, the later."""
    time = f"{15 + number // 60}:{number % 60:02}"
    return f'{{"ts":"2026-02-04T{time}:00.000Z","type":"note","content":"number {number}"}}\n'.encode()


ONE, TWO, THREE, FOUR = (note(number) for number in (1, 2, 3, 4))


def facts(*numbers: int) -> bytes:
    """A `remembered.json` of these facts."""
    return b"[" + b",".join(note(number).rstrip() for number in numbers) + b"]"


def put(
    store: Patient | Store,
    client: ClientId,
    held: bytes,
    file: FileName = LOG,
    *,
    now: Millis = NOW,
    only_if: Precondition | None = None,
    token: int | None = None,
) -> Any:
    """Upload a file, by default the log."""
    return store.upload(ALPHA, Upload(file, held, client, token, only_if), now)


def hand_over(store: Patient, client: ClientId, now: Millis = NOW) -> None:
    """Release the lock of its holder, if any, and acquire it for a client."""
    lock = store.lock(ALPHA, now)
    if lock:
        store.release(ALPHA, lock.client, now)
    store.acquire(ALPHA, client, now, TTL)


def fetch(store: Patient, client: ClientId, file: FileName = LOG, now: Millis = NOW) -> None:
    """Download a file, and receive it, as a client that gives its id."""
    head = store.download(ALPHA, file, client, now).document.head
    store.confirm(ALPHA, Receipt(client, file, head.version), now)


def pull(store: Patient, file: FileName = LOG, now: Millis = NOW) -> Receipt:
    """Download a file as the stock client does; the receipt is not confirmed yet."""
    receipt = store.download(ALPHA, file, Unnamed.STOCK, now).receipt
    assert isinstance(receipt, Receipt)
    return receipt


def lock_of(outcome: object) -> Lock:
    """The lock that was granted."""
    assert isinstance(outcome, Granted), outcome
    return outcome.lock


def head_of(outcome: object) -> Head:
    """The head that an upload became."""
    assert isinstance(outcome, Accepted), outcome
    return outcome.head


def head_with(held: bytes, version: int, mtime: Millis, file: FileName = LOG) -> Head:
    """The head with this content."""
    return Head(file, version, len(held), mtime, digest(held))


def rescued(outcome: object) -> int:
    """The number of the version as which a refused upload was kept."""
    assert isinstance(outcome, Rescued), outcome
    assert outcome.version is not None
    return outcome.version


def content(store: Patient | Store, file: FileName = LOG, now: Millis = NOW) -> Any:
    """The content of the head of a file; None without a head."""
    document = store.read(ALPHA, file, now)
    return document.content if document else None


def waiting(store: Patient, now: Millis = NOW) -> int:
    """The number of uploads that wait to be merged."""
    return len(store.overview(ALPHA, now).waiting)  # type: ignore[union-attr]


def remembered(store: Patient, now: Millis = NOW) -> list[int]:
    """The facts in the head of `remembered.json`."""
    found = json.loads(content(store, REMEMBERED, now) or b"[]")
    return sorted(int(one["content"].removeprefix("number ")) for one in found)


def ask_for_everything(store: Patient, project: ProjectId) -> dict[str, Any]:
    """The outcomes of all steps that make no project, by their names."""
    outcomes = {f"read {file.value}": store.read(project, file, NOW) for file in FileName}
    return outcomes | {
        "lock": store.lock(project, NOW),
        "heads": store.heads(project, NOW),
        "stock heads": store.stock_heads(project, NOW),
        "download": store.download(project, LOG, ANA, NOW),
        "confirm": store.confirm(project, Receipt(ANA, LOG, 1), NOW),
        "history": store.history(project, LOG, NOW),
        "versions": store.versions(project),
        "version": store.version(project, 1),
        "overview": store.overview(project, NOW),
        "extend": store.extend(project, ANA, NOW, TTL),
        "release": store.release(project, ANA, NOW),
        "restore": store.restore(project, Restore(LOG, 1, ANA), NOW),
        "prunable": store.prunable(project, KEEP_NONE, NOW),
        "prune": store.prune(project, KEEP_NONE, NOW, 9),
        "reap": store.reap(project, NOW),
        "expired": store.expired(NOW),
    }
