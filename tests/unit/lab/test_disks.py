"""The files behind disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from homelab_provision.lab.disks import decoy_layout, decoy_partition_bytes, digest, make_disk
from homelab_provision.site.virtual import LabDisk

MIB = 2**20


def disk(**changes: object) -> LabDisk:
    return LabDisk.model_validate({"name": "system", "serial": "S1", "size_bytes": "64 MiB", **changes})


def test_a_blank_disk_costs_no_space_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "disks/system.raw"
    make_disk(disk(size_bytes="256 GB"), path)
    assert path.stat().st_size == 256 * 10**9
    assert path.stat().st_blocks == 0
    path.write_bytes(b"something")
    make_disk(disk(), path)
    assert path.read_bytes() == b"something"
    assert [entry.name for entry in path.parent.iterdir()] == ["system.raw"]


def test_the_digest_sees_content_and_place_but_not_how_zeros_are_kept(tmp_path: Path) -> None:
    written, holes, moved, longer = (tmp_path / name for name in ("written", "holes", "moved", "longer"))
    for path, offset, size in ((holes, 5 * MIB, 16), (moved, 6 * MIB, 16), (longer, 5 * MIB, 17)):
        with path.open("wb") as file:
            file.truncate(size * MIB)
            file.seek(offset)
            file.write(b"precious")
    written.write_bytes(bytes(5 * MIB) + b"precious" + bytes(11 * MIB - 8))
    assert digest(written) == digest(holes)
    assert len({digest(path) for path in (holes, moved, longer)}) == 3


def test_one_flipped_bit_at_the_very_end_changes_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(3 * MIB + 512))
    before = digest(path)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert digest(path) != before


def test_a_decoy_has_a_partition_inside_its_disk() -> None:
    decoy = disk(content="decoy")
    assert decoy_partition_bytes(decoy) == 62 * MIB
    assert "start=1MiB, size=62MiB" in decoy_layout(decoy)
    assert decoy_layout(decoy) == decoy_layout(decoy)
    assert decoy_layout(decoy) != decoy_layout(disk(content="decoy", serial="S2"))


@pytest.mark.processes
def test_a_decoy_is_the_same_disk_every_time(tmp_path: Path) -> None:
    decoy = disk(content="decoy")
    for name in ("one", "two"):
        make_disk(decoy, tmp_path / name)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    content = (tmp_path / "one").read_bytes()
    assert content[512:520] == b"EFI PART"
    assert b"missed by somebody" in content
