"""Fingerprint: what is in every table, as a number of rows and a sum over them that does not depend on their order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from homelab_host import report
from homelab_host.errors import Trouble

from .client import identifier, literal
from .sql import Door, Session, SqlError

# Everything that the text of a value, or the plan of a scan, could depend on.
SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET lc_monetary = 'C'",
    "SET jit = off",
    # Whoever set time limits did not think of this. Not every version has every one.
    "SELECT count(set_config(name, '0', false)) FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout',"
    " 'idle_in_transaction_session_timeout', 'transaction_timeout')",
)

DATABASES = """
SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database WHERE datallowconn AND NOT datistemplate
"""

VERSION = "SELECT to_json(split_part(current_setting('server_version'), ' ', 1))"
EXTENSIONS = "SELECT coalesce(json_object_agg(extname, extversion), '{}') FROM pg_extension"

# Ordinary tables, leaves of partitioned ones among them. What is temporary or unlogged does not survive a restore, and
# a materialized view is made from the others. `binary`: every column can be sent, and looks the same wherever.
TABLES = """
SELECT coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'bytes', pg_table_size(c.oid),
    'binary', NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_type e ON e.oid = t.typelem AND e.oid <> 0
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (t.typsend = 0 OR t.typtype = 'c'
            OR coalesce(e.typsend = 0 OR e.typtype = 'c', false)))) ORDER BY n.nspname, c.relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname NOT LIKE 'pg\\_toast%'
"""

WRITTEN = """
SELECT coalesce(json_agg(schemaname || '.' || relname ORDER BY schemaname, relname), '[]')
FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
"""

# PATIENCE of a scan: at least this long, and a second for so many bytes.
SCAN_SECONDS, SCAN_BYTES = 600.0, 500_000
TRIES, LOCK_SECONDS = 8, 3


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    bytes: int
    binary: bool

    @property
    def sql(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.name}"


def checksum_query(table: Table, as_text: bool) -> str:
    """Rows and checksum of a table.

    The binary form of a row is made five times as fast as its text. It holds the numbers of the columns' types, which
    are the same in every physical copy; a copy by dump and restore has to be compared `as_text`. The text is not asked
    for by a cast: the owner of a table may make a cast of its rows to text, and it would run as whoever asks.
    """
    text = as_text or not table.binary
    value = "hashtextextended(textin(record_out(r.*)), 0)" if text else "hash_record_extended(ROW(record_send(r.*)), 0)"
    return (
        f"SELECT json_build_object('rows', count(*), 'checksum', coalesce(sum({value}::numeric), 0)::text)"
        f" FROM ONLY {table.sql} AS r"
    )


def take(door: Door, only: str | None = None, as_text: bool = False) -> dict[str, Any]:
    """The fingerprint of all databases (or of one) as they are now."""
    with ExitStack() as stack:
        sessions = _open(door, stack, only)
        for session in sessions:
            session.do("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return _read(sessions, as_text)


def take_at_point(door: Door, point: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fingerprint at a restore point that is made for it; returns it, and the point's `lsn`, `moment`, `timeline`.

    All tables of all databases are locked against writing for the instant in which the point is written and
    the snapshots are taken, so that the snapshots show exactly what a replay to the point brings.
    """
    for attempt in range(1, TRIES + 1):
        with ExitStack() as stack:
            sessions = _open(door, stack, None)
            try:
                with _locked(sessions):
                    made = sessions[0].ask(
                        f"SELECT json_build_object('lsn', pg_create_restore_point({literal(point)}),"
                        " 'moment', clock_timestamp(), 'timeline', substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))"
                    )
            except SqlError as error:
                if attempt == TRIES:
                    raise Trouble(
                        f"the tables could not be locked for an instant, {TRIES} times: {error.message}",
                        "something long runs in the cluster (an index being built?); make the backup when it is done",
                        error.evidence,
                    ) from None
                report.step(f"wait for somebody who writes (attempt {attempt} of {TRIES})")
            else:
                return _read(sessions, as_text=False), made
        time.sleep(attempt)
    raise AssertionError


def _open(door: Door, stack: ExitStack, only: str | None) -> list[Session]:
    names: Sequence[str] = [only] if only is not None else door.ask(DATABASES)
    sessions = [stack.enter_context(door.session(name)) for name in names]
    for session in sessions:
        session.do(*SETTINGS)
    return sessions


