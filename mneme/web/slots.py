"""Slots for connections: how many there are, and which connection gives way."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol

MAX_CONNECTIONS = 500

_SHARED_BITS = 64
"""The bits of an IPv6 address that its network sets. The others a machine chooses, as many times as it likes."""


class Occupant(Protocol):
    """A connection that takes a place."""

    @property
    def group(self) -> str:
        """The address that it counts for: see `group_of`."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way, or its answer."""
        ...

    @property
    def has_served(self) -> bool:
        """Whether a request has been answered with success."""
        ...

    @property
    def idle_since(self) -> float:
        """The moment at which it last sent something, or was answered."""
        ...

    def give_way(self) -> None:
        """Close the connection."""
        ...


class Slots:
    """Slots of all connections and of each address; both numbers may change at any time."""

    def __init__(self, total: int = MAX_CONNECTIONS, per_address: int = 0) -> None:
        self.total = total
        self.per_address = per_address
        self._occupants: set[Occupant] = set()

    def has_room(self, group: str) -> bool:
        """Whether one more of `group` fits; an idle connection may be closed for it.

        That is the one that has been idle longest, of the same address if that has too many, and before all others one
        that has never been of use. None that is busy gives way.
        """
        mine = [one for one in self._occupants if one.group == group] if group and self.per_address else []
        if self.per_address and len(mine) >= self.per_address:
            return self._free_one_of(mine)
        return len(self._occupants) < self.total or self._free_one_of(self._occupants)

    def take(self, occupant: Occupant) -> None:
        """Give a place to a connection, for which there is room."""
        self._occupants.add(occupant)

    def leave(self, occupant: Occupant) -> None:
        """Free the place of a connection, if it still has one."""
        self._occupants.discard(occupant)

    def _free_one_of(self, occupants: "set[Occupant] | list[Occupant]") -> bool:
        idle = [one for one in occupants if not one.is_busy]
        if not idle:
            return False
        longest = min(idle, key=lambda one: (one.has_served, one.idle_since))
        self._occupants.discard(longest)
        longest.give_way()
        return True


@lru_cache(maxsize=4096)
def group_of(address: str) -> str:
    """Group of addresses that count as one: an IPv6 network, or an IPv4 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    shift = 128 - _SHARED_BITS
    return f"{IPv6Address(int(parsed) >> shift << shift)}/{_SHARED_BITS}"
