"""What the settings depend on: memory, cores, and whether the disk below the data turns."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible.module_utils.homelab_postgres.tuning import Machine

# Where Debian keeps what the server's extensions say of themselves.
CONTROL = "/usr/share/postgresql/{}/extension/vector.control"


def examine(data: str, version: str) -> Machine:
    """The machine we are on; `data` may not exist yet. `version` is PostgreSQL's."""
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert memory
    return Machine(int(memory[1]) // 1024, len(os.sched_getaffinity(0)), rotational(data), pgvector(version))


def rotational(path: str, sys: Path = Path("/sys/dev/block")) -> bool:
    """Whether the disk that holds `path` turns; one that the kernel does not know (a container's) does not."""
    existing = next(place for place in (Path(path), *Path(path).parents) if place.exists())
    device = existing.stat().st_dev
    # A partition has no queue of its own: its disk is the directory above.
    found = (sys / f"{os.major(device)}:{os.minor(device)}").resolve()
    for place in (found, found.parent):
        queue = place / "queue" / "rotational"
        if queue.exists():
            return queue.read_text().strip() == "1"
    return False


def pgvector(version: str, control: str = CONTROL) -> str | None:
    """The version of pgvector that the packages bring for this PostgreSQL; it is the library's, whatever version the
    databases have been updated to."""
    try:
        found = re.search(r"^default_version\s*=\s*'([^']*)'", Path(control.format(version)).read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[1] if found else "unknown"
