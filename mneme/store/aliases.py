"""The step that makes an id another name of a project."""

from msgspec.structs import replace

from mneme.errors import AliasRefused
from mneme.merge import is_well_formed
from mneme.model import (
    ClientId,
    EventKind,
    FileName,
    Head,
    HeldBy,
    Kind,
    Linked,
    Lock,
    ProjectId,
    Version,
    digest,
)
from mneme.store import merging
from mneme.store.step import Step


def link(target: Step, source: Step | None, alias: ProjectId, client: ClientId) -> Linked | HeldBy:
    """See `Store`; `source` is the project that `alias` names so far."""
    if target.name == alias:
        raise AliasRefused(f"{alias} cannot be another name of itself: both ids name one memory already")
    if source and source.key == target.key:
        return Linked(target.name)
    if source and source.name != alias:
        raise AliasRefused(f"{alias} is another name of {source.name} already: link {source.name} instead")
    lock = _lock_of_another(target, client) or (_lock_of_another(source, client) if source else None)
    if lock:
        return HeldBy(lock)
    linked = _joined(target, source) if source else Linked(target.name)
    target.queries.add_alias(target.key, alias)
    target.tell("{alias} is another name of {project} from now on", alias=str(alias))
    return linked


def _lock_of_another(step: Step, client: ClientId) -> Lock | None:
    return step.lock if step.lock and step.lock.client != client else None


def _joined(target: Step, source: Step) -> Linked:
    """Move all versions and bases into the target, and merge the heads without a base."""
    heads = [row for row in source.heads.values() if row.is_there]
    moved_by = target.row.last_number
    target.queries.join(source.key, target.key, moved_by)
    target.row = replace(
        target.row,
        last_number=moved_by + source.row.last_number,
        last_token=max(target.row.last_token, source.row.last_token),
        has_waiting=target.queries.has_waiting(target.key),
    )
    target.forget_heads()
    target.note_change()
    merged: list[FileName] = []
    unmerged: list[FileName] = []
    for row in heads:
        moved = replace(row.newest, number=row.newest.number + moved_by, mtime=row.mtime)
        head = target.head(moved.file)
        if head is None:
            _become_head(target, moved)
        elif head.sha256 != moved.sha256:
            (merged if _merge(target, moved, head) else unmerged).append(moved.file)
    return Linked(target.name, tuple(merged), tuple(unmerged))


def _become_head(target: Step, moved: Version) -> None:
    target.queries.set_head(target.key, moved)
    target.note_event(EventKind.HEAD, moved.file, moved.number)
    target.forget_heads()


def _merge(target: Step, moved: Version, head: Head) -> bool:
    """Merge a moved head with that of the target; False if they cannot be merged.

    The moved one replaces one that is not what the plugin writes.
    """
    content = target.content(moved)
    outcome = None
    if content is not None:
        before, is_later = target.content(target.head_version(moved.file)), moved.mtime >= head.mtime
        outcome = merging.merged(target, moved.file, None, before, content, upload_is_later=is_later)
        if outcome is None and _is_spoiled(moved.file, before) and not _is_spoiled(moved.file, content):
            outcome = content
    if outcome is None:
        merging.tell_unmerged(
            target, moved.file, moved.client, moved.number, "the head of the project stays as it is"
        )
        return False
    # A new version, even if the content stays equal: its mtime makes stock clients download it.
    version = target.new(moved.file, digest(outcome), len(outcome), Kind.MERGED)
    target.advance(replace(version, client=moved.client, parents=(head.version, moved.number)), outcome)
    return True


def _is_spoiled(file: FileName, content: bytes | None) -> bool:
    return content is not None and not is_well_formed(file, content)
