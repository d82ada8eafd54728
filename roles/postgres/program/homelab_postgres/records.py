"""Records: RECORDS/LABEL.json says what is in a backup, and which files of the share a restore of it needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from homelab_host import records as library
from homelab_host.errors import Trouble
from homelab_host.records import body
from homelab_host.timestamps import read, write

from .pgbackrest_info import Backup, Listed, history_files, segments
from .wal import parse_lsn, segment_before, segment_name, segment_number

FORMAT = 1
ROLE = "postgres"


@dataclass(frozen=True)
class Record:
    """One backup. `finished` is the moment of its restore point, up to which a restore has to replay at least."""

    host: str
    label: str
    type: str
    started: str
    finished: str
    point: str
    lsn: str
    timeline: int
    system_id: str
    bytes: int
    fingerprint: dict[str, Any]
    files: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT
    # Of a backup that is encrypted: what only who has the key can say of it, so that a rebuild knows whether it has.
    key_proof: str | None = None

    @property
    def moment(self) -> datetime:
        return read(self.finished)

    def with_files(self, files: dict[str, int]) -> Record:
        return replace(self, files=files)


def parse_record(text: str, where: str) -> Record:
    """A record from its file; raises `Trouble` for what is none."""
    try:
        found = json.loads(text)
        found.setdefault("fingerprint", found.get("facts"))  # as the first version called it
        names = {each.name for each in fields(Record)}
        record = Record(**{name: value for name, value in found.items() if name in names})
        if record.format != FORMAT:
            raise ValueError(f"its format is {record.format}")
        parse_lsn(record.lsn)
        if datetime.fromisoformat(record.finished).tzinfo is None:
            raise ValueError("`finished` has no time zone")
        if not record.fingerprint["databases"].keys() >= set():
            raise ValueError("it has no fingerprint")
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise Trouble(f"{where} is no record of a backup that this program understands: {error}") from None
    return record


def render(record: Record) -> str:
    return body(asdict(record))


def load_all(folder: Path, judged: Mapping[str, str] | None = None) -> list[Record]:
    """All records, oldest first (homelab_host.records.load_all)."""
    return library.load_all(folder, parse_record, judged)


def save_record(folder: Path, record: Record) -> None:
    """Write a record, signed; one that cannot be signed is still better than none, and raises `Trouble`."""
    library.save_record(folder, ROLE, record.host, record.label, asdict(record))


def drop_expired(folder: Path, labels: Iterable[str], made: str) -> None:
    """Remove the records of backups that are no more; `labels` are those that are there.

    A list without the backup that was just `made` is no list of what there is: nothing is removed on its word. What
    is no record by its name is somebody else's.
    """
    kept = set(labels)
    if made not in kept:
        raise Trouble(
            f"pgBackRest does not list the backup {made}, which was made just now; all records were kept",
            "look at the NAS, then at `pgbackrest info`",
        )
    library.drop(folder, kept)


def needed_files(
    backup: Backup, listed: Sequence[Listed], archive: Sequence[Listed], timeline: int, lsn: str, segment_size: int
) -> dict[str, int]:
    """The files, with their sizes, that a restore of the backup to the position `lsn` reads.

    `listed` are those below the backup and below those it refers to, `archive` those of the WAL archive. Backup
    and position lie on one timeline. Raises `Trouble` if a segment is missing.
    """
    files = {each.path: each.size for each in listed}
    first = segment_number(backup.start_segment, segment_size)
    last = segment_before(parse_lsn(lsn), segment_size)
    there = segments(archive)
    for number in range(first, last + 1):
        name = segment_name(timeline, number, segment_size)
        if name not in there:
            raise Trouble(f"WAL segment {name} is not in the archive, but the backup {backup.label} needs it")
        files[there[name].path] = there[name].size
    history = history_files(archive).get(timeline)
    if history:
        files[history.path] = history.size
    return files


def choose(records: Sequence[Record], label: str | None, to: datetime | None) -> Record:
    """Of records, oldest first, the one with the label, or the newest; made before the moment in either case.

    Raises `Trouble` that says what there is instead.
    """
    if not records:
        raise Trouble(
            "there is no backup with a record to restore from",
            "make one while the cluster lives: homelab-postgres backup --type full",
        )
    named = [record for record in records if label in (None, record.label)]
    if not named:
        known = ", ".join(record.label for record in records)
        raise Trouble(f"there is no backup {label} with a record", f"there are: {known}")
    early = [record for record in named if to is None or record.moment <= to]
    if not early:
        raise Trouble(
            f"the backup {named[0].label} was complete at {named[0].finished}: from it there is no way back to before",
            "choose a later time" if label is None else "choose a later time, or an older backup",
        )
    return early[-1]


def write_proof(folder: Path, record: Record, proven: datetime, seconds: float, sums: Mapping[str, int]) -> None:
    """Say that the backup of this record was restored and found equal; `sums`: tables, rows, bytes."""
    proof = {"label": record.label, "proven": write(proven), "seconds": round(seconds, 1), **sums}
    library.save_proof(folder, ROLE, record.host, {"format": FORMAT, "host": record.host, **proof})
