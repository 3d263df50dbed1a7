"""Servers that are started, those that do not start, and that none stays."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import pytest

from mneme import durable
from mneme.store.sqlite import NAME
from tests.bench import data, servers, sessions, slow_sync
from tests.bench.errors import NotMeasured
from tests.bench.loads import Load
from tests.bench.processes import running, tree_memory, tree_processor_time, wait_until_quiet
from tests.bench.revisions import checkout
from tests.bench.servers import Elsewhere, Started
from tests.bench.sockets import Sockets
from tests.bench.tiny import answer, serving
from tests.stock_client import StockClient

pytestmark = pytest.mark.integration

can_slow_syncs = sys.platform.startswith("linux") and bool(shutil.which("gcc") or shutil.which("cc"))


def test_a_server_that_ends_at_once_says_what_was_wrong(tmp_path: Path) -> None:
    """In one sentence, with the line of its log that names the error."""
    server = Started("broken", (sys.executable, "-c", "raise ValueError('what a pity')"))
    with pytest.raises(NotMeasured) as failed, server.running(tmp_path / "data"):
        pass
    assert str(failed.value) == (
        "The server 'broken' ended with status 1 before it answered; it said: ValueError: what a pity"
    )


def test_a_revision_runs_from_its_own_tree(tmp_path: Path) -> None:
    """And not from this one, which is installed. Here the tree has a server that cannot be imported."""
    tree = tmp_path / "tree"
    (tree / "mneme").mkdir(parents=True)
    (tree / "mneme" / "__init__.py").touch()
    (tree / "mneme" / "tap.py").write_text("raise ImportError('this is the tree')\n", encoding="utf-8")
    server = servers.mneme("old", tree)
    with (
        pytest.raises(NotMeasured, match=r"ImportError: this is the tree$"),
        server.running(tmp_path / "data"),
    ):
        pass


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After the time that was given."""
    server = Started("mute", (sys.executable, "-c", "import time; time.sleep(60)"))
    with (
        pytest.raises(NotMeasured, match=r"'mute' gave no answer within 0\.2 s"),
        server.running(tmp_path / "d", 0.2),
    ):
        pass


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """In one sentence."""
    server = Started("none", ("no-such-program",))
    with (
        pytest.raises(NotMeasured, match=r"^no-such-program cannot be run: No such file"),
        server.running(tmp_path / "data"),
    ):
        pass


def test_a_server_elsewhere_has_to_be_there(tmp_path: Path) -> None:
    """It is asked before anything is measured."""
    with (
        serving(lambda _request: answer({"status": "ok"})) as tiny,
        Elsewhere("there", tiny.url).running(tmp_path) as found,
    ):
        assert (found.url, found.pid) == (tiny.url, None)
    with pytest.raises(NotMeasured, match="start it first"), Elsewhere("there", tiny.url).running(tmp_path):
        pass


def test_whatever_a_process_has_started_ends_with_it() -> None:
    """A pipe that all of them hold is closed once the last has ended."""
    reading, writing = os.pipe()
    with (
        os.fdopen(writing, "wb") as pipe,
        running(["sh", "-c", "sleep 60 & echo started; wait"], stdout=pipe),
    ):
        assert os.read(reading, 8) == b"started\n"
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_memory_is_that_of_a_process_and_its_children() -> None:
    """A small shell whose child takes fifty megabytes."""
    reading, writing = os.pipe()
    code = "import os, time; much = b'x' * 50_000_000; os.write(1, b'ready\\n'); time.sleep(60)"
    with (
        os.fdopen(writing, "wb") as pipe,
        running(["sh", "-c", f'"{sys.executable}" -c "{code}"; true'], stdout=pipe) as process,
    ):
        assert os.read(reading, 16) == b"ready\n"
        assert tree_memory(process.pid) > 50_000_000
    os.close(reading)


def test_a_process_is_waited_for_until_it_is_quiet() -> None:
    """Which is when it no longer computes, not when it first pauses for a moment."""
    code = "import time; end = time.monotonic() + 0.7\nwhile time.monotonic() < end: pass\ntime.sleep(60)"
    with running([sys.executable, "-c", code]) as process:
        assert wait_until_quiet(process.pid, 60.0) > (0.5 if Path("/proc").exists() else -1)


def test_a_revision_that_does_not_exist_is_one_sentence() -> None:
    """With what git says."""
    with (
        pytest.raises(NotMeasured, match=r"^Git cannot check out no-such-revision: "),
        checkout("no-such-revision"),
    ):
        pass


