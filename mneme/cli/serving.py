"""`status` and `projects`: what the server has, at a glance."""

from collections.abc import Sequence

import click
import msgspec
from msgspec import Struct

from mneme import readable, times, wire
from mneme.cli import output
from mneme.cli.asking import ask
from mneme.cli.options import as_json, server_options
from mneme.client.calls import Client
from mneme.client.doctor.server import IN_TWO_PLACES
from mneme.client.errors import Refused
from mneme.model import Millis

_LOCK_COLUMNS = ("locked project", "by", "since", "until at the latest")
_WAITING_COLUMNS = ("waiting in project", "file", "version", "from", "since")
_TWO_PLACES_COLUMNS = ("id in two places", "used by", "seen in", "on")
_PROJECT_COLUMNS = ("project", "files", "size", "changed", "locked by", "waiting")


class ServerOverview(Struct, frozen=True):
    """A server and its projects, the last changed first."""

    url: str
    status: wire.Status
    projects: Sequence[wire.WireProject]


class Projects(Struct, frozen=True):
    """The projects of a server, the last changed first; `now` by its clock."""

    projects: Sequence[wire.WireProject]
    now: Millis


@click.command()
@server_options
@as_json
def status(server: str | None, key: str | None, as_json: bool) -> None:
    """Show the state of the server.

    Since when it runs, who holds which locks, which uploads wait to be merged, how much space is used and left.
    """
    overview = ask(server, key, overview_of)
    if as_json:
        output.print_json(_status_document(overview))
    else:
        _print_status(overview)


@click.command()
@server_options
@as_json
def projects(server: str | None, key: str | None, as_json: bool) -> None:
    """List the projects on the server.

    The one that changed last comes first; what waits are uploads that are merged when the lock is free.
    """
    found = ask(server, key, projects_of)
    if as_json:
        output.print_json(wire.ProjectList(list(found.projects)))
        return
    rows = [_project_row(project, found.now) for project in found.projects]
    output.print_table(
        _PROJECT_COLUMNS, rows, "There are no projects yet: the first push of a machine makes one."
    )
    aliases = [(alias, project.id) for project in found.projects for alias in project.aliases]
    if aliases:
        click.echo()
        output.print_table(("another name", "of project"), aliases, "")


def overview_of(client: Client) -> ServerOverview:
    """The state of the server; raises `Refused` if it is too old to tell."""
    try:
        status = client.status()
    except Refused as problem:
        raise Refused(
            f"The server at {client.url} does not tell its status ({problem}): it needs a newer mneme"
        ) from None
    return ServerOverview(client.url, status, _latest_first(client.projects()))


def projects_of(client: Client) -> Projects:
    """The list of projects."""
    found = _latest_first(client.projects())
    return Projects(found, client.server_now())


def _latest_first(found: Sequence[wire.WireProject]) -> Sequence[wire.WireProject]:
    # Times on the wire have one format, and sort as text.
    return sorted(found, key=lambda project: project.mtime or "", reverse=True)


def _status_document(overview: ServerOverview) -> dict[str, object]:
    projects = overview.projects
    return {
        "server": overview.url,
        **msgspec.to_builtins(overview.status),
        "projects": len(projects),
        "locks": [{"project": one.id, **msgspec.to_builtins(one.lock)} for one in projects if one.lock],
        "waiting": [
            {"project": one.id, **msgspec.to_builtins(upload)} for one in projects for upload in one.waiting
        ],
    }


def _print_status(overview: ServerOverview) -> None:
    status = overview.status
    locks = [_lock_row(one.id, one.lock) for one in overview.projects if one.lock]
    waiting = [_waiting_row(one.id, upload) for one in overview.projects for upload in one.waiting]
    facts = {
        "server": overview.url,
        "version": status.version,
        "up for": f"{readable.span(status.uptime_seconds)}, since {times.text_to_local_text(status.started_at)}",
        "projects": str(len(overview.projects)),
        "locks": str(len(locks) or "none"),
        "waiting uploads": str(len(waiting) or "none"),
        "disk": f"{readable.size(status.data_bytes)} used, {readable.size(status.free_bytes)} free",
    }
    output.print_facts(facts)
    places = [_two_places_row(one) for one in status.in_two_places]
    tables = ((_LOCK_COLUMNS, locks), (_WAITING_COLUMNS, waiting), (_TWO_PLACES_COLUMNS, places))
    for columns, rows in tables:
        if rows:
            click.echo()
            output.print_table(columns, rows, "")
    if places:
        click.echo(f"\n{IN_TWO_PLACES}")


def _lock_row(project: str, lock: wire.WireLock) -> Sequence[str]:
    return (
        project,
        lock.client_id,
        times.text_to_local_text(lock.acquired_at),
        times.text_to_local_text(lock.expires_at),
    )


def _waiting_row(project: str, upload: wire.WaitingUpload) -> Sequence[str]:
    who = upload.client_id or ""
    return project, upload.file, str(upload.version), who, times.text_to_local_text(upload.mtime)


def _two_places_row(found: wire.WireTwoPlaces) -> Sequence[str]:
    return found.project, found.client_id, found.file, times.text_to_local_text(found.time)


def _project_row(project: wire.WireProject, now: Millis) -> Sequence[str]:
    return (
        project.id,
        str(len(project.files)),
        readable.size(project.size),
        output.ago_of(project.mtime, now),
        project.lock.client_id if project.lock else "",
        str(len(project.waiting) or ""),
    )
