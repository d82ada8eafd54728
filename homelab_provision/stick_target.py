"""Where a stick image may be written: a file, or a real USB stick, and nothing else.

The rules are pure: facts of a device are read from sysfs and procfs, refusals follow from the facts. The writing trusts
neither: it opens the device exclusively, compares it with the facts, and reads back what it wrote.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.errors import ProvisionError, Refused, UsageError
from homelab_provision.events import Emit, Progress, step
from homelab_provision.report.wording import bytes_text

CHUNK = 4 * 2**20
SYNC_EVERY = 16 * 2**20  # so that progress tells what is on the stick, not what is in the page cache
EDGE = 2**20  # the partition table at the front of a disk, its copy at the back
BLKFLSBUF = 0x1261  # linux/fs.h: forget what is cached of a block device
SECTOR = 512  # the unit of sysfs sizes, whatever the disk's own is
TRANSPORTS = {  # the first that fits the place of a device in sysfs
    r"/usb\d+/": "usb",
    r"/mmc_host/": "mmc",
    r"/nvme": "nvme",
    r"/ata\d+/": "sata",
    r"/virtio\d+/": "virtio",
    r"/virtual/block/loop": "loop",
    r"/virtual/": "nothing real",
}
SYSTEM_MOUNTS = frozenset({"/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/home"})


@dataclass(frozen=True)
class Rule:
    """What a stick is. `most_bytes`: what is called 256 GB has up to 256.1 · 10⁹ bytes; larger is no stick."""

    transports: frozenset[str] = frozenset({"usb"})
    most_bytes: int = 257 * 10**9
    serial_required: bool = True


STICK = Rule()


@dataclass(frozen=True)
class TargetFacts:
    """What the kernel says of a block device. `number` is `major:minor`; `system`: the running system stands on it."""

    path: Path
    name: str
    number: str
    whole_disk: bool
    transport: str
    removable: bool
    read_only: bool
    size_bytes: int
    serial: str | None
    model: str | None
    mounts: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    system: bool = False


@dataclass(frozen=True)
class Written:
    """What was written and read back equal."""

    size_bytes: int
    sha256: str

    def __str__(self) -> str:
        return f"{bytes_text(self.size_bytes)} written and read back, sha256 {self.sha256}"


def is_device(path: Path) -> bool:
    """Whether `path` is a block device, or is meant to be one."""
    return path.is_block_device() or (not path.exists() and path.is_relative_to("/dev"))


def describe_target(device: Path, sysfs: Path = Path("/sys"), proc: Path = Path("/proc")) -> TargetFacts:
    """Read what there is to know of a block device; links such as those in /dev/disk/by-id are followed.

    Raises `UsageError` if the kernel has no such device.
    """
    path = device.resolve()
    name = path.name
    blocks = _Blocks(sysfs)
    node = blocks.node(name)
    if node is None:
        raise UsageError(
            f"{device} is not a block device that is here",
            hint="`lsblk -o NAME,TRAN,SIZE,SERIAL,MODEL` lists those that are",
        )
    family = (name, *blocks.partitions(name))
    mounted = list(_mounts(proc, blocks))
    return TargetFacts(
        path=path,
        name=name,
        number=_text(node / "dev") or "",
        whole_disk=not (node / "partition").exists(),
        transport=_transport(node, sysfs),
        removable=_text(node / "removable") == "1",
        read_only=_text(node / "ro") == "1",
        size_bytes=int(_text(node / "size") or 0) * SECTOR,
        serial=_serial(node, sysfs),
        model=_model(node),
        mounts=tuple(point for point, block in mounted if block in family),
        swaps=tuple(block for block in _swaps(proc) if block in family),
        holders=tuple(holder for block in family for holder in blocks.holders(block)),
        system=any(blocks.disk(name) in blocks.below(block) for point, block in mounted if point in SYSTEM_MOUNTS),
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
        found.append(f"{device} is a partition, not a whole disk")
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
        return [f"{facts.path} has no serial number, so nobody can say that it is the right one"]
    if serial == facts.serial:
        return []
    said = f"`{serial}`" if serial else "nothing"
    note = "" if facts.removable else "; it does not call itself removable, so it may be a disk with your data"
    return [f"{facts.path} was not confirmed: its serial number is `{facts.serial}`, given was {said}{note}"]


def write_stick(source: Path, target: Path | TargetFacts, emit: Emit, *, force: bool = False) -> Written:
    """Write the image `source` to a file (all or nothing, mode 0600) or to a device that `refusals` has let through.

    `force` replaces an existing file that is no image. On a device, the front is written last, so that an interrupted
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
    if target.exists() and not target.is_file():
        raise Refused(f"{target} is neither a file nor a block device")
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the image itself")
    if target.exists() and not force and not _is_image(target):
        raise Refused(f"{target} exists and is not a disk image", hint="choose another name, or pass `--force`")
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # made with mode 0600
    draft = Path(name)
    try:
        written = _read_back(handle, _copy(source, handle, emit), emit)
        draft.replace(target)
        _sync_directory(target.parent)
    finally:
        os.close(handle)
        draft.unlink(missing_ok=True)
    return written


