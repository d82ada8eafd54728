"""From a described machine to the command line of QEMU. Pure: nothing here starts anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from homelab_provision.errors import ProvisionError
from homelab_provision.lab.sudo import Argv
from homelab_provision.site.virtual import Bus, LabDisk, LabMachine, Smbios

QEMU = "qemu-system-x86_64"
STICK = "stick"
NIC = "lan"
# Names relative to the machine's folder, in which QEMU is started: a socket's address holds 107 bytes only.
QMP_SOCKET = "qmp.sock"
CONSOLE_SOCKET = "console.sock"


class Accel(StrEnum):
    """Who executes the machine's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Firmware:
    """UEFI for the machine: the code, and the template of its variables."""

    code: Path
    variables: Path


# Debian 12 and 13 and Ubuntu 24.04 (4M), older ones, Fedora. The secure ones carry Microsoft's keys, as real boxes do.
_PLAIN = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
)
_SECURE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
    ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
)


def find_firmware(secure_boot: bool, exists: Callable[[Path], bool] = Path.exists) -> Firmware:
    """The firmware files that this host has; raises `ProvisionError` if it has none."""
    for code, variables in _SECURE if secure_boot else _PLAIN:
        if exists(Path(code)) and exists(Path(variables)):
            return Firmware(Path(code), Path(variables))
    kind = "UEFI firmware with Secure Boot" if secure_boot else "UEFI firmware"
    raise ProvisionError(f"there is no {kind} for virtual machines on this computer", hint="apt install ovmf")


@dataclass(frozen=True)
class Launch:
    """Everything about one power-on that is not the hardware."""

    guest: str
    firmware_code: Path
    firmware_variables: Path
    disks: dict[str, Path]
    tap: str
    pidfile: Path
    console_log: Path
    accel: Accel
    stick: Path | None = None
    boot_from_network: bool = False


def quote(text: str) -> str:
    """`text` as a value in one of QEMU's option lists, where a comma is written twice."""
    return text.replace(",", ",,")


def build_argv(machine: LabMachine, launch: Launch) -> Argv:
    """The command line that powers `machine` on. QEMU is to be started in the machine's folder."""
    return (
        QEMU, "-name", quote(launch.guest), "-no-user-config", "-nodefaults",
        *_platform(machine, launch),
        *smbios(machine.smbios),
        *_network(machine, launch),
        *_disks(machine, launch),
        "-device", "virtio-rng-pci",
        "-chardev", f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off"
                    f",logfile={quote(str(launch.console_log))},logappend=on",
        "-serial", "chardev:console",
        "-qmp", f"unix:{QMP_SOCKET},server=on,wait=off",
        "-display", "none", "-monitor", "none",
        "-pidfile", str(launch.pidfile), "-daemonize",
    )  # fmt: skip


def accelerator(accel: Accel) -> Argv:
    """The accelerator's options; emulation needs a large cache of translations to be bearable."""
    return ("-accel", "kvm") if accel is Accel.KVM else ("-accel", "tcg,thread=multi,tb-size=512")


