"""An archive of the teleporter: what it holds, counted, and the same without anything that opens a door."""

from __future__ import annotations

import io
import re
import sqlite3
import tomllib
import zipfile

from homelab_host.errors import Trouble

from .client import Session

TOML, DATABASE = "etc/pihole/pihole.toml", "etc/pihole/gravity.db"
TABLES = {"groups": "group", "lists": "adlist", "domains": "domainlist", "clients": "client"}
ARRAYS = {"hosts": "hosts", "cnames": "cnameRecords"}
# Hashes of passwords and the second factor. What is not in an archive stays as it is where that is imported.
_SECRET = re.compile(r"^\s*(?:pwhash|app_pwhash|totp_secret|password)\s*=.*\n?", re.MULTILINE)
Facts = dict[str, int]


def without_secrets(data: bytes) -> bytes:
    """The archive as it may lie on a share, and as it may be put into another Pi-hole."""
    made = io.BytesIO()
    with _opened(data) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == TOML:
                content = _SECRET.sub("", content.decode()).encode()
            new.writestr(name, content)
    return made.getvalue()


def facts(data: bytes) -> Facts:
    """How much of what is in an archive, every byte of which is read. Raises `Trouble` for one that is damaged."""
    with _opened(data) as archive:
        if (broken := archive.testzip()) or not {TOML, DATABASE} <= set(archive.namelist()):
            raise Trouble(f"the archive is damaged: {broken or 'it lacks a part'}")
        try:
            dns = tomllib.loads(archive.read(TOML).decode())["dns"]
            base = sqlite3.connect(":memory:")
            base.deserialize(archive.read(DATABASE))
            counted = {
                name: int(base.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])
                for name, table in TABLES.items()
            }
        except (ValueError, LookupError, sqlite3.Error) as error:
            raise Trouble(f"the archive is damaged: {error}") from None
    return counted | {name: len(dns[key]) for name, key in ARRAYS.items()}


def of_pihole(session: Session) -> Facts:
    """The same of a Pi-hole that runs."""
    dns = session.get("config/dns")["config"]["dns"]
    counted = {name: len(session.get(name)[name]) for name in TABLES}
    return counted | {name: len(dns[key]) for name, key in ARRAYS.items()}


def differences(before: Facts, after: Facts) -> list[str]:
    return [
        f"{name}: {after.get(name)} instead of {before.get(name)}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _opened(data: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise Trouble(f"this is no archive of a Pi-hole: {error}") from None
