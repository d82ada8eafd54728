"""The files of the repository on the share: who may see them, and which of them a restore needs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from homelab_host.errors import Trouble
from homelab_host.share import bounded

# Seconds for looking at every file: some ten thousand on a NAS that sleeps.
PATIENCE = 900.0


def open_to_group(repository: Path) -> None:
    """Let the group of the share look, as the controller does. restic gives later files the mode of `config`."""

    def change() -> None:
        if (repository / "config").stat().st_mode & 0o040:
            return
        entries = [repository.parent, *sorted(repository.rglob("*")), repository]
        # `config` last: by it we know that all is done.
        for entry in sorted(entries, key=lambda each: each.name == "config"):
            with suppress(PermissionError):  # whose it is, the server decides
                entry.chmod(0o750 if entry.is_dir() else 0o640)

    _answered(repository, change)


def has_files(folder: Path) -> bool:
    """Whether anything lies there."""
    return bool(_answered(folder, lambda: folder.is_dir() and any(folder.iterdir())))


def needed(repository: Path, share: Path, snapshots: Iterable[str]) -> dict[str, int]:
    """Every file that a restore of these snapshots could read, as path from the share → size.

    Which packs hold what only restic knows, so all of them count; locks and other snapshots do not.
    """
    own = {f"{repository}/snapshots/{snapshot}" for snapshot in snapshots}
    base = len(str(share)) + 1

    def look() -> dict[str, int]:
        sizes = {}
        for folder in (repository / name for name in ("data", "index", "keys", "snapshots")):
            for root, _, names in os.walk(folder):
                for name in names:
                    path = f"{root}/{name}"
                    if folder.name != "snapshots" or path in own:
                        sizes[path[base:]] = os.lstat(path).st_size
        config = f"{repository}/config"
        return {config[base:]: os.lstat(config).st_size, **sizes}

    found: dict[str, int] = _answered(repository, look)
    if missing := own - {f"{share}/{path}" for path in found}:
        raise Trouble(f"{min(missing)} is gone again", "did somebody run `restic forget`?")
    return found


def _answered(path: Path, work: Any) -> Any:
    try:
        return bounded(work, PATIENCE)
    except OSError as error:
        raise Trouble(f"cannot look at {path}: {error.strerror}", "look at the share") from None
