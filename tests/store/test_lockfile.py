"""`.lock.json`: ours, the Node server's, and those that are none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.model import ClientId, Lock, Millis
from mneme.store import lockfile
from tests.store.looking import ANA, NOW, TTL

instants = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(Millis)
clients = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200).map(ClientId)
NODE = b"""{
  "clientId": "ana-0a1b2c3d",
  "acquiredAt": "2026-02-04T15:00:00.000Z",
  "expiresAt": "2026-02-04T15:30:00.000Z"
}"""


@given(st.builds(Lock, clients, instants, instants, st.integers(0, 2**62), st.none() | instants))
def test_a_lock_is_read_as_it_was_written(lock: Lock) -> None:
    """To the millisecond, whatever its client calls itself."""
    assert lockfile.decode(lockfile.encode(lock)) == lock


def test_a_lock_is_written_so_that_the_node_server_can_read_it() -> None:
    """And a person, too."""
    written = lockfile.encode(Lock(ANA, NOW, Millis(NOW + TTL), 3, Millis(NOW + 5)))
    ours = {"token": 3, "lastAcquiredAt": "2026-02-04T15:00:00.005Z"}
    assert json.loads(written) == {**json.loads(NODE), **ours}
    assert written.count(b"\n") == 7


def test_a_lock_of_the_node_server_has_no_token() -> None:
    """Which is the token 0, and it was never acquired here."""
    assert lockfile.decode(NODE) == Lock(ANA, NOW, Millis(NOW + TTL), 0)


def test_unknown_fields_are_passed_over() -> None:
    """A later server may write more."""
    assert lockfile.decode(NODE.replace(b"{", b'{"host": {"name": "x"},', 1)) == lockfile.decode(NODE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        NODE[:-1],
        NODE + NODE,
        NODE.replace(b"ana-0a1b2c3d", b"\xff"),
        NODE.replace(b'"ana-0a1b2c3d"', b"null"),
        NODE.replace(b"2026-02-04T15:30:00.000Z", b"tomorrow"),
        NODE.replace(b"2026-02-04T15:30:00.000Z", b"2026-02-30T15:30:00.000Z"),
        NODE.replace(b'"2026-02-04T15:30:00.000Z"', b"1770217200000"),
        NODE.replace(b"clientId", b"client"),
        NODE.replace(b"{", b'{"token": "3",', 1),
        NODE.replace(b"{", b'{"token": 3.5,', 1),
        NODE.replace(b"{", b'{"token": -1,', 1),
        NODE.replace(b"{", b'{"lastAcquiredAt": "now",', 1),
        NODE.replace(b"{", b'{"lastAcquiredAt": 1770217200000,', 1),
        NODE.replace(b"{", b'{"token": 9223372036854775808,', 1),
        NODE.replace(b"{", b'{"deep": ' + b"[" * 100_000, 1),
    ],
    ids=lambda content: repr(content[:30]),
)
def test_a_file_that_cannot_be_read_is_no_lock(content: bytes) -> None:
    """Empty, cut short, broken, of another shape."""
    assert lockfile.decode(content) is None


@given(st.binary(max_size=80) | st.integers(0, len(NODE) - 1).map(lambda length: NODE[:length]))
def test_reading_never_fails(content: bytes) -> None:
    """Whatever lies there."""
    assert lockfile.decode(content) is None
