"""Plain files that people edit meanwhile, and the law that `exchange` shares with `durable.replace`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mneme import durable
from mneme.store import plainfiles
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed
from tests.store.looking import edit_before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the content `old`."""
    (tmp_path / "file").write_bytes(b"old")
    return tmp_path / "file"


def mark_of(path: Path) -> durable.Mark | None:
    """The mark of a file; None if there is none."""
    state = durable.look(path)
    return durable.mark(state) if state else None


def exchange(path: Path, content: bytes) -> None:
    """Exchange a file, whatever it is."""
    plainfiles.exchange(path, content, 5, mark_of(path))


def refuse(*_arguments: Any, **_options: Any) -> None:
    """Fail as a call to the operating system that is not permitted."""
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("put", [durable.replace, exchange])
class TestPuttingAContentInPlaceOfAnother:
    """Another content at the same path, durably or not."""

    @pytest.mark.parametrize("fault", [KILL, NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
    def test_the_path_always_holds_the_old_content_or_the_new(
        self, path: Path, faults: Faults, fault: Fault, put: Callable[[Path, bytes], None]
    ) -> None:
        """Any step may fail; an exchange that is not killed leaves nothing else."""
        with faults.failing() as clean:
            put(path, b"old")
        seen = set()
        for at in fault.places(clean):
            with faults.failing(at, fault), pytest.raises((OSError, Killed)):
                put(path, b"new")
            seen.add(path.read_bytes())
            if fault is not KILL and put is exchange:
                assert list(path.parent.iterdir()) == [path]
            put(path, b"old")
        assert b"old" in seen <= {b"old", b"new"}

    def test_a_link_is_replaced_and_not_followed(
        self, path: Path, put: Callable[[Path, bytes], None]
    ) -> None:
        """The file that it leads to stays as it was."""
        link = path.with_name("link")
        link.symlink_to(path)
        put(link, b"new")
        assert (path.read_bytes(), link.is_symlink()) == (b"old", False)


class TestExchange:
    """Exchanges of files that somebody may edit at the same moment."""

    def test_the_state_is_that_of_the_file_at_the_path(self, path: Path) -> None:
        """Its mtime is the one that was asked for; later changes are told from it."""
        state = plainfiles.exchange(path, b"new", 1_234_567_890_123_456_789, mark_of(path))
        assert state
        assert durable.mark(state) == mark_of(path)
        assert (path.read_bytes(), state.st_mtime_ns) == (b"new", 1_234_567_890_123_456_789)
        assert stat.S_IMODE(state.st_mode) == 0o600

    @pytest.mark.parametrize("moment", ["link", "rename"])
    def test_an_edit_at_the_last_moment_stays_where_it_is(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        """The edit comes just before the second name, or just before the rename."""
        before = mark_of(path)
        edit_before(monkeypatch, moment, path, b" and edited")
        assert plainfiles.exchange(path, b"new", 5, before) is None
        assert path.read_bytes() == b"old and edited"
        assert list(path.parent.iterdir()) == [path]

    def test_an_edit_just_after_the_exchange_is_told_from_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The state that comes back is not that of the edited file."""
        path.unlink()
        rename = os.rename

        def rename_and_edit(*arguments: Any) -> None:
            rename(*arguments)
            path.write_bytes(b"edited")

        monkeypatch.setattr(os, "rename", rename_and_edit)
        state = plainfiles.exchange(path, b"new", 5, None)
        assert state
        assert durable.mark(state) != mark_of(path)

    @pytest.mark.parametrize("is_removed", [True, False])
    def test_a_file_that_comes_or_goes_at_the_last_moment_is_left_so(
        self, path: Path, is_removed: bool
    ) -> None:
        """Nobody's file is written over, and none that somebody removed is back."""
        expected = mark_of(path) if is_removed else None
        if is_removed:
            path.unlink()
        assert plainfiles.exchange(path, b"new", 5, expected) is None
        assert not path.exists() if is_removed else path.read_bytes() == b"old"

    def test_without_hard_links_the_content_is_exchanged_all_the_same(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A memory card or a network disk has none."""
        monkeypatch.setattr(os, "link", refuse)
        assert plainfiles.exchange(path, b"new", 5, mark_of(path))
        assert path.read_bytes() == b"new"


class TestCloseToOthers:
    """Files that were found open."""

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
    def test_an_open_file_is_closed(self, path: Path, mode: int) -> None:
        """To group and others alike."""
        path.chmod(mode)
        plainfiles.close_to_others(path, path.stat())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_file_of_another_user_stays_open(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its owner has to know; it is served all the same."""
        path.chmod(0o644)
        monkeypatch.setattr(os, "chmod", refuse)
        plainfiles.close_to_others(path, path.stat())
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
