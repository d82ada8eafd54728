"""How durations, sizes and proofs read, on the terminal and in the report alike."""

from __future__ import annotations

from collections.abc import Container
from math import isfinite

from homelab_provision.events import Outcome, RunResult
from homelab_provision.text import one_line

_UNITS = ("B", "kB", "MB", "GB", "TB")

MARKS = {
    Outcome.OK: "✓",
    Outcome.CHANGED: "●",
    Outcome.SKIPPED: "○",
    Outcome.FAILED: "✗",
    Outcome.UNREACHABLE: "✗",
}
RESULT_MARKS = {
    RunResult.PROVEN: "✓",
    RunResult.DONE: "✓",
    RunResult.UNPROVEN: "≠",
    RunResult.FAILED: "✗",
    RunResult.REFUSED: "⊘",
    RunResult.DAMAGED: "✗",
}


def seconds_text(seconds: float) -> str:
    """A duration: `0.4 s`, `46 s`, `4 m 10 s`, `2 h 03 m`."""
    if not isfinite(seconds):
        return "? s"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


def bytes_text(count: float) -> str:
    """A size in decimal units, as disks are sold: `640 MB`, `1.8 GB`."""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    digits = 1 if unit and size < 9.95 else 0
    return f"{size:.{digits}f} {_UNITS[unit]}"


def quantity_text(done: float, total: float | None, unit: str) -> str:
    """How far something is: `120 MB of 640 MB`, `12 of 41 tasks`, `12 s, at most 2 m 00 s`."""
    if unit == "bytes":
        return bytes_text(done) + (f" of {bytes_text(total)}" if total else "")
    if unit == "seconds":  # a wait: what has passed, and the deadline
        return seconds_text(done) + (f", at most {seconds_text(total)}" if total else "")
    return f"{done:.0f}" + (f" of {total:.0f}" if total else "") + f" {unit}"


def step_parts(name: str, phase: str | None) -> tuple[str, ...]:
    """The path of a step below its phase: `flash/stream/verify` in `flash` is (`stream`, `verify`)."""
    parts = tuple(filter(None, name.split("/")))
    return parts[1:] if len(parts) > 1 and parts[0] == phase else parts or (name,)


def place_of(path: tuple[str, ...], known: Container[tuple[str, ...]]) -> tuple[int, str]:
    """Where a step belongs in the tree of the `known` ones: its depth, and what is left to call it.

    `rescue/packages` is `packages` one deeper than `rescue`, but `rescue: packages` where nothing is called `rescue`.
    """
    parents = [length for length in range(1, len(path)) if path[:length] in known]
    return len(parents), ": ".join(path[parents[-1] if parents else 0 :])


def scalar_text(value: object) -> str:
    """A piece of a proof on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(scalar_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{one_line(key)}: {scalar_text(part)}" for key, part in value.items()) or "none"
    return one_line(str(value))
