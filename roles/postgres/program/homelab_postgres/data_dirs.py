"""Directories beside the data: made, swapped and removed, with no more rights than that takes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from homelab_host.account import as_root
from homelab_host.errors import Trouble
from homelab_host.timestamps import now

from .config import Setup

RESTORING, REPLACED = "restoring", "replaced"


@contextmanager
def _owner_of(folder: Path) -> Iterator[None]:
    """Root where the folder is root's (nobody else plants links there), else the account."""
    if folder.stat().st_uid == 0:
        with as_root():
            yield
    else:
        yield


def make(folder: Path) -> None:
    """An own, private directory, with parents where they are missing."""
    uid, gid = os.geteuid(), os.getegid()
    for each in (*reversed(folder.parents), folder):
        if each.exists():
            continue
        with _owner_of(each.parent):
            each.mkdir(mode=0o700)
            os.chown(each, uid, gid, follow_symlinks=False)
        if each != folder:
            each.chmod(0o755)
    if folder.stat().st_uid != uid:
        raise Trouble(f"{folder} belongs to somebody else", "see whose it is, and move it away")
    folder.chmod(0o700)


def remove(folder: Path) -> None:
    """Remove a directory of the account, if it is there."""
    if not folder.exists():
        return
    doomed = folder.with_name(f"{folder.name}.removing")
    if doomed.exists():
        _remove_tree(doomed)
    # Half of a directory must not pass for the whole one.
    rename(folder, doomed)
    _remove_tree(doomed)


def _remove_tree(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    with _owner_of(folder.parent):
        folder.rmdir()


def rename(old: Path, new: Path) -> None:
    """Rename within a directory, and let it reach the disk."""
    with _owner_of(old.parent):
        old.rename(new)
    sync(old.parent)


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Swap:
    """The new data, the old data, and a note beside them that survives a kill."""

    def __init__(self, setup: Setup) -> None:
        self.data = setup.data
        self.new = setup.beside(RESTORING)
        self._note = setup.beside(f"{RESTORING}.json")

    def read(self) -> dict[str, Any]:
        """The note; empty if there is none, or none that can be read."""
        try:
            found = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, **what: object) -> None:
        """Add to the note, whole or not at all."""
        temporary = self._note.with_suffix(".new")
        with _owner_of(self._note.parent):
            try:
                with temporary.open("w") as file:
                    json.dump({**self.read(), **what}, file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self._note)
            except BaseException:
                # The disk may be full: half a note must not be what fills it.
                temporary.unlink(missing_ok=True)
                raise
        sync(self._note.parent)

    def forget(self) -> None:
        with _owner_of(self._note.parent):
            self._note.unlink(missing_ok=True)

    def swap(self) -> Path | None:
        """Put the new data in place; returns where the old ones are now. May be broken off and done again."""
        if self.new.exists() and self.data.exists():
            replaced = self.data.with_name(f"{self.data.name}.{REPLACED}-{now():%Y%m%dT%H%M%SZ}")
            self.write(replaced=str(replaced))
            rename(self.data, replaced)
        if self.new.exists():
            rename(self.new, self.data)
        noted = self.read().get("replaced")
        return Path(noted) if noted else None

    def swap_back(self, replaced: Path | None) -> None:
        rename(self.data, self.new)
        if replaced is not None:
            rename(replaced, self.data)

    def remove_older(self, kept: Path | None) -> None:
        """Of the data that were replaced, keep only the last."""
        if kept is None:
            return
        for each in self.data.parent.glob(f"{self.data.name}.{REPLACED}-*"):
            if each != kept:
                remove(each)
