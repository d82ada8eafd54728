"""Is this the box that it should be? What the rescue sees, compared with the recorded passport."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from homelab_provision.errors import Refused
from homelab_provision.site.models import Disk, Firmware, Machine, Passport
from homelab_provision.site.values import same_serial
from homelab_provision.sizes import format_size

# The kernel and the graphics keep some of the installed memory (a 32 GB Wyse shows 30); half of it gone is a
# dead module.
VISIBLE_MEMORY = 0.8


class _Facts(BaseModel):
    """What is missing may also be an empty text."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Dmi(_Facts):
    """Strings of the firmware; any of them may be missing."""

    sys_vendor: str | None = None
    product_name: str | None = None
    product_serial: str | None = None
    product_sku: str | None = None
    board_name: str | None = None


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


class SeenDisk(_Facts):
    """A disk as the rescue sees it. The boot areas of an eMMC repeat the serial of the eMMC."""

    name: str
    path: str
    transport: str
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None
    size_bytes: int
    removable: bool = False
    boot_area: bool = False
    holds_rescue: bool = False
    read_only: bool = False
    error: str | None = None
    """Why its content could not be examined: such a disk shows no signatures, and is not blank for that."""
    signatures: tuple[Signature, ...] = ()
    partitions: tuple[SeenPartition, ...] = ()

    def __str__(self) -> str:
        serial = f"serial {self.serial}" if self.serial else "no serial"
        parts = (self.name, self.transport, format_size(self.size_bytes), self.model, serial)
        return "  ".join(part for part in parts if part)


class MachineFacts(_Facts):
    """What a box says of itself in the rescue system (`rescue_facts.py` prints it)."""

    dmi: Dmi = Dmi()
    firmware: Firmware
    secure_boot: bool | None = None
    memory_mib: int | None = None
    cpu: Cpu = Cpu()
    nics: tuple[Nic, ...] = ()
    disks: tuple[SeenDisk, ...] = ()
    boot_id: str | None = None

    def disks_like(self, disk: Disk) -> tuple[SeenDisk, ...]:
        """The disks that carry the serial of a passport's disk, whatever their size."""
        return tuple(
            seen for seen in self.disks if seen.serial and not seen.boot_area and same_serial(seen.serial, disk.serial)
        )


@dataclass(frozen=True)
class Mismatch:
    """One line of a passport that the box does not show."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def compare(passport: Passport, facts: MachineFacts) -> list[Mismatch]:
    """Every difference between a passport and a box; an empty list means that it is the one.

    Disks and cards that the passport does not name are no difference: they are never written.
    """
    return [*_box(passport, facts), *_parts(passport, facts), *_disks(passport, facts)]


def require_match(machine: Machine, facts: MachineFacts, known: Iterable[Machine] = ()) -> None:
    """Refuse a box that is not `machine`. `known` are the site's machines: the message says if it is one of them."""
    mismatches = compare(machine.passport, facts)
    if not mismatches:
        return
    width = max(len(mismatch.what) for mismatch in mismatches)
    lines = [
        f"  {mismatch.what:<{width}}  expected {mismatch.expected}\n  {'':<{width}}  found    {mismatch.found}"
        for mismatch in mismatches
    ]
    raise Refused(
        f"the box in the rescue system does not match the passport of `{machine.name}`; nothing was written\n"
        + "\n".join(lines),
        hint=_advice(machine, facts, mismatches, recognise(known, facts)),
        evidence=describe_box(facts),
    )


def recognise(known: Iterable[Machine], facts: MachineFacts) -> Machine | None:
    """The machine whose serial the box shows."""
    serial = facts.dmi.product_serial
    return next((machine for machine in known if serial and same_serial(serial, machine.passport.serial)), None)


def describe_box(facts: MachineFacts) -> str:
    """What was seen, for a message: who the box says it is, its network cards and its disks."""
    dmi = facts.dmi
    name = " ".join(part for part in (dmi.sys_vendor, dmi.product_name) if part) or "a box without a name"
    lines = [f"seen: {name}, serial {dmi.product_serial or '(none)'}, {facts.firmware}"]
    lines += [f"  {nic.name}  {nic.mac}" for nic in facts.nics]
    lines += [f"  {disk}" for disk in facts.disks if not disk.boot_area]
    return "\n".join(lines)


def _advice(machine: Machine, facts: MachineFacts, mismatches: list[Mismatch], really: Machine | None) -> str:
    if really is not None and really.name != machine.name:
        return f"this box is `{really.name}`: go to `{machine.name}`, or say `--onto {really.name}`"
    if really is None:
        return f"is this the right box? `{machine.name}` carries the serial {machine.passport.serial}"
    parts = ", ".join(mismatch.what for mismatch in mismatches)
    return f"it is the right box, with other parts; if that is meant, change its passport in machines.yml ({parts})"


def _box(passport: Passport, facts: MachineFacts) -> Iterator[Mismatch]:
    serial = facts.dmi.product_serial
    if not serial or not same_serial(serial, passport.serial):
        yield Mismatch("serial", passport.serial, serial or "none")
    if passport.product is not None and facts.dmi.product_name != passport.product:
        yield Mismatch("product", f"`{passport.product}`", f"`{facts.dmi.product_name}`")
    seen = {nic.mac.lower() for nic in facts.nics if nic.mac}
    for mac in passport.macs:
        if mac not in seen:
            yield Mismatch("network card", mac, ", ".join(sorted(seen)) or "none")
    if facts.firmware is not passport.firmware:
        yield Mismatch("firmware", f"booted by {passport.firmware}", f"booted by {facts.firmware}")


def _parts(passport: Passport, facts: MachineFacts) -> Iterator[Mismatch]:
    """Hosts were matched with what the passport promises; less than that is another box. More is an upgrade."""
    memory = facts.memory_mib
    if passport.memory_mib and memory is not None and memory < passport.memory_mib * VISIBLE_MEMORY:
        yield Mismatch("memory", f"{passport.memory_mib} MiB", f"{memory} MiB")
    if passport.cores and facts.cpu.cores is not None and facts.cpu.cores < passport.cores:
        yield Mismatch("cores", str(passport.cores), str(facts.cpu.cores))
    lacking = [flag for flag in passport.cpu_flags if flag not in facts.cpu.flags]
    if lacking:
        yield Mismatch("cpu flags", " ".join(lacking), f"a CPU without them ({facts.cpu.model or 'unknown'})")


def _disks(passport: Passport, facts: MachineFacts) -> Iterator[Mismatch]:
    for disk in passport.disks:
        what, seen = f"disk {disk.serial}", facts.disks_like(disk)
        if not seen:
            others = [f"{other.serial or 'no serial'} ({other.name})" for other in facts.disks if not other.boot_area]
            yield Mismatch(what, f"a disk of {disk.size} with this serial", ", ".join(others) or "no disk at all")
        elif len(seen) > 1:
            yield Mismatch(what, "one disk with this serial", "; ".join(map(str, seen)))
        elif not disk.size.matches(seen[0].size_bytes):
            yield Mismatch(what, str(disk.size), f"{format_size(seen[0].size_bytes)} ({seen[0].size_bytes} bytes)")
