"""WAL arithmetic: positions, segments, and timelines with their branches. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")


def parse_lsn(text: str) -> int:
    """`0/7000120` as a number of bytes."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_name(timeline: int, number: int, size: int) -> str:
    """The file of a segment: timeline, and its number split as PostgreSQL does (source: xlog_internal.h)."""
    per_id = 0x100000000 // size
    return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def segment_number(name: str, size: int) -> int:
    per_id = 0x100000000 // size
    return int(name[8:16], 16) * per_id + int(name[16:24], 16)


def segment_before(position: int, size: int) -> int:
    """The number of the segment that holds what ends there (source: XLByteToPrevSeg)."""
    return (position - 1) // size


@dataclass(frozen=True)
class Branch:
    """A stretch of history: this timeline, up to `end` (None: it is the last one)."""

    timeline: int
    end: int | None


def parse_history(text: str) -> list[Branch]:
    """The ancestors in a timeline's history file, oldest first."""
    found = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [Branch(int(words[0]), parse_lsn(words[1])) for words in found]


def lineage(timeline: int, histories: Mapping[int, str]) -> list[Branch]:
    """The way to a timeline from the first one, oldest first."""
    return [*parse_history(histories.get(timeline, "")), Branch(timeline, None)]


def lies_on(branches: Iterable[Branch], timeline: int, position: int) -> bool:
    """Whether this position of a timeline is part of that way."""
    return any(branch.timeline == timeline and (branch.end is None or position <= branch.end) for branch in branches)


def timeline_at(moment: float, births: Mapping[int, float], written: Iterable[tuple[float, int]]) -> int:
    """The timeline that the cluster wrote at a moment (infinity: that it wrote last).

    `births` are the times at which each timeline's history reached the archive, `written` those of all segments, with
    their timelines. Timelines come from restores. What was committed after a moment to which somebody went back lies
    on the older one, so a later restore to that time must not follow the newer; and if somebody took the old data
    back into use, the older is the one that goes on. A segment reaches the archive after what is in it was committed.
    """
    known = [(when, timeline) for when, timeline in written if births.get(timeline, 0.0) <= moment]
    later = [each for each in known if each[0] >= moment]
    return min(later)[1] if later else max(known, default=(0.0, 1))[1]


def last_segment(branches: Iterable[Branch], names: Iterable[str], size: int) -> str | None:
    """The last segment that the archive holds on this way, or None.

    Counted without gaps being looked for. A branch that ends in the middle of a segment ends with that segment on the
    timeline that follows, if it is there, and else with its own.
    """
    by_timeline: dict[int, list[str]] = {}
    for each in names:
        by_timeline.setdefault(int(each[:8], 16), []).append(each)
    for branch in reversed(list(branches)):
        there = by_timeline.get(branch.timeline, ())
        if branch.end is not None:
            last = segment_before(branch.end, size)
            there = [each for each in there if segment_number(each, size) <= last]
        if there:
            return max(there)
    return None
