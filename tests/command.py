"""The real `mneme` command on a machine with the plugin's folder and a project."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.daemon import wait_until

LOG = "log.jsonl"
ENDS_WITHIN = 60.0


class Home:
    """A machine; `sync` is added to that section of the plugin's settings."""

    def __init__(self, path: Path, url: str, **sync: object) -> None:
        self.path = path
        self.root = path / "src" / "app"
        self.root.mkdir(parents=True)
        self.plugin = path / ".claude-mneme"
        self.plugin.mkdir()
        self.configure({"enabled": True, "serverUrl": url, "projectId": "app", **sync})

    def configure(self, sync: Mapping[str, object]) -> None:
        """Write the plugin's settings."""
        (self.plugin / "config.json").write_text(json.dumps({"sync": sync}), encoding="utf-8")

    @property
    def client_id(self) -> str:
        """The client id of the machine, once it has been asked."""
        return (self.plugin / ".client-id").read_text(encoding="utf-8").strip()

    @property
    def memory(self) -> Path:
        """Where the plugin keeps the memory of the project."""
        return self.plugin / "projects" / str(self.root).replace("/", "-")

    def file(self, name: str = LOG) -> Path:
        """Path of a memory file."""
        return self.memory / name

    def contents(self) -> dict[str, bytes]:
        """The contents of all files in the memory folder that are not hidden."""
        return {
            path.name: path.read_bytes()
            for path in sorted(self.memory.glob("[!.]*"))
            if not path.name.endswith(".bak")
        }

    def write(self, name: str, content: bytes) -> None:
        """Write a file as the plugin does."""
        self.memory.mkdir(parents=True, exist_ok=True)
        self.file(name).write_bytes(content)

    def note(self, *contents: str) -> None:
        """Append to the log as the plugin does."""
        self.memory.mkdir(parents=True, exist_ok=True)
        with self.file().open("ab") as log:
            log.write(b"".join(map(line, contents)))

    def notes(self) -> list[str]:
        """The contents of the log's entries."""
        return entries(self.file().read_bytes()) if self.file().exists() else []

    def run(self, *arguments: str, check: bool = True, cwd: Path | None = None) -> Ended:
        """Run the command to its end, in the project's directory."""
        process = self.start(*arguments, cwd=cwd)
        ended = Ended(process)
        if check:
            assert ended.status == 0, ended
        return ended

    def json(self, *arguments: str) -> Any:
        """Output of a command with `--json`."""
        return json.loads(self.run(*arguments, "--json").out)

    def start(self, *arguments: str, cwd: Path | None = None, **more: Any) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "mneme"), *arguments],
            cwd=cwd or self.root,
            **{
                "env": self.environment(),
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                **more,
            },
        )

    def environment(self) -> dict[str, str]:
        """The environment of the command, on a terminal that is wide enough for any table."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("MNEME_", "GIT_"))}
        return {**mine, "HOME": str(self.path), "COLUMNS": "200", "TZ": "UTC"}


class Ended:
    """Output and exit status of a command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        try:
            self.out, self.err = process.communicate(timeout=ENDS_WITHIN)
        finally:
            process.kill()
        self.status = process.returncode

    def __repr__(self) -> str:
        return f"<status {self.status}\n{self.out}\n{self.err}>"


class Watching:
    """A running `mneme watch`, and the events that it has told of so far."""

    def __init__(self, home: Home) -> None:
        self._log = home.path / "watch.log"
        with self._log.open("wb") as log:
            self.process = home.start("watch", "--json", stdout=log, stderr=log)

    def events(self) -> list[dict[str, Any]]:
        """The events so far."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [json.loads(text) for text in lines if text.startswith('{"event"')]

    def happened(self) -> list[str]:
        """The names of the events so far."""
        return [event["event"] for event in self.events()]

    def wait_for(self, event: str, times: int = 1, within: float = 30.0) -> None:
        """Wait until it has happened so often."""
        try:
            wait_until(lambda: self.happened().count(event) >= times, within=within)
        except TimeoutError as error:
            raise TimeoutError(
                f"no {event} within {within} s: {self._log.read_text(encoding='utf-8')}"
            ) from error

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; its exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(ENDS_WITHIN)
        finally:
            self.process.kill()

    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text(encoding="utf-8")


def line(content: str) -> bytes:
    """An entry of the log as the plugin writes it."""
    entry = {"ts": "2026-11-24T20:00:00.000Z", "type": "note", "content": content}
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def entries(content: bytes | str) -> list[str]:
    """The contents of the entries of a log."""
    return [json.loads(text)["content"] for text in content.splitlines()]
