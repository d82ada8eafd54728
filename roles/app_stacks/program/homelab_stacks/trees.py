"""Trees of files that others have made: counted, removed and exchanged without following a link in them."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from homelab_host.errors import Trouble

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


def count(tree: Path) -> tuple[int, int]:
    """Regular files, each link counted, and their bytes: what restic counts. A single file is a tree, too."""
    files = total = 0
    for path in _files(tree):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode):
            files, total = files + 1, total + found.st_size
    return files, total


def _files(tree: Path) -> Iterator[str]:
    if not tree.is_dir() or tree.is_symlink():
        yield from [str(tree)] if os.path.lexists(tree) else []
        return
    for root, _, names in os.walk(tree):
        yield from (f"{root}/{name}" for name in names)


def remove(tree: Path) -> None:
    """Remove it; nothing is wrong if it is not there."""
    with suppress(FileNotFoundError):
        if tree.is_dir() and not tree.is_symlink():
            shutil.rmtree(tree)
        else:
            tree.unlink()


def identity(base: Path, path: str) -> int | None:
    """The inode of what has this path below `base`; `None` if there is nothing, or a link on the way."""
    try:
        with _parent(base, path, make=False) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None


def exchange(new: Path, base: Path, path: str) -> None:
    """Put what lies at `path` below `new` to the same path below `base`, and what was there into its place, at once."""
    with _parent(new, path, make=False) as (source, name), _parent(base, path, make=True) as (target, _):
        try:
            os.stat(name, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        else:
            if _LIBC.renameat2(source, os.fsencode(name), target, os.fsencode(name), _EXCHANGE):
                number = ctypes.get_errno()
                raise Trouble(
                    f"{base / path} cannot be replaced: {os.strerror(number)}",
                    "a path that is kept may not be a mount of its own: name what lies below it",
                )
        os.fsync(target)


@contextmanager
def _parent(base: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The directory in which `path` lies below `base`, as a descriptor, and its name there; no link is followed."""
    parts = PurePosixPath(path).parts
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(base, flags)
    try:
        for part in parts[:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder)
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, parts[-1]
    finally:
        os.close(folder)
