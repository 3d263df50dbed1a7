"""`history` and `show`: the versions that the server keeps, and the content of one."""

from collections.abc import Sequence

import click
from msgspec import Struct

from mneme import readable, times, wire
from mneme.cli import output
from mneme.cli.asking import ask
from mneme.cli.lookup import NotThere, content_of, no_file
from mneme.cli.options import (
    FILES,
    NUMBER,
    ProjectCommand,
    as_json,
    file_argument,
    optional_file_argument,
    project_argument,
    server_options,
)
from mneme.client.calls import Client, Download
from mneme.model import FileName, ProjectId, digest

_COLUMNS = ("version", "file", "kind", "when", "client", "size", "made from")


class Listing(Struct, frozen=True):
    """Versions, the newest first; `more` if there are older ones."""

    versions: Sequence[wire.FileVersion]
    more: bool


@click.command(cls=ProjectCommand, epilog=FILES)
@project_argument
@optional_file_argument
@click.option(
    "--limit", type=NUMBER, metavar="N", default=25, show_default=True, help="How many to list at most."
)
@server_options
@as_json
def history(
    project: ProjectId, file: str | None, limit: int, server: str | None, key: str | None, as_json: bool
) -> None:
    """List the versions of FILE in PROJECT, or of all its files.

    The newest comes first. A version is made from its base, from those that were merged into it (2 + 3), or from the
    one that was restored.
    """
    files = [FileName(file)] if file else list(FileName)
    listing = ask(server, key, lambda client: listing_of(client, project, files, limit))
    if as_json:
        output.print_json({"versions": listing.versions, "more": listing.more})
        return
    output.print_table(_COLUMNS, [_row(version) for version in listing.versions], "")
    if listing.more:
        output.tell(f"There are older ones: --limit {2 * limit} lists more")


@click.command(cls=ProjectCommand, epilog=FILES)
@project_argument
@file_argument
@click.option("--version", "number", type=NUMBER, metavar="N", help="An older version, instead of the head.")
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
            f"\N{REPLACEMENT CHARACTER}; the database of the server has it as it is"
        )


def listing_of(client: Client, project: ProjectId, files: Sequence[FileName], limit: int) -> Listing:
    """The newest versions of these files together; raises `NotThere` if there are none."""
    found = [
        wire.FileVersion.among_others(version, file.value)
        for file in files
        for version in client.history(project, file, limit + 1)
    ]
    if not found:
        raise no_file(client, project, files[0]) if len(files) == 1 else _no_project(client, project)
    found.sort(key=lambda version: version.version, reverse=True)
    return Listing(found[:limit], len(found) > limit)


def _no_project(client: Client, project: ProjectId) -> NotThere:
    return NotThere(
        f"{project.value} has no versions on {client.url}: {output.command_line('projects')} lists what there is"
    )


def _row(version: wire.FileVersion) -> Sequence[str]:
    return (
        str(version.version),
        version.file,
        version.kind,
        times.text_to_local_text(version.mtime),
        version.client_id or "",
        readable.size(version.size),
        _made_from(version),
    )


def _made_from(version: wire.FileVersion) -> str:
    parents = " + ".join(map(str, version.parents))
    return parents or ("" if version.base is None else str(version.base))


def _document(project: ProjectId, file: str, found: Download) -> dict[str, object]:
    return {
        "project": project.value,
        "file": file,
        "version": found.version,
        "mtime": times.to_text(found.mtime),
        "sha256": found.sha256,
        "content": found.content.decode(),
    }
