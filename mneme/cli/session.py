"""`session-start` and `session-end`: the hooks of Claude Code.

They ask the agent, or do its work without one.

Claude Code adds what a hook of SessionStart prints to the context. Imports are few, for a session waits meanwhile.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from mneme import homedir

_END_SECONDS = 10.0
_START_SECONDS = 2.0
_LONGEST_SECONDS = 60.0
_SOCKET = ".claude-mneme/.mneme-agent.sock"
_EXTRA_SECONDS = 1.0
"""Seconds that the agent may take beyond the time that it is told to wait for the server."""


def main(name: str, program: str) -> None:
    """Run the hook of this name; `program` is the path of this command.

    The status of the process is 0: a session goes on anyway.
    """
    try:
        if os.environ.get("MNEME_DISABLED") != "1":
            _run(name, program)
    except OSError as error:
        _warn(
            f"{error.filename}: {error.strerror}; `mneme doctor` says more" if error.filename else str(error)
        )
    except Exception as error:  # noqa: BLE001 - no fault of ours may keep a session from its work
        _warn(str(error) or type(error).__name__)


def _run(name: str, program: str) -> None:
    home = homedir.home() or Path("/nonexistent")
    seconds = _START_SECONDS if name == "session-start" else _END_SECONDS
    told = ask(home, {"do": name, "cwd": str(Path.cwd()), "seconds": _seconds(home, seconds)})
    if told is None:
        from mneme.cli import sessionalone

        told = sessionalone.run(name, program, seconds)
    if told.get("news"):
        # Whatever the locale: Claude Code reads UTF-8.
        sys.stdout.buffer.write(told["news"].encode(errors="replace"))
    if told.get("problem"):
        _warn(told["problem"])


def _seconds(home: Path, default: float) -> float:
    """The time to wait, by the settings for the start of a session."""
    if default != _START_SECONDS:
        return default
    try:
        config = json.loads((home / ".claude-mneme/config.json").read_bytes())
        seconds = float(config["sync"]["hookSeconds"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return default
    return seconds if 0 < seconds <= _LONGEST_SECONDS else default


def ask(home: Path, request: dict[str, object]) -> Mapping[str, str] | None:
    """The answer of the agent; None if no agent runs, or it ends meanwhile."""
    seconds = float(str(request["seconds"]))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds + _EXTRA_SECONDS)
        try:
            connection.connect(os.fspath(home / _SOCKET))
        except (OSError, UnicodeError):
            return None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n") and (block := connection.recv(65_536)):
                received += block
        except TimeoutError:
            return {"problem": f"The agent did not answer within {seconds + _EXTRA_SECONDS:g} s"}
        except OSError:
            return None
    try:
        answer: Mapping[str, str] = json.loads(received)
    except ValueError:
        return None
    return answer


def _warn(problem: str) -> None:
    sys.stderr.write(f"mneme: {problem}\n")
