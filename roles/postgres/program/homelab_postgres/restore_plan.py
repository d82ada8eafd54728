"""Where a restore comes from: a backup, its record, and the way through the timelines to the moment wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from homelab_host.errors import Trouble

from .config import Setup, backups_of
from .pgbackrest_info import Backup, Listed, Stanza, history_files, segments
from .records import Record, choose, load_all
from .repository import Repository
from .wal import Branch, last_segment, lies_on, lineage, parse_lsn, timeline_at


@dataclass(frozen=True)
class Request:
    """What to restore: up to when (None: everything), and from which backup (None: the newest that will do).

    `record`: the SHA-256 that the record of the backup `label` has to have, if somebody has judged it before.
    """

    to: datetime | None = None
    label: str | None = None
    record: str | None = None


@dataclass(frozen=True)
class Archive:
    """The WAL of one cluster: its files, and the history of each timeline but the first."""

    files: Sequence[Listed]
    histories: Mapping[int, str]

    def way_to(self, timeline: int) -> list[Branch]:
        return lineage(timeline, self.histories)

    def timeline_at(self, moment: datetime | None) -> int:
        """The timeline that was written at that moment; without one, the last that was."""
        births = {timeline: each.written for timeline, each in history_files(self.files).items()}
        written = [(each.written, int(name[:8], 16)) for name, each in segments(self.files).items()]
        # A history that came without a segment is the last thing that was written, or nothing was made of it.
        written += [(born, timeline) for timeline, born in births.items()]
        return timeline_at(moment.timestamp() if moment else math.inf, births, written)


@dataclass(frozen=True)
class Source:
    record: Record
    backup: Backup
    archive: Archive
    way: Sequence[Branch]

    @property
    def timeline(self) -> int:
        return self.way[-1].timeline

    def last_segment(self, size: int) -> str:
        """Where replay on this way has to come to, at least."""
        found = last_segment(self.way, segments(self.archive.files), size)
        if found is None or found[8:] < self.backup.stop_segment[8:]:
            raise Trouble(
                f"the archive does not hold the WAL that the backup {self.backup.label} needs",
                "choose an older backup with --label, and look at the NAS",
            )
        return found


def read_archive(repository: Repository, stanza: Stanza, system_id: int) -> Archive:
    names = stanza.archives_of(system_id)
    stem = f"archive/{repository.setup.stanza}"
    files = repository.listing(*(f"{stem}/{name}" for name in names))
    histories = {timeline: repository.read(each.path) for timeline, each in history_files(files).items()}
    return Archive(files, histories)


def select(setup: Setup, repository: Repository, request: Request) -> Source:
    """The newest backup that leads to what is wanted; raises `Trouble` if none does."""
    _, folder = backups_of(setup)
    stanza = repository.info()
    backups = {backup.label: backup for backup in stanza.backups}
    judged = {request.label: request.record} if request.label and request.record else {}
    records = [record for record in load_all(folder, judged) if record.label in backups]
    # Which cluster, if the repository has known several: that of the backup named, or of the newest early enough.
    first = choose(records, request.label, request.to)
    archive = read_archive(repository, stanza, int(first.system_id))
    timeline = archive.timeline_at(request.to)
    if request.label:
        timeline = max(
            (each for each in (1, *archive.histories) if each <= timeline and _leads(archive.way_to(each), first)),
            default=first.timeline,
        )
    way = archive.way_to(timeline)
    same = [record for record in records if record.system_id == first.system_id and _leads(way, record)]
    if not same:
        raise Trouble(
            f"no backup lies on the way to timeline {timeline}: an earlier restore left them all aside",
            "name one of them with --label, or make a new one: homelab-postgres backup --type full",
        )
    record = choose(same, request.label, request.to)
    return Source(record, backups[record.label], archive, way)


def again(source: Source, repository: Repository) -> Source:
    """The same with what has reached the archive since."""
    archive = read_archive(repository, repository.info(), source.backup.system_id)
    return Source(source.record, source.backup, archive, archive.way_to(source.timeline))


def _leads(way: Sequence[Branch], record: Record) -> bool:
    return lies_on(way, record.timeline, parse_lsn(record.lsn))
