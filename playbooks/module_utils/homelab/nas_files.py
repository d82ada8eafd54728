"""The files of the shares beside fstab: credentials, drop-ins, and the note of what is still to be done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from ansible.module_utils.homelab import files
from ansible.module_utils.homelab.nas_entries import CREDENTIALS, Entry, credentials_file, unit_name

UNITS = Path("/etc/systemd/system")
OWED = Path("/run/homelab-provision/nas_mounts.json")
DROP_IN = "homelab-nas.conf"
# After five failures within ten seconds systemd would take the automount away for good: a NAS that refuses while it
# starts is enough. Then everybody would see the bare directory, until somebody comes to start it again.
PATIENT = "# Written by the role nas_mounts.\n[Unit]\nStartLimitIntervalSec=0\n"


def wanted(entries: Iterable[Entry]) -> dict[str, files.Wanted]:
    """What has to lie on the host, by path: a drop-in for each share, credentials for those that have any."""
    needed = []
    for entry in entries:
        drop_in, secret = places(entry.path)
        needed += [files.Wanted(str(drop_in.parent), "directory", mode=0o755),
                   files.Wanted(str(drop_in), "file", PATIENT.encode(), 0o644)]  # fmt: skip
        if entry.credentials is not None:
            needed += [files.Wanted(str(secret.parent), "directory", mode=0o700),
                       files.Wanted(str(secret), "file", entry.credentials.encode(), 0o600)]  # fmt: skip
    return {one.path: one for one in needed}


def places(path: str) -> tuple[Path, Path]:
    """Where the drop-in and the credentials of a share lie."""
    return UNITS / f"{unit_name(path)}.mount.d" / DROP_IN, Path(credentials_file(path))


def missing(needed: dict[str, files.Wanted]) -> list[files.Wanted]:
    """Those that are not there as wanted, directories first."""
    return files.in_order([one for one in needed.values() if files.differs(one, files.look(one.path))])


def left_over(needed: Iterable[str]) -> list[Path]:
    """Files of shares that are no longer listed."""
    kept = set(needed)
    secrets = [path for path in Path(CREDENTIALS).glob("*") if str(path) not in kept]
    drop_ins = [path for path in UNITS.glob(f"*.mount.d/{DROP_IN}") if str(path) not in kept]
    return [*secrets, *drop_ins]


def remove(path: Path) -> None:
    """Remove a file, and its directory unless something else lies there, too."""
    path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def read_owed() -> set[str]:
    """Paths whose change has not taken effect yet: their share was in use, or the run was killed."""
    try:
        return {str(path) for path in json.loads(OWED.read_text())}
    except (FileNotFoundError, ValueError):
        return set()


def note_owed(paths: Iterable[str]) -> None:
    OWED.parent.mkdir(mode=0o755, exist_ok=True)
    new = OWED.with_suffix(".new")
    new.write_text(json.dumps(sorted(paths)))
    new.replace(OWED)
