"""Finding the content in the body of an upload."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.errors import InvalidBody
from mneme.web.bodies import content_of, lines_of, version_in

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ENTRY = b'{"ts":"2026-01-02T03:04:05.678Z","type":"note","content":"Use tabs"}'


@given(TEXT, st.sampled_from([b"application/json", b"application/json; charset=utf-8", None, b"x/y"]))
def test_an_envelope_holds_its_content(content: str, content_type: bytes | None) -> None:
    """Any text, as JSON of either kind of escaping, comes out as UTF-8."""
    for ascii_only in (True, False):
        body = json.dumps({"content": content}, ensure_ascii=ascii_only).encode()
        assert content_of(body, content_type) == content.encode()


@given(
    TEXT.filter(bool), st.sampled_from([b"text/plain", b"TEXT/markdown; x=y", b"application/octet-stream"])
)
def test_text_and_octet_streams_are_the_content_themselves(content: str, content_type: bytes) -> None:
    """Even one that looks like an envelope."""
    assert content_of(content.encode(), content_type) == content.encode()
    envelope = json.dumps({"content": content}).encode()
    assert content_of(envelope, content_type) == envelope


@given(st.binary())
def test_any_bytes_give_valid_utf8_or_the_one_error(body: bytes) -> None:
    """Never another exception, never a content that cannot be sent back."""
    for content_type in (None, b"application/json", b"text/plain", b"\xff"):
        with suppress(InvalidBody):
            content_of(body, content_type).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1,2]",
        b'"text"',
        b"null",
        b"{}",
        b'{"contnt":"typo"}',
        b'{"content":null}',
        b'{"content":{"x":1}}',
        b'{"content":1}',
        b'{"content":"x"',
        b'{"content":"x"} {}',
        b'\xef\xbb\xbf{"content":"x"}',
        rb'{"content":"\ud800"}',
        b'{"content":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"content":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_json_that_is_no_envelope_is_an_error(body: bytes) -> None:
    """A typo must not empty a file."""
    with pytest.raises(InvalidBody):
        content_of(body, b"application/json")


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/x-ndjson", None, b"image/png"])
def test_content_that_is_not_utf8_is_an_error_that_says_where(content_type: bytes | None) -> None:
    """The byte is counted from 0."""
    with pytest.raises(InvalidBody, match="byte 2"):
        content_of(b"ab\xff", content_type)


def test_an_empty_envelope_empties_a_file_on_purpose() -> None:
    """An empty string is a content."""
    assert content_of(b'{"content":""}', b"application/json") == b""


def test_without_a_content_type_what_is_no_envelope_is_the_content() -> None:
    """JSON of another shape included."""
    assert content_of(b'{"a":1}', None) == b'{"a":1}'


@pytest.mark.parametrize("content_type", [None, b"application/x-www-form-urlencoded", b"text/plain", b"x/y"])
def test_an_entry_of_the_log_sent_alone_is_the_content(content_type: bytes | None) -> None:
    """Its time and type are not lost: an envelope has a `content` alone."""
    assert content_of(ENTRY, content_type) == ENTRY
    assert lines_of(ENTRY, content_type) == ENTRY


def test_json_with_another_key_is_an_error_that_says_which_keys_an_envelope_has() -> None:
    """An entry of the log that is said to be JSON is no envelope either."""
    with pytest.raises(InvalidBody, match=r"one key, content, .*`ts`"):
        content_of(ENTRY, b"application/json")
    with pytest.raises(InvalidBody, match=r"one key, content, .*`ts`"):
        lines_of(ENTRY, b"application/json")


@given(TEXT, TEXT.filter(lambda key: key != "content"), TEXT)
def test_an_object_with_any_other_key_is_no_envelope(content: str, key: str, value: str) -> None:
    """Wherever the other key stands, and whatever it is."""
    for fields in ({"content": content, key: value}, {key: value, "content": content}):
        body = json.dumps(fields).encode()
        assert content_of(body, None) == body
        with pytest.raises(InvalidBody):
            content_of(body, b"application/json")


@given(st.integers(1, 2**63 - 1), st.dictionaries(TEXT.filter(lambda key: key != "version"), TEXT))
def test_an_order_to_restore_holds_the_number_of_a_version(number: int, others: dict[str, str]) -> None:
    """Among whatever else is in it: no other meaning of such a body is lost."""
    assert version_in(json.dumps(others | {"version": number}).encode()) == number


@given(st.binary() | st.integers(max_value=0).map(lambda n: b'{"version":%d}' % n))
def test_any_other_order_to_restore_is_the_one_error(body: bytes) -> None:
    """Never another exception, never a number that no version can have."""
    with suppress(InvalidBody):
        assert version_in(body) >= 1


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{}", b"[]", b"[1]", b"1", b"null", b'"1"', b"version=1", b"\xff"),
        b'{"Version":1}',
        b'{"version":"1"}',
        b'{"version":1.5}',
        b'{"version":1e400}',
        b'{"version":NaN}',
        b'{"version":0}',
        b'{"version":-1}',
        b'{"version":true}',
        b'{"version":null}',
        b'{"version":[1]}',
        b'{"version":{"version":1}}',
        b'{"version":1',
        b'{"version":1}x',
        b'{"version":' + b"9" * 5000 + b"}",
        b'\xef\xbb\xbf{"version":1}',
        '{"version":1}'.encode("utf-16"),
        b'{"vers\xffion":1}',
        b"[" * 100_000,
        b'{"version":' * 5_000,
        b'{"version":1,"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_an_order_that_names_no_version_is_an_error_that_shows_one_that_does(body: bytes) -> None:
    """So that nobody has to look it up."""
    with pytest.raises(InvalidBody, match=r'\{"version": 3\}'):
        version_in(body)
