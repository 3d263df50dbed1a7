"""The plugin's rules on this machine: its locks, its switches, and its small server."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mneme.client.plugin import LOCK_NAMES, excluded, flush, held, is_summarizing, why_off
from mneme.model import FileName

NOW = 1_770_217_200.0
LOG, SUMMARY_JSON, SUMMARY = FileName.LOG, FileName.SUMMARY_JSON, FileName.SUMMARY_MD
REMEMBERED, ENTITIES = FileName.REMEMBERED, FileName.ENTITIES
DEFAULT = (".ao-worktrees-",)


def lock(folder: Path, name: str, ago: float = 0.0) -> Path:
    """A lock of a process of the plugin, so many seconds old."""
    path = folder / name
    path.touch()
    os.utime(path, (NOW - ago, NOW - ago))
    return path


# Locks


@pytest.mark.parametrize(
    ("name", "files", "seconds"),
    [
        ("log.jsonl.lock", {LOG, SUMMARY_JSON, SUMMARY}, 120),
        ("log.jsonl.wlock", {LOG, SUMMARY_JSON}, 30),
        ("remembered.json.lock", {REMEMBERED}, 10),
        ("entities.json.lock", {ENTITIES}, 10),
    ],
)
def test_a_lock_holds_its_files_until_it_is_old(
    tmp_path: Path, name: str, files: set[FileName], seconds: float
) -> None:
    """Then its process is dead, and the plugin takes it away."""
    path = lock(tmp_path, name, seconds - 0.1)
    assert {file for file in FileName if held(tmp_path, file, NOW) == path} == files
    lock(tmp_path, name, seconds)
    assert [held(tmp_path, file, NOW) for file in FileName] == [None] * 5
    assert name in LOCK_NAMES


def test_without_locks_nothing_is_held(tmp_path: Path) -> None:
    """Also in a folder that is not there."""
    for folder in (tmp_path, tmp_path / "gone"):
        assert [held(folder, file, NOW) for file in FileName] == [None] * 5
        assert not is_summarizing(folder, NOW)


def test_a_lock_from_the_future_is_a_fresh_one(tmp_path: Path) -> None:
    """A clock was set: the plugin waits for it, too."""
    assert held(tmp_path, LOG, NOW) is None
    path = lock(tmp_path, "log.jsonl.lock", -3600)
    assert held(tmp_path, LOG, NOW) == path


def test_a_fresh_lock_counts_beside_an_old_one(tmp_path: Path) -> None:
    """A summarizer that died hours ago hides no writer."""
    lock(tmp_path, "log.jsonl.lock", 7200)
    path = lock(tmp_path, "log.jsonl.wlock", 1)
    assert held(tmp_path, LOG, NOW) == path
    assert not is_summarizing(tmp_path, NOW)


def test_the_summarizer_is_known_by_its_own_lock(tmp_path: Path) -> None:
    """Not by that of a writer."""
    lock(tmp_path, "log.jsonl.wlock")
    assert not is_summarizing(tmp_path, NOW)
    lock(tmp_path, "log.jsonl.lock", 90)
    assert is_summarizing(tmp_path, NOW)


def test_a_lock_that_leads_nowhere_holds_nothing(tmp_path: Path) -> None:
    """A symbolic link, or a folder that is a file."""
    (tmp_path / "log.jsonl.lock").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert held(tmp_path, LOG, NOW) is None
    assert held(tmp_path / "file", LOG, NOW) is None


# Switches


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin's settings, which are not there yet."""
    monkeypatch.delenv("MNEME_DISABLED", raising=False)
    return tmp_path / "config.json"


@pytest.mark.parametrize(
    ("content", "patterns"),
    [
        ('{"excludePatterns": ["/secret/", "tmp"]}', ["/secret/", "tmp"]),
        ('{"excludePatterns": []}', []),
        ('{"excludePatterns": null}', DEFAULT),
        ('{"excludePatterns": "text"}', DEFAULT),
        ('{"excludePatterns": ["/secret/", null, 7, "tmp"]}', ["/secret/", "tmp"]),
        ('\ufeff{"excludePatterns": ["/secret/"]}', ["/secret/"]),
        ('{"excludePatterns": ["/secret/"], "sync": 7}', ["/secret/"]),
        ("{}", DEFAULT),
        ("[]", DEFAULT),
        ("", DEFAULT),
        ('{"excludePatterns": ["/sec', DEFAULT),
        ("[" * 100_000, DEFAULT),
    ],
)
def test_patterns_are_those_of_the_settings(
    config: Path, content: str, patterns: list[str] | tuple[str, ...]
) -> None:
    """Those of the plugin where there are none, or the file is half written."""
    config.write_text(content)
    assert list(excluded(config)) == list(patterns)


