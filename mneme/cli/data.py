"""`verify`, `backup` and `restore-backup`: the server's data, where it lies."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from mneme import clocks, homedir, readable, times
from mneme.cli import output, signals
from mneme.cli.options import NUMBER, as_json
from mneme.config import Loaded, load
from mneme.errors import MnemeError
from mneme.model import Millis

P = ParamSpec("P")
R = TypeVar("R")

_PATH = click.Path(path_type=Path)


def data_options(command: Callable[P, R]) -> Callable[P, R]:
    """The options `--data-dir` and `--config`, as `twistd mneme` has them."""
    directory = click.option(
        "-d", "--data-dir", metavar="DIR", help="Directory of the memory [default: as the server]."
    )
    config = click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        help="Configuration file of the server [default: as the server].",
    )
    return directory(config(command))


def _loaded(data_dir: str | None, config_file: str | None) -> Loaded:
    """The configuration of the server, which says where its data lies; raises `ConfigError`."""
    given = {"dataDir": data_dir, "config": config_file}
    return load({name: text for name, text in given.items() if text}, os.environ, homedir.home())


@click.command()
@data_options
@as_json
def verify(data_dir: str | None, config_file: str | None, as_json: bool) -> None:
    """Look for damage in the server's data.

    The database, each content in it against its digest, and the plain files of the heads. The server may run.
    Nothing is changed; the status is 1 if something is damaged.
    """
    from mneme.store import backup as backups
    from mneme.store import verifying
    from mneme.store.sqlite import NAME

    config = _loaded(data_dir, config_file).config
    with output.progress() as show:
        findings = list(
            verifying.verify(config.data_dir, lambda done, all_: show(f"{done} of {all_} contents"))
        )
    damages = [one.sentence for one in findings if one.is_damage]
    others = [one.sentence for one in findings if not one.is_damage]
    if as_json:
        output.print_json({"damaged": damages, "differing": others})
    else:
        for sentence in (*damages, *others):
            click.echo(readable.plain(sentence))
        _sum_up(str(config.data_dir), len(damages), len(others))
        if damages:
            output.warn(f"Stop the server first. {backups.way_back(config.data_dir / NAME, config.backups)}")
    sys.exit(1 if damages else 0)


@click.command()
@click.argument("target", type=_PATH, metavar="FILE")
@click.option(
    "--keep", type=NUMBER, metavar="N", help="FILE is a directory, in which the newest N backups stay."
)
@click.option(
    "--without-config",
    is_flag=True,
    help="Leave the configuration out, and with it the API keys that are in it.",
)
@data_options
@as_json
def backup(
    target: Path,
    keep: int | None,
    without_config: bool,
    data_dir: str | None,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Back the server's data up into FILE.

    The server may go on running: every upload that it has answered by now is in the backup. In a directory, the backup
    gets a name of its own.
    """
    from mneme.store import backup as backups
    from mneme.store.sqlite import NAME

    found = _loaded(data_dir, config_file)
    config = None if without_config else found.file
    content = config.read_bytes() if config else None
    database = found.config.data_dir / NAME
    with _copying() as told:
        if keep or target.is_dir():
            file = backups.make_in(target, keep, database, _now(), content, told)
        else:
            file = target
            backups.make(database, target, _now(), content, told)
    size = file.stat().st_size
    if as_json:
        output.print_json({"backup": str(file), "size": size, "config": str(config) if config else None})
        return
    beside = "API keys included" if config else "without the configuration"
    if config is None and not without_config:
        beside = "there is no configuration file"
    output.tell(f"Backed {database.parent} up into {file} ({readable.size(size)}, {beside})")


@click.command("restore-backup")
@click.argument("file", type=_PATH, metavar="FILE")
@click.argument("directory", type=_PATH, metavar="DIRECTORY")
@click.option("--replace", is_flag=True, help="Move a database that lies there aside.")
@as_json
def restore_backup(file: Path, directory: Path, replace: bool, as_json: bool) -> None:
    """Put a backup into the data directory of a server.

    The server must not run. A configuration file that lies there stays, and so do the plain files in projects/: where
    they differ from the backup, the server takes them for what somebody has written since, and takes them in. To have
    the memory as it was, move projects/ away, too.
    """
    from mneme.store import backup as backups

    made_at = backups.read(file).made_at
    with _copying() as told:
        done = backups.restore(file, directory, _now(), replace=replace, told=told)
    if as_json:
        output.print_json(
            {
                "restored": str(directory),
                "madeAt": None if made_at is None else times.to_text(made_at),
                "movedAside": str(done.moved) if done.moved else None,
                "config": str(done.config) if done.config else None,
            }
        )
        return
    when = "" if made_at is None else f", made {times.to_local_text(made_at)},"
    output.tell(f"Restored {file}{when} into {directory}")
    if done.moved:
        output.tell(f"The database that lay there is {done.moved} now")
    options = ["--data-dir", str(directory), *(["--config", str(done.config)] if done.config else [])]
    command = [_twistd(), "--nodaemon", "--pidfile=", "mneme", *options]
    output.tell(f"Now start the server: {shlex.join(command)}")


def _sum_up(directory: str, damages: int, others: int) -> None:
    if damages:
        output.warn(f"{directory} is damaged ({readable.counted(damages, 'finding')})")
    elif others:
        output.tell(f"{directory} is whole ({readable.counted(others, 'difference')}, which can be)")
    else:
        output.tell(f"{directory} is whole")


@contextmanager
def _copying() -> Iterator[Callable[[int, int], None]]:
    """Progress of a copy on the terminal.

    A signal ends the copy between two steps, and nothing that comes after it.
    """
    received: list[int] = []
    with output.progress() as show, signals.handled(received.append):

        def told(done: int, pages: int) -> None:
            if received:
                raise MnemeError("Broken off: nothing was written")
            show(f"Copying, {100 * done // max(1, pages)} %")

        yield told


def _twistd() -> str:
    """The `twistd` that was installed with this command, which need not be on PATH."""
    beside = Path(sys.executable).with_name("twistd")
    return str(beside) if beside.exists() else "twistd"


def _now() -> Millis:
    return Millis(int(clocks.TimeOfDay().seconds() * 1000))
