"""What is left on a disk when the current goes out: what was synced is sure to be there, the rest may be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen

from tests.store.faults import Step

_Names = Mapping[int, Mapping[str, int]]
"""By the inode of a directory, the inodes of what is in it."""
_Contents = Mapping[int, tuple[bytes, int]]
"""By the inode of a file, its bytes and its mtime."""

SURVIVORS = (
    "only what was synced",
    "names ahead of contents",
    "contents ahead of names",
    "anything in between",
)
"""The last is told by chance: each directory as it was at some time since it was synced, each file as it is, or was
when it was synced."""

_lstat, _open, _scandir = os.lstat, os.open, os.scandir


@frozen
class Cut:
    """An instant: what was sure then, and what there was; and the steps of the test's own that had ended by then."""

    before: Step
    answered: int
    sure_names: _Names
    sure_contents: _Contents
    names: _Names
    contents: _Contents
    earlier: Mapping[int, Sequence[Mapping[str, int]]]
    """By the inode of a directory, the names that it had at each step since it was synced, the present ones last."""


class Platter:
    """Knows what is sure to be on the disk below `root`; what is there at first is.

    Syncing a file makes its content sure, syncing a directory the names in it, and neither does the other's work.
    It is a watcher of `Faults`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: list[int] = []
        self._directories: set[int] = set()
        self._names, self._contents = self._look()
        for _, files in _walk(root):
            self._kept += [_open(file, os.O_RDONLY) for file in files]
        self._earlier: dict[int, list[Mapping[str, int]]] = {}
        self.answered = 0
        self.cuts: list[Cut] = []

    def before(self, step: Step, /) -> None:
        """Note what a power cut just before this step would find."""
        names, contents = self._look()
        for inode, present in names.items():
            self._earlier.setdefault(inode, []).append(present)
        earlier = {inode: tuple(states) for inode, states in self._earlier.items()}
        self.cuts.append(
            Cut(step, self.answered, dict(self._names), dict(self._contents), names, contents, earlier)
        )

    def after(self, step: Step, subject: Any, result: Any, /) -> None:
        """Note what is sure now; what is new is kept open until `close`, so that its inode is not used again."""
        if step.call == "create":
            self._kept.append(os.dup(result))
        elif step.call == "mkdir":
            self._kept.append(_open(subject, os.O_RDONLY))
            self._directories.add(os.fstat(self._kept[-1]).st_ino)
        elif step.call in {"fsync", "fdatasync"}:
            self._sync(subject)

    def close(self) -> None:
        """Let go of all files."""
        while self._kept:
            os.close(self._kept.pop())

    def restore(self, cut: Cut, survivors: str, target: Path) -> None:
        """Lay out in `target` what the power cut left, if these are the survivors."""
        names = cut.names if survivors == "names ahead of contents" else cut.sure_names
        contents = dict(cut.sure_contents)
        if survivors == "contents ahead of names":
            contents.update(cut.contents)
        if survivors == "anything in between":
            chance = Random(len(cut.names) + sum(len(states) for states in cut.earlier.values()))
            names = {
                inode: chance.choice((cut.sure_names.get(inode, {}), *states))
                for inode, states in cut.earlier.items()
            }
            contents.update({inode: one for inode, one in cut.contents.items() if chance.random() < 0.5})
        self._restore(names, contents, _lstat(self._root).st_ino, target, {})

    def _sync(self, descriptor: int) -> None:
        state = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if stat.S_ISDIR(state.st_mode):
            self._names[state.st_ino] = _names(path)
            self._earlier[state.st_ino] = []
        else:
            self._contents[state.st_ino] = _content(path)

    def _look(self) -> tuple[dict[int, Mapping[str, int]], dict[int, tuple[bytes, int]]]:
        names: dict[int, Mapping[str, int]] = {}
        contents: dict[int, tuple[bytes, int]] = {}
        for directory, files in _walk(self._root):
            inode = _lstat(directory).st_ino
            self._directories.add(inode)
            names[inode] = _names(directory)
            contents |= {_lstat(file).st_ino: _content(file) for file in files}
        return names, contents

    def _restore(
        self, names: _Names, contents: _Contents, inode: int, target: Path, made: dict[int, Path]
    ) -> None:
        """Lay out a directory; `made` has a path of each file that was laid out before, by its inode."""
        target.mkdir(mode=0o700)
        for name, child in names.get(inode, {}).items():
            path = target / name
            if child in self._directories:
                self._restore(names, contents, child, path, made)
            elif child in made:
                os.link(made[child], path)
            else:
                made[child] = path
                content, mtime = contents.get(child, (b"", 0))
                path.write_bytes(content)
                os.utime(path, ns=(mtime, mtime))


def _walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        with _scandir(directory) as entries:
            found = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
        waiting += [path for path, is_directory in found if is_directory]
        yield directory, [path for path, is_directory in found if not is_directory]


def _names(directory: Path) -> Mapping[str, int]:
    with _scandir(directory) as entries:
        return {entry.name: entry.inode() for entry in entries}


def _content(path: Path) -> tuple[bytes, int]:
    return path.read_bytes(), _lstat(path).st_mtime_ns
