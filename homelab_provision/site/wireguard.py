"""WireGuard's keys: 32 bytes each, as base64, made as `wg genkey`, `wg pubkey` and `wg genpsk` make them."""

from __future__ import annotations

import base64
import os
import re

# What they are called in vault/secrets.yml, and so in playbooks: the beginning, then a client or `server`.
PRIVATE, PUBLIC, SHARED = "secret_vpn_private_", "public_vpn_", "secret_vpn_shared_"
_BYTES = 32
# 44 characters, of which the last but one carries four bits alone: each key is written in one way only.
_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


def new_private() -> str:
    """A private key for X25519, clamped (RFC 7748, section 5)."""
    raw = bytearray(os.urandom(_BYTES))
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return base64.b64encode(raw).decode()


def new_shared() -> str:
    """A preshared key."""
    return base64.b64encode(os.urandom(_BYTES)).decode()


def public_of(private: str) -> str:
    """The public half of a private key. Raises ValueError, which does not show it."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    if not is_key(private):
        raise ValueError("not a private key of WireGuard")
    public = X25519PrivateKey.from_private_bytes(base64.b64decode(private)).public_key()
    return base64.b64encode(public.public_bytes_raw()).decode()


def is_key(text: str) -> bool:
    """Whether a text is a key: 32 bytes in base64, and not all of them zero."""
    return bool(_KEY.fullmatch(text)) and any(base64.b64decode(text))
