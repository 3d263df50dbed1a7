"""`diff`: what changed from one version to another."""

from collections.abc import Mapping

import click
from msgspec import UNSET, Struct
from rich.text import Text

from mneme.cli import output
from mneme.cli.asking import ask
from mneme.cli.changes import drawn
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
from mneme.client.calls import Client, Download
from mneme.errors import MnemeError
from mneme.merge.differences import Change, ChangedValue, Entries, Hunk, Lines, differences
from mneme.merge.jsonvalues import written
from mneme.model import FileName, ProjectId
from mneme.readable import plain


class TooLarge(MnemeError):
    """Two versions with more lines than can be compared."""


class Pair(Struct, frozen=True):
    """Two versions of a file; `is_head` is whether the newer is the head."""

    older: Download
    newer: Download
    is_head: bool


@click.command(cls=ProjectCommand, epilog=FILES)
@project_argument
@file_argument
@click.argument("older", metavar="A", type=NUMBER)
@click.argument("newer", metavar="[B]", type=NUMBER, required=False)
@server_options
@as_json
def diff(
    project: ProjectId,
    file: str,
    older: int,
    newer: int | None,
    server: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Show what changed in FILE of PROJECT from A to B.

    A and B are versions; without B it is the head. By entries, whatever their order: + is added, - is removed, ~
    is changed. summary.md is compared line by line, and so are files that the plugin did not write.
    """
    name = FileName(file)
    pair = ask(server, key, lambda client: pair_of(client, project, name, older, newer))
    found = differences(name, pair.older.content, pair.newer.content)
    if found is None:
        raise TooLarge(
            f"Version {pair.older.version} or {pair.newer.version} of {file} has too many lines to be compared: "
            f"{output.command_line('show', project.value, file)} prints it"
        )
    if as_json:
        output.print_bytes(_json(project, name, pair, found))
        return
    lines = list(drawn(found))
    output.print_lines([_header(project, name, pair), *lines])
    if not lines:
        output.tell(_nothing(pair))


def pair_of(client: Client, project: ProjectId, file: FileName, older: int, newer: int | None) -> Pair:
    """The versions to compare; raises `NotThere`."""
    before = content_of(client, project, file, older)
    after = content_of(client, project, file, newer)
    return Pair(before, after, newer is None)


def _header(project: ProjectId, file: FileName, pair: Pair) -> Text:
    newer = f"version {pair.newer.version}" + (", the head" if pair.is_head else "")
    return Text(plain(f"{file.value} of {project.value}: version {pair.older.version} → {newer}"), "bold")


def _nothing(pair: Pair) -> str:
    if pair.older.content == pair.newer.content:
        return "The two versions are the same"
    return "The two versions have the same entries, in another order or with other white space"


def _json(project: ProjectId, file: FileName, pair: Pair, found: Entries | Lines) -> bytes:
    document = {
        "project": project.value,
        "file": file.value,
        "from": pair.older.version,
        "to": pair.newer.version,
        "by": "entries" if isinstance(found, Entries) else "lines",
        "changes": _changes(found),
    }
    return written(document, indent=2) + b"\n"


def _changes(found: Entries | Lines) -> list[Mapping[str, object]]:
    match found:
        case Entries(changes):
            return [_change(change) for change in changes]
        case Lines(hunks):
            return [_hunk(hunk) for hunk in hunks]


def _change(change: Change) -> Mapping[str, object]:
    values = {"before": change.before, "after": change.after}
    changed = {name: _json_value(value) for name, value in values.items() if value is not UNSET}
    return {"place": change.path, "isItem": change.is_item, **changed}


def _json_value(entry: ChangedValue) -> object:
    return entry.decode(errors="replace") if isinstance(entry, bytes) else entry


def _hunk(hunk: Hunk) -> Mapping[str, object]:
    removed, added = map(_texts, (hunk.removed, hunk.added))
    return {"line": hunk.line, "removed": removed, "added": added}


def _texts(lines: tuple[bytes, ...]) -> list[str]:
    return [line.decode(errors="replace") for line in lines]
