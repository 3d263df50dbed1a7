"""The hooks of sessions ask the agent, and never keep a session from its work."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mneme.cli import session, sessionalone
from tests.fake_agent import SOCKET, FakeAgent


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a person, with a short path, who works in ~/app."""
    with TemporaryDirectory(dir="/tmp", prefix="m") as directory:
        home = Path(directory)
        (home / ".claude-mneme").mkdir()
        (home / "app").mkdir()
        monkeypatch.setenv("HOME", directory)
        monkeypatch.delenv("MNEME_DISABLED", raising=False)
        monkeypatch.chdir(home / "app")
        yield home


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float]]:
    """The calls of the hook without an agent, which has no news."""
    calls: list[tuple[str, str, float]] = []

    def run(name: str, program: str, seconds: float) -> dict[str, str]:
        calls.append((name, program, seconds))
        return {"news": "alone\n", "problem": ""}

    monkeypatch.setattr(sessionalone, "run", run)
    return calls


@pytest.fixture
def agent(home: Path) -> Iterator[Callable[[bytes | None], FakeAgent]]:
    """A maker of an agent."""
    agents: list[FakeAgent] = []

    def make(answer: bytes | None) -> FakeAgent:
        agents.append(FakeAgent(home, answer))
        return agents[-1]

    yield make
    for one in agents:
        one.stop()


Make = Callable[[bytes | None], FakeAgent]
Capture = pytest.CaptureFixture[str]


def told(news: str, problem: str | None = None) -> bytes:
    """An answer of the agent."""
    return json.dumps({"news": news, "problem": problem}).encode() + b"\n"


def test_the_news_of_the_agent_are_printed(home: Path, agent: Make, capsys: Capture) -> None:
    """For the agent's context; nothing else is on stdout."""
    fake = agent(told("## New\n- größe 🙂\n"))
    session.main("session-start", "/bin/mneme")
    assert fake.asked == [{"do": "session-start", "cwd": str(home / "app"), "seconds": 2.0}]
    assert capsys.readouterr() == ("## New\n- größe 🙂\n", "")


def test_a_problem_goes_to_stderr(agent: Make, capsys: Capture) -> None:
    """A sentence for the person, beside the news that there are."""
    agent(told("- one\n", "The server is away"))
    session.main("session-start", "/bin/mneme")
    assert capsys.readouterr() == ("- one\n", "mneme: The server is away\n")


def test_without_news_nothing_is_printed(agent: Make, capsys: Capture) -> None:
    """At an end there never are any, and more time."""
    fake = agent(told(""))
    session.main("session-end", "/bin/mneme")
    assert fake.asked[0]["seconds"] == 10
    assert capsys.readouterr() == ("", "")


def test_news_that_are_no_text_are_printed_all_the_same(agent: Make, capsys: Capture) -> None:
    """Half an emoji is a question mark."""
    agent(told("- a\ud83d\n"))
    session.main("session-start", "/bin/mneme")
    assert capsys.readouterr() == ("- a?\n", "")


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ('{"sync": {"hookSeconds": 0.5}}', 0.5),
        ('{"sync": {"hookSeconds": 60}}', 60),
        ('{"sync": {"hookSeconds": 0}}', 2),
        ('{"sync": {"hookSeconds": -1}}', 2),
        ('{"sync": {"hookSeconds": 61}}', 2),
        ('{"sync": {"hookSeconds": NaN}}', 2),
        ('{"sync": {"hookSeconds": 1e999}}', 2),
        ('{"sync": {"hookSeconds": %s}}' % ("9" * 400), 2),
        ('{"sync": {"hookSeconds": "soon"}}', 2),
        ('{"sync": {"hookSeconds": null}}', 2),
        ('{"sync": null}', 2),
        ("[]", 2),
        ("{", 2),
        ("", 2),
    ],
)
def test_the_time_to_wait_is_that_of_the_settings(
    home: Path, agent: Make, config: str, seconds: float
) -> None:
    """Two seconds where they name none, or none that can be."""
    (home / ".claude-mneme/config.json").write_text(config)
    fake = agent(told(""))
    session.main("session-start", "/bin/mneme")
    assert fake.asked[0]["seconds"] == seconds


