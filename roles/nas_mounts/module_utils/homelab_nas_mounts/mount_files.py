"""The files of the shares: units, credentials, and the note of what is still to be done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.homelab import files
from ansible.module_utils.homelab_nas_mounts.spec import (
    CREDENTIALS,
    MARK,
    Entry,
    NasError,
    automount_unit,
    credentials_file,
    mount_unit,
    mounted_by,
    unit_name,
)

UNITS = Path("/etc/systemd/system")
WANTS = "remote-fs.target.wants"
# Paths whose change has not taken effect yet: their share was in use, or the run was killed.
OWED = Path("/run/homelab-provision/nas_mounts.json")


class Places(NamedTuple):
    """Where the files of one share lie. The mount unit is what the share is known by, so it goes last."""

    link: Path
    automount: Path
    credentials: Path
    mount: Path


def places(path: str) -> Places:
    name = unit_name(path)
    automount = UNITS / f"{name}.automount"
    return Places(UNITS / WANTS / automount.name, automount, Path(credentials_file(path)), UNITS / f"{name}.mount")


def present() -> dict[str, tuple[str, int]]:
    """The shares that this host mounts by our units, each with the server and the port that it comes from."""
    return dict(found for unit in sorted(UNITS.glob("*.mount")) if (found := mounted_by(_text(unit))))


def missing(entry: Entry) -> list[files.Desired]:
    """The files of a share that are not as wanted, directories first. Raises `NasError` for somebody else's units."""
    place = places(entry.path)
    for unit in (place.mount, place.automount):
        if os.path.lexists(unit) and not _text(unit).startswith(MARK):
            raise NasError(f"{unit} was not written by nas_mounts; remove it, or take {entry.path} from nas_mounts")
    desired = [
        files.Desired(str(place.mount), "file", mount_unit(entry).encode(), 0o644),
        files.Desired(str(place.automount), "file", automount_unit(entry).encode(), 0o644),
        files.Desired(str(place.link.parent), "directory", mode=0o755),
        files.Desired(str(place.link), "link", os.fsencode(place.automount)),
    ]
    if entry.credentials is not None:
        desired += [
            files.Desired(str(place.credentials.parent), "directory", mode=0o700),
            files.Desired(str(place.credentials), "file", entry.credentials.encode(), 0o600),
        ]
    ordered: list[Any] = files.in_order([one for one in desired if files.differs(one, files.look(one.path))])
    return ordered


def left_over(entries: Iterable[Entry], removed: Iterable[str]) -> list[Path]:
    """Credentials that no share uses any more; those of a removed one go with it."""
    used = {places(entry.path).credentials for entry in entries if entry.credentials is not None}
    return sorted(set(Path(CREDENTIALS).glob("*")) - used - {places(path).credentials for path in removed})


def remove(path: Path) -> None:
    """Remove a file, and the directory of credentials with the last of them."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if path.parent == Path(CREDENTIALS):
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _text(path: Path) -> str:
    """What a unit says; nothing for one that is masked by a link to /dev/null or is a directory."""
    return path.read_text(errors="replace") if path.is_file() else ""
