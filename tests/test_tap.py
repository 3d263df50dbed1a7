"""Command line of `twistd mneme`, and errors that keep the server from being put together."""

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.python import usage

from mneme import __version__
from mneme.backups import Plan
from mneme.clocks import TimeOfDay
from mneme.config import Loaded
from mneme.errors import StartupError
from mneme.logs import LogChoice
from mneme.model import Millis
from mneme.server import Server
from mneme.store import backup
from mneme.tap import Options, makeService
from tests.store.filled import database_of, filled


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own, and the umask as it was."""
    before, on_hangup = os.umask(0o077), signal.getsignal(signal.SIGHUP)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("MNEME_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    os.umask(before)
    signal.signal(signal.SIGHUP, on_hangup)


def options(*arguments: str) -> Options:
    """The options, as parsed."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


def made(*arguments: str, port: str = "0") -> Server:
    """A server put together on any port, its sockets and its claim let go again."""
    server = makeService(options(*(("--port", port) if port else ()), *arguments))
    for one in server._components.sockets:
        one.close()
    server._components.claim.release()
    return server


def refusal(*arguments: str) -> str:
    """The sentence with which the process ends."""
    with pytest.raises(SystemExit) as ended:
        makeService(options(*arguments))
    assert isinstance(ended.value.code, str)
    assert "\n" not in ended.value.code
    return ended.value.code


def test_only_what_was_given_is_passed_on() -> None:
    """Other settings come from the layers below."""
    assert options().given() == {}
    given = options("--port", "0", "-d", "/d", "--listen", "tcp:1", "--listen", "tcp:2").given()
    assert given == {"port": "0", "dataDir": "/d", "listen": ["tcp:1", "tcp:2"]}


@pytest.mark.parametrize("arguments", [["--prot", "1"], ["extra"], ["--port"], ["--log-format", "xml"]])
def test_a_slip_on_the_command_line_is_one_sentence(arguments: list[str]) -> None:
    """The sentence says where the options are listed."""
    with pytest.raises(SystemExit, match=r"^mneme: .*--help"):
        options(*arguments)


def test_the_version_is_the_servers_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Not Twisted's."""
    with pytest.raises(SystemExit) as ended:
        options("--version")
    assert (ended.value.code, capsys.readouterr().out) == (0, f"mneme {__version__}\n")


class Twistd(usage.Options):
    """The part of twistd's options that ours look at."""

    optFlags: ClassVar = [["nodaemon", "n", ""], ["syslog", None, ""]]
    optParameters: ClassVar = [
        ["logfile", "l", None, ""],
        ["pidfile", None, "twistd.pid", ""],
        ["logger", None, None, ""],
    ]
    subCommands: ClassVar = [["mneme", None, Options, ""]]


def twistd(*arguments: str) -> Any:
    """The options of twistd, as parsed."""
    parsed = Twistd()
    parsed.parseOptions([*arguments])
    return parsed


@pytest.mark.parametrize(
    ("arguments", "form", "file"),
    [
        (["-n"], "json", "-"),
        (["-n", "-l", "x.log"], "json", "x.log"),
        ([], "json", "twistd.log"),
        (["-l", "-"], "json", "-"),
        (["-n"], "text", "-"),
        ([], "text", "twistd.log"),
        (["-n", "-l", "-"], "text", "-"),
        (["-l", "-"], "text", None),
        (["--syslog"], "text", None),
        (["--logger", "a.b"], "text", None),
    ],
)
def test_the_log_is_ours_and_goes_where_twistds_own_would(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], form: str, file: str | None
) -> None:
    """A log for people is not, if twistd was told of another log."""
    for name in ("file", "form"):
        monkeypatch.setattr(LogChoice, name, None)
    chosen = twistd(*arguments, "mneme", "--log-format", form)["logger"]
    assert (LogChoice.file, LogChoice.form) == (file, form if file else None)
    assert (chosen == LogChoice.name) is (file is not None)


def test_giving_up_in_the_foreground_takes_the_pid_file_away(tmp_path: Path) -> None:
    """As twistd would do for an error it knows."""
    (tmp_path / "m.pid").write_text("1")
    with pytest.raises(SystemExit):
        twistd("-n", "--pidfile", str(tmp_path / "m.pid"), "mneme").subOptions.give_up("no reason")
    assert not (tmp_path / "m.pid").exists()


def test_giving_up_when_daemonized_is_left_to_twistd() -> None:
    """Twistd tells its parent process, which has the terminal."""
    with pytest.raises(StartupError, match="no reason"):
        twistd("mneme").subOptions.give_up("no reason")


