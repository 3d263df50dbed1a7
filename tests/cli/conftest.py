"""A person in Athens, who types the commands."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def in_athens() -> Iterator[None]:
    """Two hours ahead of UTC in winter."""
    with pytest.MonkeyPatch.context() as there:
        there.setenv("TZ", "EET-2")
        time.tzset()
        yield
    time.tzset()
