"""Settings files in JSON, which people and other programs write, too."""

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from mneme import durable
from mneme.client.errors import SettingsError
from mneme.merge import jsonvalues


class Rewritten(Struct, frozen=True):
    """A settings file, its value before and after, and a copy of the old one."""

    path: Path
    before: object
    after: object
    backup: Path | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the file was written."""
        return self.before != self.after


def read(path: Path) -> tuple[bytes, object] | None:
    """The content and value of a settings file; None if there is none.

    Raises `SettingsError` if it is no JSON.
    """
    found = durable.read(Path(os.path.realpath(path)))
    if found is None:
        if durable.exists(path):
            raise SettingsError(f"{path} must be a file with JSON in it, and is no file: see what lies there")
        return None
    try:
        return found[0], jsonvalues.read(found[0])
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f'{path} must hold JSON such as {{"hooks": {{}}}}, and does not ({error}): mend it first'
        ) from None


def rewrite(path: Path, change: Callable[[object], object], mode: int | None = None) -> Rewritten:
    """Change the value of a settings file, whole or not at all.

    Raises `SettingsError`, and has changed nothing then. A symbolic link stays one: what it leads to is written. A file
    that is written gets the `mode`, else it keeps its own.
    """
    path = Path(os.path.realpath(path))
    try:
        before, value = read(path) or (None, {})
        wanted = change(value)
        if wanted == value:
            if before is not None and mode is not None:
                path.chmod(mode)
            return Rewritten(path, value, wanted)
        # A lone surrogate stays the escape that it was.
        content = jsonvalues.written(wanted, indent=2) + b"\n"
        return Rewritten(path, value, wanted, _replaced(path, before, content, mode))
    except SettingsError as problem:
        raise SettingsError(f"{path} cannot be changed, and is as it was: {problem}") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be changed, and is as it was: {error.strerror}") from None


def an_object(value: object, what: str = "it") -> dict[str, object]:
    """A value that must be an object; raises `SettingsError`."""
    if isinstance(value, dict):
        return value
    raise SettingsError(f"{what} must be an object, {{…}}: mend it first")


def _replaced(path: Path, before: bytes | None, content: bytes, mode: int | None) -> Path | None:
    """Write a content in place of the one `before`, of which the backup is returned."""
    durable.make_directory(path.parent)
    backup = None if before is None else _backed_up(path, before, mode)
    try:
        _write(path, content, before, mode)
    except BaseException:
        if backup:
            backup.unlink()
        raise
    return backup


def _backed_up(path: Path, content: bytes, mode: int | None) -> Path:
    """A copy of a file beside it, under a new name."""
    state = path.stat()
    backup, number = path.with_name(f"{path.name}.bak"), 1
    while True:
        with suppress(FileExistsError):
            _write_new(backup, content, state, mode, state.st_mtime_ns)
            return backup
        number += 1
        backup = path.with_name(f"{path.name}.bak.{number}")


def _write(path: Path, content: bytes, seen: bytes | None, mode: int | None) -> None:
    """Replace the content that was `seen`, whole or not at all."""
    state = _still(path, seen)
    staged = path.with_name(f"{path.name}.{secrets.token_hex(8)}{durable.TEMPORARY}")
    _write_new(staged, content, state, mode)
    try:
        _still(path, seen)
        staged.rename(path)
    except BaseException:
        staged.unlink()
        raise
    # The file is replaced. Without a sync of the directory a power cut may undo that, no more.
    with suppress(OSError):
        durable.sync_directory(path.parent)


def _write_new(
    path: Path, content: bytes, like: os.stat_result | None, mode: int | None, mtime_ns: int | None = None
) -> None:
    """Create a file with the owner of another, and with its mode or another."""
    durable.write_new(path, content, mtime_ns)
    try:
        if like:
            with suppress(PermissionError):
                os.chown(path, like.st_uid, like.st_gid)
            path.chmod(stat.S_IMODE(like.st_mode) if mode is None else mode)
    except BaseException:
        path.unlink()
        raise


def _still(path: Path, seen: bytes | None) -> os.stat_result | None:
    """The stat of a file that still holds the content `seen`; None if missing."""
    content, state = durable.read(path) or (None, None)
    if content != seen:
        raise SettingsError(f"{path} was written by somebody else just now: try again")
    return state
