"""Sessions with a server, which keep their locks and snapshots, and the command lines of PostgreSQL's own programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from homelab_host.errors import Trouble

from . import client

PATIENCE = 60.0


class SqlError(Trouble):
    """The server said no, or nothing any more; `message` holds its words."""


@dataclass(frozen=True)
class Door:
    """Where a server listens."""

    socket: Path
    port: int

    def session(self, database: str = "postgres") -> Session:
        """Raises `SqlError`, as all that is asked of it."""
        with _told(database):
            return Session(str(self.socket), self.port, os.geteuid(), database)

    def ask(self, sql: str, database: str = "postgres", patience: float = PATIENCE) -> Any:
        """The first column of the first row; for a single question."""
        with self.session(database) as session:
            return session.ask(sql, patience)

    def words(self, user: str = "postgres") -> list[str]:
        """How the clients of PostgreSQL are told."""
        return [f"--host={self.socket}", f"--port={self.port}", f"--username={user}", "--no-password"]


class Session(client.Session):
    """Statements of one connection, one after the other. What they answer is one value, mostly JSON."""

    # When this program is gone, however it went, the server ends what was under way.
    settings: ClassVar = {**client.SETTINGS, "client_connection_check_interval": "1s"}

    def ask(self, sql: str, patience: float = PATIENCE, tick: Callable[[], None] | None = None) -> Any:
        """The answer to one query, or None if it has none; raises `SqlError`, and `Trouble` when patience ends."""
        with _told(self.database):
            rows = self.query(sql, patience, tick)
        return rows[0][0] if rows else None

    def do(self, *statements: str, patience: float = PATIENCE) -> None:
        """Statements whose answers do not matter; together they are one transaction, or go on with the one begun."""
        self.ask(";\n".join(statements), patience)

    def verifier(self, password: str, user: str) -> str:
        """What the server keeps of a password (RFC 5803), so that it is never shown the password itself."""
        from psycopg2.extensions import encrypt_password  # where there is a session, it is installed

        return str(encrypt_password(password, user, self._connection, "scram-sha-256"))


@contextmanager
def _told(database: str) -> Iterator[None]:
    try:
        yield
    except (client.SqlError, client.UnreachableError) as error:
        raise SqlError(f"database {database}: {error}") from None
    except TimeoutError as error:
        raise Trouble(f"database {database}: {error}") from None
    except client.MissingError as error:
        raise Trouble(str(error)) from None


def target(database: str) -> str:
    """A connection string for a database: a bare name with `=` in it would be taken for one.

    The owner of a database may set where names are looked up in it. A superuser who followed that would call functions
    of the owner's instead of PostgreSQL's own; what is set here wins.
    """
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{quoted}' options='-csearch_path=pg_catalog,pg_temp'"
