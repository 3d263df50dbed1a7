"""Hooks that are taken out again, and old ones that are mended: everything else stays."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from mneme.client.hooks import HookChange, Program, install, snippet, uninstall, without_hooks

PROGRAM = Program("/usr/local/bin/mneme")


def hook(command: str, **more: object) -> dict[str, object]:
    """A hook that runs a command."""
    return {"type": "command", "command": command, **more}


def settings(start: list[Any], end: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """Settings with these groups, and other things."""
    events = {"SessionStart": start, **({} if end is None else {"SessionEnd": end})}
    return {"model": "opus", "hooks": {**events, **more}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The settings file, which is not there yet."""
    return tmp_path / "settings.json"


# Taking out


def test_what_was_put_in_is_taken_out(path: Path) -> None:
    """The settings are as before; a copy of the file lies beside it."""
    before = settings(
        [{"matcher": "startup", "hooks": [hook("echo hällo")]}], Stop=[{"hooks": [hook("say")]}]
    )
    path.write_text(json.dumps(before))
    path.chmod(0o640)
    install(path, PROGRAM)
    between = path.read_text()
    done = uninstall(path)
    assert (done.path, done.change) == (path, HookChange.REMOVED)
    assert json.loads(path.read_text()) == before
    assert done.backup
    assert done.backup.read_text() == between
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_with_nothing_else_is_left_empty(path: Path) -> None:
    """Without an empty list of hooks in it."""
    install(path, PROGRAM)
    uninstall(path)
    assert json.loads(path.read_text()) == {}


@pytest.mark.parametrize(
    "command",
    [
        "mneme pull",
        "mneme session-start",
        "/old/bin/mneme pull --strict || true",
        "'/an old/mneme' session-start",
        '"$HOME/.venv/bin/mneme" pull',
        "timeout 20 mneme session-start",
        "cd /x && MNEME_X=1 mneme pull --server 'http://a;b' 2>&1 >/dev/null &",
        "mneme pull; mneme session-start\ntrue",
    ],
)
def test_hooks_of_every_version_are_taken_out(command: str) -> None:
    """By name or path."""
    found: Any = without_hooks(settings([{"hooks": [hook(command)]}]))
    assert found == {"model": "opus"}


@pytest.mark.parametrize(
    "command",
    [
        "echo mneme",
        "mneme status",
        "mneme push",
        "mneme session-end",
        "mneme pull-request",
        "amneme pull",
        "/opt/mneme/other pull",
        "git pull",
    ],
)
def test_hooks_of_others_stay(command: str) -> None:
    """Also a call of mneme for something else."""
    before = settings([{"hooks": [hook(command)]}])
    assert without_hooks(before) == before


@pytest.mark.parametrize(
    "command",
    [
        "echo hi && mneme pull",
        "(mneme session-start; echo done)",
        "mneme pull | tee /tmp/log",
        "mneme pull\ngit fetch",
        'sh -c "cd /x && mneme pull"',
        "mneme pull # it's",
    ],
)
def test_a_hook_that_does_something_else_too_is_left(path: Path, command: str) -> None:
    """And that is said; a plain one beside it goes."""
    line = {"hooks": [hook(command)]}
    path.write_text(json.dumps(settings([line, {"hooks": [hook("mneme pull")]}])))
    done = uninstall(path)
    assert (done.change, list(done.left)) == (HookChange.REMOVED, ["SessionStart"])
    assert json.loads(path.read_text()) == settings([line])
    assert uninstall(path).change is HookChange.NOTHING


def test_other_hooks_of_a_group_stay_in_it() -> None:
    """With all that the group says."""
    theirs = hook("echo one", timeout=5)
    before = settings([{"matcher": "*", "hooks": [theirs, hook("mneme session-start")]}], [])
    assert without_hooks(before) == {
        "model": "opus",
        "hooks": {"SessionStart": [{"matcher": "*", "hooks": [theirs]}]},
    }


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{}",
        '{"hooks": {}}',
        '{"hooks": {"SessionStart": []}}',
        '{"hooks": {"SessionStart": [{"matcher": "x", "hooks": []}], "Stop": []}}',
    ],
)
def test_without_hooks_there_is_nothing_to_do(path: Path, content: str | None) -> None:
    """Nothing is written, not even the file in another form."""
    if content is not None:
        path.write_text(content)
    assert uninstall(path).change is HookChange.NOTHING
    assert (path.read_text() if path.exists() else None) == content
    assert [one.name for one in path.parent.iterdir()] == ([] if content is None else [path.name])


def test_a_group_that_was_empty_stays_beside_one_that_becomes_so() -> None:
    """Somebody else made it."""
    empty = {"matcher": "x", "hooks": []}
    before = settings([empty, {"hooks": [hook("mneme pull")]}])
    assert without_hooks(before) == settings([empty])


# Mending


@pytest.mark.parametrize("options", ["--server http://other:1", "--strict --key=abc", "--key abc || true"])
@pytest.mark.parametrize("does", ["pull", "session-start"])
def test_a_hook_with_a_server_of_its_own_keeps_it(path: Path, options: str, does: str) -> None:
    """Its command, which takes the options, stays; the path is mended."""
    path.write_text(json.dumps(settings([{"hooks": [hook(f"/old/mneme {does} {options}")]}])))
    done = install(path, PROGRAM)
    assert list(done.left) == ["SessionStart"]
    [group] = json.loads(path.read_text())["hooks"]["SessionStart"]
    assert group == {"hooks": [hook(f"{PROGRAM.path} {does} {options}")]}


def test_an_option_of_another_command_is_none_of_mneme(path: Path) -> None:
    """Behind the end of the call."""
    path.write_text(json.dumps(settings([{"hooks": [hook("mneme pull; say --server x")]}])))
    assert install(path, PROGRAM).left == ()
    assert "mneme session-start; say --server x" in path.read_text()


@pytest.mark.parametrize(
    "path_", ["/opt/my env/mneme", "/opt/a'b/mneme", '/opt/$x"/mneme', "/opt/größe/mneme"]
)
def test_a_path_of_any_kind_is_put_in_and_taken_out(path: Path, path_: str) -> None:
    """The shell takes it for one word."""
    program = Program(path_)
    install(path, program)
    assert install(path, program).change is HookChange.NOTHING
    assert json.loads(path.read_text()) == snippet(program)
    assert uninstall(path).change is HookChange.REMOVED
    assert json.loads(path.read_text()) == {}
