"""Settings and fixtures of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.often import examples
from tests.store.faults import Faults

settings.register_profile("mneme", examples())
settings.load_profile("mneme")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A disk that fails on order."""
    return Faults(monkeypatch)
