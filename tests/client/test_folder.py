"""The folder: files are always whole, and no base is newer than its file."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mneme.client.folder import Folder, FolderBusy, Kept, Snapshot
from mneme.errors import DiskFull
from mneme.model import FileName, ProjectId, digest
from tests import odd_disk
from tests.store.faults import BROKEN, FULL, KILL, NO_SPACE, Fault, Faults, Killed, Step
from tests.web.stub import entry

URL, DEMO = "http://homeserver:3847", ProjectId("demo")
LOG, SUMMARY, ENTITIES = FileName.LOG, FileName.SUMMARY_MD, FileName.ENTITIES
ONE, TWO, THREE, FOUR = (entry(f"entry {n}", n).encode() for n in (1, 2, 3, 4))


def kept(version: int, content: bytes) -> Kept:
    """A version."""
    return Kept(version, content, digest(content))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A project in which there is nothing yet, in a step."""
    folder = Folder(tmp_path / "projects" / "demo", DEMO)
    with folder.step():
        yield folder


def put(folder: Folder, content: bytes, file: FileName = LOG) -> Path:
    """Write a file as the plugin does."""
    path = folder.path / file.value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def held(folder: Folder, file: FileName = LOG) -> bytes | None:
    """The content of a file."""
    path = folder.path / file.value
    return path.read_bytes() if path.exists() else None


def beside(folder: Folder) -> set[str]:
    """Names in `.mneme`, without the lock and the arrivals."""
    return {path.name for path in (folder.path / ".mneme").iterdir()} - {"lock", "arrivals.json"}


def with_base(folder: Folder, content: bytes = ONE, version: int = 1) -> Path:
    """A log that is as the server has it."""
    path = put(folder, content)
    assert folder.receive(LOG, kept(version, content), content, folder.snapshot(LOG))
    return path


class Writer:
    """A watcher that acts at each replacement of a file, or at a step."""

    def __init__(self, *acts: Callable[[], object], at: int | None = None, after: bool = False) -> None:
        self.steps: list[Step] = []
        self.left = [*acts]
        self._at, self._after = at, after

    def before(self, step: Step, /) -> None:
        """See `Watcher`."""
        self.steps.append(step)
        if not self._after:
            self._act(step)

    def after(self, step: Step, subject: Any, result: Any, /) -> None:
        """See `Watcher`."""
        if self._after:
            self._act(step)

    def _act(self, step: Step) -> None:
        is_due = is_replacement(step) if self._at is None else len(self.steps) == self._at + 1
        if is_due and self.left:
            self.left.pop(0)()


def is_replacement(step: Step) -> bool:
    """Whether this puts a new file in the place of the old one."""
    return step.call == "rename" and step.subject.endswith(".next")


def appending(path: Path, content: bytes) -> Callable[[], None]:
    """An act of the plugin."""

    def append() -> None:
        with path.open("ab") as file:
            file.write(content)

    return append


# Looking


def test_a_new_folder_is_empty(folder: Folder) -> None:
    """There is nothing, made from nothing."""
    assert folder.snapshot(LOG) == Snapshot(None, None, None)
    assert not folder.snapshot(LOG).is_changed
    assert folder.marks() == {}


def test_a_file_is_told_as_it_is(folder: Folder) -> None:
    """Its content, which is in no repr, and the time of its last write."""
    path = put(folder, b"a secret\n")
    os.utime(path, ns=(0, 1_770_217_200_123_456_789))
    seen = folder.snapshot(LOG)
    assert seen.local
    assert (seen.local.content, seen.local.mtime) == (b"a secret\n", 1_770_217_200_123)
    assert (seen.base, seen.refused) == (None, None)
    assert seen.is_changed
    assert "secret" not in repr(seen) + repr(kept(1, b"a secret\n"))


def test_a_file_that_is_no_text_stays_as_it_is_while_it_is_told_as_text(folder: Folder) -> None:
    """Nobody writes to it who has nothing to add."""
    put(folder, b"caf\xe9\n")
    seen = folder.snapshot(LOG)
    assert seen.local
    assert seen.local.content == "caf\ufffd\n".encode()
    assert folder.receive(LOG, kept(1, seen.local.content), seen.local.content, seen)
    assert held(folder) == b"caf\xe9\n"
    assert not folder.snapshot(LOG).is_changed


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_none(folder: Folder, make: Callable[[Path], object]) -> None:
    """A directory, a FIFO, a link to itself."""
    folder.path.mkdir(parents=True, exist_ok=True)
    make(folder.path / LOG.value)
    assert folder.snapshot(LOG).local is None
    assert folder.marks() == {}


