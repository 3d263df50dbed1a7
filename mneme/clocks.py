"""The clocks of the machine. Whoever puts a process together picks them here; all others are handed them."""

import secrets
import time
from pathlib import Path
from typing import Protocol


class WallClock(Protocol):
    """What tells the time of day, by which locks expire on every machine alike."""

    def seconds(self) -> float:
        """Seconds since 1970 UTC."""
        ...


class TimeOfDay:
    """See `WallClock`."""

    def seconds(self) -> float:
        """Seconds since 1970 UTC."""
        return time.time()


class Uptime:
    """A clock that nobody sets, and that goes on while the machine sleeps."""

    def seconds(self) -> float:
        """Seconds since that instant."""
        # Linux has a clock that goes on in sleep by this name; elsewhere the other one does.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def monotonic() -> float:
    """Seconds for timers, which must not follow the time of day: it can jump by years where the board has no clock."""
    return time.monotonic()


def boot() -> str:
    """The name of this boot of the machine; a new one for each process where none is known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(8)
