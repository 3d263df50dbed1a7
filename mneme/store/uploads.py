"""The steps of uploads and appends, which also record the bases of clients.

If the holder of the lock uploads, and its base is the head, the upload becomes the head. If the base is an older
version, the upload is stored as a version and merged with the head. If the client does not hold the lock, the upload is
rescued: stored as a version, which waits to be merged until nobody holds the lock.
"""

from typing import TypeAlias

from msgspec.structs import replace

from mneme import leases
from mneme.errors import FileTooLarge, KeyReused, MissingPrecondition
from mneme.merge.bounds import fits
from mneme.model import (
    NOT_THERE,
    Accepted,
    Append,
    Appended,
    Changed,
    FileName,
    Granted,
    Head,
    HeldBy,
    Kind,
    NotLocked,
    Precondition,
    Rescued,
    Role,
    StaleToken,
    Upload,
    Version,
    digest,
)
from mneme.store import merging
from mneme.store.base import Base
from mneme.store.basis import Basis, basis_of, replaced_by, versions_named, waiting_of
from mneme.store.step import Step, is_from_future

Refusal: TypeAlias = HeldBy | NotLocked | StaleToken


def upload(step: Step, asked: Upload) -> Accepted | Rescued | StaleToken | Changed:
    """See `Store`."""
    match leases.permit(step.row.lock, asked.client, asked.token, step.now):
        case Granted():
            return _accept(step, asked)
        case StaleToken() as stale:
            return stale
        case refusal:
            return _rescue(step, asked, refusal)


def _accept(step: Step, asked: Upload) -> Accepted | Changed:
    seen = step.head(asked.file)
    # A wrong clock may have dated the head in the future. Then an equal upload is stored, which corrects the mtime.
    if seen and not is_from_future(seen.mtime, step.now) and _is_head(step, asked, seen):
        return Accepted(seen)
    basis = basis_of(step, asked)
    if seen and _repeated(step, asked, seen, basis):
        return Accepted(seen, merged=True)
    if asked.only_if and not asked.only_if.holds(seen):
        return Changed(seen)
    _tell_unrelated(step, asked, basis)
    if seen is None or not step.merging.enabled or _is_of_head(step, asked, seen):
        return _become_head(step, asked, basis)
    return _accept_merged(step, asked, basis, seen)


def _accept_merged(step: Step, asked: Upload, basis: Basis, seen: Head) -> Accepted:
    """Merge an upload with the head; with the head as base, it becomes the head."""
    is_of_head = basis.version is not None and basis.version.number == seen.version
    head = basis.content if is_of_head else step.content(step.head_version(asked.file))
    before = basis.removable(asked.file, asked.content, step.results)
    if is_of_head and before == head:
        return _become_head(step, asked, basis)
    merged = merging.merged(step, asked.file, before, head, asked.content, upload_is_later=True)
    if merged in (None, asked.content):
        accepted = _become_head(step, asked, basis)
        if merged is None:
            merging.tell_unmerged(
                step, asked.file, asked.client, accepted.head.version, "it replaces the head"
            )
        return accepted
    kept = _keep_upload(step, asked, Kind.UPLOAD, Role.WAITING, basis)
    return Accepted(merging.advance_merged(step, kept, merged, seen), merged=True)


def _rescue(step: Step, asked: Upload, refusal: HeldBy | NotLocked) -> Rescued:
    """Keep an upload from a client without the lock, unless its content is kept already."""
    waiting = step.queries.waiting(step.key) if step.row.has_waiting else []
    waits = next((one for one in waiting if _is_of(one, asked) and step.content(one) is not None), None)
    if waits:
        return Rescued(refusal, waits.number)
    seen = step.head(asked.file)
    if seen and _is_head(step, asked, seen):
        return Rescued(refusal, seen.version)
    basis = basis_of(step, asked)
    repeated = _repeated(step, asked, seen, basis) if seen else None
    if repeated:
        return Rescued(refusal, repeated.number)
    _tell_unrelated(step, asked, basis)
    role = Role.WAITING if step.merging.enabled else Role.BESIDE
    kept = _keep_upload(step, asked, Kind.RESCUED, role, basis)
    step.tell(
        "Kept {file} of {project} from {client}, which does not hold the lock, as version {n}",
        file=asked.file.value,
        client=str(asked.client),
        n=kept.number,
    )
    return Rescued(refusal, kept.number)


