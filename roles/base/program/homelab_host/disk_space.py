"""Room on the disk of the data: never so little that what runs there suffers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Trouble

# What is left to whoever runs on the same disk (a cluster: some segments of WAL), but of a small disk only that part.
RESERVE, RESERVE_PART = 256 << 20, 20
# How every program says it, but for capitals.
FULL = "No space left on device"


def free(path: Path) -> int:
    """Bytes that the account may still use on the file system of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def reserve(path: Path) -> int:
    found = os.statvfs(path)
    return min(RESERVE, found.f_blocks * found.f_frsize // RESERVE_PART)


def used(folder: Path) -> int:
    """Bytes on the disk below a folder; 0 if it is not there."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118 - one Path per file is slow
            except FileNotFoundError:
                continue
    return total


def shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def check(disk: Path) -> None:
    """Raise `Full` before the disk is."""
    if free(disk) < reserve(disk):
        raise full(disk, None)


@contextmanager
def explained(disk: Path) -> Iterator[None]:
    """Whatever fails because the disk is full is raised as `Full`."""
    try:
        yield
    except Full:
        raise
    except Trouble as trouble:
        if free(disk) >= reserve(disk) and FULL.lower() not in f"{trouble.evidence}".lower():
            raise
        raise full(disk, trouble.evidence) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise full(disk, None) from None


class Full(Trouble):
    """The disk is full, or nearly."""


def full(disk: Path, evidence: str | None) -> Full:
    hint = "make room, then run the same command again"
    return Full(f"the disk of {disk} has become full; nothing was replaced", hint, evidence)
