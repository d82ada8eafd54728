"""Restore: the data of all stacks, or of some, are brought beside the old ones, and then take their place."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from homelab_host import report
from homelab_host.errors import Trouble

from . import facts
from .config import Setup
from .replacement import Replacement, require_room
from .source import Request, select, wanted


def restore(setup: Setup, request: Request) -> dict[str, object]:
    """Replace the data of the stacks; returns the result as the command line shows it.

    Nothing is replaced before everything has come, and been counted. The old data of a single stack that goes back
    to an earlier backup are kept beside the new: something made since may be missed.
    """
    began = time.monotonic()
    source = select(setup, request)
    record = source.record
    chosen = [Replacement(*each, record.label) for each in wanted(setup, record, request.stacks)]
    for each in chosen:
        if each.kept.version != each.stack.version:
            now = each.stack.version
            report.notice(f"{each.stack.name}: the data are of version {each.kept.version}, the stack is of {now}")
    missing = [each for each in chosen if not each.ready()]
    _require_room(missing)
    for each in missing:
        each.fetch(source.repository, source.snapshots[each.stack.name])
    keep_old = bool(request.stacks and (request.to or request.label))
    replaced = {each.stack.name: each.put_in_place(keep_old) for each in chosen}
    _settle(chosen, replaced)
    names = {each.stack.name for each in chosen}
    fingerprint = {name: answers for name, answers in record.fingerprint.items() if name in names}
    return {
        "label": record.label,
        "restored_to": record.finished,
        "bytes": sum(each.kept.bytes for each in chosen),
        **facts.sums(fingerprint),
        "replaced": {name: str(old) for name, old in replaced.items() if old},
        "seconds": round(time.monotonic() - began, 1),
        "fingerprint": fingerprint,
    }


def _settle(chosen: Sequence[Replacement], replaced: Mapping[str, Path | None]) -> None:
    """They start side by side; one that does not costs the others nothing. Raises the first `Trouble`."""
    troubles = []
    for each in chosen:
        try:
            each.settle(replaced[each.stack.name])
        except Trouble as trouble:
            troubles.append(trouble)
    if troubles:
        raise troubles[0]


def _require_room(missing: Sequence[Replacement]) -> None:
    """All together have to fit; stacks may lie on several disks."""
    needed: dict[int, int] = defaultdict(int)
    for each in missing:
        folder = next(path for path in (each.stack.folder, *each.stack.folder.parents) if path.exists())
        needed[folder.stat().st_dev] += each.kept.bytes
        require_room(folder, needed[folder.stat().st_dev])
