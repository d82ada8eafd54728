"""An empty repository made by the real restic, whose key is quick to try.

restic makes trying a password cost half a second, on purpose, and tests open a repository hundreds of times. So the
key file is written anew with small numbers of scrypt (restic's design document, "Keys, Encryption and MAC").
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_FOLDER = TemporaryDirectory(prefix="hlp-test-")
QUICK = {"N": 2, "r": 1, "p": 1}


@cache
def repository(password: str) -> Path:
    """The folder of the repository, to be copied."""
    folder = Path(_FOLDER.name) / "repository"
    (folder.parent / "password").write_text(password)
    words = ["restic", f"--repo={folder}", f"--password-file={folder.parent}/password", "--no-cache", "init"]
    subprocess.run(words, check=True, capture_output=True)
    (old,) = (folder / "keys").iterdir()
    key = json.loads(old.read_text())
    sealed = base64.b64decode(key["data"])
    nonce, body = sealed[:16], sealed[16:-16]
    key.update(QUICK)
    salt = base64.b64decode(key["salt"])
    plain = _stream(_derived(password, salt, json.loads(old.read_text()))[:32], nonce, body)
    derived, nonce = _derived(password, salt, key), os.urandom(16)
    body = _stream(derived[:32], nonce, plain)
    one_time = Cipher(algorithms.AES(derived[32:48]), modes.ECB()).encryptor().update(nonce)
    tag = Poly1305.generate_tag(derived[48:] + one_time, body)
    key["data"] = base64.b64encode(nonce + body + tag).decode()
    text = json.dumps(key).encode()
    old.unlink()
    (folder / "keys" / hashlib.sha256(text).hexdigest()).write_bytes(text)
    return folder


def _derived(password: str, salt: bytes, numbers: dict[str, int]) -> bytes:
    """32 bytes of the key of AES, 16 of Poly1305's own AES key, 16 of its r."""
    cost = {"n": numbers["N"], "r": numbers["r"], "p": numbers["p"]}
    return hashlib.scrypt(password.encode(), salt=salt, dklen=64, maxmem=1 << 30, **cost)


def _stream(key: bytes, nonce: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor().update(data)
