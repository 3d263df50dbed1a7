"""Certificates that a machine trusts in addition to the system's: read from a file, and trusted in a handshake."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

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
    """In the settings, by a whole path or from the home directory on; without the setting there are none."""
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
    """Another certificate for the same name is not, and no authority of one policy counts in another."""
    ours, other = self_signed(), self_signed()
    policy = MoreAuthorities([ours.certificate])
    assert handshake(policy, ours)
    assert not handshake(policy, other)
    assert not handshake(MoreAuthorities([]), ours)


def handshake(policy: MoreAuthorities, server: SelfSigned) -> bool:
    """Whether a client with a policy takes a server's certificate, without a network."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(server.certificate)
    context.use_privatekey(server.key)
    there = SSL.Connection(context, None)
    there.set_accept_state()
    protocol: Any = object()
    here = policy.creatorForNetloc(b"localhost", 443).clientConnectionForTLS(protocol)
    here.set_connect_state()
    finished = {here: False, there: False}
    for one, another in [(here, there), (there, here)] * 5:
        try:
            one.do_handshake()
            finished[one] = True
        except SSL.WantReadError:
            pass
        except SSL.Error:
            return False
        with suppress(SSL.WantReadError):
            another.bio_write(one.bio_read(65536))
    return all(finished.values())
