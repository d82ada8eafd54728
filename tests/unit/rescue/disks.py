"""Small disks, images and plans for the writer."""

from __future__ import annotations

import hashlib
import json
import os
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from homelab_provision.doors.process import run
from homelab_provision.image.layout import (
    BACKUP_GPT_SECTORS,
    DATA,
    DATA_TYPE,
    ESP,
    ESP_TYPE,
    ROOT,
    ROOT_TYPE,
    SECTOR,
    Layout,
    Partition,
)

MIB = 2**20
SERIAL = "S3YJNX0K-42"


@dataclass(frozen=True)
class Disk:
    device: Path
    backing: Path
    size: int

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        with self.backing.open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def digest(self, start: int = 0, length: int | None = None) -> str:
        return hashlib.sha256(self.read(start, length)).hexdigest()

    def partition(self, layout: Layout) -> None:
        """Give the disk a table, as an earlier flash did."""
        run(["sfdisk", "--quiet", "--wipe", "never", self.device], input=layout.sfdisk_script(), deadline=20)

    def tables(self) -> list[str]:
        """Every partition table that is still to be found, the backup copy at the end included."""
        shown = run(["wipefs", "--json", "--output", "DEVICE,OFFSET,TYPE", self.device], deadline=20).stdout
        return [mark["type"] for mark in json.loads(shown)["signatures"]]


class MakeDisk(Protocol):
    def __call__(self, size: int, *, filled: bool = True) -> Disk: ...


def small_layout(size: int, *, spare: int = 0) -> Layout:
    """ESP of 2 MiB, root of 4 MiB, and data up to `spare` sectors before the backup table, where it is not aligned."""
    guid = "00000000-0000-4000-8000-00000000000{}".format
    start, sectors = 7 * MIB // SECTOR, size // SECTOR
    return Layout(
        sectors,
        guid(0),
        (
            Partition(1, ESP, ESP_TYPE, 1 * MIB // SECTOR, 2 * MIB // SECTOR, guid(1)),
            Partition(2, ROOT, ROOT_TYPE, 3 * MIB // SECTOR, 4 * MIB // SECTOR, guid(2)),
            Partition(3, DATA, DATA_TYPE, start, sectors - BACKUP_GPT_SECTORS - spare - start, guid(3)),
        ),
    )


@dataclass(frozen=True)
class Piece:
    """An extent and what it holds."""

    partition: str
    offset: int
    content: bytes


def pieces() -> list[Piece]:
    """A made-up image: pieces of several sizes, in both partitions, up to the very end of root."""
    noise = random.Random(5070)
    places = ((ESP, 0, 4096), (ESP, MIB, 256 * 1024), (ROOT, 0, MIB), (ROOT, 4 * MIB - 8192, 8192))
    return [Piece(partition, offset, noise.randbytes(length)) for partition, offset, length in places]


def packed(content: bytes, path: Path) -> Path:
    """The content as a payload."""
    plain = path.with_suffix(".plain")
    plain.write_bytes(content)
    run(["zstd", "--quiet", "--force", plain, "-o", path], deadline=20)
    return path


def payload_of(image: Sequence[Piece], path: Path) -> Path:
    return packed(b"".join(piece.content for piece in image), path)


def plan_for(disk: Disk, layout: Layout, image: Sequence[Piece], **changes: Any) -> dict[str, Any]:
    """The plan as the controller writes it."""
    return {
        "disk": str(disk.device),
        "serial": SERIAL,
        "wwn": None,
        "size_bytes": disk.size,
        "run": "20261123T070000Z-db-wyse-4f1c",
        "host": "db-wyse",
        "keep_data": False,
        "layout": layout.as_plan(),
        "digest_algorithm": "crc32",
        "extents": [
            {
                "partition": piece.partition,
                "offset": piece.offset,
                "length": len(piece.content),
                "digest": f"{zlib.crc32(piece.content):08x}",
            }
            for piece in image
        ],
        "boot_label": "homelab",
        "stale_labels": [],
    } | changes


def make_data(disk: Disk, layout: Layout, folder: Path) -> None:
    """A data file system that an earlier host left in order."""
    data, made = layout.data, folder / "data.ext4"
    run(["mke2fs", "-q", "-t", "ext4", "-L", "mine", made, f"{data.size_bytes // 1024}k"], deadline=30)
    with disk.device.open("r+b") as device:
        device.seek(data.offset_bytes)
        device.write(made.read_bytes())
        device.flush()
        os.fsync(device.fileno())


def written_pieces(disk: Disk, layout: Layout, image: Sequence[Piece]) -> Iterator[bool]:
    """For each piece: does it stand where it belongs?"""
    starts = {part.name: part.offset_bytes for part in layout.partitions}
    for piece in image:
        yield disk.read(starts[piece.partition] + piece.offset, len(piece.content)) == piece.content
