"""What machine is this? Runs in the rescue system (`ssh rescue python3 - < rescue_facts.py`) and prints JSON.

Standard library only, and no udev: everything comes from /sys, `wipefs` and `sfdisk`. Nothing is written.
The transport of a disk is read from its place in the device tree, because it is the only thing that tells a
USB disk for sure: some say that they are not removable, and the first disk of an eMMC-only box is a USB one.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

DMI = (
    "sys_vendor",
    "product_name",
    "product_serial",
    "product_sku",
    "product_family",
    "board_vendor",
    "board_name",
    "chassis_type",
    "bios_vendor",
    "bios_version",
    "bios_date",
)
SECTOR = 512
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# The file system label of the stick's ESP.
STICK_LABEL = "HLP-RESCUE"
NOT_DISKS = ("loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd")


Marks = dict[str, list[dict[str, Any]]]


def read(path: Path) -> str | None:
    """The text of a file of /sys, or `None` if it is not there or says nothing."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


class Unreadable(Exception):
    """A tool could not look at a device. Such a disk must never be taken for a blank one."""


def output(*argv: str) -> dict[str, Any]:
    """The JSON that a tool prints."""
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    if done.returncode != 0 or not isinstance(found, dict):
        raise Unreadable(f"{' '.join(argv)}: {done.stderr.decode(errors='replace').strip() or done.returncode}")
    return found


def transport(device: str) -> str:
    """How a disk is attached, from its path in the device tree."""
    parts = device.split("/")
    if any(part.startswith("usb") for part in parts):
        return "usb"
    if any(part.startswith("mmc_host") for part in parts):
        return "mmc"
    if any(part.startswith("nvme") for part in parts[:-1]):
        return "nvme"
    if any(part.startswith("ata") and part[3:].isdigit() for part in parts):
        return "sata"
    if any(part.startswith("virtio") for part in parts):
        return "virtio"
    return "unknown"


def serial(block: Path, kind: str) -> str | None:
    """The serial number of a disk, as its label shows it."""
    if kind == "usb":
        # The bridge's own serial: the nearest ancestor that has one (the USB device).
        for folder in block.resolve().parents:
            if (folder / "idVendor").exists():
                return read(folder / "serial")
    for name in ("device/serial", "serial"):
        if found := read(block / name):
            return found
    try:
        page = (block / "device/vpd_pg80").read_bytes()
    except OSError:
        return None
    # SCSI Primary Commands, "Unit Serial Number" page: the text follows a header of four bytes.
    return page[4:].decode("ascii", errors="replace").strip("\0 ") or None


def disk(block: Path, marks: Marks | None) -> dict[str, Any]:
    """One disk with its partitions and every signature on it (`marks`; `None`: look for this disk alone)."""
    name = block.name
    kind = transport(str(block.resolve()))
    parts, listed, error = partition_folders(block), {}, None
    try:
        marks = signatures([block]) if marks is None else marks
        table = output("sfdisk", "--json", f"/dev/{name}")["partitiontable"] if parts else {}
        listed = {entry["node"]: entry for entry in table.get("partitions", [])}
    except (Unreadable, KeyError, subprocess.TimeoutExpired) as problem:
        error = str(problem)
    partitions = [partition(part, listed.get(f"/dev/{part.name}", {}), marks or {}) for part in parts]
    labels = [mark["label"] for part in partitions for mark in part["signatures"]]
    return {
        "name": name,
        "path": f"/dev/{name}",
        "transport": kind,
        "model": read(block / "device/model") or read(block / "device/name"),
        "serial": serial(block, kind),
        "wwn": read(block / "device/wwid") or read(block / "wwid"),
        "size_bytes": int(read(block / "size") or 0) * SECTOR,
        "removable": read(block / "removable") == "1",
        "read_only": read(block / "ro") == "1",
        "boot_area": kind == "mmc" and ("boot" in name or "rpmb" in name),
        "holds_rescue": STICK_LABEL in labels,
        "error": error,
        "signatures": (marks or {}).get(name, []),
        "partitions": sorted(partitions, key=lambda part: part["number"]),
    }


