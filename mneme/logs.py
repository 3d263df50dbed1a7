"""The log, for people or for machines. Twisted's own observer for people takes longer than most requests do."""

import signal
import sys
from collections.abc import Callable
from functools import lru_cache
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
from twisted.python.logfile import LogFile

from mneme import times
from mneme.model import Millis

REQUESTS = "mneme.request"
"""The logger of requests, whose events bring their line ready to be written, as `log_line`."""

_ROTATE_BYTES = 10_000_000
_KEPT_FILES = 10


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
        """Open the log; SIGUSR1 rotates a file, as it does with twistd's own. What is no file stays where it is."""
        form = FORMS[cls.form]
        if cls.file == "-":
            return FileLogObserver(sys.stdout, form)
        path = Path(cls.file)
        if path.exists() and not path.is_file():
            return FileLogObserver(path.open("a", encoding="utf-8"), form)
        rotated = LogFile.fromFullPath(cls.file, rotateLength=_ROTATE_BYTES, maxRotatedFiles=_KEPT_FILES)
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
