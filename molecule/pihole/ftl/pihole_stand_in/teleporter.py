"""A STAND-IN for pihole-FTL: the archive that its teleporter gives and takes."""

from __future__ import annotations

import io
import json
import re
import tomllib
import zipfile
from typing import Any

from .gravity import TABLES, Gravity
from .settings import Refused, Settings

TOML, DATABASE = "etc/pihole/pihole.toml", "etc/pihole/gravity.db"


def exported(settings: Settings, gravity: Gravity) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(TOML, settings.text())
        file.writestr("etc/hosts", "127.0.0.1 localhost\n")
        file.writestr(DATABASE, gravity.exported())
    return archive.getvalue()


def form(kind: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The fields of a multipart form: the name of a file, if it is one, and the content."""
    boundary = re.search(r'boundary="?([^";]+)"?', kind)
    if boundary is None:
        raise Refused(400, "bad_request", "Invalid form request")
    fields = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode(errors="replace")
        name = re.search(r'\bname="([^"]*)"', text)
        filename = re.search(r'filename="([^"]*)"', text)
        if name:
            fields[name[1]] = (filename[1] if filename else "", content.removesuffix(b"\r\n"))
    return fields


def imported(settings: Settings, gravity: Gravity, fields: dict[str, tuple[str, bytes]]) -> list[str]:
    """Take what an archive has, or the part of it that is asked for; the files that were taken."""
    name, data = fields.get("file", ("", b""))
    if not data:
        raise Refused(400, "bad_request", "No ZIP archive received")
    if not name.endswith(".zip") or not data.startswith(b"PK\x03\x04"):
        hint = "The uploaded file does not appear to be a valid Pi-hole Teleporter archive"
        raise Refused(400, "bad_request", "Invalid file", hint)
    wanted: dict[str, Any] | None = json.loads(fields["import"][1]) if "import" in fields else None
    taken: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            names = file.namelist()
            if TOML in names and (wanted is None or wanted.get("config")):
                settings.take(tomllib.loads(file.read(TOML).decode()))
                settings.save()
                taken.append(TOML)
            if DATABASE in names:
                chosen = [table for table in TABLES if wanted is None or (wanted.get("gravity") or {}).get(table)]
                gravity.imported(file.read(DATABASE), chosen)
                taken += [f"{DATABASE}->{table}" for table in chosen]
    except (zipfile.BadZipFile, tomllib.TOMLDecodeError) as error:
        raise Refused(400, "bad_request", "Invalid request", str(error)) from None
    return taken
