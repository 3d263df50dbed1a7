"""Settings and fixtures of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings
from twisted.internet.task import Clock

from tests.often import examples
from tests.store.faults import Faults

settings.register_profile("mneme", examples())
settings.load_profile("mneme")


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves, at 0."""
    return Clock()


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A disk that fails on order."""
    return Faults(monkeypatch)
