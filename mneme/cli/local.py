"""The server's own data, for commands that run where it lies."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from mneme import homedir
from mneme.config import ConfigError, Loaded, load
from mneme.errors import MnemeError

P = ParamSpec("P")
R = TypeVar("R")


def data_options(command: Callable[P, R]) -> Callable[P, R]:
    """Which data: `--data-dir` and `--config`, as `twistd mneme` has them."""
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


def loaded(data_dir: str | None, config_file: str | None) -> Loaded:
    """The configuration of the server, which says where its data lies; raises `MnemeError`."""
    given = {"dataDir": data_dir, "config": config_file}
    try:
        return load({name: text for name, text in given.items() if text}, os.environ, homedir.home())
    except ConfigError as problem:
        raise MnemeError(str(problem)) from None


def configuration(found: Loaded) -> Path | None:
    """The configuration file of the server, if it has one."""
    return found.path if found.found else None
