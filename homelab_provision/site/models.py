"""What a site is made of: hosts (parts to be played) and machines (boxes that can play them)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from homelab_provision.errors import UsageError
from homelab_provision.site.values import (
    BoxSerial,
    ComputerAddress,
    Cores,
    Gigabytes,
    Mac,
    MemoryMib,
    NetworkAddress,
    OperatorName,
    ProductUuid,
    SecretName,
    Serial,
    WayName,
    WorldWideName,
    WrittenAge,
    WrittenSize,
    expected,
)
from homelab_provision.site.virtual import LabMachine, LabNetwork
from homelab_provision.site.vpn import Vpn
from homelab_provision.text import did_you_mean

# Hosts of this group may be rebuilt; all others are only talked to.
PROVISIONED_GROUP = "provisioned"
# An image that is older lacks two weeks of security updates: it is built anew before it is written.
IMAGE_MAX_AGE = timedelta(days=14)


class Frozen(BaseModel):
    """A description that never changes after it was read, and in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DiskUse(StrEnum):
    SYSTEM = "system"
    KEEP = "keep"


class Firmware(StrEnum):
    UEFI = "uefi"
    BIOS = "bios"


class Disk(Frozen):
    """One disk of a machine, recognised by its serial and size, never by its name."""

    serial: Serial
    wwn: WorldWideName | None = None
    """What tells it from others with its serial, as the namespaces of one NVMe disk are: its world-wide name."""
    size: WrittenSize
    use: DiskUse = DiskUse.SYSTEM
    """`system`: may be flashed. `keep`: is never written."""
    erase: bool = False
    """Declared: what stands on this disk may go, whatever it is."""
    model: str | None = None

    @property
    def size_bytes(self) -> int:
        return self.size.size_bytes


class Passport(Frozen):
    """The recorded identity of a machine. The rescue system compares it seconds before anything is written.

    The MAC addresses and the disks are always compared. A box whose firmware knows no serial of its own may be told by
    that of its board, by its UUID, or by nothing more.
    """

    serial: BoxSerial | None = None
    """The serial of the box (DMI product serial; on a Dell the service tag)."""
    board_serial: BoxSerial | None = None
    """The serial of its mainboard (DMI board serial)."""
    uuid: ProductUuid | None = None
    """The DMI product UUID."""
    product: str | None = None
    """The DMI product name, letter by letter."""
    macs: Annotated[tuple[Mac, ...], Field(min_length=1)]
    """Wired network cards; every one of them has to be there."""
    firmware: Firmware = Firmware.UEFI
    memory_mib: MemoryMib | None = None
    """Memory that is installed, in MiB."""
    cores: Cores | None = None
    cpu_flags: tuple[str, ...] = ()
    """CPU features that hosts may need, as /proc/cpuinfo names them."""
    disks: Annotated[tuple[Disk, ...], Field(min_length=1)]

    @property
    def known_by(self) -> str:
        """What tells this box from all others, in words."""
        named = (("serial", self.serial), ("board serial", self.board_serial), ("product UUID", self.uuid))
        if given := [f"{what} {value}" for what, value in named if value]:
            return given[0]
        disks = ", ".join(disk.serial for disk in self.disks)
        return f"MAC address {', '.join(self.macs)} and disk {disks}"

    @property
    def system_disks(self) -> tuple[Disk, ...]:
        return tuple(disk for disk in self.disks if disk.use is DiskUse.SYSTEM)


class PartKind(StrEnum):
    MEMORY = "memory"
    DISK = "disk"
    POWER = "power"


class Part(Frozen):
    """A part on the shelf, which is in no machine: what could make a spare fit a host."""

    name: str
    kind: PartKind
    """`memory` (modules that go in together), `disk`, or `power` (a power supply)."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Which machines it goes into: their `model`, letter by letter."""
    memory_mib: Annotated[MemoryMib | None, Field(validate_default=True)] = None
    """Of memory: all its modules together, in MiB."""
    modules: Annotated[int, Field(ge=1, le=64)] = 1
    """Of memory: how many slots it takes."""
    disk_gb: Annotated[Gigabytes | None, Field(validate_default=True)] = None
    """Of a disk: its size, in GB (10^9 bytes)."""
    note: str | None = None

    @field_validator("memory_mib", "disk_gb")
    @classmethod
    def _has_its_size(cls, size: float | None, info: ValidationInfo) -> float | None:
        kind = info.data.get("kind")  # missing if it is wrong itself
        owner = PartKind.MEMORY if info.field_name == "memory_mib" else PartKind.DISK
        if kind is owner and size is None:
            raise expected(f"`{info.field_name}`, how large it is: a part of the kind `{kind}` has it")
        if kind not in (None, owner) and size is not None:
            raise expected(f"no `{info.field_name}`: it belongs to a part of the kind `{owner}`, not `{kind}`")
        return size


