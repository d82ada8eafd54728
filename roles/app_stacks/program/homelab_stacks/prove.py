"""Prove: restore the newest backup aside, ask copies of the stacks what they hold, look through the repository."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from homelab_host import disk_space, report
from homelab_host.errors import Trouble
from homelab_host.timestamps import now

from . import facts, proof_copy, record_files, trees
from .config import ROLE, Setup, Stack
from .records import Kept, Record
from .replacement import check, require_room
from .repository import reporting
from .source import Request, Source, select, wanted

SCRATCH = ".proof"
# Every file of the repository is read once in so many weeks; what the newest backup needs, each time.
PARTS = 10


def prove(setup: Setup) -> dict[str, object]:
    """Write a proof and return what is in it; a failure leaves the last proof as it is."""
    began = time.monotonic()
    source = select(setup, Request())
    record = source.record
    for stack, kept in wanted(setup, record, ()):
        _prove_one(source, stack, kept)
    report.step("look through the repository")
    source.repository.check(f"{now().isocalendar().week % PARTS + 1}/{PARTS}")
    seconds = time.monotonic() - began
    assert setup.share is not None
    record_files.save_proof(setup.share / ROLE, record, now(), seconds)
    return {"label": record.label, "finished": record.finished, "seconds": round(seconds, 1), **_sums(record)}


def _sums(record: Record) -> dict[str, int]:
    return {**facts.sums(record.fingerprint), "bytes": record.bytes}


def _prove_one(source: Source, stack: Stack, kept: Kept) -> None:
    report.step(f"restore {stack.name} aside")
    with _scratch(stack) as scratch, disk_space.explained(scratch):
        require_room(scratch, kept.bytes)
        heard = reporting(f"restore {stack.name} aside")
        source.repository.restore(source.snapshots[stack.name], scratch, heard)
        data = scratch / kept.folder.removeprefix("/")
        check(kept, data, stack.name)
        report.step(f"ask the restored {stack.name}")
        if any(fact.service for fact in stack.facts):
            with proof_copy.running(stack, data) as project:
                found = facts.ask(stack, data, project)
        else:
            found = facts.ask(stack, data, [])
    if wrong := facts.differences(stack.name, kept.facts, found):
        raise Trouble(
            f"the restored stack {stack.name} does not answer as it did when it was backed up",
            "if its facts are asked otherwise since then, make a backup first: homelab-stacks backup",
            "\n".join(wrong),
        )


@contextmanager
def _scratch(stack: Stack) -> Iterator[Path]:
    """A place on the same disk, without what a killed run has left there; nothing of it stays."""
    scratch = stack.folder.parent / SCRATCH / stack.name
    if scratch.exists() and any(fact.service for fact in stack.facts):
        proof_copy.stop(stack)
    trees.remove(scratch)
    scratch.parent.mkdir(mode=0o700, exist_ok=True)
    scratch.mkdir(mode=0o700)
    try:
        yield scratch
    finally:
        trees.remove(scratch)
        with suppress(OSError):  # another's is in it
            scratch.parent.rmdir()
