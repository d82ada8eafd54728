"""Where a stick image may be written: a file, or a real USB stick, and nothing else.

The rules are pure: facts of a device are read from sysfs and procfs, refusals follow from the facts. The writing trusts
neither: it opens the device exclusively, compares what it holds with the facts, and reads back what it wrote.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from homelab_provision import files
from homelab_provision.errors import ProvisionError, Refused, UsageError
from homelab_provision.events import Emit, Progress, step
from homelab_provision.image.block_device import TargetFacts, describe_target
from homelab_provision.report.wording import bytes_text

CHUNK = 4 * 2**20
SYNC_EVERY = 16 * 2**20  # so that progress tells what is on the stick, not what is in the page cache
EDGE = 2**20  # the partition table at the front of a disk, its copy at the back
BLKFLSBUF = 0x1261  # linux/fs.h: forget what is cached of a block device


@dataclass(frozen=True)
class Rule:
    """What a stick is. `most_bytes`: what is called 256 GB has up to 256.1 · 10⁹ bytes; larger is no stick."""

    transports: frozenset[str] = frozenset({"usb"})
    most_bytes: int = 257 * 10**9
    serial_required: bool = True


STICK = Rule()
_TARGETS = "name a stick by its device (`lsblk -o NAME,TRAN,SIZE,SERIAL` shows /dev/…), or a file that ends in .img"
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISSOCK, "a socket"),
)


@dataclass(frozen=True)
class Written:
    """What was written and read back equal."""

    size_bytes: int
    sha256: str

    def __str__(self) -> str:
        return f"{bytes_text(self.size_bytes)} written and read back, sha256 {self.sha256}"


def is_device(path: Path) -> bool:
    """Whether `path` is a block device, or is meant to be one; links are followed, also those that lead nowhere."""
    real = path.resolve()
    return real.is_block_device() or (
        not real.exists() and real.is_relative_to("/dev") and not real.is_relative_to("/dev/shm")
    )


def find_target(named: Path, *, force: bool = False) -> Path | TargetFacts:
    """What the user named: a device, or a file, whose name ends in `.img`, so that a device that was misspelt makes
    none. Raises `UsageError` for what is neither, and `Refused` for a file that is there already, without `force`.
    """
    try:
        with suppress(FileNotFoundError):
            named.stat()  # newer versions of pathlib pass over names that no file can have, and links in a ring
        if is_device(named):
            return describe_target(named)
        if named.name.endswith(".img"):
            _require_free(named.resolve(), force)
            return named
        kind = _kind(named)
    except (OSError, RuntimeError, ValueError) as error:  # (links in a ring, names that no file can have)
        raise UsageError(f"{named} cannot be a stick: {error}", hint=_TARGETS) from None
    device = Path("/dev") / named.name
    raise UsageError(
        f"{named} is {kind or 'no device, and no name for the file of a stick'}",
        hint=f"did you mean {device}?" if not kind and device.is_block_device() else _TARGETS,
    )


def require_same(looked_at: TargetFacts, now: TargetFacts) -> None:
    """Refuse a device that is not the one that was looked at: sticks are pulled, and their names given to the next."""
    if differences := looked_at.differences(now):
        raise Refused(
            f"{looked_at.path} is not the device any more that was looked at; nothing was written",
            evidence="\n".join(differences),
            hint="leave the stick plugged in and start again",
        )


def refusals(facts: TargetFacts, image_bytes: int, serial: str | None, rule: Rule = STICK) -> list[str]:
    """Why a device must not be written; nothing if it may. `serial` is what the user typed to confirm it.

    To learn what no confirmation can mend, before asking for one: `refusals(facts, image_bytes, facts.serial)`.
    """
    device = f"{facts.path}"
    found: list[str] = []
    if facts.system:
        found.append(f"{device} is on the disk that carries the running system")
    if not facts.whole_disk:
        disk = re.sub(r"p?\d+$", "", device)
        found.append(f"{device} is a partition, not a whole disk (that may be {disk})")
    if facts.transport not in rule.transports:
        found.append(f"{device} is not a USB stick: it hangs on {facts.transport}")
    if facts.read_only:
        found.append(f"{device} is read-only (some sticks have a switch)")
    if facts.size_bytes == 0:
        found.append(f"{device} is empty: a reader without a card")
    elif facts.size_bytes < image_bytes:
        found.append(f"{device} is too small: {bytes_text(facts.size_bytes)} for {bytes_text(image_bytes)}")
    elif facts.size_bytes > rule.most_bytes:
        found.append(f"{device} is too large to be a stick: {bytes_text(facts.size_bytes)}")
    found += [f"{device} is in use: mounted at {point}" for point in facts.mounts]
    found += [f"{device} is in use: swap on {swap}" for swap in facts.swaps]
    found += [f"{device} is in use: held by {holder}" for holder in facts.holders]
    if rule.serial_required:
        found += _unconfirmed(facts, serial)
    return found


def _unconfirmed(facts: TargetFacts, serial: str | None) -> list[str]:
    if not facts.serial:
        return [f"{facts.path} has no serial number: beside its port, model and size nothing tells it from another"]
    if serial == facts.serial:
        return []
    said = f"`{serial}`" if serial else "nothing"
    note = "" if facts.removable else "; it does not call itself removable, so it may be a disk with your data"
    return [f"{facts.path} was not confirmed: its serial number is `{facts.serial}`, given was {said}{note}"]


def write_stick(source: Path, target: Path | TargetFacts, emit: Emit, *, force: bool = False) -> Written:
    """Write the image `source` to a file (all or nothing, mode 0600) or to a device that `refusals` has let through.

    `force` replaces an existing file. On a device, the front is written last, so that an interrupted
    stick does not boot, and an older partition table's copy at the end is erased. Raises `Refused`, `ProvisionError`.
    """
    try:
        if isinstance(target, TargetFacts):
            return _write_device(source, target, emit)
        return _write_file(source, target, emit, force)
    except PermissionError as error:
        named = target.path if isinstance(target, TargetFacts) else target
        raise ProvisionError(
            f"{named} cannot be written: {error.strerror}", hint=f'give yourself access: sudo chown "$USER" {named}'
        ) from error
    except OSError as error:
        raise ProvisionError(f"writing the stick failed: {error}") from error


def _write_file(source: Path, target: Path, emit: Emit, force: bool) -> Written:
    target = target.resolve()
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the image itself")
    _require_free(target, force)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # made with mode 0600
    draft = Path(name)
    try:
        written = _read_back(handle, _copy(source, handle, emit), emit)
        draft.replace(target)
        files.settle(target.parent)
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)
    return written


def _require_free(target: Path, force: bool) -> None:
    """See that a file may be written here. Without `force` none is replaced: an image may be somebody's disk."""
    if kind := _kind(target):
        raise UsageError(f"{target} is {kind}", hint=_TARGETS)
    if target.exists() and not force:
        raise Refused(f"{target} exists; nothing was written", hint="choose another name, or pass `--force`")
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}")


