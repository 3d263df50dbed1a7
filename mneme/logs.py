"""The log, for people or for machines. Twisted's own observer for people takes longer than most requests do."""

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
    eventAsText,
    formatEventAsClassicLogText,
    formatTime,
)

from mneme import times
from mneme.model import Millis

REQUESTS = "mneme.request"
"""The logger of requests, whose events bring their line ready to be written, as `log_line`."""

_ROTATE_BYTES = 10_000_000
_KEPT_FILES = 10


class SharedLogFile:
    """A log file that is rotated when it is large, and that others may truncate, move or remove, as logrotate does.

    It goes on at its end as that is then, or in a new file of its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open()

    def write(self, text: str) -> None:
        """Write to the end of the file that has the name now."""
        with self._lock:
            self._follow()
            if self._file.tell() >= _ROTATE_BYTES:
                self._rotate()
            self._file.write(text.encode())

    def flush(self) -> None:
        """Leave nothing unwritten: there is no buffer."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rotate(self) -> None:
        """Begin a new file, unless somebody else has made place for one."""
        with self._lock:
            if not self._follow():
                self._rotate()

    def _open(self) -> None:
        self._file = open(self._path, "ab", buffering=0)  # noqa: PTH123, SIM115 - it stays open, unbuffered
        append_only(self._file.fileno())
        state = os.fstat(self._file.fileno())
        self._inode = state.st_dev, state.st_ino

    def _rotate(self) -> None:
        """Number the old files anew, the oldest goes; where that cannot be done the file goes on."""
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, _KEPT_FILES + 1))]
        with suppress(OSError):
            for newer, older in reversed(list(pairwise(names))):
                if newer.exists():
                    newer.rename(older)
            before = self._file
            self._open()
            before.close()

    def _follow(self) -> bool:
        """Open the file anew unless it still has its name; whether it was opened."""
        with suppress(OSError):
            state = os.stat(self._path)  # noqa: PTH116 - at each line of the log, and half as long as by a Path
            if (state.st_dev, state.st_ino) == self._inode:
                # Its end is another if somebody has truncated it.
                self._file.seek(0, os.SEEK_END)
                return False
        before = self._file
        try:
            self._open()
        except OSError:
            # Better a log under another name than none.
            return False
        before.close()
        return True


def append_only(descriptor: int) -> None:
    """Writes to a file go to its end from now on, wherever that is.

    All but files stay as they are.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


class LogChoice:
    """Where the log goes, and how. twistd wants its observer by name and calls it without arguments."""

    name = "mneme.logs.LogChoice.observer"
    file: ClassVar[str] = "-"
    """Where to write, `-` for standard output."""
    form: ClassVar[str] = "text"
    """`text` or `json`."""
    call_from_signal: ClassVar[Callable[[Callable[[], object]], object]]
    """How something is done that a signal asks for: by the reactor, and not in the middle of whatever runs."""

    @classmethod
    def observer(cls) -> ILogObserver:
        """Open the log; SIGUSR1 rotates a file, as it does with twistd's own.

        A file goes on at its end when somebody else has truncated it, and so does one that standard output goes to. All
        but files stay where they are.
        """
        form = FORMS[cls.form]
        if cls.file == "-":
            with suppress(OSError, ValueError):  # it may be closed, or no file at all
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
    """Time, logger and level, and the message, as Twisted writes it."""
    line = event.get("log_line")
    if line is not None:
        return f"{_second(int(event['log_time']))} [{REQUESTS}#{event['log_level'].name}] {line}\n"
    return formatEventAsClassicLogText(event)


def as_json_line(event: LogEvent) -> str:
    """`time`, `level`, `logger`, `message` (with the traceback, if any), and what the message was made of."""
    line: dict[str, object] = {
        "time": times.to_text(Millis(int(event["log_time"] * 1000))),
        "level": event["log_level"].name,
        "logger": event.get("log_namespace", "-"),
        "message": eventAsText(event, includeTimestamp=False, includeSystem=False),
    }
    details = {key: value for key, value in event.items() if not key.startswith("log_") and key not in line}
    plain = {key: value for key, value in details.items() if isinstance(value, str | int | float)}
    return msgspec.json.encode(line | plain).decode() + "\n"


FORMS: dict[str, Callable[[LogEvent], str | None]] = {"text": as_text_line, "json": as_json_line}
"""How an event is written, by the names of `--log-format`."""


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    return formatTime(second)
