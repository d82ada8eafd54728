"""Is this the box that it should be? What the rescue sees, compared with the recorded passport."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from homelab_provision.errors import Refused
from homelab_provision.machine.facts import MachineFacts
from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.models import Machine, Passport
from homelab_provision.site.placeholders import is_placeholder
from homelab_provision.site.sizes import format_size

# The kernel and the graphics keep some of the installed memory (a 32 GB Wyse shows 30); half of it gone is a
# dead module.
VISIBLE_MEMORY = 0.8
RAID_CLASS = "0104"  # PCI code and ID assignment specification: mass storage, RAID; Intel's VMD says so, too


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
    """The machine whose identity the box shows: what its passport says of the firmware or, if that is nothing, its
    network cards."""
    for machine in known:
        passport = machine.passport
        firmware = [_same(written, shown) for _, written, shown in _firmware(passport, facts)]
        if all(firmware) if firmware else set(passport.macs) <= _macs(facts):
            return machine
    return None


def describe_box(facts: MachineFacts) -> str:
    """What was seen, for a message: who the box says it is, its network cards and its disks."""
    dmi = facts.dmi
    name = " ".join(part for part in (dmi.sys_vendor, dmi.product_name) if part) or "a box without a name"
    serials = f"serial {_shown(dmi.product_serial)}"
    if _is_none(dmi.product_serial):
        others = (("board serial", dmi.board_serial), ("UUID", dmi.product_uuid))
        serials += "".join(f", {what} {_shown(shown)}" for what, shown in others if shown)
    lines = [f"seen: {name}, {serials}, {facts.firmware}"]
    lines += [f"  {nic.name}  {nic.mac}" for nic in facts.nics]
    lines += [f"  {disk}" for disk in facts.disks if not disk.boot_area]
    return "\n".join(lines)


def _advice(machine: Machine, facts: MachineFacts, mismatches: list[Mismatch], really: Machine | None) -> str:
    if really is not None and really.name != machine.name:
        return f"this box is `{really.name}`: go to `{machine.name}`, or say `--onto {really.name}`"
    if really is None:
        return f"is this the right box? `{machine.name}` carries the {machine.passport.known_by}"
    if hint := hidden_disks(facts, machine.passport) or namesakes(facts, machine.passport):
        return hint
    parts = ", ".join(mismatch.what for mismatch in mismatches)
    return f"it is the right box, with other parts; if that is meant, change its passport in machines.yml ({parts})"


def hidden_disks(facts: MachineFacts, passport: Passport) -> str | None:
    """What to do about a box whose firmware keeps its disks to itself: a hint, if that is what it looks like."""
    if any(facts.disks_like(disk) for disk in passport.system_disks):
        return None
    modes = [controller.id for controller in facts.storage if controller.class_ == RAID_CLASS or controller.hidden_nvme]
    built_in = [disk for disk in facts.disks if disk.transport != "usb" and not disk.boot_area]
    if built_in and not modes:
        return None
    mode = f" (its controller {', '.join(modes)} is in RAID mode)" if modes else ""
    shows = "does not show the disk" if built_in else "shows no built-in disk"
    return (
        f"the box {shows}{mode}: in its firmware, switch the storage from RAID, Intel RST, VMD or Optane to AHCI/NVMe, "
        "and start the rescue again; if it was so already, the disk is missing or dead"
    )


def namesakes(facts: MachineFacts, passport: Passport) -> str | None:
    """What to do about disks with one serial that can be told apart all the same: a hint, if there are any."""
    for disk in passport.disks:
        names = {current.wwn: current.name for current in facts.disks_like(disk) if current.wwn}
        if len(names) > 1 and len(names) == len(facts.disks_like(disk)):
            told = " or ".join(f"`wwn: {wwn}` ({name})" for wwn, name in names.items())
            return (
                f"disks with one serial (namespaces of one NVMe disk?) differ in their world-wide names: beside the "
                f"serial {disk.serial} in machines.yml, write that of the one that is meant, {told}"
            )
    return None


def _firmware(passport: Passport, facts: MachineFacts) -> list[tuple[str, str, str | None]]:
    """What a passport says of the box's firmware, and what that shows: name, written, shown."""
    dmi = facts.dmi
    pairs = (
        ("serial", passport.serial, dmi.product_serial),
        ("board serial", passport.board_serial, dmi.board_serial),
        ("product UUID", passport.uuid, dmi.product_uuid),
    )
    return [(what, written, shown) for what, written, shown in pairs if written]


def _same(written: str, shown: str | None) -> bool:
    return shown is not None and same_serial(written, shown)


def _macs(facts: MachineFacts) -> set[str]:
    return {nic.mac.lower() for nic in facts.nics if nic.mac}


def _is_none(serial: str | None) -> bool:
    return serial is None or is_placeholder(serial)


def _shown(serial: str | None, none: str = "(none)") -> str:
    """A serial for a message; a maker's placeholder is told as what it is."""
    return none if not serial else f"`{serial}` (a placeholder)" if is_placeholder(serial) else serial


def _box(passport: Passport, facts: MachineFacts) -> Iterator[Mismatch]:
    for what, written, shown in _firmware(passport, facts):
        if not _same(written, shown):
            yield Mismatch(what, written, _shown(shown, "none"))
    if passport.product is not None and facts.dmi.product_name != passport.product:
        yield Mismatch("product", f"`{passport.product}`", f"`{facts.dmi.product_name}`")
    current = _macs(facts)
    for mac in passport.macs:
        if mac not in current:
            yield Mismatch("network card", mac, ", ".join(sorted(current)) or "none")
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
        what, current = f"disk {disk.serial}", facts.disks_like(disk)
        if not current:
            others = [f"{other.serial or 'no serial'} ({other.name})" for other in facts.disks if not other.boot_area]
            known_by = f"this serial and the world-wide name {disk.wwn}" if disk.wwn else "this serial"
            yield Mismatch(what, f"a disk of {disk.size} with {known_by}", ", ".join(others) or "no disk at all")
        elif len(current) > 1:
            yield Mismatch(what, "one disk with this serial", "; ".join(map(str, current)))
        elif not disk.size.matches(current[0].size_bytes):
            yield Mismatch(
                what, str(disk.size), f"{format_size(current[0].size_bytes)} ({current[0].size_bytes} bytes)"
            )
