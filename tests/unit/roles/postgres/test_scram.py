"""SCRAM verifiers: the example of RFC 7677, and when a password counts as changed."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from tests.unit.roles import modules

scram = modules.part("scram", "postgres")

# RFC 7677, section 3: user `user`, password `pencil`.
NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
CONVERSATION = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={NONCE},s={SALT},i=4096,c=biws,r={NONCE}".encode()
PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def keys(verifier: str) -> tuple[bytes, bytes]:
    stored, server = verifier.split("$")[2].split(":")
    return base64.b64decode(stored), base64.b64decode(server)


def test_verifier_stands_the_conversation_of_the_rfc() -> None:
    made = scram.verifier("pencil", base64.b64decode(SALT))
    stored, server = keys(made)
    assert base64.b64encode(hmac.digest(server, CONVERSATION, "sha256")).decode() == SIGNATURE
    mask = hmac.digest(stored, CONVERSATION, "sha256")
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(PROOF), mask, strict=True))
    assert hashlib.sha256(client_key).digest() == stored
    assert made.startswith(f"SCRAM-SHA-256$4096:{SALT}$")


def test_salt_is_drawn_anew() -> None:
    assert scram.verifier("pencil") != scram.verifier("pencil")


@pytest.mark.parametrize("iterations", [4096, 1000])
def test_a_password_fits_what_was_made_from_it(iterations: int) -> None:
    stored = scram.verifier("pencil", b"sixteen bytes of", iterations)
    assert scram.fits("pencil", stored)
    assert not scram.fits("Pencil", stored)


@pytest.mark.parametrize("stored", [None, "", "md5c4ca4238a0b923820dcc509a6f75849b", "SCRAM-SHA-256$4096:x"])
def test_nothing_fits_what_is_no_verifier(stored: str | None) -> None:
    assert not scram.fits("pencil", stored)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", "pencil"),
        ("I\u00adX", "IX"),  # RFC 4013, section 3: a soft hyphen is nothing
        ("\u00aa", "a"),  # compatibility form
        ("\u2168", "IX"),
        ("non\u00a0breaking", "non breaking"),
        ("p\u0061\u0308ss", "päss"),
        ("\u0007", "\u0007"),  # forbidden, so taken as it is
        ("\u0627\u0031", "\u0627\u0031"),  # ends in the other direction, so taken as it is
    ],
)
def test_password_is_prepared(password: str, prepared: str) -> None:
    assert scram.prepared(password) == prepared.encode()
