"""Functions for files that survive a crash, with ordinary POSIX calls.

No function follows a symbolic link in the last part of a path: the link could lead out of the data directory. Only
regular files are opened: opening a FIFO would block.
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from mneme.errors import DiskFull
from mneme.model import Millis

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
TEMPORARY = ".tmp"

Mark: TypeAlias = tuple[int, int, int, int]
StrPath: TypeAlias = str | Path
"""A path. As text it takes half the time of a `Path`, and each upload uses about twenty."""

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_AT_END = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_NO_DIRECTORY_SYNC = {
    *(errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF),
    *(errno.EACCES, errno.EPERM, errno.EISDIR),
}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


@contextmanager
def naming_disk_full() -> Iterator[None]:
    """Raise `DiskFull` instead of an OSError that means it."""
    try:
        yield
    except OSError as error:
        if means_no_space(error):
            raise DiskFull from error
        raise


def means_no_space(error: OSError) -> bool:
    """Whether an error means that nothing can be written.

    The disk is full or read-only, or a quota or the limit on file sizes is reached.
    """
    return error.errno in _NO_SPACE


def write_new(path: StrPath, content: bytes, mtime_ns: int | None = None) -> None:
    """Create `path` with `content`, durable once its directory is synced, too.

    There must be no file at `path`. After a failure there is none.
    """
    descriptor = os.open(path, NEW_FILE, FILE_MODE)
    try:
        try:
            write_all(descriptor, content)
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(path)
        raise


def replace(path: StrPath, content: bytes) -> None:
    """Put `content` at `path`, durably.

    At any instant, the path has either the whole old content or the whole new content.
    """
    temporary = f"{path}.{secrets.token_hex(8)}{TEMPORARY}"
    write_new(temporary, content)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def append(path: StrPath, line: bytes) -> None:
    """Append `line` durably. If that fails, the file is as it was.

    Exception: the line stays if another process has appended to the file meanwhile.
    """
    descriptor = os.open(path, _AT_END, FILE_MODE)
    try:
        before, written = os.fstat(descriptor).st_size, 0
        try:
            while written < len(line):
                written += os.write(descriptor, line[written:])
            os.fsync(descriptor)
            if before == 0:
                sync_directory(os.path.dirname(path))
        except BaseException:
            with suppress(OSError):
                # Lines of others must not be cut off with ours.
                if os.fstat(descriptor).st_size == before + written:
                    os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def read(path: StrPath) -> tuple[bytes, os.stat_result] | None:
    """The content of a regular file, and its state just before; None if missing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return None
        return _read_all(descriptor, state.st_size), state
    finally:
        os.close(descriptor)


def look(path: StrPath) -> os.stat_result | None:
    """The state of a regular file; None if missing, or of another kind."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def exists(path: StrPath) -> bool:
    """Whether there is anything at `path`, even a broken link. Other errors are raised."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def clear(path: Path) -> None:
    """Remove the file or directory at `path`. A symbolic link is removed, never its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link(source: StrPath, target: StrPath) -> bool:
    """Give a file a second name, or copy it if hard links do not work.

    The copy is durable, and has the same mtime. Return True for a second name, False for a copy.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        write_new(target, Path(source).read_bytes(), os.stat(source).st_mtime_ns)
        return False
    return True


def sync_directory(path: StrPath) -> bool:
    """Make the changes in a directory durable: files created, renamed or removed.

    False where the file system syncs no directories, as some of a network do: a power cut may then undo the changes.
    """
    try:
        descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
        return False
    return True


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; `BlockingIOError` if another process has the lock.

    Where the file system has no locks, a file in the directory for temporary files is locked in its place, which counts
    on this machine alone: the descriptor becomes one of that file. False if that cannot be had either.
    """
    if has_locks(descriptor):
        return True
    stand_in = _stand_in(os.fstat(descriptor))
    if stand_in is None:
        return False
    os.dup2(stand_in, descriptor, inheritable=False)
    os.close(stand_in)
    return has_locks(descriptor)


def has_locks(descriptor: int) -> bool:
    """Lock an open file as `lock` does; False if its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _stand_in(state: os.stat_result) -> int | None:
    """A file of this user that stands for another one in a lock."""
    name = f"mneme-{os.geteuid()}-{state.st_dev:x}-{state.st_ino:x}.lock"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(Path(tempfile.gettempdir(), name), flags, FILE_MODE)
    except OSError:
        return None
    if os.fstat(descriptor).st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    return None


def make_directory(path: StrPath) -> None:
    """Make a directory and its missing parents, durably. Only this user can enter them."""
    whole = Path(path)
    for missing in reversed([p for p in (whole, *whole.parents) if not p.exists()]):
        missing.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        sync_directory(missing.parent)


def mark(state: os.stat_result) -> Mark:
    """The mark of a file, which changes when the file is written or replaced."""
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def millis(state: os.stat_result) -> Millis:
    """A file's mtime in milliseconds, as clients get it."""
    return Millis(state.st_mtime_ns // 1_000_000)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`; a disk may take less at a time."""
    written = os.write(descriptor, content)
    if written < len(content):
        rest = memoryview(content)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _read_all(descriptor: int, size: int) -> bytes:
    """The content of a file whose size was `size` a moment ago.

    One byte more is read, so that the end of the file is noticed without a second call.
    """
    parts = [os.read(descriptor, size + 1)]
    while parts[-1] and sum(map(len, parts)) != size:
        parts.append(os.read(descriptor, 1 << 16))
    return parts[0] if len(parts) == 1 else b"".join(parts)
