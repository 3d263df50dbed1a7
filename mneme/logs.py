"""The log for machines: one JSON object a line. The log for people is twistd's own."""

import sys
from typing import ClassVar

import msgspec
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, eventAsText
from twisted.python.logfile import LogFile

from mneme import times
from mneme.model import Millis

_ROTATE_BYTES = 10_000_000
_KEPT_FILES = 10


class JsonLog:
    """The observer in JSON. twistd wants it by name and calls it without arguments, so the file's name waits here."""

    name = "mneme.logs.JsonLog.make"
    file: ClassVar[str] = "-"
    """Where to write, `-` for standard output."""

    @classmethod
    def make(cls) -> ILogObserver:
        """Open the log."""
        if cls.file == "-":
            return FileLogObserver(sys.stdout, as_json_line)
        rotated = LogFile.fromFullPath(cls.file, rotateLength=_ROTATE_BYTES, maxRotatedFiles=_KEPT_FILES)
        return FileLogObserver(rotated, as_json_line)


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
