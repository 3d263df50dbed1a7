"""Laws of every merge, whatever the contents."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mneme.merge import is_well_formed, merge
from mneme.merge.bounds import body_size
from mneme.model import MEMORY, FileName
from tests.merge.looking import alike, chosen, has_lists, items, merged
from tests.merge.strategies import LIMIT, anything, contents

every_file = pytest.mark.parametrize("file", MEMORY)
every_file_of_items = pytest.mark.parametrize(
    "file", [file for file in MEMORY if file is not FileName.SUMMARY_MD]
)


def sides(data: st.DataObject, of: st.SearchStrategy[bytes]) -> tuple[bytes | None, bytes, bytes]:
    """A base, which may be unknown, a head and an upload."""
    return data.draw(st.none() | of), data.draw(of), data.draw(of)


@every_file
@given(data=st.data(), later=st.booleans())
def test_a_side_that_changed_nothing_gives_way(file: FileName, data: st.DataObject, later: bool) -> None:
    """The other side is the result, byte for byte, whatever its form."""
    base, other = data.draw(anything(file)), data.draw(anything(file))
    assert merge(file, base, other, base, upload_is_later=later, max_bytes=0) == other
    assert merge(file, base, base, other, upload_is_later=later, max_bytes=0) == other
    for before in (None, base):
        assert merge(file, before, other, other, upload_is_later=later, max_bytes=0) == other


@every_file
@given(data=st.data(), later=st.booleans())
def test_no_bytes_raise(file: FileName, data: st.DataObject, later: bool) -> None:
    """Malformed contents are not merged, and a result can be merged again."""
    base, head, upload = sides(data, anything(file))
    result = merge(file, base, head, upload, upload_is_later=later, max_bytes=LIMIT)
    if upload not in (head, base) and head != base:
        assert (result is not None) == (is_well_formed(file, head) and is_well_formed(file, upload))
    if result is not None:
        merge(file, head, result, upload, upload_is_later=later, max_bytes=LIMIT)
    chosen(file, base, [head, upload], upload)


@every_file_of_items
@given(data=st.data(), later=st.booleans())
def test_no_addition_is_lost(file: FileName, data: st.DataObject, later: bool) -> None:
    """Items that a side added are in the result, as often as there."""
    base, head, upload = sides(data, contents(file))
    result = items(file, merged(file, base, head, upload, later=later))
    before = items(file, base) if base is not None else {}
    for item, count in (items(file, head) | items(file, upload)).items():
        assert item in before or result[item] == count


@every_file_of_items
@given(data=st.data(), later=st.booleans())
def test_no_deletion_is_undone(file: FileName, data: st.DataObject, later: bool) -> None:
    """Items that either side removed, and the other did not change, are gone."""
    base, head, upload = data.draw(contents(file)), data.draw(contents(file)), data.draw(contents(file))
    result = items(file, merged(file, base, head, upload, later=later))
    before, ours, theirs = (items(file, content) for content in (base, head, upload))
    for item, count in before.items():
        removed = min(ours[item], theirs[item]) == 0 and max(ours[item], theirs[item]) in (0, count)
        # An entity that one side removed stays if the other has changed it, and so does a list that is gone as a whole.
        whole = file is FileName.ENTITIES or (file is FileName.SUMMARY_JSON and not has_lists(head, upload))
        if removed and (not whole or ours[item] == theirs[item]):
            assert item not in result


@every_file_of_items
@given(data=st.data(), later=st.booleans())
def test_nothing_is_made_up(file: FileName, data: st.DataObject, later: bool) -> None:
    """Every item of the result is on a side."""
    base, head, upload = sides(data, contents(file))
    result = items(file, merged(file, base, head, upload, later=later))
    assert result <= items(file, head) | items(file, upload)


@every_file
@given(data=st.data(), later=st.booleans())
def test_either_order_gives_the_same(file: FileName, data: st.DataObject, later: bool) -> None:
    """Exchanged sides give an equal result, but for the order."""
    base, head, upload = sides(data, contents(file))
    one = merged(file, base, head, upload, later=later)
    other = merged(file, base, upload, head, later=not later)
    assert alike(file, one, other)


@every_file
@given(data=st.data(), later=st.booleans())
def test_merging_again_changes_nothing(file: FileName, data: st.DataObject, later: bool) -> None:
    """Merging the result again changes nothing."""
    base, head, upload = sides(data, contents(file))
    result = merged(file, base, head, upload, later=later)
    # Of two logs, lines can be left that are no entries.
    assume(is_well_formed(file, result))
    assert merged(file, upload, result, upload, later=later) == result
    assert merged(file, head, head, result, later=later) == result
    if file is not FileName.ENTITIES or base is None:
        assert merged(file, base, result, upload, later=later) == result
        assert merged(file, base, head, result, later=later) == result


@every_file
@given(data=st.data(), later=st.booleans(), max_bytes=st.integers(0, 400))
def test_a_merge_fits_into_the_limit(
    file: FileName, data: st.DataObject, later: bool, max_bytes: int
) -> None:
    """The result is within the limit, or equals a side."""
    base, head, upload = sides(data, anything(file))
    result = merge(file, base, head, upload, upload_is_later=later, max_bytes=max_bytes)
    assert result in (None, head, upload) or body_size(result) <= max_bytes
