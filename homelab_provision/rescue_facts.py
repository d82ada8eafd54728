"""What a machine is, as seen from the rescue system: prints one JSON object.

Streamed to the machine (`ssh … python3 - < rescue_facts.py`), so it needs nothing but Python's library. There is no
udev: everything comes from /sys, `blkid` and `sfdisk`. Nothing is written.

Where serial numbers come from: SATA from the "unit serial number" page (vpd_pg80) that the kernel keeps, NVMe and eMMC
from their own attribute, virtio from the block device, USB from the device descriptor (the bridge's, as udev has it).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DMI_FIELDS = (
    "sys_vendor", "product_name", "product_serial", "product_sku", "product_family", "product_uuid",
    "board_name", "board_vendor", "board_serial", "bios_version", "bios_date", "chassis_type",
)  # fmt: skip
# Not disks: RAM, loops, device mapper, RAID, CD, floppy, network blocks, zram.
NO_DISK = re.compile(r"(ram|loop|dm-|md|sr|fd|nbd|zram)\d")
BOOT_AREA = re.compile(r"mmcblk\d+(boot\d+|rpmb|gp\d+)$")
TRANSPORTS = (
    ("usb", r"/usb\d"), ("nvme", r"/nvme\d"), ("mmc", r"/mmc_host/"), ("virtio", r"/virtio\d"), ("sata", r"/ata\d"),
)  # fmt: skip
RESCUE_PARTITION = "hlp-rescue"
SECTOR = 512
SECURE_BOOT = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
TIMEOUT = 30


def text(path: Path) -> str:
    """A file of sysfs, or nothing."""
    try:
        return path.read_bytes().decode(errors="replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def number(path: Path) -> int:
    value = text(path)
    return int(value) if value.isdigit() else 0


def transport(block: Path) -> str:
    """How a disk is attached, told by the chain of devices that it hangs from.

    USB wins over everything, and a disk on USB need not say that it is removable.
    """
    chain = f"{block.resolve()}/"
    return next((kind for kind, pattern in TRANSPORTS if re.search(pattern, chain)), "unknown")


def serial(block: Path) -> str:
    """The serial number of a disk."""
    for name in ("device/serial", "serial"):  # NVMe and eMMC, virtio
        if value := text(block / name):
            return value
    if transport(block) == "usb":
        for folder in block.resolve().parents:
            if (folder / "idVendor").exists():
                return text(folder / "serial")
    page = block / "device/vpd_pg80"
    try:
        raw = page.read_bytes()
    except OSError:
        return ""
    return raw[4 : 4 + int.from_bytes(raw[2:4], "big")].decode(errors="replace").strip("\0 ")


def wwn(block: Path) -> str:
    return (text(block / "wwid") or text(block / "device/wwid") or text(block / "device/cid")).removeprefix("naa.")


def model(block: Path) -> str:
    return text(block / "device/model") or text(block / "device/name")


def tool(*argv: str) -> str:
    """What a program prints; nothing if it fails (a disk without a table is no error)."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def signatures(node: str) -> list[dict[str, str]]:
    """All signatures on a device: file systems, RAID, LVM, LUKS, ZFS, partition tables."""
    printed = tool("wipefs", "--json", "--no-act", node)
    if not printed.strip():
        return []
    keys = ("offset", "type", "label", "uuid", "usage")
    found = json.loads(printed).get("signatures", [])
    return [{"node": node, **{key: found_one.get(key) or "" for key in keys}} for found_one in found]


def partitions(block: Path, node: str, root: Path) -> list[dict[str, Any]]:
    """The partitions of a disk, from its table."""
    printed = tool("sfdisk", "--json", node)
    table = json.loads(printed)["partitiontable"] if printed.strip() else {}
    size = int(table.get("sectorsize", SECTOR))
    found = []
    for entry in table.get("partitions", []):
        name = entry["node"].removeprefix("/dev/")
        number_there = number(root / "class/block" / name / "partition")
        found.append({
            "number": number_there or int(re.sub(r".*\D", "", name)),
            "name": entry.get("name", ""),
            "type_guid": entry.get("type", ""),
            "uuid": entry.get("uuid", ""),
            "start": entry["start"] * size // SECTOR,
            "size_bytes": entry["size"] * size,
            "signatures": signatures(entry["node"]),
        })  # fmt: skip
    return found


def disk(block: Path, root: Path) -> dict[str, Any]:
    """One disk; `start` of a partition is in sectors of 512 bytes."""
    name = block.name
    node = f"/dev/{name.replace('!', '/')}"
    area = bool(BOOT_AREA.search(name))
    parts = [] if area else partitions(block, node, root)
    return {
        "name": name,
        "path": node,
        "transport": transport(block),
        "model": model(block),
        "serial": serial(block),
        "wwn": wwn(block),
        "size_bytes": number(block / "size") * SECTOR,
        "logical_sector": number(block / "queue/logical_block_size") or SECTOR,
        "removable": number(block / "removable") == 1,
        "read_only": number(block / "ro") == 1,
        "boot_area": area,
        "holds_rescue": any(part["name"] == RESCUE_PARTITION for part in parts),
        "signatures": [] if area else signatures(node),
        "partitions": parts,
    }


def disks(root: Path) -> list[dict[str, Any]]:
    blocks = sorted((root / "block").glob("*"))
    return [disk(block, root) for block in blocks
            if not NO_DISK.match(block.name) and number(block / "size") and (block / "device").exists()]  # fmt: skip


def nics(root: Path) -> list[dict[str, str]]:
    """Network cards that are devices (no bridges, no loopback)."""
    return [
        {"name": path.name, "mac": text(path / "address"), "driver": (path / "device/driver").resolve().name}
        for path in sorted((root / "class/net").glob("*"))
        if (path / "device").exists()
    ]


def secure_boot(root: Path) -> bool | None:
    """The last byte of the firmware's variable; `None` if there is none."""
    try:
        return (root / SECURE_BOOT).read_bytes()[-1] == 1
    except (OSError, IndexError):
        return None


def cpu(proc: Path) -> dict[str, Any]:
    info = text(proc / "cpuinfo")
    first = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in first.items()}
    return {
        "model": fields.get("model name", ""),
        "cores": len(re.findall(r"^processor\s*:", info, re.MULTILINE)),
        "flags": fields.get("flags", "").split(),
    }


def facts(root: Path = Path("/sys"), proc: Path = Path("/proc")) -> dict[str, Any]:
    """Everything, as `identify` compares it with the passport."""
    memory = re.search(r"MemTotal:\s+(\d+)", text(proc / "meminfo"))
    return {
        "dmi": {name: text(root / "class/dmi/id" / name) for name in DMI_FIELDS},
        "firmware": "uefi" if (root / "firmware/efi").exists() else "bios",
        "secure_boot": secure_boot(root),
        "memory_mib": int(memory[1]) // 1024 if memory else 0,
        "cpu": cpu(proc),
        "nics": nics(root),
        "disks": disks(root),
        "boot_id": text(proc / "sys/kernel/random/boot_id"),
    }


if __name__ == "__main__":
    json.dump(facts(), sys.stdout)
