"""Hooks in the settings of Claude Code: everything else stays."""

from __future__ import annotations

import errno
import json
import os
import stat
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
    read,
    settings_path,
    snippet,
    with_hooks,
)
from tests.store.faults import BROKEN, FULL, KILL, Fault, Faults, Killed

NAMED = Program("/usr/local/bin/mneme", has_name=True)
HIDDEN = Program("/home/ana/.venv/bin/mneme", has_name=False)

SNIPPET = {
    "hooks": {
        "SessionStart": [{"hooks": [{"type": "command", "command": "mneme pull", "timeout": 60}]}],
        "SessionEnd": [{"hooks": [{"type": "command", "command": "mneme push", "timeout": 60}]}],
    }
}

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


def test_the_snippet_is_what_claude_code_wants() -> None:
    """Pull at the start, push at the end, each with a minute of time."""
    assert snippet(NAMED) == SNIPPET


def test_a_program_that_no_shell_finds_is_called_by_its_path() -> None:
    """The hooks work whatever PATH Claude Code has."""
    assert _command(snippet(HIDDEN)) == "/home/ana/.venv/bin/mneme pull"
    assert _command(snippet(HIDDEN), "SessionEnd") == "/home/ana/.venv/bin/mneme push"


def test_a_path_with_a_space_is_quoted() -> None:
    """The shell takes it for one word."""
    program = Program("/home/ana/my env's/bin/mneme", has_name=False)
    settings = snippet(program)
    assert _command(settings) == """'/home/ana/my env'"'"'s/bin/mneme' pull"""
    assert with_hooks(settings, program) == settings


def test_hooks_of_others_stay_before_ours() -> None:
    """Those in the same events, and those in others."""
    before = json.loads(THEIRS)
    after = with_hooks(before, NAMED)
    assert after["hooks"]["SessionStart"] == [  # type: ignore[index]  # JSON, just written
        *before["hooks"]["SessionStart"],
        *SNIPPET["hooks"]["SessionStart"],
    ]
    assert after["hooks"]["Stop"] == before["hooks"]["Stop"]  # type: ignore[index]  # JSON, just written
    assert list(after) == list(before)


def test_the_settings_that_were_given_are_not_changed() -> None:
    """The result is a new value, to be compared with the old."""
    before = json.loads(THEIRS)
    with_hooks(before, NAMED)
    assert before == json.loads(THEIRS)


@pytest.mark.parametrize(
    "command",
    [
        "mneme pull",
        "/usr/local/bin/mneme pull",
        "'/usr/local/bin/mneme' pull --strict",
        "mneme  pull || true",
        "cd /tmp && mneme pull",
        "(mneme pull; echo done)",
        "timeout 20 mneme pull",
        'MNEME="a b" "mneme" pull',
    ],
)
def test_a_hook_that_calls_this_program_is_left_as_it_is(command: str) -> None:
    """However it is called, and whatever else the line does."""
    assert _command(with_hooks(_start(command), NAMED)) == command


@pytest.mark.parametrize(
    ("command", "mended"),
    [
        ("/old/bin/mneme pull", "/home/ana/.venv/bin/mneme pull"),
        ("mneme pull --strict", "/home/ana/.venv/bin/mneme pull --strict"),
        ("'/an old/mneme' pull || true", "/home/ana/.venv/bin/mneme pull || true"),
        ("cd x; /old/mneme pull; /older/mneme pull", None),
    ],
)
def test_a_hook_that_calls_mneme_elsewhere_is_mended_in_place(command: str, mended: str | None) -> None:
    """Only the path changes: options, other commands, matcher and timeout are somebody's choice."""
    group = {"matcher": "startup", "hooks": [{"type": "command", "command": command, "timeout": 5}]}
    after: Any = with_hooks({"hooks": {"SessionStart": [group]}}, HIDDEN)
    [found] = after["hooks"]["SessionStart"]
    mended = mended or "cd x; /home/ana/.venv/bin/mneme pull; /home/ana/.venv/bin/mneme pull"
    assert found == {"matcher": "startup", "hooks": [{"type": "command", "command": mended, "timeout": 5}]}


