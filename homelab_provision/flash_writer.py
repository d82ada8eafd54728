"""Write an image to a machine's disk. Runs in the rescue system; needs nothing but Python and the tools there.

    python3 -m homelab_provision.flash_writer write PLAN < payload.zst
    python3 -m homelab_provision.flash_writer personalise PLAN < identity.tar
    python3 -m homelab_provision.flash_writer commit PLAN

PLAN is a JSON file (made by `image.plan.flash_plan`):

    disk              path, serial, size_bytes: checked against the machine before anything is written
    layout            disk_sectors, label_id, partitions [number, name, start, sectors, uuid, …], sfdisk_script
    extents           [partition, offset, length, digest]… in the order of the stream
    digest_algorithm  "crc32"
    keep_data         the data partition stays: it is neither wiped nor formatted
    root_uuid         the new UUID of the root file system
    boot_label        the name of the firmware's boot entry

Every line on standard output is a JSON object:

    {"event": "stage", "stage": NAME}
    {"event": "progress", "stage": NAME, "done": BYTES, "total": BYTES}
    {"event": "warning", "message": …}
    {"event": "done", "step": "write"|"personalise"|"commit", "seconds": …, …}   the last line of success
    {"event": "error", "code": …, "message": …}                                  the last line of failure

Exit status: 0 done; 3 refused, nothing was written; 4 failed, the disk is without a partition table. The order is
the safety: first the old table goes (both copies), then the content is written and read back from the medium, then
root is grown and gets its identity, and only `commit` writes a table. A machine that loses power in between finds no
table and boots nothing from this disk. Each step may be repeated.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import json
import mmap
import os
import queue
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from homelab_provision.rescue_facts import serial as disk_serial

SECTOR = 512
MIB = 1024 * 1024
BUFFER_BYTES = 4 * MIB
BUFFERS = 4
READERS = 2
# linux/fs.h, linux/blkpg.h
BLKRRPART, BLKFLSBUF, BLKPG = 0x125F, 0x1261, 0x1269
BLKPG_ADD, BLKPG_DELETE = 1, 2
BACKUP_GPT_SECTORS = 33
MOUNT = Path("/mnt")
ESP_LOADER = r"\EFI\BOOT\BOOTX64.EFI"
TOOL_TIMEOUT = 600


class WriterError(Exception):
    """Ends the step; `status` 3 before the first write, 4 after it."""

    def __init__(self, code: str, message: str, status: int = 4) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def stage(name: str) -> None:
    say("stage", stage=name)


class Meter:
    """Progress lines, at most five a second."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done, self.last = name, total, 0, 0.0
        self.lock = threading.Lock()

    def add(self, amount: int) -> None:
        with self.lock:
            self.done += amount
            if self.done == self.total or time.monotonic() - self.last > 0.2:
                self.last = time.monotonic()
                say("progress", stage=self.name, done=self.done, total=self.total)


