"""Sessions with a server: one psql each, which stays open so that locks and snapshots do."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host.errors import Trouble
from homelab_host.process import end, last_lines, start

MARK = "-- homelab-postgres: done --"
PATIENCE = 60.0
# Seconds between two calls of `tick` while a long query runs.
TICK = 1.0


class SqlError(Trouble):
    """The server said no; `message` holds its words."""


@dataclass(frozen=True)
class Door:
    """Where a server listens."""

    socket: Path
    port: int

    def session(self, database: str = "postgres") -> Session:
        return Session(self, database)

    def ask(self, sql: str, database: str = "postgres", patience: float = PATIENCE) -> Any:
        """The first column of the first row, as JSON; for a single question."""
        with self.session(database) as session:
            return session.ask(sql, patience)

    def words(self, user: str = "postgres") -> list[str]:
        """How the clients of PostgreSQL are told."""
        return [f"--host={self.socket}", f"--port={self.port}", f"--username={user}", "--no-password"]


class Session:
    """Statements of one connection, one after the other. Statements that answer give exactly one JSON value."""

    def __init__(self, door: Door, database: str) -> None:
        self.database = database
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the session
        words = ["psql", "-XAtq", "--set=ON_ERROR_STOP=1", *door.words(), f"--dbname={target(database)}"]
        self._psql = start(words, stdin=subprocess.PIPE, stderr=self._errors)
        self._said = b""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. The server ends what was under way."""
        end(self._psql, signal.SIGTERM, grace=5)
        for pipe in (self._psql.stdin, self._psql.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def ask(self, sql: str, patience: float = PATIENCE, tick: Callable[[], None] | None = None) -> Any:
        """The answer to one query, or None if it has none; raises `SqlError`."""
        lines = self._talk(sql, patience, tick)
        return json.loads(lines[0]) if lines and lines[0] else None

    def do(self, *statements: str, patience: float = PATIENCE) -> None:
        """Statements whose answers do not matter."""
        self._talk(";\n".join(statements), patience, None)

    def _talk(self, sql: str, patience: float, tick: Callable[[], None] | None) -> list[str]:
        assert self._psql.stdin is not None
        try:
            self._psql.stdin.write(f"{sql};\n\\echo {MARK}\n".encode())
            self._psql.stdin.flush()
        except BrokenPipeError:
            raise self._refused() from None
        deadline = time.monotonic() + patience
        mark = f"{MARK}\n".encode()
        while not self._said.endswith(mark):
            self._hear(deadline, patience, tick)
        lines, self._said = self._said.removesuffix(mark).decode().splitlines(), b""
        return lines

    def _hear(self, deadline: float, patience: float, tick: Callable[[], None] | None) -> None:
        assert self._psql.stdout is not None
        left = deadline - time.monotonic()
        if left <= 0:
            raise Trouble(f"database {self.database} gave no answer within {patience:.0f} s")
        if not select.select([self._psql.stdout], [], [], min(left, TICK))[0]:
            if tick:
                tick()
            return
        data = os.read(self._psql.stdout.fileno(), 1 << 16)
        if not data:
            raise self._refused()
        self._said += data

    def _refused(self) -> SqlError:
        end(self._psql, grace=5)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        first = next((line for line in said.splitlines() if re.search("ERROR:|FATAL:|error:", line)), said)
        return SqlError(f"database {self.database}: {first or 'the connection was closed'}", None, last_lines(said))


def target(database: str) -> str:
    """A connection string for a database: a bare name with `=` in it would be taken for one.

    The owner of a database may set where names are looked up in it. A superuser who followed that would call functions
    of the owner's instead of PostgreSQL's own; what is set here wins.
    """
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{quoted}' options='-csearch_path=pg_catalog,pg_temp'"


def name(identifier: str) -> str:
    """Quoted as an identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """Quoted as a string."""
    quoted = value.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in value else f"'{quoted}'"
