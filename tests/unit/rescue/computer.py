"""A /sys and a /proc with disks in them, laid out as Linux does, and the tools that look at disks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homelab_provision.rescue.facts import SECURE_BOOT, Unreadable

SATA = "pci0000:00/0000:00:12.0/ata1/host0/target0:0:0/0:0:0:0"
USB_DEVICE = "pci0000:00/0000:00:15.0/usb1/1-4"
USB = f"{USB_DEVICE}/1-4:1.0/host2/target2:0:0/2:0:0:0"
MMC = "pci0000:00/0000:00:1c.0/mmc_host/mmc0/mmc0:0001"
NVME = "pci0000:00/0000:00:13.0/0000:01:00.0/nvme/nvme0"
VIRTIO = "pci0000:00/0000:00:04.0/virtio2"
CPUINFO = """\
processor\t: 0
model name\t: Intel(R) Celeron(R) J4105 CPU @ 1.50GHz
flags\t\t: fpu sse4_2 aes
bugs\t\t:

processor\t: 1
model name\t: the second core calls itself otherwise
flags\t\t: fpu
"""


@dataclass
class Computer:
    """`root` is what `collect` takes; `wipefs` and `sfdisk` hold what those tools say of a device, `content` what
    stands on a disk besides. All of it is empty at first."""

    root: Path
    wipefs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sfdisk: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    content: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in ("sys/block", "sys/class/net"):
            (self.root / folder).mkdir(parents=True)
        self.put("proc/meminfo", "MemTotal:        8205312 kB\nMemFree:          100 kB\n")
        self.put("proc/cpuinfo", CPUINFO)
        self.put("proc/sys/kernel/random/boot_id", "6f0f5f9e-0001-4c0f-8d67-000000000001\n")

    def put(self, path: str, content: str | bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())

    def disk(self, name: str, at: str, sectors: int = 1000, /, **files: str | bytes) -> None:
        """A disk at a place of the device tree; `files` are those of the device behind it."""
        place = f"sys/devices/{at}/block/{name}"
        for file, text in (("size", sectors), ("removable", 0), ("ro", 0)):
            self.put(f"{place}/{file}", f"{text}\n")
        for file, content in files.items():
            self.put(f"sys/devices/{at}/{file}", content)
        (self.root / place / "device").symlink_to(self.root / "sys/devices" / at)
        (self.root / "sys/block" / name).symlink_to(self.root / place)

    def partition(self, disk: str, number: int, start: int, sectors: int) -> str:
        name = f"{disk}{'p' if disk[-1].isdigit() else ''}{number}"
        for file, value in (("partition", number), ("start", start), ("size", sectors)):
            self.put(f"sys/block/{disk}/{name}/{file}", f"{value}\n")
        return name

    def usb_disk(self, name: str, serial: str = "4C530001\n") -> None:
        """A disk behind a USB bridge: its SCSI serial is another one than the stick's own."""
        self.disk(name, USB, model="Portable SSD T5\n", vpd_pg80=b"\x00\x80\x00\x0cBRIDGE-PAGE0")
        self.put(f"sys/devices/{USB_DEVICE}/idVendor", "04e8\n")
        self.put(f"sys/devices/{USB_DEVICE}/serial", serial)
        self.put("sys/devices/pci0000:00/0000:00:15.0/usb1/serial", "0000:00:15.0\n")  # of the root hub
        self.put("sys/devices/pci0000:00/0000:00:15.0/usb1/idVendor", "1d6b\n")

    def nic(self, name: str, mac: str, driver: str | None) -> None:
        self.put(f"sys/class/net/{name}/address", f"{mac}\n")
        if driver:
            (self.root / "sys/class/net" / name / "device").mkdir()
            (self.root / "sys/bus/pci/drivers" / driver).mkdir(parents=True)
            link = self.root / "sys/class/net" / name / "device/driver"
            link.symlink_to(self.root / "sys/bus/pci/drivers" / driver)

    def uefi(self, secure_boot: bytes | None = None) -> None:
        (self.root / "sys/firmware/efi").mkdir(parents=True, exist_ok=True)
        if secure_boot is not None:
            self.put(f"sys/firmware/efi/efivars/{SECURE_BOOT}", secure_boot)

    def examine(self, node: str, size: int, sector: int, *, sample: bool) -> dict[str, Any]:
        """In the place of `rescue_facts.examine`."""
        name = node.removeprefix("/dev/")
        if name in self.broken:
            raise Unreadable(f"cannot read {name}")
        empty: dict[str, Any] = {
            "tables": [],
            "unfinished": None,
            "sampled": {"at": None, "read_bytes": size} if sample else None,
        }
        return empty | self.content.get(name, {})

    def output(self, *argv: str) -> dict[str, Any]:
        """In the place of `rescue_facts.output`: the JSON of wipefs and sfdisk, as Debian 13 prints it."""
        self.calls.append(argv)
        nodes = [word.removeprefix("/dev/") for word in argv if word.startswith("/dev/")]
        if unreadable := self.broken.intersection(nodes):
            raise Unreadable(f"{argv[0]}: cannot read {', '.join(unreadable)}")
        if argv[0] == "sfdisk":
            listed = self.sfdisk.get(nodes[0], [])
            return {"partitiontable": {"label": "gpt", "device": f"/dev/{nodes[0]}", "partitions": listed}}
        return {"signatures": [{"device": node, **mark} for node in nodes for mark in self.wipefs.get(node, [])]}
