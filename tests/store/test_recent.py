"""Contents at hand, and the bound on them."""

from mneme.store.recent import MAX_KEPT, Recent


def test_contents_not_used_for_longest_go_first() -> None:
    """Room is counted in bytes."""
    recent = Recent(max_bytes=3)
    for name in "abc":
        recent.keep(name, name.encode())
    assert recent.get("a") == b"a"
    recent.keep("d", b"d")
    assert [recent.get(name) for name in "abcd"] == [b"a", None, b"c", b"d"]


def test_a_large_content_is_not_kept() -> None:
    """All others would have to go for it."""
    recent = Recent()
    recent.keep("large", bytes(MAX_KEPT + 1))
    assert recent.get("large") is None
