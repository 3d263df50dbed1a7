"""Tests of the stores."""

import pytest

pytest.register_assert_rewrite("tests.store.asking", "tests.store.looking")