def test_a_server_is_put_together_from_the_file_in_the_home(home: Path) -> None:
    """The file is read without being asked for."""
    (home / ".mneme-server").mkdir()
    (home / ".mneme-server" / "config.json").write_text('{"port": 0, "lockTTLMinutes": 0.5}')
    server = made(port="")
    assert server._components.sync.lock_ttl == 30_000
    assert (home / ".mneme-server" / "projects").is_dir()


def test_a_server_is_put_together_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Mac: its reactor takes no turns, and is left as it is."""
    before = vars(reactor).get("_poller")
    monkeypatch.delattr(select, "epoll", raising=False)
    made()
    assert vars(reactor).get("_poller") is before


def test_a_port_on_the_command_line_beats_endpoints_in_the_file(home: Path) -> None:
    """And an endpoint on the command line beats both."""
    file = home / "c.json"
    file.write_text('{"listen": ["unix:/nowhere.sock"], "port": 1}')
    assert len(made("--config", str(file), port="")._components.endpoints) == 1
    assert made("--config", str(file))._components.endpoints == []
    assert len(made("--config", str(file), "--listen", "tcp:1")._components.endpoints) == 1


def test_an_error_at_the_start_is_one_sentence(home: Path) -> None:
    """The sentence says what to do; all that was taken is free again."""
    (home / "file").write_text("")
    assert "cannot be used" in refusal("--data-dir", str(home / "file"))
    assert "--listen" in refusal("--listen", "") or "listen" in refusal("--listen", "")
    assert "'nonsense'" in refusal("--listen", "nonsense")
    assert "no such file" in refusal("--config", str(home / "none.json"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in refusal("--port", str(taken.getsockname()[1]))
    (home / "linked").mkdir()
    (home / "linked" / "projects").symlink_to(home)
    assert "symbolic link" in refusal("--data-dir", str(home / "linked"))
    (home / "blocked").mkdir()
    (home / "blocked" / "projects").write_text("")
    assert "projects" in refusal("--data-dir", str(home / "blocked"))


def test_a_user_without_a_home_says_where_the_data_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME and an entry for the user, a sentence says what to give."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    said = refusal("--port", "0")
    assert said.startswith("mneme: This user has no home directory")
    assert "--data-dir or MNEME_DATA_DIR" in said
    made("--data-dir", str(home / "data"))
    assert (home / "data" / "projects").is_dir()


def test_a_server_that_is_about_to_start_has_its_umask_clock_and_signal() -> None:
    """Files are for this user alone, and timers do not follow the time of day."""
    os.umask(0)
    made()
    assert os.umask(0) == 0o077
    assert abs(cast(Any, reactor).seconds() - time.monotonic()) < 60
    assert abs(TimeOfDay().seconds() - time.time()) < 60
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("has_backup", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.03, 0.5])
def test_a_damaged_database_is_told_with_the_way_back(home: Path, part: float, has_backup: bool) -> None:
    """The way is the newest backup, or else the plain files alone."""
    data = home / "data"
    filled(data, versions=20).close()
    content = database_of(data).read_bytes()
    newest = backup.make_in(data / "backups", 7, database_of(data), Millis(0), None)
    at = int(len(content) * part) // 4096 * 4096
    database_of(data).write_bytes(content[:at] + b"\xff" * 4096 + content[at + 4096 :])
    if not has_backup:
        newest.unlink()
    said = refusal("--port", "0", "--data-dir", str(data))
    way = (
        f"`mneme restore-backup --replace {newest} {data}` brings the newest backup back"
        if has_backup
        else f"There is no backup in {data}/backups: move {data}/mneme.db away. The server then starts from the "
        "files in projects/, and only the history is lost"
    )
    assert said == f"mneme: The database {database_of(data)} is damaged. {way}"


def test_backups_go_where_the_configuration_says(home: Path) -> None:
    """Beside the database if it says nothing; a reload takes the plan over."""
    data = home / "data"
    server = made("--data-dir", str(data))
    assert server._components.backups.plan == Plan(data / "backups", 7, None)
    chosen = replace(server._loaded.config, backup_dir=home / "elsewhere", backup_keep=0)
    server._go_over_to(Loaded(chosen, (), home / "c.json", found=True))
    assert server._components.backups.plan == Plan(home / "elsewhere", 0, home / "c.json")
    file = home / "c.json"
    file.write_text('{"backup": {"dir": "~/elsewhere", "keep": 3}}')
    plan = made("--data-dir", str(data), "--config", str(file))._components.backups.plan
    assert plan == Plan(home / "elsewhere", 3, file)
