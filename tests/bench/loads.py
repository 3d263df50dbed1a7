"""Load on a server: the requests of some machines, and how they were answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import urlsplit

from attrs import frozen

TIMEOUT = 10.0
"""Seconds after which an answer counts as failed: the patience of the stock client."""


@frozen
class Request:
    """A request with marks for what differs, and the least that its answer holds."""

    name: str
    template: bytes
    token: bytes
    least: int = 0


@frozen
class Load:
    """Machines that send the same requests over and over, in order, on a connection each.

    They stop after `seconds`, or, if `sessions` is not 0, when each has gone through all requests so often. Machine k
    takes turns with the projects from `k * projects` on.
    """

    url: str
    requests: tuple[Request, ...]
    machines: int
    seconds: float
    sessions: int = 0
    projects: int = 1

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        at = urlsplit(self.url)
        return str(at.hostname), int(at.port or 80)


@frozen
class Lap:
    """Begin and end of a machine, and the seconds of its requests and sessions."""

    began: float
    ended: float
    requests: list[float]
    sessions: list[float]
    failed: int

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.requests) / (self.ended - self.began) if self.ended > self.began else 0.0


@frozen
class Outcome:
    """Laps of all machines, and how many requests make a session."""

    length: int
    laps: tuple[Lap, ...]

    @property
    def requests_per_second(self) -> float:
        """Answered requests a second, of all machines."""
        return sum(lap.per_second for lap in self.laps)

    @property
    def sessions_per_second(self) -> float:
        """Answered requests a second, counted in sessions, so that unfinished sessions count as well."""
        return self.requests_per_second / self.length

    @property
    def sessions(self) -> float:
        """Number of sessions, with parts of unfinished ones."""
        return self.asked / self.length

    @property
    def asked(self) -> int:
        """Number of requests."""
        return sum(len(lap.requests) for lap in self.laps)

    @property
    def failed(self) -> int:
        """Number of requests without the right answer."""
        return sum(lap.failed for lap in self.laps)

    def request(self, share: float) -> float:
        """Milliseconds within which that share of the requests was answered."""
        return 1000 * percentile([one for lap in self.laps for one in lap.requests], share)

    def session(self, share: float) -> float:
        """Milliseconds within which that share of the sessions was over."""
        return 1000 * percentile([one for lap in self.laps for one in lap.sessions], share)


def percentile(values: Sequence[float], share: float) -> float:
    """Smallest value that is not below that share of all; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def ratio(of: float, to: float) -> float:
    """Quotient of two figures; NaN if there is nothing to divide by."""
    return of / to if to else math.nan
