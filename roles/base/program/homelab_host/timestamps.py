"""Moments: as people write them, as PostgreSQL takes them, as records keep them."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_moment(text: str, now: datetime) -> datetime:
    """A time of ISO 8601, in `now`'s zone where it names none, as UTC.

    Raises `ValueError` for what is no time, has no time of day, or has not come yet.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or ":" not in text:
        raise ValueError(f"`{text}` is no time; write it like 2026-11-23T14:30 or 2026-11-23T14:30:00+01:00")
    # A naive time means what the clock on the wall showed, with that day's summer time.
    found = found.astimezone(UTC)
    if found > now:
        raise ValueError(f"{text} has not come yet: it is {now.isoformat(timespec='seconds')}")
    return found


def write(moment: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read(text: str) -> datetime:
    """What `write` wrote, or what `to_json` of a timestamptz says."""
    return datetime.fromisoformat(text).astimezone(UTC)


def now() -> datetime:
    return datetime.now(UTC)
