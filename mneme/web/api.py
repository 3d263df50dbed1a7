"""Routes: each handler parses its request, asks the service, and makes an answer."""

from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import wraps
from typing import Any, ClassVar, TypeAlias, TypeVar, cast

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from werkzeug.exceptions import MethodNotAllowed, NotFound

from mneme import __version__, times, wire
from mneme.errors import (
    FileNotAllowed,
    FileUnknown,
    InvalidEventId,
    InvalidKey,
    InvalidLimit,
    InvalidToken,
    InvalidWait,
    MissingClientId,
    VersionUnknown,
)
from mneme.feed import Feed
from mneme.model import (
    BRIEFINGS,
    FILES,
    MEMORY,
    Accepted,
    Append,
    Bygone,
    Changed,
    ClientId,
    EventId,
    FileName,
    Granted,
    Head,
    HeldBy,
    Linked,
    NotLocked,
    ProjectId,
    Released,
    Removal,
    Removed,
    Rescued,
    Restore,
    Served,
    StaleToken,
    Unmodified,
    Unnamed,
    Upload,
    Version,
)
from mneme.service import SyncService
from mneme.web.answers import Answer, answer
from mneme.web.bodies import content_of, lines_of, project_in, version_in
from mneme.web.coding import Coding
from mneme.web.encoding import Encoding
from mneme.web.errors import UploadNotAllowed, answer_to, problem
from mneme.web.events import EventStream
from mneme.web.policy import Policy
from mneme.web.preconditions import etag, only_if, unless
from mneme.web.reading import client_in, header_text, is_stock
from mneme.web.receipts import Receipts
from mneme.web.request import Request
from mneme.web.routes import RoutedApp

_NO_LOCK_TO_EXTEND = "No lock to extend"
_NO_LOCK_TO_WRITE = "No lock held - acquire lock before writing"
_OTHERS_LOCK = "Lock held by different client"
_TAKEN = "Lock held by another client"
_ANOTHER = (
    "The file is another now, nothing was changed: download it, merge, then upload with the ETag it came with"
)
_GONE = "There is no such file, nothing was changed: upload it with If-None-Match: * and without If-Match"
_BYGONE = "The file had this content before, nothing was changed: only a restore brings that back"
_BRIEFING = f"<any({', '.join(repr(file.value) for file in BRIEFINGS)}):name>"
_METHODS = frozenset({"GET", "HEAD", "PUT"})
"""The methods of a file; a briefing has DELETE, too."""
_MAX_DIGITS = 19
_MAX_WAIT = 60
_MAX_KEY = 200
_STALE = "X-Lock-Token is of an older lock than the one held now: acquire again, merge, then upload"


_app = RoutedApp()

Reply: TypeAlias = Answer | EventStream

Handler: TypeAlias = Callable[..., Coroutine[Any, Any, Reply]]
"""A method that answers a request, given that and what the path names."""

H = TypeVar("H", bound=Handler)


def _route(methods: str, rule: str) -> Callable[[H], H]:
    """Register a handler with Klein; a request for a project settles its receipts."""

    def decorated(handler: H) -> H:
        @wraps(handler)
        def handle(api: "Api", request: Request, **arguments: Any) -> Coroutine[Any, Any, Reply]:  # noqa: ANN401 - of any handler
            if "project" in arguments:
                api.receipts.settle(arguments["project"])
            return handler(api, request, **arguments)

        return cast(H, _app.route(rule, methods=methods.split())(handle))

    return decorated


def _refusal(
    handler: Callable[["Api", Request, Failure], Answer],
) -> Callable[["Api", Request, Failure], Answer]:
    """Register a handler for the exceptions of all others; Klein's own type is too narrow."""
    return cast(
        Callable[["Api", Request, Failure], Answer], _app.handle_errors(Exception)(cast(Any, handler))
    )


