"""Runs inside the container, as postgres: one command, with the memory that PostgreSQL takes meanwhile.

    python3 - COMMAND [WORD…] < watched.py

The last line of standard output is JSON: seconds, and the highest memory of all processes of that user
together, in bytes, each shared page counted once (the sum of their proportional set sizes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 1.0
FIELDS = ("Pss", "Pss_Anon", "Pss_Shmem")


def main() -> int:
    peak = dict.fromkeys(FIELDS, 0)
    started = time.monotonic()
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    while True:
        try:
            command.wait(timeout=SECONDS_BETWEEN_LOOKS)
            break
        except subprocess.TimeoutExpired:
            seen = memory(os.getuid())
            peak = {name: max(peak[name], seen[name]) for name in FIELDS}
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": round(seconds, 2), "peak": {name.lower(): value for name, value in peak.items()}}))
    return command.returncode


def memory(owner: int) -> dict[str, int]:
    """Bytes of all processes of that user, by kind."""
    total = dict.fromkeys(FIELDS, 0)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != owner:
                continue
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended meanwhile
        for line in lines:
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += int(rest.split()[0]) * 1024
    return total


if __name__ == "__main__":
    sys.exit(main())
