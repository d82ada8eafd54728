"""One run at a time. Who comes second waits, says for whom, and takes over the answer if it asked for the same."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import report
from .account import as_root
from .errors import Trouble

PATIENCE, PULSE = 1800.0, 5.0


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else in the same block, among all processes: who comes second waits. For what takes moments."""
    with path.open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield


def exclusive(
    path: Path, request: Mapping[str, str], work: Callable[[], dict[str, object]], patience: float = PATIENCE
) -> dict[str, object]:
    """Do `work` under the lock and return its result; or the result of the run that did the same while we waited."""
    with as_root():
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        if _wait(file.fileno(), path, patience):
            found = _read(descriptor)
            if found.get("request") == request and isinstance(found.get("result"), dict):
                report.notice("take over the result of the run that was waited for")
                return dict(found["result"])
        note: dict[str, Any] = {"pid": os.getpid(), "request": dict(request), "now": "start"}

        def listen(now: str | None) -> None:
            note["now"] = now or note["now"]
            # The time of writing is the sign of life.
            if now or time.time() - os.fstat(descriptor).st_mtime > PULSE:
                _write(descriptor, note)

        _write(descriptor, note)
        report.listeners.append(listen)
        try:
            note["result"] = work()
        finally:
            report.listeners.remove(listen)
        _write(descriptor, note)
        return dict(note["result"])


def _wait(descriptor: int, path: Path, patience: float) -> bool:
    """Take the lock; true if somebody else had it. Gives up when its holder has shown no sign of life."""
    begin, waited = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return waited
        except BlockingIOError:
            pass
        holder = _read(descriptor)
        who = f"`{holder.get('request', {}).get('command', '?')}` (process {holder.get('pid', '?')})"
        if not waited:
            report.step(f"wait for the run that is at work: {who}")
            waited = True
        report.progress(f"wait for {who}", int(time.monotonic() - begin), None, "seconds")
        if time.time() - os.fstat(descriptor).st_mtime > patience:
            raise Trouble(
                f"{who} holds the lock {path} and has shown no sign of life for {patience / 60:.0f} minutes",
                "see what it does; if it hangs, end that process, then run this command again",
            )
        time.sleep(0.5)


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 1 << 24, 0) or b"{}")
    except ValueError:  # it is being written
        return {}
    return found if isinstance(found, dict) else {}


def _write(descriptor: int, note: Mapping[str, Any]) -> None:
    data = json.dumps(note).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
