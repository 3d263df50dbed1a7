"""The limit on open files, and the connections that it leaves room for."""

import resource
from contextlib import suppress

ENOUGH = 1024
"""Open files enough for the server; to ask for "any number" fails on some systems."""
_RESERVE = 64
"""Kept for the disk, the log and the sockets that listen."""


def raise_limit() -> int:
    """Raise the limit on open files, as far as that is of use and allowed, and return it."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if most == resource.RLIM_INFINITY else min(ENOUGH, most)
    if now == resource.RLIM_INFINITY or now >= wanted:
        return ENOUGH if now == resource.RLIM_INFINITY else now
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        return wanted
    return now


def left_for_connections(limit: int) -> int:
    """The connections that a limit on open files leaves room for: half of them if it is small."""
    return max(1, limit - min(_RESERVE, limit // 2))
