"""Ansible Vault's file format, sealed and opened here.

A sealed file is a header line and hexadecimal digits: salt, HMAC and ciphertext, each in hexadecimal digits itself,
one a line (docs.ansible.com, "Ansible Vault payload format 1.1 - 1.2"). `ansible-vault` opens what is sealed here, and
the other way round; but it starts for half a second, cannot say which of several files is broken, and does not tell
a wrong password from a file that is no vault.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import re

HEADER = "$ANSIBLE_VAULT"
_HEADER = re.compile(r"\$ANSIBLE_VAULT;1\.[12];AES256(;[^;\s]+)?")
_ROUNDS, _SALT, _KEY, _BLOCK = 10_000, 32, 32, 16
_WIDTH = 80


class NoVault(ValueError):
    """The text is not one that Ansible Vault has sealed; says where and why, never what."""


class WrongPassword(ValueError):
    """The text was sealed with another password, or changed since."""


def seal(clear: str, password: bytes) -> str:
    """The text of a sealed file, with a line end."""
    salt = os.urandom(_SALT)
    key, seal_key, nonce = _keys(password, salt)
    raw = clear.encode()
    fill = _BLOCK - len(raw) % _BLOCK
    hidden = _cipher(key, nonce, raw + bytes([fill]) * fill)
    parts = (salt, hmac.digest(seal_key, hidden, "sha256"), hidden)
    digits = b"\n".join(map(binascii.hexlify, parts)).hex()
    lines = [digits[start : start + _WIDTH] for start in range(0, len(digits), _WIDTH)]
    return "\n".join([f"{HEADER};1.1;AES256", *lines]) + "\n"


def unseal(sealed: bytes, password: bytes) -> str:
    """The clear text. Raises `NoVault` or `WrongPassword`."""
    salt, mac, hidden = _parts(sealed)
    key, seal_key, nonce = _keys(password, salt)
    if not hmac.compare_digest(hmac.digest(seal_key, hidden, "sha256"), mac):
        raise WrongPassword
    raw = _cipher(key, nonce, hidden)
    fill = raw[-1] if raw else 0
    if not 1 <= fill <= _BLOCK or len(raw) % _BLOCK:
        raise NoVault("it holds no whole number of blocks")
    try:
        return raw[:-fill].decode()
    except UnicodeDecodeError:
        raise NoVault("what it holds is not text in UTF-8") from None


def _parts(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    """Salt, HMAC and ciphertext of a sealed file."""
    try:
        first, *lines = sealed.decode("ascii").strip().splitlines()
    except UnicodeDecodeError:
        raise NoVault("it is not encrypted") from None
    except ValueError:
        raise NoVault("it is empty") from None
    if not _HEADER.fullmatch(first.strip()):
        known = first.startswith(HEADER)
        raise NoVault("line 1: a format other than 1.1 and 1.2 with AES256" if known else "it is not encrypted")
    for number, line in enumerate(lines, 2):
        if not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", line.strip()):
            raise NoVault(f"line {number} is damaged: only hexadecimal digits belong there")
    try:
        salt, mac, hidden = (binascii.unhexlify(part) for part in bytes.fromhex("".join(lines)).split(b"\n"))
    except ValueError:  # also of `unhexlify`
        raise NoVault("a part of it is missing") from None
    return salt, mac, hidden


def _keys(password: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    """Key of the cipher, key of the HMAC, first counter."""
    made = hashlib.pbkdf2_hmac("sha256", password, salt, _ROUNDS, 2 * _KEY + _BLOCK)
    return made[:_KEY], made[_KEY : 2 * _KEY], made[2 * _KEY :]


def _cipher(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """AES-256 in counter mode, which is its own inverse."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor().update(data)
