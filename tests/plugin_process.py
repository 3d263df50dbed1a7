"""A stand-in for the processes of the claude-mneme plugin, with its locks and times.

Run as a program it is one of the plugin's processes, with nothing but the standard library; `Plugin` starts these for
a machine.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOG, SUMMARY, FACTS, BRIEFING = "log.jsonl", "summary.json", "remembered.json", "briefing.json"
BATCH_SECONDS = 1.0
READ_AFTER = 0.1
"""Seconds from the start of a session's hook until it has read the memory, beside the start of the process."""

PID_FILE = ".server.pid"


class Plugin:
    """The plugin on a machine, with its small server once `serve` was called."""

    def __init__(self, home: Path, root: Path, folder: Path) -> None:
        self.home, self.root, self.folder = home, root, folder
        self._server: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def serve(self) -> None:
        """Start the small server, which writes entries up to a second after they came."""
        self._server = self._start("serve", str(self.home))
        while not (self.home / ".claude-mneme" / PID_FILE).exists():
            assert self._server.poll() is None
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the small server, which writes what it holds."""
        if self._server:
            self._server.terminate()
            self._server.wait()
            self._server = None

    def entry(self, content: str) -> None:
        """Hand an entry to the small server, as the hooks during a session do."""
        place = json.loads((self.home / ".claude-mneme" / PID_FILE).read_text())
        connection = http.client.HTTPConnection(place["host"], place["port"], timeout=10.0)
        body = json.dumps({"project": str(self.root), "entry": entry_of(content)})
        connection.request("POST", "/log/append", body, {"Content-Type": "application/json"})
        assert connection.getresponse().read()
        connection.close()

    def session_start(self) -> subprocess.Popen[bytes]:
        """The hook at the start of a session, which prints the memory that it finds."""
        return self._start("session-start", str(self.folder), stdout=subprocess.PIPE)

    def summarize(self, seconds: float, keep: int = 0) -> subprocess.Popen[bytes]:
        """The summarizer, whose model takes some seconds; it leaves the last `keep` lines."""
        return self._start("summarize", str(self.folder), str(seconds), str(keep))

    def remember(self, text: str, seconds: float = 0.0) -> None:
        """Add a fact, and hold the lock for some seconds after it was read."""
        assert self._start("remember", str(self.folder), text, str(seconds)).wait() == 0

    def forget(self, text: str) -> None:
        """Remove a fact."""
        assert self._start("forget", str(self.folder), text, "0").wait() == 0

    def decide(self, text: str) -> None:
        """Add a decision to the summary."""
        assert self._start("decide", str(self.folder), text).wait() == 0

    def hand_over(self, summary: str) -> None:
        """Leave a briefing for the next session."""
        assert self._start("hand-over", str(self.folder), summary).wait() == 0

    def facts(self) -> list[str]:
        """The facts in the folder."""
        return [fact["content"] for fact in _facts(self.folder)]

    def summed(self) -> list[str]:
        """The entries that the summary has taken in."""
        return [one["summary"] for one in _summary(self.folder)["recentWork"]]

    def decisions(self) -> list[str]:
        """The decisions in the summary."""
        return [one["decision"] for one in _summary(self.folder)["keyDecisions"]]

    def logged(self) -> list[str]:
        """The entries of the log."""
        return [json.loads(line)["content"] for line in _lines(self.folder)]

    def _start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HOME": str(self.home)}
        return subprocess.Popen([sys.executable, "-IS", __file__, *arguments], env=environment, **more)


def entry_of(content: str) -> dict[str, str]:
    """An entry of the log, made now."""
    return {"ts": _now(), "type": "prompt", "content": content}


# The processes


def _session_start(folder: Path) -> None:
    time.sleep(READ_AFTER)
    summary = _summary(folder)
    told = [
        *_facts(folder),
        *summary["keyDecisions"],
        *summary["recentWork"],
        *map(json.loads, _lines(folder)),
    ]
    for one in told:
        sys.stdout.write((one.get("content") or one.get("decision") or one["summary"]) + "\n")
    path = folder / BRIEFING
    with suppress(FileNotFoundError):
        briefing = json.loads(path.read_text())
        archive = folder / "briefing-archive"
        archive.mkdir(exist_ok=True)
        path.rename(archive / f"{briefing['ts'].replace(':', '-').replace('.', '-')}.json")
        sys.stdout.write(briefing["summary"] + "\n")


def _hand_over(folder: Path, summary: str) -> None:
    _replace(folder / BRIEFING, json.dumps({"ts": _now(), "summary": summary}, indent=2) + "\n")


def _summarize(folder: Path, seconds: str, keep: str) -> None:
    lines = _lines(folder)
    count = len(lines) - int(keep)
    if count <= 0:
        return
    lock = folder / f"{LOG}.lock"
    try:
        lock.touch(exist_ok=False)
    except FileExistsError:
        return
    try:
        summary = _summary(folder)
        time.sleep(float(seconds))
        for line in lines[:count]:
            summary["recentWork"].append({"date": _now()[:10], "summary": json.loads(line)["content"]})
        summary["lastUpdated"] = _now()
        with _locked(folder / f"{LOG}.wlock"):
            rest = _lines(folder)[count:]
            summary["lastEntryIndex"] = len(rest)
            _replace(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
            _replace(folder / LOG, "".join(f"{line}\n" for line in rest))
    finally:
        lock.unlink()


def _remember(folder: Path, text: str, seconds: str) -> None:
    fact = {"ts": _now(), "type": "fact", "content": text}
    _change_facts(folder, seconds, lambda facts: [*facts, fact])


def _forget(folder: Path, text: str, seconds: str) -> None:
    _change_facts(folder, seconds, lambda facts: [fact for fact in facts if fact["content"] != text])


def _change_facts(folder: Path, seconds: str, change: Callable[[list[Any]], list[Any]]) -> None:
    with _locked(folder / f"{FACTS}.lock"):
        facts = _facts(folder)
        time.sleep(float(seconds))
        _replace(folder / FACTS, json.dumps(change(facts), indent=2) + "\n")


def _decide(folder: Path, text: str) -> None:
    summary = _summary(folder)
    summary["keyDecisions"].append({"date": _now()[:10], "decision": text, "reason": None})
    _replace(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")


def _serve(home: Path) -> None:
    memory = home / ".claude-mneme"
    held: list[tuple[str, str]] = []
    lock = threading.Lock()

    def flush() -> None:
        with lock:
            for project, line in held:
                folder = memory / "projects" / project.replace("/", "-")
                folder.mkdir(parents=True, exist_ok=True)
                with (folder / LOG).open("a") as log:
                    log.write(line)
            held.clear()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/log/flush":
                flush()
            else:
                with lock:
                    held.append((asked["project"], json.dumps(asked["entry"]) + "\n"))
                threading.Timer(BATCH_SECONDS, flush).start()
            answer = b'{"ok":true}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place = {"pid": os.getpid(), "host": "127.0.0.1", "port": server.server_port}
    _replace(memory / PID_FILE, json.dumps(place))
    try:
        server.serve_forever()
    finally:
        flush()
        (memory / PID_FILE).unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.touch(exist_ok=False)
    try:
        yield
    finally:
        path.unlink()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{time.time_ns() // 1_000_000}.tmp")
    temporary.write_text(text)
    temporary.rename(path)


def _lines(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [line for line in (folder / LOG).read_text().split("\n") if line]
    return []


def _facts(folder: Path) -> list[Any]:
    with suppress(FileNotFoundError):
        facts: list[Any] = json.loads((folder / FACTS).read_text())
        return facts
    return []


def _summary(folder: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"projectContext": "", "keyDecisions": [], "currentState": [], "recentWork": []}
    with suppress(FileNotFoundError):
        return {**empty, **json.loads((folder / SUMMARY).read_text())}
    return empty


def _now() -> str:
    now = time.time_ns() // 1_000_000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000)) + f".{now % 1000:03}Z"


_PROCESSES: dict[str, Callable[..., None]] = {
    "session-start": _session_start,
    "summarize": _summarize,
    "remember": _remember,
    "forget": _forget,
    "decide": _decide,
    "hand-over": _hand_over,
    "serve": _serve,
}

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name, where, *others = sys.argv[1:]
    _PROCESSES[name](Path(where), *others)
