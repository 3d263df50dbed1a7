"""The command line of `twistd mneme`, and what keeps the server from being put together."""

import os
import select
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from attrs import evolve
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
from mneme.store.sqlite import NAME
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


def made(*arguments: str) -> Server:
    """A server put together, its sockets and its claim let go again."""
    server = makeService(options(*arguments))
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
    """What was not comes from the layers below."""
    assert options().given() == {}
    given = options("--port", "0", "-d", "/d", "--listen", "tcp:1", "--listen", "tcp:2").given()
    assert given == {"port": "0", "dataDir": "/d", "listen": ["tcp:1", "tcp:2"]}


@pytest.mark.parametrize("arguments", [["--prot", "1"], ["extra"], ["--port"], ["--log-format", "xml"]])
def test_a_slip_on_the_command_line_is_one_sentence(arguments: list[str]) -> None:
    """It says where the options are listed."""
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


@pytest.mark.parametrize(
    ("arguments", "file"),
    [(["-n"], "-"), (["-n", "-l", "x.log"], "x.log"), ([], "twistd.log"), (["-l", "-"], "-")],
)
def test_a_log_for_machines_goes_where_twistds_own_would(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], file: str
) -> None:
    """To standard output in the foreground, else to a file."""
    monkeypatch.setattr(LogChoice, "file", "?")
    twistd = Twistd()
    twistd.parseOptions([*arguments, "mneme", "--log-format", "json"])
    assert (LogChoice.file, twistd["logger"]) == (file, LogChoice.name)


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["-n"], True),
        ([], True),
        (["-n", "-l", "-"], True),
        (["-l", "-"], False),
        (["--syslog"], False),
        (["--logger", "a.b"], False),
    ],
)
def test_the_log_for_people_is_ours_unless_twistd_was_told_of_another(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], ours: bool
) -> None:
    """What it refuses it is left to refuse: a daemon has no standard output."""
    monkeypatch.setattr(LogChoice, "file", "?")
    monkeypatch.setattr(LogChoice, "form", "?")
    twistd = Twistd()
    twistd.parseOptions([*arguments, "mneme"])
    assert (LogChoice.form == "text", twistd["logger"] == LogChoice.name) == (ours, ours)


def test_giving_up_in_the_foreground_says_why_and_takes_the_pid_file_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What twistd would do for an error it knows."""
    twistd = Twistd()
    (tmp_path / "m.pid").write_text("1")
    twistd.parseOptions(["-n", "--pidfile", str(tmp_path / "m.pid"), "mneme"])
    with pytest.raises(SystemExit):
        twistd.subOptions.give_up("no reason")
    assert not (tmp_path / "m.pid").exists()


def test_giving_up_when_daemonized_is_left_to_twistd(tmp_path: Path) -> None:
    """It tells its parent process, which is the one with the terminal."""
    twistd = Twistd()
    twistd.parseOptions(["mneme"])
    with pytest.raises(StartupError, match="no reason"):
        twistd.subOptions.give_up("no reason")


def test_a_server_is_put_together_from_the_file_in_the_home(home: Path) -> None:
    """Which is read without being asked for."""
    (home / ".mneme-server").mkdir()
    (home / ".mneme-server" / "config.json").write_text('{"port": 0, "lockTTLMinutes": 0.5}')
    server = made()
    assert server._components.sync.lock_ttl == 30_000
    assert (home / ".mneme-server" / "projects").is_dir()


def test_a_server_is_put_together_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Mac: its reactor takes no turns, and is left as it is."""
    before = vars(reactor).get("_poller")
    monkeypatch.delattr(select, "epoll", raising=False)
    made("--port", "0")
    assert vars(reactor).get("_poller") is before


def test_a_port_on_the_command_line_beats_endpoints_in_the_file(home: Path) -> None:
    """And an endpoint on the command line beats both."""
    file = home / "c.json"
    file.write_text('{"listen": ["unix:/nowhere.sock"], "port": 1}')
    assert len(made("--config", str(file))._components.endpoints) == 1
    assert made("--config", str(file), "--port", "0")._components.endpoints == []
    assert len(made("--config", str(file), "--port", "0", "--listen", "tcp:1")._components.endpoints) == 1


def test_what_is_wrong_is_one_sentence(home: Path) -> None:
    """With what to do about it; what was taken before it was found out is free again."""
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


@pytest.mark.parametrize(
    ("version", "application", "said"),
    [(99, 0x6D6E656D, "newer mneme"), (1, 7, "another program"), (None, 0, "is damaged")],
)
def test_a_database_that_is_not_ours_is_one_sentence(
    home: Path, version: int | None, application: int, said: str
) -> None:
    """It is left as it is."""
    path = home / "data" / NAME
    path.parent.mkdir()
    if version is None:
        path.write_bytes(b"no database" * 1000)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute(f"PRAGMA application_id = {application}")
    before = path.read_bytes()
    assert said in refusal("--port", "0", "--data-dir", str(path.parent))
    assert path.read_bytes() == before


def test_a_user_without_a_home_says_where_the_data_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no entry in the list of users: one sentence says what to give."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    said = refusal("--port", "0")
    assert said.startswith("mneme: This user has no home directory")
    assert "--data-dir or MNEME_DATA_DIR" in said
    made("--port", "0", "--data-dir", str(home / "data"))
    assert (home / "data" / "projects").is_dir()


def test_files_are_made_for_this_user_alone() -> None:
    """Those that twistd opens later, its log among them, too."""
    os.umask(0)
    made("--port", "0")
    assert os.umask(0) == 0o077


def test_timers_do_not_follow_the_time_of_day() -> None:
    """It can jump by years; locks do follow it, being the same on all machines."""
    made("--port", "0")
    assert abs(cast(Any, reactor).seconds() - time.monotonic()) < 60
    assert abs(TimeOfDay().seconds() - time.time()) < 60


def test_sighup_does_not_end_a_server_that_is_about_to_start() -> None:
    """There is nothing to reload yet."""
    made("--port", "0")
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("has_backup", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.03, 0.5])
def test_a_damaged_database_is_one_sentence_with_the_way_back(
    home: Path, part: float, has_backup: bool
) -> None:
    """The newest backup and the command; without a backup, the way to start with the plain files alone."""
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
    """Beside the database if it says nothing."""
    data = home / "data"
    plan = made("--port", "0", "--data-dir", str(data))._components.backups.plan
    assert plan == Plan(data / "backups", 7, None)
    file = home / "c.json"
    file.write_text('{"backup": {"dir": "~/elsewhere", "keep": 3}}')
    plan = made("--port", "0", "--data-dir", str(data), "--config", str(file))._components.backups.plan
    assert plan == Plan(home / "elsewhere", 3, file)


def test_a_reload_takes_the_plan_of_backups_over(home: Path) -> None:
    """Without a restart."""
    server = made("--port", "0", "--data-dir", str(home / "data"))
    chosen = evolve(server._loaded.config, backup_dir=home / "elsewhere", backup_keep=0)
    server._go_over_to(Loaded(chosen, (), home / "c.json", found=True))
    assert server._components.backups.plan == Plan(home / "elsewhere", 0, home / "c.json")
