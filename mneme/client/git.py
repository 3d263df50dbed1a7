"""Questions to git, which may be missing, slow, or of another mind."""

import os
import subprocess
from pathlib import Path

_SECONDS = 5.0


def answer(directory: Path, *words: str, ceiling: Path | None = None) -> str | None:
    """The answer of git, without the last line feed; empty if git fails.

    None if git cannot be run, or takes too long.

    With a `ceiling`, repositories in that directory or above do not count, nor does one that the environment names.
    """
    environment = None
    if ceiling is not None:
        named = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR")
        environment = {name: value for name, value in os.environ.items() if name not in named}
        environment["GIT_CEILING_DIRECTORIES"] = os.fspath(ceiling)
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours
            ["git", *words],  # noqa: S607 - whichever git the person uses
            cwd=directory,
            env=environment,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout).removesuffix("\n") if done.returncode == 0 else ""
