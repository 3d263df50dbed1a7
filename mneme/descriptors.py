"""The limit on open files, and the number of connections that it allows."""

import resource
from contextlib import suppress

ENOUGH = 1024
"""Number of open files that is enough for the server. Asking for no limit fails on some systems."""
_RESERVE = 64
"""Open files kept free for the disk, the log and the listening sockets."""


def raise_limit() -> int:
    """Raise the limit on open files to `ENOUGH`, as far as allowed, and return it."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if most == resource.RLIM_INFINITY else min(ENOUGH, most)
    if now == resource.RLIM_INFINITY or now >= wanted:
        return ENOUGH if now == resource.RLIM_INFINITY else now
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        return wanted
    return now


def left_for_connections(limit: int) -> int:
    """The number of connections for a limit on open files: half of a small limit."""
    return max(1, limit - min(_RESERVE, limit // 2))
