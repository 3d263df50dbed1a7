"""`restore`: an older version becomes the head again."""

import sys

import click
from msgspec import Struct
from msgspec.structs import replace

from mneme import wire
from mneme.cli import output, signals
from mneme.cli.asking import ask
from mneme.cli.lookup import NotThere, no_version
from mneme.cli.options import (
    FILES,
    NUMBER,
    ProjectCommand,
    as_json,
    file_argument,
    project_argument,
    server_options,
)
from mneme.cli.wording import holder
from mneme.client.calls import Client
from mneme.client.errors import ClientError
from mneme.model import FileName, HeldBy, Lock, NotLocked, ProjectId


class Restored(Struct, frozen=True):
    """A restored version, which is the head under the number `version`.

    The number is new unless the version was the head already.
    """

    version: int
    mtime: str
    is_new: bool
    released: bool = True
    """Whether the lock is known to be given up."""


@click.command(cls=ProjectCommand, epilog=FILES)
@project_argument
@file_argument
@click.option("--version", "number", type=NUMBER, metavar="N", required=True, help="Which version.")
@server_options
@as_json
def restore(
    project: ProjectId, file: str, number: int, server: str | None, key: str | None, as_json: bool
) -> None:
    """Make a version of FILE in PROJECT the head again.

    It becomes a new version, and nothing is lost of those between. Machines get it with their next sync.
    """
    # The lock is released even after Ctrl-C.
    with signals.handled(signals.let_the_next_end):
        done = ask(server, key, lambda client: restored(client, project, FileName(file), number))
    if as_json:
        output.print_json(_document(project, file, done))
    match done:
        case HeldBy(lock):
            output.warn(_held(project, lock))
        case Restored() if not as_json:
            output.tell(_done(project, file, number, done))
    if isinstance(done, Restored) and not done.released:
        output.warn(
            f"The lock of {project.value} could not be given up: {output.command_line('unlock', project.value)} does it"
        )
    sys.exit(0 if isinstance(done, Restored) else 1)


def restored(client: Client, project: ProjectId, file: FileName, number: int) -> Restored | HeldBy:
    """Make a version the head again, if nobody else holds the lock; raises `NotThere`."""
    # Checked before the lock, which would create a missing project.
    if number not in {version.version for version in client.history(project, file)}:
        raise no_version(project, file, number)
    permit = client.acquire(project)
    if isinstance(permit, HeldBy):
        return permit
    try:
        done = _under_lock(client, project, file, number)
    except (ClientError, NotThere):
        _released(client, project)
        raise
    return replace(done, released=_released(client, project)) if isinstance(done, Restored) else done


def _under_lock(client: Client, project: ProjectId, file: FileName, number: int) -> Restored | HeldBy:
    before = {head.version for head in client.heads(project) if head.file is file}
    match client.restore(project, file, number):
        case None:
            raise no_version(project, file, number)
        case NotLocked():
            raise NotThere(
                f"The lock of {project.value} was released by somebody else, nothing is restored: try again"
            )
        case HeldBy() as held:
            return held
        case wire.Uploaded() as uploaded:
            return Restored(uploaded.version, uploaded.mtime, uploaded.version not in before)


def _released(client: Client, project: ProjectId) -> bool:
    try:
        client.release(project)
    except ClientError:
        return False
    return True


def _held(project: ProjectId, lock: Lock) -> str:
    return (
        f"Nothing is restored, for {project.value} is locked by {holder(lock)}: wait for the end of that session, or "
        f"release its lock with {output.command_line('unlock', project.value)}"
    )


def _done(project: ProjectId, file: str, number: int, done: Restored) -> str:
    if not done.is_new:
        return f"{file} of {project.value} is as in version {number} already: nothing to restore"
    return (
        f"{file} of {project.value} is as in version {number} again, now version {done.version}: machines get it with "
        "their next sync"
    )


def _document(project: ProjectId, file: str, done: Restored | HeldBy) -> dict[str, object]:
    asked = {"project": project.value, "file": file}
    if isinstance(done, HeldBy):
        return {**asked, "restored": False, "lock": wire.WireLock.of(done.lock)}
    return {**asked, "restored": done.is_new, "version": done.version, "mtime": done.mtime}
