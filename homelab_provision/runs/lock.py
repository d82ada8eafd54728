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
from homelab_provision.doors.process import pause
from homelab_provision.errors import Locked

TURN_SECONDS = 0.5  # between two looks at who has a turn


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
            if not _taken(handle):
                raise _held(name, path)
        held_by(run_id)
        yield held_by
    finally:
        for handle in handles:
            os.close(handle)


@contextmanager
def turn(name: str, who: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold as `who` what one at a time may use: the ports of a boot server, the hands of a person. Wait for whoever has
    it, and tell `on_wait` once who that is."""
    path = paths.private(paths.locks()) / f"turn-{name}.lock"
    handle = files.open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        told = False
        while not _taken(handle):
            if not told:
                on_wait(os.pread(handle, 200, 0).decode(errors="replace") or "another run")
            told = True
            pause(TURN_SECONDS)
        with files.naming(path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, who.encode(), 0)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held(name: str, path: Path) -> Locked:
    try:
        holder = json.loads(files.read_text(path))
        who = f"run {holder['run']} (pid {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, LookupError, TypeError):
        who = "another run"
    return Locked(f"`{name}` is held by {who}", hint="wait for it to end, or stop that process")
