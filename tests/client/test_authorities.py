"""Certificates from sync.caFile, trusted in addition to the system's."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from mneme.client.authorities import MoreAuthorities, read_authorities
from mneme.client.errors import SettingsError
from mneme.client.settings import config_path, load

_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
_MADE = datetime(2026, 1, 1, tzinfo=UTC)


@frozen
class SelfSigned:
    """A certificate for localhost that its own key has signed."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate as a file has it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def self_signed() -> SelfSigned:
    """A certificate with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder(_NAME, _NAME, key.public_key(), x509.random_serial_number())
        .not_valid_before(_MADE - timedelta(days=10_000))
        .not_valid_after(_MADE + timedelta(days=10_000))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return SelfSigned(key, builder.sign(key, hashes.SHA256()))


def settings_with(home: Path, ca_file: str) -> Any:
    """Settings of a machine that name a file with certificates."""
    path = config_path(home)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"sync": {"serverUrl": "https://homeserver:3847", "caFile": ca_file}}))
    return load(home)


def test_all_certificates_of_a_file_are_read(tmp_path: Path) -> None:
    """The setting is an absolute path or one in the home directory."""
    one, two = self_signed(), self_signed()
    (tmp_path / "ca.pem").write_bytes(one.pem + two.pem)
    expected = (one.certificate, two.certificate)
    assert read_authorities(tmp_path / "ca.pem") == expected
    for ca_file in ("~/ca.pem", str(tmp_path / "ca.pem")):
        assert settings_with(tmp_path, ca_file).address.authorities == expected
    assert settings_with(tmp_path, "").address.authorities == ()


@pytest.mark.parametrize(
    ("ca_file", "content", "reason"),
    [
        ("~/none.pem", None, "cannot be read: No such file or directory"),
        ("~/ca.pem", b"", "holds no certificate that can be read: it must be a PEM file"),
        (
            "~/ca.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "holds no certificate",
        ),
        ("ca.pem", b"", "must be a whole path to a PEM file"),
        ("'~/ca.pem'", b"", "is in quotes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, ca_file: str, content: bytes | None, reason: str
) -> None:
    """The sentence names the setting, the file, and what is wrong."""
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(SettingsError, match=r"sync\.caFile") as refused:
        settings_with(tmp_path, ca_file)
    assert reason in str(refused.value)


def test_a_certificate_is_trusted_if_it_is_an_authority() -> None:
    """Other certificates are not trusted, and no policy shares authorities with another."""
    ours, other = self_signed(), self_signed()
    policy = MoreAuthorities([ours.certificate])
    assert handshake(policy, ours)
    assert not handshake(policy, other)
    assert not handshake(MoreAuthorities([]), ours)


def handshake(policy: MoreAuthorities, server: SelfSigned) -> bool:
    """Whether a client with a policy completes its handshake, without a network."""
    here = _Side(policy.creatorForNetloc(b"localhost", 443), is_client=True)
    there = _Side(_Server(server), is_client=False)
    for one, another in [(here, there), (there, here)] * 5:
        sent = one.transport.value()
        one.transport.clear()
        if sent:
            another.protocol.dataReceived(sent)
    return here.inner.is_done


@implementer(IOpenSSLServerConnectionCreator)
class _Server:
    """Creator of a server's connections, with a key and a certificate."""

    def __init__(self, server: SelfSigned) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.use_certificate(server.certificate)
        self._context.use_privatekey(server.key)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N803 - the interface's name
        return SSL.Connection(self._context, None)


@implementer(IHandshakeListener)
class _Inner(Protocol):
    """Protocol inside TLS, which notes the end of the handshake."""

    is_done = False

    def handshakeCompleted(self) -> None:
        self.is_done = True


class _Side:
    """An end of a TLS connection."""

    def __init__(self, creator: Any, *, is_client: bool) -> None:
        self.inner = _Inner()
        self.transport = StringTransport()
        inside = Factory.forProtocol(lambda: self.inner)
        self.protocol: Any = TLSMemoryBIOFactory(creator, is_client, inside).buildProtocol(None)
        self.protocol.makeConnection(self.transport)
