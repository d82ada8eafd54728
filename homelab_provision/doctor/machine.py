"""Is this machine as its passport and its hardware card say? What can be seen of it from the rescue system.

What only a restart would show (whether BootNext is honoured, whether the box survives kexec, whether it wakes) is said
to be unknown: nothing is tried here.
"""

from __future__ import annotations

from collections.abc import Iterator

from homelab_provision.doctor.examination import Finding, Verdict
from homelab_provision.jobs.adopt import Found
from homelab_provision.machine.inspection import BootEntry, Shape
from homelab_provision.site.models import Firmware, Machine

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL


def examine_machine(machine: Machine, found: Found) -> tuple[Finding, ...]:
    """What was found of a machine that runs the rescue system, as `provision doctor` shows it."""
    return (*_identity(machine, found), *_firmware(found), *_disks(found), *_network(found), *_kernel(found))


def _identity(machine: Machine, found: Found) -> Iterator[Finding]:
    if found.known is not None and found.known.name != machine.name:
        text = f"this is `{found.known.name}`"
        yield Finding(FAIL, text, "is the right box on, and its address right?", group="machine", name="passport")
    elif differences := found.differences_from(machine):
        told = "\n".join(map(str, differences))
        yield Finding(
            FAIL, told, "change its passport in machines.yml, if it is the box", group="machine", name="passport"
        )
    else:
        yield Finding(OK, f"matches: {machine.passport.known_by}", group="machine", name="passport")
    dmi = found.facts.dmi
    told = " ".join(part for part in (dmi.sys_vendor, dmi.product_name, dmi.product_sku, dmi.board_name) if part)
    yield Finding(OK, told or "the firmware has no name for it", group="machine", name="product")
    yield Finding(OK, f"{found.facts.memory_mib or '?'} MiB", group="machine", name="memory")


def _firmware(found: Found) -> Iterator[Finding]:
    facts = found.facts
    bios = " ".join(part for part in (facts.dmi.bios_version, facts.dmi.bios_date) if part)
    yield Finding(OK, bios or "unknown", group="firmware", name="version")
    if facts.firmware is Firmware.UEFI:
        yield Finding(OK, "UEFI", group="firmware", name="mode")
    else:
        yield Finding(FAIL, "it started as a BIOS", "switch it to UEFI", group="firmware", name="mode")
    secure = {True: "on", False: "off", None: "cannot be read"}[facts.secure_boot]
    yield Finding(OK, secure, group="firmware", name="Secure Boot")
    entries = found.inspection.boot_entries
    for name, kind in (("PXE", "pxe"), ("HTTP boot", "http")):
        offered = [entry for entry in entries if entry.network == kind]
        if offered:
            yield Finding(OK, f"offered: {_listed(offered)}", group="firmware", name=name)
        else:
            yield Finding(WARN, "no boot entry offers it", group="firmware", name=name)
    others = [entry for entry in entries if entry.network is None]
    yield Finding(OK, _listed(others) or "none", group="firmware", name="other entries")
    yield Finding(WARN, "unknown: only a restart shows whether it is honoured", group="firmware", name="BootNext")


def _listed(entries: list[BootEntry]) -> str:
    return ", ".join(f"{entry.number} {entry.label}{'' if entry.active else ' (off)'}" for entry in entries)


def _disks(found: Found) -> Iterator[Finding]:
    verdicts = {Shape.GOOD: OK, Shape.UNKNOWN: WARN, Shape.FAILING: FAIL}
    for disk in found.facts.disks:
        if not disk.boot_area and disk.transport != "usb":
            state = found.health(disk.name)
            repair = "replace it" if state.shape is Shape.FAILING else None
            yield Finding(verdicts[state.shape], f"{disk}; {state}", repair, group="disks", name=disk.name)


def _network(found: Found) -> Iterator[Finding]:
    for nic in found.facts.nics:
        seen = found.inspection.nics.get(nic.name)
        armed = seen.wakeup if seen else None
        told = f"{nic.mac}, wake-up {armed or 'unknown'}"
        told += f", {seen.speed_mbit} Mb/s" if seen and seen.speed_mbit else ""
        repair = None if armed == "enabled" else "its hardware card says what to set: docs/hardware/"
        yield Finding(OK if armed == "enabled" else WARN, told, repair, group="network", name=nic.name)


def _kernel(found: Found) -> Iterator[Finding]:
    dogs = ", ".join(found.inspection.watchdogs)
    yield Finding(OK if dogs else WARN, dogs or "the rescue's kernel shows none", group="kernel", name="watchdog")
    allowed = {True: "the kernel allows it", False: "the kernel forbids it", None: "the kernel knows none"}
    told = f"{allowed[found.inspection.kexec]}; unknown whether the box survives it"
    yield Finding(WARN, told, group="kernel", name="kexec")
    yield Finding(
        OK, f"version {found.inspection.tpm}" if found.inspection.tpm else "none seen", group="kernel", name="TPM"
    )
