"""`mneme hooks`: what it prints, and what it says when it can do nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mneme.cli.commands import mneme
from mneme.cli.hooks import this_program
from tests.client.test_hooks import hooks_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a person, on whose PATH there is mneme."""
    program = _program(tmp_path / "bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setattr(sys, "argv", [str(program), "hooks"])
    for name in (".claude", ".claude-mneme"):
        (tmp_path / name).mkdir()
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


def _snippet(home: Path) -> dict[str, Any]:
    return hooks_of(str(home / "bin" / "mneme"))


def test_the_snippet_alone_is_on_stdout(home: Path) -> None:
    """The JSON can be redirected to a file; the advice goes to stderr."""
    result = _hooks()
    assert result.exit_code == 0
    assert json.loads(result.stdout) == _snippet(home)
    assert str(_settings(home)) in result.stderr
    assert not _settings(home).exists()


def test_json_is_one_document(home: Path) -> None:
    """With the hooks and what there is to warn of."""
    assert json.loads(_hooks("--json").stdout) == {**_snippet(home), "warnings": []}


def test_an_installation_tells_its_changes_and_where(home: Path) -> None:
    """Nothing is on stdout; a second installation has nothing to do."""
    _settings(home).write_text("{}")
    result = _hooks("--install")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"The hooks are in {_settings(home)} now" in result.stderr
    assert f"{_settings(home)}.bak" in result.stderr
    assert json.loads(_settings(home).read_text()) == _snippet(home)
    assert "already: nothing to do" in _hooks("--install").stderr
    told = {"settings": str(_settings(home)), "did": "nothing", "backup": None}
    assert json.loads(_hooks("--install", "--json").stdout) == {**told, **_snippet(home), "warnings": []}


def test_hooks_are_removed_once(home: Path) -> None:
    """With a backup; without any there is nothing to do."""
    _hooks("--install")
    assert f"The hooks of mneme in {_settings(home)} are removed" in _hooks("--uninstall").stderr
    assert _settings(home).read_text() == "{}\n"
    assert f"There are no hooks of mneme in {_settings(home)}: nothing to do" in _hooks("--uninstall").stderr
    assert json.loads(_hooks("--uninstall", "--json").stdout)["did"] == "nothing"


@pytest.mark.parametrize(
    ("command", "action", "told"),
    [
        ("echo hi && mneme push", "--uninstall", "does something else, too, and is left"),
        ("mneme push --key sesame", "--install", "has --server or --key"),
    ],
)
def test_a_hook_that_is_left_is_told(home: Path, command: str, action: str, told: str) -> None:
    """By its event: it may hold a key."""
    hooks = {"SessionEnd": [{"hooks": [{"type": "command", "command": command}]}]}
    _settings(home).write_text(json.dumps({"hooks": hooks}))
    result = _hooks(action)
    assert f"A hook of SessionEnd in {_settings(home)} {told}" in result.stderr
    assert "sesame" not in result.stderr
    assert "There are no hooks" not in result.stderr
    assert told in json.loads(_hooks(action, "--json").stdout)["warnings"][0]


def test_hooks_of_a_program_that_has_moved_are_mended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says so, and the path is the new one."""
    _hooks("--install")
    moved = _program(home / "moved here")
    monkeypatch.setattr(sys, "argv", [str(moved)])
    document = json.loads(_hooks("--install", "--json").stdout)
    assert document["did"] == "mended"
    assert f"'{moved}' session-start" in _settings(home).read_text()


def test_another_settings_file_can_be_given(home: Path) -> None:
    """The person's own stays; without --install it is a mistake."""
    project = home / "app" / ".claude" / "settings.json"
    assert _hooks("--install", "--settings", str(project)).exit_code == 0
    assert json.loads(project.read_text()) == _snippet(home)
    assert not _settings(home).exists()
    result = _hooks("--settings", str(project))
    assert result.exit_code == 2
    assert "--install" in result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_settings_that_cannot_be_changed_end_with_one_sentence(home: Path, as_json: bool) -> None:
    """Status 1, an empty stdout, and an unchanged file."""
    _settings(home).write_text('{"hooks": []}')
    result = _hooks("--install", *(["--json"] if as_json else []))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"mneme: {_settings(home)}")
    sentence = result.stderr.removeprefix("mneme: ").rstrip()
    assert result.stdout == "" if not as_json else json.loads(result.stdout) == {"error": sentence}
    assert _settings(home).read_text() == '{"hooks": []}'


@pytest.mark.parametrize(
    ("content", "warning"), [('{"sync": {"enabled": true}}', '"enabled": false into "sync" in '), ("{", "")]
)
@pytest.mark.parametrize("arguments", [(), ("--install",)])
def test_the_plugins_own_sync_is_warned_of(
    home: Path, arguments: tuple[str, ...], content: str, warning: str
) -> None:
    """So are its settings if they cannot be read."""
    config = home / ".claude-mneme" / "config.json"
    config.write_text(content)
    result = _hooks(*arguments)
    assert result.exit_code == 0
    assert f"{warning}{config}" in result.stderr
    [told] = json.loads(_hooks("--json", *arguments).stdout)["warnings"]
    assert str(config) in told
    assert _settings(home).exists() is bool(arguments)


# Which program it is


def test_a_program_on_path_is_called_by_its_place_there(home: Path) -> None:
    """A link there still leads to it after an upgrade."""
    assert this_program().word == str(home / "bin" / "mneme")
    real = home / "real"
    (home / "bin").rename(real)
    (home / "bin").mkdir()
    (home / "bin" / "mneme").symlink_to(real / "mneme")
    sys.argv[0] = str(real / "mneme")
    assert this_program().word == str(home / "bin" / "mneme")


@pytest.mark.parametrize("path", ["", "/nowhere", "{home}/other", "bin"])
@pytest.mark.parametrize("typed", ["{home}/bin/mneme", "bin/mneme"])
def test_a_program_that_path_does_not_lead_to_is_called_by_its_path(
    home: Path, path: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mneme on PATH, another one, or one that is found from this directory only."""
    _program(home / "other")
    monkeypatch.chdir(home)
    monkeypatch.setenv("PATH", path.format(home=home))
    sys.argv[0] = typed.format(home=home)
    assert this_program().word == str(home / "bin" / "mneme")


def test_a_program_in_an_activated_environment_is_called_by_its_path(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is on PATH in this shell alone."""
    monkeypatch.setenv("VIRTUAL_ENV", str(home))
    assert this_program().word == str(home / "bin" / "mneme")
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
