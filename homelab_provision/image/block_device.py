"""What this computer's kernel says of a block device: facts from sysfs and procfs, without root and without udev."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from homelab_provision.errors import UsageError
from homelab_provision.rescue.facts import SECTOR, read, serial, transport

SYSTEM_MOUNTS = frozenset({"/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/home"})


@dataclass(frozen=True)
class TargetFacts:
    """What the kernel says of a block device. `number` is `major:minor`; `system`: the running system stands on it.

    `place` is the USB port (or the place in the tree of devices); `sequence` counts the disks and media that the
    kernel has met since it started, so that the same stick plugged in again has another one (None before Linux 5.15).
    """

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
    place: str = ""
    sequence: str | None = None

    def differences(self, now: TargetFacts) -> list[str]:
        """What shows that another device hangs there now, or the same one after it was pulled."""
        pairs = (
            ("serial number", self.serial, now.serial),
            ("model", self.model, now.model),
            ("size", self.size_bytes, now.size_bytes),
            ("port", self.place, now.place),
            ("device number", self.number, now.number),
            ("number of the insertion", self.sequence, now.sequence),
        )
        return [f"{what}: was {before}, is {after}" for what, before, after in pairs if before != after]


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
    kind = _transport(node, sysfs)
    return TargetFacts(
        path=path,
        name=name,
        number=read(node / "dev") or "",
        whole_disk=not (node / "partition").exists(),
        transport=kind,
        removable=read(node / "removable") == "1",
        read_only=read(node / "ro") == "1",
        size_bytes=int(read(node / "size") or 0) * SECTOR,
        serial=serial(node, kind),
        model=_model(node),
        mounts=tuple(point for point, block in mounted if block in family),
        place=_place(node, sysfs),
        sequence=read(node / "diskseq"),
        swaps=tuple(block for block in _swaps(proc) if block in family),
        holders=tuple(holder for block in family for holder in blocks.holders(block)),
        system=any(blocks.disk(name) in blocks.below(block) for point, block in mounted if point in SYSTEM_MOUNTS),
    )


class _Blocks:
    """The block devices of a sysfs: which is part of which."""

    def __init__(self, sysfs: Path) -> None:
        self._shelf = sysfs / "class" / "block"

    def node(self, name: str) -> Path | None:
        node = self._shelf / name
        return node.resolve() if node.exists() else None

    def by_number(self, number: str) -> str | None:
        return next((link.name for link in self._shelf.iterdir() if read(link / "dev") == number), None)

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
    """As the modules and programs of roles do it on hosts, which cannot import from us, nor we from there."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)


def _transport(node: Path, sysfs: Path) -> str:
    """How a device hangs on the computer, from its place in the tree of devices; also what no rescue has to know."""
    place = node.relative_to(sysfs.resolve())
    if (kind := transport(place.as_posix())) != "unknown":
        return kind
    if "virtual" not in place.parts:
        return "an unknown bus"
    return "loop" if node.name.startswith("loop") else "nothing real"


def _usb_device(node: Path, sysfs: Path) -> Path | None:
    """The USB device that a disk belongs to: the nearest above it."""
    above = (folder for folder in node.parents if folder.is_relative_to(sysfs.resolve()))
    return next((folder for folder in above if (folder / "idVendor").exists()), None)


def _place(node: Path, sysfs: Path) -> str:
    device = _usb_device(node, sysfs)
    return f"USB {device.name}" if device else node.relative_to(sysfs.resolve()).parent.as_posix()


def _model(node: Path) -> str | None:
    words = [read(node / "device" / name) for name in ("vendor", "model")]
    return " ".join(word for word in words if word) or None