def partition_folders(block: Path) -> list[Path]:
    return [part for part in block.iterdir() if (part / "partition").exists()]


def partition(part: Path, listed: dict[str, Any], marks: Marks) -> dict[str, Any]:
    """One partition: `start` in sectors of 512 bytes."""
    return {
        "number": int(read(part / "partition") or 0),
        "name": listed.get("name"),
        "type_guid": listed.get("type"),
        "uuid": listed.get("uuid"),
        "start": int(read(part / "start") or 0),
        "size_bytes": int(read(part / "size") or 0) * SECTOR,
        "signatures": marks.get(part.name, []),
    }


def signatures(blocks: list[Path]) -> Marks:
    """File systems, volumes, RAID members and partition tables on disks and partitions, by the name of the device."""
    nodes = [f"/dev/{node.name}" for block in blocks for node in (block, *partition_folders(block))]
    found: Marks = {}
    columns = "DEVICE,OFFSET,TYPE,UUID,LABEL,USAGE"
    for mark in output("wipefs", "--json", "--output", columns, *nodes)["signatures"]:
        known = {key: mark.get(key) for key in ("offset", "type", "label", "uuid", "usage")}
        found.setdefault(mark["device"], []).append({"node": f"/dev/{mark['device']}", **known})
    return found


def all_signatures(blocks: list[Path]) -> Marks | None:
    """The signatures of all disks in one go; `None` if one of them cannot be read, so that each must be asked alone."""
    try:
        return signatures(blocks)
    except (Unreadable, KeyError, subprocess.TimeoutExpired):
        return None


def nic(folder: Path) -> dict[str, Any]:
    driver = folder / "device/driver"
    return {
        "name": folder.name,
        "mac": read(folder / "address"),
        "driver": driver.resolve().name if driver.exists() else None,
    }


def cpu(text: str) -> dict[str, Any]:
    """From /proc/cpuinfo."""
    fields = [line.partition(":")[::2] for line in text.splitlines()]
    first = {key.strip(): value.strip() for key, value in reversed(fields)}
    cores = sum(key.strip() == "processor" for key, _ in fields)
    return {"model": first.get("model name"), "cores": cores, "flags": first.get("flags", "").split()}


def secure_boot(firmware: Path) -> bool | None:
    """Whether Secure Boot is on: the last byte of the firmware variable; `None`: it cannot be read."""
    try:
        return (firmware / "efivars" / SECURE_BOOT).read_bytes()[-1] == 1
    except (OSError, IndexError):
        return None


def collect(root: Path = Path("/")) -> dict[str, Any]:
    """Everything about this machine; `root` is for tests."""
    system, proc = root / "sys", root / "proc"
    memory = next(
        (line.split()[1] for line in (read(proc / "meminfo") or "").splitlines() if line.startswith("MemTotal:")), "0"
    )
    blocks = [
        block
        for block in (system / "block").iterdir()
        if not block.name.startswith(NOT_DISKS) and (read(block / "size") or "0") != "0"
    ]
    firmware = system / "firmware/efi"
    marks = all_signatures(blocks)
    return {
        "dmi": {name: read(system / "class/dmi/id" / name) for name in DMI},
        "firmware": "uefi" if firmware.exists() else "bios",
        "secure_boot": secure_boot(firmware),
        "memory_mib": int(memory) // 1024,
        "cpu": cpu(read(proc / "cpuinfo") or ""),
        "nics": [nic(folder) for folder in sorted((system / "class/net").iterdir()) if (folder / "device").exists()],
        "disks": [disk(block, marks) for block in sorted(blocks)],
        "boot_id": read(proc / "sys/kernel/random/boot_id"),
    }


if __name__ == "__main__":
    print(json.dumps(collect()))
