"""What tests share."""

from __future__ import annotations

import pytest

from tests.store.faults import Faults


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """A disk that fails on order."""
    return Faults(monkeypatch)
