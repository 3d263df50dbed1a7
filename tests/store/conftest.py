"""Fixtures of the stores under test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.stores import STORES, Patient, opened


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Patient:
    """An empty store, of each kind in turn."""
    return opened(request.param, tmp_path / "data")
