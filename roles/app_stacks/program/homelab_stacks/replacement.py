"""One stack's data, restored beside it and put in place path by path; broken off anywhere, it goes on where it was.

`FOLDER/.restore-LABEL/` holds the restored tree, and a note once that is complete. The note knows the restored paths
by their inodes, so what is in place already is seen by looking; until all are, the old data lie where the new did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homelab_host import disk_space, report, synced
from homelab_host.errors import Trouble
from homelab_host.timestamps import now

from . import trees
from .config import Stack
from .records import Kept, label_of
from .repository import Repository, reporting
from .unit import Unit
from .values import REPLACED, RESTORING

NOTE = "note.json"


@dataclass(frozen=True)
class Replacement:
    stack: Stack
    kept: Kept
    label: str

    @property
    def work(self) -> Path:
        return self.stack.folder / f"{RESTORING}{self.label}"

    @property
    def tree(self) -> Path:
        """What corresponds to the stack's folder: restic restores by absolute paths."""
        return self.work / "tree" / self.kept.folder.removeprefix("/")

    def ready(self) -> bool:
        """Whether the data of this backup lie beside the stack's, complete, or have begun to take their place.

        A stack that runs on data which are in place already may have written to them since: that is no beginning.
        """
        note = _read(self.work)
        if note.get("snapshot") != self.kept.snapshot:
            return False
        return not (any(self._in_place(note, path) for path in self.kept.paths) and Unit(self.stack.unit).active())

    def fetch(self, repository: Repository, snapshot: str) -> None:
        """Restore beside the data, and count what came."""
        report.step(f"restore {self.stack.name} beside its data")
        self.stack.folder.mkdir(parents=True, exist_ok=True)
        began = {"running": True} if _read(self.work).get("running") else {}
        trees.remove(self.work)
        self.work.mkdir(mode=0o700)
        try:
            with disk_space.explained(self.stack.folder):
                repository.restore(snapshot, self.work / "tree", reporting(f"restore {self.stack.name}"))
                check(self.kept, self.tree, self.stack.name)
                os.sync()
        except disk_space.Full:
            trees.remove(self.work)  # the stack needs the room
            raise
        inodes = {path: trees.identity(self.tree, path) for path in self.kept.paths}
        _write(self.work, {"snapshot": self.kept.snapshot, "inodes": inodes, **began})

    def put_in_place(self, keep_old: bool) -> Path | None:
        """Stop the stack, exchange its data, begin to start it if it ran; returns where the old data are, if kept.

        What an earlier restore that came to nothing had stopped is started, too.
        """
        unit, others = Unit(self.stack.unit), _others(self.work)
        note = _read(self.work)
        running = unit.active() or any(_read(other).get("running") for other in (self.work, *others))
        if running:
            _write(self.work, {**note, "running": True})
            unit.stop()
        report.step(f"put the data of {self.stack.name} in place")
        for path in self.kept.paths:
            if not self._in_place(note, path):
                trees.exchange(self.tree, self.stack.folder, path)
        old = self._keep() if keep_old else None
        if running:
            unit.begin()
        return old

    def settle(self, old: Path | None) -> None:
        """See the start to its end, and remove what is of no use any more: all but the old data that are kept."""
        if _read(self.work).get("running"):
            try:
                Unit(self.stack.unit).start()
            except Trouble as trouble:
                where = f"its old data are in {old or self.tree}"
                raise Trouble(f"{trouble.message}; {where}", trouble.hint, trouble.evidence) from None
        for other in (*_others(self.work), self.work, *sorted(self.stack.folder.glob(f"{REPLACED}*"))):
            if other != old:
                trees.remove(other)

    def _in_place(self, note: Mapping[str, Any], path: str) -> bool:
        return bool(trees.identity(self.stack.folder, path) == note.get("inodes", {}).get(path, -1))

    def _keep(self) -> Path | None:
        """Let what was replaced stay beside the data."""
        if not self.tree.exists():  # a run that was killed had done that
            return max(self.stack.folder.glob(f"{REPLACED}*"), default=None)
        old = self.stack.folder / f"{REPLACED}{label_of(now())}"
        self.tree.rename(old)
        return old


def unfinished(stack: Stack) -> Path | None:
    """What a restore has left that was broken off after its data had come: some may be in place, and some not."""
    return next((each for each in sorted(stack.folder.glob(f"{RESTORING}*")) if (each / NOTE).exists()), None)


def check(kept: Kept, tree: Path, name: str) -> None:
    """Raise `Trouble` unless what was restored is as much as was backed up."""
    found = [trees.count(tree / path) for path in kept.paths]
    files, size = sum(each[0] for each in found), sum(each[1] for each in found)
    lost = [path for path in kept.paths if trees.identity(tree, path) is None]
    if lost or (files, size) != (kept.files, kept.bytes):
        raise Trouble(
            f"the stack {name} came back with {files} files and {size} bytes instead of {kept.files} and {kept.bytes}",
            "try an older backup with --label, and look at the NAS",
            "\n".join(f"{path} is missing" for path in lost),
        )


def require_room(folder: Path, size: int) -> None:
    """Raise `Full` unless so many bytes fit beside what runs on the same disk."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = disk_space.free(there) - disk_space.reserve(there)
    if size > free:
        raise disk_space.Full(
            f"{disk_space.shown(size)} have to be restored on the disk of {there}, and only "
            f"{disk_space.shown(max(free, 0))} are free; nothing was replaced",
            "make room, then run the same command again",
        )


def _others(work: Path) -> list[Path]:
    """What earlier restores of other backups have left."""
    return [each for each in sorted(work.parent.glob(f"{RESTORING}*")) if each != work]


def _read(work: Path) -> dict[str, Any]:
    try:
        found = json.loads((work / NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(work: Path, note: Mapping[str, Any]) -> None:
    synced.write(work / NOTE, json.dumps(note), 0o600)
