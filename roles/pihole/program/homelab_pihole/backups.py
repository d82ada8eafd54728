"""Backups: an archive of the teleporter on the share, with a signed record of what it holds."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from homelab_host import records, report, share
from homelab_host.errors import Trouble
from homelab_host.share import bounded
from homelab_host.signing import digest
from homelab_host.timestamps import now, read, write

from . import archive
from .archive import Facts
from .setup import Setup, own

ROLE, FOLDER = "pihole", "pihole-archives"
# Each is some hundred kilobytes.
KEPT = 60
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Record:
    label: str
    moment: datetime
    facts: Facts
    sha256: str


def backup(setup: Setup) -> dict[str, object]:
    folder = _share(setup)
    report.step("export what the Pi-hole knows")
    with own(setup) as session:
        data = archive.without_secrets(session.download("teleporter"))
    facts = archive.facts(data)
    moment = now()
    label = f"{moment:%Y%m%d-%H%M%S}F"
    newest = max(records.labels(folder / ROLE), default="")
    if label <= newest:
        raise Trouble(f"there is a backup {newest}, and by this host's clock it is {label[:-1]}", "set the clock")
    report.step("write it to the share")
    name = f"{FOLDER}/{label}.zip"
    _save(folder / name, data)
    found: dict[str, object] = {"label": label, "finished": write(moment), "bytes": len(data)}
    sha256 = _sha256(data)
    document = {"host": setup.host, **found, "files": {name: len(data)}, "facts": facts, "sha256": sha256}
    records.save_record(folder / ROLE, ROLE, setup.host, label, document)
    _let_go(folder, label)
    return {**found, **facts, "fingerprint": facts}


def prove(setup: Setup) -> dict[str, object]:
    """Read the newest archive back to its last byte, count what is in it, and write that down."""
    folder = _share(setup)
    record = _find(setup, folder)
    report.step("read the newest archive back")
    facts = archive.facts(_load(folder, record))
    if said := archive.differences(record.facts, facts):
        hint = "make a backup: homelab-pihole backup"
        raise Trouble(f"the archive {record.label} does not hold what was recorded", hint, "\n".join(said))
    proof: dict[str, object] = {"host": setup.host, "label": record.label, "proven": write(now())}
    records.save_proof(folder / ROLE, ROLE, setup.host, proof)
    return {**proof, **facts}


def restore(
    setup: Setup, label: str | None = None, judged: str | None = None, to: datetime | None = None
) -> dict[str, object]:
    """Put an archive back. The password stays that of the site: it is in no archive, and the environment gives it."""
    folder = _share(setup)
    record = _find(setup, folder, label, judged, to)
    data = _load(folder, record)
    archive.facts(data)
    report.step(f"import {record.label}")
    with own(setup) as session:
        session.upload("teleporter", "homelab.zip", archive.without_secrets(data))
        session.wait()
        report.step("fetch the lists")
        session.send("POST", "action/gravity", timeout=1800)
        found = archive.of_pihole(session)
    if said := archive.differences(record.facts, found):
        raise Trouble(f"what came back from {record.label} is not what was recorded", None, "\n".join(said))
    return {"label": record.label, "finished": write(record.moment), **found, "fingerprint": found}


def fingerprint(setup: Setup, against: Facts | None) -> dict[str, object]:
    with own(setup) as session:
        found = archive.of_pihole(session)
    return {"fingerprint": found} if against is None else {"differences": archive.differences(against, found), **found}


def _share(setup: Setup) -> Path:
    if setup.share is None:
        raise Trouble("this host has no share for backups", "give the site a provision_backup, then apply the host")
    share.require(setup.share)
    return setup.share


def _find(
    setup: Setup, folder: Path, label: str | None = None, judged: str | None = None, to: datetime | None = None
) -> Record:
    def parse(text: str, where: str) -> Record:
        try:
            found = json.loads(text)
            record = Record(found["label"], read(found["finished"]), dict(found["facts"]), found["sha256"])
            if found["host"] != setup.host or not _SHA256.fullmatch(record.sha256):
                raise ValueError(f"it is of {found['host']!r}")
            if not records.LABEL.fullmatch(record.label):
                raise ValueError(f"its label is {record.label!r}")
        except (ValueError, TypeError, LookupError) as error:
            raise Trouble(f"{where} is no record of a backup that this program understands: {error}") from None
        return record

    there = records.load_all(folder / ROLE, parse, {label: judged} if label and judged else None)
    chosen = [record for record in there if label in (None, record.label) and (to is None or record.moment <= to)]
    if not chosen:
        which = f" {label}" if label else f" of {write(to)} or before" if to else ""
        raise Trouble(f"there is no backup{which}", "make one: homelab-pihole backup")
    return chosen[-1]


def _load(folder: Path, record: Record) -> bytes:
    file = folder / FOLDER / f"{record.label}.zip"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Trouble(f"cannot read {file}: {error.strerror}", "look at the share") from None
    if _sha256(data) != record.sha256:
        raise Trouble(f"{file} is not the archive that was recorded", "restore another: --label")
    return data


def _sha256(data: bytes) -> str:
    return digest(data.decode("latin-1"))


def _save(file: Path, data: bytes) -> None:
    def put() -> None:
        file.parent.mkdir(exist_ok=True)
        with suppress(PermissionError):  # whose it is, the server decides
            file.parent.chmod(0o750)
        new = file.with_suffix(".new")
        with new.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        new.chmod(0o640)
        new.replace(file)

    try:
        bounded(put)
    except OSError as error:
        raise Trouble(f"cannot write {file}: {error.strerror}", "look at the share and its free space") from None


def _let_go(folder: Path, newest: str) -> None:
    """Keep the newest, and the one that is proven: the controller asks for the backup that a proof is of."""
    labels = records.labels(folder / ROLE)
    kept = {*sorted(labels)[-KEPT:], newest}
    with suppress(OSError, ValueError, LookupError):
        kept.add(json.loads((folder / ROLE / records.PROOF).read_text())["label"])
    records.drop(folder / ROLE, kept)
    with suppress(OSError):
        for file in (folder / FOLDER).glob("*.zip"):
            if file.stem not in kept:
                file.unlink()