class Api:
    """The wire contract as Klein routes."""

    app: ClassVar[RoutedApp] = _app

    def __init__(
        self,
        clock: IReactorTime,
        sync: SyncService,
        coding: Coding,
        encoding: Encoding,
        policy: Policy,
        feed: Feed,
    ) -> None:
        """`policy` may be exchanged at any time."""
        self.policy = policy
        self._sync = sync
        self._coding = coding
        self._encoding = encoding
        self.receipts = Receipts(clock, sync)
        self._feed = feed
        self._clock = clock
        self._started = clock.seconds()

    @_refusal
    def refused(self, request: Request, failure: Failure) -> Answer:
        """Say what is wrong, by the one table."""
        error = failure.value
        if isinstance(error, MethodNotAllowed) and not _says_its_name(request):
            # Else the place of a briefing would differ from that of any other name.
            allowed = {*(error.valid_methods or ())}
            error.valid_methods = _METHODS if allowed == _METHODS | {"DELETE"} else allowed
        return answer_to(failure)

    @_route("GET", "/")
    @_route("GET", "/health")
    async def health(self, _request: Request) -> Answer:
        """Say that the server is up; needs no key."""
        known = self._sync.server_id or msgspec.UNSET
        return answer(wire.Health(__version__, self.policy.keys.required, id=known))

    @_route("GET", "/status")
    async def status(self, request: Request) -> Answer:
        """Say how the server does."""
        condition = await self._sync.condition()
        uptime = int(self._clock.seconds() - self._started)
        return answer(wire.Status.of(__version__, condition, uptime))

    @_route("GET", "/events")
    async def events(self, request: Request) -> Reply:
        """Tell of events, as a stream or once after a wait."""
        after, seconds, files = _event_id(request), _wait(request), _files_for(request)
        self._feed.check_room()
        if seconds is None:
            return EventStream(self._feed, after, files)
        with self._feed.listening():
            page = await self._feed.begin(after, files)
            if not (page.events or page.is_reset):
                page = await self._feed.next(page.last, files, seconds)
        return await self._reply(request, wire.WireEvents.of(page))

    @_route("GET", "/projects/<project:project>/lock")
    async def lock(self, request: Request, project: ProjectId) -> Answer:
        """Say who holds the lock."""
        lock = await self._sync.lock(project)
        return answer(wire.LockStatus(lock is not None, wire.WireLock.of(lock) if lock else None))

    @_route("POST", "/projects/<project:project>/lock")
    async def acquire(self, request: Request, project: ProjectId) -> Answer:
        """Take the lock, or extend one's own."""
        match await self._sync.acquire(project, _client(request)):
            case Granted(lock):
                self.receipts.pull_begins(project)
                return answer(wire.LockGranted(wire.WireLock.of(lock)))
            case HeldBy(lock):
                return problem(409, _TAKEN, lock)

    @_route("DELETE", "/projects/<project:project>/lock")
    async def release(self, request: Request, project: ProjectId) -> Answer:
        """Give up one's own lock."""
        match await self._sync.release(project, _client(request)):
            case Released():
                self.receipts.session_ends(project)
                return answer(wire.Success(True))
            case NotLocked():
                return answer(wire.Success(True, "No lock to release"))
            case HeldBy(lock):
                return problem(403, _OTHERS_LOCK, lock)

    @_route("POST", "/projects/<project:project>/lock/heartbeat")
    async def heartbeat(self, request: Request, project: ProjectId) -> Answer:
        """Move the expiry of one's own lock."""
        match await self._sync.extend(project, _client(request)):
            case Granted(lock):
                return answer(wire.LockGranted(wire.WireLock.of(lock)))
            case NotLocked():
                return problem(403, _NO_LOCK_TO_EXTEND)
            case HeldBy(lock):
                return problem(403, _OTHERS_LOCK, lock)

    @_route("GET", "/projects/<project:project>/files")
    async def files(self, request: Request, project: ProjectId) -> Answer:
        """List the files."""
        helping = self.policy.helps_stock_push and is_stock(request)
        if not helping:
            heads = await self._sync.heads(project)
        else:
            heads = await self._sync.stock_heads(project, again=self.receipts.takes_lost_list(project))
            self.receipts.expect_list(project, request.channel.delivery)
        files = _files_for(request)
        shown = [wire.WireHead.of(head) for head in heads if head.file in files]
        return await self._reply(request, wire.FileList(shown))

    @_route("GET", "/projects/<project:project>/files/<segment:name>")
    async def download(self, request: Request, project: ProjectId, name: str) -> Answer:
        """Send a file, unless its client has it already."""
        file = _file(request, name, FileNotAllowed)
        await self._sync.merged(project)
        async with self._encoding.room():
            outcome = await self._served(request, project, file)
            if outcome is None:
                raise FileUnknown
            if isinstance(outcome, Unmodified):
                return _unmodified(outcome.head)
            head = outcome.document.head
            body = await self._encoding.download(
                outcome.document.content, head.sha256, head.mtime, head.version
            )
        self.receipts.expect(
            project, file, outcome.receipt, request.channel.delivery, by_pull=is_stock(request)
        )
        return await self._reply(request, body, etag(head))

    async def _served(
        self, request: Request, project: ProjectId, file: FileName
    ) -> Served | Unmodified | None:
        client, known = _named_client(request), unless(request)
        if request.method != b"HEAD" and file not in BRIEFINGS:
            reader = client or (Unnamed.STOCK if is_stock(request) else Unnamed.OTHER)
            return await self._sync.download(project, file, reader, known)
        # Nobody has a file by that, and a briefing needs no base.
        document = await self._sync.read(project, file)
        if document and known and known.holds(document.head):
            return Unmodified(document.head)
        return Served(document, None) if document else None

    @_route("PUT", "/projects/<project:project>/files/<segment:name>")
    async def upload(self, request: Request, project: ProjectId, name: str) -> Answer:
        """Store a file, durably before it is answered."""
        client = _client(request)
        file = _file(request, name, UploadNotAllowed)
        # Without a name for the body, which would be held for as long as the upload takes.
        content = content_of(await self._coding.take_body(request), request.getHeader(b"content-type"))
        upload = Upload(file, content, client, _token(request), only_if(request))
        if file in BRIEFINGS:
            return _outcome(await self._sync.upload_briefing(project, upload))
        return _outcome(await self._sync.upload(project, upload))

    @_route("DELETE", f"/projects/<project:project>/files/{_BRIEFING}")
    async def remove(self, request: Request, project: ProjectId, name: str) -> Answer:
        """Remove a briefing, durably before it is answered."""
        client = _named_client(request)
        if client is None:
            raise MethodNotAllowed(_METHODS)
        match await self._sync.remove_briefing(project, Removal(FileName(name), client, only_if(request))):
            case Removed():
                return answer(wire.Success(True))
            case Changed(head):
                return _changed(head)
            case None:
                raise FileUnknown

    @_route("POST", "/projects/<project:project>/files/log.jsonl/append")
    async def append(self, request: Request, project: ProjectId) -> Answer:
        """Add lines at the end of the log, durably before it is answered."""
        client = _client(request)
        lines = lines_of(await self._coding.take_body(request), request.getHeader(b"content-type"))
        append = Append(
            FileName.LOG, lines, client, _token(request), only_if(request), _idempotency_key(request)
        )
        return _outcome(await self._sync.append(project, append))

    @_route("PUT", "/projects/<project:project>/alias")
    async def link(self, request: Request, project: ProjectId) -> Answer:
        """Make the id in the path another name of the project in the body."""
        client = _client(request)
        of = project_in(await self._coding.take_body(request))
        match await self._sync.link(project, of, client):
            case Linked() as linked:
                return answer(wire.WireLinked.of(linked))
            case HeldBy(lock):
                return problem(409, _TAKEN, lock)

    @_route("GET", "/projects")
    async def projects(self, request: Request) -> Answer:
        """List every project, with its files, lock and waiting uploads."""
        overviews, files = await self._sync.overviews(), _files_for(request)
        shown = [wire.WireProject.of(one.only(files)) for one in overviews]
        return await self._reply(request, wire.ProjectList(shown))

    @_route("DELETE", "/projects/<project:project>")
    async def remove_project(self, request: Request, project: ProjectId) -> Answer:
        """Remove a project, whose history stays."""
        held = await self._sync.remove_project(project, _client(request))
        return problem(409, _TAKEN, held.lock) if held else answer(wire.Success(True))

    @_route("GET POST PUT PATCH", "/projects/<project:project>")
    async def nothing(self, _request: Request, project: ProjectId) -> Answer:
        """Say that this place is there for its removal alone."""
        raise NotFound

    @_route("GET", "/projects/<project:project>/prunable")
    async def prunable(self, request: Request, project: ProjectId) -> Answer:
        """Say what pruning would remove now."""
        found = await self._sync.prunable(project)
        return await self._reply(request, wire.Prunable.of(found.only(_files_for(request))))

    @_route("GET", "/projects/<project:project>/files/<segment:name>/versions")
    async def versions(self, request: Request, project: ProjectId, name: str) -> Answer:
        """List the versions of a file, newest first."""
        limit = _limit(request)
        history = await self._sync.history(project, _file(request, name, FileNotAllowed), limit)
        if not history:
            raise FileUnknown
        return await self._reply(request, wire.VersionList([wire.WireVersion.of(one) for one in history]))

    @_route("GET", "/projects/<project:project>/files/<segment:name>/versions/<segment:number>")
    async def version(self, request: Request, project: ProjectId, name: str, number: str) -> Answer:
        """Send a version."""
        file = _file(request, name, FileNotAllowed)
        async with self._encoding.room():
            found = await self._sync.version(project, _whole_number(number) or 0)
            if found is None or found.version.file is not file:
                raise VersionUnknown
            version = found.version
            known = unless(request)
            if known and known.admits(version.sha256):
                return _unmodified(version)
            body = await self._encoding.download(found.content, version.sha256, version.mtime, version.number)
        return await self._reply(request, body, etag(version))

    @_route("POST", "/projects/<project:project>/files/<segment:name>/restore")
    async def restore(self, request: Request, project: ProjectId, name: str) -> Answer:
        """Make an older version the head again."""
        client = _client(request)
        file = _file(request, name, UploadNotAllowed)
        restore = Restore(file, version_in(await self._coding.take_body(request)), client, _token(request))
        match await self._sync.restore(project, restore):
            case None:
                raise VersionUnknown
            case Accepted() as accepted:
                return _uploaded(accepted)
            case refusal:
                return _refused(refusal)

    async def _reply(
        self, request: Request, body: msgspec.Struct, headers: Mapping[bytes, bytes] | None = None
    ) -> Answer:
        """Answer a request that succeeded, compressed if it pays."""
        return await self._coding.coded(request, answer(body, headers))


