"""One line in the log for each request, once it has ended."""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mneme.errors import MnemeError
from mneme.logs import REQUESTS
from mneme.web import reading
from mneme.web.request import Request

_log = Logger(REQUESTS)


class RequestLog:
    """Writes the line: who asked for what, what it came to, and how long it took."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def write_end(self, request: Request, ending: str = "") -> None:
        """Write the line of `request`, which has ended, by an answer or by a hang-up."""
        status = request.code if request.startedWriting else "unanswered"
        started = request.started
        seconds = 0.0 if started is None else self._clock.seconds() - started
        self._write(request, status, request.sentLength, seconds, ending)

    def write_refusal(self, request: Request, status: int, size: int) -> None:
        """Write the line of a request that was refused before it was here."""
        self._write(request, status, size, 0.0, " (refused before its end)")

    def _write(self, request: Request, status: int | str, size: int, seconds: float, ending: str) -> None:
        address, client = request.address, _client(request)
        method = request.method.decode("ascii", "backslashreplace")
        project, place = _place(request.path)
        milliseconds = seconds * 1000
        # In one piece: the formatter of twisted.logger takes ten times as long.
        line = f"{address} {client} {method} {project} {place} {status} {size} bytes {milliseconds:.1f} ms{ending}"
        _log.info(
            "{log_line}",
            log_line=line,
            address=address,
            client=client,
            method=method,
            project=project,
            place=place,
            status=status,
            bytes=size,
            milliseconds=milliseconds,
            ending=ending,
        )


def _place(path: bytes) -> tuple[str, str]:
    """The project (`-` for none) and the place in it. Both stay percent-encoded: nothing in them can forge a line."""
    segments = reading.raw_segments(path)
    text = b"/".join(segments).decode("ascii")
    if segments[:1] == [b"projects"] and len(segments) > 1:
        _, project, *rest = text.split("/", 2)
        return project or "-", "".join(rest) or "-"
    return "-", "/" + text


def _client(request: Request) -> str:
    raw = request.getHeader(b"x-client-id")
    try:
        return str(reading.client_in(raw)) if raw else "-"
    except MnemeError:
        return "-"
