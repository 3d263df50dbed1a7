"""`pull`, `push` and `watch`: start, end, and course of a session."""

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn

import click

from mneme import homedir, readable, wire
from mneme.cli import output, wording
from mneme.cli.options import as_json, server_options
from mneme.cli.run import CommandContext, run
from mneme.client.folder import Folder
from mneme.client.localproject import local_project
from mneme.client.settings import address_in, client_id, load, needed
from mneme.client.sync import Action, Progress, Report, Sync, no_progress
from mneme.client.watch import Event, Happened, Watch
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


@click.command(short_help="Keep in step while it runs.")
@server_options
@strict_option
@as_json
def watch(server: str | None, key: str | None, is_strict: bool, as_json: bool) -> None:
    """Keep the project in step until you end it: hold the lock, send changes.

    It goes on through restarts of the server and cuts of the network. Ctrl-C, SIGTERM and a closed terminal end it:
    then it pushes; a second Ctrl-C ends it at once. With --json it prints an object for each event, one a line.
    """
    # A hook ignores bad settings; a person who starts a watch wants to know of them.
    home = needed(homedir.home())
    address_in(load(home, server, key), home)

    def tell(event: Event) -> None:
        if as_json:
            output.print_json_line(_event(event))
        elif event.happened is Happened.TROUBLE:
            output.warn(wording.happened(event))
        else:
            output.tell(wording.happened(event))

    async def command(context: CommandContext) -> Report:
        async with _sync_of(context, server, key) as sync:
            if not as_json:
                output.tell(f"Watching {sync.project.value}, in step with {sync.client.url}; Ctrl-C ends it")
            return await Watch(context.reactor, context.wall, sync, tell).run(context.ending)

    report, warnings = _come_to(
        lambda: run(command, patiently=True), wording.push_warnings, wording.PUSH_FAILED
    )
    if as_json:
        output.print_json_line({"event": "ended", **_document(report, warnings)})
    _end(report, warnings, is_strict, as_json)


def _one_end(
    act: Callable[[Sync], Coroutine[Any, Any, Report]],
    warnings_of: Callable[[Report], Iterable[str]],
    failed: str,
    server: str | None,
    key: str | None,
    is_strict: bool,
    as_json: bool,
) -> None:
    """Run a pull or a push, print the result, and exit with its status."""

    async def command(context: CommandContext) -> Report:
        with output.progress() as show:
            async with _sync_of(context, server, key, partial(_show, show)) as sync:
                show(f"Asking {sync.client.url}")
                return await act(sync)

    report, warnings = _come_to(lambda: run(command), warnings_of, failed)
    if as_json:
        output.print_json(_document(report, warnings))
    _end(report, warnings, is_strict, as_json)


@asynccontextmanager
async def _sync_of(
    context: CommandContext, server: str | None, key: str | None, progress: Progress = no_progress
) -> AsyncIterator[Sync]:
    """The `Sync` of the working directory's project; raises `SettingsError`."""
    settings = await context.worker.run(lambda: load(context.home, server, key))
    address = address_in(settings, context.home)
    local = await context.worker.run(lambda: local_project(context.directory, context.home, settings.project))
    machine = await context.worker.run(lambda: client_id(context.home))
    async with context.connect(address, machine, settings.patience) as client:
        folder = Folder(local.folder, client.url, local.project)
        yield Sync(client, context.worker, context.wall, folder, progress)


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


def _event(event: Event) -> dict[str, object]:
    return {
        "event": event.happened.value,
        "lock": wire.WireLock.of(event.lock) if event.lock else None,
        "problem": event.problem,
        **(_document(event.report, []) if event.report else {}),
    }


def _document(report: Report | None, warnings: Sequence[str]) -> dict[str, object]:
    if report is None:
        return {"warnings": warnings}
    return {
        "project": report.project.value,
        "files": [
            {
                "file": one.file.value,
                "did": [did.value for did in one.actions],
                "version": one.version,
                "problem": one.problem,
            }
            for one in report.files
        ],
        "lockedBy": wire.WireLock.of(report.locked) if report.locked else None,
        "warnings": warnings,
    }
