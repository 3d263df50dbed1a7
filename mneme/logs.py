"""The log for machines: one JSON object a line. The log for people is twistd's own."""

import sys
from collections.abc import Callable

import msgspec
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, eventAsText
from twisted.python.logfile import LogFile

from mneme import times
from mneme.model import Millis

_ROTATE_BYTES = 10_000_000
_KEPT_FILES = 10


def json_observer(log_file: str | None, in_foreground: bool) -> Callable[[], ILogObserver]:
    """What makes the observer once twistd begins to log, to the places where its own would: a file, else stdout."""

    def make() -> ILogObserver:
        if log_file == "-" or (in_foreground and not log_file):
            return FileLogObserver(sys.stdout, as_json_line)
        path = log_file or "twistd.log"
        rotated = LogFile.fromFullPath(path, rotateLength=_ROTATE_BYTES, maxRotatedFiles=_KEPT_FILES)
        return FileLogObserver(rotated, as_json_line)

    return make


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
