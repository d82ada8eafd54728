"""What restore, extract and prove have in common: copy a backup aside, replay it to its restore point, compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homelab_host import disk_space, report
from homelab_host.errors import Trouble
from homelab_host.timestamps import write

from . import data_dirs, fingerprint
from .instance import Instance
from .replay import State, replay, snapshot, to_point
from .repository import Repository
from .restore_plan import Source
from .stale_processes import stop_leftovers
from .wal import parse_lsn, segment_before, segment_name, segment_number

SEGMENT_SIZE = 16 << 20
# WAL that replay keeps until its next restart point.
REPLAY = 2 << 30
# What pgBackRest looks for before it goes on with a copy.
STARTED = ("PG_VERSION", "backup.manifest")


class Scratch:
    """A copy of a backup in a directory of its own, beside the data."""

    def __init__(self, repository: Repository, source: Source, purpose: str) -> None:
        self.setup = repository.setup
        self.repository = repository
        self.source = source
        self.data = self.setup.beside(purpose)

    def instance(self) -> Instance:
        return Instance(self.setup, self.repository, self.data)

    def copy(self, *options: str) -> None:
        """Copy the backup; what an interrupted run has copied is used."""
        if stop_leftovers(self.data):
            report.notice("what an earlier run had left at work was stopped")
        backup = self.source.backup
        if not any((self.data / sign).exists() for sign in STARTED):
            # Killed so early that pgBackRest would not take it for its own.
            data_dirs.remove(self.data)
        data_dirs.make(self.data)
        ends = (backup.start_segment, self.source.last_segment(SEGMENT_SIZE))
        first, last = (segment_number(each, SEGMENT_SIZE) for each in ends)
        _require_room(self.data, backup.bytes, (last - first + 1) * SEGMENT_SIZE)
        report.step(f"copy the backup {backup.label}")

        def progress(percent: float) -> None:
            disk_space.check(self.data.parent)
            report.progress("copy", round(backup.bytes * percent / 100), backup.bytes, "bytes")

        self.repository.restore(backup.label, self.data, progress, *options)

    def discard(self) -> None:
        """Remove the copy."""
        stop_leftovers(self.data)
        data_dirs.remove(self.data)

    def prove(self, instance: Instance, only: str | None = None) -> str:
        """Replay to the restore point and compare the fingerprint; returns the snapshot that it was read in."""
        record, size = self.source.record, instance.control.segment_size
        last = segment_name(record.timeline, segment_before(parse_lsn(record.lsn), size), size)
        goal = to_point(record.point, self.source.backup.start_segment, last, record.timeline)
        state = replay(instance, goal)
        if not state.paused:
            raise Trouble(f"the archive ends before the restore point {record.point} of the backup {record.label}")
        report.step("compare the fingerprint")
        found = fingerprint.take(instance.door, only)
        desired = record.fingerprint
        if only is not None:
            desired = {**desired, "databases": {only: desired["databases"][only]}}
        self._require_equal(fingerprint.differences(desired, found))
        return snapshot(instance)

    def _require_equal(self, differences: Sequence[str]) -> None:
        if differences:
            raise Trouble(
                f"the backup {self.source.record.label} does not hold what it should; nothing was replaced",
                "try an older backup with --label, and look at the NAS and its disks",
                "\n".join(differences[:20]),
            )


def outcome(source: Source, state: State, timeline: int) -> dict[str, Any]:
    """What a restore has brought back, for its result."""
    return {
        "label": source.record.label,
        "point_reached": source.record.point,
        "restored_to": write(state.moment) if state.moment else source.record.finished,
        "lsn": state.lsn,
        "timeline": timeline,
        "bytes": source.backup.bytes,
    }


def _require_room(data: Path, size: int, wal: int) -> None:
    """Raise `disk_space.Full` unless a copy of `size` bytes and its WAL fit beside what is there."""
    disk = data.parent
    needed = max(size - disk_space.used(data), 0) + min(wal, REPLAY) + disk_space.reserve(disk)
    if needed <= disk_space.free(disk):
        return
    others = sorted(each for each in disk.glob(f"{data.stem}.*") if each.is_dir() and each != data)
    more = f" (or remove {', '.join(str(each) for each in others)}, if you do not need it)" if others else ""
    raise disk_space.Full(
        f"the disk of {disk} is too full: {disk_space.shown(needed)} are needed and "
        f"{disk_space.shown(disk_space.free(disk))} are free",
        f"make room{more}, then run the same command again",
    )
