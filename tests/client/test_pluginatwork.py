"""A folder beside a plugin at work, whose processes read early and write late."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mneme.client.actions import Action
from mneme.client.calls import Client
from mneme.client.exchange import Exchange, Patience
from mneme.client.folder import Folder, Kept, PluginAtWork
from mneme.client.http import Address
from mneme.client.sync import Sync
from mneme.model import ClientId, FileName, ProjectId, digest
from tests.client.lines import Line
from tests.web.stub import Stub, entry

URL, DEMO = "http://homeserver:3847", ProjectId("demo")
LOG, SUMMARY_JSON, SUMMARY = FileName.LOG, FileName.SUMMARY_JSON, FileName.SUMMARY_MD
REMEMBERED, ENTITIES = FileName.REMEMBERED, FileName.ENTITIES
HERE, THERE, OLD, NEW = (entry(name, n).encode() for n, name in enumerate(("mine", "there", "old", "new"), 1))


class Wall:
    """The clock of a disk, by which locks are made, a number of seconds ahead."""

    def __init__(self, probe: Path) -> None:
        self.ahead = 0.0
        self._probe = probe

    def seconds(self) -> float:
        """See `WallClock`."""
        self._probe.write_text("")
        return self._probe.stat().st_mtime + self.ahead

    def sleep(self, seconds: float) -> None:
        """See `SleepingClock`: nobody waits here."""
        raise AssertionError


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    """A clock that goes as that of the disk."""
    return Wall(tmp_path / "probe")


@pytest.fixture
def folder(tmp_path: Path, wall: Wall) -> Iterator[Folder]:
    """A project with no files yet, in a step."""
    (tmp_path / "demo").mkdir()
    folder = Folder(tmp_path / "demo", DEMO, wall)
    with folder.step():
        yield folder


def kept(version: int, content: bytes) -> Kept:
    """A version."""
    return Kept(version, content, digest(content))


def write(folder: Folder, file: FileName, content: bytes) -> None:
    """Write as the plugin does: whole, by a rename."""
    staged = folder.path / "staged"
    staged.write_bytes(content)
    staged.rename(folder.path / file.value)


def read(folder: Folder, file: FileName = LOG) -> bytes:
    """The content of a file."""
    return (folder.path / file.value).read_bytes()


def in_step(folder: Folder, file: FileName, content: bytes) -> None:
    """Make a file that is as the server has it, in version 1."""
    write(folder, file, content)
    folder.settle(file, kept(1, content))


def fetch(folder: Folder, file: FileName, content: bytes, version: int = 2) -> bool:
    """Receive a version of the server; False if it is to be tried again."""
    seen = folder.snapshots()[file]
    return folder.receive(file, kept(version, content), content, seen) is not None


def lock(folder: Folder, name: str = "log.jsonl.lock", ago: float = 0.0) -> Path:
    """A lock of the plugin, made so many seconds ago."""
    path = folder.path / name
    path.touch()
    moment = path.stat().st_mtime - ago
    os.utime(path, (moment, moment))
    return path


def facts(*names: str) -> bytes:
    """The content of `remembered.json`."""
    return json.dumps([{"ts": f"2026-02-0{n}", "content": one} for n, one in enumerate(names, 1)]).encode()


def decisions(*names: str) -> bytes:
    """The content of `summary.json`."""
    found = [{"date": f"2026-02-0{n}", "decision": one} for n, one in enumerate(names, 1)]
    return json.dumps({"projectContext": "An app", "keyDecisions": found}).encode()


def entities(*names: str) -> bytes:
    """The content of `entities.json`."""
    found = {one: {"mentions": 1, "lastSeen": "2026-02-04", "contexts": []} for one in names}
    return json.dumps({"files": found, "lastUpdated": "2026-02-04T14:00:00.000Z"}).encode()


# Files that are held


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("log.jsonl.lock", LOG),
        ("log.jsonl.lock", SUMMARY_JSON),
        ("log.jsonl.lock", SUMMARY),
        ("log.jsonl.wlock", LOG),
        ("log.jsonl.wlock", SUMMARY_JSON),
        ("remembered.json.lock", REMEMBERED),
        ("entities.json.lock", ENTITIES),
    ],
)
def test_a_file_that_the_plugin_holds_is_not_replaced(folder: Folder, name: str, file: FileName) -> None:
    """Nothing has changed, and once the lock is gone the same can be received."""
    in_step(folder, file, OLD)
    held = lock(folder, name)
    before = folder.snapshot(file)
    with pytest.raises(PluginAtWork):
        fetch(folder, file, NEW)
    assert folder.snapshot(file) == before
    assert not folder.has_replaced
    held.unlink()
    assert fetch(folder, file, NEW)
    assert read(folder, file) == NEW


def test_a_file_that_is_not_there_yet_waits_as_well(folder: Folder) -> None:
    """The summarizer has seen that there is none."""
    lock(folder)
    with pytest.raises(PluginAtWork):
        fetch(folder, SUMMARY_JSON, decisions("there"))
    assert not (folder.path / SUMMARY_JSON.value).exists()


def test_other_files_are_replaced_meanwhile(folder: Folder) -> None:
    """The summarizer touches no facts."""
    in_step(folder, REMEMBERED, facts("mine"))
    lock(folder)
    assert fetch(folder, REMEMBERED, facts("mine", "there"))
    assert read(folder, REMEMBERED) == facts("mine", "there")


def test_a_base_without_a_change_of_the_file_is_noted_meanwhile(folder: Folder) -> None:
    """The server has the content, whoever holds the file."""
    write(folder, LOG, HERE)
    lock(folder)
    assert fetch(folder, LOG, HERE)
    assert folder.snapshot(LOG).base == kept(2, HERE)


def test_a_lock_of_a_dead_process_grows_old(folder: Folder, wall: Wall) -> None:
    """By the clock of this machine."""
    in_step(folder, LOG, OLD)
    lock(folder)
    wall.ahead = 119
    with pytest.raises(PluginAtWork):
        fetch(folder, LOG, NEW)
    wall.ahead = 121
    assert fetch(folder, LOG, NEW)


# Files that were replaced under a process that had read them


CASES: list[tuple[FileName, bytes, bytes, bytes, set[str]]] = [
    (LOG, OLD, OLD + THERE, OLD + HERE, {"old", "there", "mine"}),
    (REMEMBERED, facts("old"), facts("old", "there"), facts("old", "mine"), {"old", "there", "mine"}),
    (REMEMBERED, facts("old", "gone"), facts("old", "gone", "there"), facts("old"), {"old", "there"}),
    (
        SUMMARY_JSON,
        decisions("old"),
        decisions("old", "there"),
        decisions("old", "mine"),
        {"old", "there", "mine"},
    ),
    (ENTITIES, entities("old"), entities("old", "there"), entities("old", "mine"), {"old", "there", "mine"}),
    (SUMMARY, b"old\n\n\n", b"there\n\nold\n\n\n", b"old\n\n\nmine\n", {"old", "there", "mine"}),
]


@pytest.mark.parametrize(("file", "old", "fetched", "written", "left"), CASES)
def test_a_process_that_read_before_and_wrote_after_loses_nothing(
    folder: Folder, file: FileName, old: bytes, fetched: bytes, written: bytes, left: set[str]
) -> None:
    """Its own change and the fetched one are both there, a removal included."""
    in_step(folder, file, old)
    assert fetch(folder, file, fetched)
    write(folder, file, written)
    folder.check_replaced()
    content = read(folder, file).decode()
    assert {one for one in ("old", "there", "mine", "gone") if one in content} == left
    seen = folder.snapshot(file)
    assert seen.base == kept(2, fetched)
    assert seen.is_changed


@pytest.mark.parametrize(("file", "old", "fetched", "written", "left"), CASES)
def test_a_file_that_was_replaced_and_left_alone_stays(
    folder: Folder, file: FileName, old: bytes, fetched: bytes, written: bytes, left: set[str]
) -> None:
    """A second check has nothing to do."""
    in_step(folder, file, old)
    assert fetch(folder, file, fetched)
    assert folder.has_replaced
    state = (folder.path / file.value).stat()
    folder.check_replaced()
    assert (folder.path / file.value).stat() == state
    assert not folder.has_replaced


def test_lines_that_were_added_after_a_replacement_stay(folder: Folder) -> None:
    """They are on the new file."""
    in_step(folder, LOG, OLD)
    assert fetch(folder, LOG, OLD + THERE)
    write(folder, LOG, OLD + THERE + HERE)
    folder.check_replaced()
    assert read(folder) == OLD + THERE + HERE


def test_a_line_that_was_on_its_way_to_the_old_log_is_on_the_new_one(folder: Folder) -> None:
    """Also when the log was replaced again in between; a second check adds nothing."""
    in_step(folder, LOG, OLD)
    last = entry("last", 9).encode()
    with (folder.path / LOG.value).open("ab", buffering=0) as slow:
        assert fetch(folder, LOG, OLD + THERE)
        slow.write(HERE)
    with (folder.path / LOG.value).open("ab", buffering=0) as slower:
        assert fetch(folder, LOG, OLD + THERE + NEW, version=3)
        slower.write(last)
        folder.check_replaced()
    folder.check_replaced()
    assert sorted(read(folder).splitlines()) == sorted((OLD + THERE + NEW + HERE + last).splitlines())


def test_the_copy_that_the_plugins_own_sync_makes_of_a_log_adds_nothing_to_it(folder: Folder) -> None:
    """Its name is that of ours, and all lines are there already."""
    in_step(folder, LOG, OLD)
    assert fetch(folder, LOG, OLD + THERE)
    (folder.path / "log.jsonl.bak").write_bytes(OLD + THERE)
    folder.check_replaced()
    assert read(folder) == OLD + THERE


def test_a_file_that_was_removed_after_a_replacement_stays_so(folder: Folder) -> None:
    """By a person."""
    in_step(folder, REMEMBERED, facts("old"))
    assert fetch(folder, REMEMBERED, facts("old", "there"))
    (folder.path / REMEMBERED.value).unlink()
    folder.check_replaced()
    assert not (folder.path / REMEMBERED.value).exists()


def test_a_first_file_that_was_fetched_is_not_lost_to_a_first_one_here(folder: Folder) -> None:
    """A process that saw that there was none has written its own."""
    assert fetch(folder, REMEMBERED, facts("there"))
    write(folder, REMEMBERED, facts("mine"))
    folder.check_replaced()
    content: Any = json.loads(read(folder, REMEMBERED))
    assert {one["content"] for one in content} == {"there", "mine"}


def test_a_file_that_is_half_written_is_left_alone(folder: Folder) -> None:
    """There is nothing to merge; the next step takes care of it."""
    in_step(folder, REMEMBERED, facts("old"))
    assert fetch(folder, REMEMBERED, facts("old", "there"))
    write(folder, REMEMBERED, facts("old", "mine")[:-10])
    folder.check_replaced()
    assert read(folder, REMEMBERED) == facts("old", "mine")[:-10]


# The summarizer, which came in between


def test_a_summarizer_drops_the_lines_that_it_has_read(folder: Folder) -> None:
    """Those lines come first again, and fetched ones behind them."""
    in_step(folder, LOG, OLD + HERE)
    assert fetch(folder, LOG, THERE + OLD + NEW + HERE)
    held = lock(folder, ago=1)
    folder.check_replaced()
    assert read(folder) == OLD + HERE + THERE + NEW
    lines = read(folder).splitlines(keepends=True)
    write(folder, LOG, b"".join(lines[2:]))
    held.unlink()
    assert read(folder) == THERE + NEW
    assert folder.snapshot(LOG).base == kept(2, THERE + OLD + NEW + HERE)


def test_lines_that_are_equal_are_counted(folder: Folder) -> None:
    """Each stands for itself."""
    in_step(folder, LOG, OLD + OLD)
    assert fetch(folder, LOG, THERE + OLD + OLD + OLD)
    lock(folder, ago=1)
    folder.check_replaced()
    assert read(folder) == OLD + OLD + THERE + OLD


def test_a_line_that_has_no_end_yet_is_not_glued_to_another(folder: Folder) -> None:
    """The whole line is where it was ended."""
    in_step(folder, LOG, OLD + HERE[:-1])
    assert fetch(folder, LOG, THERE + OLD + HERE)
    lock(folder, ago=1)
    folder.check_replaced()
    assert read(folder) == OLD + THERE + HERE


def test_a_summarizer_that_began_later_has_read_the_new_log(folder: Folder) -> None:
    """In another order it would drop lines that it has not summed up."""
    in_step(folder, LOG, OLD + HERE)
    assert fetch(folder, LOG, THERE + OLD + HERE)
    lock(folder, ago=-0.2)
    folder.check_replaced()
    assert read(folder) == THERE + OLD + HERE


def test_a_summary_that_a_summarizer_may_have_read_is_put_back(folder: Folder) -> None:
    """The summarizer writes its own; the fetched one is merged after that."""
    in_step(folder, SUMMARY_JSON, decisions("old"))
    assert fetch(folder, SUMMARY_JSON, decisions("old", "there"))
    lock(folder, ago=1)
    folder.check_replaced()
    seen = folder.snapshot(SUMMARY_JSON)
    assert read(folder, SUMMARY_JSON) == decisions("old")
    assert (seen.base, seen.is_changed) == (kept(1, decisions("old")), False)
    assert not folder.has_replaced
    write(folder, SUMMARY_JSON, decisions("old", "mine"))
    assert folder.snapshot(SUMMARY_JSON).base == kept(1, decisions("old"))


def test_a_first_summary_that_a_summarizer_may_have_missed_is_taken_back(folder: Folder) -> None:
    """The summarizer begins one of its own, from which nothing was removed."""
    assert fetch(folder, SUMMARY_JSON, decisions("there"))
    lock(folder, ago=1)
    folder.check_replaced()
    seen = folder.snapshot(SUMMARY_JSON)
    assert (seen.local, seen.base) == (None, None)


def test_a_summary_that_a_later_summarizer_has_read_stays(folder: Folder) -> None:
    """The summarizer adds to the new one."""
    in_step(folder, SUMMARY_JSON, decisions("old"))
    assert fetch(folder, SUMMARY_JSON, decisions("old", "there"))
    lock(folder, ago=-0.2)
    folder.check_replaced()
    assert read(folder, SUMMARY_JSON) == decisions("old", "there")
    assert folder.snapshot(SUMMARY_JSON).base == kept(2, decisions("old", "there"))


# A whole sync beside the summarizer


class Summarizer:
    """A clock that passes at once, and a summarizer that turns out to have begun."""

    def __init__(self, folder: Path) -> None:
        self.is_due = False
        self._folder = folder

    def seconds(self) -> float:
        """See `SleepingClock`."""
        probe = self._folder.parent / "probe"
        probe.write_text("")
        return probe.stat().st_mtime

    def sleep(self, seconds: float) -> None:
        """See `SleepingClock`."""
        if self.is_due:
            path = self._folder / "log.jsonl.lock"
            path.touch()
            moment = path.stat().st_mtime - 1
            os.utime(path, (moment, moment))
        self.is_due = False


def test_a_sync_beside_a_summarizer_loses_nothing_and_sums_nothing_up_twice(tmp_path: Path) -> None:
    """Log and summary that it had read come together with newer ones."""
    stub, path = Stub(), tmp_path / "demo"
    path.mkdir()
    wall = Summarizer(path)
    client = Client(Exchange(Line(stub), wall, Address(URL), Patience(10, 0)), ClientId("laptop"))
    folder = Folder(path, DEMO, wall)
    sync = Sync(client, wall, folder)
    write(folder, LOG, OLD + HERE)
    write(folder, SUMMARY_JSON, decisions("old"))
    sync.step()
    stub.acquire("desk")
    stub.upload("desk", (THERE + OLD + HERE).decode())
    stub.upload("desk", decisions("old", "there").decode(), "summary.json")
    stub.release("desk")
    wall.is_due = True
    sync.step()
    assert read(folder) == OLD + HERE + THERE
    assert read(folder, SUMMARY_JSON) == decisions("old")
    assert set(sync.step().files_with(Action.WAITING)) == {SUMMARY_JSON}
    # The summarizer comes to its end.
    write(folder, SUMMARY_JSON, decisions("old", "mine"))
    write(folder, LOG, THERE)
    (path / "log.jsonl.lock").unlink()
    sync.step()
    sync.step()
    assert stub.download(client="looker").json["content"].encode() == read(folder) == THERE
    found = json.loads(stub.download("summary.json", client="looker").json["content"])
    assert json.loads(read(folder, SUMMARY_JSON)) == found
    assert {one["decision"] for one in found["keyDecisions"]} == {"old", "there", "mine"}