def _kind(path: Path) -> str | None:
    """What stands there that is neither a file nor a block device."""
    if not path.exists():
        return None
    mode = path.stat().st_mode
    return next((kind for test, kind in _KINDS if test(mode)), None)


def _write_device(source: Path, facts: TargetFacts, emit: Emit) -> Written:
    try:
        # O_EXCL on a block device: the kernel refuses while it is mounted or part of something, in any namespace.
        handle = os.open(facts.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Refused(f"{facts.path} is in use", hint=f"see who uses it: lsblk {facts.path}") from error
        raise
    try:
        _require_opened(handle, facts)
        if facts.size_bytes - source.stat().st_size >= EDGE:
            os.pwrite(handle, bytes(EDGE), facts.size_bytes - EDGE)
        wanted = _copy(source, handle, emit)
        fcntl.ioctl(handle, BLKFLSBUF)
        return _read_back(handle, wanted, emit)
    finally:
        os.close(handle)


def _require_opened(handle: int, facts: TargetFacts) -> None:
    """What was opened is what was described. While it is open, the kernel gives its name and number to no other."""
    seen = os.fstat(handle)
    if not stat.S_ISBLK(seen.st_mode):
        raise Refused(f"{facts.path} is not the device any more that was looked at; it is no device at all")
    number = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}"
    size = os.lseek(handle, 0, os.SEEK_END)
    require_same(facts, replace(describe_target(facts.path), number=number, size_bytes=size))


def _copy(source: Path, handle: int, emit: Emit) -> Written:
    """Write `source` to `handle`, its front last; return what must be read back."""
    digest = hashlib.sha256()
    total = source.stat().st_size
    with step(emit, "write the stick"), source.open("rb", buffering=0) as image:
        front = image.read(EDGE)
        digest.update(front)
        os.pwrite(handle, bytes(len(front)), 0)
        done = synced = len(front)
        while chunk := image.read(CHUNK):
            digest.update(chunk)
            _write_all(handle, chunk, done)
            done += len(chunk)
            if done - synced >= SYNC_EVERY:
                os.fdatasync(handle)
                synced = done
            emit(Progress(name="write the stick", done=done, total=total))
        os.fdatasync(handle)
        _write_all(handle, front, 0)
        os.fsync(handle)
    return Written(done, digest.hexdigest())


def _write_all(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


def _read_back(handle: int, wanted: Written, emit: Emit) -> Written:
    """Read from the medium, not from the cache, and compare."""
    digest = hashlib.sha256()
    done = 0
    with step(emit, "read back"):
        os.posix_fadvise(handle, 0, wanted.size_bytes, os.POSIX_FADV_DONTNEED)
        while done < wanted.size_bytes:
            chunk = os.pread(handle, min(CHUNK, wanted.size_bytes - done), done)
            if not chunk:
                break
            digest.update(chunk)
            done += len(chunk)
            emit(Progress(name="read back", done=done, total=wanted.size_bytes))
        if (found := Written(done, digest.hexdigest())) != wanted:
            raise ProvisionError(
                "what was read back differs from what was written",
                hint="use another stick: this one does not keep what it is given",
                evidence=f"written: {wanted}\nread: {found}",
            )
    return found
