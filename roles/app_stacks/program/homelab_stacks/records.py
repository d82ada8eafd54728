"""Records: RECORDS/LABEL.json says which snapshots a backup is made of, and what the stacks answered then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from homelab_host import records as library
from homelab_host.errors import Trouble
from homelab_host.share import bounded
from homelab_host.signing import digest
from homelab_host.timestamps import read, write

from .config import ROLE
from .values import Wrong, apart, plain, relative

FORMAT = 1
MOST_BYTES = 32 << 20
# The tag of the snapshot that holds the record in the repository itself.
TAG = "record"
LABEL = re.compile(r"\d{8}-\d{6}F")
_SNAPSHOT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Kept:
    """What a backup has of one stack. `files` are regular files, each link counted; `bytes` are theirs."""

    snapshot: str
    version: str
    folder: str
    paths: tuple[str, ...]
    files: int
    bytes: int
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One complete backup of a host. `files`: path from the share → size of everything that restoring it needs."""

    host: str
    label: str
    finished: str
    bytes: int
    stacks: dict[str, Kept]
    files: dict[str, int] = field(default_factory=dict)
    key_proof: str | None = None
    format: int = FORMAT

    @property
    def moment(self) -> datetime:
        return read(self.finished)

    @property
    def fingerprint(self) -> dict[str, dict[str, str]]:
        """What the stacks answered."""
        return {name: dict(kept.facts) for name, kept in sorted(self.stacks.items())}

    def with_files(self, files: Mapping[str, int]) -> Record:
        return replace(self, files=dict(files))


def label_of(moment: datetime) -> str:
    return f"{moment:%Y%m%d-%H%M%S}F"


def moment_of(label: str) -> datetime:
    return datetime.strptime(f"{label} +0000", "%Y%m%d-%H%M%SF %z")


def parse_record(text: str, where: str, host: str) -> Record:
    """A record of this host from its file; raises `Trouble` for what is none.

    It comes from a share: no path in it may lead anywhere but below a stack's folder.
    """
    try:
        found = json.loads(text)
        stacks = {str(name): _kept(each) for name, each in found["stacks"].items()}
        values = {name: found.get(name) for name in ("host", "label", "finished", "bytes", "key_proof", "format")}
        record = Record(stacks=stacks, files=dict(found["files"]), **values)
        if record.format != FORMAT or not LABEL.fullmatch(record.label) or type(record.bytes) is not int:
            raise ValueError("it is of another format")
        if datetime.fromisoformat(record.finished).tzinfo is None:
            raise ValueError("`finished` has no time zone")
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise Trouble(f"{where} is no record of a backup that this program understands: {error}") from None
    if record.host != host:
        raise Trouble(f"{where} is a record of {record.host!r}, not of {host}")
    return record


def _kept(found: Mapping[str, Any]) -> Kept:
    facts = {str(name): str(answer) for name, answer in found["facts"].items()}
    paths = apart([relative(path) for path in found["paths"]])
    if not _SNAPSHOT.fullmatch(found["snapshot"]) or not paths:
        raise Wrong("a stack has no snapshot")
    counts = int(found["files"]), int(found["bytes"])
    return Kept(found["snapshot"], str(found["version"]), str(plain(found["folder"])), paths, *counts, facts)


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


def text_of(record: Record) -> str:
    """The record without what is only true of the share: it goes into the repository, and with it elsewhere."""
    return library.body(asdict(record.with_files({})))


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


def choose(records: Sequence[Record], label: str | None, to: datetime | None) -> Record:
    """Of records, oldest first, the one with the label, or the newest; made before the moment in either case.

    Raises `Trouble` that says what there is instead.
    """
    if not records:
        raise Trouble("there is no backup with a record to restore from", "make one: homelab-stacks backup")
    named = [record for record in records if label in (None, record.label)]
    if not named:
        known = ", ".join(record.label for record in records)
        raise Trouble(f"there is no backup {label} with a record", f"there are: {known}")
    early = [record for record in named if to is None or record.moment <= to]
    if not early:
        said = f"the backup {named[0].label} was complete at {named[0].finished}: it holds nothing of before"
        raise Trouble(said, "choose a later time" if label is None else "choose a later time, or an older backup")
    return early[-1]


def save_proof(folder: Path, record: Record, proven: datetime, seconds: float) -> None:
    """Say that the backup of this record was restored, and that it answered as recorded."""
    proof = {"host": record.host, "label": record.label, "proven": write(proven), "seconds": round(seconds, 1)}
    proof |= {"stacks": len(record.stacks), "bytes": record.bytes, "format": FORMAT}
    library.save_proof(folder, ROLE, record.host, proof)
