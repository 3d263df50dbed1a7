"""The search for an upload's base among the versions that its client has."""

from collections.abc import Iterator

from attrs import evolve, frozen

from mneme import bases
from mneme.bases import Candidate, Evidence
from mneme.model import FileName, Precondition, Upload, Version
from mneme.store.apart import Results
from mneme.store.step import Step


@frozen
class Basis:
    """The base of an upload, with its content and how it is known.

    None where it is not known. `names_base` is whether the client itself said so, `replaces` the waiting upload whose
    place the upload takes, `is_unrelated` whether it shares nothing with what its client had.
    """

    version: Version | None = None
    content: bytes | None = None
    names_base: bool = False
    replaces: Version | None = None
    is_unrelated: bool = False

    def removable(self, file: FileName, upload: bytes, results: Results) -> bytes | None:
        """The part of the content from which the upload can have removed what it lacks."""
        if self.content is None or self.names_base:
            return self.content
        return results.of(bases.removable, file, self.content, upload)


def basis_of(step: Step, upload: Upload) -> Basis:
    """The version that an upload was made from, as far as can be known.

    An upload that takes the place of a waiting one has the base of that one: what has never been merged is no base.
    """
    if not step.merging.enabled:
        return _named(step, upload) or Basis(step.base(upload.client, upload.file).sure)
    waiting, is_stranger = replaced_by(step, upload)
    if waiting:
        return _in_place_of(step, waiting)
    basis = _own(step, upload)
    return evolve(basis, is_unrelated=True) if is_stranger else basis


def replaced_by(step: Step, upload: Upload) -> tuple[Version | None, bool]:
    """The waiting upload whose place this one takes, or whether it shares nothing with one."""
    waiting = waiting_of(step, upload)
    if waiting is None:
        return None, False
    kept = step.content(waiting)
    if kept is None or _continues(step, waiting, kept, upload):
        return waiting, False
    return None, step.results.of(bases.share_nothing, upload.file, kept, upload.content)


def waiting_of(step: Step, upload: Upload) -> Version | None:
    """The newest waiting upload of the same client and file, which may be replaced."""
    if not (step.merging.enabled and step.row.has_waiting):
        return None
    return step.queries.replaceable(step.key, upload.client, upload.file)


def versions_named(step: Step, file: FileName, only_if: Precondition) -> Iterator[Version]:
    """The versions of a file with a content that a precondition names, the newest first."""
    newest = step.newest(file)
    if newest and only_if.names(newest.sha256):
        yield newest
    yield from step.queries.versions_with(step.key, file, only_if.digests or ())


def names_base(upload: Upload) -> bool:
    """Whether an upload says which content it was made from."""
    return upload.only_if is not None and upload.only_if.is_exact and not upload.only_if.absent


def _continues(step: Step, waiting: Version, kept: bytes, upload: Upload) -> bool:
    """Whether an upload was made from a waiting one, by its content or named base."""
    if not step.results.of(bases.share_nothing, upload.file, kept, upload.content):
        return step.results.of(bases.continues, upload.file, kept, upload.content)
    return waiting.names_base and names_base(upload)


def _in_place_of(step: Step, waiting: Version) -> Basis:
    """The base of the upload that waits, which this one takes the place of."""
    version = step.version(waiting.base)
    return Basis(version, step.content(version), names_base=waiting.names_base, replaces=waiting)


def _own(step: Step, upload: Upload) -> Basis:
    """The version that an upload was made from, whatever waits."""
    named = _named(step, upload)
    if named:
        return named
    base = step.base(upload.client, upload.file)
    candidates: list[Candidate] = []
    for version in base.left:
        content = step.content(version)
        if content is None:
            # What is newer could be taken for the base by what this one had in it.
            break
        received = version.number in base.received
        candidates.append(Candidate(content, Evidence.RECEIVED if received else Evidence.SENT))
    choice = step.results.of(bases.choose, upload.file, tuple(candidates), upload.content)
    if choice.index is None:
        return Basis(is_unrelated=choice.is_unrelated)
    return Basis(base.left[choice.index], candidates[choice.index].content)


def _named(step: Step, upload: Upload) -> Basis | None:
    """The base that an upload names; None if it names none, or several."""
    if upload.only_if is None or not names_base(upload):
        return None
    named = versions_named(step, upload.file, upload.only_if)
    version = next((one for one in named if not step.queries.is_unmerged(step.key, one.number)), None)
    return Basis(version, step.content(version), names_base=True)
