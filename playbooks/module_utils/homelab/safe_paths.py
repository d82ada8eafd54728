"""Ways through the file system that only root decides about.

A module works as root in directories that belong to services. Whoever may write there can put a link in the place of
a directory, and root would follow it to wherever it leads. So every part of a path is opened by its name in the one
before it, without following; a link counts only if root has laid it where nobody else could.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Iterator

MOST_LINKS = 40  # as the kernel (path_resolution(7))
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Root, and whoever runs a test.
TRUSTED = frozenset({0, os.geteuid()})


class StrangeLinkError(OSError):
    """A part of a path is a link that somebody else than root may have laid; the text names it and its owner."""


@contextlib.contextmanager
def parent_of(path: str, make: bool = False) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that holds `path` (absolute), and the name of `path` in it.

    With `make`, missing directories on the way are made, root's, 0755. Raises `StrangeLinkError`, and `OSError` as
    `os.open` does.
    """
    *parts, name = [part for part in path.split("/") if part]
    handle = _walk(path, parts, make)
    try:
        yield handle, name
    finally:
        os.close(handle)


def _walk(path: str, parts: list[str], make: bool) -> int:
    handle, links, todo = os.open("/", DIRECTORY), 0, list(parts)
    try:
        while todo:
            part = todo.pop(0)
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=handle)
            found = os.stat(part, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                target = os.readlink(part, dir_fd=handle)
                _require_roots(handle, found, path, part, target)
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                todo = [each for each in target.split("/") if each] + todo
                if target.startswith("/"):
                    handle = _exchange(handle, os.open("/", DIRECTORY))
                continue
            handle = _exchange(handle, os.open(part, DIRECTORY, dir_fd=handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _exchange(old: int, new: int) -> int:
    os.close(old)
    return new


def _require_roots(handle: int, link: os.stat_result, path: str, part: str, target: str) -> None:
    folder = os.fstat(handle)
    open_to_others = folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX
    if link.st_uid in TRUSTED and folder.st_uid in TRUSTED and not open_to_others:
        return
    raise StrangeLinkError(
        errno.ELOOP,
        f"{path} leads through the link {part} -> {target}, which belongs to {owner_of(link)}: nothing was followed or "
        "changed; look who laid it there, and put the directory back",
    )


def owner_of(found: os.stat_result) -> str:
    """The name of an owner, or his number."""
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(found.st_uid).pw_name
    return str(found.st_uid)
