"""The listening sockets of the server.

They are opened before twistd detaches, so that errors appear on the terminal.
"""

import errno
import socket
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from twisted.internet.address import UNIXAddress

from mneme.errors import StartupError

_BACKLOG = 1024
"""Connections that may wait to be accepted. One more would be delayed by a second."""
_EVERYWHERE = ("0.0.0.0", "::", "*")  # noqa: S104 - asked for by the person, or protected by keys
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def open_sockets(host: str | None, port: int, protected: bool) -> list[socket.socket]:
    """Open listening sockets for `host` and `port`; raises `StartupError`.

    Without a host, a server that is `protected` by keys listens on every address, any other on loopback only. "Every
    address" and a host name mean both IPv4 and IPv6, if the machine has them. Port 0 is any free port.
    """
    if host in _EVERYWHERE or (host is None and protected):
        dualstack = socket.has_dualstack_ipv6()
        every = (socket.AF_INET6, "::") if dualstack else (socket.AF_INET, "0.0.0.0")  # noqa: S104 - as above
        return _open_all([every], port, dualstack)
    return _open_all(_LOOPBACK if host is None else _addresses(host), port)


def describe(sockets: Sequence[socket.socket]) -> str:
    """The addresses of sockets, as text for people."""
    return " and ".join(_described(opened) for opened in sockets)


def is_loopback(address: str) -> bool:
    """Whether an address is a loopback address, which only this machine can reach."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback


def is_for_this_machine(address: object) -> bool:
    """Whether only this machine can reach `address`: loopback, or a Unix socket."""
    return isinstance(address, UNIXAddress) or is_loopback(str(getattr(address, "host", "")))


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise StartupError(
            f"The host {host!r} cannot be found: give an address of this machine, or its name"
        ) from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _open_all(
    addresses: Sequence[tuple[socket.AddressFamily, str]], port: int, dualstack: bool = False
) -> list[socket.socket]:
    """Open a socket for each address, all with the same port."""
    opened: list[socket.socket] = []
    for family, address in addresses:
        try:
            one = socket.create_server(
                (address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dualstack
            )
        except OSError as error:
            if error.errno in _NO_IPV6 and family is socket.AF_INET6 and len(addresses) > 1:
                continue
            for other in opened:
                other.close()
            raise _sentence(error, address, port) from None
        one.setblocking(False)
        opened.append(one)
        port = one.getsockname()[1]
    return opened


def _sentence(error: OSError, address: str, port: int) -> StartupError:
    match error.errno:
        case errno.EADDRINUSE:
            return StartupError(
                f"Port {port} is in use already: stop what listens there, or choose another with --port"
            )
        case errno.EACCES:
            return StartupError(
                f"Port {port} is for privileged users only: choose one above 1023 with --port"
            )
        case errno.EADDRNOTAVAIL:
            return StartupError(f"{address} is no address of this machine: choose another with --host")
        case _:
            return StartupError(f"Cannot listen on {address}, port {port}: {error.strerror}")


def _described(opened: socket.socket) -> str:
    address, port = opened.getsockname()[:2]
    if address in _EVERYWHERE:
        return f"every address of this machine, port {port}"
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
