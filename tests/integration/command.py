"""The real `mneme` command, in a process of its own, for a person with a home of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MNEME = Path(sys.executable).with_name("mneme")


class Person:
    """Somebody with a home, and a project in it that they work on."""

    def __init__(self, home: Path, sync: Mapping[str, object] | None = None) -> None:
        self.home = home
        self.project = home / "src" / "my-app"
        self.project.mkdir(parents=True)
        if sync is not None:
            self.configure(sync)

    @property
    def folder(self) -> Path:
        """Where the plugin keeps the memory of the project."""
        return self.home / ".claude-mneme" / "projects" / str(self.project).replace("/", "-")

    @property
    def claude(self) -> Path:
        """The settings of Claude Code."""
        return self.home / ".claude" / "settings.json"

    def configure(self, sync: Mapping[str, object]) -> None:
        """Write the plugin's settings."""
        path = self.home / ".claude-mneme" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"sync": sync}))

    def write(self, name: str, content: str) -> None:
        """Work as the plugin does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(content)

    def mneme(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command in the project."""
        return subprocess.run(
            [str(MNEME), *arguments],
            cwd=self.project,
            env={**_environment(), "HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def states(self, *arguments: str, **environment: str) -> dict[str, str]:
        """What the doctor finds: the state of each thing, by its code."""
        done = self.mneme("doctor", "--json", *arguments, **environment)
        found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
        states = {one["code"]: one["state"] for one in found}
        assert done.returncode == (1 if "bad" in states.values() else 0)
        assert done.stderr == ""
        return states


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name != "VIRTUAL_ENV" and not name.startswith(("MNEME_", "GIT_"))
    }
