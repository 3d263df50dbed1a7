"""Large computations, which are done outside the transaction because they take too long for it.

A step that needs a large computation raises `ComputeFirst`. The caller computes it, adds the outcome to the `Results`
of the step, and runs the step again.
"""

from collections.abc import Callable
from typing import TypeVar, cast

from msgspec import Struct

from mneme.errors import NotYet
from mneme.model import digest

T = TypeVar("T")

LARGE = 1024 * 1024
"""Bytes of arguments from which a computation is large; below, it takes 15 ms at most."""


class Call(Struct, frozen=True, eq=False):
    """A pure function with its arguments. Equal calls have equal keys."""

    function: Callable[..., object]
    arguments: tuple[object, ...]
    options: dict[str, object]
    key: tuple[object, ...]

    def result(self) -> object:
        """Compute and return the outcome."""
        return self.function(*self.arguments, **self.options)


class ComputeFirst(NotYet):
    """A step that needs the outcome of a large computation first."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


class Results:
    """The outcomes of large computations that a step needs."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], object] = {}

    @property
    def count(self) -> int:
        """The number of recorded outcomes."""
        return len(self._known)

    def add(self, call: Call, result: object) -> None:
        """Record an outcome."""
        self._known[call.key] = result

    def of(self, function: Callable[..., T], *arguments: object, **options: object) -> T:
        """The outcome of a pure function.

        A small computation is done here. A large one raises `ComputeFirst`, unless its outcome was added.
        """
        if sum(map(_size, arguments)) < LARGE:
            return function(*arguments, **options)
        key = (function, *map(_key, arguments), *sorted(options.items()))
        if key not in self._known:
            raise ComputeFirst(Call(function, arguments, options, key))
        return cast(T, self._known[key])


def _size(argument: object) -> int:
    match argument:
        case bytes():
            return len(argument)
        case tuple() | list():
            return sum(map(_size, argument))
        case _:
            return len(getattr(argument, "content", b""))


def _key(argument: object) -> object:
    match argument:
        case bytes():
            return digest(argument)
        case tuple() | list():
            return tuple(map(_key, argument))
        case _:
            content = getattr(argument, "content", None)
            return argument if content is None else (digest(content), getattr(argument, "evidence", None))
