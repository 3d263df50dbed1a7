"""How a project id becomes a directory."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mneme.model import MAX_PROJECT_ID, ProjectId
from mneme.store import layout

ODD = ["e\u0301", *"aA_-./\0\n é記🧠\u2028\\%~:"]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_PROJECT_ID)
odd_texts = st.lists(st.sampled_from(ODD), min_size=1, max_size=8).map("".join)
long_texts = st.builds(lambda text, n: (text * n)[:MAX_PROJECT_ID], odd_texts, st.integers(1, MAX_PROJECT_ID))
ids = (texts | odd_texts | long_texts).map(ProjectId)


def javascript_name(text: str) -> str:
    """`id.replace(/[^a-zA-Z0-9_-]/g, '_')` of the Node server, on UTF-16 code units."""
    units = text.encode("utf-16-le")
    pairs = [units[i : i + 2] for i in range(0, len(units), 2)]
    return "".join(
        chr(pair[0]) if not pair[1] and re.fullmatch("[a-zA-Z0-9_-]", chr(pair[0])) else "_" for pair in pairs
    )


@given(ids, ids)
@example(ProjectId("a.b"), ProjectId("a/b"))
@example(ProjectId("x" * 200), ProjectId("x" * 201))
@example(ProjectId("x" * 511 + "y"), ProjectId("x" * 512))
@example(ProjectId("."), ProjectId(".."))
@example(ProjectId("a\n"), ProjectId("a"))
@example(ProjectId("é"), ProjectId("e\u0301"))
def test_two_ids_never_share_a_directory(one: ProjectId, other: ProjectId) -> None:
    """However alike they are."""
    shared = layout.directory_name(one) == layout.directory_name(other)
    assert shared == (one == other)


@given(ids)
def test_an_id_never_takes_the_directory_that_another_has(one: ProjectId) -> None:
    """An id may look like the directory of another."""
    name = layout.directory_name(one)
    assert name == one.value or layout.directory_name(ProjectId(name)) != name


@given(ids)
@example(ProjectId("x" * 512))
@example(ProjectId("🧠" * 512))
@example(ProjectId(".new-x"))
@example(ProjectId(".history"))
def test_a_directory_name_is_one_on_any_file_system(one: ProjectId) -> None:
    """Short enough; of harmless characters; never hidden, and never a way up."""
    name = layout.directory_name(one)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}|[A-Za-z0-9_-]{1,60}\.[0-9a-f]{16}", name)
    assert not name.startswith(layout.MARK)


@pytest.mark.parametrize("name", ["alpha", "-home-ana-src-my_app", "A", "_", "-", "x" * 200])
def test_a_plain_id_is_its_own_directory(name: str) -> None:
    """As with the Node server."""
    assert layout.directory_name(ProjectId(name)) == name == layout.node_name(ProjectId(name))


def test_other_ids_are_recognizable() -> None:
    """People who look for a project find it by the beginning of its name."""
    assert layout.directory_name(ProjectId("-home-ana-src-my.app")).startswith("-home-ana-src-my_app.")
    assert layout.directory_name(ProjectId("org/repo")).startswith("org_repo.")


@given(texts | odd_texts)
def test_the_node_servers_directory_is_known(text: str) -> None:
    """The Node server replaces UTF-16 code units, not characters."""
    assert layout.node_name(ProjectId(text)) == javascript_name(text)


@given(ids)
def test_a_recorded_id_is_read_again(one: ProjectId) -> None:
    """Whatever it is made of."""
    recorded = msgspec.json.encode(layout.Identity(one.value))
    assert layout.recorded_id(Path("anything"), recorded) == one


@pytest.mark.parametrize(
    "recorded", [b"", b"{", b"{}", b'{"id":5}', b"\xff", b'{"id":"\xff"}', b'"alpha"', b'{"id":"\\ud800"}']
)
def test_an_identity_that_cannot_be_read_is_none(recorded: bytes) -> None:
    """Rather than a guess: the directory may be anybody's."""
    assert layout.recorded_id(Path("alpha"), recorded) is None


def test_a_directory_of_the_node_server_is_known_by_its_name() -> None:
    """If the name can be an id's own; else it could be that of several."""
    assert layout.recorded_id(Path("projects/alpha"), None) == ProjectId("alpha")
    assert layout.recorded_id(Path("projects/a.b"), None) is None
    assert layout.recorded_id(Path("projects/.new-x"), None) is None
    assert layout.recorded_id(Path("projects") / ("x" * 201), None) is None
