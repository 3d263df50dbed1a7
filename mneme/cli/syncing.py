"""`pull` and `push`: start and end of a session by hand."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import click

from mneme import homedir, readable
from mneme.cli import output, wording
from mneme.cli.options import as_json, server_options
from mneme.client import plugin
from mneme.client.actions import Action
from mneme.client.connection import connected
from mneme.client.localproject import local_project, working_directory
from mneme.client.settings import address_in, client_id, config_path, load, needed
from mneme.client.sync import Progress, Report, Sync
from mneme.clocks import TimeOfDay
from mneme.errors import MnemeError
from mneme.model import FileName

strict_option = click.option(
    "--strict", "is_strict", is_flag=True, help="Exit with status 1 if anything could not be synced."
)


@click.command(short_help="Start a session: fetch what others have learned.")
@server_options
@strict_option
@as_json
def pull(server: str | None, key: str | None, is_strict: bool, as_json: bool) -> None:
    """Start a session: lock the project, and fetch what other machines have learned.

    The project is that of the working directory. What is new on this machine is merged with it, and what each file
    held before is beside it as .bak. Whatever goes wrong, the local files stay whole.
    """
    _one_end(Sync.pull, wording.pull_warnings, wording.PULL_FAILED, server, key, is_strict, as_json)


@click.command(short_help="End a session: send what is new here.")
@server_options
@strict_option
@as_json
def push(server: str | None, key: str | None, is_strict: bool, as_json: bool) -> None:
    """End a session: send what is new on this machine, and give up the lock."""
    _one_end(Sync.push, wording.push_warnings, wording.PUSH_FAILED, server, key, is_strict, as_json)


def _one_end(
    act: Callable[[Sync], Report],
    warnings_of: Callable[[Report], Iterable[str]],
    failed: str,
    server: str | None,
    key: str | None,
    is_strict: bool,
    as_json: bool,
) -> None:
    """Run a pull or a push, print the result, and exit with its status."""
    home = homedir.home()
    why_off = plugin.why_off(str(working_directory()), config_path(home)) if home else None
    if why_off:
        output.tell(f"Nothing is synced, for the plugin is off here: {why_off}")
        sys.exit(0)

    def run() -> Report:
        with output.progress() as show, _sync_of(server, key, partial(_show, show)) as sync:
            show(f"Asking {sync.client.url}")
            return act(sync)

    report, warnings = _come_to(run, warnings_of, failed)
    if as_json:
        output.print_json(wording.document(report, warnings))
    _end(report, warnings, is_strict, as_json)


@contextmanager
def _sync_of(server: str | None, key: str | None, progress: Progress) -> Iterator[Sync]:
    """The `Sync` of the working directory's project; raises `SettingsError`."""
    home = needed(homedir.home())
    settings = load(home, server, key)
    address = address_in(settings, home)
    local = local_project(working_directory(), home, settings.rules)
    with connected(address, client_id(home), settings.patience) as client:
        wall = TimeOfDay()
        yield Sync(client, wall, local.opened(wall, settings.patience.timeout), progress)


def _come_to(
    act: Callable[[], Report], warnings_of: Callable[[Report], Iterable[str]], failed: str
) -> tuple[Report | None, Sequence[str]]:
    """The report of a run, None if it failed, and the warnings for a person."""
    try:
        report = act()
    except (MnemeError, OSError) as error:
        return None, [f"{output.sentence_of(error)}. {failed}"]
    return report, list(warnings_of(report))


def _end(report: Report | None, warnings: Sequence[str], is_strict: bool, as_json: bool) -> NoReturn:
    """Print the report, and end with a status that suits a hook."""
    if report and not as_json:
        output.tell(wording.done(report))
    for warning in warnings:
        output.warn(warning)
    sys.exit(1 if is_strict and warnings else 0)


def _show(show: Callable[[str], None], did: Action, file: FileName, size: int) -> None:
    verb = "Fetching" if did is Action.FETCHED else "Sending"
    show(f"{verb} {file.value}, {readable.size(size)}")
