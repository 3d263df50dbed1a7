"""Hooks in the settings of Claude Code, for the begin and the end of sessions."""

import enum
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path, PurePath

from msgspec import Struct
from msgspec.structs import replace

from mneme.client.errors import SettingsError
from mneme.client.jsonfile import an_object, rewrite

_NAME = "mneme"
_TIMEOUT = 60
_DOES = {"SessionStart": "session-start", "SessionEnd": "session-end"}
_DID = {"SessionStart": ("pull", "session-start"), "SessionEnd": ("push", "session-end")}
"""The commands of hooks, those of older versions included."""

_GROUP = '{"hooks": [{"type": "command", "command": "…"}]}'

_CALL = re.compile(
    r"""(?:^|(?<=[\s;&|(]))"""
    r"""(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\;&|<>()])+)"""
    r"""\s+(?P<does>pull|push|session-start|session-end)(?![\w-])"""
)
"""A program in a line for the shell, and what it is told to do."""

_OWN_SERVER = re.compile(r"[^;&|()<>\n]*?\s--(?:server|key)(?![\w-])")
"""Options behind a call, by which it has another server than the settings."""

_ASSIGNMENT = re.compile(r"\w+=")

_HARMLESS = {"cd", "true", ":", "exit"}
"""Commands beside a call of mneme that do nothing by themselves."""


class Program(Struct, frozen=True):
    """This program by its path: the desktop has another PATH than a terminal."""

    path: str

    @property
    def word(self) -> str:
        """The word by which a shell calls this program."""
        return shlex.quote(self.path)

    def is_called_by(self, word: str) -> bool:
        """Whether a shell that is told this word calls this program."""
        return unquoted(word) == self.path


class Hook(Struct, frozen=True):
    """A hook that calls mneme: its event, and the word for the shell."""

    event: str
    word: str


class HookChange(enum.Enum):
    """Changes of a settings file."""

    NOTHING = "nothing"
    ADDED = "added"
    MENDED = "mended"
    """The hooks were there already, and called mneme elsewhere, or an older command of it."""
    REMOVED = "removed"


class Installed(Struct, frozen=True):
    """The change of the file at `path`; `backup` is a copy of the old file.

    `left` are the events of hooks that were left, for they say more than a plain hook of mneme.
    """

    path: Path
    change: HookChange
    backup: Path | None = None
    left: Sequence[str] = ()


def settings_path(home: Path) -> Path:
    """The path of the settings that Claude Code keeps for a person."""
    return home / ".claude" / "settings.json"


def snippet(program: Program) -> dict[str, object]:
    """Settings that have the hooks, and nothing else."""
    return with_hooks({}, program)


def with_hooks(settings: object, program: Program) -> dict[str, object]:
    """Settings with the hooks added; raises `SettingsError` for other JSON."""
    hooks = _events(settings)
    ours = {event: _with_hook(event, hooks, program) for event in _DOES}
    try:
        program.path.encode()
    except UnicodeEncodeError:
        raise SettingsError("mneme lies where a path is no UTF-8, and JSON cannot name that") from None
    return {**an_object(settings), "hooks": {**hooks, **ours}}


def without_hooks(settings: object) -> dict[str, object]:
    """Settings without the hooks of mneme; raises `SettingsError` for other JSON."""
    hooks = _events(settings)
    left = {
        event: _without_hook(event, hooks) if event in _DOES else groups for event, groups in hooks.items()
    }
    if left == hooks:
        return an_object(settings)
    whole = {**an_object(settings), "hooks": {event: groups for event, groups in left.items() if groups}}
    return whole if whole["hooks"] else {name: value for name, value in whole.items() if name != "hooks"}


def hooks_in(settings: object) -> Sequence[Hook]:
    """The hooks in settings that call mneme; raises `SettingsError` where they are no settings."""
    return [Hook(event, call["word"]) for event, call in _calls_of(settings)]


def with_own_server(settings: object) -> Sequence[str]:
    """The events of hooks with a server or key, which only `pull` and `push` take."""
    return [event for event, call in _calls_of(settings) if _has_own_server(call)]


def unquoted(word: str) -> str:
    """A word of a command line after the shell's unquoting and expansion."""
    with suppress(ValueError):
        word = "".join(shlex.split(word))
    return os.path.expandvars(os.path.expanduser(word))  # noqa: PTH111 - it need not be a path


def install(path: Path, program: Program) -> Installed:
    """Put the hooks into a settings file, which is made if there is none.

    Raises `SettingsError`, and has changed nothing then. A symbolic link stays one: what it leads to is written.
    """
    return _installed(path, lambda settings: with_hooks(settings, program), with_own_server)


def uninstall(path: Path) -> Installed:
    """Remove the hooks from a settings file; raises `SettingsError`, and has changed nothing then.

    A hook that does something else, too, is left.
    """
    done = _installed(path, without_hooks, lambda settings: [hook.event for hook in hooks_in(settings)])
    return done if done.change is HookChange.NOTHING else replace(done, change=HookChange.REMOVED)