def test_marks_change_with_anything_that_is_written(folder: Folder) -> None:
    """Appended, replaced, removed; not by a look."""
    path = put(folder, ONE)
    put(folder, b"# Summary\n", SUMMARY)
    before = folder.marks()
    assert set(before) == {LOG, SUMMARY}
    folder.snapshot(LOG)
    assert folder.marks() == before
    appending(path, TWO)()
    appended = folder.marks()
    assert appended[LOG] != before[LOG]
    assert appended[SUMMARY] == before[SUMMARY]
    path.with_name("new").write_bytes(ONE + TWO)
    path.with_name("new").rename(path)
    assert folder.marks()[LOG] != appended[LOG]
    path.unlink()
    assert set(folder.marks()) == {SUMMARY}


# Receiving


def test_a_received_file_is_there_with_its_base(folder: Folder) -> None:
    """In a folder where there was nothing, for nobody else to read."""
    assert folder.receive(LOG, kept(7, ONE), ONE, folder.snapshot(LOG))
    seen = folder.snapshot(LOG)
    assert seen.base == kept(7, ONE)
    assert not seen.is_changed
    path = folder.path / LOG.value
    assert path.read_bytes() == ONE
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert beside(folder) == {"state.json", "00000007-log.jsonl"}
    assert not path.with_name("log.jsonl.bak").exists()


def test_a_merge_has_another_base_than_itself(folder: Folder) -> None:
    """Local changes are still to be sent."""
    with_base(folder)
    put(folder, ONE + TWO)
    assert folder.receive(LOG, kept(2, ONE + THREE), ONE + TWO + THREE, folder.snapshot(LOG))
    seen = folder.snapshot(LOG)
    assert seen.is_changed
    assert seen.base == kept(2, ONE + THREE)
    assert held(folder) == ONE + TWO + THREE


def test_the_former_content_of_a_file_is_beside_it(folder: Folder) -> None:
    """Until it is replaced again."""
    backup = with_base(folder).with_name("log.jsonl.bak")
    for number, content, before in ((2, TWO, ONE), (3, THREE, TWO)):
        assert folder.receive(LOG, kept(number, content), content, folder.snapshot(LOG))
        assert backup.read_bytes() == before
    assert beside(folder) == {"state.json", "00000003-log.jsonl"}


def test_what_stays_as_it_is_is_not_written(folder: Folder) -> None:
    """Neither it nor a backup, which would be lost for nothing."""
    path = with_base(folder)
    before = path.stat()
    assert folder.receive(LOG, kept(2, TWO), ONE, folder.snapshot(LOG))
    assert path.stat() == before
    assert not path.with_name("log.jsonl.bak").exists()
    assert folder.snapshot(LOG).base == kept(2, TWO)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o400])
def test_who_could_read_a_file_still_can(folder: Folder, mode: int) -> None:
    """And nobody else."""
    path = with_base(folder)
    path.chmod(mode)
    assert folder.receive(LOG, kept(2, TWO), TWO, folder.snapshot(LOG))
    assert path.stat().st_mode & 0o777 == mode


def test_a_file_that_is_kept_elsewhere_stays_there(folder: Folder, tmp_path: Path) -> None:
    """The link stays a link, over several steps, too; so does its backup lie there."""
    elsewhere, path = tmp_path / "dotfiles", folder.path / LOG.value
    for directory in (elsewhere, folder.path):
        directory.mkdir(parents=True, exist_ok=True)
    (elsewhere / "real.jsonl").write_bytes(ONE)
    (elsewhere / "link").symlink_to("real.jsonl")
    path.symlink_to(elsewhere / "link")
    assert folder.receive(LOG, kept(1, TWO), TWO, folder.snapshot(LOG))
    assert path.is_symlink()
    assert (elsewhere / "link").is_symlink()
    assert (elsewhere / "real.jsonl").read_bytes() == TWO
    assert (elsewhere / "real.jsonl.bak").read_bytes() == ONE
    assert folder.snapshot(LOG).base == kept(1, TWO)


