"""A simulator of the stock client: the claude-mneme plugin, as measured on the wire.

Written from the contract ("How the stock client behaves"), not from the server: it blocks, it talks through a bare
socket, and every byte it sends is what Node's `http.request` sends for the same call. `Machine` adds what surrounds
the wire: a local memory folder of real files, a clock of its own, and the request sequences of the start and of the
end of a session. These come as generators that stop after every answer, so that a test can do to the server whatever
it likes between any two requests.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast
from urllib.parse import quote, urlsplit

FILE_NAMES = ("log.jsonl", "summary.json", "summary.md", "remembered.json", "entities.json")
"""The files that a server lists. The plugin of today syncs all but `summary.md`, an older one that, too."""
RETRY_DELAYS = (0.5, 1.0, 2.0)
TIMEOUT = 10.0
LARGEST_ANSWER = 10 * 1024 * 1024


class NoAnswer(Exception):
    """No attempt was answered: nobody listened, the connection broke, or the time ran out."""


class AnswerTooLarge(Exception):
    """The answer is larger than the stock client accepts."""


@dataclass(frozen=True)
class Answer:
    """Answer of the server to a request."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The JSON of the body, None when there is no body."""
        return json.loads(self.raw) if self.raw else None

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


class Connection(Protocol):
    """Connection for a request and its answer: a socket, or a substitute."""

    def sendall(self, data: bytes, /) -> None:
        """Send."""

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        """The bytes that come back."""

    def close(self) -> None:
        """Hang up."""

    def is_over(self) -> bool:
        """Whether the server has closed it meanwhile, or said what nobody asked for."""


