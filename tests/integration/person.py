"""A machine whose person has settings of Claude Code, too, or no settings at all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.command import ENDS_WITHIN, Home

MNEME = Path(sys.executable).with_name("mneme")


class Person(Home):
    """One machine, with `sync` as the section of that name in the plugin's settings; without it, there are none."""

    def __init__(self, path: Path, sync: Mapping[str, object] | None = None) -> None:
        super().__init__(path, "")
        self.claude = path / ".claude" / "settings.json"
        if sync is not None:
            self.configure(sync)
        else:
            (self.plugin / "config.json").unlink()

    def mneme(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command in the project, in an environment of which some is given."""
        return subprocess.run(
            [str(MNEME), *arguments],
            cwd=self.root,
            env={**self.environment(), "VIRTUAL_ENV": "", **environment},
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN,
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
