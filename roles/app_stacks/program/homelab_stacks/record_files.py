"""The records and the proof as files on the share, read and written; nothing here can hang."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from homelab_host import records as library
from homelab_host.errors import Trouble
from homelab_host.share import bounded
from homelab_host.timestamps import write

from .config import ROLE
from .records import FORMAT, Record, parse_record


def load_all(folder: Path, host: str, judged: Mapping[str, str] | None = None) -> list[Record]:
    """All records of the host, oldest first (homelab_host.records.load_all)."""
    return library.load_all(folder, lambda text, where: parse_record(text, where, host), judged)


def proven(folder: Path) -> str | None:
    """The label of the backup that the proof is of; `None` if there is none that can be understood."""

    def read_label() -> str | None:
        try:
            found = json.loads(library.beginning(folder / library.PROOF))
        except (ValueError, FileNotFoundError):
            return None
        return str(found.get("label")) if isinstance(found, dict) else None

    try:
        return None if (label := bounded(read_label)) is None else str(label)
    except OSError as error:
        raise Trouble(f"cannot read {folder / library.PROOF}: {error.strerror}", "look at the share") from None


def save(folder: Path, record: Record) -> None:
    """Write a record, signed; one that cannot be signed is still better than none, and raises `Trouble`."""
    library.save_record(folder, ROLE, record.host, record.label, asdict(record))


def save_proof(folder: Path, record: Record, proven: datetime, seconds: float) -> None:
    """Say that the backup of this record was restored, and that it answered as recorded."""
    proof = {"host": record.host, "label": record.label, "proven": write(proven), "seconds": round(seconds, 1)}
    proof |= {"stacks": len(record.stacks), "bytes": record.bytes, "format": FORMAT}
    library.save_proof(folder, ROLE, record.host, proof)
