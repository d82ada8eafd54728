"""Which backups are kept. The label says when each was made (UTC), and snapshots carry it as a tag."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from .config import Keep
from .records import moment_of


def kept(complete: Iterable[str], all_labels: Iterable[str], keep: Keep) -> set[str]:
    """The labels to keep: what the numbers keep of the complete backups, and what they keep of all there are.

    A week of backups that are not complete so pushes out no complete one, and records that were lost push out nothing.
    """
    return _chosen(complete, keep) | _chosen(all_labels, keep)


def _chosen(labels: Iterable[str], keep: Keep) -> set[str]:
    """The last of each of so many days, weeks and months in which there are any, as `restic forget` counts."""
    newest_first = sorted(set(labels), reverse=True)
    periods: list[tuple[int, Callable[[datetime], object]]] = [
        (keep.daily, lambda moment: moment.date()),
        (keep.weekly, lambda moment: moment.isocalendar()[:2]),
        (keep.monthly, lambda moment: (moment.year, moment.month)),
    ]
    chosen: set[str] = set()
    for number, period in periods:
        last: dict[object, str] = {}
        for label in newest_first:
            last.setdefault(period(moment_of(label)), label)
        chosen |= set([*last.values()][:number])
    return chosen


def prune_due(complete: Iterable[str], made: str) -> bool:
    """Whether `made` is the first complete backup of its week: pruning rewrites packs, and weighs on a NAS."""
    weeks = {moment_of(label).isocalendar()[:2] for label in complete if label < made}
    return moment_of(made).isocalendar()[:2] not in weeks