def _outcome(outcome: Accepted | Rescued | StaleToken | Changed | Bygone) -> Answer:
    match outcome:
        case Accepted():
            return _uploaded(outcome)
        case Rescued(refusal, version):
            return _refused(refusal, version)
        case StaleToken():
            return _refused(outcome)
        case Changed(head):
            return _changed(head)
        case Bygone(version):
            return problem(412, _BYGONE, bygone=version)


def _uploaded(accepted: Accepted) -> Answer:
    head = accepted.head
    body = wire.Uploaded(times.to_text(head.mtime), head.version, merged=accepted.merged or msgspec.UNSET)
    return answer(body, etag(head))


def _unmodified(content: Head | Version) -> Answer:
    return Answer(304, b"", {**etag(content), b"Vary": b"Accept-Encoding"})


def _changed(head: Head | None) -> Answer:
    if head is None:
        return problem(412, _GONE)
    return problem(412, _ANOTHER, headers=etag(head))


def _refused(refusal: HeldBy | NotLocked | StaleToken, rescued: int | None = None) -> Answer:
    match refusal:
        case NotLocked():
            return problem(403, _NO_LOCK_TO_WRITE, rescued=rescued)
        case HeldBy(lock):
            return problem(403, _OTHERS_LOCK, lock, rescued=rescued)
        case StaleToken(lock):
            return problem(409, _STALE, lock)


