"""A conversation with PostgreSQL over its Unix socket, and the two ways to put text into SQL.

Speaks the protocol itself (PostgreSQL's manual, chapter 53; the simple query protocol, 53.2.2): starting psql
takes half a second on an emulated machine, for every database anew; and no statement appears on a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROTOCOL = 3 << 16
AUTHENTICATED = b"\0\0\0\0"
UNDEFINED_TABLE, UNDEFINED_COLUMN, UNDEFINED_SCHEMA = "42P01", "42703", "3F000"

# What a session of ours never leaves in the server's log or statistics: its statements can hold verifiers.
DISCREET = """
SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';
SET log_duration = off; SET pg_stat_statements.track = 'none'; SET auto_explain.log_min_duration = -1;
"""


class SqlError(Exception):
    """The server refused a statement; `state` is its SQLSTATE. The statement itself is not repeated."""

    def __init__(self, fields: dict[str, str]) -> None:
        told = [fields.get("M", "unknown error"), fields.get("D"), fields.get("H")]
        super().__init__("; ".join(text for text in told if text))
        self.state = fields.get("C", "")


class UnreachableError(Exception):
    """The server cannot be talked to; the text says why."""


def identifier(name: str) -> str:
    """A name as SQL takes any name: in double quotes, doubled within."""
    return '"' + _plain(name).replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL takes any string: in single quotes, doubled within (`standard_conforming_strings` is on)."""
    return "'" + _plain(text).replace("'", "''") + "'"


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("no text in PostgreSQL has a null character")
    return text


class Session:
    """A superuser's connection to one database; `query` sends SQL, which may be several statements."""

    def __init__(self, peer: socket.socket, database: str) -> None:
        self._peer, self.database = peer, database
        self._stream = peer.makefile("rb")
        told = {
            "user": "postgres",
            "database": database,
            "client_encoding": "UTF8",
            "application_name": "homelab-provision",
            # Wins over what the owner of a database has set: a superuser must not call functions of the owner's
            # instead of PostgreSQL's own.
            "search_path": "pg_catalog,pg_temp",
        }
        words = "".join(f"{name}\0{value}\0" for name, value in told.items())
        self._send(b"", struct.pack("!i", PROTOCOL) + words.encode() + b"\0")
        self._answer()
        self.query(DISCREET)

    def query(self, sql: str) -> list[list[str | None]]:
        """The rows of all statements together. Several statements are one transaction. Raises `SqlError`."""
        self._send(b"Q", sql.encode() + b"\0")
        return self._answer()

    def document(self, sql: str) -> Any:
        """The one value of the one row that `sql` gives, which is JSON."""
        value = self.query(sql)[0][0]
        return None if value is None else json.loads(value)

    def close(self) -> None:
        with contextlib.suppress(UnreachableError):
            self._send(b"X", b"")
        self._peer.close()

    def _send(self, kind: bytes, body: bytes) -> None:
        try:
            self._peer.sendall(kind + struct.pack("!i", len(body) + 4) + body)
        except OSError:
            raise UnreachableError(f"the server hung up on database {self.database}") from None

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        while head := self._stream.read(5):
            yield head[:1], self._stream.read(struct.unpack("!i", head[1:])[0] - 4)
        raise UnreachableError(f"the server hung up on database {self.database}")

    def _answer(self) -> list[list[str | None]]:
        """Read until the server is ready again."""
        rows: list[list[str | None]] = []
        refused: SqlError | None = None
        for kind, body in self._messages():
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                refused = refused or SqlError(_fields(body))
                if _fields(body).get("V") == "FATAL":
                    break
            elif kind == b"R" and body != AUTHENTICATED:
                raise UnreachableError(
                    "pg_hba.conf does not let postgres in as itself: it wants `local all postgres peer`"
                )
            elif kind == b"Z":
                break
        if refused:
            raise refused
        return rows


def _row(body: bytes) -> list[str | None]:
    values: list[str | None] = []
    at = 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        (length,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        values.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return values


def _fields(body: bytes) -> dict[str, str]:
    """An error's fields by their letter: M message, D detail, H hint, C SQLSTATE, V severity."""
    parts = [part for part in body.split(b"\0") if part]
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts}


@contextlib.contextmanager
def session(directory: str, port: int, uid: int, database: str = "postgres") -> Iterator[Session]:
    """Open a session as the account with `uid`, whom the server knows by looking at the socket's other end (peer)."""
    path = Path(directory) / f".s.PGSQL.{port}"
    peer = socket.socket(socket.AF_UNIX)
    own = os.geteuid()
    try:
        os.seteuid(uid)
        peer.connect(str(path))
    except OSError as error:
        peer.close()
        raise UnreachableError(f"nothing answers at {path}: {error.strerror}") from None
    finally:
        os.seteuid(own)
    opened = Session(peer, database)
    try:
        yield opened
    finally:
        opened.close()
