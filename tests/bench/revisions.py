"""The repository as it was at another time."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import NotMeasured, last_line

HERE = Path(__file__).parents[2]
"""The repository as it is."""


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """The repository as it was at a revision, for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="mneme-bench-") as directory:
        tree = Path(directory) / "tree"
        try:
            _git("worktree", "add", "--quiet", "--detach", str(tree), revision)
        except subprocess.CalledProcessError as error:
            raise NotMeasured(f"Git cannot check out {revision}: {last_line(error.stderr)}") from error
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(HERE), *arguments], check=True, capture_output=True)
