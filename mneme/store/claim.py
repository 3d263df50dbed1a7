"""The claim on a data directory, which only one server at a time may use."""

import os
import stat
from pathlib import Path
from typing import Self

from mneme import durable
from mneme.errors import StartupError
from mneme.store import plainfiles
from mneme.store.sqlite import NAME

LOCK_NAME = "server.lock"


class Claim:
    """A claim on a data directory, until released or until the process ends.

    The claim survives a fork: the child of a server that becomes a daemon keeps it. Somebody may remove the file
    `server.lock`, so the database file is locked, too, in a way that SQLite does not notice. On a read-only disk both
    files must exist.
    """

    def __init__(self, descriptor: int, database: int, is_read_only: bool) -> None:
        self._descriptor = descriptor
        self._database = database
        self.is_read_only = is_read_only
        """Whether the directory is on a read-only disk, so that nothing in it can change."""
        self.is_sure = True
        """Whether no other server can claim the directory; False on a disk without locks."""
        self.survives_power_cuts = True
        """Whether the disk syncs directories."""

    @classmethod
    def take(cls, data_directory: Path) -> Self:
        """Make the directory if missing, close it to other users, claim it; raises `StartupError`."""
        try:
            is_read_only = plainfiles.is_read_only(data_directory)
            if not is_read_only:
                _make_private(data_directory)
            flags = os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_RDONLY if is_read_only else os.O_RDWR | os.O_CREAT)
            claim = cls(
                os.open(data_directory / LOCK_NAME, flags, durable.FILE_MODE),
                os.open(data_directory / NAME, flags, durable.FILE_MODE),
                is_read_only,
            )
            claim._lock(data_directory)
            claim.survives_power_cuts = durable.sync_directory(data_directory)
            claim.write_pid()
        except OSError as error:
            raise StartupError(
                f"The data directory {data_directory} cannot be used: {error.strerror}. "
                "Choose another with --data-dir, or mend this one"
            ) from None
        return claim

    def _lock(self, data_directory: Path) -> None:
        try:
            for descriptor in (self._descriptor, self._database):
                self.is_sure &= durable.lock(descriptor)
        except BlockingIOError:
            pid = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "not known yet"
            os.close(self._descriptor)
            os.close(self._database)
            raise StartupError(
                f"The data directory {data_directory} is in use by another mneme server (pid {pid}): "
                "stop that one, or choose another directory with --data-dir"
            ) from None

    def write_pid(self) -> None:
        """Write the id of this process into the file. Call this again after a fork."""
        if self.is_read_only:
            return
        pid = b"%d\n" % os.getpid()
        os.pwrite(self._descriptor, pid, 0)
        os.ftruncate(self._descriptor, len(pid))

    def release(self) -> None:
        """Release the directory, and erase the pid: another process may get it later."""
        if not self.is_read_only:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        os.close(self._database)


def _make_private(directory: Path) -> None:
    durable.make_directory(directory)
    if stat.S_IMODE(directory.stat().st_mode) != durable.DIRECTORY_MODE:
        directory.chmod(durable.DIRECTORY_MODE)
