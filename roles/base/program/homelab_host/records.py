"""What a program writes down about backups beside them: records and the proof, each a JSON object, signed.

The controller reads of a record `host`, `label`, `finished`, `bytes` and `files` (path from the host's directory →
size: everything that restoring it needs), and of the proof `host`, `label` and `proven` (docs/roles.md).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from . import synced
from .errors import Trouble
from .share import bounded
from .signing import digest, signed

PROOF = "proof.json"
# As pgBackRest labels backups: 20261123-134125F, and 20261123-134125F_20261123-134134I of what builds on it.
LABEL = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")
MOST_BYTES = 32 << 20


class Dated(Protocol):
    """A record; `moment` is when its backup was complete."""

    @property
    def moment(self) -> datetime: ...


Record = TypeVar("Record", bound=Dated)


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


def load_all(
    folder: Path, parse: Callable[[str, str], Record], judged: Mapping[str, str] | None = None
) -> list[Record]:
    """All records, oldest first. What is none by its name is somebody else's (a desktop's, a synchroniser's).

    `parse` makes a record of its text and the name of its file, or raises `Trouble`. Raises `Trouble` that names a
    record which cannot be understood, unless a newer one is good. `judged`: label → SHA-256 of the file that somebody
    else has looked at; another file under that name is refused.
    """

    def texts() -> dict[str, str]:
        return {label: beginning(folder / f"{label}.json") for label in _labels(folder)}

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
    for label in sorted(found, key=_moment_of, reverse=True):
        try:
            records.append(parse(found[label], f"{folder / label}.json"))
        except Trouble as trouble:
            if not records:
                hint = "look at the file; if it is of no use, remove it: the backups themselves lie elsewhere"
                raise Trouble(trouble.message, hint) from None
    return sorted(records, key=lambda record: record.moment)


def labels(folder: Path) -> list[str]:
    """The labels of all records by their names, also of those that cannot be understood."""
    try:
        return list(bounded(lambda: _labels(folder)))
    except OSError as error:
        raise Trouble(f"cannot look into {folder}: {error.strerror}", "look at the share") from None


def drop(folder: Path, kept: Container[str]) -> None:
    """Remove the records of backups that are no more; those with the labels `kept` stay."""

    def remove() -> None:
        for label in _labels(folder):
            if label not in kept:
                (folder / f"{label}.json").unlink(missing_ok=True)

    try:
        bounded(remove)
    except OSError as error:
        raise Trouble(f"cannot remove old records in {folder}: {error.strerror}", "look at the share") from None


def beginning(file: Path) -> str:
    """The text of a file; of one that is too large for a record so much that it is none."""
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES + 1).decode(errors="replace")


def _labels(folder: Path) -> list[str]:
    try:
        there = list(folder.iterdir())
    except FileNotFoundError:
        return []
    ours = [each for each in there if each.suffix == ".json" and LABEL.fullmatch(each.stem)]
    return sorted(each.stem for each in ours if each.is_file())


def _moment_of(label: str) -> str:
    """When a backup was made, by its label; it sorts so."""
    return label.rpartition("_")[2][:15]


def save_proof(folder: Path, role: str, host: str, document: Mapping[str, object]) -> None:
    """Write the proof, signed; if it cannot be signed, the last one stays, and `Trouble` is raised."""
    save(folder, PROOF, signed(role, host, PROOF, body(document)))


def save(folder: Path, name: str, text: str) -> None:
    """Write a file of the records: whole, or not at all, also if the power goes."""

    def put() -> None:
        folder.mkdir(exist_ok=True)
        with suppress(PermissionError):  # whose it is, the server decides
            folder.chmod(0o750)
        synced.write(folder / name, text, 0o640)

    try:
        bounded(put)
    except OSError as error:
        hint = "look at the share and its free space"
        raise Trouble(f"cannot write {folder / name}: {error.strerror}", hint) from None
