"""What tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.store.faults import Faults

# Other work on the same machine makes any example slow at times.
settings.register_profile("mneme", deadline=None)
settings.load_profile("mneme")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A disk that fails on order."""
    return Faults(monkeypatch)
