"""What machine is this? Runs in the rescue system (`ssh rescue python3 - < facts.py`) and prints JSON.

Standard library only, and no udev: everything comes from /sys, `wipefs`, `sfdisk` and the disks themselves. Nothing is
written. The transport of a disk is read from its place in the device tree, because it is the only thing that tells a
USB disk for sure: some say that they are not removable, and the first disk of an eMMC-only box is a USB one.

Whether a disk is empty cannot be told from signatures: a wiped table, a lost header or encrypted data leave none. So
the partition tables are read here, both copies, for every sector size; and a disk that shows nothing else is sampled.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DMI = (
    "sys_vendor",
    "product_name",
    "product_serial",
    "product_uuid",
    "product_sku",
    "product_family",
    "board_vendor",
    "board_name",
    "board_serial",
    "chassis_type",
    "bios_vendor",
    "bios_version",
    "bios_date",
)
SECTOR = 512
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# The file system label of the stick's ESP.
STICK_LABEL = "HLP-RESCUE"
# What a disk is called. Everything else is made of disks (dm, md, bcache, zvols), of memory, of the network or of a
# path to a disk (nvme0c0n1).
DISKS = re.compile(r"(sd|hd|vd|xvd)[a-z]+|nvme\d+n\d+|mmcblk\d+")
# The hardware partitions of an eMMC: its boot areas, its replay-protected memory, general purpose ones.
BOOT_AREAS = re.compile(r"mmcblk\d+(boot\d+|rpmb|gp\d+)")
TABLES = frozenset({"gpt", "pmbr", "dos"})

MIB = 1024 * 1024
# Where a write that was not finished says so, in a sector of the gap before the first partition.
UNFINISHED = b"homelab-provision: unfinished write "
UNFINISHED_AT, HEAD = MIB // 2, MIB
WORD = re.compile(r"[A-Za-z0-9._-]{1,128}")
# What is read of a disk that shows nothing: its edges, the places of landmarks, then samples all over it, at least one
# round of them and as many rounds as `PATIENCE` (seconds) allows. A disk that needs longer than `SLOWEST` is broken.
EDGE, LANDMARK, SAMPLE = 8 * MIB, 64 * 1024, 32 * 1024
ROUND, ROUNDS = 256, 8
PATIENCE, SLOWEST = 5.0, 60.0

Marks = dict[str, list[dict[str, Any]]]


def read(path: Path) -> str | None:
    """The text of a file of /sys, or `None` if it is not there or says nothing."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def same_serial(one: str, other: str) -> bool:
    """Whether two serials name the same thing: firmware pads them, and people type them from a sticker."""
    return serial_key(one) == serial_key(other)


def serial_key(serial: str) -> str:
    return " ".join(serial.split()).casefold()


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


def world_wide_name(block: Path) -> str | None:
    """What tells a disk from all others, where it says so. The namespaces of one NVMe disk differ in nothing else."""
    return read(block / "device/wwid") or read(block / "wwid")


def disk(block: Path, marks: Marks | None) -> dict[str, Any]:
    """One disk with its partitions and every signature on it (`marks`; `None`: look for this disk alone)."""
    name, kind = block.name, transport(str(block.resolve()))
    size, sector = int(read(block / "size") or 0) * SECTOR, sector_bytes(block)
    parts, listed, error = partition_folders(block), {}, None
    seen: dict[str, Any] = {"tables": [], "unfinished": None, "sampled": None}
    try:
        marks = signatures([block]) if marks is None else marks
        silent = not parts and all(mark["type"].lower() in TABLES for mark in marks.get(name, []))
        # A USB disk is never written, so nobody has to know what is on it.
        seen = examine(f"/dev/{name}", size, sector, sample=silent and kind != "usb")
        listed = listed_partitions(name) if parts else {}
    except (Unreadable, OSError, KeyError, subprocess.TimeoutExpired) as problem:
        error = str(problem)
    partitions = [partition(part, listed.get(f"/dev/{part.name}", {}), marks or {}) for part in parts]
    labels = [mark["label"] for part in partitions for mark in part["signatures"]]
    return {
        "name": name,
        "path": f"/dev/{name}",
        "transport": kind,
        "model": read(block / "device/model") or read(block / "device/name"),
        "serial": serial(block, kind),
        "wwn": world_wide_name(block),
        "size_bytes": size,
        "sector_bytes": sector,
        "removable": read(block / "removable") == "1",
        "read_only": read(block / "ro") == "1",
        "boot_area": BOOT_AREAS.fullmatch(name) is not None,
        "holds_rescue": STICK_LABEL in labels,
        "error": error,
        "signatures": (marks or {}).get(name, []),
        "partitions": sorted(partitions, key=lambda part: part["number"]),
        **seen,
    }


