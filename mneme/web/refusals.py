"""Refusals as the log tells them: the first few of an address one by one, the others by their number once a minute."""

from collections import OrderedDict

from attrs import define

LINES = 10
"""Refusals of one address that have a line of their own each minute."""
SECONDS = 60.0
"""The minute, which begins for each address with its first refusal."""

_MOST = 4096
_OTHERS = "others"


@define
class _Minute:
    """The refusals of an address within a minute."""

    began: float
    count: int = 0

    @property
    def withheld(self) -> int:
        return max(0, self.count - LINES)


class Refusals:
    """The refusals of all addresses; so many at most are told apart that no flood of addresses makes it grow."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()
        self._of_others = 0

    def is_told(self, address: str, now: float) -> bool:
        """Count a refusal, and say whether it has a line of its own; `due` has been asked for `now`."""
        minute = self._minutes.get(address)
        if minute is None:
            minute = self._minutes[address] = _Minute(now)
            if len(self._minutes) > self._most:
                _, forgotten = self._minutes.popitem(last=False)
                self._of_others += forgotten.withheld
        minute.count += 1
        return minute.count <= LINES

    def due(self, now: float) -> list[tuple[str, int]]:
        """The addresses whose minute is over, each with the number of its refusals that had no line; told once."""
        told = []
        while self._minutes:
            address, minute = next(iter(self._minutes.items()))
            if now - minute.began < SECONDS:
                break
            del self._minutes[address]
            if minute.withheld:
                told.append((address, minute.withheld))
        if self._of_others:
            told.append((_OTHERS, self._of_others))
            self._of_others = 0
        return told

    @property
    def is_empty(self) -> bool:
        """Whether no minute is under way, so that nothing will be due."""
        return not self._minutes
