"""Prove: restore the newest backup aside, compare it with what it held, check every file, and write that down."""

from __future__ import annotations

import time

from homelab_host import disk_space, report, share
from homelab_host.timestamps import now

from . import data_dirs
from .config import Setup, backups_of
from .fingerprint import sums
from .records import write_proof
from .repository import Repository
from .restore_copy import Scratch
from .restore_plan import Request, select

PROVING = "proving"


def prove(setup: Setup) -> dict[str, object]:
    """Write a proof and return what is in it; a failure leaves the last proof as it is."""
    began = time.monotonic()
    share.require(setup.share)
    data_dirs.make(setup.data.parent)
    repository = Repository(setup)
    _, folder = backups_of(setup)
    source = select(setup, repository, Request())
    scratch = Scratch(repository, source, PROVING)
    try:
        with disk_space.explained(setup.data.parent):
            scratch.copy()
            with scratch.instance() as instance:
                scratch.prove(instance)
    finally:
        # A scratch copy of a damaged backup is of no use, and takes room from the cluster.
        scratch.discard()
    report.step("check every file of the repository")
    repository.verify()
    seconds = time.monotonic() - began
    counted = {**sums(source.record.fingerprint), "bytes": source.backup.bytes}
    write_proof(folder, source.record, now(), seconds, counted)
    return {"label": source.record.label, "finished": source.record.finished, "seconds": round(seconds, 1), **counted}
