"""The site's certificate authority and the certificate of each host, for services that speak TLS on the LAN.

P-256 with SHA-256: what every client understands. PostgreSQL's clients bind SCRAM to the server's certificate and
cannot do so with Ed25519, whose certificates name no hash (RFC 5929, section 4.1).

Whoever trusts the authority trusts it for the site's hosts only: a critical name constraint (RFC 5280, section
4.2.1.10) permits their names and the addresses of private networks, and an extended key usage permits servers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# A homelab has nobody who renews certificates, and its authority signs for nobody else.
VALID = timedelta(days=3650)
# A certificate that ends within this time is made anew with the next rebuild.
RENEWED = timedelta(days=365)
# Clocks of machines without a battery are behind until chrony has set them.
CLOCK_SKEW = timedelta(days=1)
# Networks that nobody else can own: RFC 1918, RFC 6598, link-local, unique local IPv6.
PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both as PEM."""

    certificate: str
    private: str = field(repr=False)


@dataclass(frozen=True)
class Named:
    """What a certificate is good for: a host's name, and its address if it has one."""

    name: str
    address: str | None = None


def new_authority(site: str, hosts: Iterable[Named] = ()) -> Certificate:
    """A certificate authority that can sign for these hosts, and for nobody else."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    return _authority(_name(f"homelab {site}"), generate_private_key(SECP256R1()), hosts)


def permits(authority: Certificate, hosts: Iterable[Named]) -> bool:
    """Whether the authority is limited to a site, and whether all these hosts are among what it may sign for."""
    from cryptography import x509

    try:
        constraints = _read(authority).extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    permitted = {(type(one), one.value) for one in constraints.permitted_subtrees or ()}
    wanted = [*hosts]
    return not wanted or permitted.issuperset(_permitted(wanted))


def renewed(authority: Certificate, hosts: Iterable[Named]) -> Certificate:
    """The same authority (name and key: what it signed stays good) with a new certificate, limited to these hosts.

    A client that holds the certificate from before goes on trusting what that one permits.
    """
    return _authority(_read(authority).subject, _key(authority), hosts)


def _authority(name: x509.Name, key: EllipticCurvePrivateKey, hosts: Iterable[Named]) -> Certificate:
    from cryptography import x509

    permitted = x509.NameConstraints([kind(value) for kind, value in _permitted(hosts)], None)
    return _signed(name, key, 2 * VALID, name, key, permitted, is_authority=True)


def _permitted(hosts: Iterable[Named]) -> Collection[tuple[type[Any], Any]]:
    """Kind and value of each permitted subtree. Without any name, no name at all is permitted (`.invalid`, RFC 2606:
    a list without names would leave names unlimited)."""
    from cryptography import x509

    known = sorted(hosts, key=lambda host: host.name)
    networks = [*PRIVATE]
    for host in known:
        if host.address and not _is_private(own := ipaddress.ip_network(host.address)):
            networks.append(own)
    names = [host.name for host in known if _DNS_NAME.fullmatch(host.name)] or ["invalid"]
    found = [*((x509.DNSName, name) for name in names), *((x509.IPAddress, network) for network in networks)]
    return list(dict.fromkeys(found))


def _is_private(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return any(network.version == one.version and network.subnet_of(one) for one in PRIVATE)  # type: ignore[arg-type]


def issue(authority: Certificate, host: str, address: str | None) -> Certificate:
    """A new key and its certificate for a host, good for its name and its address."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if address:
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
    key, good_for = generate_private_key(SECP256R1()), x509.SubjectAlternativeName(names)
    issuer = _read(authority).subject
    return _signed(_name(host), key, VALID, issuer, _key(authority), good_for, is_authority=False)


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


def _signed(
    subject: x509.Name,
    key: EllipticCurvePrivateKey,
    valid: timedelta,
    issuer: x509.Name,
    signer: EllipticCurvePrivateKey,
    names: x509.NameConstraints | x509.SubjectAlternativeName,
    *,
    is_authority: bool,
) -> Certificate:
    """A certificate for the key of `subject`: an authority's, which may sign for `names`, or one good for them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - CLOCK_SKEW,
        not_valid_after=now + valid,
    )
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [  # each, and whether it is critical
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (names, is_authority),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return Certificate(certificate.decode(), private.decode())
