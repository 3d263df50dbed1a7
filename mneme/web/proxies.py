"""Trusted proxies, and the client behind them by `Forwarded` or `X-Forwarded-For`. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec import Struct

LOCAL = "local"
"""The address of whoever comes by a socket in the file system."""
UNIX = "unix"
"""The way in which such a socket is named among trusted proxies."""

_MOST = 64
"""Addresses looked at in one request: chains of proxies are short."""

_PAIR = re.compile(r'\s*(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?P<value>"(?:[^"\\]|\\.)*"|[^\s",;]*)\s*')
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[^",]++|.')
_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]*)\](?::[\w.-]*)?|(?P<v4>[^:\[\]]*)(?::[\w.-]*)?")


class TrustedProxies(Struct, frozen=True):
    """The networks whose word counts, and whether that of sockets in the file system does."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "TrustedProxies":
        """The proxies that are so named; raises `ValueError`."""
        named = set(texts)
        return cls(tuple(ip_network(text, strict=False) for text in named - {UNIX}), UNIX in named)

    def trust(self, address: str) -> bool:
        """Whether the word of whoever comes from `address` counts."""
        if address == LOCAL:
            return self.unix
        return bool(self.networks) and _is_within(address, self.networks)


def client_behind(
    peer: str, forwarded: Sequence[str], forwarded_for: Sequence[str], trusted: TrustedProxies
) -> str:
    """Address of the client behind `peer`; `peer` itself unless it is a trusted proxy.

    Each proxy adds at the right whom it was asked by. So the first from there that is no trusted proxy is meant. Who
    hides behind a proxy, or is not written as an address, counts as that proxy. Nearly all proxies write
    `X-Forwarded-For`, and let `Forwarded` pass as the client wrote it: where there are both, the former counts.
    """
    if not trusted.trust(peer):
        return peer
    hops = _listed_hops(forwarded_for) if forwarded_for else _forwarded_hops(forwarded)
    nearest = peer
    for hop in hops:
        address = _address_in(hop)
        if address is None:
            return nearest
        if not trusted.trust(address):
            return address
        nearest = address
    return nearest


@lru_cache(maxsize=4096)
def plain(address: str) -> str:
    """Usual form of an address; an IPv4 address mapped into IPv6 is written as IPv4."""
    return _address_in(address) or address


@lru_cache(maxsize=4096)
def _is_within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _listed_hops(values: Sequence[str]) -> Iterator[str]:
    """The addresses of `X-Forwarded-For`, the nearest first."""
    hops = [one.strip() for one in ",".join(values).rsplit(",", _MOST)[-_MOST:]]
    return reversed(hops) if any(hops) else iter(())


def _forwarded_hops(values: Sequence[str]) -> Iterator[str]:
    """The senders by `Forwarded`, the nearest first; "" for one that it does not tell."""
    elements = [""]
    for piece in _PIECE.findall(",".join(values)):
        if piece == '"':
            # It is never closed.
            return iter(())
        if piece == ",":
            elements.append("")
        else:
            elements[-1] += piece
    hops = [_sender_in(element) for element in elements[-_MOST:] if element.strip()]
    return reversed(hops)


def _sender_in(element: str) -> str:
    at = 0
    while found := _PAIR.match(element, at):
        if found["name"].lower() == "for":
            value = found["value"]
            return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        at = found.end()
        if element[at : at + 1] != ";":
            return ""
        at += 1
    return ""


def _address_in(text: str) -> str | None:
    """The address in `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7` or `[2001:db8::7]:80`; None if there is none."""
    found = _WITH_PORT.fullmatch(text)
    bare = (found["v6"] or found["v4"]) if found else text
    try:
        parsed = ip_address(bare or "")
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)
