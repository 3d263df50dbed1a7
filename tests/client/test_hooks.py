"""Hooks in the settings of Claude Code: everything else stays."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mneme import durable
from mneme.client.errors import SettingsError
from mneme.client.hooks import (
    Hook,
    HookChange,
    Installed,
    Program,
    hooks_in,
    install,
    settings_path,
    snippet,
    with_hooks,
)
from mneme.client.jsonfile import read
from tests.store.faults import BROKEN, FULL, KILL, Fault, Faults, Killed

NAMED = Program("/usr/local/bin/mneme")
HIDDEN = Program("/home/ana/.venv/bin/mneme")


def hooks_of(word: str) -> dict[str, Any]:
    """The hooks of a program that a shell calls by a word."""
    return {
        "hooks": {
            event: [{"hooks": [{"type": "command", "command": f"{word} {does}", "timeout": 60}]}]
            for event, does in (("SessionStart", "session-start"), ("SessionEnd", "session-end"))
        }
    }


SNIPPET = hooks_of(NAMED.path)

THEIRS = """{
    "model": "opus",
    "permissions": {"allow": ["Bash(git:*)", "Read(~/größe)"], "deny": []},
    "hooks": {
        "SessionStart": [
            {"matcher": "startup", "hooks": [{"type": "command", "command": "echo hällo"}]}
        ],
        "Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]
    },
    "temperature": 1.50
}
"""


def _names(directory: Path) -> list[str]:
    return sorted(one.name for one in directory.iterdir())


def _start(command: str) -> dict[str, Any]:
    return {"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": command}]}]}}


def _command(settings: dict[str, Any], event: str = "SessionStart") -> str:
    [group] = settings["hooks"][event]
    [hook] = group["hooks"]
    return str(hook["command"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the settings file belongs, in a directory that is there."""
    (tmp_path / ".claude").mkdir()
    return settings_path(tmp_path)


# What the settings become


def test_the_snippet_has_the_form_of_claude_code() -> None:
    """By its path: a program of the desktop has another PATH than a terminal."""
    assert snippet(NAMED) == SNIPPET
    assert _command(snippet(HIDDEN)) == "/home/ana/.venv/bin/mneme session-start"
    assert _command(snippet(HIDDEN), "SessionEnd") == "/home/ana/.venv/bin/mneme session-end"


def test_a_path_with_a_space_is_quoted() -> None:
    """The shell takes it for one word."""
    program = Program("/home/ana/my env's/bin/mneme")
    settings = snippet(program)
    assert _command(settings) == """'/home/ana/my env'"'"'s/bin/mneme' session-start"""
    assert with_hooks(settings, program) == settings


def test_hooks_of_others_stay_before_ours() -> None:
    """In any event; the settings that were given are not changed."""
    before = json.loads(THEIRS)
    after: Any = with_hooks(before, NAMED)
    assert before == json.loads(THEIRS)
    hooks = before["hooks"]["SessionStart"] + SNIPPET["hooks"]["SessionStart"]
    assert after["hooks"]["SessionStart"] == hooks
    assert after["hooks"]["Stop"] == before["hooks"]["Stop"]
    assert list(after) == list(before)


@pytest.mark.parametrize(
    ("program", "command"),
    [
        (NAMED, "/usr/local/bin/mneme session-start"),
        (NAMED, "'/usr/local/bin/mneme'  session-start || true"),
        (NAMED, "cd /tmp && /usr/local/bin/mneme session-start"),
        (NAMED, "(/usr/local/bin/mneme session-start; echo done)"),
        (NAMED, 'MNEME="a b" "/usr/local/bin/mneme" session-start'),
        (HIDDEN, "~/.venv/bin/mneme session-start"),
        (HIDDEN, '"$HOME/.venv/bin/mneme" session-start'),
    ],
)
def test_a_hook_that_calls_this_program_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, program: Program, command: str
) -> None:
    """By whatever word, and whatever else the line does."""
    monkeypatch.setenv("HOME", "/home/ana")
    assert _command(with_hooks(_start(command), program)) == command