def _installed(
    path: Path, change: Callable[[object], dict[str, object]], left: Callable[[object], Sequence[str]]
) -> Installed:
    done = rewrite(path, change)
    left_here = tuple(left(done.after))
    if not done.is_changed:
        return Installed(done.path, HookChange.NOTHING, left=left_here)
    events = {hook.event for hook in hooks_in(done.before)}
    what = HookChange.MENDED if events == _DOES.keys() else HookChange.ADDED
    return Installed(done.path, what, done.backup, left_here)


# The form of the settings


def _events(settings: object) -> dict[str, object]:
    return an_object(an_object(settings).get("hooks", {}), '"hooks" in it')


def _groups(event: str, hooks: Mapping[str, object]) -> Sequence[dict[str, object]]:
    return _objects(hooks.get(event, []), f"{event} must be a list of {_GROUP}")


def _hooks(event: str, group: Mapping[str, object]) -> Sequence[dict[str, object]]:
    return _objects(group.get("hooks"), f"{event} must be a list of {_GROUP}")


def _objects(value: object, expected: str) -> Sequence[dict[str, object]]:
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    raise SettingsError(f"{expected}: mend it first")


# One event


def _with_hook(event: str, hooks: Mapping[str, object], program: Program) -> list[dict[str, object]]:
    groups = _groups(event, hooks)
    if not any(_calls(event, hook) for group in groups for hook in _hooks(event, group)):
        command = f"{program.word} {_DOES[event]}"
        return [*groups, {"hooks": [{"type": "command", "command": command, "timeout": _TIMEOUT}]}]
    return [
        {**group, "hooks": [_mended(event, hook, program) for hook in _hooks(event, group)]}
        for group in groups
    ]


def _without_hook(event: str, hooks: Mapping[str, object]) -> list[dict[str, object]]:
    before = _groups(event, hooks)
    groups = [
        {**group, "hooks": [hook for hook in _hooks(event, group) if not _is_plain(event, hook)]}
        for group in before
    ]
    # A group that was empty before is somebody else's.
    return [group for group, old in zip(groups, before, strict=True) if group["hooks"] or group == old]


def _mended(event: str, hook: dict[str, object], program: Program) -> dict[str, object]:
    """A hook in which every call of mneme calls this program."""
    command = hook.get("command")
    if not isinstance(command, str):
        return hook
    for call in reversed(_calls(event, hook)):
        does = call["does"] if _has_own_server(call) else _DOES[event]
        if not program.is_called_by(call["word"]) or call["does"] != does:
            command = f"{command[: call.start('word')]}{program.word} {does}{command[call.end('does') :]}"
    return {**hook, "command": command}


def _calls_of(settings: object) -> Iterator[tuple[str, re.Match[str]]]:
    """The calls of mneme in settings, each with its event."""
    hooks = _events(settings)
    for event in _DOES:
        for group in _groups(event, hooks):
            for hook in _hooks(event, group):
                yield from ((event, call) for call in _calls(event, hook))


def _has_own_server(call: re.Match[str]) -> bool:
    """Whether a call has options that a hook's command does not take."""
    return _OWN_SERVER.match(call.string, call.end()) is not None


def _is_plain(event: str, hook: Mapping[str, object]) -> bool:
    """Whether a hook calls mneme, and does nothing else."""
    command = hook.get("command")
    if not isinstance(command, str) or not _calls(event, hook):
        return False
    try:
        return all(_is_call(words, _DID[event]) or words[0] in _HARMLESS for words in _simple(command))
    except ValueError:
        return False


def _is_call(words: Sequence[str], did: Sequence[str]) -> bool:
    """Whether a simple command calls mneme, perhaps by way of another: `timeout 20 mneme pull`."""
    return any(PurePath(word).name == _NAME and does in did for word, does in pairwise(words))


def _simple(command: str) -> Sequence[Sequence[str]]:
    """The simple commands of a shell's line; raises `ValueError` where quotes do not match."""
    lexer = shlex.shlex(command.replace("\n", ";"), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[list[str]] = [[]]
    is_target = False
    for word in lexer:
        is_operator = not word.strip("();<>|&")
        if is_operator and not set(word) & set("<>"):
            found.append([])
        elif not (is_operator or is_target or (not found[-1] and _ASSIGNMENT.match(word))):
            found[-1].append(word)
        # The word after a redirection is a file.
        is_target = is_operator and bool(set(word) & set("<>"))
    return [words for words in found if words]


def _calls(event: str, hook: Mapping[str, object]) -> Sequence[re.Match[str]]:
    """The calls of mneme in a hook, for the purpose of its event."""
    command = hook.get("command")
    return list(_calls_in(command, _DID[event])) if isinstance(command, str) else []


def _calls_in(command: str, did: Sequence[str]) -> Iterator[re.Match[str]]:
    for call in _CALL.finditer(command):
        if call["does"] in did and PurePath(unquoted(call["word"])).name == _NAME:
            yield call
