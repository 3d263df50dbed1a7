"""Fixtures of the client's tests: a server, and two machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.machines import Machine, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A new server."""
    return World(tmp_path)


@pytest.fixture
def laptop(world: World) -> Machine:
    """A machine that has nothing."""
    return world.machine("laptop")


@pytest.fixture
def desktop(world: World) -> Machine:
    """Another machine that has nothing."""
    return world.machine("desktop")
