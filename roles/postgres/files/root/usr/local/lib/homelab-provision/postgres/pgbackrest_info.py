"""What pgBackRest tells of a repository, as types. Pure; the JSON is that of version 2.55."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# "restore file /srv/… (bundle 3/24, 1.2MB, 37.50%) checksum …", and the same with "backup file".
PERCENT = re.compile(r"P\d\d +\w+: (?:restore|backup|match|check) .*, (\d+(?:\.\d+)?)%\)")
ERROR = re.compile(r"\bERROR: \[\d+\]: (.*)")
MISSING = (1, 3)


@dataclass(frozen=True)
class Backup:
    """A backup in the first repository. Positions in bytes, moments in seconds since 1970."""

    label: str
    type: str
    started: float
    finished: float
    start_segment: str
    stop_segment: str
    stop_position: int
    bytes: int
    references: tuple[str, ...]
    system_id: int
    damaged_pages: bool

    @property
    def timeline(self) -> int:
        return int(self.stop_segment[:8], 16)


@dataclass(frozen=True)
class Stanza:
    """A cluster's part of the repository: its backups, oldest first, and the clusters that it has known."""

    exists: bool
    backups: tuple[Backup, ...] = ()
    system_ids: Mapping[int, int] | None = None
    archives: Mapping[str, int] | None = None

    @property
    def newest_system_id(self) -> int | None:
        """The cluster that may push WAL into it."""
        return self.system_ids[max(self.system_ids)] if self.system_ids else None

    def find(self, label: str) -> Backup | None:
        return next((backup for backup in self.backups if backup.label == label), None)

    def archives_of(self, system_id: int) -> list[str]:
        """The archive directories (`17-1`) of a cluster; several, if another one came in between."""
        known = self.system_ids or {}
        return [name for name, number in (self.archives or {}).items() if known.get(number) == system_id]


def parse_info(text: str, name: str) -> Stanza:
    """From `pgbackrest info --output=json --repo=1`."""
    found = next((stanza for stanza in json.loads(text) if stanza["name"] == name), None)
    if found is None or found["status"]["code"] in MISSING:
        return Stanza(exists=False)
    system_ids = {int(each["id"]): int(each["system-id"]) for each in found["db"]}
    backups = [_backup(each, system_ids) for each in found["backup"]]
    archives = {str(each["id"]): int(each["database"]["id"]) for each in found["archive"]}
    return Stanza(True, tuple(sorted(backups, key=lambda backup: backup.finished)), system_ids, archives)


def _backup(found: Mapping[str, Any], system_ids: Mapping[int, int]) -> Backup:
    high, _, low = found["lsn"]["stop"].partition("/")
    return Backup(
        label=found["label"], type=found["type"],
        started=found["timestamp"]["start"], finished=found["timestamp"]["stop"],
        start_segment=found["archive"]["start"], stop_segment=found["archive"]["stop"],
        stop_position=(int(high, 16) << 32) + int(low, 16),
        bytes=found["info"]["size"], references=tuple(found["reference"] or ()),
        system_id=system_ids[found["database"]["id"]], damaged_pages=bool(found["error"]),
    )  # fmt: skip


def percentage(line: str) -> float | None:
    """How far a backup or a restore is, if the line of its log says so."""
    found = PERCENT.search(line)
    return float(found[1]) if found else None


def complaint(text: str) -> str:
    """The first error of a log with the lines that belong to it; what pgBackRest says after it is a consequence."""
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if ERROR.search(line)), None)
    if begin is None:
        return "\n".join(lines[-8:])
    rest = (line for line in lines[begin + 1 : begin + 8] if line.startswith(" "))
    return "\n".join([*(ERROR.findall(lines[begin])), *(line.strip() for line in rest)])


@dataclass(frozen=True)
class Listed:
    """A file of the repository: its path below it, its size in bytes, when it was written (seconds since 1970)."""

    path: str
    size: int
    written: float


def parse_listing(text: str, folder: str) -> list[Listed]:
    """From `pgbackrest repo-ls --recurse --output=json FOLDER`."""
    found = json.loads(text)
    return [
        Listed(f"{folder}/{path}", int(entry["size"]), float(entry["time"]))
        for path, entry in sorted(found.items())
        if entry["type"] == "file"
    ]


def verify_complaints(text: str) -> list[str]:
    """What `pgbackrest verify --output=text` found wrong: it ends with status 0 all the same."""
    bad = re.compile(r"status: (?!ok|valid)|(?:missing|invalid|other): [1-9]")
    return [line.strip() for line in text.splitlines() if bad.search(line)]


def segments(files: Iterable[Listed]) -> dict[str, Listed]:
    """The WAL segments among the files of the archive, by name."""
    found: dict[str, Listed] = {}
    for each in files:
        segment = re.fullmatch(r"([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?", each.path.rsplit("/", 1)[-1])
        if segment:
            found[segment[1]] = each
    return found


def history_files(files: Iterable[Listed]) -> dict[int, Listed]:
    """The history files among the files of the archive, by timeline."""
    found: dict[int, Listed] = {}
    for each in files:
        history = re.fullmatch(r"([0-9A-F]{8})\.history", each.path.rsplit("/", 1)[-1])
        if history:
            found[int(history[1], 16)] = each
    return found
