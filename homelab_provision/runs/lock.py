"""Who works on what: one run at a time on a host, and on a machine."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from homelab_provision import files, paths
from homelab_provision.errors import Locked


@contextmanager
def locked(names: Iterable[str], run_id: str = "a run that is about to begin") -> Iterator[Callable[[str], None]]:
    """Hold the locks on `names` (hosts, machines) or say who does; yields what tells them the id of their run.

    The lock is the kernel's (`flock`), so it goes with its holder, however that ends; the file's text
    only says who it is.
    """
    handles: list[int] = []
    since = datetime.now(UTC).isoformat(timespec="seconds")

    def held_by(run_id: str) -> None:
        text = json.dumps({"run": run_id, "pid": os.getpid(), "since": since}).encode()
        for handle in handles:
            with files.naming(paths.locks()):
                os.ftruncate(handle, 0)
                os.pwrite(handle, text, 0)

    try:
        for name in sorted(set(names)):
            path = paths.private(paths.locks()) / f"{name}.lock"
            handle = files.open_regular(path, os.O_RDWR | os.O_CREAT)
            handles.append(handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held(name, path) from None
        held_by(run_id)
        yield held_by
    finally:
        for handle in handles:
            os.close(handle)


def _held(name: str, path: Path) -> Locked:
    try:
        holder = json.loads(files.read_text(path))
        who = f"run {holder['run']} (pid {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, LookupError, TypeError):
        who = "another run"
    return Locked(f"`{name}` is held by {who}", hint="wait for it to end, or stop that process")
