"""Sockets of the server: real ones, on loopback."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mneme.errors import StartupError
from mneme.listening import describe, open_sockets

ANY = "0.0.0.0"  # noqa: S104 - what people write who mean every address


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what is entered into it."""
    with ExitStack() as stack:
        yield stack


def opened(
    closing: ExitStack, host: str | None, port: int = 0, *, protected: bool = False
) -> list[socket.socket]:
    """The sockets, closed at the end of the test."""
    return [closing.enter_context(one) for one in open_sockets(host, port, protected)]


@pytest.mark.parametrize("host", [None, "localhost"])
def test_loopback_is_listened_to_on_one_port(closing: ExitStack, host: str | None) -> None:
    """Both families without keys or host; `localhost` is as the machine has it."""
    sockets = opened(closing, host)
    addresses = [one.getsockname()[0] for one in sockets]
    assert addresses == ["127.0.0.1", "::1"] or (host and set(addresses) < {"127.0.0.1", "::1"})
    assert len({one.getsockname()[1] for one in sockets}) == 1


@pytest.mark.parametrize(("host", "protected"), [(None, True), (ANY, False), ("::", False), ("*", True)])
def test_one_socket_is_for_both_families(closing: ExitStack, host: str | None, protected: bool) -> None:
    """IPv4 and IPv6 clients reach it alike."""
    (one,) = opened(closing, host, protected=protected)
    port = one.getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port), timeout=5).close()
    assert describe([one]) == f"every address of this machine, port {port}"


def test_addresses_are_described_as_urls(closing: ExitStack) -> None:
    """To be copied into a configuration."""
    sockets = opened(closing, None)
    port = sockets[0].getsockname()[1]
    assert describe(sockets) == f"http://127.0.0.1:{port} and http://[::1]:{port}"


def test_a_machine_without_ipv6_listens_on_ipv4(closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is asked to listen."""
    real = socket.create_server

    def without_ipv6(address: Any, *, family: Any, **options: Any) -> socket.socket:
        if family is socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    both = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)), (socket.AF_INET6, 0, 0, "", ("::1", 0, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert [one.family for one in opened(closing, None)] == [socket.AF_INET]
    assert [one.family for one in opened(closing, "localhost")] == [socket.AF_INET]
    assert [one.family for one in opened(closing, None, protected=True)] == [socket.AF_INET]


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", ANY])
def test_a_port_in_use_is_named_and_nothing_stays_open(closing: ExitStack, host: str | None) -> None:
    """Sockets that were opened before it was found out are closed again."""
    taken = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = taken.getsockname()[1]
    with pytest.raises(StartupError, match=f"Port {port} is in use.*--port"):
        open_sockets(host, port, protected=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", port), timeout=5)


def test_a_port_in_use_on_ipv6_alone_is_in_use(closing: ExitStack) -> None:
    """The half that was opened is closed again."""
    taken = closing.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    port = taken.getsockname()[1]
    with pytest.raises(StartupError, match="in use"):
        open_sockets(None, port, protected=False)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, "above 1023"),
        (errno.EADDRNOTAVAIL, "no address of this machine"),
        (errno.ENOBUFS, "Cannot listen on 192.0.2.1"),
    ],
)
def test_a_refusal_to_listen_is_told(monkeypatch: pytest.MonkeyPatch, number: int, sentence: str) -> None:
    """The advice fits the reason."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "reason")

    monkeypatch.setattr(socket, "create_server", fail)
    with pytest.raises(StartupError, match=sentence):
        open_sockets("192.0.2.1", 80, protected=True)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "\udcff", "..", "-"])
def test_a_host_that_cannot_be_found_is_a_sentence(host: str) -> None:
    """The host is repeated."""
    with pytest.raises(StartupError, match="cannot be found"):
        open_sockets(host, 0, protected=False)