def _is_of(waiting: Version, asked: Upload) -> bool:
    """Whether a waiting upload has the client, file and content of a new one."""
    return (waiting.client, waiting.file, waiting.sha256) == (asked.client, asked.file, asked.sha256)


def _is_head(step: Step, asked: Upload, seen: Head) -> bool:
    """Whether an upload equals the head. If so, record that the client has the head.

    The waiting upload that the new one would replace then waits no longer.
    """
    head = step.head_version(asked.file) if seen.sha256 == asked.sha256 else None
    if head is None or step.content(head) is None:
        return False
    _note_repeated(step, asked, replaced_by(step, asked)[0], Base.of(head))
    return True


def _repeated(step: Step, asked: Upload, seen: Head, basis: Basis) -> Version | None:
    """The version that an upload repeats: its base, or an earlier upload; else None.

    A client that uploads its base has changed nothing, and lacks the head. That is recorded.
    """
    if not step.merging.enabled or _is_of_head(step, asked, seen) or seen.sha256 == asked.sha256:
        return None
    repeated = basis.version if basis.content == asked.content else None
    if repeated is None and basis.names_base:
        # If the answer was lost, the client repeats its upload and names its old base.
        known = step.base(asked.client, asked.file).left
        repeated = next(
            (one for one in known if one.sha256 == asked.sha256 and step.content(one) is not None), None
        )
    if repeated:
        _note_repeated(step, asked, basis.replaces, Base.of(repeated, lacking=step.now))
    return repeated


def _note_repeated(step: Step, asked: Upload, replaced: Version | None, base: Base) -> None:
    """Record the base of a client that repeats a version.

    The waiting upload that its upload replaces, if any, waits no longer.
    """
    if replaced:
        step.settle(replaced, merged=False)
    step.note_base(asked.client, asked.file, base)


def _is_of_head(step: Step, asked: Upload, seen: Head) -> bool:
    """Whether the client names the head as base, and has no upload waiting."""
    named = asked.only_if is not None and asked.only_if.names(seen.sha256)
    return named and waiting_of(step, asked) is None


def _become_head(step: Step, asked: Upload, basis: Basis) -> Accepted:
    return Accepted(step.advance(_of_upload(step, asked, Kind.UPLOAD, Role.HEAD, basis), asked.content))


def _keep_upload(step: Step, asked: Upload, kind: Kind, role: Role, basis: Basis) -> Version:
    version = _of_upload(step, asked, kind, role, basis)
    step.keep(version, asked.content)
    return version


def _of_upload(step: Step, asked: Upload, kind: Kind, role: Role, basis: Basis) -> Version:
    return replace(
        step.new(asked.file, asked.sha256, len(asked.content), kind),
        client=asked.client,
        base=basis.version.number if basis.version else None,
        parents=(basis.replaces.number,) if basis.replaces else (),
        role=role,
        appended=asked.appended,
        names_base=basis.names_base and basis.version is not None,
        is_unrelated=basis.is_unrelated,
    )


def _tell_unrelated(step: Step, asked: Upload, basis: Basis) -> None:
    """Log that an upload shares nothing with its client's versions, so that both stay."""
    if basis.is_unrelated:
        step.tell(
            "{file} of {project} from {client} has nothing in common with what that client had before, so both "
            "stay. This id seems to be used in two places: if two folders there share it, remove sync.projectId; "
            "if the machine was cloned, remove its ~/.claude-mneme/.client-id",
            warn=True,
            file=asked.file.value,
            client=str(asked.client),
        )


# Appends


