"""Tests of the stores."""

import pytest

pytest.register_assert_rewrite("tests.store.store_contract", "tests.store.looking")
