"""Arrivals: what came of late, noted for sessions that begin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mneme.client import arrivals


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a `.mneme`."""
    (tmp_path / ".mneme").mkdir()
    return tmp_path


def test_news_are_found_by_their_time(folder: Path) -> None:
    """The oldest first; none of a clock that was ahead."""
    for at, item in ((100.0, "one"), (103.0, "two"), (900.0, "ahead")):
        arrivals.note(folder, at, {"Lately": [item]})
    arrivals.note(folder, 104.0, {"Lately": ["three"]})
    assert arrivals.since(folder, 103.0, 105.0) == [{"Lately": ["three"]}]


def test_old_news_are_dropped(folder: Path) -> None:
    """With the next ones, after the longest wait of a hook."""
    arrivals.note(folder, 100.0, {"Lately": ["one"]})
    arrivals.note(folder, 165.0, {"Lately": ["two"]})
    arrivals.note(folder, 171.0, {"Lately": ["three"]})
    assert arrivals.since(folder, 0.0, 200.0) == [{"Lately": ["two"]}, {"Lately": ["three"]}]


def test_nothing_new_is_not_noted(folder: Path) -> None:
    """No file is made."""
    arrivals.note(folder, 100.0, {})
    assert arrivals.since(folder, 0.0, 200.0) == []
    assert list((folder / ".mneme").iterdir()) == []


@pytest.mark.parametrize("name", ["arrivals.json", "arrivals.json.tmp"])
def test_whatever_lies_in_the_way_is_replaced(folder: Path, name: str) -> None:
    """A FIFO, which would block, or a file that cannot be read."""
    os.mkfifo(folder / ".mneme" / name)
    assert arrivals.since(folder, 0.0, 200.0) == []
    arrivals.note(folder, 100.0, {"Lately": ["one"]})
    assert arrivals.since(folder, 0.0, 200.0) == [{"Lately": ["one"]}]
    (folder / ".mneme/arrivals.json").write_bytes(b'[{"at": 1')
    assert arrivals.since(folder, 0.0, 200.0) == []
