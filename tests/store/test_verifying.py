"""Damage in what a server keeps is named, and never served."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from mneme.errors import DamagedContent, MnemeError
from mneme.model import FileName, ProjectId, digest
from mneme.store import Store
from mneme.store.sqlite import Database
from mneme.store.verifying import Finding, verify
from tests.often import times
from tests.store.filled import PROJECTS, contents, database_of, filled
from tests.store.looking import NOW
from tests.store.stores import Patient

ALPHA, _ = PROJECTS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory with memory in it, whose server has ended."""
    filled(tmp_path / "data").close()
    return tmp_path / "data"


def changed(root: Path, statement: str, *values: object) -> None:
    """Change the database as no server does."""
    connection = sqlite3.connect(database_of(root), isolation_level=None)
    connection.execute(statement, values)
    connection.close()


def found(root: Path) -> list[tuple[str, bool]]:
    """The findings: each sentence, and whether it is of damage."""
    return [(one.sentence, one.is_damage) for one in verify(root)]


def test_a_whole_directory_has_no_findings(root: Path) -> None:
    """Each content was looked at; and nothing was changed."""
    before, told = database_of(root).read_bytes(), list[tuple[int, int]]()
    assert list(verify(root, lambda done, all_: told.append((done, all_)))) == []
    assert told == [(number, len(told)) for number in range(len(told))]
    assert len(told) >= 12
    assert database_of(root).read_bytes() == before


def test_a_server_may_run(tmp_path: Path) -> None:
    """The log of changes is looked at, too."""
    store = filled(tmp_path / "data")
    assert found(tmp_path / "data") == []
    store.close()


@pytest.mark.parametrize("columns", ["zstd", "size, zstd"])
def test_a_damaged_content_is_named_with_the_versions_that_have_it(root: Path, columns: str) -> None:
    """And is not served, though it may be the whole of another."""
    changed(
        root,
        f"""
        UPDATE contents SET ({columns}) = (SELECT {columns} FROM contents WHERE size > 1000) WHERE id = (
            SELECT content FROM versions v JOIN projects p ON p.id = v.project WHERE name = 'alpha' AND number = 1)
        """,  # noqa: S608 - names of ours
    )
    assert found(root) == [("summary.md of alpha is damaged in version 1", True)]
    store = Patient(root)
    with pytest.raises(DamagedContent):
        store.version(ALPHA, 1)
    store.close()


def test_versions_without_a_content_and_heads_without_a_version_are_named(root: Path) -> None:
    """SQLite alone would find nothing wrong with that."""
    changed(
        root,
        "DELETE FROM contents WHERE id = (SELECT content FROM versions WHERE number = 2 ORDER BY id LIMIT 1)",
    )
    changed(root, "UPDATE heads SET version = 99 WHERE file = 0 AND project = 2")
    assert found(root) == [
        ("Version 2 of log.jsonl of alpha has lost its content", True),
        ("The head of log.jsonl of beta is version 99, which is not there", True),
    ]


def test_a_row_that_cannot_be_is_named(root: Path) -> None:
    """With its project; the others are looked at all the same."""
    changed(root, "UPDATE versions SET kind = 'nonsense' WHERE project = 1 AND number = 1")
    assert found(root) == [
        ("The records of alpha in the database are damaged: 'nonsense' is not a valid Kind", True)
    ]


def test_an_index_that_lies_is_named(root: Path) -> None:
    """By the whole check of SQLite, and for contents by looking each up."""
    content = database_of(root).read_bytes()
    connection = sqlite3.connect(database_of(root))
    (sha256,) = connection.execute("SELECT sha256 FROM contents WHERE id = 1").fetchone()
    connection.close()
    places = [at for at in range(len(content)) if content.startswith(sha256, at)]
    assert len(places) == 2
    for place in places:
        database_of(root).write_bytes(content[: place + 31] + b"\0" + content[place + 32 :])
        sentences = [sentence for sentence, is_damage in found(root) if is_damage]
        assert any("structure of the database" in sentence for sentence in sentences)
        assert any("summary.md of alpha is damaged in version 1" in sentence for sentence in sentences)


