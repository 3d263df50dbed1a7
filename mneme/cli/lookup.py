"""Contents for people, downloaded without a client id, so that they become nobody's base."""

from mneme.cli.output import command_line
from mneme.client.calls import Client, Download
from mneme.errors import MnemeError
from mneme.model import FileName, ProjectId


class NotThere(MnemeError):
    """A missing file or version, with advice on where to look."""


def content_of(client: Client, project: ProjectId, file: FileName, number: int | None) -> Download:
    """A version of a file, or its head; raises `NotThere`."""
    found = _head(client, project, file) if number is None else _version(client, project, file, number)
    if found is None:
        raise no_file(client, project, file) if number is None else no_version(project, file, number)
    return found


def no_file(client: Client, project: ProjectId, file: FileName) -> NotThere:
    """The error that says that a project has no such file."""
    return NotThere(
        f"{project.value} has no {file.value} on {client.url}: {command_line('projects')} lists what there is"
    )


def no_version(project: ProjectId, file: FileName, number: int) -> NotThere:
    """The error that says that a file has no such version."""
    listing = command_line("history", project.value, file.value)
    return NotThere(
        f"{file.value} of {project.value} has no version {number}, or no more: {listing} lists those there are"
    )


def _head(client: Client, project: ProjectId, file: FileName) -> Download | None:
    heads = client.heads(project)
    head = next((one for one in heads if one.file is file), None)
    if head is None:
        return None
    # An edit by hand for which the disk had no space has no version number yet.
    return _version(client, project, file, head.version) if head.version else client.look(project, file)


def _version(client: Client, project: ProjectId, file: FileName, number: int) -> Download | None:
    found = client.version(project, file, number)
    return found if isinstance(found, Download) else None
