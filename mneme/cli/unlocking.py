"""`unlock`: release of a lock, whoever holds it."""

import enum
import sys
from collections.abc import Callable

import click
from msgspec import Struct

from mneme import wire
from mneme.cli import output
from mneme.cli.asking import ask, is_attended
from mneme.cli.options import ProjectCommand, as_json, project_argument, server_options
from mneme.cli.wording import holder
from mneme.client.calls import Client
from mneme.model import HeldBy, Lock, ProjectId
from mneme.readable import plain


class End(enum.Enum):
    """Outcomes of `unlock`."""

    NOT_HELD = "not held"
    """There was none."""
    RELEASED = "released"
    """The lock was released."""
    LEFT = "left"
    """The person did not confirm."""
    GONE = "gone"
    """The lock was released by somebody else in between."""
    PASSED_ON = "passed on"
    """Another was acquired before it could be released, and stays."""


class Unlocking(Struct, frozen=True):
    """The outcome for the `lock` that was found, and the lock held `now`."""

    end: End
    lock: Lock | None = None
    now: Lock | None = None


@click.command(cls=ProjectCommand)
@project_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_options
@as_json
def unlock(project: ProjectId, yes: bool, server: str | None, key: str | None, as_json: bool) -> None:
    """Release the lock of PROJECT, whoever holds it.

    For a session that ended without releasing it. If the session is still at work nothing is lost: what it uploads
    later is kept, and merged.
    """

    def agreed(lock: Lock) -> bool:
        return yes or (is_attended() and _confirmed(project, lock))

    done = ask(server, key, lambda client: unlocked(client, project, agreed))
    if as_json:
        output.print_json(_document(project, done))
    if not as_json or done.end is not End.RELEASED:
        _say(project, done)
    sys.exit(0 if done.end in (End.NOT_HELD, End.RELEASED, End.GONE) else 1)


def unlocked(client: Client, project: ProjectId, agreed: Callable[[Lock], bool]) -> Unlocking:
    """Release the lock that is held, if that is `agreed`, and no other."""
    lock = client.lock(project)
    if lock is None:
        return Unlocking(End.NOT_HELD)
    if not agreed(lock):
        return Unlocking(End.LEFT, lock, lock)
    now = client.lock(project)
    if now is None:
        return Unlocking(End.GONE, lock)
    # The same machine may have ended that session, and begun another.
    if (now.client, now.token) != (lock.client, lock.token):
        return Unlocking(End.PASSED_ON, lock, now)
    match client.release(project, lock.client):
        case HeldBy(other):
            return Unlocking(End.PASSED_ON, lock, other)
        case None:
            return Unlocking(End.RELEASED, lock)
        case _:
            return Unlocking(End.GONE, lock)


def _confirmed(project: ProjectId, lock: Lock) -> bool:
    question = plain(f"{project.value} is locked by {holder(lock)}. Release that lock?")
    return click.confirm(question, err=True)


def _say(project: ProjectId, done: Unlocking) -> None:
    name = project.value
    match done:
        case Unlocking(End.RELEASED, Lock() as lock):
            output.tell(f"Released the lock of {name}, held by {holder(lock)}")
        case Unlocking(End.LEFT, Lock() as lock) if not is_attended():
            output.warn(f"{name} is locked by {holder(lock)}: to release that lock, give --yes")
        case Unlocking(End.LEFT):
            output.tell(f"The lock of {name} stays as it is")
        case Unlocking(End.PASSED_ON, _, Lock() as now):
            output.warn(f"The lock of {name} has changed hands in between, and stays: {holder(now)}")
        case Unlocking(End.GONE):
            output.tell(f"The lock of {name} was released in between: there is nothing left to unlock")
        case _:
            output.tell(f"Nobody holds the lock of {name}: there is nothing to unlock")


def _document(project: ProjectId, done: Unlocking) -> dict[str, object]:
    return {
        "project": project.value,
        "unlocked": done.end is End.RELEASED,
        "lock": wire.WireLock.of(done.lock) if done.lock else None,
        "lockedNow": wire.WireLock.of(done.now) if done.now else None,
    }
