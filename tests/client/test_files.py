"""The watch on files, with the notices of the real system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from mneme import durable
from mneme.client.files import FilesWatch
from mneme.client.folder import Folder
from mneme.model import FileName, ProjectId

pytestmark = pytest.mark.integration


class Watched:
    """A directory with a folder in it, and the folders of which the watch tells."""

    def __init__(self, projects: Path) -> None:
        self.projects = projects
        self.folder = projects / "-app"
        self._told: SimpleQueue[Path] = SimpleQueue()
        self.watch = FilesWatch(projects, self._told.put)

    def told_of(self, act: Callable[[], object]) -> set[Path]:
        """The paths that the watch tells of an act, before a mark that follows."""
        act()
        mark = self.projects / "-mark"
        mark.mkdir()
        paths = set()
        while True:
            try:
                path = self._told.get(timeout=10)
            except Empty:
                raise AssertionError("the watch tells nothing") from None
            if path == mark:
                break
            paths.add(path)
        mark.rmdir()
        while self._told.get(timeout=10) != mark:
            pass
        return paths


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A watch that runs."""
    found = Watched(tmp_path)
    found.folder.mkdir()
    found.watch.start()
    yield found
    found.watch.stop()


def test_a_write_is_told_with_its_folder(watched: Watched) -> None:
    """However it is done: in place, by a rename, or by a removal."""
    path = watched.folder / "log.jsonl"
    assert watched.told_of(lambda: path.write_text("one\n")) == {watched.folder}
    assert watched.told_of(lambda: durable.append(path, b"two\n")) == {watched.folder}
    staged = watched.folder / "staged"
    staged.write_text("three\n")
    assert watched.told_of(lambda: staged.rename(path)) == {watched.folder}
    assert watched.told_of(path.unlink) == {watched.folder}


@pytest.mark.parametrize("name", ["log.jsonl.lock", "log.jsonl.wlock", "remembered.json.lock"])
def test_a_lock_of_the_plugin_that_goes_is_told(watched: Watched, name: str) -> None:
    """Whatever waited for it can be fetched now."""
    path = watched.folder / name
    path.touch()
    assert watched.told_of(path.unlink) == {watched.folder}


def test_readers_and_other_files_are_not_told(watched: Watched) -> None:
    """Nor are our own looks, which would follow each other for ever."""
    path = watched.folder / "log.jsonl"
    folder = Folder(watched.folder, ProjectId("demo"))
    watched.told_of(lambda: path.write_text("one\n"))
    watched.told_of(folder.snapshots)
    assert watched.told_of(path.read_text) == set()
    assert watched.told_of(folder.snapshots) == set()
    assert watched.told_of(lambda: (watched.folder / ".cache.json").write_text("{}")) == set()
    assert watched.told_of(lambda: (watched.folder / "log.jsonl.bak").write_text("")) == set()


def test_a_new_folder_is_told(watched: Watched) -> None:
    """So are its first file, a folder that is moved, and one that goes."""
    new = watched.projects / "-new"
    assert new in watched.told_of(new.mkdir)
    assert watched.told_of(lambda: (new / FileName.LOG.value).write_text("")) == {new}
    moved = watched.projects / "-moved"
    assert watched.told_of(lambda: new.rename(moved)) >= {new, moved}
    (moved / FileName.LOG.value).unlink()
    assert moved in watched.told_of(moved.rmdir)


def test_a_name_that_is_no_text_is_told_as_it_is(watched: Watched) -> None:
    """With the very bytes."""
    odd = watched.projects / os.fsdecode(b"-caf\xe9")
    assert odd in watched.told_of(odd.mkdir)


def test_a_watch_that_was_not_started_can_be_stopped(tmp_path: Path) -> None:
    """Or could not be: its directory is not there."""
    watch = FilesWatch(tmp_path / "gone", lambda _: None)
    watch.stop()
    with pytest.raises(FileNotFoundError):
        watch.start()
    watch.stop()
