"""Restore: into a directory beside the data, proven there, and only then put in place by a rename.

Everything up to the swap can be broken off anywhere and done again: what is copied already is not copied again. The
old data stay as they are until the new ones are complete, and are kept beside them afterwards.
"""

from __future__ import annotations

import time
from typing import Any

from homelab_host import disk_space, report, share
from homelab_host.errors import Trouble
from homelab_host.timestamps import write

from . import fingerprint
from .config import Setup
from .data_dirs import RESTORING, Swap, make
from .instance import Instance
from .replay import SYSTEM_ID, archive_the_last, await_archived, promote, replay, snapshot, to_end
from .repository import Repository
from .restore_copy import Scratch, outcome
from .restore_plan import Request, Source, again, select
from .service import Service


def restore(setup: Setup, request: Request) -> dict[str, object]:
    """Replace the cluster by what the backups and the archive hold; returns the result as the command line shows it."""
    began = time.monotonic()
    service, swap = Service(setup), Swap(setup)
    share.require(setup.share)
    make(setup.data.parent)
    asked = {"to": write(request.to) if request.to else None, "label": request.label, "record": request.record}
    with Halt(service, swap) as halt:
        note = swap.read()
        # Whoever runs may have been written to: what was ready before that is not the newest any more.
        if note.get("asked") != asked or "ready" not in note or service.active():
            ready = _bring(setup, request, halt)
            swap.write(asked=asked, ready=ready)
        halt.stop()
        report.step("put the restored data in place")
        replaced = swap.swap()
        try:
            service.start()
        except BaseException:
            service.stop()
            swap.swap_back(replaced)
            raise
    _archive_new_timeline(setup, service)
    result = dict(swap.read()["ready"])
    swap.forget()
    swap.remove_older(replaced)
    return {**result, "seconds": round(time.monotonic() - began, 1), "replaced": str(replaced) if replaced else None}


def _archive_new_timeline(setup: Setup, service: Service) -> None:
    """Let what the promotion has made reach the archive. The cluster is back even if that has to wait."""
    report.step("archive the new timeline")
    door = service.door()
    try:
        for done in Repository(setup).prepare(int(door.ask(SYSTEM_ID))):
            report.notice(done)
        await_archived(setup, door)
    except Trouble as trouble:
        report.notice(f"the cluster is restored, but its archive waits: {trouble.message}")


class Halt:
    """The old cluster, stopped when it has to be; it is started again if the restore comes to nothing."""

    def __init__(self, service: Service, swap: Swap) -> None:
        self.service = service
        self._swap = swap

    def __enter__(self) -> Halt:
        return self

    def somebody_served(self) -> bool:
        """Whether the old cluster runs, or was stopped by this restore (also by a run of it that was killed)."""
        return self.service.active() or bool(self._swap.read().get("halted"))

    def stop(self) -> None:
        if self.service.active():
            self._swap.write(halted=True)
            self.service.stop()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Noted, not remembered: it may have been a killed run that stopped it.
        if error is None or not self._swap.read().get("halted") or not self._swap.data.exists():
            return
        report.step("the restore came to nothing: start the old cluster again")
        try:
            self.service.start()
        except Trouble as trouble:
            if not isinstance(error, Trouble):
                raise
            # What came first is what has to be mended.
            message = f"{error.message}; and the old cluster does not start: {trouble.message}"
            raise Trouble(message, error.hint or trouble.hint, error.evidence or trouble.evidence) from error
        # It may be written to from now on, so nothing that is noted holds any more.
        self._swap.forget()


def _bring(setup: Setup, request: Request, halt: Halt) -> dict[str, Any]:
    """Make the new data complete beside the old ones; returns what they are."""
    repository = Repository(setup)
    scratch = Scratch(repository, select(setup, repository, request), RESTORING)
    try:
        with disk_space.explained(setup.data.parent):
            scratch.copy()
            with scratch.instance() as instance:
                proven = scratch.prove(instance)
            if halt.service.active():
                _archive_and_stop(setup, halt, scratch.source)
            return _complete(scratch, again(scratch.source, repository), proven, request)
    except disk_space.Full:
        # Who has nothing to lose can make room and go on with what is there.
        if halt.somebody_served():
            report.step("remove the incomplete copy: the cluster needs the room")
            scratch.discard()
        raise


def _archive_and_stop(setup: Setup, halt: Halt, source: Source) -> None:
    """Stop the old cluster when everything that it wrote is in the archive."""
    if not (setup.data / "global/pg_control").exists():
        report.notice("the old cluster's data are gone from under it: what it has not archived is lost")
        halt.stop()
        return
    same = archive_the_last(halt.service, source.record.system_id)
    halt.stop()
    if same:
        _require_archived(setup)


def _require_archived(setup: Setup) -> None:
    """What the old cluster wrote up to its very end has to be in the archive, or it would be lost."""
    waiting = sorted(each.stem for each in (setup.data / "pg_wal/archive_status").glob("*.ready"))
    if waiting:
        raise Trouble(f"the old cluster was stopped before the archive had taken {', '.join(waiting)}", "try again")


def _complete(scratch: Scratch, source: Source, proven: str, request: Request) -> dict[str, Any]:
    """Replay to the end, or to the moment wanted, and promote."""
    with scratch.instance() as instance:
        last = source.last_segment(instance.control.segment_size)
        goal = to_end(source.backup.start_segment, last, source.timeline, request.to)
        # The new timeline is kept for the archive, but gets there only when the cluster is in place: one that came to
        # nothing must not pass for the way on.
        state = replay(instance, goal, {"archive_mode": "on", "archive_command": ""})
        # The same transactions are visible as at the restore point: nobody has written since, the rows are proven.
        found = source.record.fingerprint if snapshot(instance) == proven else _read_fingerprint(instance)
        timeline = promote(instance)
        instance.lasting = True
    return {**outcome(source, state, timeline), **fingerprint.sums(found), "fingerprint": found}


def _read_fingerprint(instance: Instance) -> dict[str, Any]:
    report.step("read the fingerprint of what came after the backup")
    return fingerprint.take(instance.door)
