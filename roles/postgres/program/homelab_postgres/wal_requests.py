"""What a recovering instance has asked the archive for, and whether that was all there is. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from .wal import SEGMENT_NAME, segment_number

FOUND, MISSING = 0, 1
# A segment that is fetched so often in a row is not read to its end: it is damaged.
STUCK = 10


class Fetch(NamedTuple):
    name: str
    status: int


class Verdict(Enum):
    """Where replay is: on its way, at the end of the archive, at a gap before it, at a segment it cannot read."""

    MOVING = "moving"
    ENDED = "ended"
    GAP = "gap"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


def parse_fetches(text: str) -> list[Fetch]:
    """The log of `fetch-wal`, without history files; an unfinished last line is left out."""
    words = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
    return [Fetch(each[0], int(each[1])) for each in words if len(each) == 2 and SEGMENT_NAME.fullmatch(each[0])]


def fetched(fetches: Sequence[Fetch]) -> int:
    """How many different segments were found."""
    return len({fetch.name for fetch in fetches if fetch.status == FOUND})


def judge(fetches: Sequence[Fetch], goal: str, size: int) -> Verdict:
    """Whether replay has come to `goal`, the last segment of its way that the archive holds.

    PostgreSQL asks again and again for the segment that it lacks; twice is enough to know that everything before it
    has been read. A gap has to show more often: older timelines are asked, too.
    """
    if fetches and fetches[-1].status > MISSING:
        return Verdict.UNREADABLE
    end = segment_number(goal, size)
    last_found = max((index for index, fetch in enumerate(fetches) if fetch.status == FOUND), default=-1)
    reached = any(fetch.status == FOUND and segment_number(fetch.name, size) >= end for fetch in fetches)
    if reached:
        beyond = Counter(
            fetch.name
            for fetch in fetches
            if fetch.status == MISSING and segment_number(fetch.name, size) >= end and fetch.name != goal
        )
        if max(beyond.values(), default=0) >= 2:
            return Verdict.ENDED
    elif max(Counter(fetch.name for fetch in fetches[last_found + 1 :]).values(), default=0) >= STUCK:
        return Verdict.GAP
    if len(fetches) >= STUCK and len(set(fetches[-STUCK:])) == 1 and fetches[-1].status == FOUND:
        return Verdict.DAMAGED
    return Verdict.MOVING
