"""`backup`, `restore-backup` and `verify`, typed where the server's data lies."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mneme.cli.commands import mneme
from mneme.store import backup
from mneme.store.claim import Claim
from tests.store.filled import contents, database_of, filled

KEY = "a-long-secret-0123456789"


class Server:
    """A machine with a server's data in the usual place, and the command."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / ".mneme-server"
        filled(self.data).close()
        (self.data / "config.json").write_text(json.dumps({"apiKeys": [KEY]}))
        self.out = home / "out"
        self.out.mkdir()

    def run(self, *arguments: object, status: int = 0) -> Result:
        """Run the command."""
        result = CliRunner(env={"HOME": str(self.home)}).invoke(mneme, list(map(str, arguments)))
        assert result.exit_code == status, result.output
        return result

    def json(self, *arguments: object, status: int = 0) -> Any:
        """The output of `--json`."""
        return json.loads(self.run(*arguments, "--json", status=status).stdout)

    def damage(self) -> None:
        """Have the disk of the database fail."""
        connection = sqlite3.connect(database_of(self.data))
        connection.execute("UPDATE contents SET zstd = x'00' WHERE id = 1")
        connection.commit()
        connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server that does not run."""
    return Server(tmp_path)


def test_the_data_is_found_as_the_server_finds_it(server: Server) -> None:
    """In the home directory, or where the options say."""
    server.run("backup", server.out / "a.db")
    server.run("backup", server.out / "b.db", "-d", server.data, "-c", server.data / "config.json")
    signs = [backup.read(server.out / name).signs for name in ("a.db", "b.db")]
    assert signs == [backup.read(database_of(server.data)).signs] * 2
    said = server.run("backup", server.out / "c.db", "-c", server.home / "none.json", status=1).stderr
    assert "none.json: there is no such file" in said


def test_a_backup_has_the_configuration_unless_told_otherwise(server: Server) -> None:
    """With the keys in it, which is said."""
    assert "API keys included" in server.run("backup", server.out / "a.db").stderr
    assert KEY.encode() in (server.out / "a.db").read_bytes()
    said = server.run("backup", server.out / "b.db", "--without-config").stderr
    assert "without the configuration" in said
    assert KEY.encode() not in (server.out / "b.db").read_bytes()
    (server.data / "config.json").unlink()
    assert "there is no configuration file" in server.run("backup", server.out / "c.db").stderr


def test_a_directory_of_backups_keeps_the_newest(server: Server) -> None:
    """The directory is created; without `--keep` all backups stay."""
    made = [server.json("backup", server.home / "new", "--keep", 2)["backup"] for _ in range(3)]
    assert list(map(str, backup.kept_in(server.home / "new"))) == made[1:]
    server.run("backup", server.home / "new")
    assert len(backup.kept_in(server.home / "new")) == 3
    server.run("backup", server.out / "x", "--keep", "0", status=2)


def test_a_backup_for_scripts_is_one_document(server: Server) -> None:
    """With its file, its size and the configuration that is in it."""
    file = server.out / "a.db"
    assert server.json("backup", file) == {
        "backup": str(file),
        "size": file.stat().st_size,
        "config": str(server.data / "config.json"),
    }
    assert server.json("backup", file, "--without-config")["config"] is None


def test_a_restored_backup_says_what_is_next(server: Server) -> None:
    """A command starts the server on it, and works as it is."""
    server.run("backup", server.out / "a.db")
    new = server.home / "new"
    said = server.run("restore-backup", server.out / "a.db", new).stderr
    twistd = Path(sys.executable).with_name("twistd")
    assert twistd.exists()
    command = f"{twistd} --nodaemon --pidfile= mneme --data-dir {new} --config {new}/config.json"
    assert said.endswith(f"mneme: Now start the server: {command}\n")
    assert contents(new) == contents(server.data)
    assert json.loads((new / "config.json").read_text()) == {"apiKeys": [KEY]}


def test_a_database_in_the_way_needs_a_word_and_is_moved_aside(server: Server) -> None:
    """Never removed."""
    server.run("backup", server.out / "a.db")
    said = server.run("restore-backup", server.out / "a.db", server.data, status=1).stderr
    assert "--replace" in said
    done = server.json("restore-backup", "--replace", server.out / "a.db", server.data)
    assert done["restored"] == str(server.data)
    assert Path(done["movedAside"]).exists()
    said = server.run("restore-backup", "--replace", server.out / "a.db", server.data).stderr
    assert "The database that lay there is" in said


def test_a_server_that_runs_is_in_the_way(server: Server) -> None:
    """A backup can be made, and not restored."""
    claim = Claim.take(server.data)
    server.run("backup", server.out / "a.db")
    said = server.json("restore-backup", "--replace", server.out / "a.db", server.data, status=1)
    claim.release()
    assert "is in use by another mneme server" in said["error"]


def test_verify_of_a_whole_directory_says_so(server: Server) -> None:
    """With status 0."""
    assert f"{server.data} is whole" in server.run("verify").stderr
    assert server.json("verify") == {"damaged": [], "differing": []}


def test_verify_names_what_is_damaged_and_the_way_back(server: Server) -> None:
    """With status 1, and the newest backup."""
    server.run("backup", server.data / "backups", "--keep", 7)
    server.damage()
    result = server.run("verify", status=1)
    assert result.stdout == "summary.md of alpha is damaged in version 1\n"
    (newest,) = backup.kept_in(server.data / "backups")
    said = " ".join(result.stderr.split())
    assert f"Stop the server first. `mneme restore-backup --replace {newest} {server.data}`" in said
    assert server.json("verify", status=1)["damaged"] == ["summary.md of alpha is damaged in version 1"]


def test_verify_tells_edits_by_hand_which_are_no_damage(server: Server) -> None:
    """With status 0."""
    (server.data / "projects" / "alpha" / "summary.md").write_text("edited")
    result = server.run("verify")
    assert "summary.md of alpha in projects/ is not the head" in result.stdout
    assert "is whole (1 difference" in result.stderr


def test_a_database_that_cannot_be_read_is_one_sentence(server: Server) -> None:
    """For each command."""
    database_of(server.data).write_bytes(b"nonsense" * 1000)
    assert "cannot be read" in server.run("verify", status=1).stdout
    assert "is damaged" in server.run("backup", server.out / "a.db", status=1).stderr
    assert list(server.out.iterdir()) == []


def test_ctrl_c_breaks_a_backup_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of it, and signals are as they were."""
    before = signal.getsignal(signal.SIGTERM)
    real = backup.kept_in

    def interrupted(directory: Path) -> list[Path]:
        signal.raise_signal(signal.SIGTERM)
        return real(directory)

    monkeypatch.setattr(backup, "kept_in", interrupted)
    assert "Broken off" in server.run("backup", server.out, status=1).stderr
    assert list(server.out.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
