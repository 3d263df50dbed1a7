"""Whose connection gives way to a new one."""

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from mneme.web.slots import MAX_CONNECTIONS, Slots, group_of


@define(eq=False)
class Guest:
    """A connection as the slots see it."""

    group: str = "192.0.2.1"
    idle_since: float = 0.0
    has_served: bool = False
    is_busy: bool = False
    has_left: bool = False

    def give_way(self) -> None:
        """See `Occupant`."""
        assert not self.has_left
        assert not self.is_busy
        self.has_left = True


def filled(slots: Slots, *guests: Guest) -> Slots:
    """The slots with these connections in them."""
    for guest in guests:
        assert slots.has_room(guest.group)
        slots.take(guest)
    return slots


def test_the_longest_idle_gives_way_and_first_one_that_was_of_no_use() -> None:
    """Of those that served, the longest idle goes when there is no other."""
    old, served, young = Guest(idle_since=5), Guest(idle_since=1, has_served=True), Guest(idle_since=9)
    busy = Guest(idle_since=0, is_busy=True)
    slots = filled(Slots(4), served, young, busy, old)
    gone = []
    for _ in range(3):
        assert slots.has_room("192.0.2.9")
        gone.append([one for one in (old, young, served) if one.has_left and one not in gone][-1])
        slots.take(Guest(is_busy=True))
    assert gone == [old, young, served]
    assert not slots.has_room("192.0.2.9")


def test_an_address_with_too_many_makes_room_among_its_own() -> None:
    """Others keep their slots, however long they have been idle."""
    other = Guest("192.0.2.2", idle_since=-100)
    mine = [Guest(idle_since=moment) for moment in (3, 2, 4)]
    slots = filled(Slots(10, 3), other, *mine)
    assert slots.has_room("192.0.2.1")
    assert [one.has_left for one in (other, *mine)] == [False, False, True, False]


def test_an_address_whose_connections_are_all_busy_has_no_more() -> None:
    """Another has; and so has it without a bound, or when one has left."""
    first = Guest(is_busy=True)
    slots = filled(Slots(10, 2), first, Guest(is_busy=True))
    assert not slots.has_room("192.0.2.1")
    assert slots.has_room("192.0.2.2")
    slots.per_address = 0
    assert slots.has_room("192.0.2.1")
    slots.per_address = 2
    slots.leave(first)
    assert slots.has_room("192.0.2.1")
    slots.leave(first)


def test_a_connection_without_an_address_is_bounded_by_none() -> None:
    """A trusted proxy, or a socket in the file system."""
    slots = filled(Slots(10, 2), *[Guest("", is_busy=True) for _ in range(10)])
    assert not slots.has_room("")


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", ""]), st.booleans(), st.booleans(), st.integers(0, 9))
    ),
    st.integers(1, 5),
    st.integers(0, 5),
)
def test_neither_bound_is_ever_passed(
    crowd: list[tuple[str, bool, bool, int]], total: int, per_address: int
) -> None:
    """Whoever comes, and nobody gives way in vain."""
    slots, inside = Slots(total, per_address), list[Guest]()
    for group, has_served, is_busy, moment in crowd:
        before = len([one for one in inside if not one.has_left])
        has_room = slots.has_room(group)
        inside = [one for one in inside if not one.has_left]
        assert before - len(inside) <= has_room
        if has_room:
            inside.append(Guest(group, moment, has_served, is_busy))
            slots.take(inside[-1])
        assert len(inside) <= total
        if group and per_address:
            assert len([one for one in inside if one.group == group]) <= per_address


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("local", "local"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, group: str) -> None:
    """An IPv4 address counts as such in IPv6, too."""
    assert group_of(address) == group


def test_there_are_as_many_places_as_ever() -> None:
    """For a process that may open enough files."""
    assert (Slots().total, MAX_CONNECTIONS) == (500, 500)
