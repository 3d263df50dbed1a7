"""The log, as text for people or as JSON for machines.

Twisted's own observer for text takes more time than most requests.
"""

import fcntl
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, ClassVar, cast

import msgspec
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEventAsClassicLogText,
    formatTime,
)

from mneme import times
from mneme.model import Millis

REQUESTS = "mneme.request"
"""The logger of requests. Its events have their finished line in `log_line`."""

Form = Callable[[LogEvent], str | None]
"""Function that formats an event; None leaves it out."""

_ROTATE_BYTES = 10_000_000
_KEPT_FILES = 10


class SharedLogFile:
    """A log file, rotated when large, which other programs may truncate, move or remove.

    After that, the log continues at the new end of the file, or in a new file of the same name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open()

    def write(self, text: str) -> None:
        """Write to the end of the file that now has the name."""
        with self._lock:
            self._follow()
            if self._size >= _ROTATE_BYTES:
                self._rotate()
            self._file.write(text.encode())

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rotate(self) -> None:
        """Begin a new file, unless another program has moved the old one."""
        with self._lock:
            if not self._follow():
                self._rotate()

    def _open(self) -> None:
        self._file = open(self._path, "ab", buffering=0)  # noqa: PTH123, SIM115 - it stays open, unbuffered
        append_only(self._file.fileno())
        state = os.fstat(self._file.fileno())
        self._inode, self._size = (state.st_dev, state.st_ino), state.st_size

    def _rotate(self) -> None:
        """Rename the old files, remove the oldest, and begin a new file.

        If that fails, the log continues in the same file.
        """
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, _KEPT_FILES + 1))]
        with suppress(OSError):
            for newer, older in reversed(list(pairwise(names))):
                if newer.exists():
                    newer.rename(older)
            before = self._file
            self._open()
            before.close()

    def _follow(self) -> bool:
        """Open the file again if it has lost its name. Return whether it was opened."""
        with suppress(OSError):
            state = os.stat(self._path)  # noqa: PTH116 - called for each line of the log, and twice as fast as with a Path
            if (state.st_dev, state.st_ino) == self._inode:
                # Another program may have truncated the file.
                self._size = state.st_size
                return False
        before = self._file
        try:
            self._open()
        except OSError:
            # A log in the moved file is better than no log.
            return False
        before.close()
        return True


def append_only(descriptor: int) -> None:
    """Make all later writes to a file go to its current end.

    Other kinds of descriptors are not changed.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


class LogChoice:
    """The target and the format of the log.

    They are class attributes, because twistd takes its observer by name, and calls it without arguments.
    """

    name = "mneme.logs.LogChoice.observer"
    file: ClassVar[str] = "-"
    """The log file, `-` for standard output."""
    form: ClassVar[str] = "text"
    """`text` or `json`."""
    call_from_signal: ClassVar[Callable[[Callable[[], object]], object]]
    """Function by which a signal handler calls another function later, on the reactor thread."""

    @classmethod
    def observer(cls) -> ILogObserver:
        """Open the log. SIGUSR1 rotates a log file, as it does with twistd's own log.

        If another program truncates a file, the log continues at its new end. This includes a file to which standard
        output is redirected. Targets other than files are never rotated.
        """
        form = _without_ports(FORMS[cls.form])
        if cls.file == "-":
            with suppress(OSError, ValueError):  # standard output may be closed, or not a file
                append_only(sys.stdout.fileno())
            return FileLogObserver(sys.stdout, form)
        path = Path(cls.file)
        if path.exists() and not path.is_file():
            return FileLogObserver(path.open("a", encoding="utf-8"), form)
        rotated = SharedLogFile(path)
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, lambda _signal, _frame: cls.call_from_signal(rotated.rotate))
        return FileLogObserver(cast(IO[str], rotated), form)


def as_text_line(event: LogEvent) -> str | None:
    """An event as a line of text, as Twisted writes it: time, logger, level, message."""
    line = event.get("log_line")
    if line is not None:
        return f"{_second(int(event['log_time']))} [{REQUESTS}#{event['log_level'].name}] {line}\n"
    return formatEventAsClassicLogText(event)


def as_json_line(event: LogEvent) -> str:
    """An event as a line of JSON.

    The fields are `time`, `level`, `logger`, `message` (with the traceback, if any), and the values in the message.
    """
    line: dict[str, object] = {
        "time": times.to_text(Millis(int(event["log_time"] * 1000))),
        "level": event["log_level"].name,
        "logger": event.get("log_namespace", "-"),
        "message": eventAsText(event, includeTimestamp=False, includeSystem=False),
    }
    details = {key: value for key, value in event.items() if not key.startswith("log_") and key not in line}
    plain = {key: value for key, value in details.items() if isinstance(value, str | int | float)}
    return msgspec.json.encode(line | plain).decode() + "\n"


FORMS: dict[str, Form] = {"text": as_text_line, "json": as_json_line}
"""The functions that format an event, by the names of `--log-format`."""


def _without_ports(form: Form) -> Form:
    """A form without Twisted's lines about ports that open or close.

    A server that listens on IPv4 and IPv6 has them twice, and its own line says where it listens.
    """

    def formed(event: LogEvent) -> str | None:
        is_about_port = event.get("log_namespace") == "log_legacy" and event["log_level"] is LogLevel.info
        return None if is_about_port else form(event)

    return formed


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return formatTime(second)
