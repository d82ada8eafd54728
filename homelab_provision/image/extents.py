"""Which parts of a fresh file system hold anything. Only these travel to a disk; the rest may be whatever it was."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from homelab_provision.image.layout import MIB

MAXIMUM_BYTES = 4 * MIB
# A hole smaller than this is cheaper to write than to skip.
BRIDGED_BYTES = 256 * 1024

Span = tuple[int, int]  # offset and length in bytes


def ext4_spans(dumpe2fs: str) -> Iterator[Span]:
    """Allocated blocks of an ext4 file system, from the output of `dumpe2fs`: all that is in no group's free list."""
    blocks = int(_field(dumpe2fs, "Block count"))
    size = int(_field(dumpe2fs, "Block size"))
    free = [
        (int(first), int(last or first))
        for line in re.findall(r"^  Free blocks: (.*)$", dumpe2fs, re.MULTILINE)
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line)
    ]
    position = 0
    for first, last in sorted(free):
        if first > position:
            yield position * size, (first - position) * size
        position = last + 1
    if position < blocks:
        yield position * size, (blocks - position) * size


def fat_spans(image: BinaryIO) -> Iterator[Span]:
    """The used start of a FAT32 file system that has been filled once: up to its last allocated cluster."""
    image.seek(0)
    boot = image.read(512)
    sector, per_cluster, reserved, copies = struct.unpack_from("<HBHB", boot, 11)
    (fat_sectors,) = struct.unpack_from("<I", boot, 36)
    image.seek(reserved * sector)
    entries = struct.iter_unpack("<I", image.read(fat_sectors * sector))
    last = max(number for number, (entry,) in enumerate(entries) if entry & 0x0FFFFFFF)
    data = (reserved + copies * fat_sectors) * sector
    yield 0, data + (last - 1) * per_cluster * sector  # clusters count from 2


def joined(spans: Iterable[Span], bridge: int = BRIDGED_BYTES, maximum: int = MAXIMUM_BYTES) -> Iterator[Span]:
    """The spans with small holes filled, cut into pieces of at most `maximum` bytes."""
    for offset, length in _bridged(spans, bridge):
        for start in range(offset, offset + length, maximum):
            yield start, min(maximum, offset + length - start)


def _bridged(spans: Iterable[Span], bridge: int) -> Iterator[Span]:
    current: Span | None = None
    for offset, length in spans:
        if current and offset - sum(current) < bridge:
            current = (current[0], offset + length - current[0])
        else:
            if current:
                yield current
            current = (offset, length)
    if current:
        yield current


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}:\s+(\S+)", text, re.MULTILINE)
    if not found:
        raise ValueError(f"dumpe2fs says no {name!r}")
    return found[1]
