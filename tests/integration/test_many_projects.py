"""A thousand projects with locks: the server starts as fast, and a request costs as much, as with ten."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mneme.model import ClientId, FileName, Millis, ProjectId, Upload
from tests.daemon import Daemon, wait_until
from tests.kept import DiskStore

pytestmark = pytest.mark.integration

CLIENT = ClientId("laptop-0a1b2c3d")
NOW = Millis(1_770_217_200_000)
TTL = Millis(1_800_000)

_touched: list[str] | None = None


def _note(event: str, _arguments: object) -> None:
    if _touched is not None and (event == "open" or event.startswith("os.")):
        _touched.append(event)


sys.addaudithook(_note)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The file-system calls made inside, as the interpreter reports them."""
    global _touched  # noqa: PLW0603 - an audit hook cannot be taken back
    _touched = []
    try:
        yield _touched
    finally:
        _touched = None


def fill(directory: Path, projects: int) -> None:
    """Make so many projects, each with a file, a history and a held lock."""
    store = DiskStore(directory)
    for number in range(projects):
        project = ProjectId(f"project-{number}")
        store.acquire(project, CLIENT, NOW, TTL)
        store.upload(project, Upload(FileName.LOG, b"{}\n" * 100, CLIENT), NOW)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Data directories with ten and with a thousand projects; making them takes most of the time here."""
    made = {projects: tmp_path_factory.mktemp(f"of-{projects}") for projects in (10, 1000)}
    for projects, directory in made.items():
        fill(directory, projects)
    return made


STEPS: dict[str, Callable[[DiskStore, ProjectId], object]] = {
    "lock": lambda store, project: store.lock(project, NOW),
    "list": lambda store, project: store.heads(project, NOW),
    "download": lambda store, project: store.read(project, FileName.LOG, NOW),
    "upload": lambda store, project: store.upload(project, Upload(FileName.LOG, b"new", CLIENT), NOW),
    "acquire": lambda store, project: store.acquire(project, CLIENT, NOW, TTL),
    "release": lambda store, project: store.release(project, CLIENT, NOW),
    "expired": lambda store, _project: store.expired(NOW),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_touches_as_many_files_among_a_thousand_projects_as_among_ten(
    directories: dict[int, Path], step: str
) -> None:
    """Counted, not timed: opened, linked, renamed, removed, listed."""
    counts = []
    for number, directory in enumerate(directories.values()):
        store = DiskStore(directory)
        project = ProjectId(f"project-{list(STEPS).index(step)}")
        store.acquire(project, CLIENT, NOW, TTL)
        store.upload(project, Upload(FileName.LOG, f"{step} {number}".encode(), CLIENT), NOW)
        with counted() as calls:
            STEPS[step](store, project)
        counts.append(sorted(calls))
    assert counts[0] == counts[1]


def test_a_round_of_the_reaper_costs_by_the_expired_locks(directories: dict[int, Path]) -> None:
    """Of a thousand locks ten have expired: ten projects are looked at."""
    store = DiskStore(directories[1000])
    for project in store.projects():
        store.recover(project)
    for number in range(10):
        store.acquire(ProjectId(f"project-{number}"), CLIENT, NOW, Millis(1))
    with counted() as calls:
        expired = store.expired(Millis(NOW + 1))
    assert calls == []
    assert sorted(project.value for project in expired) == [f"project-{number}" for number in range(10)]
    with counted() as calls:
        reaped = [store.reap(project, Millis(NOW + 1)) for project in expired]
    assert all(reaped)
    assert calls.count("os.rename") == 10
    assert len(calls) <= 10 * 4
    for project in expired:
        store.acquire(project, CLIENT, NOW, TTL)


def test_a_thousand_projects_with_locks_are_served_within_two_seconds_of_the_start(
    directories: dict[int, Path], tmp_path: Path
) -> None:
    """The best of three, since the machine may be busy; and every lock is known, which the reaper shows."""
    seconds = []
    with Daemon(tmp_path, data_dir=directories[1000]) as daemon:
        for _ in range(3):
            daemon.kill()
            before = time.monotonic()
            daemon.start()
            seconds.append(time.monotonic() - before)
        assert min(seconds) < 2.0, seconds
        locks = list(daemon.projects.glob("*/.lock.json"))
        assert len(locks) > 990
        wait_until(lambda: not any(lock.exists() for lock in locks), within=90, every=0.5)
