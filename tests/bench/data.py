"""Memory of the size of daily use, and how a server comes to have it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from mneme import durable
from mneme.model import FileName
from mneme.store.sqlite import NAME
from tests import plugin_files
from tests.bench.processes import NotMeasured, wait_until_quiet
from tests.bench.sessions import CHANGE, client_name, project_name
from tests.daemon import wait_until
from tests.stock_client import Answer, NoAnswer, StockClient

TEMPLATE = project_name(9_999_999)
"""The project that others are copied from."""

WRITTEN_WITHIN = 10.0
SMALL = '{"projectContext": "a project that nobody works on", "keyDecisions": []}\n'


@cache
def memory() -> dict[str, str]:
    """Contents of the files, by name, each with the mark where a session changes it.

    In the log that is the first line, as if the front had been cut: a line that is lacking further behind was never
    had, and comes back by a merge, so that the log would grow with each session.
    """
    return {
        "log.jsonl": _marked(plugin_files.log(1), '"content":"'),
        "summary.json": _marked(plugin_files.summary(1), '"projectContext": "'),
        "remembered.json": _marked(plugin_files.remembered(1), '"content": "'),
        "entities.json": _marked(plugin_files.entities(1), '"summary": "'),
    }


def _marked(content: bytes, after: str) -> str:
    text = content.decode()
    at = text.index(after) + len(after)
    return f"{text[:at]}{CHANGE} {text[at:]}"


def seed(url: str, contents: Mapping[str, str], machines: int, projects: int = 1) -> None:
    """Bring the memory into all projects of all machines, under the machines' names."""
    for machine in range(machines):
        with StockClient(url, client_name(machine)) as client:
            for number in range(machine * projects, (machine + 1) * projects):
                _bring(client, project_name(number), contents)


def seed_template(url: str) -> None:
    """Bring a small memory into the project that others are copied from."""
    with StockClient(url, client_name(0)) as client:
        _bring(client, TEMPLATE, {"summary.json": SMALL})


def _bring(client: StockClient, project: str, contents: Mapping[str, str]) -> None:
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


def wait_for_template(directory: Path, pid: int) -> None:
    """Wait until a server has written the template as plain files."""
    with suppress(TimeoutError):
        wait_until(lambda: _template_in(directory) is not None, within=WRITTEN_WITHIN)
    wait_until_quiet(pid, WRITTEN_WITHIN)


def _template_in(directory: Path) -> Path | None:
    return next(directory.glob(f"**/{TEMPLATE}"), None)


def multiply(directory: Path, count: int) -> None:
    """Copy the directory of the template, so that a server finds so many more projects.

    Far cheaper than to upload them, and whatever the server keeps of a project is there as it had made it.
    """
    template = _template_in(directory)
    if template is None:
        raise NotMeasured(f"no directory called {TEMPLATE} is under the server's data directory")
    contents = {path.name: path.read_bytes() for path in template.iterdir()}
    for name in map(_copy_name, range(count)):
        copy = template.with_name(name)
        copy.mkdir(0o700)
        for file, content in contents.items():
            (copy / file).touch(0o600)
            (copy / file).write_bytes(content.replace(TEMPLATE.encode(), name.encode()))
    if (directory / NAME).exists():
        _multiply_rows(directory / NAME, template.parent, count)


def _copy_name(number: int) -> str:
    return project_name(5_000_000 + number)


def _multiply_rows(database: Path, projects: Path, count: int) -> None:
    """Copy the template's rows in the database, with the marks of the copied files."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        [template] = _rows(connection, "projects", "name", TEMPLATE)
        tables = ("versions", "heads", "clients", "bases")
        rows = {table: _rows(connection, table, "project", template["id"]) for table in tables}
        for version in rows["versions"]:
            del version["id"]
        for number in range(count):
            key, name = template["id"] + 1 + number, _copy_name(number)
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
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608 - names of ours
    connection.execute(statement, tuple(row.values()))