@pytest.mark.parametrize(
    ("command", "mended"),
    [
        ("/old/bin/mneme session-start", "MNEME"),
        ("mneme pull", "MNEME"),
        (f"{HIDDEN.path} pull", "MNEME"),
        ("'/an old/mneme' pull || true", "MNEME || true"),
        ("timeout 20 mneme pull", "timeout 20 MNEME"),
        ("cd x; /old/mneme pull; /older/mneme session-start", "cd x; MNEME; MNEME"),
    ],
)
def test_a_hook_that_calls_mneme_elsewhere_is_mended_in_place(command: str, mended: str) -> None:
    """And so is that of an older version; all else in it is somebody's choice."""
    group = {"matcher": "startup", "hooks": [{"type": "command", "command": command, "timeout": 5}]}
    after: Any = with_hooks({"hooks": {"SessionStart": [group]}}, HIDDEN)
    [found] = after["hooks"]["SessionStart"]
    hook = {
        "type": "command",
        "command": mended.replace("MNEME", f"{HIDDEN.path} session-start"),
        "timeout": 5,
    }
    assert found == {"matcher": "startup", "hooks": [hook]}


@pytest.mark.parametrize(
    "command",
    [
        *("mneme push", "mneme session-end", "mneme pull-all", "mneme", "mnemes pull", "xmneme pull"),
        *("", "git pull", "mneme status pull", "it's"),
    ],
)
def test_a_hook_that_does_something_else_is_not_ours(command: str) -> None:
    """The hook stays, and ours is added."""
    after: Any = with_hooks(_start(command), NAMED)
    theirs = _start(command)["hooks"]["SessionStart"]
    assert after["hooks"]["SessionStart"] == theirs + SNIPPET["hooks"]["SessionStart"]


def test_a_hook_of_another_kind_is_not_ours() -> None:
    """Hooks with a prompt, or with a command that is no string, also beside ours."""
    strange: list[dict[str, Any]] = [
        {"type": "prompt", "prompt": "mneme pull"},
        {"type": "command", "command": ["mneme", "pull"]},
    ]
    [ours] = SNIPPET["hooks"]["SessionStart"][0]["hooks"]
    after: Any = with_hooks({"hooks": {"SessionStart": [{"hooks": strange}]}}, NAMED)
    assert after["hooks"]["SessionStart"] == [{"hooks": strange}, {"hooks": [ours]}]
    after = with_hooks({"hooks": {"SessionStart": [{"hooks": [*strange, ours]}]}}, HIDDEN)
    mended = {**ours, "command": f"{HIDDEN.path} session-start"}
    assert after["hooks"]["SessionStart"] == [{"hooks": [*strange, mended]}]


def test_the_hooks_that_call_mneme_are_found() -> None:
    """Each with its event and the word that the shell is told."""
    settings = with_hooks(_start("'/an old/mneme' pull"), HIDDEN)
    assert hooks_in(settings) == [
        Hook("SessionStart", "/home/ana/.venv/bin/mneme"),
        Hook("SessionEnd", "/home/ana/.venv/bin/mneme"),
    ]
    assert hooks_in(_start("'/an old/mneme' pull")) == [Hook("SessionStart", "'/an old/mneme'")]
    assert hooks_in(json.loads(THEIRS)) == []


NO_OBJECTS: list[object] = [[], "hooks", None]
NO_GROUPS: list[object] = [{}, None, ["mneme pull"], [{}], [{"hooks": {}}], [{"hooks": ["mneme push"]}]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        *((one, "it must be an object") for one in NO_OBJECTS),
        *(({"hooks": one}, '"hooks" in it must be an object') for one in NO_OBJECTS),
        *(({"hooks": {"SessionEnd": one}}, "SessionEnd must be a list of") for one in NO_GROUPS),
    ],
)
def test_settings_of_another_form_are_refused(settings: object, expected: str) -> None:
    """The sentence says what was expected."""
    with pytest.raises(SettingsError, match=expected):
        with_hooks(settings, NAMED)
    with pytest.raises(SettingsError, match=expected):
        hooks_in(settings)


