"""The few file-system steps that whatever survives a crash is made of, on ordinary POSIX calls.

No step follows a symbolic link in the last part of a path, and none opens anything but a regular file: a FIFO would
hang, a link could lead out of the data directory.
"""

import errno
import os
import pwd
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import msgspec

from mneme.errors import DiskFull
from mneme.model import Millis

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
TEMPORARY = ".tmp"

Mark: TypeAlias = tuple[int, int, int, int]
StrPath: TypeAlias = str | Path
"""A path as text takes half the time of a `Path`, which counts where a step is one of twenty at each upload."""

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for content that is not the JSON it was told to expect."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_AT_END = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


@contextmanager
def naming_disk_full() -> Iterator[None]:
    """Raise `DiskFull` instead of the OSErrors that mean so."""
    try:
        yield
    except OSError as error:
        if means_no_space(error):
            raise DiskFull from error
        raise


def means_no_space(error: OSError) -> bool:
    """Whether nothing more can be written: full disk, quota or file-size limit reached, mounted read-only."""
    return error.errno in _NO_SPACE


def is_read_only(path: StrPath) -> bool:
    """Whether the file system that holds `path` is mounted read-only; False if nothing is there."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return False


def write_new(path: StrPath, content: bytes, mtime_ns: int | None = None) -> None:
    """Create `path` with `content`, durable once its directory is synced too.

    The path must be free, and is free again if this fails.
    """
    descriptor = os.open(path, _NEW, FILE_MODE)
    try:
        try:
            _write_all(descriptor, content)
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(path)
        raise


def replace(path: StrPath, content: bytes) -> None:
    """Put `content` at `path`, durably: at any instant the path holds the old content or the new, whole."""
    temporary = f"{path}.{secrets.token_hex(8)}{TEMPORARY}"
    write_new(temporary, content)
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path))


def exchange(path: StrPath, content: bytes, mtime_ns: int, expected: Mark | None) -> os.stat_result | None:
    """Put `content` at `path`, whole at any instant, though not durably; its state there.

    None, and nothing is changed, if the regular file at `path` is not the `expected` one: somebody has just written,
    made or removed it. On file systems without hard links such an edit can go unseen.
    """
    temporary, aside = (f"{path}.{secrets.token_hex(8)}{TEMPORARY}" for _ in range(2))
    descriptor = os.open(temporary, _NEW, FILE_MODE)
    try:
        _write_all(descriptor, content)
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        written = os.fstat(descriptor)
        if not _keeps_at(path, aside) and expected:
            os.unlink(temporary)
            return None
        os.rename(temporary, path)
        before = look(aside)
        # The second name has changed its ctime.
        if before and (expected is None or mark(before)[:3] != expected[:3]):
            os.rename(aside, path)
            return None
        with suppress(FileNotFoundError):
            os.unlink(aside)
        renamed = os.fstat(descriptor)
        # Who has edited it meanwhile must find it with another mark than this.
        return renamed if mark(renamed)[:3] == mark(written)[:3] else written
    except BaseException:
        for name in (temporary, aside):
            with suppress(OSError):
                os.unlink(name)
        raise
    finally:
        os.close(descriptor)


def _keeps_at(path: StrPath, aside: str) -> bool:
    """Give a file a second name, where there are hard links; False if there is no such file."""
    try:
        os.link(path, aside, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    return True


def sync(path: StrPath) -> None:
    """Make what a file holds durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(path: StrPath, line: bytes) -> None:
    """Append `line` durably. If that fails, the file is left as it was."""
    descriptor = os.open(path, _AT_END, FILE_MODE)
    try:
        before = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, line)
            os.fsync(descriptor)
            if before == 0:
                sync_directory(os.path.dirname(path))
        except BaseException:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def read(path: StrPath) -> tuple[bytes, os.stat_result] | None:
    """The content of a regular file, and its state from just before it was read; None if there is no such file."""
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
    """The state of a regular file; None if there is no such file."""
    try:
        state = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def exists(path: StrPath) -> bool:
    """Whether anything lies at `path`, be it a link that leads nowhere; a fault is no answer."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def clear(path: Path) -> None:
    """Remove whatever lies at `path`; a symbolic link goes, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link(source: StrPath, target: StrPath) -> bool:
    """Give a file a second name; where the file system has no hard links, a durable copy of the same mtime.

    Whether it is a name, and no copy, is returned.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        write_new(target, Path(source).read_bytes(), os.stat(source).st_mtime_ns)
        return False
    return True


def sync_directory(path: StrPath) -> None:
    """Make what was created, renamed or removed in a directory durable."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def home() -> Path | None:
    """The home directory of the user; None where there is none.

    HOME says where if it is a whole path, else the list of users does.
    """
    named = os.environ.get("HOME", "")
    if not named.startswith("/"):
        try:
            named = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(named) if named else None


def make_directory(path: StrPath) -> None:
    """Make a directory and its parents, if need be, that only this user can enter; durable when this returns."""
    whole = Path(path)
    for missing in reversed([p for p in (whole, *whole.parents) if not p.exists()]):
        missing.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        sync_directory(missing.parent)


def close_to_others(path: StrPath, state: os.stat_result) -> None:
    """Take a file away from other users, if it is ours to do so."""
    if stat.S_IMODE(state.st_mode) & 0o077:
        with suppress(PermissionError):
            os.chmod(path, FILE_MODE)


def mark(state: os.stat_result) -> Mark:
    """What changes when anybody writes the file or puts another in its place."""
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def millis(state: os.stat_result) -> Millis:
    """A file's mtime as clients are told it."""
    return Millis(state.st_mtime_ns // 1_000_000)


def _write_all(descriptor: int, content: bytes) -> None:
    written = os.write(descriptor, content)
    if written < len(content):
        rest = memoryview(content)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _read_all(descriptor: int, size: int) -> bytes:
    """What is in a file whose size was `size` when last looked at; one byte more is asked for, to see the end."""
    parts = [os.read(descriptor, size + 1)]
    while parts[-1] and sum(map(len, parts)) != size:
        parts.append(os.read(descriptor, 1 << 16))
    return parts[0] if len(parts) == 1 else b"".join(parts)
