"""The end of the archive is told from a gap, from a damaged segment, and from a repository that is silent."""

from __future__ import annotations

import pytest

from tests.unit.roles.postgres.repository_output import SIZE
from tests.unit.roles.programs import part

fetches = part("wal_requests")
Verdict = fetches.Verdict


def segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number:016X}"


def log(*entries: tuple[str, int]) -> str:
    return "".join(f"{name} {status}\n" for name, status in entries)


def judge(*entries: tuple[str, int], goal: int = 6) -> object:
    return fetches.judge(fetches.parse_fetches(log(*entries)), segment(goal), SIZE)


FIVE, SIX, SEVEN = (segment(number) for number in (5, 6, 7))


def test_history_files_and_half_a_line_do_not_count() -> None:
    read = fetches.parse_fetches(f"00000002.history 1\n{FIVE} 0\n{SIX} 1\n{SEVEN} 1")
    assert [(fetch.name, fetch.status) for fetch in read] == [(FIVE, 0), (SIX, 1)]
    assert fetches.fetched(read) == 1


def test_the_end_is_where_the_segment_after_the_goal_is_missing_twice() -> None:
    assert judge((FIVE, 0), (SIX, 0), (SEVEN, 1)) is Verdict.MOVING
    assert judge((FIVE, 0), (SIX, 0), (SEVEN, 1), (SEVEN, 1)) is Verdict.ENDED


def test_a_goal_that_came_late_is_not_the_end_yet() -> None:
    assert judge((FIVE, 0), (SIX, 1), (SIX, 1), (SIX, 0)) is Verdict.MOVING


def test_the_end_may_be_a_record_that_goes_on_in_a_segment_that_never_came() -> None:
    assert judge((FIVE, 0), (SIX, 0), (SEVEN, 1), (SIX, 0), (SEVEN, 1)) is Verdict.ENDED


def test_the_end_may_be_a_branch_whose_own_segment_never_came() -> None:
    branch = segment(6, timeline=2)
    assert judge((FIVE, 0), (SIX, 0), (branch, 1), (branch, 1)) is Verdict.ENDED


def test_a_missing_segment_before_the_goal_is_a_gap_and_not_the_end() -> None:
    assert judge((FIVE, 0), (SIX, 1), (SIX, 1), goal=7) is Verdict.MOVING
    assert judge((FIVE, 0), *[(SIX, 1)] * 10, goal=7) is Verdict.GAP


def test_segments_on_newer_timelines_may_be_missing_on_the_way() -> None:
    newer = [(segment(number, timeline=2), 1) for number in (3, 4, 5)]
    assert judge(*newer, (FIVE, 0), goal=7) is Verdict.MOVING


def test_a_segment_that_is_fetched_again_and_again_is_damaged() -> None:
    assert judge((FIVE, 0), *[(SIX, 0)] * 10) is Verdict.DAMAGED


@pytest.mark.parametrize("before", [(), ((FIVE, 0), (SIX, 0), (SEVEN, 1), (SEVEN, 1))])
def test_a_silent_repository_is_never_the_end(before: tuple[tuple[str, int], ...]) -> None:
    assert judge(*before, (SEVEN, 126)) is Verdict.UNREADABLE
