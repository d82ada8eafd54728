"""Where partitions lie: sizes, alignment, data that stays, disks that are too small."""

from __future__ import annotations

import pytest

from homelab_provision.image.layout import (
    BACKUP_GPT_SECTORS,
    DATA,
    ESP,
    GIB,
    MIB,
    ROOT,
    SECTOR,
    KeptData,
    Layout,
    LayoutError,
    kept_data,
    plan_layout,
)

FS = GIB


def _assert_sound(layout: Layout) -> None:
    end = 0
    for partition in layout.partitions:
        assert partition.start >= end
        assert partition.offset_bytes % MIB == 0
        end = partition.start + partition.sectors
    assert end <= layout.disk_sectors - BACKUP_GPT_SECTORS


@pytest.mark.parametrize("disk", [256 * 10**9, 128 * 10**9, 16 * GIB, int(14.7 * GIB), 8 * GIB, 4 * GIB + 12345])
def test_partitions_are_aligned_and_inside_the_disk(disk: int) -> None:
    layout = plan_layout(disk, FS)
    _assert_sound(layout)
    assert [p.name for p in layout.partitions] == [ESP, ROOT, DATA]
    assert layout.root.size_bytes <= disk // 2


def test_root_gets_twelve_gib_and_data_the_rest() -> None:
    layout = plan_layout(256 * 10**9, FS)
    assert layout.esp.size_bytes == 256 * MIB
    assert layout.root.size_bytes == 12 * GIB
    assert layout.data.size_bytes > 225 * GIB


def test_one_identity_gives_one_table_and_another_gives_another() -> None:
    first, again, other = (plan_layout(16 * GIB, FS, identity=name) for name in ("run-1", "run-1", "run-2"))
    assert first == again
    assert {p.uuid for p in first.partitions}.isdisjoint(p.uuid for p in other.partitions)
    assert plan_layout(16 * GIB, FS) != plan_layout(16 * GIB, FS)


@pytest.mark.parametrize("disk", [0, 64 * MIB, 2 * GIB, 2 * GIB + 900 * MIB])
def test_a_small_disk_is_refused_with_numbers(disk: int) -> None:
    with pytest.raises(LayoutError, match=r"too small: root would get .* needs 1\.5 GiB"):
        plan_layout(disk, FS)


def test_kept_data_stays_where_it_is() -> None:
    keep = KeptData(start=9_000_000, sectors=20_000_000, uuid="AA" * 16)
    layout = plan_layout(16 * GIB, FS, keep=keep, identity="x")
    assert (layout.data.start, layout.data.sectors, layout.data.uuid) == (keep.start, keep.sectors, keep.uuid)
    assert layout.root.start + layout.root.sectors <= keep.start


@pytest.mark.parametrize(
    "keep",
    [
        KeptData(start=2048, sectors=100_000, uuid="x"),
        KeptData(start=1_000_000, sectors=16 * GIB // SECTOR, uuid="x"),
        KeptData(start=700_000, sectors=1_000_000, uuid="x"),
    ],
)
def test_kept_data_in_the_way_is_refused(keep: KeptData) -> None:
    with pytest.raises(LayoutError):
        plan_layout(16 * GIB, FS, keep=keep)


def test_the_script_says_every_number() -> None:
    layout = plan_layout(16 * GIB, FS, identity="x")
    script = layout.sfdisk_script()
    assert script.startswith(f"label: gpt\nlabel-id: {layout.label_id}\n")
    for part in layout.partitions:
        assert f"\n{part.number} : start={part.start}, size={part.sectors}, type={part.type_guid}, " in script
        assert f"uuid={part.uuid}" in script
        assert f'name="{part.name}"' in script


def test_own_layout_is_recognised_in_the_facts() -> None:
    layout = plan_layout(16 * GIB, FS, identity="x")
    partitions = [
        {
            "number": p.number,
            "name": p.name,
            "start": p.start,
            "size_bytes": p.size_bytes,
            "uuid": p.uuid,
            "signatures": [{"type": "ext4", "label": p.name}],
        }
        for p in layout.partitions
    ]
    data = layout.data
    assert kept_data({"partitions": partitions[::-1]}) == KeptData(data.start, data.sectors, data.uuid)
    assert kept_data({"partitions": partitions[:2]}) is None
    assert kept_data({"partitions": [{**partitions[0], "name": None}, *partitions[1:]]}) is None
    assert kept_data({}) is None
    for signatures in ([], [{"type": "ext4", "label": "home"}], [{"type": "zfs_member", "label": DATA}]):
        assert kept_data({"partitions": [*partitions[:2], {**partitions[2], "signatures": signatures}]}) is None
