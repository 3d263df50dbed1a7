"""Tables for a terminal and for a page, with medians and spreads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, frozen

NOTHING = "—"


@frozen
class Row:
    """A figure: its name, and its values in each round, by server or other column."""

    name: str
    values: Mapping[str, Sequence[float]]


@frozen
class Table:
    """Rows under a title. With a `base`, the other columns are compared with that column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    base: str | None = None
    note: str = ""


Grid = list[list[str]]


def text(table: Table) -> str:
    """The table for a terminal."""
    return "\n\n".join([table.title, *map(_aligned, _grids(table)), *_note(table)])


def markdown(table: Table) -> str:
    """The table for a page."""
    return "\n\n".join([f"### {table.title}", *map(_piped, _grids(table)), *_note(table)])


def _note(table: Table) -> list[str]:
    return [table.note] if table.note else []


def _aligned(grid: Grid) -> str:
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    rows = [grid[0], ["-" * width for width in widths], *grid[1:]]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _piped(grid: Grid) -> str:
    head, *rows = grid
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *rows])


def _grids(table: Table) -> list[Grid]:
    """Cells of the table: a grid for each server that the base is compared with."""
    others = [column for column in table.columns if column != table.base]
    if table.base is None or len(others) < 2:
        return [_grid(table)]
    return [_grid(evolve(table, columns=(table.base, other))) for other in others]


def _grid(table: Table) -> Grid:
    others = [column for column in table.columns if column != table.base] if table.base else []
    head = ["", *table.columns, *(f"{table.base} : {other}" for other in others)]
    return [head, *([row.name, *_cells(table, row, others)] for row in table.rows)]


def _cells(table: Table, row: Row, others: Sequence[str]) -> Iterator[str]:
    for column in table.columns:
        yield cell(row.values.get(column, ()))
    for other in others:
        yield cell(ratios(row.values.get(table.base or "", ()), row.values.get(other, ())))


def ratios(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Quotients round by round, since what disturbs a round disturbs both."""
    return [our / other if other > 0 else math.nan for our, other in zip(ours, others, strict=False)]


def cell(values: Sequence[float]) -> str:
    """Median of the values, and in brackets the least and the most."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NOTHING
    middle = number(statistics.median(known))
    return middle if len(known) == 1 else f"{middle} ({number(min(known))}–{number(max(known))})"


def number(value: float) -> str:
    """A figure with as many digits as can be believed."""
    size = abs(value)
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"
