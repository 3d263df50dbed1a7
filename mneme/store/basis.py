"""The base of an upload, found among the versions that its client may have."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from mneme import bases
from mneme.bases import Candidate, Evidence
from mneme.model import FileName, Precondition, Upload, Version
from mneme.store.apart import Results
from mneme.store.step import Step


class Basis(Struct, frozen=True):
    """The base of an upload with its content, and how it was found.

    `version` and `content` are None if the base is not known. `names_base` is whether the client itself named the base.
    `replaces` is the waiting upload that the new upload replaces. `is_unrelated` is whether the upload shares nothing
    with the versions that its client had.
    """

    version: Version | None = None
    content: bytes | None = None
    names_base: bool = False
    replaces: Version | None = None
    is_unrelated: bool = False

    def removable(self, file: FileName, upload: bytes, results: Results) -> bytes | None:
        """The part of the base from which the upload can have removed items. See `bases.removable`."""
        if self.content is None or self.names_base:
            return self.content
        return results.of(bases.removable, file, self.content, upload)


def basis_of(step: Step, upload: Upload) -> Basis:
    """The base of an upload, as far as it can be known.

    An upload that replaces a waiting one has the same base as that one: a version that was never merged is no base.
    """
    if not step.merging.enabled:
        return _named(step, upload) or Basis(step.base(upload.client, upload.file).sure)
    waiting, is_stranger = replaced_by(step, upload)
    if waiting:
        return _in_place_of(step, waiting)
    basis = _own(step, upload)
    return replace(basis, is_unrelated=True) if is_stranger else basis


def replaced_by(step: Step, upload: Upload) -> tuple[Version | None, bool]:
    """The waiting upload that this one replaces, and whether both share nothing."""
    waiting = waiting_of(step, upload)
    if waiting is None:
        return None, False
    kept = step.content(waiting)
    if kept is None or _is_made_from(upload, waiting):
        return waiting, False
    if upload.only_if:
        # It knows nothing of the waiting one: its answer was lost, or that one is from another folder of the machine.
        return (waiting if step.results.of(bases.repeats, upload.file, kept, upload.content) else None), False
    if step.results.of(bases.share_nothing, upload.file, kept, upload.content):
        return None, True
    return (waiting if step.results.of(bases.continues, upload.file, kept, upload.content) else None), False


def waiting_of(step: Step, upload: Upload) -> Version | None:
    """The newest waiting upload of the same client and file, which this one may replace."""
    if not (step.merging.enabled and step.row.has_waiting):
        return None
    return step.queries.replaceable(step.key, upload.client, upload.file)


def versions_named(step: Step, file: FileName, only_if: Precondition) -> Iterator[Version]:
    """The versions of a file whose content a precondition names, the newest first."""
    newest = step.newest(file)
    if newest and only_if.names(newest.sha256):
        yield newest
    yield from step.queries.versions_with(step.key, file, only_if.digests or ())


def names_base(upload: Upload) -> bool:
    """Whether an upload names its base: exactly one content, in its precondition."""
    return upload.only_if is not None and upload.only_if.is_exact and not upload.only_if.absent


def _is_made_from(upload: Upload, version: Version) -> bool:
    """Whether an upload names this version as its base."""
    return upload.only_if is not None and upload.only_if.names_only(version.sha256)


def _in_place_of(step: Step, waiting: Version) -> Basis:
    """The base of an upload that replaces a waiting one: that one's base."""
    version = step.version(waiting.base)
    return Basis(version, step.content(version), names_base=waiting.names_base, replaces=waiting)


def _own(step: Step, upload: Upload) -> Basis:
    """The base of an upload, without regard to waiting uploads."""
    named = _named(step, upload)
    if named:
        return named
    base = step.base(upload.client, upload.file)
    candidates: list[Candidate] = []
    for version in base.left:
        content = step.content(version)
        if content is None:
            # A newer version shares lines with this one, and could be taken for the base by mistake.
            break
        received = version.number in base.received
        candidates.append(Candidate(content, Evidence.RECEIVED if received else Evidence.SENT))
    choice = step.results.of(bases.choose, upload.file, tuple(candidates), upload.content)
    if choice.index is None:
        return Basis(is_unrelated=choice.is_unrelated)
    return Basis(base.left[choice.index], candidates[choice.index].content)


def _named(step: Step, upload: Upload) -> Basis | None:
    """The base that an upload names; None if the upload names none, or several."""
    if upload.only_if is None or not names_base(upload):
        return None
    named = list(versions_named(step, upload.file, upload.only_if))
    version = next((one for one in named if not step.queries.is_unmerged(step.key, one.number)), None)
    if version is None:
        # Made from an upload that was kept and never merged, it has that one's base.
        own = next((one for one in named if one.client == upload.client), None)
        version = step.version(own.base) if own else None
    return Basis(version, step.content(version), names_base=True)
