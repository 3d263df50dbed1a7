"""The steps that merge uploads, and edits by hand, with the head of their file."""

from msgspec.structs import replace

from mneme.merge import is_well_formed, merge
from mneme.model import ClientId, FileName, Head, Kind, Version, digest
from mneme.store.basis import Basis
from mneme.store.step import Step


def merge_next(step: Step) -> bool:
    """Merge the first waiting upload, if nobody holds the lock. Return whether another is waiting."""
    if not has_work(step):
        return False
    settle(step, step.queries.waiting(step.key)[0])
    return step.row.has_waiting


def has_work(step: Step) -> bool:
    """Whether uploads are waiting, and nobody holds the lock."""
    return step.merging.enabled and step.row.has_waiting and step.lock is None


def settle(step: Step, waiting: Version) -> None:
    """Merge a waiting upload; if that is impossible, leave it in history."""
    content = step.content(waiting)
    seen, newest = step.head(waiting.file), step.head_version(waiting.file)
    outcome = None
    if content is not None and step.results.of(is_well_formed, waiting.file, content):
        base = step.version(waiting.base)
        basis = Basis(base, step.content(base), names_base=waiting.names_base)
        outcome = merged(
            step,
            waiting.file,
            basis.removable(waiting.file, content, step.results),
            step.content(newest),
            content,
            upload_is_later=_is_later(step, waiting, newest),
        )
    if outcome is None:
        step.settle(waiting, merged=False)
        tell_unmerged(step, waiting.file, waiting.client, waiting.number, "the head stays as it is")
        return
    advance_merged(step, waiting, outcome, seen)


def _is_later(step: Step, waiting: Version, head: Version | None) -> bool:
    """Whether an upload came after every upload in the head; merge times do not count."""
    while head and head.kind is Kind.MERGED and head.time > waiting.time:
        before, kept = head.parents if len(head.parents) > 1 else (None, *head.parents)
        merged_one = step.version(kept)
        if merged_one and merged_one.time > waiting.time:
            return False
        head = step.version(before)
    return head is None or waiting.time >= head.time


def merged(
    step: Step,
    file: FileName,
    base: bytes | None,
    head: bytes | None,
    upload: bytes,
    *,
    upload_is_later: bool,
) -> bytes | None:
    """The merge of head and upload over their base; None if they cannot be merged."""
    if head is None:
        return upload
    return step.results.of(
        merge, file, base, head, upload, upload_is_later=upload_is_later, max_bytes=step.merging.max_bytes
    )


def advance_merged(step: Step, kept: Version, content: bytes, seen: Head | None) -> Head:
    """Make the outcome of a merge the head, even if the content stays equal.

    Because of the new mtime, the client will download it.
    """
    parents = (seen.version, kept.number) if seen else (kept.number,)
    version = step.new(kept.file, digest(content), len(content), Kind.MERGED)
    head = step.advance(replace(version, client=kept.client, base=kept.base, parents=parents), content)
    step.settle(kept, merged=True)
    step.tell(
        "Merged {kept}, from {client}, into {file} of {project}: version {n}, made of {parents}",
        kept=kept.number,
        client=str(kept.client) if kept.client else "an edit by hand",
        file=kept.file.value,
        n=head.version,
        parents=" and ".join(map(str, parents)),
    )
    return head


def tell_unmerged(step: Step, file: FileName, client: ClientId | None, number: int, so: str) -> None:
    """Log that a version was not merged; `so` says what happens instead."""
    step.tell(
        "Version {n} of {file} of {project}, from {client}, was not merged, and {so}: one of them is not what the "
        "plugin writes, or both are too large together",
        warn=True,
        n=number,
        file=file.value,
        client=str(client) if client else "an edit by hand",
        so=so,
    )
