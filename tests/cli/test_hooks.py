"""`mneme hooks`: what it prints, and what it says when it can do nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mneme.cli.commands import mneme
from mneme.cli.hooks import this_program
from tests.client.test_hooks import SNIPPET


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a person, on whose PATH there is mneme."""
    program = _program(tmp_path / "bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setattr(sys, "argv", [str(program), "hooks"])
    return tmp_path


def _program(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "mneme"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    return program


def _hooks(*arguments: str) -> Result:
    return CliRunner().invoke(mneme, ["hooks", *arguments])


def _settings(home: Path) -> Path:
    return home / ".claude" / "settings.json"


def test_the_snippet_alone_is_on_stdout(home: Path) -> None:
    """The JSON can be redirected to a file; the advice goes to stderr."""
    result = _hooks()
    assert result.exit_code == 0
    assert json.loads(result.stdout) == SNIPPET
    assert str(_settings(home)) in result.stderr
    assert not _settings(home).exists()


def test_json_is_one_document(home: Path) -> None:
    """With the hooks and what there is to warn of."""
    assert json.loads(_hooks("--json").stdout) == {**SNIPPET, "warnings": []}


def test_an_installation_says_what_it_did_and_where(home: Path) -> None:
    """And where the backup is; nothing of it on stdout."""
    _settings(home).parent.mkdir()
    _settings(home).write_text("{}")
    result = _hooks("--install")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"The hooks are in {_settings(home)} now" in result.stderr
    assert f"{_settings(home)}.bak" in result.stderr
    assert json.loads(_settings(home).read_text()) == SNIPPET


def test_a_second_installation_says_that_there_is_nothing_to_do(home: Path) -> None:
    """In words, and in JSON."""
    _hooks("--install")
    assert "already: nothing to do" in _hooks("--install").stderr
    document = json.loads(_hooks("--install", "--json").stdout)
    assert document == {
        "settings": str(_settings(home)),
        "did": "nothing",
        "backup": None,
        **SNIPPET,
        "warnings": [],
    }


def test_hooks_of_a_program_that_has_moved_are_mended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says so, and the path is the new one."""
    _hooks("--install")
    moved = _program(home / "moved here")
    monkeypatch.setattr(sys, "argv", [str(moved)])
    document = json.loads(_hooks("--install", "--json").stdout)
    assert document["did"] == "mended"
    assert f"'{moved}' pull" in _settings(home).read_text()


def test_another_settings_file_can_be_given(home: Path) -> None:
    """That of a project, say; the person's own stays as it is."""
    project = home / "app" / ".claude" / "settings.json"
    assert _hooks("--install", "--settings", str(project)).exit_code == 0
    assert json.loads(project.read_text()) == SNIPPET
    assert not _settings(home).exists()


def test_another_settings_file_without_an_installation_is_a_mistake(home: Path) -> None:
    """Nobody is left to believe that something was written."""
    result = _hooks("--settings", "x.json")
    assert result.exit_code == 2
    assert "--install" in result.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"hooks": []}', '{"hooks": {"SessionEnd": {}}}'])
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_settings_that_cannot_be_changed_end_with_one_sentence(
    home: Path, content: str, as_json: tuple[str, ...]
) -> None:
    """Status 1, an empty stdout, and an unchanged file."""
    _settings(home).parent.mkdir()
    _settings(home).write_text(content)
    result = _hooks("--install", *as_json)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"mneme: {_settings(home)}")
    sentence = result.stderr.removeprefix("mneme: ").rstrip()
    assert result.stdout == "" if not as_json else json.loads(result.stdout) == {"error": sentence}
    assert _settings(home).read_text() == content


@pytest.mark.parametrize("arguments", [(), ("--install",)])
def test_the_plugins_own_sync_is_warned_of(home: Path, arguments: tuple[str, ...]) -> None:
    """Two syncs would be one too many: what to set, and where, is said."""
    config = home / ".claude-mneme" / "config.json"
    config.parent.mkdir()
    config.write_text('{"sync": {"enabled": true}}')
    result = _hooks(*arguments)
    assert result.exit_code == 0
    assert f'"enabled": false into "sync" in {config}' in result.stderr
    [warning] = json.loads(_hooks("--json", *arguments).stdout)["warnings"]
    assert str(config) in warning


def test_settings_of_the_plugin_that_cannot_be_read_are_warned_of(home: Path) -> None:
    """The hooks are installed all the same; they would say so, too."""
    config = home / ".claude-mneme" / "config.json"
    config.parent.mkdir()
    config.write_text("{")
    result = _hooks("--install")
    assert result.exit_code == 0
    assert str(config) in result.stderr
    assert _settings(home).exists()


# Which program it is


def test_a_program_on_path_is_called_by_its_name(home: Path) -> None:
    """Also where PATH leads to it by a link."""
    assert this_program().word == "mneme"
    real = home / "real"
    (home / "bin").rename(real)
    (home / "bin").mkdir()
    (home / "bin" / "mneme").symlink_to(real / "mneme")
    sys.argv[0] = str(real / "mneme")
    assert this_program().word == "mneme"


@pytest.mark.parametrize("path", ["", "/nowhere", "{home}/other", "bin"])
def test_a_program_that_path_does_not_lead_to_is_called_by_its_path(
    home: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mneme on PATH, another one, or one that is found from this directory only."""
    _program(home / "other")
    monkeypatch.chdir(home)
    monkeypatch.setenv("PATH", path.format(home=home))
    assert this_program().word == str(home / "bin" / "mneme")


def test_a_program_started_by_a_relative_path_is_called_by_its_whole_path(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook runs in another directory."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("PATH", "/nowhere")
    sys.argv[0] = "bin/mneme"
    assert this_program().word == str(home / "bin" / "mneme")


def test_a_program_in_an_activated_environment_is_called_by_its_path(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activated environment is on PATH in this shell alone."""
    monkeypatch.setenv("VIRTUAL_ENV", str(home))
    assert this_program().word == str(home / "bin" / "mneme")


def test_a_program_by_another_name_is_the_one_of_its_interpreter(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started with `python -c`, for instance."""
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert this_program().path == str(Path(sys.executable).with_name("mneme"))


@pytest.mark.parametrize("arguments", [["hooks"], ["hooks", "--install"], ["watch"]])
def test_a_user_without_a_home_is_told_to_set_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """In one sentence; a settings file that is named needs none."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    result = CliRunner().invoke(mneme, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "This user has no home directory" in result.stderr
    assert _hooks("--install", "--settings", str(home / "settings.json")).exit_code == 0
    assert (home / "settings.json").exists()
