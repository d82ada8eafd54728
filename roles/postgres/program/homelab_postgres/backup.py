"""Backup: pgBackRest copies, then the fingerprint is taken at a restore point, and a record keeps both together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from homelab_host import report, share
from homelab_host.errors import Trouble
from homelab_host.records import key_proof
from homelab_host.timestamps import now, read, write

from . import fingerprint
from .config import Setup, backups_of
from .pgbackrest_info import Backup
from .records import Record, drop_expired, needed_files, save_record
from .replay import await_archived
from .repository import Repository
from .restore_plan import read_archive
from .service import Service

FULL_EVERY = 6.5 * 86400  # seconds
CLUSTER = """
SELECT json_build_object('system_id', (SELECT system_identifier::text FROM pg_control_system()),
    'archiving', current_setting('archive_mode') = 'on', 'recovering', pg_is_in_recovery(),
    'bytes', (SELECT sum(pg_database_size(oid)) FROM pg_database),
    'segment_size', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
    'tablespaces', (SELECT coalesce(json_agg(spcname ORDER BY spcname), '[]') FROM pg_tablespace
        WHERE spcname NOT IN ('pg_default', 'pg_global')))
"""


def backup(setup: Setup, desired: str | None) -> dict[str, object]:
    """Make a backup (`None`: of the type that is due) and its record; returns the record without the lists."""
    began = time.monotonic()
    share.require(setup.share)
    repository, second = Repository(setup), Repository(setup, 2) if setup.second else None
    _, folder = backups_of(setup)
    door = Service(setup).door()
    cluster = door.ask(CLUSTER)
    _require_backupable(cluster)
    started = now()
    if second:
        _prepare_second(second, int(cluster["system_id"]))
    for done in repository.prepare(int(cluster["system_id"])):
        report.notice(done)
    kind = desired or due(repository.info().backups, started)
    made = _copy(repository, kind, cluster["bytes"])
    point = f"homelab-{made.label}"
    report.step("take the fingerprint at a restore point")
    found, at = fingerprint.take_at_point(door, point)
    report.step("wait until the archive has everything up to it")
    door.ask("SELECT to_json(pg_switch_wal())")
    await_archived(setup, door)
    record = Record(
        setup.host,
        made.label,
        made.type,
        write(started),
        write(read(at["moment"])),
        point,
        at["lsn"],
        int(at["timeline"], 16),
        cluster["system_id"],
        cluster["bytes"],
        found,
        key_proof=key_proof(key, setup.host, made.label) if (key := repository.key()) else None,
    )
    save_record(folder, _with_files(repository, record, cluster["segment_size"]))
    report.step("let go of what is too old")
    repository.expire()
    drop_expired(folder, repository.info().labels, made.label)
    if second:
        _back_up_again(second, kind, record)
    return {
        "label": record.label,
        "type": record.type,
        "point": point,
        "finished": record.finished,
        "bytes": record.bytes,
        **fingerprint.sums(found),
        "seconds": round(time.monotonic() - began, 1),
        "fingerprint": found,
    }


def due(backups: Sequence[Backup], moment: datetime) -> str:
    """A full one each week, on the day or the day after: the timer's hour varies. Else what has changed."""
    full = max((backup.finished for backup in backups if backup.type == "full"), default=0.0)
    return "full" if moment.timestamp() - full > FULL_EVERY else "incr"


def _require_backupable(cluster: dict[str, Any]) -> None:
    if cluster["recovering"]:
        raise Trouble("the cluster is in recovery: it is no primary that could be backed up", "wait for its end")
    if not cluster["archiving"]:
        raise Trouble(
            "the cluster does not archive its WAL (archive_mode is off), so a backup could not be restored",
            "play the role `postgres` with `postgres_backup_share` set, and let it restart the cluster",
        )
    if cluster["tablespaces"]:
        raise Trouble(
            f"the cluster has tablespaces of its own ({', '.join(cluster['tablespaces'])}); "
            "a restore could not bring them without touching those in use",
            "move their tables to the default tablespace (ALTER TABLE … SET TABLESPACE pg_default), and drop them",
        )


def _copy(repository: Repository, kind: str, size: int, where: str = "") -> Backup:
    """Let pgBackRest copy; returns what it made."""
    known = repository.info().labels
    report.step(f"copy the cluster ({kind}){where}")
    repository.backup(kind, lambda percent: report.progress("backup", round(size * percent / 100), size, "bytes"))
    made = next((each for each in repository.info().backups if each.label not in known), None)
    if made is None:
        raise Trouble("pgBackRest made a backup, but lists none that could be restored", "pgbackrest info")
    if made.type != kind:
        report.notice(f"there is nothing that a backup of type {kind} could build on, so this is a {made.type} one")
    if made.damaged_pages:
        raise Trouble(
            f"the cluster has pages whose checksums are wrong: the backup {made.label} holds them, and gets no record",
            "restore the last good backup, or find the tables with pg_amcheck; the log of pgBackRest names the files",
        )
    return made


def _prepare_second(second: Repository, system_id: int) -> None:
    """WAL has to reach both: one that does not take it stops the archive, so it is no use to begin."""
    try:
        for done in second.prepare(system_id):
            report.notice(f"second repository: {done}")
    except Trouble as trouble:
        hint = trouble.hint or "mend it, or take it out of postgres_backup_second_repository and apply the host"
        raise Trouble(f"the second repository takes nothing: {trouble.message}", hint, trouble.evidence) from None


def _back_up_again(second: Repository, kind: str, record: Record) -> None:
    """The same into the second repository, which has labels of its own. The backup in the first one stays good."""
    try:
        made = _copy(second, kind, record.bytes, " into the second repository")
        second.expire()
        report.notice(f"second repository: {made.label}")
    except Trouble as trouble:
        raise Trouble(
            f"the backup {record.label} is complete on the share, but the second repository did not get one: "
            f"{trouble.message}",
            trouble.hint or "mend it, then make a backup again",
            trouble.evidence,
        ) from None


def _with_files(repository: Repository, record: Record, segment_size: int) -> Record:
    """The record with every file that a restore of it needs, relative to the share."""
    setup, stanza = repository.setup, repository.info()
    made = stanza.find(record.label)
    if made is None:
        raise Trouble(f"the backup {record.label} is gone again", "did somebody run `pgbackrest expire`?")
    listed = repository.listing(*(f"backup/{setup.stanza}/{label}" for label in (record.label, *made.references)))
    archive = read_archive(repository, stanza, made.system_id)
    files = needed_files(made, listed, archive.files, record.timeline, record.lsn, segment_size)
    base = repository.path.relative_to(setup.share) if setup.share else repository.path
    return record.with_files({f"{base}/{path}": size for path, size in sorted(files.items())})
