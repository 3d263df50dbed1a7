"""Rate limit: a token bucket for each API key, or for each address."""

import math
import zlib

import token_bucket

from mneme.web.errors import TooManyRequests
from mneme.web.slots import group_of

SESSION = 14
"""Requests of one session of the stock client, which always fit into one burst."""

_SLOTS = 4096


class RateLimit:
    """Requests a minute for each caller, in bursts of up to a minute's worth.

    Addresses share a fixed number of buckets by their checksum, so that no flood of addresses makes this grow.
    """

    def __init__(self, per_minute: int) -> None:
        """Allow `per_minute` requests a minute and caller; 0 allows any number."""
        self._rate = per_minute / 60
        self._storage = token_bucket.MemoryStorage()
        capacity = max(SESSION, per_minute)
        self._limiter = token_bucket.Limiter(self._rate, capacity, self._storage) if per_minute else None

    def take_for_key(self, number: int) -> None:
        """Count a request under the API key at `number`; raises `TooManyRequests`."""
        self._take(f"key {number}")

    def take_for_address(self, address: str) -> None:
        """Count a request from `address`, or all of its network (see `group_of`); raises `TooManyRequests`."""
        self._take(f"slot {zlib.crc32(group_of(address).encode()) % _SLOTS}")

    def _take(self, bucket: str) -> None:
        if self._limiter and not self._limiter.consume(bucket):
            missing = 1 - self._storage.get_token_count(bucket)
            raise TooManyRequests(max(1, math.ceil(missing / self._rate)))
