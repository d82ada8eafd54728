"""Files and directories of this computer: reading and replacing small ones, our own and those that a person wrote;
locks; and private directories for as long as something takes.

Somebody may have put a pipe, a device or a directory in the place of a file, or let it grow; half of it may be
missing. Everything that is wrong is an `OSError` that names the file, so that it can be told like a full disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST = 64 * 2**20  # bytes; nothing that is read as a whole comes near
_KINDS = {
    stat.S_IFDIR: (errno.EISDIR, "a directory"),
    stat.S_IFIFO: (errno.EINVAL, "a pipe"),
    stat.S_IFSOCK: (errno.EINVAL, "a socket"),
    stat.S_IFCHR: (errno.EINVAL, "a device"),
    stat.S_IFBLK: (errno.EINVAL, "a device"),
}
# A private directory: its name once its lock is held, its name before, its lock.
OURS, UNLOCKED = "hlp-", ".hlp-new-"
LOCK = "lock"


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The content of a regular file. Raises `OSError` also for anything else, and for one of more than `most` bytes.

    Never waits: a pipe without a writer is refused, not read.
    """
    with naming(path), os.fdopen(open_regular(path, os.O_RDONLY), "rb") as handle:
        content = handle.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MiB", os.fspath(path))
    return content


def read_text(path: Path, most: int = MOST) -> str:
    """The same as text in UTF-8."""
    content = read_bytes(path, most)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise OSError(errno.EILSEQ, f"not text in UTF-8 (line {line})", os.fspath(path)) from None


def read_end(path: Path, most: int) -> str:
    """The last `most` bytes of a file as text, whatever they are: of a log that a machine writes."""
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as handle:
        handle.seek(max(os.fstat(handle.fileno()).st_size - most, 0))
        return handle.read(most).decode(errors="replace")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of a descriptor says what, but not where: it gets the name of its file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


def exists(path: Path) -> bool:
    """Whether something has this name, be it a link to nothing. Raises `OSError` where that cannot be seen."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def replace(path: Path, content: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Put `content` in the place of a file, whole or not at all, also through a power cut. A link stays a link.

    `owner` are the numbers of its user and group; without it, it is ours.
    """
    path = Path(os.path.realpath(path))
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(draft).unlink()
        raise
    settle(path.parent)


def rewrite(path: Path, content: bytes) -> None:
    """The same for a file that is there and stays whose it is, as open as it is. Only root can give files away."""
    before = path.stat()
    owner = (before.st_uid, before.st_gid) if os.geteuid() == 0 else None
    replace(path, content, stat.S_IMODE(before.st_mode), owner)


def settle(folder: Path) -> None:
    """See to it that the names in a directory are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock that the file `path` stands for; wait for who has it. The kernel releases it with its holder."""
    handle = open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """A descriptor of a regular file, closed in children. Raises `OSError` for anything else, and does not wait."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        number, what = _KINDS.get(kind, (errno.EINVAL, "something else"))
        raise OSError(number, f"a file is wanted, and this is {what}", os.fspath(path))
    return descriptor


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for as long as something takes, with secrets in it perhaps: only we can enter it, and it is empty but
    for its lock. One that was left by a process that was killed is removed by the next that needs one.

    Its path is short: a socket's name may have no more than 108 characters.
    """
    _sweep()
    made = Path(tempfile.mkdtemp(prefix=UNLOCKED))
    folder = made.with_name(OURS + made.name.removeprefix(UNLOCKED))
    with (made / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(folder)  # only what is locked has the name that is swept up
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what killed processes have left: what is locked by nobody."""
    for folder in Path(tempfile.gettempdir()).glob(f"{OURS}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