def test_a_path_in_terms_of_the_home_directory_is_not_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a path works on other machines that share these settings."""
    monkeypatch.setenv("HOME", "/home/ana")
    for command in ("~/.venv/bin/mneme pull", '"$HOME/.venv/bin/mneme" pull'):
        assert _command(with_hooks(_start(command), HIDDEN)) == command


@pytest.mark.parametrize(
    "command",
    [
        "mneme push",
        "mneme pull-all",
        "mneme",
        "mnemes pull",
        "xmneme pull",
        "git pull",
        "",
        "mneme status pull",
        "it's",
    ],
)
def test_a_hook_that_does_something_else_is_not_ours(command: str) -> None:
    """The hook stays, and ours is added."""
    after: Any = with_hooks(_start(command), NAMED)
    theirs, ours = after["hooks"]["SessionStart"]
    assert theirs == _start(command)["hooks"]["SessionStart"][0]
    assert [ours] == SNIPPET["hooks"]["SessionStart"]


def test_a_hook_of_another_kind_is_not_ours() -> None:
    """Hooks with a prompt, or with a command that is no string."""
    strange: list[dict[str, Any]] = [
        {"type": "prompt", "prompt": "mneme pull"},
        {"type": "command", "command": ["mneme", "pull"]},
    ]
    after: Any = with_hooks({"hooks": {"SessionStart": [{"hooks": strange}]}}, NAMED)
    assert after["hooks"]["SessionStart"][0] == {"hooks": strange}
    assert len(after["hooks"]["SessionStart"]) == 2
    [ours] = after["hooks"]["SessionStart"][1]["hooks"]
    beside: Any = with_hooks({"hooks": {"SessionStart": [{"hooks": [*strange, ours]}]}}, HIDDEN)
    mended = {**ours, "command": f"{HIDDEN.path} pull"}
    assert beside["hooks"]["SessionStart"] == [{"hooks": [*strange, mended]}]


def test_the_hooks_that_call_mneme_are_found() -> None:
    """Each with its event and the word that the shell is told."""
    settings = with_hooks(_start("'/an old/mneme' pull"), HIDDEN)
    assert hooks_in(settings) == [
        Hook("SessionStart", "/home/ana/.venv/bin/mneme"),
        Hook("SessionEnd", "/home/ana/.venv/bin/mneme"),
    ]
    assert hooks_in(_start("'/an old/mneme' pull")) == [Hook("SessionStart", "'/an old/mneme'")]
    assert hooks_in(json.loads(THEIRS)) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], "it must be an object"),
        ("hooks", "it must be an object"),
        (None, "it must be an object"),
        ({"hooks": []}, '"hooks" in it must be an object'),
        ({"hooks": None}, '"hooks" in it must be an object'),
        ({"hooks": {"SessionStart": {}}}, "SessionStart must be a list of"),
        ({"hooks": {"SessionEnd": None}}, "SessionEnd must be a list of"),
        ({"hooks": {"SessionStart": ["mneme pull"]}}, "SessionStart must be a list of"),
        ({"hooks": {"SessionEnd": [{}]}}, "SessionEnd must be a list of"),
        ({"hooks": {"SessionEnd": [{"hooks": {}}]}}, "SessionEnd must be a list of"),
        ({"hooks": {"SessionEnd": [{"hooks": ["mneme push"]}]}}, "SessionEnd must be a list of"),
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
    """There is nothing to back up then."""
    path = tmp_path / "far" / "away" / "settings.json"
    assert install(path, NAMED) == Installed(path, HookChange.ADDED)
    assert path.read_text() == json.dumps(SNIPPET, indent=2) + "\n"
    assert _names(path.parent) == ["settings.json"]


def test_everything_else_in_the_file_keeps_its_value(path: Path) -> None:
    """Unknown keys, their order, umlauts and cut characters stay; the layout becomes two spaces."""
    path.write_text(THEIRS.replace("größe", r"größe\ud83d"))
    install(path, NAMED)
    expected = with_hooks(json.loads(THEIRS.replace("größe", r"größe\ud83d")), NAMED)
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


def test_what_was_there_is_kept_beside_it(path: Path) -> None:
    """Byte for byte, with its mode and its time."""
    path.write_text(THEIRS)
    path.chmod(0o640)
    os.utime(path, ns=(1, 2_000_000_001))
    done = install(path, NAMED)
    assert done == Installed(path, HookChange.ADDED, path.with_name("settings.json.bak"))
    assert done.backup
    assert done.backup.read_text() == THEIRS
    assert stat.S_IMODE(done.backup.stat().st_mode) == 0o640
    assert done.backup.stat().st_mtime_ns == 2_000_000_001


def test_an_earlier_backup_is_never_overwritten(path: Path) -> None:
    """Each has a name of its own, whatever lies there already."""
    earlier = path.with_name("settings.json.bak")
    earlier.write_text("dear to somebody")
    path.with_name("settings.json.bak.2").symlink_to("nowhere")
    path.write_text(THEIRS)
    assert install(path, NAMED).backup == path.with_name("settings.json.bak.3")
    assert earlier.read_text() == "dear to somebody"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_the_mode_of_the_file_stays(path: Path, mode: int) -> None:
    """Whoever could read it still can, and nobody else."""
    path.write_text(THEIRS)
    path.chmod(mode)
    install(path, NAMED)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_symbolic_link_stays_one(tmp_path: Path, path: Path) -> None:
    """The link's target is written, and backed up beside itself."""
    target = tmp_path / "dotfiles" / "claude.json"
    target.parent.mkdir()
    target.write_text(THEIRS)
    path.symlink_to("../dotfiles/claude.json")
    done = install(path, NAMED)
    assert path.is_symlink()
    assert done == Installed(target, HookChange.ADDED, target.with_name("claude.json.bak"))
    assert hooks_in(json.loads(target.read_text()))


