"""The directory beneath a mount: made, looked at and released while the mount may be there, dead or not.

Nothing may be written into it while its share is away, so it is immutable: that stops root, too. It is reached
through a private copy of the mount that its parent lies on, which shows the parent as it is without what is
mounted on top. So a share that hangs is never touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

from ansible.module_utils.homelab import safe_paths
from ansible.module_utils.homelab_nas_mounts.spec import NasError, unescaped

# linux/fs.h, for machines of 64 bits; open_tree(2) has the same number on all of them.
GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10
OPEN_TREE, CLONE, CLOEXEC = 428, 1, os.O_CLOEXEC
AT_FDCWD = -100

MOUNTS = Path("/proc/self/mountinfo")
REMOTE = {"autofs", "nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"}


def mounted(text: str) -> dict[str, list[str]]:
    """What is mounted where, from the text of mountinfo: the types at each path, the one on top last."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        place, _, source = line.partition(" - ")
        found.setdefault(unescaped(place.split()[4]), []).append(source.split()[0])
    return found


def mounts_now() -> dict[str, list[str]]:
    """What is mounted where at this moment. The kernel tells; no file system is touched."""
    return mounted(MOUNTS.read_text())


def refuse_line_of_fstab(text: str, paths: Collection[str]) -> None:
    """A line for one of the paths is somebody else's: shares are not listed there (spec.py says why)."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) < 3 or words[0].startswith("#"):
            continue
        path = unescaped(words[1]).rstrip("/") or "/"
        if path in paths:
            raise NasError(
                f"/etc/fstab, line {number}, already mounts {path}: `{line.strip()}`. "
                "Remove that line, or take the path from nas_mounts"
            )


def refuse_remote_parent(path: str, mounts: dict[str, list[str]]) -> None:
    """A mount point on a share could neither be kept nor looked at while that share is away."""
    for parent in Path(path).parents:
        if types := mounts.get(str(parent)):
            if types[-1] in REMOTE:
                raise NasError(f"{path} would lie on {parent}, which is mounted from elsewhere ({types[-1]})")
            return


@contextlib.contextmanager
def parent_of(path: str) -> Iterator[int]:
    """A descriptor of the directory that holds `path`, in which nothing is mounted on `path`."""
    parent = Path(path).parent
    if str(parent.resolve()) != str(parent):
        raise NasError(f"{path} leads through a symbolic link; say {parent.resolve()}/{Path(path).name}")
    libc = ctypes.CDLL(None, use_errno=True)
    tree = libc.syscall(OPEN_TREE, AT_FDCWD, os.fsencode(parent), CLONE | CLOEXEC)
    if tree < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(parent))
    try:
        handle = os.open(".", safe_paths.DIRECTORY, dir_fd=tree)
    finally:
        os.close(tree)
    try:
        yield handle
    finally:
        os.close(handle)


def is_guarded(path: str) -> bool:
    """Whether the directory is there, and cannot be written to. Raises `NasError` for files that would be hidden."""
    if not Path(path).parent.is_dir():
        return False
    with parent_of(path) as parent:
        try:
            handle = os.open(Path(path).name, safe_paths.DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise NasError(f"{path} is no directory, so nothing can be mounted there") from None
            raise
        try:
            if inside := _names(handle):
                named = ", ".join(inside[:3])
                raise NasError(f"{path} has files of its own, which a mount would hide ({named}); move them away")
            return bool(_flags(handle) & IMMUTABLE) and stat.S_IMODE(os.fstat(handle).st_mode) == 0
        finally:
            os.close(handle)


def guard(path: str) -> None:
    """Make the directory, and make it one that nobody can write to."""
    with safe_paths.parent_of(path, make=True):
        pass  # missing directories on the way are made, and no link of somebody else is followed
    with parent_of(path) as parent:
        with contextlib.suppress(FileExistsError):
            os.mkdir(Path(path).name, 0o700, dir_fd=parent)
        handle = os.open(Path(path).name, safe_paths.DIRECTORY, dir_fd=parent)
        try:
            _set_flags(handle, _flags(handle) & ~IMMUTABLE, path)
            os.fchmod(handle, 0)  # nor can it be listed: to a program that copies, empty is not the same as away
            _set_flags(handle, _flags(handle) | IMMUTABLE, path)
        finally:
            os.close(handle)


def release(path: str) -> None:
    """Remove the directory, as far as it is there and empty."""
    if not Path(path).parent.is_dir():
        return
    with parent_of(path) as parent:
        try:
            handle = os.open(Path(path).name, safe_paths.DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            return
        try:
            _set_flags(handle, _flags(handle) & ~IMMUTABLE, path)
            if _names(handle):
                os.fchmod(handle, 0o755)
                return
        finally:
            os.close(handle)
        os.rmdir(Path(path).name, dir_fd=parent)


def _names(handle: int) -> list[str]:
    with os.scandir(handle) as entries:
        return sorted(entry.name for entry in entries)


def _flags(handle: int) -> int:
    try:
        flags = fcntl.ioctl(handle, GET_FLAGS, bytes(8))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            return 0
        raise
    return int(struct.unpack("l", flags)[0])


def _set_flags(handle: int, flags: int, path: str) -> None:
    if flags == _flags(handle):
        return
    try:
        fcntl.ioctl(handle, SET_FLAGS, struct.pack("l", flags))
    except OSError as error:
        why = {errno.EPERM: "this needs the capability LINUX_IMMUTABLE, which a container has to be given"}
        wrong = why.get(error.errno or 0, "its file system has no such attribute; choose a path on ext4, xfs or btrfs")
        raise NasError(
            f"{path} cannot be made immutable ({error.strerror}): {wrong}. Otherwise, what is written there "
            "while the share is away would disappear under it"
        ) from None
