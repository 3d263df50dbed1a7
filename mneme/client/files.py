"""Watching of the plugin's files: who writes them is told to the reactor."""

import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler, FileSystemMovedEvent
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from mneme.client.plugin import LOCK_NAMES
from mneme.model import FileName

_NAMES = frozenset(file.value for file in FileName) | LOCK_NAMES


class FilesWatch:
    """A watch on a directory with one folder for each project, or on one folder."""

    def __init__(self, directory: Path, changed: Callable[[Path], object]) -> None:
        """Set up the watch.

        `changed` is called on another thread, with the folder in which a file was written.
        """
        self._directory = directory
        self._handler = _Handler(changed)
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Start to watch. The directory must be there."""
        self._observer = Observer()
        self._observer.schedule(self._handler, os.fspath(self._directory), recursive=True)
        self._observer.start()

    def stop(self) -> None:
        """Stop to watch, and wait for the thread."""
        if self._observer and self._observer.is_alive():
            self._observer.stop()
            self._observer.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, changed: Callable[[Path], object]) -> None:
        self._changed = changed

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Tell of what may be a write: readers open and close files, too.

        A directory is modified whenever a file in it is closed, that of a lock of ours included.
        """
        if event.event_type in ("opened", "closed_no_write"):
            return
        if event.is_directory and event.event_type == "modified":
            return
        paths = [event.src_path] + ([event.dest_path] if isinstance(event, FileSystemMovedEvent) else [])
        for path in map(Path, map(os.fsdecode, paths)):
            if event.is_directory:
                self._changed(path)
            elif path.name in _NAMES:
                self._changed(path.parent)