def tool(*argv: str, given: str | None = None, check: bool = True) -> str:
    """Run a program of the rescue system and return what it prints."""
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=TOOL_TIMEOUT, check=False)
    if check and done.returncode != 0:
        raise WriterError("tool", f"{argv[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


# --- the disk -------------------------------------------------------------------------------------------------------


def check_disk(plan: dict[str, Any], sys_block: Path = Path("/sys/block")) -> None:
    """The disk is still the one of the plan, in nobody's use. Raises `WriterError` (refused)."""
    wanted = plan["disk"]
    block = sys_block / os.path.basename(os.path.realpath(wanted["path"]))  # noqa: PTH119 - a name in sysfs
    if not block.exists():
        raise WriterError("identity", f"there is no disk {wanted['path']}", 3)
    size = int((block / "size").read_text()) * SECTOR
    found = disk_serial(block)
    if found != wanted["serial"] or size != wanted["size_bytes"]:
        raise WriterError("identity", f"{wanted['path']} is {found!r} with {size} bytes, the plan says "
                                  f"{wanted['serial']!r} with {wanted['size_bytes']} bytes", 3)  # fmt: skip
    if plan["layout"]["disk_sectors"] * SECTOR > size:
        raise WriterError("identity", "the planned layout is larger than the disk", 3)
    sector = int((block / "queue/logical_block_size").read_text())
    if sector != SECTOR:
        raise WriterError("sector-size", f"the disk has sectors of {sector} bytes; the image is made for {SECTOR}", 3)
    for folder in (block, *(path.parent for path in block.glob("*/partition"))):
        holders = [path.name for path in (folder / "holders").glob("*")]
        if holders:
            raise WriterError("in-use", f"/dev/{folder.name} is in use by {', '.join(holders)}", 3)
    mounted = [line.split()[0] for line in Path("/proc/mounts").read_text().splitlines()]
    for node in mounted:
        if node.startswith(wanted["path"]):
            raise WriterError("in-use", f"{node} is mounted", 3)


@contextmanager
def claimed(path: str, flags: int = os.O_RDWR) -> Iterator[int]:
    """The open disk, which nobody else may claim meanwhile (another writer, a mount)."""
    try:
        descriptor = os.open(path, flags | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        raise WriterError("in-use", f"{path} cannot be claimed: {error.strerror}", 3) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WriterError("in-use", f"another writer is at work on {path}", 3) from None
        yield descriptor
    finally:
        os.close(descriptor)


def partition_node(path: str, number: int) -> str:
    return f"{path}p{number}" if path[-1].isdigit() else f"{path}{number}"


def blkpg(descriptor: int, operation: int, number: int, start: int = 0, length: int = 0) -> None:
    """Tell the kernel of a partition without a table on the disk (struct blkpg_ioctl_arg; bytes)."""
    data = array.array("B", struct.pack("<qqi64s64s4x", start, length, number, b"", b""))
    address, _ = data.buffer_info()
    fcntl.ioctl(descriptor, BLKPG, struct.pack("<iiiP", operation, 0, len(data), address))


def forget_partitions(plan: dict[str, Any], descriptor: int) -> None:
    name = os.path.basename(plan["disk"]["path"])  # noqa: PTH119 - a name in sysfs
    for path in Path("/sys/block", name).glob("*/partition"):
        blkpg(descriptor, BLKPG_DELETE, int(path.read_text()))


def show_partitions(plan: dict[str, Any], descriptor: int) -> None:
    """Make the partitions of the plan usable, though the disk has no table yet."""
    forget_partitions(plan, descriptor)
    for part in plan["layout"]["partitions"]:
        blkpg(descriptor, BLKPG_ADD, part["number"], part["start"] * SECTOR, part["sectors"] * SECTOR)
    for part in plan["layout"]["partitions"]:
        node = Path(partition_node(plan["disk"]["path"], part["number"]))
        for _ in range(100):
            if node.exists():
                break
            time.sleep(0.02)


# --- write ----------------------------------------------------------------------------------------------------------


def write(plan: dict[str, Any]) -> dict[str, Any]:
    """Unpack the stream to the disk and read it back."""
    check_disk(plan)
    path = plan["disk"]["path"]
    if plan["keep_data"]:
        check_kept_data(plan, path)
    with claimed(path) as descriptor:
        stage("wipe")
        wipe(plan, descriptor)
    with claimed(path, os.O_RDWR | os.O_DIRECT) as descriptor:
        stage("write")
        write_extents(plan, descriptor)
        os.fsync(descriptor)
        fcntl.ioctl(descriptor, BLKFLSBUF, 0)
        stage("read back")
        digest = read_back(plan, descriptor)
    return {"bytes": sum(extent[2] for extent in plan["extents"]), "digest": digest}


def check_kept_data(plan: dict[str, Any], path: str) -> None:
    """The data partition lies where the plan says: by the table, or, after an interrupted run, by its file system."""
    data = plan["layout"]["partitions"][-1]
    printed = tool("sfdisk", "--json", path, check=False)
    if printed.strip():
        parts = json.loads(printed)["partitiontable"].get("partitions", [])
        if any((p["start"], p["size"], p.get("name")) == (data["start"], data["sectors"], data["name"]) for p in parts):
            return
        raise WriterError("keep-data", "the data partition to keep is not where the plan says", 3)
    offset, size = data["start"] * SECTOR, data["sectors"] * SECTOR
    probed = tool("blkid", "-p", "-o", "export", "-O", str(offset), "-S", str(size), path, check=False)
    if f"LABEL={data['name']}" not in probed.split("\n"):
        raise WriterError("keep-data", "there is no partition table, and no data file system where the plan says", 3)


def wipe(plan: dict[str, Any], descriptor: int) -> None:
    """Remove the old table and what tools would recognise, so that nothing half-written can boot or be assembled."""
    disk = plan["disk"]
    data = plan["layout"]["partitions"][-1]
    name = os.path.basename(disk["path"])  # noqa: PTH119 - a name in sysfs
    for found in sorted(Path("/sys/block", name).glob("*/partition")):
        kept = plan["keep_data"] and int((found.parent / "start").read_text()) == data["start"]
        if not kept:
            tool("wipefs", "--all", "--force", "--quiet", f"/dev/{found.parent.name}", check=False)
    forget_partitions(plan, descriptor)
    tail = BACKUP_GPT_SECTORS * SECTOR if plan["keep_data"] else MIB
    end = data["start"] * SECTOR if plan["keep_data"] else disk["size_bytes"]
    for offset, length in ((0, min(MIB, end)), (disk["size_bytes"] - tail, tail)):
        os.pwrite(descriptor, bytes(length), offset)
    if not plan["keep_data"]:
        # Where data will begin: an older file system there must not be taken for it.
        os.pwrite(descriptor, bytes(MIB), data["start"] * SECTOR)
    os.fsync(descriptor)
    fcntl.ioctl(descriptor, BLKFLSBUF, 0)


def write_extents(plan: dict[str, Any], descriptor: int) -> None:
    """One thread reads what zstd unpacks, another writes it, around the page cache."""
    starts = {part["name"]: part["start"] * SECTOR for part in plan["layout"]["partitions"]}
    meter = Meter("write", sum(extent[2] for extent in plan["extents"]))
    free: queue.Queue[mmap.mmap] = queue.Queue()
    full: queue.Queue[tuple[mmap.mmap, int, int] | None] = queue.Queue()
    failed: list[BaseException] = []
    for _ in range(BUFFERS):
        free.put(mmap.mmap(-1, BUFFER_BYTES))

    def drain() -> None:
        while (job := full.get()) is not None:
            buffer, length, offset = job
            if not failed:
                try:
                    write_all(descriptor, memoryview(buffer)[:length], offset)
                    meter.add(length)
                except OSError as error:
                    failed.append(error)
            free.put(buffer)

    writer = threading.Thread(target=drain)
    writer.start()
    unpack = subprocess.Popen(["zstd", "-dcq"], stdin=sys.stdin.fileno(), stdout=subprocess.PIPE, bufsize=0)
    assert unpack.stdout is not None
    fcntl.fcntl(unpack.stdout.fileno(), 1031, MIB)  # F_SETPIPE_SZ
    try:
        for name, offset, length, _ in plan["extents"]:
            buffer = free.get()
            fill(unpack.stdout.fileno(), memoryview(buffer)[:length])
            full.put((buffer, length, starts[name] + offset))
            if failed:
                break
        surplus = not failed and os.read(unpack.stdout.fileno(), 1)
    finally:
        full.put(None)
        writer.join()
        unpack.stdout.close()
        if failed:
            unpack.kill()
        status = unpack.wait()
    if failed:
        raise WriterError("medium", f"writing failed: {failed[0]}")
    if status != 0 or surplus:
        raise WriterError("stream", "the image's stream is damaged or longer than its manifest says")


def fill(source: int, target: memoryview) -> None:
    position = 0
    while position < len(target):
        count = os.readv(source, [target[position:]])
        if count == 0:
            raise WriterError("stream", "the image's stream ended early or is damaged")
        position += count


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def read_back(plan: dict[str, Any], descriptor: int) -> str:
    """Read every extent from the medium and compare; the digest of all digests is the proof."""
    if plan["digest_algorithm"] != "crc32":
        raise WriterError("plan", f"unknown digest {plan['digest_algorithm']!r}")
    starts = {part["name"]: part["start"] * SECTOR for part in plan["layout"]["partitions"]}
    meter = Meter("read back", sum(extent[2] for extent in plan["extents"]))
    jobs: queue.SimpleQueue[tuple[int, list[Any]]] = queue.SimpleQueue()
    for job in enumerate(plan["extents"]):
        jobs.put(job)
    found: list[str] = [""] * len(plan["extents"])
    failed: list[str] = []

    def work() -> None:
        buffer = mmap.mmap(-1, BUFFER_BYTES)
        while not failed:
            try:
                index, (name, offset, length, _) = jobs.get_nowait()
            except queue.Empty:
                return
            view = memoryview(buffer)[:length]
            try:
                count = os.preadv(descriptor, [view], starts[name] + offset)
            except OSError as error:
                failed.append(f"reading back failed: {error}")
                return
            found[index] = f"{zlib.crc32(view):08x}" if count == length else "short"
            meter.add(length)

    threads = [threading.Thread(target=work) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise WriterError("medium", failed[0])
    wrong = [extent for extent, digest in zip(plan["extents"], found, strict=True) if extent[3] != digest]
    if wrong:
        name, offset, length, _ = wrong[0]
        raise WriterError("digest", f"{len(wrong)} of {len(found)} extents read back differently than they should, the "
                                f"first at {name}+{offset} ({length} bytes)")  # fmt: skip
    return hashlib.sha256("".join(found).encode()).hexdigest()


# --- personalise ----------------------------------------------------------------------------------------------------


def personalise(plan: dict[str, Any]) -> dict[str, Any]:
    """Grow root, format data, and put the host's identity (a tar archive on standard input) into root."""
    check_disk(plan)
    path = plan["disk"]["path"]
    _, root, data = plan["layout"]["partitions"]
    tool("modprobe", "ext4", check=False)  # lets resize2fs leave new inode tables to the kernel
    with claimed(path) as descriptor:
        show_partitions(plan, descriptor)
    stage("grow")
    node = partition_node(path, root["number"])
    tool("tune2fs", "-U", plan["root_uuid"], node)
    tool("resize2fs", node)
    if not plan["keep_data"]:
        stage("format")
        options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", data["name"], "-m", "0", "-E", options,
             partition_node(path, data["number"]))  # fmt: skip
    stage("identity")
    tool("mount", "-t", "ext4", "-o", "noinit_itable,noatime", node, str(MOUNT))
    try:
        unpacked = subprocess.run(["tar", "-x", "-p", "--numeric-owner", "-C", str(MOUNT)], stdin=sys.stdin,
                                  capture_output=True, text=True, check=False)  # fmt: skip
        if unpacked.returncode != 0:
            raise WriterError("identity", f"the identity could not be unpacked: {unpacked.stderr.strip()[-300:]}")
        fstab = MOUNT / "etc/fstab"
        fstab.write_text(own_fstab(fstab.read_text(), plan["layout"]["partitions"]))
    finally:
        tool("umount", str(MOUNT))
    os.sync()
    return {"root_uuid": plan["root_uuid"]}


def own_fstab(text: str, partitions: list[dict[str, Any]]) -> str:
    """`/etc/fstab` with the partitions' own GUIDs for labels, which a second disk might carry as well."""
    for part in partitions:
        text = re.sub(rf"^LABEL={re.escape(part['name'])}\b", f"PARTUUID={part['uuid'].lower()}", text,
                      flags=re.MULTILINE | re.IGNORECASE)  # fmt: skip
    return text


# --- commit ---------------------------------------------------------------------------------------------------------


def commit(plan: dict[str, Any]) -> dict[str, Any]:
    """Write the partition table, and tell the firmware."""
    check_disk(plan)
    path = plan["disk"]["path"]
    stage("table")
    with claimed(path) as descriptor:
        forget_partitions(plan, descriptor)
        os.fsync(descriptor)
    tool("sfdisk", "--quiet", "--wipe", "never", "--wipe-partitions", "never", path,
         given=plan["layout"]["sfdisk_script"])  # fmt: skip
    os.sync()
    check_table(plan, json.loads(tool("sfdisk", "--json", path))["partitiontable"])
    stage("boot entry")
    try:
        entry = boot_entry(plan)
    except WriterError as failure:
        # The removable path boots without an entry; some firmware has no room or refuses.
        say("warning", message=f"no boot entry was written: {failure}")
        entry = None
    os.sync()
    return {"boot_entry": entry}


def check_table(plan: dict[str, Any], table: dict[str, Any]) -> None:
    wanted = [(p["start"], p["sectors"], p["name"], p["uuid"]) for p in plan["layout"]["partitions"]]
    found = [(p["start"], p["size"], p.get("name"), p["uuid"]) for p in table.get("partitions", [])]
    if found != wanted:
        raise WriterError("table", f"the partition table reads back as {found}")


def boot_entry(plan: dict[str, Any]) -> str | None:
    """One entry of ours in the firmware, first in order, and the one to boot next."""
    if not Path("/sys/firmware/efi").exists():
        return None
    if not any(Path("/sys/firmware/efi/efivars").glob("*")):
        tool("mount", "-t", "efivarfs", "efivarfs", "/sys/firmware/efi/efivars")
    label = plan["boot_label"]
    for number in entries(tool("efibootmgr"), label):
        tool("efibootmgr", "--quiet", "--delete-bootnum", "--bootnum", number)
    printed = tool("efibootmgr", "--create", "--disk", plan["disk"]["path"], "--part", "1", "--label", label,
                   "--loader", ESP_LOADER)  # fmt: skip
    numbers = entries(printed, label)
    if not numbers:
        raise WriterError("boot-entry", "the firmware did not keep the entry")
    tool("efibootmgr", "--quiet", "--bootnext", numbers[0])
    return numbers[0]


def entries(printed: str, label: str) -> list[str]:
    """The numbers of the boot entries with a label, from the output of efibootmgr."""
    return re.findall(rf"^Boot([0-9A-F]{{4}})\*? {re.escape(label)}(?:\t|$)", printed, re.MULTILINE)


def main(arguments: list[str]) -> NoReturn:
    steps: dict[str, Callable[[dict[str, Any]], dict[str, Any]]]
    steps = {"write": write, "personalise": personalise, "commit": commit}
    started = time.monotonic()
    try:
        name, plan = arguments
        result = steps[name](json.loads(Path(plan).read_text()))
    except WriterError as failure:
        say("error", code=failure.code, message=str(failure))
        sys.exit(failure.status)
    except Exception as error:
        say("error", code="unexpected", message=f"{type(error).__name__}: {error}")
        sys.exit(4)
    say("done", step=name, seconds=round(time.monotonic() - started, 2), **result)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