def append(step: Step, asked: Append) -> Accepted | Rescued | StaleToken | Changed:
    """See `Store`."""
    if asked.only_if is None or not asked.only_if.is_exact:
        raise MissingPrecondition
    permit = leases.permit(step.row.lock, asked.client, asked.token, step.now)
    granted = isinstance(permit, Granted)
    if granted:
        _merge_own(step, asked)
    done = _done_before(step, asked, permit)
    if done:
        return done
    before = _extended(step, asked, asked.only_if, granted)
    head = step.head(asked.file)
    if before is None:
        return Changed(head)
    content = _with_lines(before, asked.lines)
    if not step.results.of(fits, content, step.merging.max_bytes):
        raise FileTooLarge(
            f"With these lines {asked.file.value} would be larger than {step.merging.max_bytes} bytes, which no "
            "stock client can download: upload it without its oldest lines"
        )
    only_if = NOT_THERE if granted and head is None else Precondition(frozenset({digest(before)}))
    appended = Appended(asked.key, _lines_digest(asked))
    return upload(step, Upload(asked.file, content, asked.client, asked.token, only_if, appended))


def _merge_own(step: Step, asked: Append) -> None:
    """Merge the waiting uploads of the client that appends, which holds the lock.

    After a crash there may be some. The append must not replace them.
    """
    if not (step.merging.enabled and step.row.has_waiting):
        return
    for waiting in step.queries.waiting(step.key):
        if (waiting.client, waiting.file) == (asked.client, asked.file):
            merging.settle(step, waiting)


def _done_before(step: Step, asked: Append, permit: Granted | Refusal) -> Accepted | Rescued | None:
    """The outcome of an earlier append with the same key; None without one.

    None, too, if the earlier one must be done again: it was rescued, and its client now holds the lock.
    """
    version = step.queries.keyed(step.key, asked.client, asked.file, asked.key) if asked.key else None
    if version is None or version.appended is None:
        return None
    if version.appended.lines != _lines_digest(asked):
        raise KeyReused
    head = step.head(asked.file)
    version = _in_its_place(step, version)
    if not step.queries.is_unmerged(step.key, version.number):
        return Accepted(head, merged=version.number != head.version) if head else None
    if isinstance(permit, HeldBy | NotLocked) and step.content(version) is not None:
        return Rescued(permit, version.number)
    return None


def _in_its_place(step: Step, version: Version) -> Version:
    """The last upload that replaced a waiting one; the version itself if none did."""
    while step.queries.is_unmerged(step.key, version.number):
        later = step.queries.successor(step.key, version)
        if later is None:
            break
        version = later
    return version


def _extended(step: Step, asked: Append, only_if: Precondition, granted: bool) -> bytes | None:
    """The content that an append adds its lines to; None if the append must fail.

    The content is the head, or an older version that the append names. If the client does not hold the lock and has an
    upload waiting, it is that upload, so that both are merged. If the named version is not known, the content is None
    for the holder of the lock, and empty for any other client.
    """
    content = _named_content(step, asked.file, only_if)
    if granted:
        return content
    waiting = step.queries.replaceable(step.key, asked.client, asked.file) if step.row.has_waiting else None
    kept = step.content(waiting)
    if kept is None or _holds_already(asked, only_if, content, kept):
        return content or b""
    return kept


def _named_content(step: Step, file: FileName, only_if: Precondition) -> bytes | None:
    """The content that a precondition names; None if not known.

    The content is empty if the precondition says that there is no file, and there is none.
    """
    if only_if.holds(step.head(file)):
        version = step.head_version(file)
        return step.queries.content(version) if version else b""
    named = map(step.content, versions_named(step, file, only_if))
    return next((one for one in named if one is not None), None)


def _lines_digest(asked: Append) -> str:
    return digest(_with_lines(b"", asked.lines))


def _holds_already(asked: Append, only_if: Precondition, content: bytes | None, waiting: bytes) -> bool:
    """Whether an append repeats all waiting lines, because it never got the answer.

    Its named content with its lines then begins with the waiting content.
    """
    if content is None or not only_if.names(digest(content)):
        return False
    return _with_lines(content, asked.lines).startswith(waiting)


def _with_lines(content: bytes, added: bytes) -> bytes:
    """A content with lines added at its end, and with missing line breaks."""
    return b"".join(part if part.endswith(b"\n") else part + b"\n" for part in (content, added) if part)