def _platform(machine: LabMachine, launch: Launch) -> Argv:
    # A named model, not `host`, under KVM too: an instruction that the model lacks (AVX) must fail in the lab as on
    # the box, and KVM refuses to enable register state that CPUID does not announce.
    cpu = machine.cpu_model + (f",model-id={quote(machine.cpu_name)}" if machine.cpu_name else "")
    secure: Argv = ()
    if machine.secure_boot:
        # Variables may only be written by firmware in system management mode, or Secure Boot would be a joke.
        secure = ("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
    return (
        "-machine", f"q35,smm={'on' if machine.secure_boot else 'off'},pflash0=firmware,pflash1=variables",
        *accelerator(launch.accel),
        *secure,
        "-cpu", cpu, "-smp", str(machine.cpus), "-m", f"{machine.memory_mib}M",
        "-rtc", "base=utc", "-boot", "menu=off",
        *_blockdev("firmware", launch.firmware_code, read_only=True),
        *_blockdev("variables", launch.firmware_variables),
    )  # fmt: skip


def smbios(strings: Smbios) -> Argv:
    """The firmware tables 0 (BIOS), 1 (system), 2 (board) and 3 (chassis)."""
    tables: list[dict[str, str]] = [
        {
            "type": "0",
            "vendor": strings.bios_vendor,
            "version": strings.bios_version,
            "date": strings.bios_date,
            "uefi": "on",
        },
        {
            "type": "1",
            "manufacturer": strings.vendor,
            "product": strings.product,
            "serial": strings.serial,
            "uuid": str(strings.uuid),
            "sku": strings.sku,
            "family": strings.family,
        },
        {
            "type": "2",
            "manufacturer": strings.vendor,
            "product": strings.board,
            "version": strings.board_version,
            "serial": strings.board_serial or f"/{strings.serial}/",
        },
        {"type": "3", "manufacturer": strings.chassis_vendor, "serial": strings.serial, "sku": strings.sku},
    ]
    words: list[str] = []
    for table in tables:
        words += ["-smbios", ",".join(f"{key}={quote(value)}" for key, value in table.items())]
    return tuple(words)


def _network(machine: LabMachine, launch: Launch) -> Argv:
    boot = ",bootindex=2" if launch.boot_from_network else ",romfile="
    # Behind a root port without hotplug slot the NIC is 01:00.0 and called enp1s0, as on the Wyse.
    return (
        "-netdev", f"tap,id=net,ifname={launch.tap},script=no,downscript=no",
        "-device", "pcie-root-port,id=port1,bus=pcie.0,chassis=1,hotplug=off",
        "-device", f"{machine.nic_model},id={NIC},netdev=net,mac={machine.mac},bus=port1{boot}",
    )  # fmt: skip


def _disks(machine: LabMachine, launch: Launch) -> Argv:
    words: list[str] = ["-device", "qemu-xhci,id=usb,p2=8,p3=8"]
    ports = iter(range(6))
    # Like a firmware's default order: inner disks first, in the order described, then USB.
    for position, disk in enumerate(sorted(machine.disks, key=lambda disk: disk.bus is Bus.USB)):
        words += _blockdev(node(disk.name), launch.disks[disk.name])
        words += _disk_devices(disk, ports, bootindex=10 + position)
    if launch.stick:
        words += _blockdev(STICK, launch.stick, read_only=True)
        words += ["-device", ",".join(f"{key}={value}" for key, value in stick_device().items())]
    return tuple(words)


def _disk_devices(disk: LabDisk, ports: Any, bootindex: int) -> list[str]:
    common = f"id={device(disk.name)},drive={node(disk.name)}"
    serial = f",serial={quote(disk.serial)}"
    match disk.bus:
        case Bus.SATA:
            model = f",model={quote(disk.model)}" if disk.model else ""
            wwn = f",wwn={disk.wwn}" if disk.wwn else ""
            # A rate of 1 says that nothing turns (ATA's word for it): the disks of a thin client are flash.
            still = f"{serial}{model}{wwn},rotation_rate=1"
            return ["-device", f"ide-hd,{common},bus=ide.{next(ports)}{still},bootindex={bootindex}"]
        case Bus.USB:
            removable = "on" if disk.removable else "off"
            return ["-device", f"usb-storage,{common},bus=usb.0{serial},removable={removable},bootindex={bootindex}"]
        case Bus.NVME:
            return ["-device", f"nvme,{common}{serial},bootindex={bootindex}"]
        case Bus.VIRTIO:
            return ["-device", f"virtio-blk-pci,{common}{serial},bootindex={bootindex}"]
        case Bus.MMC:
            return ["-device", "sdhci-pci,id=sdhci", "-device", f"sd-card,{common}"]


def stick_device() -> dict[str, str]:
    """The USB stick as a device, for the command line and for plugging it in later; the firmware prefers it."""
    return {
        "driver": "usb-storage",
        "id": STICK,
        "drive": STICK,
        "bus": "usb.0",
        "serial": "RESCUESTICK",
        "removable": "on",
        "bootindex": "1",
    }


def block_node(name: str, path: Path, *, read_only: bool = False) -> dict[str, Any]:
    """A raw file as a block device.

    Writes go to the host's page cache and a guest's flush reaches the host's disk (cache=writeback). What the
    machine has handed over when QEMU is killed is in the file, what it still held in its own RAM is lost: a power cut.
    """
    backend = {"driver": "file", "filename": str(path), "discard": "unmap"}
    return {
        "driver": "raw",
        "node-name": name,
        "read-only": read_only,
        "discard": "unmap",
        "cache": {"direct": False, "no-flush": False},
        "file": backend,
    }


def _blockdev(name: str, path: Path, *, read_only: bool = False) -> Argv:
    return ("-blockdev", json.dumps(block_node(name, path, read_only=read_only)))


def node(disk: str) -> str:
    """The name of a disk's block node in QEMU."""
    return f"file-{disk}"


def device(disk: str) -> str:
    """The id of a disk's device in QEMU."""
    return f"disk-{disk}"
