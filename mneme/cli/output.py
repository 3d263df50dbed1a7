"""What people and scripts are shown: tables and colours on a terminal, one JSON document with `--json`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mneme.model import Millis

_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000
_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def warn(sentence: str) -> None:
    """Say what went wrong, on stderr; whoever reads it may be gone."""
    _say("bold yellow", sentence)


def tell(sentence: str) -> None:
    """Say what was done, on stderr: on stdout a hook's words would end up in the agent's context."""
    _say("default", sentence)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """While this lasts, the function that it gives shows on a terminal what is going on; elsewhere nothing."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


def print_json(document: object) -> None:
    """Print one JSON document, on stdout, for scripts."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def print_json_line(document: object) -> None:
    """Print one JSON object on a line of its own; whoever reads it may be gone."""
    with suppress(OSError):
        click.echo(msgspec.json.encode(document))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], empty: str) -> None:
    """Print a table; `empty` says why there is none."""
    console = Console(highlight=False)
    if not rows:
        console.print(empty, markup=False)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    print_table(("", ""), [(Text(name, "bold"), value) for name, value in facts.items()], "")


def size(count: int) -> str:
    """Bytes as people read them: `158 kB`."""
    amount, unit = float(count), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if amount >= 10 or not unit else f"{amount:.1f} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """A length of time in its largest unit: `3 hours`."""
    whole = int(abs(seconds))
    for length, name in _SPANS:
        if whole >= length:
            count = whole // length
            return f"{count} {name}" + ("s" if count != 1 else "")
    return "0 seconds"


def ago(instant: Millis, now: Millis) -> str:
    """How long ago something was: `3 hours ago`."""
    return f"{span((now - instant) / 1000)} ago" if now >= instant else f"in {span((instant - now) / 1000)}"


def sentence_of(error: OSError) -> str:
    """What the operating system has against it."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _say(style: str, sentence: str) -> None:
    try:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            Text.assemble(("mneme: ", "bold"), (sentence, style))
        )
    except OSError:
        return
