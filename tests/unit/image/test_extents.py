"""Which bytes of a file system travel."""

from __future__ import annotations

import io
import struct

from homelab_provision.image.extents import ext4_spans, fat_spans, joined

DUMPE2FS = """\
Block count:              100
Block size:               4096
Group 0: (Blocks 0-49)
  Free blocks: 10-19, 30
  Free inodes: 12-99
Group 1: (Blocks 50-99)
  Free blocks: 60-99
"""


def test_ext4_is_what_no_group_calls_free() -> None:
    assert list(ext4_spans(DUMPE2FS)) == [(0, 40960), (81920, 40960), (31 * 4096, 29 * 4096)]


def test_a_full_ext4_ends_with_its_last_block() -> None:
    assert list(ext4_spans("Block count: 8\nBlock size: 4096\n  Free blocks: \n")) == [(0, 8 * 4096)]


def test_small_holes_are_bridged_and_long_spans_cut() -> None:
    pieces = joined([(0, 10), (15, 5), (100, 30)], bridge=10, maximum=16)
    assert list(pieces) == [(0, 16), (16, 4), (100, 16), (116, 14)]
    assert list(joined([])) == []


def test_nothing_allocated_is_left_out() -> None:
    spans = list(ext4_spans(DUMPE2FS))
    covered = {block for offset, length in joined(spans) for block in range(offset // 4096, (offset + length) // 4096)}
    assert covered >= {block for offset, length in spans for block in range(offset // 4096, (offset + length) // 4096)}


def test_fat_travels_up_to_its_last_cluster() -> None:
    sector, per_cluster, reserved, copies, fat_sectors = 512, 4, 32, 2, 8
    boot = bytearray(512)
    struct.pack_into("<HBHB", boot, 11, sector, per_cluster, reserved, copies)
    struct.pack_into("<I", boot, 36, fat_sectors)
    table = bytearray(fat_sectors * sector)
    for cluster, entry in ((0, 0x0FFFFFF8), (1, 0x0FFFFFFF), (2, 3), (3, 0x0FFFFFFF), (9, 0x0FFFFFFF)):
        struct.pack_into("<I", table, cluster * 4, entry)
    image = io.BytesIO(bytes(boot) + bytes((reserved - 1) * sector) + bytes(table) * 2)
    data_start = (reserved + copies * fat_sectors) * sector
    assert list(fat_spans(image)) == [(0, data_start + 8 * per_cluster * sector)]
