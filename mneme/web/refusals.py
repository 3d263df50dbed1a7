"""Refusals in the log: a few lines for each address, then a sum a minute."""

from collections import OrderedDict

from msgspec import Struct

LINES = 10
"""Refusals of one address that have a line of their own each minute."""
SECONDS = 60.0
"""The minute, which begins for each address with its first refusal."""

_MOST = 4096
_OTHERS = "others"


class _Minute(Struct):
    """The refusals of an address within a minute."""

    began: float
    count: int = 0

    @property
    def withheld(self) -> int:
        return max(0, self.count - LINES)


class Refusals:
    """Refusals by address; the number of addresses is bounded."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()
        self._of_others = 0

    def is_told(self, address: str, now: float) -> bool:
        """Count a refusal; whether it has a line of its own. `due` comes first."""
        minute = self._minutes.get(address)
        if minute is None:
            minute = self._minutes[address] = _Minute(now)
            if len(self._minutes) > self._most:
                _, forgotten = self._minutes.popitem(last=False)
                self._of_others += forgotten.withheld
        minute.count += 1
        return minute.count <= LINES

    def due(self, now: float) -> list[tuple[str, int]]:
        """Addresses whose minute is over, each with the number of refusals without a line."""
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
