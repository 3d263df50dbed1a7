"""The steps of `BRIEFINGS`, which one session leaves for the next.

They are not merged, and need no lock: each upload and each removal names the head that it replaces. A content that was
the head before becomes it again by a restore alone. So no session is told what another was told already.
"""

from msgspec.structs import replace

from mneme.errors import UnnamedHead
from mneme.model import (
    Accepted,
    Bygone,
    Changed,
    ClientId,
    FileName,
    Kind,
    Precondition,
    Removal,
    Removed,
    Role,
    Upload,
)
from mneme.store.step import Step


def upload(step: Step, asked: Upload) -> Accepted | Changed | Bygone:
    """See `Store`."""
    only_if, head = _exact(asked.only_if), step.head(asked.file)
    if head and head.sha256 == asked.sha256:
        return Accepted(head)
    had = step.queries.versions_with(step.key, asked.file, [asked.sha256])
    if had:
        return Bygone(had[0].number)
    if not only_if.holds(head):
        return Changed(head)
    version = step.new(asked.file, asked.sha256, len(asked.content), Kind.UPLOAD)
    return Accepted(step.advance(replace(version, client=asked.client), asked.content))


def remove(step: Step, asked: Removal) -> Removed | Changed | None:
    """See `Store`."""
    only_if, head = _exact(asked.only_if), step.head_version(asked.file)
    if head is None:
        return _removed_before(step, asked.file, asked.client, only_if)
    if not only_if.admits(head.sha256):
        return Changed(step.head(asked.file))
    gone = replace(
        step.new(asked.file, head.sha256, head.size, Kind.REMOVED),
        client=asked.client,
        parents=(head.number,),
        role=Role.BESIDE,
    )
    step.remove_head(gone, step.queries.content(head))
    return Removed(gone.number)


def _exact(only_if: Precondition | None) -> Precondition:
    if only_if is None or not only_if.is_exact:
        raise UnnamedHead
    return only_if


def _removed_before(step: Step, file: FileName, client: ClientId, only_if: Precondition) -> Removed | None:
    """The outcome for a client that removed this head already, and never got the answer."""
    newest = next(iter(step.queries.history(step.key, file, 1)), None)
    is_repeated = newest and newest.kind is Kind.REMOVED and newest.client == client
    return Removed(newest.number) if newest and is_repeated and only_if.names(newest.sha256) else None
