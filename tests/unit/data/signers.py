"""Keys that sign records, made by the real ssh-keygen; records signed as the program on the host signs them."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from homelab_provision.identity.signing import NAMESPACE, Signer
from tests.unit.roles.programs import part

program = part("signing")
HOST = "db-wyse"
NOW = datetime.now(UTC)
_KEYS = TemporaryDirectory(prefix="hlp-test-")


@cache
def key(name: str) -> Path:
    """The file of a private key; the public half lies beside it."""
    path = Path(_KEYS.name, name)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def public(name: str) -> str:
    return " ".join(key(name).with_name(f"{name}.pub").read_text().split()[:2])


@cache
def signature(said: str, by: str = HOST, namespace: str = NAMESPACE) -> str:
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key(by)), "-n", namespace]
    return subprocess.run(words, input=said, capture_output=True, text=True, check=True).stdout


def body_of(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def sealed(name: str, document: dict[str, Any], *, by: str = HOST, host: str = HOST, namespace: str = NAMESPACE) -> str:
    """A signed file; `name` is its path from the host's directory."""
    body = body_of(document)
    said = program.statement("postgres", host, name.removeprefix("postgres/"), body)
    return str(program.embed(body, signature(said, by, namespace)))


@cache
def signers() -> tuple[Signer, ...]:
    """The key of a box that was replaced a month ago, and the one of today."""
    old = Signer(public("old"), NOW - timedelta(days=90), NOW - timedelta(days=30))
    return old, Signer(public(HOST), NOW - timedelta(days=30))
