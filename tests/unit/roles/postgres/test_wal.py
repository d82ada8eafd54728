"""Positions, segments and timelines."""

from __future__ import annotations

import math

import pytest

from tests.unit.roles.postgres.repository_output import ARCHIVED, BIRTHS, HISTORIES, SIZE
from tests.unit.roles.programs import part

wal = part("wal")
Branch = wal.Branch


@pytest.mark.parametrize(("text", "position"), [("0/0", 0), ("0/7000120", 0x7000120), ("1A/FF", (0x1A << 32) + 0xFF)])
def test_positions_are_read_as_postgresql_writes_them(text: str, position: int) -> None:
    assert wal.parse_lsn(text) == position


@pytest.mark.parametrize(
    ("timeline", "number", "size", "name"),
    [
        (1, 7, SIZE, "000000010000000000000007"),
        (10, 0x129, SIZE, "0000000A0000000100000029"),
        (1, 5, 1 << 30, "000000010000000100000001"),
        (1, 4096, 1 << 20, "000000010000000100000000"),
    ],
)
def test_segments_are_named_as_postgresql_names_them(timeline: int, number: int, size: int, name: str) -> None:
    assert wal.segment_name(timeline, number, size) == name
    assert wal.segment_number(name, size) == number


def test_what_ends_on_a_boundary_lies_in_the_segment_before() -> None:
    assert wal.segment_before(0x12000000, SIZE) == 0x11
    assert wal.segment_before(0x12000001, SIZE) == 0x12


def test_lineage_is_the_way_from_the_first_timeline() -> None:
    assert wal.lineage(1, HISTORIES) == [Branch(1, None)]
    assert wal.lineage(3, HISTORIES) == [Branch(1, 0x12000000), Branch(2, 0x160243E8), Branch(3, None)]


def test_what_came_after_a_branch_does_not_lie_on_the_way() -> None:
    way = wal.lineage(3, HISTORIES)
    assert wal.lies_on(way, 1, 0x0F000120)
    assert wal.lies_on(way, 2, 0x160243E8)
    assert not wal.lies_on(way, 2, 0x160243E9)
    assert not wal.lies_on(way, 4, 0x10000000)
    assert wal.lies_on(way, 3, 0x99000000)


# Segments of timelines 1 and 2 came until each was left, those of 3 go on.
WRITTEN = [(BIRTHS[2] - 60, 1), (BIRTHS[2] - 10, 1), (BIRTHS[2] + 5, 2), (BIRTHS[3] - 5, 2), (BIRTHS[3] + 9, 3)]


@pytest.mark.parametrize(
    ("moment", "timeline"),
    [
        (BIRTHS[2] - 20, 1),
        (BIRTHS[2] - 1, 1),
        (BIRTHS[2], 2),
        (BIRTHS[3] - 0.5, 2),
        (BIRTHS[3] + 1e6, 3),
        (math.inf, 3),
    ],
)
def test_a_moment_belongs_to_the_timeline_that_was_written_then(moment: float, timeline: int) -> None:
    assert wal.timeline_at(moment, BIRTHS, WRITTEN) == timeline


def test_old_data_taken_back_into_use_are_the_way_on() -> None:
    back = [*WRITTEN, (BIRTHS[3] + 100, 2), (BIRTHS[3] + 200, 2)]
    assert wal.timeline_at(math.inf, BIRTHS, back) == 2
    assert wal.timeline_at(BIRTHS[3] + 150, BIRTHS, back) == 2
    assert wal.timeline_at(BIRTHS[3] + 5, BIRTHS, back) == 3


def test_an_empty_archive_is_that_of_the_first_timeline() -> None:
    assert wal.timeline_at(math.inf, {}, []) == 1


NAMES = [f"{timeline}00000000000000{tail}" for timeline, tails in ARCHIVED.items() for tail in tails]


@pytest.mark.parametrize(
    ("timeline", "left_out", "last"),
    [
        (3, (), "000000030000000000000017"),
        (2, (), "000000020000000000000016"),
        # Nothing of timeline 3 has reached the archive: its way ends on timeline 2, where it left.
        (3, ("00000003",), "000000020000000000000016"),
        # Segment 12 of timeline 1 would lie after the branch.
        (2, ("00000002",), "000000010000000000000011"),
    ],
)
def test_last_segment_of_a_way(timeline: int, left_out: tuple[str, ...], last: str) -> None:
    there = [name for name in [*NAMES, "000000010000000000000012"] if name[:8] not in left_out]
    assert wal.last_segment(wal.lineage(timeline, HISTORIES), there, SIZE) == last


def test_an_empty_archive_has_no_last_segment() -> None:
    assert wal.last_segment(wal.lineage(1, {}), [], SIZE) is None
