"""Whether keys and certificates of the vault are whole, and belong to each other.

Half a pair, a damaged file, the certificate of another key: nothing may be made anew in its place without a word, as
every host and every stick trusts what was there before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Every key of ours, and what is kept beside its private half.
PAIRS = {
    "controller": "public",
    "rescue": "public",
    "host_key": "public",
    "signing": "public",
    "authority": "certificate",
    "tls": "certificate",
}
MACHINE_ID = "machine_id"


def faults(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the keys among `values`, by name; says nothing of their content."""
    for name, half in PAIRS.items():
        mine, its = f"{name}_private", f"{name}_{half}"
        there = [part for part in (mine, its) if part in values]
        if len(there) == 1:
            yield f"`{there[0]}` is there, but `{mine if there == [its] else its}`, which belongs to it, is missing"
        elif there:
            yield from _faults_of_pair(mine, values[mine], its, values[its])
    if MACHINE_ID in values and not re.fullmatch("[0-9a-f]{32}", values[MACHINE_ID]):
        yield f"`{MACHINE_ID}` is not 32 hexadecimal digits"


def _faults_of_pair(mine: str, private: str, its: str, other: str) -> Iterator[str]:
    keys = {mine: _private(private), its: _public(other) if its.endswith("_public") else _certificate(other)}
    damaged = [name for name, key in keys.items() if key is None]
    yield from (f"`{name}` is damaged" for name in damaged)
    if not damaged and keys[mine] != keys[its]:
        yield f"`{its}` belongs to another key than `{mine}`"


def _private(text: str) -> bytes | None:
    """The public half of a private key, in a form that can be compared; `None`: it is damaged."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    raw = text.encode()
    load = serialization.load_ssh_private_key if b"OPENSSH" in raw else serialization.load_pem_private_key
    try:
        return _comparable(load(raw, password=None).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _public(text: str) -> bytes | None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        return _comparable(serialization.load_ssh_public_key(text.encode()))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _certificate(text: str) -> bytes | None:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        list(certificate.extensions)
        return _comparable(certificate.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _comparable(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    shown: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return shown