def sector_bytes(block: Path) -> int:
    """The size of a logical sector, in which the disk and its partition table count."""
    return int(read(block / "queue/logical_block_size") or SECTOR)


def listed_partitions(name: str) -> dict[str, dict[str, Any]]:
    """What the table says of the partitions, by node. Nothing, where the kernel shows some that no table explains (it
    knows tables that `sfdisk` does not; partitions outlive a table that was erased): they are foreign, not unreadable.
    """
    try:
        table = output("sfdisk", "--json", f"/dev/{name}")["partitiontable"]
    except (Unreadable, KeyError):
        return {}
    return {entry["node"]: entry for entry in table.get("partitions", [])}


def is_disk(block: Path) -> bool:
    """Whether a block device is a disk (or a hardware partition of one) with a medium in it."""
    named = DISKS.fullmatch(block.name) or BOOT_AREAS.fullmatch(block.name)
    return bool(named) and read(block / "hidden") != "1" and (read(block / "size") or "0") != "0"


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


# ---- what stands on a disk besides signatures ------------------------------------------------------------------


def examine(node: str, size: int, sector: int, *, sample: bool) -> dict[str, Any]:
    """The partition tables of a disk, the mark of a write that was not finished and, to `sample` it, what was found of
    content that has no signature: {"at": first byte that is not empty or None, "read_bytes"}.
    """
    handle = os.open(node, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        found, mark = tables(handle, size, sector), unfinished(handle)
        sampled = sampling(handle, size, empty_tables(found)) if sample and not (mark and mark["alone"]) else None
    finally:
        os.close(handle)
    return {"tables": found, "unfinished": mark, "sampled": sampled}


def tables(handle: int, size: int, sector: int) -> list[dict[str, Any]]:
    """Every copy of a partition table, with what is wrong with it (`problem`) and how many partitions it lists."""
    found = [dos_table(os.pread(handle, SECTOR, 0))]
    for unit in (512, 4096):
        for copy, place in (("first", 1), ("backup", size // unit - 1)):
            found.append(gpt(handle, unit, place, copy, size, sector))
    return [table for table in found if table is not None]


def dos_table(sector: bytes) -> dict[str, Any] | None:
    """A DOS table, the one that protects a GPT included (`protective`); whatever is in its four entries counts."""
    if sector[510:512] != b"\x55\xaa":
        return None
    entries = [entry for entry in (sector[at : at + 16] for at in range(446, 510, 16)) if any(entry)]
    protective = any(entry[4] == 0xEE for entry in entries)
    return {
        "type": "dos",
        "offset": 0,
        "protective": protective,
        "partitions": len(entries) - protective,
        "boot_code": any(sector[:440]),
        "problem": None,
    }


def gpt(handle: int, unit: int, place: int, copy: str, size: int, sector: int) -> dict[str, Any] | None:
    """A copy of a GPT (UEFI specification, 5.3) at a place in sectors of `unit` bytes."""
    header = os.pread(handle, unit, place * unit)
    if header[:8] != b"EFI PART":
        return None
    _, _, length, check, _, here, _, _, _, _, start, count, width, list_check = struct.unpack_from(
        "<8sIIIIQQQQ16sQIII", header
    )
    partitions, problem = 0, None
    if unit != sector:
        problem = f"it was made for sectors of {unit} bytes, the disk has {sector}"
    elif not 92 <= length <= unit or zlib.crc32(header[:16] + bytes(4) + header[20:length]) != check:
        problem = "its header is damaged"
    elif here != place:
        problem = f"it was written for sector {here}, and stands in {place}"
    elif width < 128 or count * width > MIB or start * unit + count * width > size:
        problem = f"it lists {count} entries of {width} bytes from sector {start}"
    else:
        entries = os.pread(handle, count * width, start * unit)
        if len(entries) != count * width or zlib.crc32(entries) != list_check:
            problem = "its list of partitions is damaged"
        partitions = sum(any(entries[at : at + 16]) for at in range(0, len(entries), width))
    return {
        "type": "gpt",
        "offset": place * unit,
        "copy": copy,
        "sector_bytes": unit,
        "partitions": partitions,
        "list": f"{list_check:08x}",
        "problem": problem,
    }


def empty_tables(found: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Where tables that list nothing stand (their entries are zeros): from, to. Boot code is content."""
    ranges = [
        (440, 512) if table["type"] == "dos" else (table["offset"], table["offset"] + table["sector_bytes"])
        for table in found
        if not table["problem"] and not table["partitions"]
    ]
    return sorted(ranges)


def unfinished(handle: int) -> dict[str, Any] | None:
    """The mark of our own writer that began with this disk and did not end: whose it was ("run", "host"), which data
    partition it was to keep ("keep"), and whether the rest of the disk's head is empty ("alone").
    """
    head = os.pread(handle, HEAD, 0)
    mark = unfinished_text(head[UNFINISHED_AT : UNFINISHED_AT + SECTOR])
    rest = head[:UNFINISHED_AT] + head[UNFINISHED_AT + SECTOR :]
    return mark and {**mark, "alone": rest == bytes(len(rest))}


def unfinished_text(sector: bytes) -> dict[str, Any] | None:
    """What the mark says. It stands on a disk, where anybody may have written it: anything odd makes it none."""
    try:
        mark = json.loads(sector[len(UNFINISHED) :].rstrip(b"\0")) if sector.startswith(UNFINISHED) else {}
        run, host, keep = mark["run"], mark["host"], mark["keep"]
        if not (WORD.fullmatch(run) and WORD.fullmatch(host)):
            return None
        if keep is not None:
            keep = {"start": int(keep["start"]), "sectors": int(keep["sectors"]), "uuid": keep["uuid"]}
            if min(keep["start"], keep["sectors"]) < 1 or not WORD.fullmatch(keep["uuid"]):
                return None
    except (ValueError, TypeError, KeyError):
        return None
    return {"run": run, "host": host, "keep": keep}


def unfinished_mark(run: str, host: str, keep: dict[str, Any] | None) -> bytes:
    """What `unfinished` reads: one sector, because that is what a disk writes whole or not at all."""
    text = json.dumps({"run": run, "host": host, "keep": keep}).encode()
    return (UNFINISHED + text).ljust(SECTOR, b"\0")


def sampling(handle: int, size: int, known: list[tuple[int, int]]) -> dict[str, Any]:
    """Look for content: whatever is neither zeros nor, as erased flash may read, ones."""
    started, read_bytes, first = time.monotonic(), 0, list(first_places(size))
    for number, (start, length) in enumerate([*first, *further_places(size)]):
        spent = time.monotonic() - started
        if number >= len(first) and spent > PATIENCE:
            break
        if spent > SLOWEST:
            raise Unreadable(f"reading {read_bytes} bytes took {spent:.0f} s")
        at = content_at(handle, start, min(length, size - start), known)
        if at is not None:
            return {"at": at, "read_bytes": read_bytes}
        read_bytes += length
    return {"at": None, "read_bytes": read_bytes}


def first_places(size: int) -> Iterator[tuple[int, int]]:
    """What is read in any case (start and length in bytes): a small disk as a whole; else the edges; every 128 MiB of
    the first 4 GiB, where an ext4 on the disk or in a partition from 1 MiB on keeps copies of its superblock; the
    powers of two, up to which somebody may have erased a disk; and an even round over all of it.
    """
    if size <= 64 * MIB:
        yield from ((start, MIB) for start in range(0, size, MIB))
        return
    for edge in (0, size - EDGE):
        yield from ((start, MIB) for start in range(edge, edge + EDGE, MIB))
    groups = {128 * MIB * group + start for group in range(1, 33) for start in (0, MIB)}
    landmarks = groups | {2**power for power in range(24, size.bit_length())}
    yield from ((start, LANDMARK) for start in sorted(landmarks) if start + LANDMARK <= size)
    stride = size // ROUND
    yield from ((number * stride + stride // 2, SAMPLE) for number in range(ROUND))


def further_places(size: int) -> Iterator[tuple[int, int]]:
    """Rounds over the disk, in each part of it at a place that nobody can foresee."""
    stride = size // ROUND
    for _ in range(ROUNDS - 1 if size > 64 * MIB else 0):
        for number in range(ROUND):
            yield number * stride + int.from_bytes(os.urandom(8), "big") % max(stride - SAMPLE, 1), SAMPLE


def content_at(handle: int, start: int, length: int, known: list[tuple[int, int]]) -> int | None:
    """The first byte of content in a piece of the disk; `known` ranges are left out."""
    data = os.pread(handle, length, start)
    if len(data) != length:
        raise Unreadable(f"{len(data)} of {length} bytes could be read at byte {start}")
    position = start
    for low, high in [*known, (start + length, start + length)]:
        piece = data[position - start : max(low, position) - start]
        if not is_empty(piece):
            return position + len(piece) - len(piece.lstrip(piece[:1] if piece[0] in (0, 255) else b""))
        position = min(max(position, high), start + length)
    return None


def is_empty(piece: bytes) -> bool:
    """Nothing but zeros, or nothing but ones. (Comparing is a hundred times faster than stripping or counting.)"""
    return piece == (b"\xff" if piece[:1] == b"\xff" else b"\0") * len(piece)


def nic(folder: Path) -> dict[str, Any]:
    driver = folder / "device/driver"
    return {
        "name": folder.name,
        "mac": read(folder / "address"),
        "driver": driver.resolve().name if driver.exists() else None,
    }


def storage(devices: Path) -> list[dict[str, Any]]:
    """The storage controllers on PCI (class 01). A box in RAID mode hides its disks behind one of class 0104."""
    folders = sorted(devices.iterdir()) if devices.is_dir() else []
    return [
        {
            "class": (read(folder / "class") or "")[2:6],
            "id": ":".join((read(folder / name) or "")[2:] for name in ("vendor", "device")),
            "hidden_nvme": int(read(folder / "remapped_nvme") or 0),
        }
        for folder in folders
        if (read(folder / "class") or "").startswith("0x01")
    ]


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
    blocks = [block for block in (system / "block").iterdir() if is_disk(block)]
    firmware = system / "firmware/efi"
    marks = all_signatures(blocks)
    return {
        "dmi": {name: read(system / "class/dmi/id" / name) for name in DMI},
        "firmware": "uefi" if firmware.exists() else "bios",
        "secure_boot": secure_boot(firmware),
        "memory_mib": int(memory) // 1024,
        "cpu": cpu(read(proc / "cpuinfo") or ""),
        "nics": [nic(folder) for folder in sorted((system / "class/net").iterdir()) if (folder / "device").exists()],
        "storage": storage(system / "bus/pci/devices"),
        "disks": [disk(block, marks) for block in sorted(blocks)],
        "boot_id": read(proc / "sys/kernel/random/boot_id"),
    }


if __name__ == "__main__":
    print(json.dumps(collect()))
