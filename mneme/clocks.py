"""The clocks of the machine. The code that sets a process up passes them on."""

import secrets
import time
from pathlib import Path
from typing import Protocol


class WallClock(Protocol):
    """A clock with the time of day, by which locks expire."""

    def seconds(self) -> float:
        """Seconds since 1970 UTC."""
        ...


class SleepingClock(WallClock, Protocol):
    """A clock with the time of day, for blocking code that waits."""

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        ...


class TimeOfDay:
    """See `SleepingClock`."""

    def seconds(self) -> float:
        """Seconds since 1970 UTC."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)


class Uptime:
    """A clock that nobody sets, and that keeps running while the machine sleeps."""

    def seconds(self) -> float:
        """Seconds since an unknown start, such as the boot of the machine."""
        # On Linux only CLOCK_BOOTTIME runs during sleep; on other systems CLOCK_MONOTONIC does.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def monotonic() -> float:
    """Seconds for timers. They never jump, unlike the time of day.

    On a board without a clock of its own, the time of day can jump by years.
    """
    return time.monotonic()


def boot() -> str:
    """The id of this boot of the machine; if unknown, a new id each time."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(8)
