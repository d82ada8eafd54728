"""Sign what is written down about backups, with a key that only root reads and that the controller knows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from . import report
from .account import as_root
from .errors import Trouble
from .process import run

KEY = Path("/etc/homelab-provision/signing-key")
NAMESPACE = "homelab-backup"
PATIENCE = 60.0
END = "\n}\n"


def statement(role: str, host: str, name: str, body: str) -> str:
    """What is signed; the controller makes the same of what it reads (homelab_provision/identity/signing.py)."""
    return f"homelab-backup 1\nhost {host}\nfile {role}/{name}\nsha256 {digest(body)}\n"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def embed(body: str, signature: str) -> str:
    """The file with its signature in it: the two reach the disk together, and go together."""
    return f'{body.removesuffix(END)},\n "signature": {json.dumps(signature)}{END}'


def signed(role: str, host: str, name: str, body: str) -> str:
    """A file of the records (a JSON object, its brace on a line of its own) with its signature.

    Without a key it stays as it is, and that is said. Raises `Trouble` if there is one that does not sign.
    """
    with as_root():
        there = KEY.exists()
    if not there:
        report.notice(f"{name} is not signed: this host has no key for that; `provision backup {host}` brings it")
        return body
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(KEY), "-n", NAMESPACE]
    done = run(words, patience=PATIENCE, feed=statement(role, host, name, body), root=True)
    if done.status:
        hint = f"`provision backup {host}` brings the key again"
        raise Trouble(f"{name} could not be signed with {KEY}", hint, done.last_words)
    return embed(body, done.out)
