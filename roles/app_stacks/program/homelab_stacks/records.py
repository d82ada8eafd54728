"""Records: RECORDS/LABEL.json says which snapshots a backup is made of, and what the stacks answered then."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from homelab_host import records as library
from homelab_host.errors import Trouble
from homelab_host.timestamps import read

from .values import Wrong, apart, plain, relative

FORMAT = 1
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


def text_of(record: Record) -> str:
    """The record without what is only true of the share: it goes into the repository, and with it elsewhere."""
    return library.body(asdict(record.with_files({})))


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
