"""Output: tables and colours for people, one JSON document with `--json`."""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click
import msgspec

from mneme import times
from mneme.cli import signals
from mneme.errors import MnemeError
from mneme.model import Millis
from mneme.readable import plain, span

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_UNBOUNDED = 100_000
_SECOND = 1000


def warn(sentence: str) -> None:
    """Print a problem on stderr; a closed stderr is ignored."""
    _say("bold yellow", sentence)


def tell(sentence: str) -> None:
    """Print a result on stderr.

    Claude Code adds the stdout of a hook to the agent's context.
    """
    _say("default", sentence)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows progress on a terminal, and does nothing elsewhere."""
    if not _is_terminal():
        yield lambda _text: None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with signals.handled(_end), console.status("") as status:
        yield lambda text: status.update(Text(text))


def _end(number: int) -> None:
    """End by a signal, and show the cursor, which a status hides."""
    from rich.console import Console

    with suppress(OSError):
        Console(stderr=True).show_cursor()
    signals.end(number)


def print_json(document: object) -> None:
    """Print one JSON document, on stdout, for scripts."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def print_json_line(document: object) -> None:
    """Print a JSON object on a line; a closed pipe is ignored."""
    with suppress(OSError):
        click.echo(msgspec.json.encode(document))


def print_table(columns: Sequence[str], rows: "Sequence[Sequence[str | Text]]", empty: str) -> None:
    """Print a table, or `empty` if there are no rows; cells are escaped."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    if not rows:
        console.print(Text(plain(empty)))
        return
    table = Table(box=None, header_style="bold", pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    console.print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    from rich.text import Text

    print_table(("", ""), [(Text(plain(name), "bold"), value) for name, value in facts.items()], "")


def ago(instant: Millis, now: Millis) -> str:
    """How long ago something was: `3 hours ago`."""
    return f"{span((now - instant) / 1000)} ago" if now >= instant else f"in {span((instant - now) / 1000)}"


def sentence_of(error: MnemeError | OSError) -> str:
    """The sentence of an error."""
    if isinstance(error, MnemeError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _say(style: str, sentence: str) -> None:
    with suppress(OSError):
        if not _is_terminal():
            click.echo(f"mneme: {plain(sentence)}", err=True)
            return
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True, highlight=False, soft_wrap=True).print(
            Text.assemble(("mneme: ", "bold"), (plain(sentence), style))
        )


def _is_terminal() -> bool:
    return bool(sys.stderr and sys.stderr.isatty())


def print_lines(lines: "Iterable[Text]") -> None:
    """Print lines as they are, however long: in colour on a terminal."""
    from rich.text import Text

    console = _console()
    if console.is_terminal:
        console.print(Text("\n").join(lines), soft_wrap=True)
    else:
        click.echo("\n".join(line.plain for line in lines))


def print_bytes(content: bytes) -> None:
    """Print a content as it is."""
    click.echo(content, nl=False)


def ago_of(text: str | None, now: Millis) -> str:
    """A time from the API as `ago` shows it; empty without one."""
    try:
        instant = times.from_text(text) if text else None
    except ValueError:
        return text or ""
    if instant is None:
        return ""
    # The server's clock is known to the second, so a new mtime may seem that far in the future.
    return ago(instant, now if instant - now > _SECOND else max(now, instant))


def command_line(*words: str) -> str:
    """A `mneme` command for a person to copy."""
    return f"`{shlex.join(['mneme', *words])}`"


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False)
    # Tables in a file or pipe are not cut to 80 columns.
    return console if console.is_terminal else Console(highlight=False, width=_UNBOUNDED)
