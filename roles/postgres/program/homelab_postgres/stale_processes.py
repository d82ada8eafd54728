"""What a killed run may have left at work on a copy of the data: its server, and the workers of pgBackRest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from homelab_host.errors import Trouble

# Signals, and how many seconds each is given.
SERVER = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 30.0), (signal.SIGKILL, 30.0))
WORKERS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 30.0))


def stop_leftovers(data: Path, processes: Path = Path("/proc")) -> bool:
    """Stop whatever is still at work on `data`, so that nobody writes there but us; true if there was anything."""
    found = False
    server = _server(data, processes)
    if server is not None:
        found = _stop([server], data, SERVER, processes)
    if workers := _at_work(data, processes):
        found = _stop(workers, data, WORKERS, processes)
    (data / "postmaster.pid").unlink(missing_ok=True)
    return found


def _server(data: Path, processes: Path) -> int | None:
    """The process that the pid file names, if it serves this directory and has not its number by chance."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if pid in _at_work(data, processes) else None


def _at_work(data: Path, processes: Path) -> list[int]:
    """Processes that work in this directory, as servers do, or have it on their command line, as pgBackRest's do."""
    real, option = data.resolve(), f"--pg1-path={data}".encode()
    found = []
    for each in processes.iterdir():
        if not each.name.isdigit() or int(each.name) == os.getpid():
            continue
        # Those of others cannot be read, and have no business there.
        with suppress(OSError):
            if (each / "cwd").readlink() == real or option in (each / "cmdline").read_bytes().split(b"\0"):
                found.append(int(each.name))
    return sorted(found)


def _stop(pids: Sequence[int], data: Path, ways: Sequence[tuple[signal.Signals, float]], processes: Path) -> bool:
    for number, patience in ways:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while (left := set(pids) & set(_at_work(data, processes))) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not left:
            return True
    raise Trouble(
        f"processes {sorted(left)} of an earlier run work on {data} and do not end", "end them, or restart the host"
    )
