"""Commands where the output has another encoding than UTF-8."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.command import ENDS_WITHIN, Home
from tests.daemon import Daemon, free_port, wait_until

PROJECT = "日本のメモ"
NOTE = "タブを使う"
LATIN = {"PYTHONIOENCODING": "latin-1"}
C = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CODED = "\\u65e5\\u672c"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A machine in Japan, whose project the server knows, and has locked."""
    with Daemon(tmp_path_factory.mktemp("server")) as server:
        home = Home(tmp_path_factory.mktemp("日本"), server.url, projectId=PROJECT)
        home.write("summary.md", NOTE.encode())
        for note in ("一つ", "もう一つ"):
            home.note(note)
            home.run("push", "--strict")
        status, _ = server.ask(
            "POST", f"/projects/{quote(PROJECT)}/lock", headers={"X-Client-Id": "somebody"}
        )
        assert status == 200
        yield home


def run(home: Home, encoding: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """A command to its end: status, output and errors, as UTF-8."""
    command = [str(Path(sys.executable).parent / "mneme"), *arguments]
    environment = {**home.environment(), **encoding}
    done = subprocess.run(
        command, cwd=home.root, env=environment, capture_output=True, timeout=ENDS_WITHIN, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


COMMANDS = (
    ("projects",),
    ("status",),
    ("history", PROJECT, "log.jsonl"),
    ("diff", PROJECT, "log.jsonl", "1"),
    ("show", PROJECT, "summary.md"),
    ("restore", PROJECT, "log.jsonl", "--version", "1"),
    ("unlock", PROJECT),
    ("pull",),
    ("push",),
    ("doctor",),
    ("agent", "--status"),
    ("hooks",),
    ("hooks", "--install"),
    ("session-start",),
    ("session-end",),
    ("show", "知らない", "log.jsonl"),
    ("verify", "--data-dir", "/日本"),
    ("backup", "/日本/backup", "--data-dir", "/日本"),
    ("知らない",),
)


@pytest.mark.parametrize("encoding", [LATIN, C], ids=["latin-1", "C"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_says_in_any_encoding_what_it_says_in_utf_8(
    home: Home, encoding: Mapping[str, str], command: tuple[str, ...]
) -> None:
    """Escapes stand for what the encoding lacks, and the status is the same."""
    expected, _, _ = run(home, {"PYTHONUTF8": "1"}, *command)
    status, out, err = run(home, encoding, *command)
    assert "Traceback" not in out + err
    assert status == expected, out + err


@pytest.mark.parametrize("encoding", [LATIN, C], ids=["latin-1", "C"])
def test_a_project_in_another_script_is_listed_with_escapes(home: Home, encoding: Mapping[str, str]) -> None:
    """JSON and the contents of files are UTF-8 in any case, for programs."""
    assert CODED in run(home, encoding, "projects")[1]
    assert PROJECT in run(home, encoding, "projects", "--json")[1]
    assert NOTE in run(home, encoding, "show", PROJECT, "summary.md")[1]


def test_the_doctor_says_why_there_are_escapes(home: Home) -> None:
    """And how to see the characters."""
    assert [code in run(home, LATIN, "doctor", "--json")[1] for code in ("output-not-utf-8", "C.UTF-8")] == [
        True
    ] * 2
    assert "output-not-utf-8" not in run(home, {"PYTHONUTF8": "1"}, "doctor", "--json")[1]


def test_a_note_is_pushed_from_a_directory_of_another_script(home: Home) -> None:
    """The folder of the project is the plugin's, whatever encoding the locale has for paths."""
    log = home.file()
    before = log.read_bytes()
    assert "log.jsonl sent" not in run(home, C, "push")[2]
    assert log.read_bytes() == before
    assert [path.name for path in (home.plugin / "projects").iterdir()] == [home.memory.name]


@pytest.mark.parametrize("encoding", [LATIN, C], ids=["latin-1", "C"])
def test_a_server_loses_no_line_of_its_log(tmp_path: Path, encoding: Mapping[str, str]) -> None:
    """The data directory is named in Japanese, and so is a project."""
    port, data, log = free_port(), tmp_path / "日本", tmp_path / "log"
    twistd = str(Path(sys.executable).parent / "twistd")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MNEME_")}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "mneme", "--port", str(port), "--data-dir", str(data)],
            env={**ours, "HOME": str(tmp_path), **encoding},
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: b"listens on" in log.read_bytes() or server.poll() is not None, within=15)
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for method, place in (("POST", "/lock"), ("DELETE", "")):
            asking.request(method, f"/projects/{quote(PROJECT)}{place}", headers={"X-Client-Id": "somebody"})
            answer = asking.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
        asking.close()
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
    assert b"was removed by somebody" in log.read_bytes()
    assert b"Traceback" not in log.read_bytes()
