"""Certificates that this machine trusts in addition to the system's: `sync.caFile`."""

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from OpenSSL.crypto import X509
from OpenSSL.SSL import Connection
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from mneme.client.errors import SettingsError


def read_authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """Certificates in a PEM file; raises `SettingsError`."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise SettingsError(
            f"sync.caFile names {path}, which cannot be read: {error.strerror}; copy the server's certificate there"
        ) from None
    except ValueError:
        raise SettingsError(
            f"sync.caFile names {path}, which holds no certificate that can be read: it must be a PEM file, with "
            "-----BEGIN CERTIFICATE----- in it"
        ) from None


@implementer(IPolicyForHTTPS)
class MoreAuthorities:
    """Policy for HTTPS that trusts some certificates in addition to those of the system."""

    def __init__(self, authorities: Sequence[x509.Certificate]) -> None:
        self._authorities = authorities
        self._system = BrowserLikePolicyForHTTPS()

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """See `IPolicyForHTTPS`."""
        return _Creator(self._system.creatorForNetloc(hostname, port), self._authorities)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Creator of connections whose store of trusted certificates has some more."""

    def __init__(
        self, system: IOpenSSLClientConnectionCreator, authorities: Sequence[x509.Certificate]
    ) -> None:
        self._authorities = authorities
        self._system = system

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: N803 - the name that the interface gives it
    ) -> Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        connection: Connection = self._system.clientConnectionForTLS(tlsProtocol)
        # The policy makes a context, and with it a store, for each host: no other connection trusts these.
        if store := connection.get_context().get_cert_store():
            for authority in self._authorities:
                store.add_cert(X509.from_cryptography(authority))
        return connection
