"""JSON lines on standard output: steps, notices and progress, and one result or error at the end."""

from __future__ import annotations

import json
import sys
import time

# Seconds between two lines about the same progress.
PACE = 2.0
_last: dict[str, float] = {}


def step(name: str) -> None:
    """Something new begins; `name` reads after "now: "."""
    say({"kind": "step", "name": name})


def notice(text: str) -> None:
    """Something worth knowing that is nobody's fault."""
    say({"kind": "notice", "text": text})


def progress(name: str, done: int, total: int) -> None:
    """How far it is, in bytes. Lines that come too fast are left out, but not the last."""
    now = time.monotonic()
    if done < total and now - _last.get(name, now - PACE) < PACE:
        return
    _last[name] = now
    say({"kind": "progress", "name": name, "done": done, "total": total, "unit": "bytes"})


def say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def shown(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"
