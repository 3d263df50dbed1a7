"""Contents as JSON strings."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.merge.bounds import body_size
from mneme.model import Millis, digest
from mneme.web import encoding as encoding_module
from mneme.web.encoding import Encoding
from tests.immediate import ImmediateWorker
from tests.results import result_of, started, waits
from tests.stepped import SteppedWorker

LARGE = 256 * 1024


def downloaded(content: bytes) -> bytes:
    """The body of a download."""
    encoding = Encoding(ImmediateWorker())
    return msgspec.json.encode(result_of(encoding.download(content, digest(content), Millis(0), 1)))


def encoded(content: bytes) -> bytes:
    """A content, encoded."""
    return result_of(_encoded(Encoding(ImmediateWorker()), content))


async def _encoded(encoding: Encoding, content: bytes) -> bytes:
    return bytes((await encoding.download(content, digest(content), Millis(0), 1)).content)


@given(
    st.lists(st.text(max_size=20) | st.binary(max_size=20), max_size=8).map(
        lambda parts: b"".join(one.encode(errors="replace") if isinstance(one, str) else one for one in parts)
    ),
    st.integers(1, 30),
)
def test_pieces_join_to_the_encoding_of_the_whole(content: bytes, size: int) -> None:
    """Also if cut in a character, an escape, or bytes that are no text."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoding_module, "_LARGE", size)
        assert encoded(content) == msgspec.json.encode(content.decode(errors="replace"))


@given(st.text(max_size=50) | st.binary(max_size=50))
def test_a_download_is_as_long_as_merges_reckon(text: str | bytes) -> None:
    """But for the digits of the version; so a merge stays within the limit."""
    content = text.encode(errors="replace") if isinstance(text, str) else text
    assert 0 <= body_size(content) - len(downloaded(content)) <= 12


@pytest.mark.parametrize("length", [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
def test_a_content_of_any_length_comes_back(length: int) -> None:
    """Control characters and others that are written as several included."""
    content = ('"\\\x00\né🧠' * (length // 10)).encode()[:length]
    assert json.loads(encoded(content)) == content.decode(errors="replace")


@pytest.mark.parametrize("length", [1, LARGE])
def test_bytes_that_are_no_utf8_are_shown_as_such(length: int) -> None:
    """Somebody put it there by hand, and everything else of it is sent."""
    content = b"a" * length + b"\xff" + b"b"
    assert json.loads(encoded(content)) == "a" * length + "\ufffdb"


def test_only_what_is_large_takes_a_step_off_the_reactor() -> None:
    """A hop for each small answer would cost more than its encoding."""
    worker = SteppedWorker()
    assert result_of(_encoded(Encoding(worker), b"x" * (LARGE - 1)))
    large = started(_encoded(Encoding(worker), b"x" * LARGE))
    assert waits(large)
    worker.finish()
    assert len(result_of(large)) == LARGE + 2


def test_a_large_content_counts_after_its_client_has_hung_up() -> None:
    """Until it is encoded, it is in memory."""
    worker = SteppedWorker()
    gone = started(_encoded(Encoding(worker), b"x" * LARGE))
    gone.addErrback(lambda _: None)
    gone.cancel()
    assert worker.abandoned_weight == LARGE
    worker.finish()
    assert worker.abandoned_weight == 0
