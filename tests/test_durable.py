"""Durable files; `replace` is tested with `exchange` in `tests/store/test_plainfiles.py`."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mneme import durable, homedir
from mneme.errors import DiskFull
from tests import odd_disk
from tests.store.faults import BROKEN, FULL, NO_SPACE, Fault, Faults


class TestNamingDiskFull:
    """Which errors are told as a full disk."""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
    def test_no_space_is_disk_full(self, number: int) -> None:
        """A full or read-only disk, a quota, and a limit on file sizes."""
        problem = OSError(number, os.strerror(number))
        with pytest.raises(DiskFull) as caught, durable.naming_disk_full():
            raise problem
        assert caught.value.__cause__ is problem

    @pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOENT])
    def test_other_errors_stay_what_they_are(self, number: int) -> None:
        """They are faults."""
        with pytest.raises(OSError, match=os.strerror(number)), durable.naming_disk_full():
            raise OSError(number, os.strerror(number))


class TestWriteNew:
    """A new file, whole or not at all."""

    def test_the_file_has_the_content_the_mtime_and_is_closed_to_others(self, tmp_path: Path) -> None:
        """To the nanosecond."""
        durable.write_new(tmp_path / "new", b"content", 1_234_567_890_123_456_789)
        state = (tmp_path / "new").stat()
        assert (tmp_path / "new").read_bytes() == b"content"
        assert state.st_mtime_ns == 1_234_567_890_123_456_789
        assert stat.S_IMODE(state.st_mode) == 0o600

    def test_large_content_is_written_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where the operating system takes it in small parts."""
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, content: write(fd, bytes(content[:1000])))
        content = os.urandom(10_500)
        durable.write_new(tmp_path / "new", content)
        assert (tmp_path / "new").read_bytes() == content

    @pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
    def test_nothing_is_ever_overwritten(self, tmp_path: Path, kind: str) -> None:
        """Nor is a link followed, even one that leads nowhere."""
        place, other = tmp_path / "place", tmp_path / "other"
        if kind == "directory":
            place.mkdir()
        elif kind == "file":
            place.write_bytes(b"old")
        else:
            place.symlink_to(other)
        if kind == "link":
            other.write_bytes(b"old")
        with pytest.raises(FileExistsError):
            durable.write_new(place, b"new")
        assert not other.exists() or other.read_bytes() == b"old"

    @pytest.mark.parametrize("fault", [NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
    def test_a_failure_leaves_nothing(self, tmp_path: Path, faults: Faults, fault: Fault) -> None:
        """At whichever step."""
        with faults.failing() as clean:
            durable.write_new(tmp_path / "clean", b"content", 5)
        for at in fault.places(clean):
            with faults.failing(at, fault), pytest.raises(OSError, match=r"No space|Input/output"):
                durable.write_new(tmp_path / "new", b"content", 5)
            assert not (tmp_path / "new").exists()


class TestAppend:
    """A line at the end."""

    def test_lines_follow_each_other(self, tmp_path: Path) -> None:
        """In a file that is made if need be, and closed to others."""
        for line in (b"one\n", b"two\n"):
            durable.append(tmp_path / "file", line)
        assert (tmp_path / "file").read_bytes() == b"one\ntwo\n"
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        """A link could lead out of the data directory."""
        (tmp_path / "other").write_bytes(b"other")
        (tmp_path / "file").symlink_to(tmp_path / "other")
        with pytest.raises(OSError, match="symbolic links"):
            durable.append(tmp_path / "file", b"line\n")
        assert (tmp_path / "other").read_bytes() == b"other"

    def test_where_there_is_no_fdatasync_lines_are_synced_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on a Mac."""
        path, synced = tmp_path / "lines", []
        durable.append(path, b"one\n")
        monkeypatch.delattr(os, "fdatasync")
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
        durable.append(path, b"two\n")
        assert synced == [path.stat().st_ino]
        assert path.read_bytes() == b"one\ntwo\n"

    def test_a_failure_cuts_off_no_line_of_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process has appended in between."""
        path = tmp_path / "lines"
        path.write_bytes(b"one\n")

        def fails(_descriptor: int) -> None:
            with path.open("ab") as file:
                file.write(b"of others\n")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="space"):
            durable.append(path, b"two\n")
        assert b"of others\n" in path.read_bytes()


class TestRead:
    """Whole files, and only files."""

    def test_a_file_comes_with_its_state(self, tmp_path: Path) -> None:
        """Its size and times from before it was read."""
        (tmp_path / "file").write_bytes(b"content")
        found = durable.read(tmp_path / "file")
        assert found
        assert (found[0], found[1]) == (b"content", (tmp_path / "file").stat())

    @pytest.mark.parametrize("kind", ["nothing", "directory", "fifo", "link", "link to itself", "socket"])
    def test_a_thing_that_is_no_file_is_none(
        self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No reading waits, follows a link, or leaves a descriptor open."""
        monkeypatch.chdir(tmp_path)
        place = Path("place")
        listener = socket.socket(socket.AF_UNIX)
        makers: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "directory": place.mkdir,
            "fifo": lambda: os.mkfifo(place),
            "link": lambda: place.symlink_to("/etc/hostname"),
            "link to itself": lambda: place.symlink_to(place),
            "socket": lambda: listener.bind(str(place)),
        }
        makers[kind]()
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
        assert durable.read(place) is None
        assert durable.look(place) is None
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - names alone
        listener.close()

    def test_a_file_that_cannot_be_read_is_a_fault(self, tmp_path: Path) -> None:
        """A path that is too long is no missing file."""
        with pytest.raises(OSError, match="too long"):
            durable.read(tmp_path / ("x" * 300))

    def test_a_path_below_a_file_is_nothing_to_look_at(self, tmp_path: Path) -> None:
        """There can be no file there."""
        (tmp_path / "file").write_bytes(b"")
        assert durable.look(tmp_path / "file" / "below") is None


class TestLink:
    """A second name, or a copy where there can be none."""

    def test_a_link_is_the_same_file(self, tmp_path: Path) -> None:
        """Nothing is copied."""
        (tmp_path / "one").write_bytes(b"content")
        assert durable.link(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "one").samefile(tmp_path / "two")

    @pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS])
    def test_without_hard_links_it_is_a_copy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """With the same content and mtime."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(number, os.strerror(number))

        (tmp_path / "one").write_bytes(b"content")
        os.utime(tmp_path / "one", ns=(5, 1_234_567_890))
        monkeypatch.setattr(os, "link", refuse)
        assert not durable.link(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "two").read_bytes() == b"content"
        assert (tmp_path / "two").stat().st_mtime_ns == 1_234_567_890
        assert not (tmp_path / "one").samefile(tmp_path / "two")

    def test_other_failures_are_told(self, tmp_path: Path) -> None:
        """A name that is taken, for one."""
        (tmp_path / "one").write_bytes(b"")
        with pytest.raises(FileExistsError):
            durable.link(tmp_path / "one", tmp_path / "one")


class TestMakeDirectory:
    """Directories that only this user can enter."""

    def test_parents_are_made_and_closed_too(self, tmp_path: Path) -> None:
        """Whatever the umask; those that are there stay as they are."""
        tmp_path.chmod(0o755)
        before = os.umask(0)
        try:
            durable.make_directory(tmp_path / "a" / "b")
            durable.make_directory(tmp_path / "a" / "b")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

    def test_a_file_in_the_way_is_told(self, tmp_path: Path) -> None:
        """Nothing is put in its place."""
        (tmp_path / "a").write_bytes(b"")
        with pytest.raises(OSError, match=r"Not a directory|exists"):
            durable.make_directory(tmp_path / "a" / "b")


class TestHome:
    """The home directory of the user."""

    @pytest.fixture(autouse=True)
    def unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A user that no list has, and no HOME."""
        monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
        monkeypatch.delenv("HOME")

    def test_home_is_where_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the list of users has."""
        monkeypatch.setenv("HOME", "/home/ana")
        assert homedir.home() == Path("/home/ana")

    @pytest.mark.parametrize("home", [None, "", '"/home/ana"', "$HOME", "home"])
    def test_an_unknown_user_without_home_has_none(
        self, monkeypatch: pytest.MonkeyPatch, home: str | None
    ) -> None:
        """A HOME that is no whole path is none: it would be another one everywhere."""
        if home is not None:
            monkeypatch.setenv("HOME", home)
        assert homedir.home() is None

    def test_a_known_user_has_a_home_without_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The list of users says where."""
        monkeypatch.setattr(os, "getuid", lambda: 0)
        assert homedir.home() == Path(pwd.getpwuid(0).pw_dir)


class TestOddDisks:
    """A disk that syncs no directories, and one without locks."""

    @pytest.mark.parametrize(
        "number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF], ids=errno.errorcode.get
    )
    def test_a_directory_that_cannot_be_synced_is_no_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """The files there are whole, and the caller is told."""
        odd_disk.put(monkeypatch, number, 0, tmp_path)
        assert not durable.sync_directory(tmp_path)
        durable.make_directory(tmp_path / "sub")
        durable.replace(tmp_path / "sub/file", b"content")
        assert (tmp_path / "sub/file").read_bytes() == b"content"

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
    def test_a_directory_whose_sync_fails_is_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """A disk that is broken or full."""
        assert durable.sync_directory(tmp_path)
        odd_disk.put(monkeypatch, number, 0, tmp_path)
        with pytest.raises(OSError, match=os.strerror(number)):
            durable.sync_directory(tmp_path)

    @pytest.mark.parametrize("number", [0, errno.ENOLCK, errno.ENOTSUP], ids=["locks", "ENOLCK", "ENOTSUP"])
    def test_a_lock_is_held_until_its_file_is_closed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """Also where the file system has none: another file is locked in its place."""
        odd_disk.put(monkeypatch, 0, number, tmp_path / "disk")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        (tmp_path / "disk").mkdir()
        first, second = (os.open(tmp_path / "disk/lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
        assert durable.lock(first)
        with pytest.raises(BlockingIOError):
            durable.lock(second)
        os.close(first)
        assert durable.lock(second)
        os.close(second)

    def test_without_any_lock_the_caller_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The directory for temporary files is not there, say."""
        odd_disk.put(monkeypatch, 0, errno.ENOLCK, tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        with (tmp_path / "lock").open("wb") as file:
            assert not durable.lock(file.fileno())
