"""A clock that goes wrong: its owner looks like somebody who plays back old packets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from .errors import Trouble
from .process import run

# Seconds by which a clock may be behind without anybody having set it wrong.
BEHIND = 30


class Troubles(Protocol):
    troubles: dict[str, str]


def look(seen: float, now: float, report: Troubles) -> Iterator[tuple[str, str]]:
    """Set the clock if it is behind `seen`, when this program looked the last time (both in seconds since 1970)."""
    if now >= seen - BEHIND:
        return
    behind = f"the clock is {seen - now:.0f} s behind the last look"
    try:
        # It sets a clock that is far off only when it has just started.
        done = run(["systemctl", "restart", "chrony.service"], seconds=30)
        waited = run(["chronyc", "waitsync", "10", "1", "0", "1"], seconds=20)
    except Trouble as trouble:
        report.troubles["clock"] = f"{behind}, and cannot be set: {trouble.message}"
        return
    if failed := next((each for each in (done, waited) if each.status), None):
        report.troubles["clock"] = f"{behind}, and no server of time has answered: {failed.last_word}"
        return
    yield behind, "had it set by a server of time"