@contextmanager
def _locked(sessions: Sequence[Session]) -> Iterator[None]:
    """Nobody writes meanwhile. Each session keeps the snapshot that it takes then; the locks go with the savepoint.

    What stays locked, as pg_dump does it, is the shape of the tables: one that is truncated would look empty to
    the older snapshot, too.
    """
    names: dict[str, list[str]] = {}
    for session in sessions:
        # Listed before the transaction that locks: its snapshot has to be younger than the locks.
        tables = names[session.database] = [table.sql for table in _tables(session)]
        listed = ", ONLY ".join(tables)
        session.do("BEGIN ISOLATION LEVEL REPEATABLE READ", f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        if tables:
            session.do(f"LOCK TABLE ONLY {listed} IN ACCESS SHARE MODE")
        session.do("SAVEPOINT locks")
        if tables:
            session.do(f"LOCK TABLE ONLY {listed} IN SHARE MODE")
    for session in sessions:
        if [table.sql for table in _tables(session)] != names[session.database]:
            raise SqlError(f"database {session.database}: a table was made or removed just now")
    yield
    for session in sessions:
        session.do("ROLLBACK TO SAVEPOINT locks", "SET LOCAL lock_timeout = 0")


def _tables(session: Session) -> list[Table]:
    return [Table(**each) for each in session.ask(TABLES)]


def _read(sessions: Sequence[Session], as_text: bool) -> dict[str, Any]:
    todo = {session.database: _tables(session) for session in sessions}
    total = sum(table.bytes for tables in todo.values() for table in tables)
    done = 0
    databases: dict[str, Any] = {}
    for session in sessions:
        found: dict[str, Any] = {}
        for table in todo[session.database]:
            patience = SCAN_SECONDS + table.bytes / SCAN_BYTES
            tick = partial(report.progress, "fingerprint", done, total, "bytes")
            found[table.shown] = session.ask(checksum_query(table, as_text), patience, tick)
            done += table.bytes
            report.progress("fingerprint", done, total, "bytes")
        databases[session.database] = {"extensions": session.ask(EXTENSIONS), "tables": found}
    return {"server_version": sessions[0].ask(VERSION) if sessions else None, "databases": databases}


def compare(door: Door, desired: Mapping[str, Any]) -> dict[str, Any]:
    """How the cluster differs from an earlier fingerprint. Tables that were written to since its start are named apart:
    they may differ."""
    now = take(door)
    written = _written(door, [*now["databases"]])
    for database, tables in written.items():
        for table in tables:
            for side in (desired, now):
                side["databases"].get(database, {}).get("tables", {}).pop(table, None)
    named = [f"database {database}, table {table}" for database, tables in written.items() for table in tables]
    return {"differences": differences(desired, now), "written": named, **sums(now)}


def _written(door: Door, databases: Sequence[str]) -> dict[str, list[str]]:
    """The tables that rows were written to since the statistics began, which is when the cluster was restored."""
    return {database: door.ask(WRITTEN, database) for database in databases}


def differences(desired: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """How the databases differ, in words; the version of the server may. Empty if they do not."""
    lines = []
    for database, table, before, after in _pairs(desired["databases"], found["databases"]):
        where = f"database {database}" + (f", table {table}" if table else "")
        if after is None:
            lines.append(f"{where}: is missing")
        elif before is None:
            lines.append(f"{where}: was not there")
        elif table and before["rows"] != after["rows"]:
            lines.append(f"{where}: {after['rows']} rows instead of {before['rows']}")
        elif before != after:
            lines.append(f"{where}: the rows differ" if table else f"{where}: {after} instead of {before}")
    return lines


def _pairs(desired: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any, Any]]:
    for database in sorted({*desired, *found}):
        before, after = desired.get(database), found.get(database)
        if before is None or after is None:
            yield database, None, before, after
            continue
        yield database, None, before["extensions"], after["extensions"]
        for table in sorted({*before["tables"], *after["tables"]}):
            yield database, table, before["tables"].get(table), after["tables"].get(table)


def sums(fingerprint: Mapping[str, Any]) -> dict[str, int]:
    """The number of tables and of rows."""
    tables = [table for database in fingerprint["databases"].values() for table in database["tables"].values()]
    return {"tables": len(tables), "rows": sum(table["rows"] for table in tables)}
