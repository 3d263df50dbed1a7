"""The limit on open files, and the part that is left for connections."""

import resource
from collections.abc import Iterator

import pytest

from mneme.descriptors import ENOUGH, left_for_connections, raise_limit


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """The limits as they were."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("limit", "left"), [(1024, 960), (564, 500), (256, 192), (128, 64), (64, 32), (20, 10), (1, 1), (0, 1)]
)
def test_a_reserve_is_kept_from_connections(limit: int, left: int) -> None:
    """For disk, log and sockets; half of a small limit."""
    assert left_for_connections(limit) == left


def test_the_limit_is_raised_as_far_as_it_is_of_use() -> None:
    """Never lowered, and not to a number that some systems refuse."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    enough = ENOUGH if most == resource.RLIM_INFINITY else min(ENOUGH, most)
    assert raise_limit() == enough
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (enough, most)
    assert raise_limit() == enough


def test_a_limit_that_the_system_does_not_raise_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server lives with it; one that is high enough is left alone."""

    def refuse(_resource: int, _limits: tuple[int, int]) -> None:
        raise ValueError

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with monkeypatch.context() as patched:
        patched.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
        patched.setattr(resource, "setrlimit", refuse)
        assert raise_limit() == 256
        patched.setattr(resource, "getrlimit", lambda _: (5000, 5000))
        assert raise_limit() == 5000
        patched.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
        assert raise_limit() == ENOUGH
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
