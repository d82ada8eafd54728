"""How long `provision --help` takes: what somebody feels at every command."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from homelab_provision.doors.process import run

ROUNDS = 10


def measure() -> Iterator[dict[str, object]]:
    """The median of ten starts, and of a bare Python for comparison, in seconds."""
    provision = Path(sys.executable).with_name("provision")
    started = [run([provision, "--help"], deadline=30).seconds for _ in range(ROUNDS)]
    bare = [run([sys.executable, "-c", "pass"], deadline=30).seconds for _ in range(ROUNDS)]
    yield {"help": {"seconds": round(statistics.median(started), 3), "bare_python": round(statistics.median(bare), 3)}}
