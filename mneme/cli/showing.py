"""`show`: a content, as it is."""

import click

from mneme import times
from mneme.cli import output
from mneme.cli.asking import ask
from mneme.cli.lookup import content_of
from mneme.cli.options import (
    FILES,
    NUMBER,
    ProjectCommand,
    as_json,
    file_argument,
    project_argument,
    server_options,
)
from mneme.client import Download
from mneme.model import FileName, ProjectId, digest


@click.command(cls=ProjectCommand, epilog=FILES)
@project_argument
@file_argument
@click.option(
    "--version",
    "number",
    type=NUMBER,
    metavar="N",
    help="An older version, instead of the head.",
)
@server_options
@as_json
def show(
    project: ProjectId, file: str, number: int | None, server: str | None, key: str | None, as_json: bool
) -> None:
    """Print FILE of PROJECT as the server has it, byte for byte."""
    found = ask(server, key, lambda client: content_of(client, project, FileName(file), number))
    if as_json:
        output.print_json(_document(project, file, found))
    else:
        output.print_bytes(found.content)
    if digest(found.content) != found.sha256:
        output.warn(
            f"Version {found.version} is not UTF-8, and no answer of the server can hold it: what is not is shown as "
            f"\N{REPLACEMENT CHARACTER}; on the server it is in .history, as it is"
        )


def _document(project: ProjectId, file: str, found: Download) -> dict[str, object]:
    return {
        "project": project.value,
        "file": file,
        "version": found.version,
        "mtime": times.to_text(found.mtime),
        "sha256": found.sha256,
        "content": found.content.decode(),
    }
