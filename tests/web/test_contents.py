"""Contents that are kept encoded between an upload and the downloads after it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mneme.model import FileName, Head, Millis, digest
from mneme.web.contents import MAX_KEPT, Contents
from tests.web.stub import Stub


def _head(content: bytes) -> Head:
    return Head(FileName.LOG, 1, len(content), Millis(0), digest(content))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=40))
def test_what_is_kept_never_takes_more_than_its_bound(uses: list[tuple[int, int]]) -> None:
    """And the last that was used is there, if there is room for it at all."""
    contents = Contents(max_bytes=100)
    sizes: dict[str, int] = {}
    for name, drawn in uses:
        size = sizes.setdefault(str(name), drawn)
        contents.use(str(name))
        contents.keep(str(name), b"x" * size)
        assert contents.get(str(name)) == b"x" * size
        assert sum(len(contents.get(known) or b"") for known in sizes) <= 100


def test_what_was_not_used_for_longest_makes_room() -> None:
    """Using it again keeps it."""
    contents = Contents(max_bytes=2)
    for name in "ab":
        contents.keep(name, b"x")
    contents.use("a")
    contents.keep("c", b"x")
    assert [contents.get(name) for name in "abc"] == [b"x", None, b"x"]


def test_a_content_that_is_too_large_is_encoded_each_time() -> None:
    """It would leave no room for others."""
    contents, content = Contents(), b"x" * MAX_KEPT
    encoded = contents.encoded(_head(content), content)
    assert json.loads(encoded) == content.decode()
    assert contents.get(digest(content)) is None


def test_what_was_written_while_it_was_read_is_not_kept() -> None:
    """It is not what its head says."""
    contents = Contents()
    assert contents.encoded(_head(b"one"), b"two") == b'"two"'
    assert contents.get(digest(b"one")) is None
    assert contents.encoded(_head(b"one"), b"one") == b'"one"'
    assert contents.get(digest(b"one")) == b'"one"'


def test_an_upload_is_downloaded_as_it_was_even_in_other_escapes() -> None:
    """The JSON that it came as is JSON still, whatever of it is escaped."""
    stub = Stub()
    stub.acquire()
    body = b'{ "content": "caf\\u00e9 \\ud83e\\udde0 \\/ \\n"}'
    headers = {"X-Client-Id": "laptop", "Content-Type": "application/json"}
    assert stub.ask("PUT", "/projects/demo/files/log.jsonl", headers, body).status == 200
    for _ in range(2):
        told = stub.ask("GET", "/projects/demo/files/log.jsonl").json
        assert (told["content"], told["version"]) == ("café 🧠 / \n", 1)


def test_a_merged_upload_is_not_downloaded_in_place_of_the_head() -> None:
    """What two machines wrote comes back together, not what the last one sent."""
    stub = Stub()
    for client, line in (("laptop", '{"a":1}\n'), ("desk", '{"b":2}\n')):
        stub.acquire(client)
        stub.upload(client, line)
        stub.release(client)
    assert set(stub.ask("GET", "/projects/demo/files/log.jsonl").json["content"].split()) == {
        '{"a":1}',
        '{"b":2}',
    }
