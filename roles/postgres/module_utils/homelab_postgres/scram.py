"""SCRAM verifiers, made here so that no password in clear ever reaches the server.

RFC 5803 gives the form in which one is stored, RFC 7677 SCRAM-SHA-256, RFC 4013 how a password is prepared; a
password that RFC 4013 forbids is taken as it is, as PostgreSQL and libpq do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata

ITERATIONS = 4096  # PostgreSQL's own; a client waits for them at every connection
SALT_BYTES = 16
STORED = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")

FORBIDDEN = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores instead of the password; without a salt, a new one is drawn."""
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, iterations)
    client_key, server_key = (hmac.digest(salted, word, "sha256") for word in (b"Client Key", b"Server Key"))
    stored_key = hashlib.sha256(client_key).digest()
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return "SCRAM-SHA-256${}:{}${}:{}".format(iterations, *encoded)


def fits(password: str, stored: str | None) -> bool:
    """Whether the stored verifier was made from this password, whatever its salt and iterations."""
    found = STORED.fullmatch(stored or "")
    if not found:
        return False
    return hmac.compare_digest(verifier(password, base64.b64decode(found[2]), int(found[1])), found[0])


def prepared(password: str) -> bytes:
    """The password as SASLprep wants it."""
    spaced = ["" if stringprep.in_table_b1(c) else " " if stringprep.in_table_c12(c) else c for c in password]
    text = unicodedata.normalize("NFKC", "".join(spaced))
    if any(table(character) for character in text for table in FORBIDDEN) or not _one_way(text):
        return password.encode()
    return text.encode()


def _one_way(text: str) -> bool:
    """Whether the text does not mix writing to the right and to the left (RFC 3454, 6)."""
    leftward = [stringprep.in_table_d1(character) for character in text]
    if not any(leftward):
        return bool(text)
    return leftward[0] and leftward[-1] and not any(stringprep.in_table_d2(character) for character in text)