# The file


def test_a_missing_file_and_its_directory_are_made(tmp_path: Path) -> None:
    """There is nothing to read, or to back up."""
    path = tmp_path / "far" / "away" / "settings.json"
    assert read(path) is None
    assert install(path, NAMED) == Installed(path, HookChange.ADDED)
    assert path.read_text() == json.dumps(SNIPPET, indent=2) + "\n"
    assert _names(path.parent) == ["settings.json"]


def test_everything_else_in_the_file_keeps_its_value(path: Path) -> None:
    """Unknown keys, their order, umlauts and cut characters stay; the layout becomes two spaces."""
    theirs = THEIRS.replace("größe", r"größe\ud83d")
    path.write_text(theirs)
    install(path, NAMED)
    expected = with_hooks(json.loads(theirs), NAMED)
    assert json.loads(path.read_bytes()) == expected
    assert list(json.loads(path.read_bytes())) == list(expected)
    assert r"größe\ud83d" in path.read_text()
    assert path.read_text().startswith('{\n  "model": "opus",\n')
    assert path.read_text().endswith("}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_the_file_stays(path: Path) -> None:
    """Root who installs hooks for a person does not take the file over."""
    path.write_text(THEIRS)
    os.chown(path, 1234, 1235)
    done = install(path, NAMED)
    assert done.backup
    for one in (path, done.backup):
        assert (one.stat().st_uid, one.stat().st_gid) == (1234, 1235)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_the_former_file_is_kept_beside_the_new(path: Path, mode: int) -> None:
    """Byte for byte, with its time; both with its mode."""
    path.write_text(THEIRS)
    path.chmod(mode)
    os.utime(path, ns=(1, 2_000_000_001))
    done = install(path, NAMED)
    backup = path.with_name("settings.json.bak")
    assert done == Installed(path, HookChange.ADDED, backup)
    assert backup.read_text() == THEIRS
    assert backup.stat().st_mtime_ns == 2_000_000_001
    assert stat.S_IMODE(backup.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == mode


def test_an_earlier_backup_is_never_overwritten(path: Path) -> None:
    """Each has a name of its own, whatever lies there already."""
    earlier = path.with_name("settings.json.bak")
    earlier.write_text("dear to somebody")
    path.with_name("settings.json.bak.2").symlink_to("nowhere")
    path.write_text(THEIRS)
    assert install(path, NAMED).backup == path.with_name("settings.json.bak.3")
    assert earlier.read_text() == "dear to somebody"


def test_a_symbolic_link_stays_one(tmp_path: Path, path: Path) -> None:
    """The link's target is made, or written and backed up beside itself."""
    target = tmp_path / "dotfiles" / "claude.json"
    path.symlink_to("../dotfiles/claude.json")
    assert install(path, NAMED) == Installed(target, HookChange.ADDED)
    assert json.loads(target.read_text()) == SNIPPET
    target.write_text(THEIRS)
    backup = target.with_name("claude.json.bak")
    assert install(path, NAMED) == Installed(target, HookChange.ADDED, backup)
    assert path.is_symlink()
    assert hooks_in(json.loads(target.read_text()))


def test_to_install_twice_changes_nothing(path: Path) -> None:
    """The file is not written again, and there is no new backup."""
    path.write_text(THEIRS)
    install(path, NAMED)
    before = {one: (one.stat().st_ino, one.read_bytes()) for one in path.parent.iterdir()}
    assert install(path, NAMED) == Installed(path, HookChange.NOTHING)
    assert {one: (one.stat().st_ino, one.read_bytes()) for one in path.parent.iterdir()} == before


def test_only_what_is_missing_or_wrong_is_changed(path: Path) -> None:
    """A missing hook is added; that of a moved program is mended in place."""
    start = _start(f"{NAMED.path} session-start")
    path.write_text(json.dumps(start))
    assert install(path, NAMED).change is HookChange.ADDED
    before = path.read_text()
    assert json.loads(before) == {"hooks": {**SNIPPET["hooks"], **start["hooks"]}}
    assert install(path, HIDDEN).change is HookChange.MENDED
    assert path.read_text() == before.replace(NAMED.path, HIDDEN.path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"// mine\n{}", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\xff"}'),
        *(b"[" * 100_000, b'{"hooks": []}', b'{"hooks": {"SessionStart": [{"hooks": null}]}}', b"[]"),
    ],
)
def test_a_file_that_is_no_settings_is_refused_and_stays(path: Path, content: bytes) -> None:
    """The sentence names the file; nothing is written beside it."""
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"{path}.* mend it"):
        install(path, NAMED)
    assert path.read_bytes() == content
    assert _names(path.parent) == ["settings.json"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_a_directory_a_pipe_or_a_loop_is_refused(path: Path, make: Callable[[Path], object]) -> None:
    """They are not replaced, nor waited for."""
    make(path)
    with pytest.raises(SettingsError, match="is no file"):
        install(path, NAMED)
    assert _names(path.parent) == ["settings.json"]


def test_a_program_at_a_path_that_is_no_text_is_refused(path: Path) -> None:
    """JSON cannot name it; the settings stay, without a backup."""
    path.write_text(THEIRS)
    with pytest.raises(SettingsError, match="no UTF-8"):
        install(path, Program("/home/\udcff/mneme"))
    assert path.read_text() == THEIRS
    assert _names(path.parent) == ["settings.json"]


def test_what_somebody_writes_meanwhile_is_not_overwritten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claude Code writes its settings when it likes: what it has just written stays."""
    path.write_text(THEIRS)
    real = durable.write_new

    def written_meanwhile(at: Path, content: bytes, mtime_ns: int | None = None) -> None:
        real(at, content, mtime_ns)
        path.write_text('{"model": "new"}')

    monkeypatch.setattr(durable, "write_new", written_meanwhile)
    with pytest.raises(SettingsError, match="try again"):
        install(path, NAMED)
    assert path.read_text() == '{"model": "new"}'
    assert _names(path.parent) == ["settings.json"]


@pytest.mark.parametrize("fault", [FULL, BROKEN, KILL], ids=lambda fault: fault.name)
def test_a_disk_that_fails_leaves_the_file_whole(path: Path, faults: Faults, fault: Fault) -> None:
    """Either the old file alone, or the new file with its backup."""
    path.write_text(THEIRS)
    with faults.failing() as run:
        install(path, NAMED)
    new = path.read_text()
    for place in fault.places(run):
        for one in path.parent.iterdir():
            one.unlink()
        path.write_text(THEIRS)
        done = None
        with faults.failing(place, fault) as run, suppress(SettingsError, Killed):
            done = install(path, NAMED)
        names, content = _names(path.parent), path.read_text()
        if fault is KILL:
            assert content in (THEIRS, new), run.struck
        elif done:
            assert (content, names) == (new, ["settings.json", "settings.json.bak"]), run.struck
        else:
            # The very step that removes the backup may be the one that fails.
            assert names == ["settings.json"] or str(run.struck).startswith("unlink"), run.struck
            assert content == THEIRS, run.struck


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path, faults: Faults) -> None:
    """With the reason: no space, or a file in its place, which stays."""
    with faults.failing(0, FULL), pytest.raises(SettingsError, match=os.strerror(errno.ENOSPC)):
        install(settings_path(tmp_path), NAMED)
    assert _names(tmp_path) == []
    (tmp_path / ".claude").write_text("mine")
    with pytest.raises(SettingsError, match="cannot be changed, and is as it was"):
        install(settings_path(tmp_path), NAMED)
    assert (tmp_path / ".claude").read_text() == "mine"
