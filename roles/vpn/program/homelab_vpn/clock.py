"""A clock that goes wrong: its owner looks like somebody who plays back old packets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

from homelab_host.errors import Trouble
from homelab_host.process import Finished

from .process import run

# Seconds by which a clock may be behind without anybody having set it wrong.
BEHIND = 30
# Seconds in which chrony, once it has begun anew, is left to find its servers, and for how long a look waits for that.
SEARCH, WAIT = 300, 30


class Troubles(Protocol):
    troubles: dict[str, str]


def look(seen: float, now: float, kept: dict[str, Any], report: Troubles) -> Iterator[tuple[str, str]]:
    """Set the clock if it is behind `seen`, when this program looked the last time (both in seconds since 1970).

    `kept` is remembered between looks.
    """
    if now >= seen - BEHIND:
        return
    behind = f"the clock is {seen - now:.0f} s behind the last look"
    try:
        asked = _begin(kept) or run(["chronyc", "waitsync", str(WAIT), "1", "0", "1"], seconds=WAIT + 10)
    except Trouble as trouble:
        report.troubles["clock"] = f"{behind}, and cannot be set: {trouble.message}"
        return
    if asked.status:
        report.troubles["clock"] = f"{behind}, and no server of time has answered: {asked.last_word}"
        return
    yield behind, "had it set by a server of time"


def _begin(kept: dict[str, Any]) -> Finished | None:
    """Have chrony begin anew, which is when it sets a clock that is far off; what failed, if that did."""
    begun = time.monotonic()
    if 0 <= begun - float(kept.get("clock_begun", -SEARCH)) < SEARCH:
        return None
    kept["clock_begun"] = begun
    done = run(["systemctl", "restart", "chrony.service"], seconds=30)
    return done if done.status else None
