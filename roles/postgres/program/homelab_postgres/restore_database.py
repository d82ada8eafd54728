"""One database out of a backup: restored aside, carried over into the living cluster, put in place by its name.

Only that database's files are copied; the others come as empty shells, so the copy never takes the cluster's place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host import disk_space, report, share
from homelab_host.errors import Trouble
from homelab_host.process import run
from homelab_host.timestamps import now

from . import data_dirs, fingerprint
from .client import identifier, literal
from .config import Setup
from .data_dirs import REPLACED, RESTORING
from .instance import Instance, made_folder
from .load import PATIENCE, Load, owner_of, roles_of
from .replay import State, archive_the_last, promote, replay, to_end
from .repository import Repository
from .restore_copy import Scratch, outcome
from .restore_plan import Request, again, select
from .service import Service
from .sql import Door, SqlError, target

EXTRACTING = "extracting"
LONGEST_NAME = 63
SWAP_TRIES = 20
DROP = "DROP DATABASE IF EXISTS {} WITH (FORCE)"


@dataclass(frozen=True)
class Owners:
    """Who owns the database, and all roles that may own something in it (see `contents.batches`)."""

    database: str
    roles: Mapping[str, bool | None]


def extract(setup: Setup, database: str, request: Request) -> dict[str, object]:
    """Replace one database of the living cluster; the others are not touched."""
    began = time.monotonic()
    share.require(setup.share)
    service = Service(setup)
    door = service.door()
    repository = Repository(setup)
    source = select(setup, repository, request)
    known = source.record.fingerprint["databases"]
    if database not in known:
        raise Trouble(f"the backup {source.record.label} holds no database {database}", f"it holds: {', '.join(known)}")
    carried, kept = names(database)
    scratch = Scratch(repository, source, EXTRACTING)
    dump = setup.beside(f"{EXTRACTING}.dump")
    try:
        with disk_space.explained(setup.data.parent):
            state, owners, desired = _dump_as_it_was(scratch, service, request, database, carried, dump)
        scratch.discard()
        found = _load(setup, door, database, carried, dump, owners)
        if different := fingerprint.differences(desired, found):
            raise Trouble(f"what arrived is not what was restored; {database} is as it was", None, "\n".join(different))
        replaced = _swap(door, database, carried, kept)
    except BaseException:
        door.ask(DROP.format(identifier(carried)))
        raise
    finally:
        scratch.discard()
        data_dirs.remove(dump)
    return {
        **outcome(source, state, source.timeline),
        "database": database,
        "seconds": round(time.monotonic() - began, 1),
        **fingerprint.sums(found),
        "fingerprint": found,
        "replaced": replaced,
    }


def names(database: str) -> tuple[str, str]:
    """What it is called while it is carried over, and what the one that it replaces is called afterwards."""
    carried, kept = f"{database}.{RESTORING}", f"{database}.{REPLACED}-{now():%Y%m%dT%H%M%SZ}"
    if len(kept.encode()) > LONGEST_NAME:
        raise Trouble(f"the name {database} is too long to be put aside as {kept}", "rename the database first")
    return carried, kept


def _dump_as_it_was(
    scratch: Scratch, service: Service, request: Request, database: str, carried: str, dump: Path
) -> tuple[State, Owners, dict[str, Any]]:
    """Bring the database back in the scratch copy, and dump it; returns how far replay came, whose what is in it can
    be, and its fingerprint."""
    scratch.copy(f"--db-include={database}")
    with scratch.instance() as instance:
        scratch.prove(instance, only=database)
    archive_the_last(service, scratch.source.record.system_id)
    source = again(scratch.source, scratch.repository)
    with scratch.instance() as instance:
        last = source.last_segment(instance.control.segment_size)
        state = replay(instance, to_end(source.backup.start_segment, last, source.timeline, request.to))
        promote(instance)
        desired = _take(instance, database)
        owners = Owners(owner_of(instance.door, database), roles_of(instance.door, service.door()))
        _dump(scratch.setup, instance.door, database, carried, dump)
    return state, owners, desired


def _take(instance: Instance, database: str) -> dict[str, Any]:
    try:
        return fingerprint.take(instance.door, database, as_text=True)
    except SqlError as error:
        raise Trouble(
            f"there is no database {database} at that time any more: it was removed before",
            "choose an earlier time: --to TIME",
            error.evidence,
        ) from None


def _dump(setup: Setup, door: Door, database: str, carried: str, dump: Path) -> None:
    """Dump it under its new name: owner, rights and settings of the database come along then."""
    report.step(f"dump {database}")
    data_dirs.remove(dump)
    door.ask(f"ALTER DATABASE {identifier(database)} RENAME TO {identifier(carried)}")
    jobs = f"--jobs={os.cpu_count() or 1}"
    words = [*door.words(), "--format=directory", "--compress=zstd:1", "--create", "--verbose", jobs, f"--file={dump}"]
    output = run([str(setup.programs / "pg_dump"), *words, target(carried)], patience=PATIENCE)
    if output.status != 0:
        raise Trouble(f"could not dump {database}; the database in the cluster is as it was", None, output.last_words)


def _load(setup: Setup, door: Door, database: str, carried: str, dump: Path, owners: Owners) -> dict[str, Any]:
    """Load it under its new name; returns its fingerprint there."""
    report.step(f"load it into the cluster as {carried}")
    door.ask(DROP.format(identifier(carried)))
    with Load(setup, door, dump, made_folder(EXTRACTING)) as load:
        try:
            load.run(carried, owners.database, owners.roles)
        except BaseException:
            # Before the logins go: they may connect to it.
            door.ask(DROP.format(identifier(carried)))
            raise
        load.leave(carried)
    report.step("collect statistics")
    with door.session(carried) as session:
        session.do("ANALYZE", patience=PATIENCE)
    report.step("compare the fingerprint")
    there = fingerprint.take(door, carried, as_text=True)
    return {**there, "databases": {database: there["databases"][carried]}}


def _swap(door: Door, database: str, carried: str, kept: str) -> str | None:
    """Give it its name, in one transaction. What it replaces is kept, closed; what that had replaced goes."""
    report.step("put the restored database in place")
    exists = door.ask(f"SELECT to_json(EXISTS (SELECT FROM pg_database WHERE datname = {literal(database)}))")
    rename = [f"ALTER DATABASE {identifier(carried)} RENAME TO {identifier(database)}"]
    if exists:
        rename.insert(0, f"ALTER DATABASE {identifier(database)} RENAME TO {identifier(kept)}")
        door.ask(f"ALTER DATABASE {identifier(database)} ALLOW_CONNECTIONS false")
    try:
        _rename(door, database, rename)
    except BaseException:
        if exists:
            door.ask(f"ALTER DATABASE {identifier(database)} ALLOW_CONNECTIONS true")
        raise
    older = door.ask(
        "SELECT coalesce(json_agg(datname), '[]') FROM pg_database"
        f" WHERE starts_with(datname, {literal(f'{database}.{REPLACED}-')}) AND datname <> {literal(kept)}"
    )
    for each in older if exists else ():
        door.ask(DROP.format(identifier(each)))
    return kept if exists else None


def _rename(door: Door, database: str, rename: list[str]) -> None:
    for attempt in range(SWAP_TRIES):
        with door.session() as session:
            session.ask(
                "SELECT json_agg(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity"
                f" WHERE datname = {literal(database)}"
            )
            try:
                session.do("BEGIN", *rename, "COMMIT")
                return
            except SqlError:
                # Somebody has not gone yet.
                if attempt == SWAP_TRIES - 1:
                    raise
        time.sleep(0.5)
