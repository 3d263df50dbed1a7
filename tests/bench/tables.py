"""Tables, for a terminal of 100 columns and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, frozen

from tests.bench.figures import NOTHING, cell, ratios

WIDTH = 100
LONG = 12
"""Names of columns that are longer are not said twice."""


@frozen
class Row:
    """One figure: what it is, and what it was in each round, by the server or whatever else the columns are."""

    name: str
    values: Mapping[str, Sequence[float]]


@frozen
class Table:
    """Rows under a title. With a `base`, the other columns are compared with the one of that name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    base: str | None = None
    note: str = ""


Grid = list[list[str]]


def text(table: Table) -> str:
    """The table for a terminal. With more than two servers there is one for each that this one is compared with."""
    parts = [table.title]
    for one in _pairs(table):
        grid = _grid(one)
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        parts.append(
            "\n".join(_line(row, widths) for row in (grid[0], ["-" * width for width in widths], *grid[1:]))
        )
    return "\n\n".join([*parts, table.note] if table.note else parts)


def markdown(table: Table) -> str:
    """The table for a page."""
    parts = [f"### {table.title}"]
    for one in _pairs(table):
        head, *rows = _grid(one)
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, table.note] if table.note else parts)


def _pairs(table: Table) -> Iterator[Table]:
    others = [column for column in table.columns if column != table.base]
    if table.base is None or len(others) <= 1:
        yield table
        return
    for other in others:
        yield evolve(table, columns=(table.base, other))


def _grid(table: Table) -> Grid:
    others = [column for column in table.columns if column != table.base] if table.base else []
    head = ["", *table.columns, *(f"{table.base} : {_short(other)}" for other in others)]
    return [head, *([row.name, *_cells(table, row, others)] for row in table.rows)]


def _short(name: str) -> str:
    return name if len(name) <= LONG else "other"


def _cells(table: Table, row: Row, others: Sequence[str]) -> Iterator[str]:
    for column in table.columns:
        yield cell(row.values.get(column, ()))
    for other in others:
        assert table.base is not None
        pair = row.values.get(table.base, ()), row.values.get(other, ())
        yield cell(ratios(*pair)) if all(pair) else NOTHING


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = (
        row[0].ljust(widths[0]),
        *(one.rjust(width) for one, width in zip(row[1:], widths[1:], strict=True)),
    )
    return "  ".join([name, *figures])