@pytest.mark.parametrize(
    ("directory", "is_off"),
    [
        ("/home/ana/app", False),
        ("/home/ana/.ao-worktrees-app/feature", True),
        ("/home/ana/ao-worktrees-app", False),
    ],
)
def test_worktrees_of_an_orchestrator_are_left_out_from_the_beginning(
    config: Path, directory: str, is_off: bool
) -> None:
    """Without any settings."""
    assert bool(why_off(directory, config)) is is_off


def test_a_directory_is_left_alone_for_a_part_of_its_path(config: Path) -> None:
    """And the sentence names the pattern, and where it is."""
    config.write_text('{"excludePatterns": ["/secret"]}')
    assert why_off("/home/ana/app", config) is None
    assert why_off("/home/ana/.ao-worktrees-app", config) is None
    assert why_off("/home/ana/secrets/app", config) == f"excludePatterns in {config} has '/secret'"


@pytest.mark.parametrize(("value", "is_off"), [("1", True), ("0", False), ("true", False), ("", False)])
def test_the_variable_leaves_all_alone(
    config: Path, monkeypatch: pytest.MonkeyPatch, value: str, is_off: bool
) -> None:
    """Only 1 counts, as for the plugin."""
    monkeypatch.setenv("MNEME_DISABLED", value)
    assert why_off("/home/ana/app", config) == ("MNEME_DISABLED is 1" if is_off else None)


# The small server


class Plugin(HTTPServer):
    """The plugin's own server, as far as a flush needs it."""

    status = 200
    asked: list[tuple[str, object]]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Note a request, and answer it."""
        assert isinstance(self.server, Plugin)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the library
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Plugin]:
    """The plugin's server, which runs."""
    with Plugin(("127.0.0.1", 0), _Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def pid_file(home: Path, content: object) -> None:
    """The file in which the plugin's server says where it is."""
    (home / ".claude-mneme").mkdir(exist_ok=True)
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (home / ".claude-mneme/.server.pid").write_bytes(text)


def test_the_plugin_is_asked_to_write_what_it_holds(tmp_path: Path, server: Plugin) -> None:
    """For the root of the project."""
    pid_file(tmp_path, {"pid": 1, "host": "127.0.0.1", "port": server.server_port, "startedAt": "now"})
    assert flush(tmp_path, Path("/home/ana/größe"))
    assert server.asked == [("/log/flush", {"project": "/home/ana/größe"})]


def test_a_server_that_refuses_has_not_written(tmp_path: Path, server: Plugin) -> None:
    """Of an older version, say."""
    server.status = 404
    pid_file(tmp_path, {"host": "127.0.0.1", "port": server.server_port})
    assert not flush(tmp_path, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[" * 100_000,
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1", "port": "1"},
        {"host": "127.0.0.1", "port": 1},
        {"host": "127.0.0.1", "port": 99_999},
        {"host": "127.0.0.1", "port": -1},
        {"host": "127.0.0.1", "port": 10**30},
        {"host": "a..b", "port": 80},
        {"host": "x" * 300, "port": 80},
        {"host": "a b\r\n", "port": 80},
        {"host": "\x00", "port": 80},
    ],
)
def test_without_a_server_nothing_is_written(tmp_path: Path, content: object) -> None:
    """Nor with a file that is half written, or names what cannot be."""
    assert not flush(tmp_path, tmp_path)
    pid_file(tmp_path, content)
    assert not flush(tmp_path, tmp_path)


def test_a_file_that_cannot_name_a_server_is_not_read(tmp_path: Path) -> None:
    """A FIFO, which would block, and a file that fills the memory."""
    pid_file(tmp_path, b"")
    path = tmp_path / ".claude-mneme/.server.pid"
    os.truncate(path, 1 << 34)
    assert not flush(tmp_path, tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert not flush(tmp_path, tmp_path)


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", None])
def test_what_is_no_server_of_the_plugin_is_not_waited_for(
    tmp_path: Path, answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, another answer, or a hang-up."""
    monkeypatch.setattr("mneme.client.plugin._FLUSH_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    done.wait(10)
                else:
                    connection.sendall(answer)

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        pid_file(tmp_path, {"host": "127.0.0.1", "port": listening.getsockname()[1]})
        assert not flush(tmp_path, tmp_path)
        done.set()
        thread.join()
