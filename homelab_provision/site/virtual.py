"""What a virtual machine and its network are made of, as `machines.yml` describes them.

The defaults are a Dell Wyse 5070; its strings are those that real boxes show, letter by letter.
"""

from __future__ import annotations

import re
import uuid
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from homelab_provision.site.sizes import ByteCount, format_size
from homelab_provision.site.values import Mac

SECTOR = 512
# QEMU's SD card is the nearest thing to an eMMC that every QEMU in use has; its CID is wired in.
MMC_SERIAL = "0xdeadbeef"
SMALLEST_DECOY = 32 * 2**20
_SERIAL_LIMIT = 20  # ATA, NVMe and virtio all stop there


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bus(StrEnum):
    """How a disk hangs on the machine."""

    SATA = "sata"
    USB = "usb"
    MMC = "mmc"
    NVME = "nvme"
    VIRTIO = "virtio"


class Content(StrEnum):
    """What stands on a disk when it is first made."""

    BLANK = "blank"
    DECOY = "decoy"


def _wwn(value: object) -> object:
    # YAML reads 0x5000… as a number.
    return f"0x{value:016x}" if isinstance(value, int) else value


Wwn = Annotated[str, BeforeValidator(_wwn), StringConstraints(pattern=r"^0x[0-9a-f]{16}$")]
# Names become file names, QEMU ids and interface names.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
Bridge = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,14}$")]
# What firmware tables can carry: one line of printable ASCII.
Text = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,64}$")]


class LabDisk(_Frozen):
    """A virtual disk. `removable` is what a USB disk says of itself (a stick: true; a USB SSD: false)."""

    name: Name
    bus: Bus = Bus.SATA
    serial: Text = ""
    size_bytes: ByteCount
    model: Text | None = None
    wwn: Wwn | None = None
    content: Content = Content.BLANK
    removable: bool = False

    @model_validator(mode="before")
    @classmethod
    def _wired_in_serial(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("bus") == Bus.MMC and "serial" not in data:
            return {**data, "serial": MMC_SERIAL}
        return data

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.serial:
            raise ValueError(f"disk {self.name!r} needs a serial: disks are told apart by it")
        if len(self.serial) > _SERIAL_LIMIT:
            raise ValueError(f"serial {self.serial!r} has more than the {_SERIAL_LIMIT} characters that a disk can say")
        if self.bus is Bus.MMC and self.serial != MMC_SERIAL:
            raise ValueError(f"a virtual eMMC always says serial {MMC_SERIAL!r}: leave `serial` out")
        if self.bus is Bus.MMC and self.size_bytes.bit_count() != 1:
            size = format_size(self.size_bytes)
            raise ValueError(f"the size of a virtual eMMC is a power of two (such as '16 GiB'), not {size}")
        if self.wwn is not None and self.bus is not Bus.SATA:
            raise ValueError(f"`wwn` is for sata disks only, not for {self.bus}")
        if self.removable and self.bus is not Bus.USB:
            raise ValueError(f"`removable` is for usb disks only, not for {self.bus}")
        if self.content is Content.DECOY and self.size_bytes < SMALLEST_DECOY:
            raise ValueError(f"a decoy has at least {format_size(SMALLEST_DECOY)}, or its files do not fit")
        return self

    @property
    def capacity(self) -> int:
        """The size in bytes that the machine sees: whole sectors."""
        return self.size_bytes // SECTOR * SECTOR


class Smbios(_Frozen):
    """The strings of the machine's firmware tables (types 0 to 3). `serial` is Dell's service tag."""

    serial: Text
    vendor: Text = "Dell Inc."
    product: Text = "Wyse 5070 Thin Client"
    sku: Text = "080C"
    family: Text = "Wyse Thin Client 5000 Series"
    board: Text = "0HC3G4"
    board_version: Text = "A00"
    board_serial: Text | None = None
    chassis_vendor: Text = "Dell Inc."
    bios_vendor: Text = "Dell Inc."
    bios_version: Text = "1.29.0"
    bios_date: Annotated[str, StringConstraints(pattern=r"^\d{2}/\d{2}/\d{4}$")] = "07/09/2024"

    @property
    def uuid(self) -> uuid.UUID:
        """Stays the same for a serial, as it does on a real box."""
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{self.vendor}/{self.product}/{self.serial}")


class LabMachine(_Frozen):
    """The virtual hardware of a machine."""

    smbios: Smbios
    mac: Mac
    bridge: Bridge | None = None
    """What it is plugged into, if not into the lab's own network: a bridge that somebody else serves."""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    memory_mib: Annotated[int, Field(ge=256)] = 2048
    cpu_model: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")] = "Denverton"
    cpu_name: Text | None = "Intel(R) Celeron(R) J4105 CPU @ 1.50GHz"
    nic_model: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] = "e1000e"
    disks: tuple[LabDisk, ...] = ()
    secure_boot: bool = False

    @model_validator(mode="after")
    def _distinct_disks(self) -> Self:
        names = [disk.name for disk in self.disks]
        if len(set(names)) != len(names):
            raise ValueError(f"two disks have one name: {', '.join(names)}")
        if sum(disk.bus is Bus.MMC for disk in self.disks) > 1:
            raise ValueError("a machine has at most one mmc disk")
        if sum(disk.bus is Bus.SATA for disk in self.disks) > 6:
            raise ValueError("the SATA controller has six ports")
        return self

    def disk(self, name: str) -> LabDisk:
        """The disk called `name`; `KeyError` if there is none."""
        for disk in self.disks:
            if disk.name == name:
                return disk
        raise KeyError(name)


class LabNetwork(_Frozen):
    """The private network: a bridge in a network namespace, whose first address is the router, DHCP and DNS server."""

    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")] = "hlp-lab"
    bridge: Bridge = "lan0"
    router: IPv4Interface = IPv4Interface("192.168.50.1/24")
    domain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")] = "lab.home.arpa"
    dhcp_range: tuple[IPv4Address, IPv4Address] | None = None
    outside: bool = True

    @model_validator(mode="after")
    def _range_inside(self) -> Self:
        if self.subnet.prefixlen > 28:
            raise ValueError(f"{self.subnet} is too small for a lab: at most /28")
        first, last = self.leases
        if first not in self.subnet or last not in self.subnet or first > last:
            raise ValueError(f"the DHCP range {first} to {last} does not lie inside {self.subnet}")
        if first <= self.router.ip <= last:
            raise ValueError(f"the DHCP range {first} to {last} contains the router {self.router.ip}")
        return self

    @property
    def subnet(self) -> IPv4Network:
        """The network that the router's address lies in."""
        return self.router.network

    @property
    def leases(self) -> tuple[IPv4Address, IPv4Address]:
        """First and last address that DHCP gives to machines without a reservation; by default the last quarter."""
        if self.dhcp_range:
            return self.dhcp_range
        size = self.subnet.num_addresses
        return self.subnet[size * 3 // 4], self.subnet[size - 2]


def slug(text: str, limit: int) -> str:
    """`text` as a name of at most `limit` characters; long ones keep their start and get a hash of the whole."""
    clean = re.sub(r"[^a-z0-9-]", "-", text.lower())
    if len(clean) <= limit and clean == text:
        return clean
    return f"{clean[: limit - 7]}-{uuid.uuid5(uuid.NAMESPACE_OID, text).hex[:6]}"