def test_a_symbolic_link_to_nothing_yet_stays_one(tmp_path: Path, path: Path) -> None:
    """The file is made where it leads."""
    path.symlink_to(tmp_path / "new" / "claude.json")
    install(path, NAMED)
    assert path.is_symlink()
    assert json.loads(path.read_text()) == SNIPPET


def test_to_install_twice_changes_nothing(path: Path) -> None:
    """The file is not written again, and there is no new backup."""
    path.write_text(THEIRS)
    install(path, NAMED)
    before = {one: (one.stat().st_ino, one.read_bytes()) for one in path.parent.iterdir()}
    assert install(path, NAMED) == Installed(path, HookChange.NOTHING)
    assert {one: (one.stat().st_ino, one.read_bytes()) for one in path.parent.iterdir()} == before


def test_a_hook_whose_program_has_moved_is_mended_where_it_stands(path: Path) -> None:
    """Nothing but the path is another afterwards."""
    install(path, HIDDEN)
    before = path.read_text()
    assert install(path, NAMED).change is HookChange.MENDED
    assert path.read_text() == before.replace("/home/ana/.venv/bin/mneme", "mneme")


def test_one_hook_is_added_to_the_other(path: Path) -> None:
    """Who has a hook for the start gets one for the end."""
    path.write_text(json.dumps(_start("mneme pull")))
    assert install(path, NAMED).change is HookChange.ADDED
    assert len(hooks_in(json.loads(path.read_text()))) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"// mine\n{}",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"hooks": []}',
        b'{"hooks": {"SessionStart": [{"hooks": null}]}}',
        b"[]",
    ],
)
def test_a_file_that_is_no_settings_is_refused_and_stays(path: Path, content: bytes) -> None:
    """The sentence names the file; nothing is written beside it."""
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=str(path)) as refused:
        install(path, NAMED)
    assert "mend it" in str(refused.value)
    assert path.read_bytes() == content
    assert _names(path.parent) == ["settings.json"]


@pytest.mark.parametrize("what", ["directory", "pipe", "loop"])
def test_what_is_no_file_is_refused(path: Path, what: str) -> None:
    """A directory, a pipe or a link to itself is not replaced, nor waited for."""
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name)
    with pytest.raises(SettingsError, match="is no file"):
        install(path, NAMED)
    assert _names(path.parent) == ["settings.json"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """The sentence says why, and the file stays."""
    (tmp_path / ".claude").write_text("mine")
    with pytest.raises(SettingsError, match="cannot be changed, and is as it was"):
        install(settings_path(tmp_path), NAMED)
    assert (tmp_path / ".claude").read_text() == "mine"


def test_a_program_at_a_path_that_is_no_text_is_refused(path: Path) -> None:
    """JSON cannot name it; the settings stay, without a backup."""
    path.write_text(THEIRS)
    with pytest.raises(SettingsError, match="no UTF-8"):
        install(path, Program("/home/\udcff/mneme", has_name=False))
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


@pytest.mark.parametrize("fault", [FULL, BROKEN], ids=lambda fault: fault.name)
def test_a_disk_that_fails_leaves_the_file_whole(path: Path, faults: Faults, fault: Fault) -> None:
    """Either the old file and nothing beside it, or the new file with its backup."""
    path.write_text(THEIRS)
    with faults.failing() as run:
        install(path, NAMED)
    for place in fault.places(run):
        for one in path.parent.iterdir():
            one.unlink()
        path.write_text(THEIRS)
        done = None
        with faults.failing(place, fault) as run, suppress(SettingsError):
            done = install(path, NAMED)
        if done:
            assert len(hooks_in(json.loads(path.read_text()))) == 2
            assert _names(path.parent) == ["settings.json", "settings.json.bak"]
            continue
        assert path.read_text() == THEIRS, run.struck
        # The very step that removes what lies beside it may be the one that fails.
        assert _names(path.parent) == ["settings.json"] or str(run.struck).startswith("unlink"), run.struck


def test_a_process_that_is_killed_leaves_the_old_file_or_the_new(path: Path, faults: Faults) -> None:
    """At no step is there a part of it, or nothing."""
    path.write_text(THEIRS)
    with faults.failing() as run:
        install(path, NAMED)
    new = path.read_text()
    for place in KILL.places(run):
        path.write_text(THEIRS)
        with faults.failing(place, KILL), pytest.raises(Killed):
            install(path, NAMED)
        assert path.read_text() in (THEIRS, new)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path, faults: Faults) -> None:
    """Where there is no space for a new file, the sentence says so."""
    with faults.failing(0, FULL), pytest.raises(SettingsError, match=os.strerror(errno.ENOSPC)):
        install(settings_path(tmp_path), NAMED)
    assert _names(tmp_path) == []


def test_a_file_that_is_not_there_is_nothing_to_read(tmp_path: Path) -> None:
    """A missing file is no error: no settings, no hooks."""
    assert read(tmp_path / "settings.json") is None
