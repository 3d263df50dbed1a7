"""The base of a client: the versions of a file that it may have, and which of them it surely got."""

from collections.abc import Container, Sequence
from itertools import takewhile

from attrs import evolve, frozen

from mneme.model import Millis, Version

MAX_CANDIDATES = 16
"""The versions of a base that were perhaps not received; of more, the oldest count: they remove least."""


@frozen
class Base:
    """Versions of a file that a client may have, in the order in which it got them.

    Those whose numbers are in `received` it surely got: it took the whole answer, or uploaded them. The newest of these
    puts all before it out. `lacking` is when the client last pushed its base unchanged while the head was another; None
    if it never did since it got that base.
    """

    known: tuple[Version, ...] = ()
    received: frozenset[int] = frozenset()
    lacking: Millis | None = None

    @classmethod
    def of(cls, version: Version, lacking: Millis | None = None) -> "Base":
        """The base of a client that has this version for sure."""
        return cls((version,), frozenset({version.number}), lacking)

    @property
    def left(self) -> tuple[Version, ...]:
        """Those that the newest received one does not put out."""
        places = [place for place, version in enumerate(self.known) if version.number in self.received]
        return self.known[places[-1] if places else 0 :]

    @property
    def sure(self) -> Version | None:
        """The newest that the client surely got."""
        return next((version for version in self.left if version.number in self.received), None)

    def has(self, number: int) -> bool:
        """Whether the client has this version for sure, and nothing newer was sent."""
        return bool(self.known) and self.known[-1].number == number and number in self.received

    def with_sent(self, version: Version) -> "Base":
        """The same, and the client is being sent this version, unless it may have many others already."""
        left = self.left
        if version.number in {one.number for one in left} or len(left) > MAX_CANDIDATES:
            return self
        return evolve(
            self, known=(*left, version), received=self.received & {version.number for version in left}
        )

    def with_received(self, number: int) -> "Base":
        """The same, and the client has received this version, if it was sent."""
        if all(version.number != number for version in self.known):
            return self
        lacking = None if self.known[-1].number == number else self.lacking
        return evolve(self, received=self.received | {number}, lacking=lacking)

    def without_received(self, number: int) -> "Base":
        """The same, and the client has perhaps not received this version."""
        return evolve(self, received=self.received - {number})


def still_known(known: Sequence[int], received: Container[int], there: Container[int]) -> Sequence[int]:
    """The numbers in `known` that a client may still have, of versions that are `there`.

    Past a missing one none is: what is newer could be taken for the base by what that one had in it. What is older
    than the newest received one may be missing.
    """
    newest = max((place for place, number in enumerate(known) if number in received), default=0)
    start = 0 if all(number in there for number in known[:newest]) else newest
    return list(takewhile(lambda number: number in there, known[start:]))
