"""The routes. Each handler reads its request, asks the service, and says the outcome in words of the wire."""

from io import BytesIO

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.server import Request

from mneme import __version__, times
from mneme.errors import FileNotAllowed, FileUnknown, InvalidBody, InvalidToken, MissingClientId
from mneme.model import (
    Accepted,
    ClientId,
    FileName,
    Granted,
    HeldBy,
    NotLocked,
    ProjectId,
    Released,
    StaleToken,
    Upload,
)
from mneme.service import SyncService
from mneme.web import wire
from mneme.web.answers import prepare, reply
from mneme.web.auth import Keys
from mneme.web.bodies import content_of
from mneme.web.errors import UploadNotAllowed, answer_to, problem
from mneme.web.reading import ProjectConverter, SegmentConverter, header_text

_NO_LOCK_TO_EXTEND = "No lock to extend"
_NO_LOCK_TO_WRITE = "No lock held - acquire lock before writing"
_OTHERS_LOCK = "Lock held by different client"
_TAKEN = "Lock held by another client"
_STALE = "X-Lock-Token is of an older lock than the one held now: acquire again, merge, then upload"


class Api:
    """The wire contract as Klein routes."""

    app = Klein()
    app.url_map.converters = app.url_map.converters | {
        "project": ProjectConverter,
        "segment": SegmentConverter,
    }
    # `//` is an empty segment, not a slip to redirect.
    app.url_map.merge_slashes = False

    def __init__(self, sync: SyncService, keys: Keys) -> None:
        """`keys` may be exchanged at any time."""
        self.keys = keys
        self._sync = sync

    @app.route("/", methods=["GET"])
    @app.route("/health", methods=["GET"])
    def health(self, request: Request) -> bytes:
        """Say that the server is up; needs no key."""
        return reply(request, wire.Health(__version__, self.keys.required))

    @app.route("/projects/<project:project>/lock", methods=["GET"])
    async def lock(self, request: Request, project: ProjectId) -> bytes:
        """Say who holds the lock."""
        lock = await self._sync.lock(project)
        return reply(request, wire.LockStatus(lock is not None, wire.WireLock.of(lock) if lock else None))

    @app.route("/projects/<project:project>/lock", methods=["POST"])
    async def acquire(self, request: Request, project: ProjectId) -> bytes:
        """Take the lock, or extend one's own."""
        match await self._sync.acquire(project, _client(request)):
            case Granted(lock):
                return reply(request, wire.LockGranted(wire.WireLock.of(lock)))
            case HeldBy(lock):
                return prepare(request, problem(409, _TAKEN, lock))

    @app.route("/projects/<project:project>/lock", methods=["DELETE"])
    async def release(self, request: Request, project: ProjectId) -> bytes:
        """Give up one's own lock."""
        match await self._sync.release(project, _client(request)):
            case Released():
                return reply(request, wire.Success(True))
            case NotLocked():
                return reply(request, wire.Success(True, "No lock to release"))
            case HeldBy(lock):
                return prepare(request, problem(403, _OTHERS_LOCK, lock))

    @app.route("/projects/<project:project>/lock/heartbeat", methods=["POST"])
    async def heartbeat(self, request: Request, project: ProjectId) -> bytes:
        """Move the expiry of one's own lock."""
        match await self._sync.extend(project, _client(request)):
            case Granted(lock):
                return reply(request, wire.LockGranted(wire.WireLock.of(lock)))
            case NotLocked():
                return prepare(request, problem(403, _NO_LOCK_TO_EXTEND))
            case HeldBy(lock):
                return prepare(request, problem(403, _OTHERS_LOCK, lock))

    @app.route("/projects/<project:project>/files", methods=["GET"])
    async def files(self, request: Request, project: ProjectId) -> bytes:
        """List the files."""
        heads = await self._sync.heads(project)
        return reply(request, wire.FileList([wire.WireHead.of(head) for head in heads]))

    @app.route("/projects/<project:project>/files/<segment:name>", methods=["GET"])
    async def download(self, request: Request, project: ProjectId, name: str) -> bytes:
        """Send a file."""
        document = await self._sync.read(project, _file(name, FileNotAllowed))
        if document is None:
            raise FileUnknown
        # What was put there by hand need not be UTF-8; history keeps it as it is.
        text = document.content.decode(errors="replace")
        return reply(request, wire.Download(text, times.to_text(document.head.mtime), document.head.version))

    @app.route("/projects/<project:project>/files/<segment:name>", methods=["PUT"])
    async def upload(self, request: Request, project: ProjectId, name: str) -> bytes:
        """Store a file, durably before it is answered."""
        client = _client(request)
        file = _file(name, UploadNotAllowed)
        upload = Upload(file, _take_content(request), client, _token(request))
        match await self._sync.upload(project, upload):
            case Accepted(head):
                return reply(request, wire.Uploaded(times.to_text(head.mtime), head.version))
            case NotLocked():
                return prepare(request, problem(403, _NO_LOCK_TO_WRITE))
            case HeldBy(lock):
                return prepare(request, problem(403, _OTHERS_LOCK, lock))
            case StaleToken(lock):
                return prepare(request, problem(409, _STALE, lock))

    @app.handle_errors(Exception)  # type: ignore[arg-type]  # Klein's type has the bare IRequest here, unlike for routes
    def failed(self, request: Request, failure: Failure) -> bytes:
        """Answer any error by the one table."""
        return prepare(request, answer_to(failure))


def _client(request: Request) -> ClientId:
    raw = request.getHeader(b"x-client-id")
    if not raw or not raw.strip():
        raise MissingClientId
    return ClientId.parse(header_text(raw))


def _file(name: str, otherwise: type[FileNotAllowed | UploadNotAllowed]) -> FileName:
    try:
        return FileName(name)
    except ValueError:
        raise otherwise from None


def _token(request: Request) -> int | None:
    raw = request.getHeader(b"x-lock-token")
    if raw is None:
        return None
    if not raw.isdigit() or len(raw) > 19:
        raise InvalidToken
    return int(raw)


def _take_content(request: Request) -> bytes:
    """The content of an upload. The body is let go: it would double what a waiting upload holds in memory."""
    body = request.content.read() if request.content else b""
    request.content = BytesIO()
    encoding = request.getHeader(b"content-encoding")
    if encoding not in (None, b"identity"):
        raise InvalidBody("The body must not be compressed: send it without Content-Encoding")
    return content_of(body, request.getHeader(b"content-type"))
