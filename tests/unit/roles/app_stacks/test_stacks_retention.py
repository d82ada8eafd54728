"""Which backups are kept, and when it is time to prune."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.roles.programs import stacks

retention = stacks("retention")
Keep = stacks("config").Keep
records = stacks("records")
# A Thursday.
TODAY = datetime(2026, 11, 26, 2, 10, tzinfo=UTC)


def label(days: float) -> str:
    return str(records.label_of(TODAY - timedelta(days=days)))


def kept(days: list[float], complete: list[float] | None = None, **numbers: int) -> list[float]:
    keep = Keep(**{"daily": 0, "weekly": 0, "monthly": 0, **numbers})
    ours = [label(each) for each in (days if complete is None else complete)]
    found = retention.kept(ours, [label(each) for each in days], keep)
    return [each for each in days if label(each) in found]


def test_labels_are_moments() -> None:
    assert label(0) == "20261126-021000F"
    assert records.moment_of(label(0)) == TODAY


def test_the_last_of_a_day_is_kept() -> None:
    assert kept([2, 1.01, 1, 0.05, 0], daily=2) == [1, 0]


def test_days_without_a_backup_do_not_count() -> None:
    assert kept([30, 20, 10], daily=2) == [20, 10]


def test_weeks_end_on_sunday() -> None:
    assert kept([11, 5, 4, 3, 0], weekly=2) == [4, 0]


def test_months_and_days_add_up() -> None:
    assert kept([400, 60, 30, 1, 0], daily=2, monthly=3) == [60, 30, 1, 0]


@pytest.mark.negative
def test_backups_that_are_not_complete_push_out_no_complete_one() -> None:
    assert kept([9, 8, 3, 2, 1, 0], complete=[9, 8], daily=3) == [9, 8, 2, 1, 0]


@pytest.mark.negative
def test_records_that_were_lost_push_out_nothing() -> None:
    assert kept([2, 1, 0], complete=[0], daily=3) == [2, 1, 0]


@pytest.mark.parametrize(("before", "due"), [([], True), ([4], True), ([3], False), ([7.1, 0.5], False), ([365], True)])
def test_pruning_is_due_once_a_week(before: list[float], due: bool) -> None:
    assert retention.prune_due([label(each) for each in [*before, 0]], label(0)) is due