class TcpConnection:
    """A real connection, from the address `source` if one is given."""

    def __init__(self, host: str, port: int, timeout: float, source: str | None = None) -> None:
        self._socket = socket.create_connection((host, port), timeout, (source, 0) if source else None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sendall(self, data: bytes, /) -> None:
        """See `Connection`."""
        self._socket.sendall(data)

    def makefile(self, mode: Literal["rb"], /) -> BinaryIO:
        """See `Connection`."""
        return self._socket.makefile(mode)

    def close(self) -> None:
        """See `Connection`."""
        self._socket.close()

    def is_over(self) -> bool:
        """See `Connection`."""
        return bool(select.select([self._socket], [], [], 0)[0])


def encode_uri_component(text: str) -> str:
    """Encode as JavaScript's function of that name, which leaves ``A-Za-z0-9-_.!~*'()`` alone."""
    return quote(text, safe="-_.!~*'()")


def envelope(content: str) -> bytes:
    """The body of an upload as JavaScript's `JSON.stringify({content})` writes it."""
    return json.dumps({"content": content}, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


class StockClient(AbstractContextManager["StockClient"]):
    """The plugin's HTTP calls, over a kept connection, or one each as before Node 19.

    `connect` makes a connection; without it there is a real one to where the URL says.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        key: str | None = None,
        *,
        delays: Sequence[float] = RETRY_DELAYS,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
        connect: Callable[[], Connection] | None = None,
        keep_alive: bool = True,
    ) -> None:
        at = urlsplit(url)
        assert at.hostname is not None, url
        assert at.port is not None, url
        self._connect = connect or partial(TcpConnection, at.hostname, at.port, timeout)
        self._host = at.netloc
        self._client_id = client_id
        self._key = key
        self._delays = tuple(delays)
        self._sleep = sleep
        self._keep_alive = keep_alive
        self._kept: Connection | None = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection, as the end of the plugin's process does."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # The calls of the contract.

    def health(self) -> Answer:
        """Ask whether the server is there."""
        return self._ask("GET", "/health")

    def acquire(self, project: str) -> Answer:
        """Acquire the lock of the project."""
        return self._ask("POST", _place(project, "lock"), named=True)

    def release(self, project: str) -> Answer:
        """Release the lock of the project."""
        return self._ask("DELETE", _place(project, "lock"), named=True)

    def files(self, project: str) -> Answer:
        """List the files of the project."""
        return self._ask("GET", _place(project, "files"))

    def download(self, project: str, name: str) -> Answer:
        """Download one file."""
        return self._ask("GET", _place(project, "files", name))

    def upload(self, project: str, name: str, content: str) -> Answer:
        """Upload one file."""
        return self._ask("PUT", _place(project, "files", name), envelope(content), named=True)

    # The wire.

    def _ask(self, method: str, path: str, body: bytes | None = None, *, named: bool = False) -> Answer:
        """Send one request; send it again only when no answer came."""
        for delay in (*self._delays, None):
            try:
                return self._attempt(method, path, body, named)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if delay is None:
                    raise NoAnswer(f"{method} {path}: {error!r}") from error
                self._sleep(delay)
        raise AssertionError("unreachable")

    def _attempt(self, method: str, path: str, body: bytes | None, named: bool) -> Answer:
        connection = self._connection()
        connection.sendall(self._request(method, path, body, named))
        # It asks no more of a socket than a `Connection` has.
        with http.client.HTTPResponse(cast(socket.socket, connection), method=method) as response:
            response.begin()
            raw = response.read(LARGEST_ANSWER + 1)
            if len(raw) > LARGEST_ANSWER:
                self.close()
                raise AnswerTooLarge(f"{method} {path}")
            if response.length:
                raise http.client.IncompleteRead(raw, response.length)
            headers = {name.lower(): value for name, value in response.getheaders()}
            if response.will_close or not self._keep_alive:
                self.close()
        return Answer(method, path, response.status, headers, raw)

    def _connection(self) -> Connection:
        """The kept connection, or a new one if the server has closed it."""
        if self._kept is not None and self._kept.is_over():
            self.close()
        if self._kept is None:
            self._kept = self._connect()
        return self._kept

    def _request(self, method: str, path: str, body: bytes | None, named: bool) -> bytes:
        """The bytes of one request, header for header as Node sends them."""
        lines = [f"{method} {path} HTTP/1.1"]
        if body is not None:
            lines.append("Content-Type: application/json")
        if named:
            lines.append(f"X-Client-Id: {self._client_id}")
        if self._key is not None:
            lines.append(f"Authorization: Bearer {self._key}")
        lines += [f"Host: {self._host}", f"Connection: {'keep-alive' if self._keep_alive else 'close'}"]
        if body is not None:
            lines.append("Transfer-Encoding: chunked")
        elif method == "POST":
            lines.append("Content-Length: 0")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if body is None:
            return head
        return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)


def _place(project: str, *more: str) -> str:
    return "/projects/" + "/".join([encode_uri_component(project), *more])


class Machine:
    """A person's machine: a client id, a clock, and memory in a folder.

    `clock_offset` is by how many seconds this machine's clock is ahead of the true time. Every file in the folder is
    stamped by that clock, and the server's times are compared with it to the millisecond. The true time is what `clock`
    tells, in seconds since 1970. `options` are those of `StockClient`.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        key: str | None = None,
        *,
        client_id: str | None = None,
        clock_offset: float = 0.0,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        self.folder = folder
        self.url = url
        self.client_id = client_id if client_id is not None else f"{folder.name}-{os.urandom(4).hex()}"
        self.clock_offset = clock_offset
        self._key = key
        self._clock = clock
        self._options = options
        self._stamps = 0

    def session(self) -> StockClient:
        """A new process of the plugin: the same client id, a connection of its own."""
        return StockClient(self.url, self.client_id, self._key, **self._options)

    def now(self) -> float:
        """The time by this machine's clock, in seconds since 1970."""
        return self._clock() + self.clock_offset

    # The local memory.

    def path(self, project: str, name: str) -> Path:
        """Path at which this machine keeps a file of the project."""
        return self.folder / f"project {quote(project, safe='')}" / name

    def read(self, project: str, name: str) -> bytes | None:
        """The local content of a file, None when there is none."""
        path = self.path(project, name)
        return path.read_bytes() if path.exists() else None

    def memory(self, project: str) -> dict[str, bytes]:
        """The local content of all files of the project that exist."""
        contents = {name: self.read(project, name) for name in FILE_NAMES}
        return {name: content for name, content in contents.items() if content is not None}

    def write(self, project: str, name: str, content: bytes, *, ago: float = 0.0) -> None:
        """Write a file as the agent's work does, `ago` seconds ago by this machine's clock."""
        path = self.path(project, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        moment = round((self.now() - ago) * 1e9)
        os.utime(path, ns=(moment, moment))

    def append(self, project: str, name: str, content: bytes, *, ago: float = 0.0) -> None:
        """Append to a file as the agent's work does."""
        self.write(project, name, (self.read(project, name) or b"") + content, ago=ago)

    # What the plugin and its commands do to the files.

    def remember(self, project: str, *facts: str) -> None:
        """Add facts to `remembered.json`, as `/remember` does."""
        entries = [{"ts": self._stamp(), "type": "fact", "content": fact} for fact in facts]
        self._rewrite(project, "remembered.json", [*self._document(project, "remembered.json", []), *entries])

    def forget(self, project: str, *facts: str) -> None:
        """Remove facts, as `/forget` does: an empty array may be left."""
        known = self._document(project, "remembered.json", [])
        self._rewrite(project, "remembered.json", [one for one in known if one["content"] not in facts])

    def note(self, project: str, *contents: str) -> None:
        """Add lines to the log."""
        for content in contents:
            entry = {"ts": self._stamp(), "type": "note", "content": content}
            self.append(project, "log.jsonl", json.dumps(entry).encode() + b"\n")

    def summarize(self, project: str, count: int) -> None:
        """Remove the oldest lines of the log: the summarizer drops them by their number."""
        lines = (self.read(project, "log.jsonl") or b"").decode().split("\n")
        left = [line for line in lines if line][count:]
        self.write(project, "log.jsonl", "".join(f"{line}\n" for line in left).encode())

    def see(self, project: str, *names: str) -> None:
        """Count a mention of files in the index of entities, as the agent's work does."""
        index = self._document(project, "entities.json", {"files": {}})
        for name in names:
            seen = index["files"].setdefault(name, {"mentions": 0, "lastSeen": None, "contexts": []})
            context = {"ts": self._stamp(), "type": "note", "summary": f"Look at {name}"}
            seen |= {"mentions": seen["mentions"] + 1, "lastSeen": self._stamp()}
            seen["contexts"] = [*seen["contexts"], context][-5:]
        self._rewrite(project, "entities.json", index)

    def prune_entities(self, project: str, *names: str) -> None:
        """Remove files from the index, as the plugin does after a week."""
        index = self._document(project, "entities.json", {"files": {}})
        index["files"] = {name: seen for name, seen in index["files"].items() if name not in names}
        self._rewrite(project, "entities.json", index)

    def decide(self, project: str, *decisions: str) -> None:
        """Add decisions to the summary, which keeps the last ten."""
        summary = self._document(project, "summary.json", {"keyDecisions": []})
        made = [{"date": self._stamp(), "decision": one, "reason": "why"} for one in decisions]
        summary["keyDecisions"] = [*summary["keyDecisions"], *made][-10:]
        self._rewrite(project, "summary.json", summary | {"lastUpdated": self._stamp()})

    def drop_decisions(self, project: str, *decisions: str) -> None:
        """Remove decisions from the summary, as the summarizer drops those that no longer hold."""
        summary = self._document(project, "summary.json", {"keyDecisions": []})
        left = [one for one in summary["keyDecisions"] if one["decision"] not in decisions]
        self._rewrite(project, "summary.json", summary | {"keyDecisions": left, "lastUpdated": self._stamp()})

    def items(self, project: str, name: str) -> list[str]:
        """Contents of facts and lines, names of entities, or decisions of a file."""
        return items_in(name, self.read(project, name) or b"")

    def _document(self, project: str, name: str, default: Any) -> Any:
        content = self.read(project, name)
        return json.loads(content) if content else default

    def _rewrite(self, project: str, name: str, value: Any) -> None:
        self.write(project, name, (json.dumps(value, indent=2) + "\n").encode())

    def _stamp(self) -> str:
        """The time by this machine's clock, each time another millisecond."""
        self._stamps += 1
        moment = datetime.fromtimestamp(round(self.now(), 3) + self._stamps / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _is_newer_here(self, project: str, name: str, mtime: str) -> bool:
        return self._mtime(project, name) > milliseconds(mtime)

    def _is_older_here(self, project: str, name: str, mtime: str) -> bool:
        return not self.path(project, name).exists() or milliseconds(mtime) > self._mtime(project, name)

    def _mtime(self, project: str, name: str) -> int:
        """The local mtime in milliseconds, rounded as a JavaScript Date rounds it."""
        return (self.path(project, name).stat().st_mtime_ns + 500_000) // 1_000_000

    # The two ends of a session.

    def pull(self, project: str, between: Callable[[], object] | None = None) -> list[Answer]:
        """Start a session; `between` is called after every answer."""
        return _run(self.pull_steps(project), between)

    def push(self, project: str, between: Callable[[], object] | None = None) -> list[Answer]:
        """End a session; `between` is called after every answer."""
        return _run(self.push_steps(project), between)

    def pull_steps(self, project: str) -> Iterator[Answer]:
        """Start a session, stopping after every answer.

        A machine that is refused the lock works locally: it asks for nothing more.
        """
        with self.session() as client:
            listed = yield from self._asked(
                client.health, partial(client.acquire, project), partial(client.files, project)
            )
            if listed is None:
                return
            for file in listed.body["files"]:
                if not self._is_older_here(project, file["name"], file["mtime"]):
                    continue
                try:
                    answer = client.download(project, file["name"])
                except (NoAnswer, AnswerTooLarge):
                    # It goes on with what it has of this file.
                    continue
                if answer.ok:
                    self.write(project, file["name"], answer.body["content"].encode("utf-8"))
                yield answer

    def push_steps(self, project: str) -> Iterator[Answer]:
        """End a session, stopping after every answer, be it a refusal."""
        with self.session() as client:
            listed = yield from self._asked(client.health, partial(client.files, project))
            if listed is None:
                return
            mtimes = {file["name"]: file["mtime"] for file in listed.body["files"]}
            for name, content in self.memory(project).items():
                if name in mtimes and not self._is_newer_here(project, name, mtimes[name]):
                    continue
                yield client.upload(project, name, content.decode("utf-8", "replace"))
            yield client.release(project)

    def _asked(self, *calls: Callable[[], Answer]) -> Generator[Answer, None, Answer | None]:
        """Make calls until one is refused; the last answer, None after a refusal."""
        answer = None
        for call in calls:
            answer = call()
            yield answer
            if not answer.ok:
                return None
        return answer


def items_in(name: str, content: bytes | str) -> list[str]:
    """The names of the items in the content of a file: see `Machine.items`."""
    if not content:
        return []
    if name == "log.jsonl":
        return [json.loads(line)["content"] for line in content.splitlines()]
    document = json.loads(content)
    if name == "remembered.json":
        return [one["content"] for one in document]
    if name == "entities.json":
        return list(document["files"])
    return [one["decision"] for one in document["keyDecisions"]]


def milliseconds(moment: str) -> int:
    """The milliseconds since the epoch of a time as the contract writes it."""
    since = datetime.fromisoformat(moment) - datetime.fromisoformat("1970-01-01T00:00:00.000Z")
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _run(steps: Iterator[Answer], between: Callable[[], object] | None) -> list[Answer]:
    answers = []
    for answer in steps:
        answers.append(answer)
        if between is not None:
            between()
    return answers
