"""What pgBackRest tells of a repository, as types. Pure; the JSON is that of version 2.55."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# "restore file /srv/… (bundle 3/24, 1.2MB, 37.50%) checksum …", and the same with "backup file".
PERCENT = re.compile(r"P\d\d +\w+: (?:restore|backup|match|check) .*, (\d+(?:\.\d+)?)%\)")
ERROR = re.compile(r"\bERROR: \[\d+\]: (.*)")
# What a stanza may be and still be described (info/info.c): "ok" and "no valid backups".
READABLE = frozenset({0, 2})
NOT_MADE_YET = 1  # "missing stanza path"
SEGMENT = re.compile(r"[0-9A-F]{24}")
# What reading words of another shape ends with.
MISUNDERSTANDINGS = (ValueError, TypeError, LookupError, AttributeError)


class NotUnderstood(ValueError):
    """What pgBackRest said does not describe a stanza; the text is its own message, or what is wrong with its words."""


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
    """A cluster's part of the repository: its backups, oldest first, and the clusters that it has known.

    `unusable` are the labels of backups that no restore can begin with: one that was made offline has no place in the
    WAL, one of a cluster that the repository has forgotten belongs to nobody. They are listed, and never chosen.
    """

    exists: bool
    backups: tuple[Backup, ...] = ()
    unusable: tuple[str, ...] = ()
    system_ids: Mapping[int, int] | None = None
    archives: Mapping[str, int] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Everything that is there."""
        return (*(backup.label for backup in self.backups), *self.unusable)

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
    """From `pgbackrest info --output=json --repo=1`, which ends with status 0 whatever it found.

    Raises `NotUnderstood` for everything but a stanza that could be read and one that nobody has made yet: a
    repository that could not be read looks like an empty one otherwise.
    """
    try:
        stanzas = json.loads(text)
        if not isinstance(stanzas, list):
            raise TypeError("it is no list of stanzas")
        found = next((stanza for stanza in stanzas if stanza["name"] == name), None)
        if found is None:
            return Stanza(exists=False)
        statuses = [found["status"], *(repository["status"] for repository in found.get("repo") or [])]
        codes = {int(status["code"]) for status in statuses}
        if codes == {NOT_MADE_YET}:
            return Stanza(exists=False)
        if not codes <= READABLE:
            raise NotUnderstood(_explained(statuses))
        system_ids = {int(each["id"]): int(each["system-id"]) for each in found["db"]}
        backups = [made for each in found["backup"] if (made := _backup(each, system_ids))]
        labels = [str(each["label"]) for each in found["backup"]]
        archives = {str(each["id"]): int(each["database"]["id"]) for each in found["archive"]}
    except NotUnderstood:
        raise
    except MISUNDERSTANDINGS as error:
        raise NotUnderstood(f"it said: {text.strip()[:500] or 'nothing'} ({type(error).__name__}: {error})") from None
    usable = {backup.label for backup in backups}
    return Stanza(
        True,
        tuple(sorted(backups, key=lambda backup: backup.finished)),
        tuple(label for label in labels if label not in usable),
        system_ids,
        archives,
    )


def _explained(statuses: Iterable[Mapping[str, Any]]) -> str:
    """The messages that say why a stanza could not be read; that of the repository says more than "other"."""
    reported = [(status["code"], str(status["message"])) for status in statuses if int(status["code"]) not in READABLE]
    plain = [message for code, message in reported if message != "other"] or [f"status {code}" for code, _ in reported]
    return "\n".join(dict.fromkeys(plain))


def _backup(found: Mapping[str, Any], system_ids: Mapping[int, int]) -> Backup | None:
    """A backup; `None` for one that lacks what a restore needs."""
    try:
        high, _, low = found["lsn"]["stop"].partition("/")
        segments = (found["archive"]["start"], found["archive"]["stop"])
        if not all(SEGMENT.fullmatch(segment) for segment in segments):
            return None
        return Backup(
            label=found["label"],
            type=found["type"],
            started=float(found["timestamp"]["start"]),
            finished=float(found["timestamp"]["stop"]),
            start_segment=segments[0],
            stop_segment=segments[1],
            stop_position=(int(high, 16) << 32) + int(low, 16),
            bytes=int(found["info"]["size"]),
            references=tuple(found["reference"] or ()),
            system_id=system_ids[found["database"]["id"]],
            damaged_pages=bool(found["error"]),
        )
    except MISUNDERSTANDINGS:
        return None


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
    """From `pgbackrest repo-ls --recurse --output=json FOLDER`; raises `NotUnderstood` for anything else."""
    try:
        found = json.loads(text)
        return [
            Listed(f"{folder}/{path}", int(entry["size"]), float(entry["time"]))
            for path, entry in sorted(found.items())
            if entry["type"] == "file"
        ]
    except MISUNDERSTANDINGS as error:
        raise NotUnderstood(f"it said: {text.strip()[:500] or 'nothing'} ({type(error).__name__}: {error})") from None


def verify_complaints(text: str) -> list[str]:
    """What `pgbackrest verify --output=text` found wrong: it ends with status 0 all the same."""
    bad = re.compile(r"status: (?!ok|valid)|(?:missing|invalid|other): [1-9]")
    return [line.strip() for line in text.splitlines() if bad.search(line)]


def segments(files: Iterable[Listed]) -> dict[str, Listed]:
    """The WAL segments among the files of the archive, by name."""
    return dict(_named(files, r"([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?"))


def history_files(files: Iterable[Listed]) -> dict[int, Listed]:
    """The history files among the files of the archive, by timeline."""
    return {int(timeline, 16): each for timeline, each in _named(files, r"([0-9A-F]{8})\.history")}


def _named(files: Iterable[Listed], pattern: str) -> Iterator[tuple[str, Listed]]:
    for each in files:
        if found := re.fullmatch(pattern, each.path.rsplit("/", 1)[-1]):
            yield found[1], each
