"""Runs inside the container, as postgres: one command, with the memory that PostgreSQL takes meanwhile.

    python3 - COMMAND [WORD…] < watched.py

The last line of standard output is JSON: seconds, processor seconds (those do not depend on what else the machine
does), and the highest memory of all processes of that user together, in bytes, each shared page counted once (the
sum of their proportional set sizes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 1.0
FIELDS = ("Pss", "Pss_Anon", "Pss_Shmem")
# For a server process to end after its client, and its time to become its parent's.
REAPED_AFTER = 1.0


def main() -> int:
    peak = dict.fromkeys(FIELDS, 0)
    started, worked = time.monotonic(), processor_seconds()
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    while True:
        try:
            command.wait(timeout=SECONDS_BETWEEN_LOOKS)
            break
        except subprocess.TimeoutExpired:
            seen = memory()
            peak = {name: max(peak[name], seen[name]) for name in FIELDS}
    seconds = time.monotonic() - started
    time.sleep(REAPED_AFTER)
    found = {"seconds": seconds, "processor_seconds": processor_seconds() - worked}
    found = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({**found, "peak": {name.lower(): value for name, value in peak.items()}}))
    return command.returncode


def processes(name: str) -> Iterator[str]:
    """That file of /proc, of each of our user's processes."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.getuid():
                yield (process / name).read_text()
        except OSError:
            continue  # it has ended meanwhile


def processor_seconds() -> float:
    """What the processes have worked, and their children that have ended."""
    ticks = sum(sum(map(int, text.rpartition(")")[2].split()[11:15])) for text in processes("stat"))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory() -> dict[str, int]:
    """Bytes of all of them, by kind."""
    total = dict.fromkeys(FIELDS, 0)
    for text in processes("smaps_rollup"):
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += int(rest.split()[0]) * 1024
    return total


if __name__ == "__main__":
    sys.exit(main())
