"""The calls of the API, typed: a method for each."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from mneme import times, wire
from mneme.client.errors import Refused
from mneme.client.exchange import Ask, Exchange
from mneme.client.http import Response
from mneme.errors import FileNotAllowed
from mneme.model import (
    BRIEFINGS,
    NOT_THERE,
    ClientId,
    FileName,
    Granted,
    Head,
    HeldBy,
    Lock,
    Millis,
    NotLocked,
    Precondition,
    ProjectId,
    Rescued,
    digest,
)

T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V")

_NAMES = {file.value for file in FileName}

_DIGEST = re.compile("[0-9a-f]{64}")
"""The digest in a tag; the server or a proxy may add a suffix."""


class Download(Struct, frozen=True):
    """A downloaded content with its version number, mtime and digest."""

    content: bytes
    version: int
    mtime: Millis
    sha256: str


class Unmodified(Struct, frozen=True):
    """The content is the one that the client has already."""


class Outdated(Struct, frozen=True):
    """A refusal, because the head is another one by now."""


class Bygone(Struct, frozen=True):
    """An upload of a briefing that was refused because its content was the head before."""


class Client:
    """The API of one server, for one machine.

    Every method raises `Unreachable` when no answer came after all attempts, `StrangeAnswer` for an answer that cannot
    be the server's, `KeyRefused` for a missing or wrong API key, `ServerTrouble` for a 429 or 5xx, and `Refused` for
    any other no that is not among its outcomes. After any of these it may be called again: each does once what it says.
    """

    def __init__(self, exchange: Exchange, client: ClientId) -> None:
        """Set up the client; `client` is the id of this machine."""
        self.client = client
        self._exchange = exchange

    @property
    def url(self) -> str:
        """The URL of the server."""
        return self._exchange.address.url

    @property
    def server_ahead(self) -> float | None:
        """See `Exchange`."""
        return self._exchange.server_ahead

    def server_now(self) -> Millis:
        """The time by the server's clock, as far as it is known."""
        return Millis(round(self._exchange.server_seconds() * 1000))

    # The server

    def health(self) -> wire.Health:
        """`GET /health`: version of the server, and whether it wants a key. Needs none itself."""
        return self._get("/health", wire.Health)

    def status(self) -> wire.Status:
        """`GET /status`: the start of the server, and its used and free space."""
        return self._get("/status", wire.Status)

    def projects(self) -> Sequence[wire.WireProject]:
        """`GET /projects`: every project with its files, lock and waiting uploads."""
        return (self._get("/projects", wire.ProjectList)).projects

    def remove_project(self, project: ProjectId) -> HeldBy | None:
        """`DELETE /projects/:id`: removes a project; its history stays. `HeldBy` while another client has its lock."""
        reply = self._exchange.send(Ask("DELETE", _project_path(project), self._client_header()))
        held = self._held(reply)
        if held is None:
            self._read(reply, wire.Success)
        return held

    def link(self, alias: ProjectId, of: ProjectId) -> wire.WireLinked | HeldBy:
        """`PUT …/alias`: makes an id another name of a project, and merges what both have.

        `HeldBy` if another client holds the lock of one of them: nothing was changed. `Refused` if they cannot be one.
        """
        body = msgspec.json.encode(wire.AliasOrder(of.value))
        headers = {**self._client_header(), "Content-Type": "application/json"}
        reply = self._exchange.send(Ask("PUT", _project_path(alias, "alias"), headers, body))
        return self._held(reply) or self._read(reply, wire.WireLinked)

    # Locks

    def lock(self, project: ProjectId) -> Lock | None:
        """`GET …/lock`: the lock that is held now; None if there is none."""
        status = self._get(_project_path(project, "lock"), wire.LockStatus)
        return self._converted(status.lock.to_model) if status.lock else None

    def acquire(self, project: ProjectId) -> Granted | HeldBy:
        """`POST …/lock`: acquires or extends this machine's lock; `HeldBy` if another client holds it."""
        reply = self._exchange.send(Ask("POST", _project_path(project, "lock"), self._client_header()))
        held = self._held(reply)
        if held:
            return held
        return Granted(self._converted(self._read(reply, wire.LockGranted).lock.to_model))

    def extend(self, project: ProjectId) -> Granted | HeldBy | NotLocked:
        """`POST …/lock/heartbeat` as this machine: moves the expiry of its own lock.

        `NotLocked` if nobody has one, `HeldBy` if another has: then nothing is changed.
        """
        reply = self._exchange.send(
            Ask("POST", _project_path(project, "lock", "heartbeat"), self._client_header())
        )
        if reply.status == HTTPStatus.FORBIDDEN:
            return self._refusal(reply)
        return Granted(self._converted(self._read(reply, wire.LockGranted).lock.to_model))

    def release(self, project: ProjectId, holder: ClientId | None = None) -> HeldBy | NotLocked | None:
        """`DELETE …/lock` as this machine, or as the `holder` whose lock a person wants gone.

        None: it is free now. `NotLocked` if it was before, `HeldBy` if it is another's, and stays.
        """
        reply = self._exchange.send(
            Ask("DELETE", _project_path(project, "lock"), self._client_header(holder))
        )
        if reply.status == HTTPStatus.FORBIDDEN:
            return self._refusal(reply)
        return NotLocked() if self._read(reply, wire.Success).message else None

    # Files

    def heads(self, project: ProjectId) -> tuple[Head, ...]:
        """`GET …/files` with the client id: the project's files of names that this client knows."""
        listed = self._get(_project_path(project, "files"), wire.FileList, self._client_header())
        return tuple(self._converted(head.to_model) for head in listed.files if head.name in _NAMES)

    def download(
        self, project: ProjectId, file: FileName, known: str | None = None, size: int = 0
    ) -> Download | Unmodified | None:
        """`GET …/files/:name` with the client id: the content becomes this machine's base.

        None if there is no such file.

        `known` is the digest of what the machine has (`If-None-Match`); `size` that of the head, to be patient by.
        """
        headers = {**self._client_header(), **_unless(known)}
        ask = Ask("GET", _file_path(project, file), headers, size=size)
        return self._downloaded(self._exchange.send(ask))

    def look(self, project: ProjectId, file: FileName) -> Download | None:
        """`GET …/files/:name` without the client id, if that works: the content becomes nobody's base."""
        ask = Ask("GET", _file_path(project, file), self._introduction(file))
        document = self._downloaded(self._exchange.send(ask))
        return None if isinstance(document, Unmodified) else document

    def upload(
        self, project: ProjectId, file: FileName, content: bytes, only_if: Precondition
    ) -> wire.Uploaded | Rescued | Outdated:
        """`PUT …/files/:name`: makes `content` (UTF-8) the head if `only_if` holds.

        `Outdated` if it is not: nothing was changed. `Rescued` without the lock: it was refused, and kept as a version
        to be merged, or where that is None, for want of space not kept. What is told to be `merged` was there already,
        and another is the head by now.
        """
        return self._outcome(self._put(project, file, content, only_if))

    def try_size(self, project: ProjectId, size: int) -> None:
        """Try an upload of some bytes, of which nothing is stored; raises `TooLarge`."""
        path = _project_path(project, "files", "mneme-doctor")
        headers = {**self._client_header(), "Content-Type": "application/octet-stream"}
        reply = self._exchange.send(Ask("PUT", path, headers, os.urandom(size)))
        if reply.status != HTTPStatus.FORBIDDEN:
            raise self._exchange.strange(f"status {reply.status}")

    def append(
        self, project: ProjectId, lines: bytes, base: str, version: int = 0
    ) -> wire.Uploaded | Rescued | Outdated:
        """`POST …/files/log.jsonl/append`: adds lines, whole and UTF-8, to the log whose digest is `base`.

        The idempotency key is made of both, so that the same lines are never added to the same log twice, and of the
        `version` of the log, so that they can be after somebody has removed them. It comes to the same as `upload`.
        """
        headers = {
            **self._client_header(),
            **_only_if(Precondition(frozenset({base}))),
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": digest(f"{version} {base} ".encode() + lines)[:32],
        }
        path = f"{_file_path(project, FileName.LOG)}/append"
        return self._outcome(self._exchange.send(Ask("POST", path, headers, lines)))

    def leave(
        self, project: ProjectId, file: FileName, content: bytes, only_if: Precondition
    ) -> wire.Uploaded | Outdated | Bygone | None:
        """`PUT …/files/:name` of a briefing in place of the head that `only_if` names.

        `Outdated` if another is the head, `Bygone` if this content was it before: nothing was changed. None if the
        server takes no briefings.
        """
        reply = self._put(project, file, content, only_if)
        match reply.status:
            case HTTPStatus.PRECONDITION_FAILED:
                return Outdated() if self._exchange.problem(reply).version is None else Bygone()
            case HTTPStatus.FORBIDDEN:
                # Another server than ours says perhaps that a lock is needed.
                self._exchange.problem(reply)
                return None
        return self._read(reply, wire.Uploaded)

    def remove(self, project: ProjectId, file: FileName, sha256: str) -> bool | Outdated:
        """`DELETE …/files/:name` of a briefing with this digest; False if there was none.

        `Outdated` if another is the head: nothing was changed.
        """
        headers = {**self._client_header(), **_only_if(Precondition(frozenset({sha256})))}
        reply = self._exchange.send(Ask("DELETE", _file_path(project, file), headers))
        if reply.status == HTTPStatus.PRECONDITION_FAILED:
            return Outdated()
        return reply.status != HTTPStatus.NOT_FOUND and self._read(reply, wire.Success).success

    def _put(self, project: ProjectId, file: FileName, content: bytes, only_if: Precondition) -> Response:
        body = msgspec.json.encode(wire.Envelope(content.decode()))
        headers = {**self._client_header(), **_only_if(only_if), "Content-Type": "application/json"}
        return self._exchange.send(Ask("PUT", _file_path(project, file), headers, body))

    # History

    def history(
        self, project: ProjectId, file: FileName, limit: int | None = None
    ) -> Sequence[wire.WireVersion]:
        """`GET …/files/:name/versions`: the versions of a file, newest first; none for an unknown name."""
        path = f"{_file_path(project, file)}/versions" + (f"?limit={limit}" if limit else "")
        reply = self._exchange.send(Ask("GET", path, self._introduction(file)))
        if reply.status == HTTPStatus.NOT_FOUND or self._is_unknown_name(reply):
            return ()
        return self._read(reply, wire.VersionList).versions

    def version(
        self, project: ProjectId, file: FileName, number: int, known: str | None = None
    ) -> Download | Unmodified | None:
        """`GET …/files/:name/versions/:n`; `known` as for `download`. None: there is no such version, or no more.

        A version that was damaged by hand is `Refused`; asked for by what is `known` of it, it is None, too.
        """
        path = f"{_file_path(project, file)}/versions/{number}"
        reply = self._exchange.send(Ask("GET", path, {**self._introduction(file), **_unless(known)}))
        return None if reply.status == HTTPStatus.GONE and known else self._downloaded(reply)

    def restore(
        self, project: ProjectId, file: FileName, number: int
    ) -> wire.Uploaded | HeldBy | NotLocked | None:
        """`POST …/files/:name/restore`: makes a version the head again, under the lock of this machine.

        None: there is no such version. `NotLocked` or `HeldBy` without the lock: nothing was changed.
        """
        body = msgspec.json.encode(wire.RestoreOrder(number))
        headers = {**self._client_header(), "Content-Type": "application/json"}
        reply = self._exchange.send(Ask("POST", f"{_file_path(project, file)}/restore", headers, body))
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status == HTTPStatus.FORBIDDEN:
            return self._refusal(reply)
        return self._read(reply, wire.Uploaded)

    # What the answers say

    def _downloaded(self, reply: Response) -> Download | Unmodified | None:
        if reply.status == HTTPStatus.NOT_MODIFIED:
            return Unmodified()
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        body = self._read(reply, wire.Download)
        content = body.content.encode()
        mtime = self._converted(lambda: times.from_text(body.mtime))
        tag = _DIGEST.search(reply.headers.get("etag", ""))
        sha256 = tag[0] if tag else digest(content)
        return Download(content, body.version, mtime, sha256)

    def _outcome(self, reply: Response) -> wire.Uploaded | Rescued | Outdated:
        if reply.status == HTTPStatus.PRECONDITION_FAILED:
            return Outdated()
        if reply.status == HTTPStatus.FORBIDDEN:
            return Rescued(self._refusal(reply), self._exchange.problem(reply).version)
        return self._read(reply, wire.Uploaded)

    def _held(self, reply: Response) -> HeldBy | None:
        """The lock by which a 409 refuses to lock; None for any other answer."""
        refusal = self._refusal(reply) if reply.status == HTTPStatus.CONFLICT else None
        return refusal if isinstance(refusal, HeldBy) else None

    def _refusal(self, reply: Response) -> HeldBy | NotLocked:
        lock = self._exchange.problem(reply).lock
        return HeldBy(self._converted(lock.to_model)) if lock else NotLocked()

    def _converted(self, convert: Callable[[], V]) -> V:
        """A value of an answer; raises `StrangeAnswer` if it cannot be converted."""
        try:
            return convert()
        except ValueError as error:
            raise self._exchange.strange(str(error)) from None

    def _get(self, path: str, form: type[T], headers: Mapping[str, str] | None = None) -> T:
        return self._read(self._exchange.send(Ask("GET", path, headers or {})), form)

    def _read(self, reply: Response, form: type[T]) -> T:
        """The body of a 200; raises `Refused` for any other status."""
        if reply.status != HTTPStatus.OK:
            raise Refused(self._exchange.problem(reply).error)
        return self._exchange.decoded(reply, form)

    def _is_unknown_name(self, reply: Response) -> bool:
        """Whether the server is one that knows no briefings."""
        is_refused = reply.status == HTTPStatus.BAD_REQUEST
        return is_refused and self._exchange.problem(reply).error == FileNotAllowed.sentence

    def _introduction(self, file: FileName) -> dict[str, str]:
        """The header without which there is no such file."""
        return self._client_header() if file in BRIEFINGS else {}

    def _client_header(self, client: ClientId | None = None) -> dict[str, str]:
        return {"X-Client-Id": (client or self.client).value}


def _project_path(project: ProjectId, *more: str) -> str:
    # An id of dots alone would be a relative path.
    text = quote(project.value, safe="")
    return "/projects/" + "/".join([text if text.strip(".") else text.replace(".", "%2E"), *more])


def _file_path(project: ProjectId, file: FileName) -> str:
    return _project_path(project, "files", file.value)


def _unless(known: str | None) -> dict[str, str]:
    return {"If-None-Match": f'"{known}"'} if known else {}


def _only_if(only_if: Precondition) -> dict[str, str]:
    if only_if == NOT_THERE:
        return {"If-None-Match": "*"}
    return {"If-Match": ", ".join(f'"{one}"' for one in sorted(only_if.digests or ())) or "*"}
