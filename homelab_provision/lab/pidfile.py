"""Daemons known by a pid file: whose they are, and their end.

A number in a file proves nothing: the process may have ended and its number may belong to somebody else by now.
A daemon of ours carries a word in its command line that nobody else has: the absolute path of a file of ours.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.doors.process import run
from homelab_provision.errors import ProvisionError
from homelab_provision.lab.sudo import Privilege

_GONE_SECONDS = 15.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class Daemon:
    """A process that writes its number to `pidfile` and has `word` (or `--option=word`) in its command line."""

    pidfile: Path
    word: str
    proc: Path = _PROC

    @property
    def pid(self) -> int | None:
        """Its number while it lives, else `None`."""
        try:
            pid = int(self.pidfile.read_text())
            words = (self.proc / str(pid) / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # A zombie's command line is empty: it has ended.
        return pid if any(self.word.encode() in (one, one.partition(b"=")[2]) for one in words) else None

    def kill(self) -> None:
        """End it, without asking; gone when this returns."""
        pid = self.pid
        if pid is not None:
            kill(pid, lambda: self.pid == pid)


def kill(pid: int, lives: Callable[[], bool]) -> None:
    """Kill `pid` as long as `lives` says that it is the one meant; raises `ProvisionError` if it will not go."""
    until = time.monotonic() + _GONE_SECONDS
    while lives():
        _send_kill(pid)
        if time.monotonic() > until:
            raise ProvisionError(f"process {pid} does not end though it was killed", hint=f"look at /proc/{pid}/stack")
        time.sleep(0.02)


def program(pid: int) -> str | None:
    """The name of the program that `pid` runs, cut to 15 characters by the kernel; `None` if it has ended."""
    try:
        state = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = state.partition("(")[2].rpartition(")")
    return None if rest.split()[0] in "ZX" else name


def _send_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        run(Privilege.current().root("kill", "-KILL", str(pid)), deadline=10, check=False)
