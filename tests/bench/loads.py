"""What is asked of a server, by how many machines and for how long, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from attrs import frozen

TIMEOUT = 10.0
"""Seconds after which an answer counts as failed: the patience of the stock client."""


@frozen
class Request:
    """One request with marks for what differs each time, and what its answer has at least."""

    name: str
    template: bytes
    token: bytes
    least: int = 0


@frozen
class Load:
    """Machines that send the same requests, one after the other and over and over, a connection each.

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
        assert at.hostname is not None, self.url
        assert at.port is not None, self.url
        return at.hostname, at.port


@frozen
class Lap:
    """What one machine has lived through: from when to when, and how long each request and each session took."""

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
    """What all machines together have lived through."""

    length: int
    laps: tuple[Lap, ...]

    @property
    def requests_per_second(self) -> float:
        """Answered requests a second, of all machines."""
        return sum(lap.per_second for lap in self.laps)

    @property
    def sessions_per_second(self) -> float:
        """The same in sessions: as many requests as make one count as one, so that nothing is lost at the end."""
        return self.requests_per_second / self.length

    @property
    def asked(self) -> int:
        """How many requests there were."""
        return sum(len(lap.requests) for lap in self.laps)

    @property
    def failed(self) -> int:
        """How many of them did not get the answer that they should."""
        return sum(lap.failed for lap in self.laps)

    def request(self, share: float) -> float:
        """The seconds within which that share of the requests was answered."""
        return percentile([one for lap in self.laps for one in lap.requests], share)

    def session(self, share: float) -> float:
        """The seconds within which that share of the sessions was over."""
        return percentile([one for lap in self.laps for one in lap.sessions], share)


class Generator(Protocol):
    """What generates a load."""

    @property
    def name(self) -> str:
        """What it is called, for people."""
        ...

    def run(self, load: Load) -> Outcome:
        """Generate the load, and wait for its end. `NotMeasured` if it cannot be."""
        ...


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below that share of all; not a number when there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]
