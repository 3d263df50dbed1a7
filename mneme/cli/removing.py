"""`rm`: the removal of a project from the server."""

import click

from mneme import readable, wire
from mneme.cli import output
from mneme.cli.asking import ask, is_attended
from mneme.cli.options import ProjectCommand, as_json, fail, project_argument, server_options
from mneme.cli.wording import holder
from mneme.client.calls import Client
from mneme.client.errors import Refused
from mneme.model import ProjectId
from mneme.readable import plain


@click.command(cls=ProjectCommand, short_help="Remove a project from the server.")
@project_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
@as_json
def rm(project: ProjectId, yes: bool, server: str | None, key: str | None, as_json: bool) -> None:
    """Remove PROJECT from the server.

    Its history stays there for as long as the server keeps old versions; `mneme restore` brings a file back. The
    machines keep their own files, and send one again once it changes there.
    """
    problem = ask(server, key, lambda client: _removed(client, project, yes))
    if problem:
        fail(problem, as_json)
    if as_json:
        output.print_json({"project": project.value, "removed": True})
    else:
        output.tell(
            f"Removed {project.value}. Each machine keeps its files until you remove them there, in "
            "~/.claude-mneme/projects; with the next change there the project is back"
        )


def _removed(client: Client, project: ProjectId, is_agreed: bool) -> str | None:
    """Remove a project; the reason why it stays, if it does."""
    found = wire.named(project, client.projects())
    if found is None:
        return f"{client.url} has no project {project.value}: {output.command_line('projects')} lists them"
    if not is_agreed and not is_attended():
        return f"Whether to remove {project.value} cannot be asked here: give --yes"
    if not is_agreed and not _confirmed(found, client.url):
        return f"{found.id} stays as it is"
    try:
        held = client.remove_project(project)
    except Refused as problem:
        raise Refused(f"The server at {client.url} does not remove {found.id}: {problem}") from None
    if held:
        unlock = output.command_line("unlock", found.id)
        return f"{found.id} is locked by {holder(held.lock)}, and stays: {unlock} releases the lock"
    return None


def _confirmed(project: wire.WireProject, url: str) -> bool:
    files = readable.counted(len(project.files), "file")
    question = f"Remove {project.id} with {files}, {readable.size(project.size)}, from {url}?"
    return click.confirm(plain(question), err=True)