def test_copies_of_a_project_are_projects_to_the_server(tmp_path: Path) -> None:
    """Each under its own id, with its file and its history, and with a mark by which the file is no edit."""
    server, home = servers.mneme("this"), tmp_path / "data"
    with server.running(home) as found:
        assert found.pid is not None
        data.seed_template(found.url)
        data.wait_for_template(home, found.pid)
    data.multiply(home, 3)
    with server.running(home) as found:
        name = data.copy_name(2)
        with StockClient(found.url, "machine-reading") as client:
            assert client.download(name, "summary.json").body["content"] == data.SMALL
            assert [file["version"] for file in client.files(name).body["files"]] == [1]
    mark = durable.mark((home / "projects" / name / "summary.json").stat())
    with closing(sqlite3.connect(home / NAME)) as connection:
        marks = [marked for (marked,) in connection.execute("SELECT mark FROM heads")]
    assert len(set(marks)) == 4
    assert ":".join(map(str, mark)) in marks
    assert name in (home / "projects" / name / ".project.json").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("durable", [False, True])
def test_the_plain_node_server_goes_through_sessions(tmp_path: Path, durable: bool) -> None:
    """Both kinds are what is measured against, so that their answers must be right, and no file must be left over."""
    memory = data.memory()
    with servers.plain_node(durable=durable).running(tmp_path / "data") as found:
        data.seed(found.url, memory, 2)
        outcome = Sockets().run(Load(found.url, sessions.session(found.url, memory), 2, 0, sessions=2))
    assert (outcome.asked, outcome.failed) == (56, 0)
    project = tmp_path / "data" / "projects" / sessions.project_name(1)
    assert {place.name for place in project.iterdir()} == set(memory)


def test_the_uploads_of_sessions_are_not_merged(tmp_path: Path) -> None:
    """Each becomes the head as it is, so that no file grows from session to session."""
    memory = data.memory()
    with servers.mneme("this").running(tmp_path / "data") as found:
        data.seed(found.url, memory, 1)
        Sockets().run(Load(found.url, sessions.session(found.url, memory), 1, 0, sessions=3))
    with closing(sqlite3.connect(tmp_path / "data" / NAME)) as connection:
        kinds = connection.execute("SELECT kind, count(*) FROM versions GROUP BY kind").fetchall()
    assert kinds == [("upload", 4 * len(memory))]


@pytest.mark.skipif(not can_slow_syncs, reason="there is no C compiler, or no Linux")
@pytest.mark.parametrize(
    ("server", "expected"),
    [
        # A session has two changes of the lock and four uploads. An export, or a checkpoint, may come in between.
        (servers.mneme("this"), range(6, 14)),
        # A durable file takes a sync of its own and one of its directory, a removal the latter.
        (servers.plain_node(durable=True), [11]),
        (servers.plain_node(durable=False), [0]),
    ],
    ids=lambda value: value.label if isinstance(value, Started) else "",
)
def test_syncs_are_slowed_and_counted(tmp_path: Path, server: Started, expected: Collection[int]) -> None:
    """Those of SQLite and those of Node alike, for both call the C library."""
    if shutil.which(server.words[0]) is None:
        pytest.skip(f"{server.words[0]} is not installed")
    library, memory = slow_sync.compiled(tmp_path), data.memory()
    with slow_sync.slowed(server, library, 20).running(tmp_path / "data") as found:
        data.seed(found.url, memory, 1)
        before = slow_sync.syncs(found)
        outcome = Sockets().run(Load(found.url, sessions.session(found.url, memory), 1, 0, sessions=1))
        made = slow_sync.syncs(found) - before
    assert made in expected
    assert outcome.session(0.5) > 0.02 * min(made, 6)


def test_a_shim_that_cannot_be_compiled_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        NotMeasured, match=r"^slow-sync (needs a C compiler: apt install gcc|can be measured on Linux)"
    ):
        slow_sync.compiled(tmp_path)


def test_processor_time_is_that_of_a_process_and_its_children() -> None:
    """A shell whose child computes for a third of a second, and then sleeps."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("nothing tells the times of other processes")
    reading, writing = os.pipe()
    code = "import os, time\nwhile time.process_time() < 0.3: pass\nos.write(1, b'ready\\n'); time.sleep(60)"
    with (
        os.fdopen(writing, "wb") as pipe,
        running(["sh", "-c", f'"{sys.executable}" -c "{code}"; true'], stdout=pipe) as process,
    ):
        assert os.read(reading, 16) == b"ready\n"
        assert 0.25 < tree_processor_time(process.pid) < 1.0
    os.close(reading)


def test_memory_is_as_large_as_in_daily_use_and_marked_once() -> None:
    """In every file."""
    sizes = {name: len(content) for name, content in data.memory().items()}
    assert list(sizes) == ["log.jsonl", "summary.json", "remembered.json", "entities.json"]
    assert sizes["log.jsonl"] > 150_000
    assert sizes["entities.json"] > 50_000
    assert all(content.count(sessions.CHANGE) == 1 for content in data.memory().values())