def test_a_session_that_is_switched_off_asks_nobody(
    home: Path, agent: Make, alone: list[object], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Only 1 is the switch, as for the plugin."""
    fake = agent(told("news"))
    monkeypatch.setenv("MNEME_DISABLED", "1")
    session.main("session-start", "/bin/mneme")
    session.main("session-end", "/bin/mneme")
    assert (fake.asked, alone, capsys.readouterr()) == ([], [], ("", ""))
    monkeypatch.setenv("MNEME_DISABLED", "0")
    session.main("session-end", "/bin/mneme")
    assert len(fake.asked) == 1


@pytest.mark.parametrize("left", [None, "socket", "file", "directory", "link"])
def test_without_an_agent_the_hook_does_the_work(
    home: Path, alone: list[object], capsys: Capture, left: str | None
) -> None:
    """Whatever lies where its socket was."""
    path = home / SOCKET
    if left == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif left == "file":
        path.write_text("")
    elif left == "directory":
        path.mkdir()
    elif left == "link":
        path.symlink_to(path)
    session.main("session-start", "/bin/mneme")
    assert alone == [("session-start", "/bin/mneme", 2.0)]
    assert capsys.readouterr() == ("alone\n", "")


def test_a_home_whose_path_is_too_long_for_a_socket_has_no_agent(
    home: Path, alone: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook does the work."""
    monkeypatch.setenv("HOME", str(home / ("x" * 120)))
    session.main("session-start", "/bin/mneme")
    assert len(alone) == 1


@pytest.mark.parametrize("answer", [b"", b"{", b'{"news"\n', b"\xff\xfe\n"])
def test_an_agent_that_ends_meanwhile_leaves_the_work_to_the_hook(
    agent: Make, alone: list[object], answer: bytes
) -> None:
    """Its answer is cut."""
    agent(answer)
    session.main("session-start", "/bin/mneme")
    assert len(alone) == 1


def test_an_agent_that_hangs_is_not_waited_for(
    home: Path, agent: Make, alone: list[object], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The session begins, and is told."""
    (home / ".claude-mneme/config.json").write_text('{"sync": {"hookSeconds": 0.05}}')
    monkeypatch.setattr(session, "_EXTRA_SECONDS", 0.05)
    agent(None)
    session.main("session-start", "/bin/mneme")
    assert alone == []
    assert capsys.readouterr() == ("", "mneme: The agent did not answer within 0.1 s\n")


@pytest.mark.parametrize("error", [KeyError("odd"), OSError(28, "No space left on device"), RuntimeError()])
def test_a_fault_is_a_line_on_stderr(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, error: Exception
) -> None:
    """And no traceback: the session goes on."""

    def run(name: str, program: str, seconds: float) -> dict[str, str]:
        raise error

    monkeypatch.setattr(sessionalone, "run", run)
    session.main("session-start", "/bin/mneme")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"mneme: {str(error) or 'RuntimeError'}\n"


def test_a_directory_that_is_gone_is_a_line_on_stderr(home: Path, capsys: Capture) -> None:
    """A session there has nothing to sync."""
    (home / "app").rmdir()
    session.main("session-start", "/bin/mneme")
    assert capsys.readouterr().err.startswith("mneme: ")


@pytest.mark.integration
def test_a_hook_loads_little() -> None:
    """With an agent there is no need of TLS, HTTP or Twisted."""
    code = (
        "import sys; sys.argv = ['mneme', 'session-start']; from mneme.cli import main; main(); "
        "print(*[one for one in ('twisted', 'treq', 'ssl', 'http', 'attrs', 'msgspec', 'click', 'rich', 'asyncio')"
        " if one in sys.modules])"
    )
    with TemporaryDirectory(dir="/tmp", prefix="m") as directory:
        (Path(directory) / ".claude-mneme").mkdir()
        fake = FakeAgent(Path(directory), told(""))
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"HOME": directory, "PATH": "/usr/bin:/bin"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        fake.stop()
    assert (done.stdout, done.stderr, done.returncode) == ("\n", "", 0)
    assert len(fake.asked) == 1