def test_a_link_to_itself_gives_way(folder: Folder) -> None:
    """There is nothing that it could lead to."""
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / LOG.value).symlink_to(LOG.value)
    assert folder.receive(LOG, kept(1, ONE), ONE, folder.snapshot(LOG))
    assert held(folder) == ONE


@pytest.mark.parametrize(
    ("before", "write"),
    [
        (ONE, lambda path: path.write_bytes(TWO + ONE)),
        (ONE, lambda path: path.write_bytes(ONE[:-1])),
        (ONE, lambda path: path.unlink()),
        (ONE, lambda path: (path.with_name("n").write_bytes(TWO), path.with_name("n").rename(path))),
        (None, lambda path: (path.parent.mkdir(parents=True, exist_ok=True), path.write_bytes(TWO))),
    ],
    ids=["written", "cut", "removed", "replaced", "come"],
)
def test_a_file_that_is_another_by_now_is_not_replaced(
    folder: Folder, write: Callable[[Path], object], before: bytes | None
) -> None:
    """Or that has come by now: a decision by the old base does not count."""
    path = folder.path / LOG.value
    if before:
        with_base(folder, before)
    seen = folder.snapshot(LOG)
    write(path)
    after = held(folder)
    assert not folder.receive(LOG, kept(2, THREE), THREE, seen)
    assert held(folder) == after
    assert folder.snapshot(LOG).base == (kept(1, ONE) if before else None)


@pytest.mark.parametrize("added", [b"", TWO, TWO + FOUR, FOUR[:10]])
def test_lines_that_were_added_to_the_log_by_now_are_added_to_what_comes(
    folder: Folder, added: bytes
) -> None:
    """A plugin that writes all the time keeps nothing from coming in."""
    path = with_base(folder)
    seen = folder.snapshot(LOG)
    put(folder, ONE + added)
    os.utime(path, ns=(0, 0))
    assert folder.receive(LOG, kept(2, THREE), THREE, seen)
    assert held(folder) == THREE + added
    assert folder.snapshot(LOG).base == kept(2, THREE)


@pytest.mark.parametrize("content", [ONE + TWO, TWO])
def test_a_process_that_died_before_it_noted_the_base_has_noted_it(
    folder: Folder, faults: Faults, content: bytes
) -> None:
    """The file's content shows that the version was received; counts are not added twice."""
    with_base(folder)
    put(folder, ONE + FOUR)
    seen = folder.snapshot(LOG)

    def die() -> None:
        raise Killed

    with faults.failing(watcher=Writer(die, after=True)), pytest.raises(Killed):
        folder.receive(LOG, kept(2, TWO), content, seen)
    assert held(folder) == content
    assert folder.snapshot(LOG).base == kept(2, TWO)
    put(folder, content + THREE)
    assert folder.snapshot(LOG).base == kept(1, ONE)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("is_open", [False, True])
def test_lines_that_are_appended_during_a_replacement_are_not_lost(
    tmp_path: Path, faults: Faults, after: bool, is_open: bool
) -> None:
    """At whatever step; late writes to an old file are in the .bak."""
    at, steps = 0, 1
    while at < steps:
        folder = Folder(tmp_path / f"{at}", DEMO)
        with folder.step():
            path = with_base(folder)
        seen = folder.snapshot(LOG)
        with path.open("ab", buffering=0) as file:
            act = partial(file.write, FOUR) if is_open else appending(path, FOUR)
            writer = Writer(act, at=at, after=after)
            with faults.failing(watcher=writer):
                received = folder.receive(LOG, kept(2, ONE + TWO), ONE + TWO, seen)
        steps, wrote = len(writer.steps), not writer.left
        lines = (held(folder) or b"").splitlines(keepends=True)
        if is_open and any(is_replacement(step) for step in writer.steps[:at]):
            backup = path.with_name("log.jsonl.bak").read_bytes()
            assert not wrote or FOUR in (held(folder) or b"") + backup, (at, writer.steps)
        else:
            expected = [ONE, *[TWO] * (received is not None), *[FOUR] * wrote]
            assert sorted(lines) == sorted(expected), (at, writer.steps)
        at += 1
    assert at > 10