def _client(request: Request) -> ClientId:
    client = _named_client(request)
    if client is None:
        raise MissingClientId
    return client


def _named_client(request: Request) -> ClientId | None:
    raw = request.getHeader(b"x-client-id")
    return client_in(raw) if raw and _says_its_name(request) else None


def _says_its_name(request: Request) -> bool:
    return bool((request.getHeader(b"x-client-id") or b"").strip())


def _files_for(request: Request) -> Collection[FileName]:
    """The files that a client may know: briefings are for those that name themselves."""
    return FILES if _named_client(request) else MEMORY


def _file(request: Request, name: str, otherwise: type[FileNotAllowed | UploadNotAllowed]) -> FileName:
    try:
        file = FileName(name)
    except ValueError:
        raise otherwise from None
    if file not in _files_for(request):
        raise otherwise
    return file


def _token(request: Request) -> int | None:
    raw = request.getHeader(b"x-lock-token")
    if raw is None:
        return None
    token = _whole_number(raw.decode("latin-1"))
    if token is None:
        raise InvalidToken
    return token


def _limit(request: Request) -> int | None:
    values: list[bytes] = request.args.get(b"limit", [])
    if not values:
        return None
    limit = _whole_number(values[-1].decode("latin-1"))
    if not limit:
        raise InvalidLimit
    return limit


def _event_id(request: Request) -> EventId | None:
    values: list[bytes] = request.args.get(b"after", [])
    raw = request.getHeader(b"last-event-id") or (values[-1] if values else None)
    if raw is None:
        return None
    try:
        return wire.event_id_from_text(raw.decode("latin-1"))
    except ValueError:
        raise InvalidEventId from None


def _wait(request: Request) -> int | None:
    """The seconds to wait for an event; None asks for a stream."""
    values: list[bytes] = request.args.get(b"wait", [])
    if not values:
        return None
    seconds = _whole_number(values[-1].decode("latin-1"))
    if not seconds or seconds > _MAX_WAIT:
        raise InvalidWait
    return seconds


def _idempotency_key(request: Request) -> str | None:
    raw = request.getHeader(b"idempotency-key")
    if raw is None:
        return None
    key = header_text(raw).strip('"')
    if not key or len(key) > _MAX_KEY or not key.isprintable():
        raise InvalidKey
    return key


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
