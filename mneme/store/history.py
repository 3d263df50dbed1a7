"""The steps of history: reading, restoring and pruning versions."""

from collections.abc import Sequence

from msgspec.structs import replace

from mneme import leases
from mneme.model import (
    Accepted,
    Granted,
    HeldBy,
    Kind,
    Millis,
    NotLocked,
    Restore,
    StaleToken,
    Version,
    VersionContent,
)
from mneme.retention import EARLIEST, Retention
from mneme.retention import prunable as chosen
from mneme.store.step import Step

_BASE_KEPT_FOR = Millis(30 * 24 * 60 * 60 * 1000)
"""Time for which the base of a client is kept after the client was last seen."""


def version(step: Step, number: int) -> VersionContent | None:
    """See `Store`."""
    found = step.version(number)
    return VersionContent(found, step.queries.content(found)) if found else None


def restore(step: Step, asked: Restore) -> Accepted | HeldBy | NotLocked | StaleToken | None:
    """See `Store`."""
    permit = leases.permit(step.row.lock, asked.client, asked.token, step.now)
    if not isinstance(permit, Granted):
        return permit
    old = step.version(asked.version)
    if old is None or old.file is not asked.file:
        return None
    content, seen = step.queries.content(old), step.head(asked.file)
    if seen and seen.sha256 == old.sha256:
        return Accepted(seen)
    new = replace(
        step.new(asked.file, old.sha256, old.size, Kind.RESTORED), client=asked.client, parents=(old.number,)
    )
    head = step.advance(new, content)
    step.tell(
        "Restored version {old} of {file} of {project} for {client}: version {n}",
        old=old.number,
        file=asked.file.value,
        client=str(asked.client),
        n=head.version,
    )
    return Accepted(head)


def prunable(step: Step, retention: Retention) -> tuple[Version, ...]:
    """See `Store`."""
    versions = step.queries.versions(step.key)
    unmerged = step.queries.unmerged(step.key)
    return chosen(versions, _protected(step), unmerged, step.now, retention)


def remove(step: Step, versions: Sequence[Version]) -> tuple[Version, ...]:
    """Remove the versions that nobody needs. Return the removed ones."""
    protected = _protected(step)
    gone = tuple(
        one for one in versions if one.number not in protected and step.queries.version(step.key, one.number)
    )
    step.queries.remove_versions(step.key, (one.number for one in gone))
    return gone


def _protected(step: Step) -> set[int]:
    """The numbers of versions still needed: heads, exported and waiting ones, bases."""
    bases = step.queries.known_numbers(step.key, Millis(step.now - _BASE_KEPT_FOR), EARLIEST)
    if step.row.is_removed:
        return bases
    waiting = step.queries.waiting(step.key)
    return bases | {
        *(row.newest.number for row in step.heads.values()),
        *(row.exported for row in step.heads.values() if row.exported is not None),
        *(one.number for one in waiting),
        *(one.base for one in waiting if one.base is not None),
    }