def test_appends_come_while_appends_are_merged(folder: Folder, faults: Faults) -> None:
    """The plugin writes again at each replacement; the mode stays."""
    path = with_base(folder)
    path.chmod(0o644)
    seen = folder.snapshot(LOG)
    late = [entry(f"late {n}", 30 + n).encode() for n in range(5)]
    writer = Writer(*(appending(path, line) for line in late))
    with faults.failing(watcher=writer):
        assert folder.receive(LOG, kept(2, ONE + TWO), ONE + TWO, seen)
    written = late[: len(late) - len(writer.left)]
    assert written
    assert sorted((held(folder) or b"").splitlines(keepends=True)) == sorted([ONE, TWO, *written])
    assert folder.snapshot(LOG).base == kept(2, ONE + TWO)
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_merged_in_between_is_in_the_backup(folder: Folder, faults: Faults) -> None:
    """The file is what was received."""
    path = put(folder, b"{}", ENTITIES)
    assert folder.receive(ENTITIES, kept(1, b"{}"), b"{}", folder.snapshot(ENTITIES))
    seen = folder.snapshot(ENTITIES)
    new = b'{"files":{}}'

    with faults.failing(watcher=Writer(lambda: path.write_bytes(b"no JSON"))):
        assert folder.receive(ENTITIES, kept(2, new), new, seen)
    assert path.read_bytes() == new
    assert path.with_name("entities.json.bak").read_bytes() == b"no JSON"


# Sending


def test_what_was_sent_is_the_base(folder: Folder) -> None:
    """Later writes are not sent yet."""
    with_base(folder)
    put(folder, ONE + TWO + THREE)
    folder.settle(LOG, kept(2, ONE + TWO))
    seen = folder.snapshot(LOG)
    assert seen.base == kept(2, ONE + TWO)
    assert seen.is_changed
    assert held(folder) == ONE + TWO + THREE


def test_a_refused_upload_is_beside_the_base(folder: Folder) -> None:
    """Until something is received, or sent; the newest takes the place of the one before."""
    with_base(folder)
    for number, content in ((2, ONE + TWO), (3, ONE + TWO + THREE)):
        put(folder, content)
        folder.note_refused(LOG, kept(number, content))
        assert folder.snapshot(LOG).refused == kept(number, content)
        assert folder.snapshot(LOG).base == kept(1, ONE)
    assert beside(folder) == {"state.json", "00000001-log.jsonl", "00000003-log.jsonl"}
    assert folder.receive(LOG, kept(4, ONE), ONE, folder.snapshot(LOG))
    assert folder.snapshot(LOG) == replace(folder.snapshot(LOG), base=kept(4, ONE), refused=None)
    assert beside(folder) == {"state.json", "00000004-log.jsonl"}


def test_files_have_bases_of_their_own(folder: Folder) -> None:
    """Also where the name of one ends like another's."""
    for number, file in enumerate(FileName, 1):
        content = f"{file.value}\n".encode()
        put(folder, content, file)
        folder.settle(file, kept(number, content))
    for number, file in enumerate(FileName, 1):
        assert folder.snapshot(file).base == kept(number, f"{file.value}\n".encode())


def test_a_base_that_the_server_has_in_other_bytes_is_one(folder: Folder) -> None:
    """The base is text, known by the digest of the server's bytes."""
    raw = b"caf\xe9\n"
    base = Kept(1, raw.decode(errors="replace").encode(), digest(raw))
    assert folder.receive(LOG, base, base.content, folder.snapshot(LOG))
    assert folder.snapshot(LOG).base == base
    assert not folder.snapshot(LOG).is_changed
    (folder.path / ".mneme" / "00000001-log.jsonl").write_bytes(raw)
    assert folder.snapshot(LOG).base is None


# Bases that do not count


STATE, BASE = "state.json", "00000001-log.jsonl"
DAMAGE = [
    *(
        (STATE, content)
        for content in (None, b"", b'{"server": ', b"[]", b"\xff", b"[" * 100_000, b"\0" * 4096)
    ),
    *((BASE, content) for content in (None, b"", TWO, ONE + b"\0")),
    ("", None),
]


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_a_base_that_is_damaged_is_none(folder: Folder, name: str, content: bytes | None) -> None:
    """The file has no base until the next step."""
    with_base(folder)
    damaged = folder.path / ".mneme" / name
    if content is not None:
        damaged.write_bytes(content)
    elif name:
        damaged.unlink()
    else:
        shutil.rmtree(damaged)
    seen = folder.snapshot(LOG)
    assert seen.base is None
    assert seen.is_changed
    assert held(folder) == ONE
    again = Folder(folder.path, DEMO) if not name else folder
    with again.step() if again is not folder else nullcontext():
        assert again.receive(LOG, kept(1, ONE), ONE, seen)
    assert folder.snapshot(LOG).base == kept(1, ONE)


