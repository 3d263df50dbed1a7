"""The memory that travels while measuring, as large as on a machine in daily use, and how a server comes to have it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from mneme import durable
from mneme.model import FileName
from mneme.store.sqlite import NAME
from tests import plugin_files
from tests.bench.errors import NotMeasured
from tests.bench.processes import wait_until_quiet
from tests.bench.sessions import CHANGE, client_name, project_name
from tests.daemon import wait_until
from tests.stock_client import Answer, NoAnswer, StockClient

TEMPLATE = project_name(9_999_999)
"""The project that others are copied from."""

WRITTEN_WITHIN = 10.0
SMALL = '{"projectContext": "a project that nobody works on", "keyDecisions": []}\n'


@cache
def memory() -> dict[str, str]:
    """What each file holds, by name. In each the mark stands where a session changes it.

    In the log that is the first line, as if the front had been cut: a line that is lacking further behind was never
    had, and comes back by a merge, so that the log would grow with each session.
    """
    return {
        "log.jsonl": _marked(plugin_files.log(1), '"content":"'),
        "summary.json": _marked(plugin_files.summary(1), '"projectContext": "'),
        "remembered.json": _marked(plugin_files.remembered(1), '"content": "'),
        "entities.json": _marked(plugin_files.entities(1), '"summary": "'),
    }


def seed(
    url: str,
    contents: dict[str, str],
    machines: int,
    projects: int = 1,
    done: Callable[[], object] = lambda: None,
) -> None:
    """Bring the memory into all projects of all machines, each under the name of the machine that will use it."""
    for machine in range(machines):
        with StockClient(url, client_name(machine)) as client:
            for number in range(machine * projects, (machine + 1) * projects):
                _bring(client, project_name(number), contents)
                done()


def seed_template(url: str) -> None:
    """Bring a small memory into the project that others are copied from."""
    with StockClient(url, client_name(0)) as client:
        _bring(client, TEMPLATE, {"summary.json": SMALL})


def wait_for_template(directory: Path, pid: int) -> None:
    """Wait until a server has written the template as a plain file, which this one does some time after the upload."""
    with suppress(TimeoutError):
        wait_until(lambda: _template_in(directory) is not None, within=WRITTEN_WITHIN)
    wait_until_quiet(pid, WRITTEN_WITHIN)


def _template_in(directory: Path) -> Path | None:
    return next(directory.glob(f"**/{TEMPLATE}"), None)


def copy_name(number: int) -> str:
    """The id of a copy."""
    return project_name(5_000_000 + number)


def multiply(directory: Path, count: int) -> None:
    """Copy the directory that a server has made for the template, so that it finds so many more projects.

    Far cheaper than to upload them, and whatever the server keeps of a project is there as it had made it.
    """
    template = _template_in(directory)
    if template is None:
        raise NotMeasured(f"no directory called {TEMPLATE} is under the server's data directory")
    steps = list(_steps(template, template, {}))
    for number in range(count):
        name = copy_name(number)
        _copy(steps, template.with_name(name), name.encode())
    database = directory / NAME
    if database.exists():
        _multiply_rows(database, template.parent, count)


def _multiply_rows(database: Path, projects: Path, count: int) -> None:
    """Copy what the database of this server has of the template, with the marks of the files that were copied."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        [template] = _rows(connection, "projects", "name", TEMPLATE)
        tables = ("versions", "heads", "clients", "bases")
        rows = {table: _rows(connection, table, "project", template["id"]) for table in tables}
        for version in rows["versions"]:
            del version["id"]
        for number in range(count):
            key, name = template["id"] + 1 + number, copy_name(number)
            _insert(connection, "projects", {**template, "id": key, "name": name, "directory": name})
            for table, found in rows.items():
                for row in found:
                    mark = {"mark": _mark(projects / name, row["file"])} if table == "heads" else {}
                    _insert(connection, table, {**row, **mark, "project": key})


def _rows(connection: sqlite3.Connection, table: str, column: str, value: object) -> list[dict[str, Any]]:
    found = connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))  # noqa: S608 - names of ours
    return [dict(row) for row in found]


def _mark(directory: Path, file: int) -> str:
    return ":".join(map(str, durable.mark((directory / tuple(FileName)[file].value).stat())))


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object]) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - names of ours


def _steps(
    template: Path, directory: Path, seen: dict[int, Path]
) -> Iterator[tuple[Path, bytes | Path | None]]:
    """What a copy takes: a directory (None), a file with its content, or another name of one (a path)."""
    yield directory.relative_to(template), None
    for entry in sorted(directory.iterdir()):
        relative, inode = entry.relative_to(template), entry.stat().st_ino
        if entry.is_dir():
            yield from _steps(template, entry, seen)
        elif inode in seen:
            yield relative, seen[inode]
        else:
            seen[inode] = relative
            yield relative, entry.read_bytes()


def _copy(steps: list[tuple[Path, bytes | Path | None]], into: Path, name: bytes) -> None:
    for relative, what in steps:
        place = into / relative
        if what is None:
            place.mkdir(0o700)
        elif isinstance(what, Path):
            os.link(into / what, place)
        else:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - pathlib does not open with a mode
                file.write(what.replace(TEMPLATE.encode(), name))


def clear(directory: Path) -> None:
    """Remove a server's data."""
    shutil.rmtree(directory, ignore_errors=True)


def _marked(content: bytes, after: str) -> str:
    """The text with the mark put in after the first place where it says that."""
    text = content.decode()
    at = text.index(after) + len(after)
    return f"{text[:at]}{CHANGE} {text[at:]}"


def _bring(client: StockClient, project: str, contents: dict[str, str]) -> None:
    try:
        _must(client.acquire(project))
        for name, content in contents.items():
            _must(client.upload(project, name, content))
        _must(client.release(project))
        for name, content in contents.items():
            if _must(client.download(project, name)).body["content"] != content:
                raise NotMeasured(f"The server does not give back {name} as it was uploaded")
    except NoAnswer as error:
        raise NotMeasured(f"The server gave no answer: {error}") from error


def _must(answer: Answer) -> Answer:
    if not answer.ok:
        said = answer.raw[:200].decode("utf-8", "replace")
        raise NotMeasured(f"{answer.method} {answer.path} was answered with {answer.status}: {said}")
    return answer
