"""Whether keys and certificates of the vault are whole, and belong to each other.

Half a pair, a damaged file, the certificate of another key: nothing may be made anew in its place without a word, as
every host and every stick trusts what was there before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from homelab_provision.site.wireguard import PRIVATE, PUBLIC, SHARED, is_key, public_of

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
    yield from _faults_of_vpn(values)


def _faults_of_vpn(values: Mapping[str, str]) -> Iterator[str]:
    """Of a client whose device made its key there is the public half alone; one that lacks is computed again."""
    keys = {name: text for name, text in values.items() if name.startswith((PRIVATE, PUBLIC, SHARED))}
    damaged = [name for name, text in keys.items() if not is_key(text)]
    yield from (f"`{name}` is damaged" for name in damaged)
    for mine in (name for name in keys if name.startswith(PRIVATE)):
        its = PUBLIC + mine.removeprefix(PRIVATE)
        if its in keys and not {mine, its} & {*damaged} and public_of(keys[mine]) != keys[its]:
            yield f"`{its}` belongs to another key than `{mine}` (without that line it is made from the private one)"


def _faults_of_pair(mine: str, private: str, its: str, other: str) -> Iterator[str]:
    keys = {mine: _public_half(mine, private), its: _public_half(its, other)}
    damaged = [name for name, key in keys.items() if key is None]
    yield from (f"`{name}` is damaged" for name in damaged)
    if not damaged and keys[mine] != keys[its]:
        yield f"`{its}` belongs to another key than `{mine}`"


def _public_half(name: str, text: str) -> bytes | None:
    """The public half of a key, or the key of a certificate, in a form that can be compared; `None`: it is damaged."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    key: Any
    try:
        raw = text.encode()
        if name.endswith("_certificate"):
            certificate = x509.load_pem_x509_certificate(raw)
            list(certificate.extensions)
            key = certificate.public_key()
        elif name.endswith("_public"):
            key = serialization.load_ssh_public_key(raw)
        else:
            load = serialization.load_ssh_private_key if b"OPENSSH" in raw else serialization.load_pem_private_key
            key = load(raw, password=None).public_key()
        return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
