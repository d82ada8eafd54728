"""The records and the proof as files on the share: read, listed, written and dropped; nothing here can hang."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from homelab_host import records as library
from homelab_host.errors import Trouble
from homelab_host.share import bounded
from homelab_host.signing import digest
from homelab_host.timestamps import write

from .config import ROLE
from .records import FORMAT, LABEL, Record, parse_record

MOST_BYTES = 32 << 20


def load_all(folder: Path, host: str, judged: Mapping[str, str] | None = None) -> list[Record]:
    """All records, oldest first. What is none by its name is somebody else's.

    Raises `Trouble` that names a record which cannot be understood, unless a newer one is good. `judged`: label →
    SHA-256 of the file that somebody else has looked at; another file under that name is refused.
    """

    def texts() -> dict[str, str]:
        try:
            ours = [each for each in folder.iterdir() if LABEL.fullmatch(each.stem) and each.suffix == ".json"]
            return {each.stem: _beginning(each) for each in ours if each.is_file()}
        except FileNotFoundError:
            return {}

    try:
        found = bounded(texts)
    except OSError as error:
        raise Trouble(f"cannot read the records in {folder}: {error.strerror}", "look at the share") from None
    for label, desired in (judged or {}).items():
        if label in found and digest(found[label]) != desired:
            raise Trouble(
                f"{folder / label}.json is not the record that was judged: it was changed since",
                "see who writes to the share; then run the rebuild anew, so that the backup is judged again",
            )
    records: list[Record] = []
    for label in sorted(found, reverse=True):
        try:
            records.append(parse_record(found[label], f"{folder / label}.json", host))
        except Trouble as trouble:
            if not records:
                hint = "look at the file; if it is of no use, remove it: the backups themselves lie elsewhere"
                raise Trouble(trouble.message, hint) from None
    return sorted(records, key=lambda record: record.moment)


def labels(folder: Path) -> list[str]:
    """The labels of all records by their names, also of those that cannot be understood."""

    def names() -> list[str]:
        return [each.stem for each in folder.iterdir() if LABEL.fullmatch(each.stem) and each.suffix == ".json"]

    try:
        return sorted(bounded(names))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Trouble(f"cannot look into {folder}: {error.strerror}", "look at the share") from None


def proven(folder: Path) -> str | None:
    """The label of the backup that the proof is of; `None` if there is none that can be understood."""

    def read_label() -> str | None:
        try:
            found = json.loads(_beginning(folder / library.PROOF))
        except (ValueError, FileNotFoundError):
            return None
        return str(found.get("label")) if isinstance(found, dict) else None

    try:
        return None if (label := bounded(read_label)) is None else str(label)
    except OSError as error:
        raise Trouble(f"cannot read {folder / library.PROOF}: {error.strerror}", "look at the share") from None


def _beginning(file: Path) -> str:
    """The text of a file; of one that is too large for a record so much that it is none."""
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES + 1).decode(errors="replace")


def save(folder: Path, record: Record) -> None:
    """Write a record, signed; one that cannot be signed is still better than none, and raises `Trouble`."""
    library.save_record(folder, ROLE, record.host, record.label, asdict(record))


def drop(folder: Path, labels: Iterable[str]) -> None:
    """Remove the records of these backups, which are no more."""

    def remove() -> None:
        for label in labels:
            with suppress(FileNotFoundError):
                (folder / f"{label}.json").unlink()

    try:
        bounded(remove)
    except OSError as error:
        raise Trouble(f"cannot remove old records in {folder}: {error.strerror}", "look at the share") from None


def save_proof(folder: Path, record: Record, proven: datetime, seconds: float) -> None:
    """Say that the backup of this record was restored, and that it answered as recorded."""
    proof = {"host": record.host, "label": record.label, "proven": write(proven), "seconds": round(seconds, 1)}
    proof |= {"stacks": len(record.stacks), "bytes": record.bytes, "format": FORMAT}
    library.save_proof(folder, ROLE, record.host, proof)