@pytest.mark.parametrize("where", [0, 100, 4096])
def test_a_database_that_cannot_be_opened_is_one_sentence(root: Path, where: int) -> None:
    """With its name."""
    with database_of(root).open("r+b") as file:
        file.seek(where)
        file.write(b"\xff" * 4096)
    sentence = found(root)[-1]
    assert sentence[1]
    assert sentence[0].startswith((f"The database {database_of(root)} cannot be read: ", "The structure of"))


def test_no_database_is_an_error_with_advice(tmp_path: Path) -> None:
    """Perhaps another directory was meant."""
    with pytest.raises(MnemeError, match=r"There is no database in .*--data-dir"):
        found(tmp_path)


def edited(path: Path) -> None:
    """As a person does."""
    path.write_bytes(b"edited")


def damaged_in_place(path: Path) -> None:
    """Damage as by a disk: the mark in the database still fits."""
    state = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"?\n")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    state = path.stat()
    mark = ":".join(map(str, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)))
    changed(path.parents[2], "UPDATE heads SET mark = ? WHERE project = 1 AND file = 2", mark)


@pytest.mark.parametrize(
    ("act", "said", "is_damage"),
    [
        (edited, "in projects/ is not the head: it was edited by hand, or is not written yet", False),
        (Path.unlink, "is not in projects/: it was removed by hand, or is not written yet", False),
        (damaged_in_place, "in projects/ is not what the server wrote, and nobody has edited it", True),
    ],
)
def test_a_plain_file_that_is_not_the_head_is_told(
    root: Path, act: Callable[[Path], None], said: str, is_damage: bool
) -> None:
    """An edit by hand is no damage; what nobody has written is."""
    act(root / "projects" / "alpha" / "summary.md")
    [(sentence, damage)] = found(root)
    assert sentence.startswith(f"summary.md of alpha {said}")
    assert damage is is_damage


def test_a_database_without_its_plain_files_is_whole(root: Path) -> None:
    """As one that was just restored; the server writes them."""
    shutil.rmtree(root / "projects")
    assert list(verify(root)) == [
        Finding("No server with this database has written the plain files in projects/ yet", False)
    ]


@pytest.mark.parametrize("seed", range(times(10, 400)))
def test_flipped_bits_are_named_and_what_they_hit_is_never_served(
    tmp_path: Path, root: Path, seed: int
) -> None:
    """Each version is served as it was, or was found damaged before."""
    random, before = Random(seed), contents(root)
    content = bytearray(database_of(root).read_bytes())
    for _ in range(random.choice([1, 1, 8])):
        content[random.randrange(100, len(content))] ^= 1 << random.randrange(8)
    database_of(root).write_bytes(content)
    (root / "projects").rename(tmp_path / "away")
    try:
        is_damaged = any(one.is_damage for one in verify(root))
    except MnemeError:
        is_damaged = True
    lost = False
    for project, number in before:
        got = served(root, project, number)
        assert got in (None, before[project, number]) or digest(got) in map(digest, before.values())
        lost = lost or got != before[project, number]
    assert is_damaged or not lost


def served(root: Path, project: str, number: int) -> bytes | None:
    """The content of a version as it is served, if it is."""
    database = Database(database_of(root), writable=False)
    try:
        with suppress(MnemeError, sqlite3.Error, ValueError, TypeError, IndexError, OverflowError):
            version = Store(database).version(ProjectId(project), number)
            return version.content if version else None
    finally:
        database.close()
    return None


def test_a_head_that_is_damaged_stays_in_its_plain_file(root: Path) -> None:
    """The worst case costs history: the file that people know is there."""
    changed(root, "UPDATE contents SET zstd = x'00'")
    before = (root / "projects" / "alpha" / "summary.md").read_bytes()
    store = Patient(root)
    with pytest.raises(DamagedContent):
        store.read(ALPHA, FileName.SUMMARY_MD, NOW)
    store.close()
    assert (root / "projects" / "alpha" / "summary.md").read_bytes() == before


def test_the_check_at_the_start_is_broken_off_after_its_time(tmp_path: Path) -> None:
    """A large database is taken to be whole until a step meets the damage."""
    database = Database(tmp_path / "mneme.db")
    statement = "INSERT INTO contents (sha256, size, zstd) VALUES (randomblob(32), 9000, randomblob(9000))"
    with database.step():
        for _ in range(3000):
            database.connection.execute(statement)
    database.check(0.0)
    database.check(60.0)
    database.close()