@given(st.binary(max_size=100))
def test_no_state_is_worse_than_none(content: bytes) -> None:
    """Whatever its bytes are."""
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path), DEMO)
        with folder.step():
            with_base(folder)
        (Path(path) / ".mneme" / "state.json").write_bytes(content)
        assert folder.snapshot(LOG).base is None


def test_bases_stay_where_the_id_is_another(folder: Folder) -> None:
    """The server says whether they count; the state tells the id of the last sync."""
    with_base(folder)
    other = Folder(folder.path, ProjectId("other"))
    assert other.snapshot(LOG).base == kept(1, ONE)
    other.settle(SUMMARY, kept(2, b"# One\n"))
    assert other.last_id == DEMO
    other.note_id()
    assert folder.last_id == ProjectId("other")
    assert folder.snapshot(LOG).base == kept(1, ONE)


def test_a_state_of_an_older_version_is_read(folder: Folder) -> None:
    """There the server had its place, too."""
    with_base(folder)
    path = folder.path / ".mneme" / "state.json"
    path.write_text(json.dumps({"server": URL, **json.loads(path.read_bytes())}))
    assert folder.snapshot(LOG).base == kept(1, ONE)


def test_the_state_is_for_a_person_to_read(folder: Folder) -> None:
    """Of which project it is, and what is the base of each file."""
    with_base(folder)
    state = json.loads((folder.path / ".mneme" / "state.json").read_bytes())
    known = {"version": 1, "sha256": digest(ONE)}
    assert state == {"project": "demo", "files": {"log.jsonl": {"base": known}}}


# Crashes and full disks

OLD, NEW = ONE + TWO, ONE + TWO + THREE
NEXT = kept(9, ONE + THREE)


def merge_in(folder: Folder) -> None:
    """Receive what somebody else has sent, merged with what was changed here."""
    assert folder.receive(LOG, NEXT, NEW, folder.snapshot(LOG))


def settled(folder: Folder) -> None:
    """Take note of what was sent."""
    folder.settle(LOG, kept(9, OLD))


def refused(folder: Folder) -> None:
    """Take note of what was refused."""
    folder.note_refused(LOG, kept(9, OLD))


def is_sound(folder: Folder, act: Callable[[Folder], None]) -> None:
    """The file is whole, and was made from its base."""
    content, seen = held(folder), folder.snapshot(LOG)
    assert content in (OLD, NEW)
    assert content == OLD or act is merge_in
    assert seen.base in (kept(1, ONE), NEXT, kept(9, OLD))
    assert seen.base != NEXT or content == NEW
    backup = folder.path / "log.jsonl.bak"
    assert not backup.exists() or backup.read_bytes() == OLD


RAISED: dict[str, type[BaseException]] = {
    KILL.name: Killed,
    NO_SPACE.name: DiskFull,
    FULL.name: DiskFull,
    BROKEN.name: OSError,
}


@pytest.mark.parametrize("fault", [KILL, NO_SPACE, FULL, BROKEN], ids=lambda fault: fault.name)
@pytest.mark.parametrize("act", [merge_in, settled, refused])
def test_whatever_fails_the_file_is_whole_and_its_base_no_newer(
    tmp_path: Path, faults: Faults, act: Callable[[Folder], None], fault: Fault
) -> None:
    """Failure at each step in turn; the next try succeeds, and leaves nothing behind."""

    def prepared(name: str) -> Folder:
        folder = Folder(tmp_path / name, DEMO)
        with folder.step():
            with_base(folder)
        put(folder, OLD)
        return folder

    def done(folder: Folder, act: Callable[[Folder], None]) -> None:
        with folder.step():
            act(folder)

    whole = prepared("whole")
    with faults.failing() as run:
        done(whole, act)
    places = fault.places(run)
    assert places
    for at in places:
        folder = prepared(str(at))
        with faults.failing(at, fault) as struck, suppress(RAISED[fault.name]):
            done(folder, act)
        assert struck.struck, at
        is_sound(folder, act)
        is_settled = act is merge_in and held(folder) == NEW
        done(folder, (lambda again: again.settle(LOG, NEXT)) if is_settled else act)
        assert held(folder) == held(whole)
        assert folder.snapshot(LOG).base == whole.snapshot(LOG).base
        assert folder.snapshot(LOG).refused == whole.snapshot(LOG).refused
        assert beside(folder) == beside(whole), struck.struck


