"""The files behind virtual disks: raw and sparse, so that a test can hash what a machine saw."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from homelab_provision.doors.process import run
from homelab_provision.site.virtual import Content, LabDisk

_MIB = 2**20
_CHUNK = _MIB
_LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
# Any fixed moment: a decoy made twice is the same disk.
_MADE_AT = 1_700_000_000


def make_disk(disk: LabDisk, path: Path) -> None:
    """Make the file of `disk` unless it is there. A file that is there has been made completely."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.truncate(disk.capacity)
    if disk.content is Content.DECOY:
        _fill_decoy(disk, unfinished)
    unfinished.rename(path)


def _fill_decoy(disk: LabDisk, path: Path) -> None:
    """A disk that somebody would miss: one GPT partition, ext4, with files in it. Nothing is mounted for it."""
    layout = decoy_layout(disk)
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path], input=layout, deadline=60)
    with tempfile.TemporaryDirectory() as scratch:
        names = _write_keepsakes(disk, Path(scratch))
        command = ["mkfs.ext4", "-q", "-F", "-L", "keepsakes", "-U", str(_id(disk, "filesystem")),
                   "-E", f"offset={_MIB},root_owner=0:0,hash_seed={_id(disk, 'hash')}",
                   "-d", scratch, str(path), str(decoy_partition_bytes(disk) // 1024)]  # fmt: skip
        run(command, deadline=300, env={"E2FSPROGS_FAKE_TIME": str(_MADE_AT)})
    # mkfs copies the one time stamp of a file that nobody can set.
    clock = [f"set_current_time @{_MADE_AT}", *(f"set_inode_field /{name} ctime @{_MADE_AT}" for name in names)]
    run(["debugfs", "-w", "-f", "-", f"{path}?offset={_MIB}"], deadline=60, input="\n".join(clock) + "\n")


def decoy_partition_bytes(disk: LabDisk) -> int:
    """The partition's size: all but a MiB on either side, in whole MiB."""
    return (disk.capacity // _MIB - 2) * _MIB


def decoy_layout(disk: LabDisk) -> str:
    """What sfdisk is told for a decoy."""
    return (
        f"label: gpt\nlabel-id: {_id(disk, 'table')}\n"
        f"start=1MiB, size={decoy_partition_bytes(disk) // _MIB}MiB, type={_LINUX_DATA},"
        f' uuid={_id(disk, "partition")}, name="keepsakes"\n'
    )


def _write_keepsakes(disk: LabDisk, folder: Path) -> list[str]:
    """Files worth keeping, below `folder`; returns their names and those of the folders."""
    chance = random.Random(disk.serial)
    files = {
        "README": b"Everything on this disk is missed by somebody. No rebuild may ever touch it.\n",
        "thesis/chapter-1.tex": b"\\chapter{What nobody had backed up}\n" * 200,
        "photos/2019-08-17.raw": chance.randbytes(6 * _MIB),
        "photos/2021-01-02.raw": chance.randbytes(3 * _MIB),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    everything = [folder, *sorted(folder.rglob("*"))]
    for path in everything:
        os.utime(path, (_MADE_AT, _MADE_AT))
    return [str(path.relative_to(folder)) for path in everything]


def _id(disk: LabDisk, purpose: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"decoy/{disk.serial}/{purpose}")


def digest(path: Path) -> str:
    """SHA-256 over everything in the file that is not zero, and where it stands.

    Equal for equal content, whether zeros are written or holes; quick for a large disk that is nearly empty.
    """
    total = hashlib.sha256(str(path.stat().st_size).encode())
    zeros = bytes(_CHUNK)
    with path.open("rb") as file:
        for offset in _chunks_with_data(file.fileno()):
            chunk = os.pread(file.fileno(), _CHUNK, offset)
            if chunk != zeros[: len(chunk)]:
                total.update(offset.to_bytes(8, "big"))
                total.update(chunk)
    return total.hexdigest()


def _chunks_with_data(descriptor: int) -> Iterator[int]:
    """Offsets of the aligned chunks that are not entirely a hole."""
    offset = 0
    while True:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        offset = offset // _CHUNK * _CHUNK
        yield offset
        offset += _CHUNK