def _write_device(source: Path, facts: TargetFacts, emit: Emit) -> Written:
    try:
        # O_EXCL on a block device: the kernel refuses while it is mounted or part of something, in any namespace.
        handle = os.open(facts.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Refused(f"{facts.path} is in use", hint=f"see who uses it: lsblk {facts.path}") from error
        raise
    try:
        _require_same(handle, facts)
        if facts.size_bytes - source.stat().st_size >= EDGE:
            os.pwrite(handle, bytes(EDGE), facts.size_bytes - EDGE)
        wanted = _copy(source, handle, emit)
        fcntl.ioctl(handle, BLKFLSBUF)
        return _read_back(handle, wanted, emit)
    finally:
        os.close(handle)


def _require_same(handle: int, facts: TargetFacts) -> None:
    """What was opened is what was described: sticks are pulled, and names given to the next one."""
    seen = os.fstat(handle)
    number = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}"
    size = os.lseek(handle, 0, os.SEEK_END)
    if not stat.S_ISBLK(seen.st_mode) or (number, size) != (facts.number, facts.size_bytes):
        raise Refused(
            f"{facts.path} is not the device any more that was looked at", hint="plug the stick in and start again"
        )


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


def _is_image(path: Path) -> bool:
    """Whether a file begins like a disk (boot signature) or is still empty."""
    with path.open("rb") as file:
        head = file.read(SECTOR)
    return not head or head[510:512] == b"\x55\xaa"


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Blocks:
    """The block devices of a sysfs: which is part of which."""

    def __init__(self, sysfs: Path) -> None:
        self._shelf = sysfs / "class" / "block"

    def node(self, name: str) -> Path | None:
        node = self._shelf / name
        return node.resolve() if node.exists() else None

    def by_number(self, number: str) -> str | None:
        return next((link.name for link in self._shelf.iterdir() if _text(link / "dev") == number), None)

    def partitions(self, name: str) -> list[str]:
        node = self.node(name)
        return sorted(path.parent.name for path in node.glob("*/partition")) if node else []

    def holders(self, name: str) -> list[str]:
        return self._names(name, "holders")

    def disk(self, name: str) -> str:
        """The whole disk that a partition is on; a whole disk is its own."""
        node = self.node(name)
        return node.parent.name if node and (node / "partition").exists() else name

    def below(self, name: str) -> set[str]:
        """The disks that a device stands on, through partitions, device-mapper and RAID."""
        slaves = self._names(name, "slaves")
        return set().union(*map(self.below, slaves)) if slaves else {self.disk(name)}

    def _names(self, name: str, kind: str) -> list[str]:
        folder = (self.node(name) or self._shelf / name) / kind
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _mounts(proc: Path, blocks: _Blocks) -> Iterator[tuple[str, str]]:
    """Mount points and the block devices behind them (man 5 proc, mountinfo)."""
    for line in (proc / "self" / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        _, _, number, _, point, *_ = left.split(" ")
        source = _unescape(right.split(" ")[1])
        # btrfs and overlays have made-up numbers; their source still names the device
        block = blocks.by_number(number) or (Path(source).resolve().name if source.startswith("/dev/") else None)
        if block:
            yield _unescape(point), block


def _swaps(proc: Path) -> list[str]:
    lines = (proc / "swaps").read_text().splitlines()[1:]
    return [Path(_unescape(line.split()[0])).resolve().name for line in lines if line.startswith("/dev/")]


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)


def _transport(node: Path, sysfs: Path) -> str:
    """How a device hangs on the computer, from its place in the tree of devices."""
    place = node.relative_to(sysfs.resolve()).as_posix()
    return next((transport for pattern, transport in TRANSPORTS.items() if re.search(pattern, place)), "an unknown bus")


def _serial(node: Path, sysfs: Path) -> str | None:
    """The serial number: of the USB device above (what is printed by `lsblk`), else the disk's own."""
    for above in node.parents:
        if above == sysfs.resolve():
            break
        if (above / "idVendor").exists():
            return _text(above / "serial")
    return _text(node / "device" / "serial") or _text(node / "serial")


def _model(node: Path) -> str | None:
    words = [_text(node / "device" / name) for name in ("vendor", "model")]
    return " ".join(word for word in words if word) or None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None
