"""Where the passport of a virtual machine does not tell of its virtual hardware.

No error of the site: the rescue would refuse such a machine, which is just what some tests want to see.
"""

from __future__ import annotations

from collections.abc import Iterator

from homelab_provision.rescue.facts import same_serial
from homelab_provision.site.models import Firmware, Machine, Passport
from homelab_provision.site.sizes import format_size
from homelab_provision.site.virtual import LabMachine


def lab_contradictions(machine: Machine) -> list[str]:
    """What the machine's passport says and its virtual hardware (`lab`) denies, a sentence each."""
    if machine.lab is None:
        return ["operator `lab`, but no virtual hardware (`lab`)"] if machine.operator == "lab" else []
    return [*_box(machine.passport, machine.lab), *_disks(machine.passport, machine.lab)]


def _box(passport: Passport, hardware: LabMachine) -> Iterator[str]:
    smbios = hardware.smbios
    for what, written, made in (
        ("serial", passport.serial, smbios.serial),
        ("board serial", passport.board_serial, smbios.board_serial),
        ("UUID", passport.uuid, str(smbios.uuid)),
    ):
        if written and not (made and same_serial(written, made)):
            yield f"{what}: passport {written}, hardware {made or 'none'}"
    if passport.product not in (None, hardware.smbios.product):
        yield f"product: passport `{passport.product}`, hardware `{hardware.smbios.product}`"
    if passport.macs != (hardware.mac,):
        yield f"MAC addresses: passport {', '.join(passport.macs)}, hardware {hardware.mac}"
    if passport.firmware is not Firmware.UEFI:
        yield "firmware: passport bios, virtual machines have uefi"
    if passport.memory_mib not in (None, hardware.memory_mib):
        yield f"memory: passport {passport.memory_mib} MiB, hardware {hardware.memory_mib} MiB"
    if passport.cores not in (None, hardware.cpus):
        yield f"cores: passport {passport.cores}, hardware {hardware.cpus}"


def _disks(passport: Passport, hardware: LabMachine) -> Iterator[str]:
    for disk in passport.disks:
        fitted = [fitted for fitted in hardware.disks if same_serial(fitted.serial, disk.serial)]
        if len(fitted) != 1:
            yield f"disk {disk.serial}: the hardware has {len(fitted) or 'none'} with this serial"
        elif not disk.size.matches(fitted[0].capacity):
            yield f"disk {disk.serial}: passport {disk.size}, hardware {format_size(fitted[0].capacity)}"
