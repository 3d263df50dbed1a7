"""The base of a client: the versions of a file that the client may have."""

from collections.abc import Container, Sequence
from itertools import takewhile

from msgspec import Struct
from msgspec.structs import replace

from mneme.model import Millis, Version

MAX_CANDIDATES = 16
"""Most versions in a base that may not have been received.

Later ones are not added: with an older base, a merge removes less.
"""


class Base(Struct, frozen=True):
    """Versions of a file that a client may have, in the order of sending.

    `received` has the numbers of those that the client surely has: it took the whole answer, or uploaded them itself.
    The newest received version replaces all before it. `lacking` is the time at which the client last pushed its base
    unchanged while the head was another version; None if it has not done so since it got that base.
    """

    known: tuple[Version, ...] = ()
    received: frozenset[int] = frozenset()
    lacking: Millis | None = None

    @classmethod
    def of(cls, version: Version, lacking: Millis | None = None) -> "Base":
        """The base of a client that surely has this version, and no other."""
        return cls((version,), frozenset({version.number}), lacking)

    @property
    def left(self) -> tuple[Version, ...]:
        """The newest received version, and all that were sent after it."""
        places = [place for place, version in enumerate(self.known) if version.number in self.received]
        return self.known[places[-1] if places else 0 :]

    @property
    def sure(self) -> Version | None:
        """The newest version that the client surely has."""
        return next((version for version in self.left if version.number in self.received), None)

    def has(self, number: int) -> bool:
        """Whether the client surely has this version, and nothing newer was sent."""
        return bool(self.known) and self.known[-1].number == number and number in self.received

    def with_sent(self, version: Version) -> "Base":
        """The base after this version is sent to the client.

        Nothing changes if the base has the version already, or has `MAX_CANDIDATES` others.
        """
        left = self.left
        if version.number in {one.number for one in left} or len(left) > MAX_CANDIDATES:
            return self
        return replace(
            self, known=(*left, version), received=self.received & {version.number for version in left}
        )

    def with_received(self, number: int) -> "Base":
        """The base after the client has received this version; unchanged if never sent."""
        if all(version.number != number for version in self.known):
            return self
        lacking = None if self.known[-1].number == number else self.lacking
        return replace(self, received=self.received | {number}, lacking=lacking)

    def without_received(self, number: int) -> "Base":
        """The base if the client may not have received this version."""
        return replace(self, received=self.received - {number})


def still_known(known: Sequence[int], received: Container[int], there: Container[int]) -> Sequence[int]:
    """The numbers in `known` that may still be the base.

    `there` has the numbers of the existing versions. The list ends at the first missing version. A newer one shares its
    lines with the missing one, and could be taken for the base by mistake. Versions older than the newest received one
    may be missing: they do not count.
    """
    newest = max((place for place, number in enumerate(known) if number in received), default=0)
    start = 0 if all(number in there for number in known[:newest]) else newest
    return list(takewhile(lambda number: number in there, known[start:]))
