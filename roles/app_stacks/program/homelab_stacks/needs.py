"""What a stack cannot do without: shares that are mounted, databases that answer. Nothing here can hang."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host.share import MOUNTS, bounded, mounted

from .values import Wrong, absolute, get, object_of

# A mount that is gone answers late; the stack is asked again soon.
PATIENCE = 20.0
KNOCK = 5.0
# PostgreSQL's SSLRequest: length 8 and a number of its own; a server answers with one letter.
SSL_REQUEST = struct.pack("!II", 8, 80877103)
PROTOCOL_3 = 196608
# More than any error that a server has before a login.
MOST = 1 << 16


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server; with a `name`, this database for this user, over TLS that `authority` (PEM) proves."""

    host: str
    port: int
    name: str = ""
    user: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Needs:
    mounts: tuple[Path, ...] = ()
    databases: tuple[Database, ...] = ()


def parse(found: object, where: str) -> Needs:
    """Needs from decoded JSON. Raises `Wrong`."""
    told = object_of(found, where)
    mounts = tuple(absolute({"mount": each}, "mount", where) for each in get(told, "mounts", list, where))
    databases = tuple(_database(each, where) for each in get(told, "databases", list, where))
    return Needs(mounts, databases)


def _database(found: object, where: str) -> Database:
    told: Mapping[str, Any] = {"database": "", "user": "", "authority": "", **object_of(found, f"{where}, databases")}
    where = f"{where}, databases"
    host, *own = (get(told, word, str, where) for word in ("host", "database", "user", "authority"))
    if any(own) and not all(own):
        raise Wrong(f"{where}: of `database`, `user` and `authority` one is missing")
    return Database(host, get(told, "port", int, where), *own)


def lacking(needs: Needs) -> list[str]:
    """What is not there now, in words for a person."""
    shares = [said for mount in needs.mounts if (said := _share(mount))]
    return shares + [said for database in needs.databases if (said := _silent(database))]


def _share(mount: Path) -> str | None:
    try:
        bounded(lambda: sum(1 for _ in mount.iterdir()), PATIENCE)  # an automount mounts it for that
    except OSError as error:
        return f"the share at {mount} ({error.strerror})"
    return None if mounted(MOUNTS.read_text(), mount) else f"the share at {mount} (nothing is mounted there)"


def _silent(database: Database) -> str | None:
    """What is wrong with a PostgreSQL server, before anybody logs in."""
    server = f"the database server {database.host}:{database.port}"
    try:
        with socket.create_connection((database.host, database.port), timeout=KNOCK) as connection:
            connection.settimeout(KNOCK)
            connection.sendall(SSL_REQUEST)
            answer = connection.recv(1)
            if database.name and answer == b"S":
                refusal = _refusal(connection, database)
                return f"{server} ({refusal})" if refusal else None
    except OSError as error:
        return f"{server} ({error.strerror or error})"
    if database.name and answer == b"N":
        return f"{server} (it speaks no TLS)"
    return None if answer in (b"S", b"N") else f"{server} (it does not speak PostgreSQL)"


def _refusal(connection: socket.socket, database: Database) -> str | None:
    """What the server has against this user and database; None if it asks for the password, which it is not told."""
    context = ssl.create_default_context(cadata=database.authority)
    told = b"".join(word.encode() + b"\0" for word in ("user", database.user, "database", database.name, ""))
    with context.wrap_socket(connection, server_hostname=database.host) as door:
        door.sendall(struct.pack("!II", 8 + len(told), PROTOCOL_3) + told)
        with door.makefile("rb") as answers:
            kind, length = answers.read(1), answers.read(4)
            body = answers.read(min(struct.unpack("!I", length)[0], MOST) - 4) if len(length) == 4 else b""
    if kind == b"R":
        return None
    # Of an error: fields, each a letter and a text that ends with a zero; M is the message.
    said = [field[1:].decode(errors="replace") for field in body.split(b"\0") if field[:1] == b"M"]
    return said[0] if kind == b"E" and said else "it does not speak PostgreSQL"
