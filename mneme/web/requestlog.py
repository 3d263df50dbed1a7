"""One line in the log for each request, once it has ended."""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from mneme.errors import MnemeError
from mneme.model import ClientId
from mneme.web import reading

_FORMAT = "{address} {client} {method} {project} {place} {status} {bytes} bytes {milliseconds:.1f} ms{ending}"

_log = Logger("mneme.request")


class RequestLog:
    """Writes the line: who asked for what, what it came to, and how long it took."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def watch(self, request: Request) -> None:
        """Write the line of `request` when it ends, by an answer or by a hang-up."""
        request.notifyFinish().addBoth(self._write_end, request, self._clock.seconds())

    def write_refusal(self, request: Request, status: int, size: int) -> None:
        """Write the line of a request that was refused before it was here."""
        self._write(request, status, size, 0.0, " (refused before its end)")

    def _write_end(self, hung_up: object, request: Request, started: float) -> None:
        status = request.code if request.startedWriting else "unanswered"
        seconds = self._clock.seconds() - started
        self._write(request, status, request.sentLength, seconds, " (the client hung up)" if hung_up else "")

    def _write(self, request: Request, status: int | str, size: int, seconds: float, ending: str) -> None:
        project, place = _place(request)
        _log.info(
            _FORMAT,
            address=address_of(request),
            client=_client(request),
            method=request.method.decode("ascii", "backslashreplace"),
            project=project,
            place=place,
            status=status,
            bytes=size,
            milliseconds=seconds * 1000,
            ending=ending,
        )


def address_of(request: Request) -> str:
    """The address that the request came from; `local` for a socket in the file system."""
    host: str = getattr(request.getClientAddress(), "host", "local")
    # How an IPv4 address looks from a socket that listens for both families.
    return host.removeprefix("::ffff:")


def _place(request: Request) -> tuple[str, str]:
    """The project (`-` for none) and the place in it. Both stay percent-encoded: nothing in them can forge a line."""
    segments = [segment.decode("ascii") for segment in reading.raw_segments(request.path)]
    if segments[:1] == ["projects"] and len(segments) > 1:
        return segments[1] or "-", "/".join(segments[2:]) or "-"
    return "-", "/" + "/".join(segments)


def _client(request: Request) -> str:
    raw = request.getHeader(b"x-client-id")
    try:
        return str(ClientId.parse(reading.header_text(raw))) if raw else "-"
    except MnemeError:
        return "-"
