"""What a program writes down about backups beside them: records and the proof, each a JSON object, signed.

The controller reads of a record `host`, `label`, `finished`, `bytes` and `files` (path from the host's directory →
size: everything that restoring it needs), and of the proof `host`, `label` and `proven` (docs/roles.md).
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .errors import Trouble
from .share import bounded
from .signing import signed

PROOF = "proof.json"


def body(document: Mapping[str, object]) -> str:
    """The text of a document before it is signed."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def key_proof(key: str, host: str, label: str) -> str:
    """HMAC-SHA256 over whose backup it is, and which; the controller makes the same (data/backups.py)."""
    return hmac.new(key.encode(), f"homelab-backup-key 1\nhost {host}\nlabel {label}\n".encode(), "sha256").hexdigest()


def save_record(folder: Path, role: str, host: str, label: str, document: Mapping[str, object]) -> None:
    """Write a record, signed; one that cannot be signed is still better than none, and raises `Trouble`."""
    name, text = f"{label}.json", body(document)
    try:
        text = signed(role, host, name, text)
    except Trouble:
        save(folder, name, text)
        raise
    save(folder, name, text)


def save_proof(folder: Path, role: str, host: str, document: Mapping[str, object]) -> None:
    """Write the proof, signed; if it cannot be signed, the last one stays, and `Trouble` is raised."""
    save(folder, PROOF, signed(role, host, PROOF, body(document)))


def save(folder: Path, name: str, text: str) -> None:
    """Write a file of the records: whole, or not at all, also if the power goes."""

    def put() -> None:
        folder.mkdir(exist_ok=True)
        with suppress(PermissionError):  # whose it is, the server decides
            folder.chmod(0o750)
        temporary = folder / f".{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), 0o640)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)

    try:
        bounded(put)
    except OSError as error:
        hint = "look at the share and its free space"
        raise Trouble(f"cannot write {folder / name}: {error.strerror}", hint) from None
