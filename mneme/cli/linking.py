"""`link`: two ids become names of one project."""

import enum
import sys
from collections.abc import Callable, Sequence

import click
from msgspec import Struct

from mneme import readable, wire
from mneme.cli import output
from mneme.cli.asking import ask_as_machine, is_attended
from mneme.cli.options import ProjectCommand, ProjectType, as_json, server_options
from mneme.cli.wording import holder
from mneme.client.calls import Client
from mneme.model import HeldBy, Lock, Millis, ProjectId
from mneme.readable import plain


class End(enum.Enum):
    """Outcomes of `link`."""

    LINKED = "linked"
    ONE_ALREADY = "one already"
    """Both ids were of one project before."""
    UNKNOWN = "unknown"
    """The server knows neither id."""
    LEFT = "left"
    """The person did not confirm."""
    LOCKED = "locked"
    """Another client holds the lock of one of them."""


class Linking(Struct, frozen=True):
    """The outcome, with the `lock` in the way, or the server's answer."""

    end: End
    lock: Lock | None = None
    linked: wire.WireLinked | None = None


class Both(Struct, frozen=True):
    """The projects of both ids on the server, each None if it knows none."""

    old: wire.WireProject | None
    new: wire.WireProject | None
    now: Millis


@click.command(cls=ProjectCommand, short_help="Make two ids names of one project.")
@click.argument("old", type=ProjectType())
@click.argument("new", type=ProjectType())
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
@as_json
def link(
    old: ProjectId, new: ProjectId, yes: bool, server: str | None, key: str | None, as_json: bool
) -> None:
    """Make OLD another name of the project NEW, for good.

    For one project that has several ids, such as its paths on two machines. Memory that both have is merged: nothing
    is lost, and nothing is there twice. Machines need no new settings, whichever of the ids they say.
    """

    def agreed(both: Both) -> bool:
        return yes or (is_attended() and _confirmed(old, new, both))

    done = ask_as_machine(server, key, lambda client: linked(client, old, new, agreed))
    if as_json:
        output.print_json(_document(old, new, done))
    if not as_json or done.end not in (End.LINKED, End.ONE_ALREADY):
        _say(old, new, done)
    sys.exit(0 if done.end in (End.LINKED, End.ONE_ALREADY) else 1)


def linked(client: Client, old: ProjectId, new: ProjectId, agreed: Callable[[Both], bool]) -> Linking:
    """Make two ids one project, if `agreed`; raises `Refused` if they cannot be."""
    projects = client.projects()
    both = Both(wire.named(old, projects), wire.named(new, projects), client.server_now())
    if both.old is None and both.new is None:
        return Linking(End.UNKNOWN)
    if both.old == both.new:
        return Linking(End.ONE_ALREADY)
    if not agreed(both):
        return Linking(End.LEFT)
    outcome = client.link(old, new)
    if isinstance(outcome, HeldBy):
        return Linking(End.LOCKED, outcome.lock)
    return Linking(End.LINKED, linked=outcome)


def _confirmed(old: ProjectId, new: ProjectId, both: Both) -> bool:
    rows = [_row(old, both.old, both.now), _row(new, both.new, both.now)]
    output.print_table(("project", "files", "size", "changed"), rows, "")
    question = f"Make {old.value} another name of {new.value}, for good, and merge what both have?"
    return click.confirm(plain(question), err=True)


def _row(project: ProjectId, known: wire.WireProject | None, now: Millis) -> Sequence[str]:
    if known is None:
        return project.value, "none", "", ""
    names = ", ".join(file.name for file in known.files)
    return project.value, names, readable.size(known.size), output.ago_of(known.mtime, now)


def _say(old: ProjectId, new: ProjectId, done: Linking) -> None:
    match done:
        case Linking(End.LINKED, _, wire.WireLinked() as linked):
            output.tell(f"{old.value} is another name of {linked.project} from now on{_merged(linked)}")
        case Linking(End.ONE_ALREADY):
            output.tell(f"{old.value} and {new.value} are names of one project already: nothing to do")
        case Linking(End.UNKNOWN):
            listing = output.command_line("projects")
            output.warn(
                f"The server knows neither {old.value} nor {new.value}: {listing} lists those there are"
            )
        case Linking(End.LOCKED, Lock() as lock):
            output.warn(
                f"One of them is locked by {holder(lock)}, and nothing was changed: link them when that session has "
                "ended"
            )
        case _ if not is_attended():
            output.warn(
                f"{old.value} and {new.value} stay apart: to make them one without a question, give --yes"
            )
        case _:
            output.tell(f"{old.value} and {new.value} stay apart")


def _merged(linked: wire.WireLinked) -> str:
    merged = f"; merged: {', '.join(linked.merged)}" if linked.merged else ""
    if not linked.unmerged:
        return merged
    return (
        f"{merged}; not to be merged: {', '.join(linked.unmerged)}, of which {linked.project} keeps its own, and the "
        "other is in its history"
    )


def _document(old: ProjectId, new: ProjectId, done: Linking) -> dict[str, object]:
    return {
        "old": old.value,
        "new": new.value,
        "did": done.end.value,
        "merged": done.linked.merged if done.linked else [],
        "unmerged": done.linked.unmerged if done.linked else [],
        "lock": wire.WireLock.of(done.lock) if done.lock else None,
    }