class Machine(Frozen):
    """A physical (or virtual) box. One that plays no host is a spare."""

    name: str
    model: str | None = None
    """The kind of box, as its hardware card is called."""
    passport: Passport
    plays: str | None = None
    """The host that this machine is."""
    distrusted_as: tuple[str, ...] = ()
    """Hosts that this machine once was: it may still hold their keys and is not to be taken for them."""
    address: ComputerAddress | None = None
    """Where its rescue system answers, if the address is reserved."""
    way: WayName = "usb"
    """How it gets into the rescue system; `auto`: in the safest way that it can go."""
    operator: OperatorName = "person"
    """Who acts on the box."""
    wake_through: str | None = None
    """The host that wakes it (`operator: wol`), where the controller is not on its network."""
    lab: LabMachine | None = None
    """Virtual hardware, for a machine of the lab."""
    survives_kexec: bool = False
    """`true`: it was seen to start another kernel from a running one. There are boxes that hang then."""
    free_memory_slots: Annotated[int, Field(ge=0, le=64)] = 0
    """How many memory modules could be added to those that are in it."""
    power_supply: bool = True
    """`false`: it has none, and plays nothing until it gets one."""
    note: str | None = None


class Network(Frozen):
    """A host's place in the network (inventory variable `provision_network`); without it, DHCP decides."""

    address: NetworkAddress
    """With the length of the prefix: 192.168.50.10/24."""
    gateway: ComputerAddress | None = None
    dns: tuple[ComputerAddress, ...] = ()

    @field_validator("gateway")
    @classmethod
    def _gateway_is_near(cls, gateway: IPv4Address | None, info: ValidationInfo) -> IPv4Address | None:
        own = info.data.get("address")  # missing if it is wrong itself
        if gateway is None or own is None:
            return gateway
        if gateway not in own.network:
            raise expected(f"a gateway inside {own.network}")
        if gateway == own.ip:
            raise expected("the address of the router, not of the host itself")
        if gateway in (own.network.network_address, own.network.broadcast_address):
            raise expected(f"the address of a computer inside {own.network}")
        return gateway

    @field_validator("dns")
    @classmethod
    def _servers_are_computers(cls, servers: tuple[IPv4Address, ...], info: ValidationInfo) -> tuple[IPv4Address, ...]:
        own = info.data.get("address")
        if own is not None and {own.network.network_address, own.network.broadcast_address} & {*servers}:
            raise expected(f"addresses of computers, not those of the network {own.network} itself")
        return servers


class Needs(Frozen):
    """What a host asks of a machine that shall play it (inventory variable `provision_needs`)."""

    disk_gb: Gigabytes | None = None
    """Size of the system disk, in GB (10^9 bytes)."""
    memory_mib: MemoryMib | None = None
    cores: Cores | None = None
    cpu_flags: tuple[str, ...] = ()


class Backup(Frozen):
    """Where the hosts' data is kept (inventory variable `provision_backup`): an NFS server that exports one directory
    for each host, `export/HOST`, to that host alone and, for reading, to the controller."""

    server: ComputerAddress
    """An address and no name: data is restored also while DNS is down."""
    export: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")]
    """The directory above those of the hosts, as the server exports it."""
    max_proof_age: WrittenAge = timedelta(days=8)
    """A rebuild trusts a backup only if one was restored and compared that recently: 8d, 36h."""


class Host(Frozen):
    """A part to be played: a name, an address, services, data."""

    name: str
    address: str | None = None
    """Where it answers (`ansible_host`); an IPv4 address for every host that may be rebuilt."""
    network: Network | None = None
    needs: Needs = Needs()
    backup: Backup | None = None
    vpn: Vpn | None = None
    """The site's VPN (`provision_vpn`), the same for all that know of it."""
    secrets: tuple[SecretName, ...] = ()
    """Passwords that the site makes and keeps (`provision_secrets`): `x` is the variable `secret_x` of playbooks."""
    uses: Mapping[str, str] = {}
    """Names and addresses that its shares and its stacks' databases are at, each with what is there."""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    """What `site.yml` makes of it, in the order of its plays; each after those that it depends on."""
    provisioned: bool = False


@dataclass(frozen=True)
class Site:
    """One homelab: what it is to be (hosts) and what it is made of (machines)."""

    root: Path
    name: str
    hosts: Mapping[str, Host]
    machines: Mapping[str, Machine]
    parts: Mapping[str, Part] = field(default_factory=dict)
    lab: LabNetwork | None = None
    image_max_age: timedelta = IMAGE_MAX_AGE
    warnings: tuple[str, ...] = ()
    """What Ansible does not like about the inventory, and reads nevertheless."""

    @property
    def vpn(self) -> Vpn | None:
        """The VPN of the site, as its provisioned hosts know it."""
        return next((host.vpn for host in self.hosts.values() if host.provisioned and host.vpn), None)

    def host(self, name: str) -> Host:
        """The host called `name`. Raises UsageError."""
        if name not in self.hosts:
            raise UsageError(f"site `{self.name}` has no host `{name}`", hint=nearest(name, self.hosts, "hosts"))
        return self.hosts[name]

    def machine(self, name: str) -> Machine:
        """The machine called `name`. Raises UsageError."""
        if name not in self.machines:
            raise UsageError(
                f"site `{self.name}` has no machine `{name}`", hint=nearest(name, self.machines, "machines")
            )
        return self.machines[name]

    def player_of(self, host: str) -> Machine | None:
        """The machine that plays `host`, if any does."""
        return next((machine for machine in self.machines.values() if machine.plays == host), None)

    def spares(self) -> tuple[Machine, ...]:
        """The machines that play nothing."""
        return tuple(machine for machine in self.machines.values() if machine.plays is None)


def nearest(word: str, known: Iterable[str], kind: str) -> str:
    """A hint for a word that is not among the known ones."""
    words = sorted(known)
    if near := did_you_mean(word, words):
        return near
    return f"{kind} of this site: {', '.join(words)}" if words else f"this site has no {kind}"
