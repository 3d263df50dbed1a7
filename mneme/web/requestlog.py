"""Log of requests: a line for each, and a sum a minute for repeated refusals."""

import math

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mneme.errors import MnemeError
from mneme.logs import REQUESTS
from mneme.web import reading
from mneme.web.refusals import SECONDS, Refusals
from mneme.web.request import Request
from mneme.web.slots import group_of

_log = Logger(REQUESTS)


class RequestLog:
    """Writer of a line for each request: client, place, status, size, and time."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._refusals = Refusals()
        self._telling: IDelayedCall | None = None

    def write_end(self, request: Request, ending: str = "") -> None:
        """Write the line of `request`, which has ended, by an answer or by a hang-up."""
        if request.is_turned_away and not self.is_told(request.address):
            return
        status = request.code if request.startedWriting else "unanswered"
        started = request.started
        seconds = 0.0 if started is None else self._clock.seconds() - started
        self._write(request, status, request.sentLength, seconds, ending)

    def write_refusal(self, request: Request, status: int, size: int) -> None:
        """Write the line of a request that was refused before it was here."""
        if self.is_told(request.address):
            self._write(request, status, size, 0.0, " (refused before its end)")

    def is_told(self, address: str) -> bool:
        """Whether a refusal of `address` has a line; if not, it is summed up.

        The addresses of an IPv6 network count as one, since anybody has 2 to the power of 64 of them.
        """
        now = self._clock.seconds()
        self._sum_up(now)
        is_told = self._refusals.is_told(group_of(address), now)
        if self._telling is None:
            self._telling = self._clock.callLater(SECONDS, self._tell)
        return is_told

    def close(self) -> None:
        """Sum up what is left to tell."""
        if self._telling and self._telling.active():
            self._telling.cancel()
        self._sum_up(math.inf)

    def _tell(self) -> None:
        self._telling = None
        self._sum_up(self._clock.seconds())
        if not self._refusals.is_empty:
            self._telling = self._clock.callLater(SECONDS, self._tell)

    def _sum_up(self, now: float) -> None:
        for address, count in self._refusals.due(now):
            line = f"{address} was refused {count} times more within a minute"
            _log.info("{log_line}", log_line=line, address=address, refusals=count)

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
    """Project (`-` for none) and place, percent-encoded, so that nothing can forge a line."""
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
