"""People and the server at the same files at the same time, and file systems that keep less than they are given."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mneme.errors import UnsafePath
from mneme.model import Accepted, ClientId, FileName, Kind, Millis, ProjectId, Upload
from tests.kept import DiskStore
from tests.store.looking import content_of

ALPHA = ProjectId("alpha")
ANA = ClientId("ana-0a1b2c3d")
NOW = Millis(1_770_217_200_123)
TTL = Millis(1_800_000)


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    """A store in which Ana holds the lock of a project with one file."""
    store = DiskStore(tmp_path)
    store.acquire(ALPHA, ANA, NOW, TTL)
    put(store, b"one")
    return store


def put(store: DiskStore, content: bytes, now: Millis = NOW) -> Millis:
    """Upload a log, and return the mtime that is told."""
    outcome = store.upload(ALPHA, Upload(FileName.LOG, content, ANA), now)
    assert isinstance(outcome, Accepted)
    return outcome.head.mtime


def before_first(monkeypatch: pytest.MonkeyPatch, call: str, action: Callable[[], None]) -> None:
    """Do something right before the first use of a system call."""
    real = getattr(os, call)
    done: list[bool] = []

    def acting(*arguments: object, **options: object) -> object:
        if not done:
            done.append(True)
            action()
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, acting)


@pytest.mark.parametrize("call", ["link", "fsync", "fdatasync"])
@pytest.mark.parametrize("in_place", [False, True])
def test_an_edit_while_an_upload_is_written_stays_in_history(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, in_place: bool
) -> None:
    """The upload becomes the head, and what a person had put there a moment before is a version of kind found."""
    head = tmp_path / "projects" / "alpha" / "log.jsonl"

    def edit() -> None:
        if in_place:
            with head.open("ab") as file:
                file.write(b" and by hand")
        else:
            (tmp_path / "new").write_bytes(b"by hand")
            (tmp_path / "new").rename(head)

    before_first(monkeypatch, call, edit)
    put(store, b"two")
    document = store.read(ALPHA, FileName.LOG, NOW)
    assert document
    assert document.content == b"two"
    found = [v for v in store.versions(ALPHA) if v.kind is Kind.FOUND]
    assert [content_of(store, ALPHA, v.number) for v in found] == [
        b"one and by hand" if in_place else b"by hand"
    ]
    again = DiskStore(tmp_path).read(ALPHA, FileName.LOG, NOW)
    assert again
    assert again.content == b"two"


def test_a_history_that_becomes_a_link_while_the_server_runs_is_not_followed(
    store: DiskStore, tmp_path: Path
) -> None:
    """Nothing is written where it leads, and the upload is refused."""
    history = tmp_path / "projects" / "alpha" / ".history"
    (tmp_path / "elsewhere").mkdir()
    history.rename(tmp_path / "kept")
    history.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePath):
        put(store, b"two")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_project_that_is_restored_while_the_server_runs_goes_on_from_there(
    store: DiskStore, tmp_path: Path
) -> None:
    """Although the file system gives the new directory the number of the old one."""
    project, kept = tmp_path / "projects" / "alpha", tmp_path / "kept"
    os.system(f"cp -a {project} {kept}")  # noqa: S605 - as a person does it
    put(store, b"two")
    os.system(f"rm -rf {project}; cp -a {kept} {project}")  # noqa: S605 - likewise
    put(store, b"three")
    contents = [content_of(store, ALPHA, version.number) for version in store.versions(ALPHA)]
    assert contents == [b"one", b"three"]


@pytest.mark.parametrize("grain", [1_000_000_000, 2_000_000_000])
def test_mtimes_grow_where_the_file_system_keeps_whole_seconds(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grain: int
) -> None:
    """What was told once is told again, also after a restart."""
    real = os.utime

    def coarse(path: int | str, *, ns: tuple[int, int]) -> None:
        real(path, ns=(ns[0] // grain * grain, ns[1] // grain * grain))

    monkeypatch.setattr(os, "utime", coarse)
    told = [put(store, content) for content in (b"a", b"b", b"c")]
    assert told == sorted(set(told))
    for one in (store, DiskStore(tmp_path)):
        (head,) = one.heads(ALPHA, NOW)
        assert head.mtime == told[-1]
        assert len(one.versions(ALPHA)) == 4


def test_the_journal_may_be_saved_by_an_editor_that_drops_the_last_line_break(
    store: DiskStore, tmp_path: Path
) -> None:
    """The line stands, and so does the version that it commits."""
    journal = tmp_path / "projects" / "alpha" / ".history" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().removesuffix(b"\n"))
    again = DiskStore(tmp_path)
    put(again, b"two")
    assert [content_of(again, ALPHA, v.number) for v in again.versions(ALPHA)] == [b"one", b"two"]


def test_a_journal_that_was_removed_costs_no_content(store: DiskStore, tmp_path: Path) -> None:
    """Nothing in the history is removed or written over, although the head was edited, too."""
    project = tmp_path / "projects" / "alpha"
    (project / ".history" / "journal.jsonl").unlink()
    (project / "new").write_bytes(b"by hand")
    (project / "new").rename(project / "log.jsonl")
    put(DiskStore(tmp_path), b"two")
    kept = {path.read_bytes() for path in (project / ".history").glob("0*")}
    assert kept >= {b"one", b"by hand", b"two"}


@pytest.mark.parametrize("in_place", [False, True])
def test_an_edit_right_after_an_upload_reached_the_head_is_no_version_of_it(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """Between two system calls of the server: it is taken in like any other."""
    head = tmp_path / "projects" / "alpha" / "log.jsonl"
    real = os.rename

    def renaming(path: str, target: str) -> None:
        real(path, target)
        if path.endswith(".log.jsonl.next"):
            if not in_place:
                head.unlink()
            with head.open("ab") as file:
                file.write(b" by hand")

    monkeypatch.setattr(os, "rename", renaming)
    put(store, b"two")
    monkeypatch.undo()
    document = store.read(ALPHA, FileName.LOG, NOW)
    assert document
    assert document.content == (b"two by hand" if in_place else b" by hand")
    put(store, b"three")
    (found,) = [v for v in store.versions(ALPHA) if v.kind is Kind.FOUND]
    assert content_of(store, ALPHA, found.number) == document.content


def test_a_head_removed_right_after_an_upload_reached_it_is_no_fault(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload was accepted, and is in history."""
    real = os.rename

    def renaming(path: str, target: str) -> None:
        real(path, target)
        if path.endswith(".log.jsonl.next"):
            Path(target).unlink()

    monkeypatch.setattr(os, "rename", renaming)
    put(store, b"two")
    assert content_of(store, ALPHA, 2) == b"two"
    assert store.heads(ALPHA, NOW) == ()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda journal: b"",
    "last line gone": lambda journal: b"".join(journal.splitlines(keepends=True)[:-1]),
    "cut by 2": lambda journal: journal[:-2],
    "cut by 60": lambda journal: journal[:-60],
    "last line of zeros": lambda journal: journal[:-60] + b"\0" * 59 + b"\n",
    "old line breaks": lambda journal: journal.replace(b"\n", b"\r"),
    "one array": lambda journal: b"[" + journal.strip().replace(b"\n", b",") + b"]",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_costs_no_content(store: DiskStore, tmp_path: Path, damage: str) -> None:
    """Although the head was edited as well, so that the only copy of what it was is in the history."""
    project = tmp_path / "projects" / "alpha"
    journal = project / ".history" / "journal.jsonl"
    journal.write_bytes(DAMAGES[damage](journal.read_bytes()))
    (project / "new").write_bytes(b"by hand")
    (project / "new").rename(project / "log.jsonl")
    again = DiskStore(tmp_path)
    again.heads(ALPHA, NOW)
    put(again, b"two")
    kept = {path.read_bytes() for path in (project / ".history").glob("0*")}
    assert kept >= {b"one", b"by hand", b"two"}


def test_a_fifo_in_the_place_of_the_journal_hangs_nothing(store: DiskStore, tmp_path: Path) -> None:
    """The upload is refused, and the thread is free."""
    journal = tmp_path / "projects" / "alpha" / ".history" / "journal.jsonl"
    journal.unlink()
    os.mkfifo(journal)
    with pytest.raises(OSError, match="No such device"):
        put(store, b"two")
