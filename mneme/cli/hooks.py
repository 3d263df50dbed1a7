"""`hooks`: have Claude Code begin and end its sessions in step."""

import os
import shutil
import sys
from pathlib import Path

import click

from mneme import homedir
from mneme.cli import output
from mneme.cli.options import as_json
from mneme.client.errors import SettingsError
from mneme.client.hooks import HookChange, Installed, Program, install, settings_path, snippet, uninstall
from mneme.client.settings import config_path, load, needed

_DONE = {
    HookChange.NOTHING: "The hooks are in {path} already: nothing to do",
    HookChange.ADDED: "The hooks are in {path} now",
    HookChange.MENDED: "The hooks in {path} call mneme as it is now",
    HookChange.REMOVED: "The hooks of mneme in {path} are removed",
}


_LEFT = {
    "install": "A hook of {event} in {path} has --server or --key, which tells a session nothing, and is left as it "
    "is: put them into the settings of sync, take them out of the hook, and install again",
    "uninstall": "A hook of {event} in {path} does something else, too, and is left: take mneme out of it by hand",
}


@click.command(short_help="Have Claude Code begin and end its sessions in step.")
@click.option(
    "--install",
    "action",
    flag_value="install",
    help="Add them to the settings file, with a backup beside it.",
)
@click.option("--uninstall", "action", flag_value="uninstall", help="Remove them from the settings file.")
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The settings file, that of a project say.  [default: ~/.claude/settings.json]",
)
@as_json
def hooks(action: str | None, settings: Path | None, as_json: bool) -> None:
    """Have Claude Code begin and end each session in step.

    Prints the hooks as they go into Claude Code's settings; with --install they are added to them, beside whatever
    is there. To install them again changes nothing, or mends the path where mneme has moved.
    """
    if settings and not action:
        raise click.UsageError("--settings says where the hooks are: give --install or --uninstall, too.")
    home = homedir.home()
    program = this_program()
    path = settings or settings_path(needed(home))
    match action:
        case "install":
            done: Installed | None = install(path, program)
        case "uninstall":
            done = uninstall(path)
        case _:
            done = None
    left = left_in(done, action or "") if done else []
    warnings = left if action == "uninstall" else [*left, *_warnings(home)]
    if as_json:
        output.print_json(_document(program, done, warnings))
        return
    _tell(program, done, path, action)
    for warning in warnings:
        output.warn(warning)


def left_in(done: Installed, action: str) -> list[str]:
    """Hooks that an `install` or `uninstall` has left as they were, each with advice."""
    return [_LEFT[action].format(event=event, path=done.path) for event in done.left]


def this_program() -> Program:
    """The program that runs, by a path that stays right after an upgrade.

    That is its place on PATH, where a package manager puts a link, if it is there for good. The directory of an
    activated environment is not.
    """
    started = Path(sys.argv[0])
    path = started.absolute() if started.name == "mneme" else Path(sys.executable).with_name("mneme")
    activated = os.environ.get("VIRTUAL_ENV")
    on_path = [
        directory
        for directory in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if directory.startswith("/") and not (activated and Path(directory) == Path(activated, "bin"))
    ]
    found = shutil.which("mneme", path=os.pathsep.join(on_path))
    is_same = found is not None and path.exists() and Path(found).samefile(path)
    return Program(str(found if is_same else path))


def _warnings(home: Path | None) -> list[str]:
    """Problems that keep the hooks from working."""
    try:
        settings = load(home)
    except SettingsError as problem:
        return [str(problem)]
    if home is None or not settings.plugin_syncs:
        return []
    advice = f'put "enabled": false into "sync" in {config_path(home)}, which leaves it to mneme'
    return [
        f"The plugin's own sync is on as well, and overwrites local changes when a session starts: {advice}"
    ]


def _tell(program: Program, done: Installed | None, path: Path, action: str | None) -> None:
    if done is None:
        output.print_json(snippet(program))
        output.tell(f"This belongs into {path}: mneme hooks --install puts it there")
        return
    if action == "uninstall" and done.change is HookChange.NOTHING:
        if not done.left:
            output.tell(f"There are no hooks of mneme in {done.path}: nothing to do")
        return
    tell_hooks(done)


def tell_hooks(done: Installed) -> None:
    """Tell what became of the settings file."""
    output.tell(_DONE[done.change].format(path=done.path))
    if done.backup:
        output.tell(f"What it held before is in {done.backup}")


def _document(program: Program, done: Installed | None, warnings: list[str]) -> dict[str, object]:
    document = {**snippet(program), "warnings": warnings}
    if done is None:
        return document
    backup = str(done.backup) if done.backup else None
    return {"settings": str(done.path), "did": done.change.value, "backup": backup, **document}
