"""JSON lines on stdout: steps, notices, progress, and one result or error at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

# Seconds between two lines about the same progress.
PACE = 1.0

# Called at every sign of life, with the name of what begins or goes on: the lock shows it to those who wait.
listeners: list[Callable[[str | None], None]] = []
_last: dict[str, tuple[float, int]] = {}


def step(name: str) -> None:
    """Something new begins; `name` reads after "now: "."""
    _last.clear()  # what has the same name as something before is not that
    _say({"kind": "step", "name": name})


def notice(text: str) -> None:
    """Something worth knowing that is nobody's fault."""
    _say({"kind": "notice", "text": text})


def alive(now: str | None = None) -> None:
    """Nothing to say, but still at work."""
    for listener in listeners:
        listener(now)


def progress(name: str, done: int, total: int | None, unit: str) -> None:
    """How far it is, in bytes, seconds or segments. Lines that come too fast are left out, but never the last."""
    alive()
    now = time.monotonic()
    when, before = _last.get(name, (-PACE, -1))
    if done == before or (done != total and now - when < PACE):
        return
    _last[name] = now, done
    _say({"kind": "progress", "name": name, "done": done, "total": total, "unit": unit})


def result(found: dict[str, object]) -> None:
    """The last line of a run that did its job."""
    _say({"kind": "result", **found})


def error(message: str, hint: str | None, evidence: str | None) -> None:
    """The last line of a run that did not."""
    _say({"kind": "error", "message": message, "hint": hint, "evidence": evidence})


def _say(line: dict[str, object]) -> None:
    alive(str(line.get("name", line["kind"])))
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()
