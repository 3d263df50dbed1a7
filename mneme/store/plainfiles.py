"""Functions for the plain files of the working copy, which people edit meanwhile: no syncs."""

import os
import secrets
import stat
from contextlib import suppress

from mneme import durable


def is_read_only(path: durable.StrPath) -> bool:
    """Whether the file system of `path` is mounted read-only; False for a missing path."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return False


def exchange(
    path: durable.StrPath, content: bytes, mtime_ns: int, expected: durable.Mark | None
) -> os.stat_result | None:
    """Put `content` at `path`, without a sync, and return the state of the new file.

    At any instant, the path has the whole old or the whole new content. If the file at `path` does not have the mark
    `expected`, somebody has just written, made or removed it. Then nothing is changed, and the outcome is None. On file
    systems without hard links such an edit may be missed.
    """
    temporary, aside = (f"{path}.{secrets.token_hex(8)}{durable.TEMPORARY}" for _ in range(2))
    descriptor = os.open(temporary, durable.NEW_FILE, durable.FILE_MODE)
    try:
        durable.write_all(descriptor, content)
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        written = os.fstat(descriptor)
        if not _link(path, aside) and expected:
            os.unlink(temporary)
            return None
        os.rename(temporary, path)
        before = durable.look(aside)
        # The hard link has changed the ctime, the last part of the mark.
        if before and (expected is None or durable.mark(before)[:3] != expected[:3]):
            os.rename(aside, path)
            return None
        with suppress(FileNotFoundError):
            os.unlink(aside)
        renamed = os.fstat(descriptor)
        # If the file was edited since the rename, the mark that is returned must not be that of the edit.
        return renamed if durable.mark(renamed)[:3] == durable.mark(written)[:3] else written
    except BaseException:
        for name in (temporary, aside):
            with suppress(OSError):
                os.unlink(name)
        raise
    finally:
        os.close(descriptor)


def remove(path: durable.StrPath, expected: durable.Mark | None) -> bool:
    """Remove a file with the mark `expected`, without a sync.

    False, and nothing is changed, if it has another mark.
    """
    aside = f"{path}.{secrets.token_hex(8)}{durable.TEMPORARY}"
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return True
    found = durable.look(aside)
    # The rename has changed the ctime, the last part of the mark.
    if found is None or expected is None or durable.mark(found)[:3] != expected[:3]:
        os.rename(aside, path)
        return False
    os.unlink(aside)
    return True


def _link(path: durable.StrPath, aside: str) -> bool:
    """Give a file a second name, if hard links work; False for a missing file."""
    try:
        os.link(path, aside, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in durable.NO_HARD_LINKS:
            raise
    return True


def close_to_others(path: durable.StrPath, state: os.stat_result) -> None:
    """Remove the rights of other users on a file, if that is permitted."""
    if stat.S_IMODE(state.st_mode) & 0o077:
        with suppress(PermissionError):
            os.chmod(path, durable.FILE_MODE)
