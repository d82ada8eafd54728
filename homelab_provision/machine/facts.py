"""What a box says of itself in the rescue system: `rescue/facts.py` prints it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.models import Disk, Firmware
from homelab_provision.site.sizes import format_size


class _Facts(BaseModel):
    """What is missing may also be an empty text."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Dmi(_Facts):
    """Strings of the firmware; any of them may be missing."""

    sys_vendor: str | None = None
    product_name: str | None = None
    product_serial: str | None = None
    product_uuid: str | None = None
    product_sku: str | None = None
    board_name: str | None = None
    board_serial: str | None = None
    bios_version: str | None = None
    bios_date: str | None = None


class Cpu(_Facts):
    model: str | None = None
    cores: int | None = None
    flags: tuple[str, ...] = ()


class Nic(_Facts):
    name: str
    mac: str | None = None
    driver: str | None = None


class Signature(_Facts):
    """A file system, volume, RAID or partition table label, as `wipefs` finds it on `node`."""

    node: str
    type: str
    offset: int | str | None = None
    label: str | None = None
    uuid: str | None = None
    usage: str | None = None


class SeenPartition(_Facts):
    number: int
    name: str | None = None
    type_guid: str | None = None
    start: int | None = None
    size_bytes: int
    signatures: tuple[Signature, ...] = ()


class SeenTable(_Facts):
    """One copy of a partition table. A DOS table may be the one that protects a GPT, beside partitions of its own."""

    type: str
    offset: int
    copy_: str | None = Field(default=None, alias="copy")
    """Of a GPT: `first` or `backup`."""
    protective: bool = False
    partitions: int
    boot_code: bool = False
    list_: str | None = Field(default=None, alias="list")
    """Of a GPT: the checksum of its list; both copies have the same."""
    problem: str | None = None
    """Why it cannot be trusted."""


class KeptMark(_Facts):
    """The data partition that an unfinished write was to keep (sectors)."""

    start: int
    sectors: int
    uuid: str


class UnfinishedWrite(_Facts):
    """The mark of our own writer that did not come to its end. `alone`: the head of the disk holds nothing else."""

    run: str
    host: str
    keep: KeptMark | None = None
    alone: bool


class Sampled(_Facts):
    """What was found on a disk without any signature: the first byte `at` which something stands, if anything does."""

    at: int | None = None
    read_bytes: int


class StorageController(_Facts):
    """A storage controller on PCI: its class (0106 AHCI, 0108 NVMe, 0104 RAID) and its `vendor:device`."""

    class_: str = Field(alias="class")
    id: str
    hidden_nvme: int = 0
    """NVMe disks that an AHCI controller in RAID mode keeps to itself."""


class SeenDisk(_Facts):
    """A disk as the rescue sees it. The boot areas of an eMMC repeat the serial of the eMMC."""

    name: str
    path: str
    transport: str
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None
    size_bytes: int
    sector_bytes: int = 512
    removable: bool = False
    boot_area: bool = False
    holds_rescue: bool = False
    read_only: bool = False
    error: str | None = None
    """Why its content could not be examined: such a disk shows no signatures, and is not blank for that."""
    signatures: tuple[Signature, ...] = ()
    partitions: tuple[SeenPartition, ...] = ()
    tables: tuple[SeenTable, ...] = ()
    unfinished: UnfinishedWrite | None = None
    sampled: Sampled | None = None
    """`None`: nobody looked, because something else stands there (or it is a USB disk, which is never written)."""

    def __str__(self) -> str:
        serial = f"serial {self.serial}" if self.serial else "no serial"
        parts = (self.name, self.transport, format_size(self.size_bytes), self.model, serial)
        return "  ".join(part for part in parts if part)


class MachineFacts(_Facts):
    """What a box says of itself in the rescue system (`rescue/facts.py` prints it)."""

    dmi: Dmi = Dmi()
    firmware: Firmware
    secure_boot: bool | None = None
    memory_mib: int | None = None
    cpu: Cpu = Cpu()
    nics: tuple[Nic, ...] = ()
    storage: tuple[StorageController, ...] = ()
    disks: tuple[SeenDisk, ...] = ()
    boot_id: str | None = None

    def disks_like(self, disk: Disk) -> tuple[SeenDisk, ...]:
        """The disks that carry the serial of a passport's disk (and its world-wide name, if that is written there),
        whatever their size."""
        return tuple(current for current in self.disks if not current.boot_area and _is_like(current, disk))


def _is_like(current: SeenDisk, disk: Disk) -> bool:
    named = disk.wwn is None or (current.wwn is not None and same_serial(current.wwn, disk.wwn))
    return named and current.serial is not None and same_serial(current.serial, disk.serial)
