"""Options and arguments that several commands share, and how their errors are shown."""

import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, ParamSpec, TypeVar

import click

from mneme.cli import output
from mneme.errors import InvalidProjectId, MnemeError
from mneme.model import FileName, ProjectId

P = ParamSpec("P")
R = TypeVar("R")

_HIDDEN = "\x00"


class ProjectType(click.ParamType[ProjectId]):
    """The id of a project."""

    name = "project"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> ProjectId:
        """Check it."""
        text = _typed(value.removeprefix(_HIDDEN))
        try:
            text.encode()
            return ProjectId.parse(text)
        except UnicodeEncodeError:
            self.fail("A project id is UTF-8 text", param, ctx)
        except InvalidProjectId as problem:
            self.fail(str(problem), param, ctx)


class ProjectCommand(click.Command):
    """A command about a project, whose id may begin with a dash.

    That of a path does: `/home/ana/app` is `-home-ana-app`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Hide ids that begin with a dash from the search for options."""
        options = [option for option in self.params if isinstance(option, click.Option)]
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
        known |= set(ctx.help_option_names)
        valued = {name for option in options if not option.is_flag for name in option.opts}
        before = ["", *args]
        hidden = [
            _HIDDEN + arg if _is_dashed(arg) and arg not in known and last not in valued else arg
            for arg, last in zip(args, before, strict=False)
        ]
        return super().parse_args(ctx, hidden)


class FileType(click.Choice[str]):
    """The name of a synced file."""

    name = "file"

    def __init__(self) -> None:
        super().__init__([file.value for file in FileName])

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it."""
        return super().convert(value.removeprefix(_HIDDEN), param, ctx)


NUMBER = click.IntRange(min=1)
NUMBER.name = "whole number"

project_argument = click.argument("project", type=ProjectType())
file_argument = click.argument("file", type=FileType(), metavar="FILE")
optional_file_argument = click.argument("file", type=FileType(), metavar="[FILE]", required=False)

FILES = f"FILE is one of {', '.join(file.value for file in FileName)}."


def server_options(command: Callable[P, R]) -> Callable[P, R]:
    """The options `--server` and `--key`."""
    server = click.option("--server", metavar="URL", help="The server, instead of sync.serverUrl.")
    key = click.option(
        "--key",
        metavar="KEY",
        help="Its API key, instead of sync.apiKey (other users of this machine can see it).",
    )
    return server(key(command))


def as_json(command: Callable[P, R]) -> Callable[P, R]:
    """The option `--json`, and a sentence and status 1 for any error."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            # The reader closed the pipe: click ends quietly.
            raise
        except (MnemeError, OSError) as error:
            fail(output.sentence_of(error), kwargs.get("as_json") is True)

    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")(told)


def fail(sentence: str, as_json: bool) -> NoReturn:
    """Tell what went wrong, to scripts, too, and end with status 1."""
    output.warn(sentence)
    if as_json:
        with suppress(OSError):
            output.print_json({"error": sentence})
    sys.exit(1)


def _typed(argument: str) -> str:
    """An argument as it was typed: in UTF-8, whatever encoding the locale names."""
    with suppress(UnicodeError):
        return os.fsencode(argument).decode()
    return argument


def _is_dashed(argument: str) -> bool:
    return len(argument) > len("-x") and argument.startswith("-") and not argument.startswith("--")
