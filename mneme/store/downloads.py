"""The steps of lists and downloads, which also record the bases of clients."""

from msgspec.structs import replace

from mneme.model import (
    ClientId,
    Document,
    FileName,
    Head,
    Millis,
    Precondition,
    Reader,
    Receipt,
    Served,
    Unmodified,
    Unnamed,
    Version,
)
from mneme.store.base import Base
from mneme.store.step import Step, is_from_future

_PULL_WITHIN = Millis(60 * 1000)
"""Longest time from an acquire to the list of the same pull.

The stock client gives up a request after 43.5 s. A later list comes from somebody else.
"""


def heads(step: Step) -> tuple[Head, ...]:
    """See `Store`."""
    return tuple(row.head for row in step.heads.values() if row.head)


def stock_heads(step: Step, *, again: bool) -> tuple[Head, ...]:
    """See `Store`."""
    found = heads(step)
    client = _pull_expected(step, again)
    if client is None:
        return tuple(replace(head, mtime=Millis(0)) for head in found)
    return tuple(_as_listed_for(step, client, head) for head in found)


def _pull_expected(step: Step, again: bool) -> ClientId | None:
    """The client that has just acquired the lock, if this list is its pull's.

    Without `again`, its pull has not had the list yet. With `again`, its pull asks for the list a second time.
    """
    lock = step.lock
    if lock is None or lock.last_acquired_at is None or step.now - lock.last_acquired_at > _PULL_WITHIN:
        return None
    is_listed = step.row.listed == (lock.token, lock.last_acquired_at)
    if is_listed != again:
        return None
    if not is_listed:
        step.queries.set_listed(step.key, lock.token, lock.last_acquired_at)
    return lock.client


def _as_listed_for(step: Step, client: ClientId, head: Head) -> Head:
    """The head with the mtime that a pull of this client is given.

    A client that pushed its own base while the head was another version gets a later mtime. The clock of its machine is
    ahead, so its files look newer than the head, and it would not download the head.

    If the clock of the server was ahead, the head has an mtime in the future. A client that has this head already gets
    mtime 0. Else it would download the head again, and overwrite its own newer lines.
    """
    base = step.base(client, head.file)
    if base.lacking is not None and not is_from_future(base.lacking, step.now):
        return replace(head, mtime=max(head.mtime, base.lacking))
    has_it = base.sure is not None and base.sure.sha256 == head.sha256
    return replace(head, mtime=Millis(0)) if has_it and head.mtime > step.now else head


def read(step: Step, file: FileName) -> Document | None:
    """See `Store`."""
    head, version = step.head(file), step.head_version(file)
    return Document(head, step.queries.content(version)) if head and version else None


def download(
    step: Step, file: FileName, reader: Reader, unless: Precondition | None
) -> Served | Unmodified | None:
    """See `Store`."""
    head, version = step.head(file), step.head_version(file)
    if head is None or version is None:
        return None
    client = _named_by(step, reader)
    if unless and unless.holds(head):
        if client:
            _note_shown(step, client, version, unless)
        return Unmodified(head)
    content = step.queries.content(version)
    return Served(Document(head, content), _note_sent(step, client, version) if client else None)


def _named_by(step: Step, reader: Reader) -> ClientId | None:
    """The client that reads; for a stock download, the one that just acquired the lock."""
    if reader is not Unnamed.STOCK:
        return reader if isinstance(reader, ClientId) else None
    if step.lock:
        return step.lock.client
    if step.row.granted is None:
        return None
    client, granted_at = step.row.granted
    # Another session of the same machine may have released the lock meanwhile.
    return client if 0 <= step.now - granted_at <= _PULL_WITHIN else None


def _note_sent(step: Step, client: ClientId, version: Version) -> Receipt | None:
    """Record that a version is sent to a client; return a receipt.

    None if the client surely has the version already.
    """
    before = step.base(client, version.file)
    step.note_base(client, version.file, before.with_sent(version))
    return None if before.has(version.number) else Receipt(client, version.file, version.number)


def _note_shown(step: Step, client: ClientId, newest: Version, unless: Precondition) -> None:
    """Record a version that a client says it has.

    If the client names several contents, it may be working on any of them, so the version is only a candidate.
    """
    if unless.names_only(newest.sha256):
        step.note_base(client, newest.file, Base.of(newest))
    elif unless.names(newest.sha256):
        step.note_base(client, newest.file, step.base(client, newest.file).with_sent(newest))


def confirm(step: Step, receipt: Receipt) -> None:
    """See `Store`."""
    base = step.base(receipt.client, receipt.file)
    step.note_base(receipt.client, receipt.file, base.with_received(receipt.version))


def doubt(step: Step, receipt: Receipt) -> None:
    """See `Store`."""
    base = step.base(receipt.client, receipt.file)
    step.note_base(receipt.client, receipt.file, base.without_received(receipt.version))
