"""Where the partitions of a machine's disk lie: ESP, root, and `/srv`.

Pure arithmetic, in sectors of 512 bytes. The same layout makes the whole-disk image for tests and the
table that the flash writes last. Our own disks are recognised by the partition names below.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from homelab_provision.errors import Refused

ESP, ROOT, DATA = "hlp-esp", "hlp-root", "hlp-srv"
NAMES = (ESP, ROOT, DATA)

# Discoverable Partitions Specification, https://uapi-group.org/specifications/specs/discoverable_partitions_specification/
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
DATA_TYPE = "3B8F8425-20E0-4F3B-907F-1A25A76F98E8"

SECTOR = 512
MIB = 1024 * 1024
GIB = 1024 * MIB
ALIGNMENT = MIB // SECTOR
ESP_BYTES = 256 * MIB
ROOT_BYTES = 12 * GIB
# Room that root must have beyond the image, for logs and upgrades, before a disk counts as big enough.
ROOT_SPARE_BYTES = 512 * MIB
DATA_MINIMUM_BYTES = 64 * MIB
# The backup table: one sector of header and 32 of entries at the very end of the disk.
BACKUP_GPT_SECTORS = 33


class LayoutError(Refused):
    """The image does not fit on this disk, or not around the data that has to stay."""


@dataclass(frozen=True)
class Partition:
    """One partition; `start` and `sectors` in sectors of 512 bytes, `uuid` the GPT partition GUID."""

    number: int
    name: str
    type_guid: str
    start: int
    sectors: int
    uuid: str

    @property
    def offset_bytes(self) -> int:
        return self.start * SECTOR

    @property
    def size_bytes(self) -> int:
        return self.sectors * SECTOR


@dataclass(frozen=True)
class KeptData:
    """The data partition of the old table, which must come out of the flash exactly as it went in (sectors)."""

    start: int
    sectors: int
    uuid: str


@dataclass(frozen=True)
class Layout:
    """The partition table of a whole disk."""

    disk_sectors: int
    label_id: str
    partitions: tuple[Partition, ...]

    @property
    def esp(self) -> Partition:
        return self.partitions[0]

    @property
    def root(self) -> Partition:
        return self.partitions[1]

    @property
    def data(self) -> Partition:
        return self.partitions[2]

    def sfdisk_script(self) -> str:
        """What `sfdisk` reads to write this table."""
        head = f"label: gpt\nlabel-id: {self.label_id}\nunit: sectors\nsector-size: {SECTOR}\n"
        lines = [
            f'{p.number} : start={p.start}, size={p.sectors}, type={p.type_guid}, uuid={p.uuid}, name="{p.name}"'
            for p in self.partitions
        ]
        return "\n".join([head, *lines]) + "\n"

    def as_plan(self) -> dict[str, Any]:
        """The layout as the flash writer reads it (JSON)."""
        return {
            "disk_sectors": self.disk_sectors,
            "label_id": self.label_id,
            "partitions": [asdict(p) for p in self.partitions],
            "sfdisk_script": self.sfdisk_script(),
        }


def plan_layout(
    disk_bytes: int, root_fs_bytes: int, *, keep: KeptData | None = None, identity: str | None = None
) -> Layout:
    """Lay out a disk of `disk_bytes` for an image whose root file system has `root_fs_bytes`.

    Root gets 12 GiB, but no more than half of the disk; the rest is data. With `keep` the data partition stays where
    it is, and root gets what lies before it. The GUIDs are derived from `identity` (a run's id, so that a resumed
    run plans the same table), or random without one.

    Raises `LayoutError` if it does not fit.
    """
    seed = uuid.uuid5(uuid.NAMESPACE_OID, identity) if identity is not None else uuid.uuid4()

    def guid(name: str) -> str:
        return str(uuid.uuid5(seed, name)).upper()

    disk_sectors = disk_bytes // SECTOR
    esp_start, esp_sectors = ALIGNMENT, ESP_BYTES // SECTOR
    root_start = esp_start + esp_sectors
    end = _aligned_down(disk_sectors - BACKUP_GPT_SECTORS)
    if keep:
        _check_kept(keep, root_start, disk_sectors - BACKUP_GPT_SECTORS)
        root_sectors = min(_aligned_down(keep.start - root_start), ROOT_BYTES // SECTOR)
        data = Partition(3, DATA, DATA_TYPE, keep.start, keep.sectors, keep.uuid)
    else:
        root_sectors = min(ROOT_BYTES, disk_bytes // 2) // MIB * ALIGNMENT
        data_start = root_start + root_sectors
        data = Partition(3, DATA, DATA_TYPE, data_start, end - data_start, guid("data"))
    needed = root_fs_bytes + ROOT_SPARE_BYTES
    if root_sectors * SECTOR < needed or data.sectors * SECTOR < DATA_MINIMUM_BYTES:
        raise LayoutError(
            f"a disk of {disk_bytes / GIB:.1f} GiB is too small: root would get "
            f"{max(root_sectors, 0) * SECTOR / GIB:.1f} GiB and needs {needed / GIB:.1f} GiB",
            hint="choose a machine with a larger disk, or fewer packages in the image",
        )
    return Layout(
        disk_sectors,
        guid("disk"),
        (
            Partition(1, ESP, ESP_TYPE, esp_start, esp_sectors, guid("esp")),
            Partition(2, ROOT, ROOT_TYPE, root_start, root_sectors, guid("root")),
            data,
        ),
    )


def kept_data(disk: Mapping[str, Any]) -> KeptData | None:
    """The data partition to keep, from the facts of a disk (`rescue/facts.py`), or from the mark of a write that was to
    keep it and did not end.

    `None` if the disk does not have our own layout, or no file system of ours on its data partition.
    """
    if (mark := disk.get("unfinished")) and mark["alone"] and mark["keep"]:
        return KeptData(int(mark["keep"]["start"]), int(mark["keep"]["sectors"]), str(mark["keep"]["uuid"]))
    partitions: Sequence[Mapping[str, Any]] = disk.get("partitions", ())
    if [p.get("name") for p in sorted(partitions, key=lambda p: int(p["number"]))] != list(NAMES):
        return None
    data = next(p for p in partitions if p["name"] == DATA)
    if not any(s["type"] == "ext4" and s["label"] == DATA for s in data["signatures"]):
        return None
    return KeptData(start=int(data["start"]), sectors=int(data["size_bytes"]) // SECTOR, uuid=str(data["uuid"]).upper())


def _check_kept(keep: KeptData, root_start: int, last: int) -> None:
    if keep.start < root_start or keep.start + keep.sectors > last:
        raise LayoutError(
            f"the data partition to keep (sectors {keep.start} to {keep.start + keep.sectors}) does not leave room "
            "for the boot partitions or reaches beyond the disk",
            hint="back the data up and rebuild without --keep-data",
        )


def _aligned_down(sectors: int) -> int:
    return sectors // ALIGNMENT * ALIGNMENT
