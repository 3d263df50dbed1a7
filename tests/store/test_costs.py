"""Costs of steps among few projects and many, counted in steps of SQLite."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from mneme.model import FileName, Millis, ProjectId, Upload
from mneme.store import Store
from tests.kept import MemoryStore
from tests.store.looking import ANA, BEN, NOW, TTL

LOG = FileName.LOG
FEW, MANY = 10, 1000
LATER = Millis(NOW + 10_000)

STEPS: dict[str, Callable[[Store, ProjectId], object]] = {
    "lock": lambda store, project: store.lock(project, NOW),
    "acquire": lambda store, project: store.acquire(project, ANA, NOW, TTL),
    "list": lambda store, project: store.heads(project, NOW),
    "download": lambda store, project: store.download(project, LOG, ANA, NOW),
    "upload": lambda store, project: store.upload(project, Upload(LOG, b"new", ANA), NOW),
    "versions": lambda store, project: store.history(project, LOG, NOW, 1),
    "release": lambda store, project: store.release(project, ANA, NOW),
    "expired": lambda store, _project: store.expired(NOW),
    "reap": lambda store, project: store.reap(project, Millis(NOW + TTL)),
}


@cache
def filled(projects: int) -> MemoryStore:
    """A store with so many projects, a few of them locked; to be copied."""
    store = MemoryStore()
    for number in range(projects):
        project = ProjectId(f"project-{number}")
        store.acquire(project, ANA, NOW, TTL)
        store.upload(project, Upload(LOG, b"%d" % number, ANA), NOW)
        if number >= FEW:
            store.release(project, ANA, NOW)
    return store


def cost(store: MemoryStore, step: Callable[[], object]) -> int:
    """The steps that SQLite takes, in tens."""
    count = 0

    def counted() -> int:
        nonlocal count
        count += 1
        return 0

    store.database.connection.set_progress_handler(counted, 10)
    try:
        step()
    finally:
        store.database.connection.set_progress_handler(None, 10)
    return count


@pytest.mark.parametrize("step", STEPS)
def test_a_step_costs_as_much_among_a_thousand_projects_as_among_ten(step: str) -> None:
    """Some tens of steps more are for a deeper index."""
    costs = []
    for projects in (FEW, MANY):
        store = filled(projects).copied()
        costs.append(cost(store, lambda store=store: STEPS[step](store, ProjectId("project-3"))))  # type: ignore[misc]
    assert costs[1] <= costs[0] * 1.1 + 5, costs


def test_the_newest_version_costs_as_much_among_a_thousand_as_among_ten() -> None:
    """By index, not by a look through all of them."""
    costs = []
    for versions in (FEW, MANY):
        store = MemoryStore()
        store.acquire(ProjectId("alpha"), ANA, NOW, TTL)
        for number in range(versions):
            store.upload(ProjectId("alpha"), Upload(LOG, b"%d" % number, ANA), NOW)
        costs.append(cost(store, lambda store=store: store.history(ProjectId("alpha"), LOG, NOW, 1)))  # type: ignore[misc]
    assert costs[1] <= costs[0] * 1.1 + 5, costs


def test_made_up_clients_make_nobody_else_wait_and_are_bounded() -> None:
    """A lock costs as much after thousands of them, and most are forgotten."""
    costs = []
    for clients in (FEW, 3000):
        store = MemoryStore()
        for number in range(clients):
            client = type(ANA)(f"made-up-{number}")
            now = Millis(NOW + number)
            store.acquire(ProjectId("alpha"), client, now, Millis(1))
        costs.append(cost(store, lambda store=store: store.acquire(ProjectId("alpha"), BEN, LATER, TTL)))  # type: ignore[misc]
        (known,) = store.database.connection.execute("SELECT count(*) FROM clients").fetchone()
        assert known <= 1000
    # Whoever is one too many has the oldest of the thousand forgotten.
    assert costs[1] <= costs[0] + 3000, costs


def test_made_up_clients_take_no_base_from_a_client_that_uploads() -> None:
    """A forgotten fact stays forgotten, however many ids somebody makes up."""
    store, project = MemoryStore(), ProjectId("alpha")
    store.acquire(project, ANA, NOW, TTL)
    for lines in (b"one\n", b"one\ntwo\n", b"one\ntwo\nthree\n"):
        store.upload(project, Upload(LOG, lines, ANA), NOW)
    for number in range(1100):
        store.download(project, LOG, type(ANA)(f"made-up-{number}"), Millis(NOW + 120_000))
    known = store.database.connection.execute(
        "SELECT client FROM bases WHERE client = ?", (ANA.value,)
    ).fetchall()
    assert known == [(ANA.value,)]
