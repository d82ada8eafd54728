"""The site's certificate authority and the certificate of each host, for services that speak TLS on the LAN.

P-256 with SHA-256: what every client understands. PostgreSQL's clients bind SCRAM to the server's certificate and
cannot do so with Ed25519, whose certificates name no hash (RFC 5929, section 4.1).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# A homelab has nobody who renews certificates, and its authority signs for nobody else.
VALID = timedelta(days=3650)
# A certificate that ends within this time is made anew with the next rebuild.
RENEWED = timedelta(days=365)
# Clocks of machines without a battery are behind until chrony has set them.
CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both as PEM."""

    certificate: str
    private: str = field(repr=False)


def new_authority(site: str) -> Certificate:
    """A certificate authority that signs for the hosts of one site."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    key = generate_private_key(SECP256R1())
    name = _name(f"homelab {site}")
    builder = _builder(name, name, key, 2 * VALID)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _sealed(builder.add_extension(_usage(sign=True), critical=True), key, key)


def issue(authority: Certificate, host: str, address: str | None) -> Certificate:
    """A new key and its certificate for a host, good for its name and its address."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = generate_private_key(SECP256R1())
    builder = _builder(_name(host), _read(authority).subject, key, VALID)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if address:
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _sealed(builder, key, _key(authority))


def fits(certificate: Certificate, authority: Certificate, host: str, address: str | None) -> bool:
    """Whether the certificate is the authority's, is good for the host as it is now, and stays so for a while."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    shown = _read(certificate)
    try:
        shown.verify_directly_issued_by(_read(authority))
    except (InvalidSignature, ValueError):
        return False
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    lasts = shown.not_valid_after_utc - datetime.now(UTC) > RENEWED
    return lasts and names.get_values_for_type(x509.DNSName) == [host] and addresses == ([address] if address else [])


def _read(certificate: Certificate) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.certificate.encode())


def _key(certificate: Certificate) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(certificate.private.encode(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, sign: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not sign, key_cert_sign=sign, crl_sign=sign, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, valid: timedelta
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=subject, issuer_name=issuer, public_key=key.public_key(),
        serial_number=x509.random_serial_number(), not_valid_before=now - CLOCK_SKEW, not_valid_after=now + valid,
    )  # fmt: skip
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _sealed(
    builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    signed = builder.add_extension(issuer, critical=False).sign(signer, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(signed.public_bytes(serialization.Encoding.PEM).decode(), private.decode())
