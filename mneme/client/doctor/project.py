"""Checks of a project's id against the list of projects on the server. Pure."""

import unicodedata
from collections.abc import Iterator, Sequence

from mneme import wire
from mneme.client.doctor.findings import Finding, doubtful, good
from mneme.client.localproject import LocalProject
from mneme.model import ProjectId

_SHOWN = 5
_SAME_ID = (
    "keep it at the same path on each machine, else they never meet. (sync.projectId would be one id for all projects "
    "of a machine, which then share one memory.)"
)


def project_findings(
    local: LocalProject, is_chosen: bool, projects: Sequence[wire.WireProject]
) -> Iterator[Finding]:
    """Whether the server knows the project; `is_chosen` is whether the settings gave its id."""
    origin = "sync.projectId" if is_chosen else f"the path {local.root}"
    found = f"The project is {local.project.value}, from {origin}"
    others = [ProjectId(one.id) for one in projects if one.id != local.project.value]
    twins = [other for other in others if _is_named(other, local.root.name)]
    if len(others) < len(projects):
        yield good("project-known", f"{found}, and the server knows it")
    elif twins or not others:
        yield good("project-new", f"{found}: the server does not know it yet, the first push brings it there")
    else:
        yield doubtful(
            "project-unknown",
            f"{found}, and the server does not know it; it knows {_listed(others)}",
            f"If it is new, nothing: the first push brings it there. If it is one of these, {_SAME_ID}",
        )
    if twins:
        yield doubtful(
            "project-twins",
            f"The server knows a project of this name by other ids: {_listed(twins)}",
            f"If it is the same project, {_SAME_ID}",
        )


def _is_named(project: ProjectId, name: str) -> bool:
    """Whether an id is a folder's name, or a path that ends with it."""
    text, last = _folded(project.value), _folded(name)
    return bool(last) and (text == last or text.endswith((f"-{last}", f"/{last}")))


def _folded(text: str) -> str:
    # A Mac writes an é in a path as two characters, Linux as one.
    return unicodedata.normalize("NFC", text).casefold()


def _listed(projects: Sequence[ProjectId]) -> str:
    shown = ", ".join(project.value for project in projects[:_SHOWN])
    more = len(projects) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
