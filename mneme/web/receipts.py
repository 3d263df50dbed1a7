"""Receipts: the evidence that clients have taken the answers that they were sent.

A client has surely taken an answer if it sends its next request on that connection, or closes it in order. It has not
if the connection is reset. Behind a proxy that keeps its connections neither may happen for long. Then an answer counts
as taken, until the contrary shows, once the other end has all its bytes and the project is asked for again.
"""

import fcntl
import struct
import termios
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime

from mneme.model import FileName, ProjectId, Receipt
from mneme.service import SyncService

_MAX_PULLS = 4096
"""The projects whose pulls are followed at one time; the oldest are forgotten first."""


class Connection(Protocol):
    """A connection over which answers are sent."""

    def expect_receipt(self, awaited: "Awaited", /) -> None:
        """Tell `awaited` later whether the answer was taken."""
        ...

    def has_arrived(self) -> bool:
        """Whether the other end has all that was sent, and the connection is open."""
        ...


_PULL_SECONDS = 60.0
"""The time that a pull takes at most; two that begin within it may run side by side."""


class _Taken(Struct):
    """An answer that was taken, as far as the connection told, and so many times."""

    receipt: Receipt
    count: int = 1


class _Pull(Struct):
    """The pull of a project that began last, and the files that it has taken."""

    began: float
    count: int = 1
    """The pulls that may run side by side; an acquire whose answer was lost looks like one more."""
    has_listed: bool = False
    has_lost_list: bool = False
    taken: dict[FileName, _Taken] = {}


class Receipts:
    """All receipts that are awaited, by project."""

    def __init__(self, clock: IReactorTime, sync: SyncService) -> None:
        self._clock = clock
        self._sync = sync
        self._awaited: dict[ProjectId, set[Awaited]] = {}
        self._pulls: OrderedDict[ProjectId, _Pull] = OrderedDict()

    def pull_begins(self, project: ProjectId) -> None:
        """Take note that a client has acquired the lock."""
        now = self._clock.seconds()
        last = self._pulls.pop(project, None)
        is_alone = last is None or now - last.began > _PULL_SECONDS
        self._pulls[project] = (
            _Pull(now) if last is None or is_alone else _Pull(now, last.count + 1, taken=last.taken)
        )
        if len(self._pulls) > _MAX_PULLS:
            self._pulls.popitem(last=False)

    def session_ends(self, project: ProjectId) -> None:
        """Take note that a client has released the lock."""
        self._pulls.pop(project, None)

    def expect_list(self, project: ProjectId, connection: Connection) -> None:
        """Await the receipt of a list, if it is that of a pull: the first."""
        pull = self._pulls.get(project)
        if pull and not pull.has_listed:
            pull.has_listed = True
            self._expect(project, connection, confirm=lambda: None, doubt=partial(self._lose_list, pull))

    def takes_lost_list(self, project: ProjectId) -> bool:
        """Whether the pull under way has lost its list, and now asks for it again."""
        pull = self._pulls.get(project)
        if pull is None or not pull.has_lost_list:
            return False
        pull.has_listed = pull.has_lost_list = False
        return True

    def expect(
        self,
        project: ProjectId,
        file: FileName,
        receipt: Receipt | None,
        connection: Connection,
        *,
        by_pull: bool,
    ) -> None:
        """Await the receipt of a file that is about to be sent.

        A pull asks for a file once, and again only if no answer came. So if there are more answers than pulls, a proxy
        has lost one that it took itself, and its word counts no more in this pull.
        """
        if by_pull and project not in self._pulls:
            # The server was restarted since it began, or a session beside it has ended.
            self.pull_begins(project)
        pull = self._pulls.get(project) if by_pull else None
        taken = pull.taken.get(file) if pull else None
        if pull and taken and taken.count >= pull.count:
            self._sync.doubt(project, taken.receipt)
        elif taken and receipt is None:
            taken.count += 1
        elif receipt:
            self._expect(
                project,
                connection,
                confirm=partial(self._confirm, project, receipt, by_pull),
                doubt=partial(self._sync.doubt, project, receipt),
            )

    def settle(self, project: ProjectId) -> None:
        """Believe that what has arrived was taken, for the project is asked for again."""
        for awaited in self._awaited.get(project, ()):
            awaited.settle()

    def _expect(
        self,
        project: ProjectId,
        connection: Connection,
        confirm: Callable[[], None],
        doubt: Callable[[], None],
    ) -> None:
        awaited = Awaited(connection, confirm, doubt, forget=lambda: self._forget(project, awaited))
        self._awaited.setdefault(project, set()).add(awaited)
        connection.expect_receipt(awaited)

    def _forget(self, project: ProjectId, awaited: "Awaited") -> None:
        others = self._awaited[project]
        others.discard(awaited)
        if not others:
            del self._awaited[project]

    def _confirm(self, project: ProjectId, receipt: Receipt, by_pull: bool) -> None:
        pull = self._pulls.get(project)
        if pull and by_pull:
            pull.taken[receipt.file] = _Taken(receipt)
        self._sync.confirm(project, receipt)

    def _lose_list(self, pull: _Pull) -> None:
        pull.has_lost_list = True


class Awaited:
    """A receipt that is awaited; whoever owns the connection calls `taken` or `lost`, once."""

    def __init__(
        self,
        connection: Connection,
        confirm: Callable[[], None],
        doubt: Callable[[], None],
        forget: Callable[[], None],
    ) -> None:
        """`confirm` is called once at most, `doubt` perhaps after it, `forget` at the end."""
        self._connection = connection
        self._confirm = confirm
        self._doubt = doubt
        self._forget = forget
        self._is_believed = False

    def settle(self) -> None:
        """Believe that the answer was taken if all of it has arrived."""
        if not self._is_believed and self._connection.has_arrived():
            self._is_believed = True
            self._confirm()

    def taken(self) -> None:
        """Take note that the client has taken the answer."""
        self._forget()
        if not self._is_believed:
            self._confirm()

    def lost(self) -> None:
        """Take note that the client has perhaps not taken the answer."""
        self._forget()
        self._doubt()


def bytes_under_way(descriptor: int) -> int:
    """Bytes in a socket that the other end has not acknowledged; 0 if unknown."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
    except (OSError, ValueError):
        return 0
    return int(count)