def test_a_disk_that_is_mounted_read_only_is_full(tmp_path: Path, faults: Faults) -> None:
    """From the begin of a step on, which takes the lock."""
    read_only = Fault(
        "ro", lambda: OSError(errno.EROFS, "Read-only"), lambda step: step.writes, lambda _: True
    )
    with faults.failing(0, read_only), pytest.raises(DiskFull):
        Folder(tmp_path, DEMO).step().__enter__()


# Several processes


def _append(path: str, name: str, count: int) -> None:
    """A session that receives its own lines, merged with the file."""
    folder = Folder(Path(path), DEMO)
    for number in range(count):
        line = entry(f"{name} {number}").encode()
        with folder.step():
            seen = folder.snapshot(LOG)
            content = (seen.local.content if seen.local else b"") + line
            version = (seen.base.version if seen.base else 0) + 1
            assert folder.receive(LOG, kept(version, content), content, seen)


def test_sessions_at_once_take_turns(tmp_path: Path) -> None:
    """Sessions that receive in turn; every version follows the one before."""
    folder = Folder(tmp_path, DEMO)
    context = multiprocessing.get_context("spawn")
    names = ["a", "b", "c"]
    processes = [context.Process(target=_append, args=(str(folder.path), name, 20)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    lines = (held(folder) or b"").splitlines(keepends=True)
    assert sorted(lines) == sorted(entry(f"{name} {n}").encode() for name in names for n in range(20))
    seen = folder.snapshot(LOG)
    assert seen.base == kept(60, b"".join(lines))
    assert beside(folder) == {"state.json", "00000060-log.jsonl"}


class Hand:
    """A clock that passes at once; `act` is done at its third sleep."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.slept = 0.0
        self._sleeps = 0
        self._act = act

    def seconds(self) -> float:
        """See `SleepingClock`."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """See `SleepingClock`."""
        self.slept += seconds
        self._sleeps += 1
        if self._sleeps == 3:
            self._act()


def test_a_step_waits_for_the_step_of_another_process(tmp_path: Path) -> None:
    """And begins as soon as that one ends."""
    other = ExitStack()
    other.enter_context(Folder(tmp_path, DEMO).step())
    wall = Hand(other.close)
    with Folder(tmp_path, DEMO, wall, 5.0).step():
        assert wall.slept == pytest.approx(0.06)


@pytest.mark.parametrize("patience", [0.0, 0.001, 5.0])
def test_a_step_that_never_ends_keeps_others_out_for_a_while_only(tmp_path: Path, patience: float) -> None:
    """A stopped process hangs no session; the sentence says how to find it."""
    wall = Hand(lambda: None)
    folder = Folder(tmp_path, DEMO, wall, patience)
    with Folder(tmp_path, DEMO).step(), pytest.raises(FolderBusy, match=r"at work on .*fuser .*/lock"):
        folder.step().__enter__()
    assert wall.slept == pytest.approx(patience, abs=0.021)
    with folder.step():
        pass


def test_a_step_may_have_less_time_than_others(tmp_path: Path) -> None:
    """A session that has waited for the server waits no second time."""
    wall = Hand(lambda: None)
    folder = Folder(tmp_path, DEMO, wall, 5.0)
    with Folder(tmp_path, DEMO).step(), pytest.raises(FolderBusy):
        folder.step(0.1).__enter__()
    assert wall.slept == pytest.approx(0.1, abs=0.021)


def test_a_sync_that_fails_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system does not say it."""
    folder = Folder(tmp_path, DEMO)
    base = Kept(1, b"{}\n", digest(b"{}\n"))
    with folder.step():
        pass
    odd_disk.put(monkeypatch, errno.EIO, 0, tmp_path)
    with pytest.raises(OSError, match=str(tmp_path)), folder.step():
        folder.receive(LOG, base, base.content, Snapshot(None, None, None))
