"""What a stack cannot do without: shares that are mounted, databases that answer. Nothing here can hang."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host.share import MOUNTS, bounded, mounted

from .values import absolute, get, object_of

# A mount that is gone answers late; the stack is asked again soon.
PATIENCE = 20.0
KNOCK = 5.0
# PostgreSQL's SSLRequest: length 8 and a number of its own; a server answers with one letter.
SSL_REQUEST = struct.pack("!II", 8, 80877103)


@dataclass(frozen=True)
class Needs:
    mounts: tuple[Path, ...] = ()
    databases: tuple[tuple[str, int], ...] = ()


def parse(found: object, where: str) -> Needs:
    """Needs from decoded JSON. Raises `Wrong`."""
    told = object_of(found, where)
    mounts = tuple(absolute({"mount": each}, "mount", where) for each in get(told, "mounts", list, where))
    databases = tuple(_database(each, where) for each in get(told, "databases", list, where))
    return Needs(mounts, databases)


def _database(found: object, where: str) -> tuple[str, int]:
    told: Mapping[str, Any] = object_of(found, f"{where}, databases")
    return get(told, "host", str, f"{where}, databases"), get(told, "port", int, f"{where}, databases")


def lacking(needs: Needs) -> list[str]:
    """What is not there now, in words for a person."""
    shares = [said for mount in needs.mounts if (said := _share(mount))]
    return shares + [said for host, port in needs.databases if (said := _silent(host, port))]


def _share(mount: Path) -> str | None:
    try:
        bounded(lambda: sum(1 for _ in mount.iterdir()), PATIENCE)  # an automount mounts it for that
    except OSError as error:
        return f"the share at {mount} ({error.strerror})"
    return None if mounted(MOUNTS.read_text(), mount) else f"the share at {mount} (nothing is mounted there)"


def _silent(host: str, port: int) -> str | None:
    """What is wrong with a PostgreSQL server, before anybody logs in."""
    try:
        with socket.create_connection((host, port), timeout=KNOCK) as connection:
            connection.settimeout(KNOCK)
            connection.sendall(SSL_REQUEST)
            answer = connection.recv(1)
    except OSError as error:
        return f"the database server {host}:{port} ({error.strerror or error})"
    return None if answer in (b"S", b"N") else f"the database server {host}:{port} (it does not speak PostgreSQL)"
