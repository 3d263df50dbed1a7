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
from typing import cast

from msgspec import Struct
from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport
from twisted.python.failure import Failure

from mneme.model import FileName, ProjectId, Receipt
from mneme.service import SyncService
from mneme.web.endings import TcpEnd

IDLE_SECONDS = 60.0
"""How long a connection may say nothing between two requests, or a client not read its answer."""
LINGER_SECONDS = 10.0
"""Seconds that a client may take to close its end, once the server has closed the other."""

_MAX_PULLS = 4096
"""The projects whose pulls are followed at one time; the oldest are forgotten first."""

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
        is_beside = last and now - last.began <= _PULL_SECONDS
        self._pulls[project] = (
            _Pull(now, last.count + 1, taken=last.taken) if last and is_beside else _Pull(now)
        )
        if len(self._pulls) > _MAX_PULLS:
            self._pulls.popitem(last=False)

    def session_ends(self, project: ProjectId) -> None:
        """Take note that a client has released the lock."""
        self._pulls.pop(project, None)

    def expect_list(self, project: ProjectId, delivery: "Delivery") -> None:
        """Await the receipt of a list, if it is that of a pull: the first."""
        pull = self._pulls.get(project)
        if pull and not pull.has_listed:
            pull.has_listed = True
            self._expect(project, delivery, confirm=lambda: None, doubt=partial(self._lose_list, pull))

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
        delivery: "Delivery",
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
                delivery,
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
        delivery: "Delivery",
        confirm: Callable[[], None],
        doubt: Callable[[], None],
    ) -> None:
        awaited = Awaited(delivery, confirm, doubt, forget=lambda: self._forget(project, awaited))
        self._awaited.setdefault(project, set()).add(awaited)
        delivery.expect(awaited)

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
    """A receipt that is awaited; its `Delivery` calls `taken` or `lost`, once."""

    def __init__(
        self,
        delivery: "Delivery",
        confirm: Callable[[], None],
        doubt: Callable[[], None],
        forget: Callable[[], None],
    ) -> None:
        """`confirm` is called once at most, `doubt` perhaps after it, `forget` at the end."""
        self._delivery = delivery
        self._confirm = confirm
        self._doubt = doubt
        self._forget = forget
        self._is_believed = False

    def settle(self) -> None:
        """Believe that the answer was taken if all of it has arrived."""
        if not self._is_believed and self._delivery.has_arrived():
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


class Delivery:
    """The answers of a connection on their way: sent, arrived, taken, or lost."""

    def __init__(
        self,
        clock: IReactorTime,
        transport: object,
        is_busy: Callable[[], bool],
        abort: Callable[[], None],
    ) -> None:
        """`is_busy` tells of a request or answer under way; `abort` cuts the connection off."""
        self._clock = clock
        self._transport = transport
        self._is_busy = is_busy
        self._abort = abort
        self.is_lingering = False
        """Whether the connection is closed but for the client's end of it."""
        self._tcp_end = TcpEnd.noted_below(transport)
        self._awaited: list[Awaited] = []
        self._is_unsent = False
        self._look: IDelayedCall | None = None

    def expect(self, awaited: Awaited) -> None:
        """Tell `awaited` whether the client has taken the answer that is sent next."""
        self._awaited.append(awaited)

    def send(self, data: bytes) -> bytes:
        """Send at once as much as the system takes; return the rest."""
        transport = self._transport
        if not isinstance(transport, tcp.Server) or self._has_unsent(transport):
            return data
        sent = transport.writeSomeData(data)
        # The reactor meets an error again.
        rest = data[sent:] if isinstance(sent, int) else data
        self._is_unsent = bool(rest)
        return rest

    def bytes_left(self) -> int:
        """The bytes of answers that the other end does not have yet."""
        transport = self._transport
        unsent = (
            len(transport.dataBuffer) - transport.offset
            if isinstance(transport, tcp.Server) and self._has_unsent(transport)
            else 0
        )
        descriptor = getattr(transport, "fileno", None)
        return unsent + (bytes_under_way(descriptor()) if descriptor else 0)

    def has_arrived(self) -> bool:
        """Whether the other end has all that was sent."""
        return not (self._is_busy() or self.bytes_left())

    def goes_on(self) -> None:
        """Take note that the client asks for something more."""
        self._give(taken=True)

    def fails(self) -> None:
        """Take note that what was expected is not sent after all."""
        self._give(taken=False)

    def ends(self) -> None:
        """Take note that the connection is about to be closed, whatever the client does."""
        self._give(taken=self.has_arrived())

    def linger(self) -> bool:
        """Close this end alone, so that the other tells; False if nothing is awaited."""
        if not self._awaited or ISSLTransport.providedBy(self._transport):
            return False
        self.is_lingering = True
        self._look_later(0, 0.0)
        self.close_this_end()
        return True

    def close_this_end(self) -> None:
        """Close this end of the connection, once all is sent."""
        cast(ITCPTransport, self._transport).loseWriteConnection()

    def lost(self, reason: Failure) -> None:
        """Take note that the connection is gone."""
        if self._look and self._look.active():
            self._look.cancel()
        end = self._tcp_end.reason if self._tcp_end else None
        in_order = (end or reason).check(ConnectionDone) is not None
        self._give(taken=in_order and not self._is_busy())

    def _give(self, *, taken: bool) -> None:
        awaited, self._awaited = self._awaited, []
        for one in awaited:
            if taken:
                one.taken()
            else:
                one.lost()

    def _look_later(self, left: int, stalled: float) -> None:
        """Look later whether the client reads; `left` bytes were on their way, for `stalled` seconds."""
        self._look = self._clock.callLater(LINGER_SECONDS, self._look_after_client, left, stalled)

    def _look_after_client(self, before: int, stalled: float) -> None:
        left = self.bytes_left()
        stalled = stalled + LINGER_SECONDS if left == before else 0.0
        if left != before or (left and stalled < IDLE_SECONDS):
            # The client reads slowly, and is not to be cut off.
            self._look_later(left, stalled)
        else:
            self.ends()
            self._abort()

    def _has_unsent(self, transport: tcp.Server) -> bool:
        """Whether bytes wait in this process to be sent."""
        if self._is_unsent and not transport.disconnecting:
            # Before that the transport does not tell of bytes that were written since it last sent some.
            transport.doWrite()
            self._is_unsent = len(transport.dataBuffer) > transport.offset
        return self._is_unsent


def bytes_under_way(descriptor: int) -> int:
    """Bytes in a socket that the other end has not acknowledged; 0 if unknown."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
    except (OSError, ValueError):
        return 0
    return int(count)
