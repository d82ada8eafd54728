"""Write an initramfs archive (cpio, "newc"), as the kernel reads it.

Format: https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
Inodes are numbered in order and all times are zero, so that the same entries give the same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """A file, directory, symlink or device of the archive. `mode` holds type and permissions, as in `st_mode`."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str, permissions: int = 0o755) -> Entry:
    return Entry(name, stat.S_IFDIR | permissions)


def regular(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | permissions, data)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    return Entry(name, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive in pieces. Everything belongs to root."""
    for inode, entry in enumerate(entries, start=1):
        yield _header(entry, inode) + _padded(entry.data)
    yield _header(Entry(TRAILER, 0), 0)


def _header(entry: Entry, inode: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    return _padded(b"070701" + b"".join(b"%08x" % field for field in fields) + name)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
