"""A superuser's session with PostgreSQL over its Unix socket, and the two ways to put text into SQL.

The modules of the role and its program talk to a server through this one file; `program/homelab_postgres/client.py` is
a link to it. A module cannot import what lies on the host, nor a program what Ansible brings along.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

try:
    import psycopg2
    from psycopg2 import extensions
except ImportError:  # on a host where the role is still to be played; `Session` says so
    psycopg2 = None  # type: ignore[assignment]

UNDEFINED_TABLE, UNDEFINED_COLUMN, UNDEFINED_SCHEMA = "42P01", "42703", "3F000"
# Seconds until a server has let somebody in, and between two calls of `tick` while a long query runs.
CONNECT_SECONDS, TICK = 60.0, 1.0

# Set with the connection, so they win over what the owner of a database has set for it.
SETTINGS = {
    # A superuser must not call functions of the owner's instead of PostgreSQL's own.
    "search_path": "pg_catalog,pg_temp",
    # What `literal` relies on.
    "standard_conforming_strings": "on",
    # Our statements can hold verifiers: they are never left in the server's log or statistics.
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_duration": "off",
    "pg_stat_statements.track": "none",
    "auto_explain.log_min_duration": "-1",
}


class SqlError(Exception):
    """The server refused a statement; `state` is its SQLSTATE. The statement itself is not repeated."""

    def __init__(self, message: str, state: str = "") -> None:
        super().__init__(message)
        self.state = state


class UnreachableError(Exception):
    """The server cannot be talked to; the text says why."""


class MissingError(Exception):
    """This host lacks the library that talks to a server."""

    def __init__(self) -> None:
        super().__init__("python3-psycopg2 is not installed on this host; playing the role postgres installs it")


def identifier(name: str) -> str:
    """A name as SQL takes any name: in double quotes, doubled within.

    psycopg2 quotes for a connection only. Most statements are built before there is one, and pg_hba.conf, whose names
    are quoted alike, has none.
    """
    return '"' + _plain(name).replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL takes any string: in single quotes, doubled within. Our own for the reason of `identifier`."""
    return "'" + _plain(text).replace("'", "''") + "'"


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("no text in PostgreSQL has a null character")
    return text


class Session:
    """A superuser's connection to one database; a context that hangs up at its end.

    The connection is asynchronous, as psycopg2 calls it: whoever waits can have a deadline and can be told that time
    passes. `uid` is the account as whom to come: the server looks who has opened the socket's other end (peer).
    Raises `UnreachableError`; `SqlError` if the server does not let us in; `MissingError`.
    """

    settings: ClassVar[Mapping[str, str]] = SETTINGS

    def __init__(self, directory: str, port: int, uid: int, database: str = "postgres") -> None:
        if psycopg2 is None:
            raise MissingError
        self.database = database
        nothing = f"nothing answers at {Path(directory) / f'.s.PGSQL.{port}'}"
        try:
            with _acting_as(uid):
                self._connection = _connect(directory, port, database, self.settings)
        except (OSError, psycopg2.OperationalError) as error:
            raise UnreachableError(f"{nothing}: {_first_line(error).rpartition(': ')[2]}") from None
        try:
            self._await(CONNECT_SECONDS)
        except TimeoutError as error:
            raise UnreachableError(f"{nothing}: {error}") from None
        except psycopg2.OperationalError as error:
            if self._connection.info.needs_password:
                raise UnreachableError(
                    "pg_hba.conf does not let postgres in as itself: it wants `local all postgres peer`"
                ) from None
            raise SqlError(_first_line(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def query(
        self, sql: str, patience: float | None = None, tick: Callable[[], None] | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of the (last) statement; several statements are one transaction, if they do not say otherwise.

        Raises `SqlError`, `UnreachableError` if the server hangs up, and `TimeoutError` after `patience` seconds.
        """
        try:
            cursor = self._connection.cursor()
            cursor.execute(sql)  # without arguments: a percent sign means nothing then
            self._await(patience, tick)
        except psycopg2.Error as error:
            # Its own text quotes the statement.
            if error.pgcode is None:
                raise UnreachableError(
                    f"the server hung up on database {self.database}: {_first_line(error)}"
                ) from None
            texts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
            raise SqlError("; ".join(text for text in texts if text), error.pgcode) from None
        return [] if cursor.description is None else cursor.fetchall()

    def document(self, sql: str) -> Any:
        """The one value of the one row that `sql` gives; what is JSON comes decoded."""
        return self.query(sql)[0][0]

    def _await(self, patience: float | None, tick: Callable[[], None] | None = None) -> None:
        """Until the server is ready again (psycopg2's manual, "Asynchronous support")."""
        deadline = None if patience is None else time.monotonic() + patience
        while (state := self._connection.poll()) != extensions.POLL_OK:
            left = TICK if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {patience:.0f} s")
            ours = [self._connection]
            reading, writing = (ours, []) if state == extensions.POLL_READ else ([], ours)
            if not any(select.select(reading, writing, [], min(left, TICK))) and tick:
                tick()


def _connect(directory: str, port: int, database: str, settings: Mapping[str, str]) -> extensions.connection:
    """Begin to connect. Nothing is left for libpq to look up elsewhere."""
    # Some of its variables would lead elsewhere even so (PGHOSTADDR, PGSERVICE), others change settings (PGTZ).
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    return psycopg2.connect(
        host=directory,
        port=port,
        user="postgres",
        dbname=database,
        passfile="/nonexistent",  # a password in somebody's file is none of ours
        client_encoding="UTF8",
        application_name="homelab-provision",
        options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
        async_=True,
    )


@contextlib.contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    own = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(own)


def _first_line(error: Exception) -> str:
    """What libpq says; its further lines are advice."""
    return (str(error).splitlines() or ["no reason was given"])[0]
