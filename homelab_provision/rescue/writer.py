"""Write a machine's disk. Runs in the rescue system; standard library only, `facts.py` and `stream.py` lie beside it.

    python3 writer.py write       plan.json < payload.zst     image onto the disk, read back, verified
    python3 writer.py personalise plan.json < identity.tar    grow root, make /srv, put the identity in
    python3 writer.py commit      plan.json                   partition table, boot entry

The partition table is written last, by `commit`. Until then the disk carries none, so that one that was
half written does not boot; the kernel is told of the partitions without a table (BLKPG). In its place stands a mark
(`facts.unfinished`), by which a disk that was half written is told from a stranger's.

Every line of standard output is a JSON object: {"stage", "done", "total"} in bytes while it works, {"result": …}
at the end, {"error": …} if it gives up (exit status 1). Nothing is asked and nothing is decided here: the plan
says what to do, and whatever differs from it is an error.

plan.json: {"disk": path, "serial", "wwn", "size_bytes", "run", "host", "keep_data": bool,
"layout": `Layout.as_plan()`, "digest_algorithm", "extents": [{"partition": name, "offset", "length", "digest"}, …] in
the order of the payload, "boot_label", "stale_labels": [entries of the firmware that go with what the disk had]}.
"""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import facts
from stream import GiveUp, Verifier, written

SECTOR = 512
MIB = 1024 * 1024
# O_DIRECT wants buffers, offsets and lengths in units of the largest sector that disks have.
DIRECT_UNIT = 4096
ROOT_MOUNT = Path("/run/rescue/root")
EFIVARS = Path("/sys/firmware/efi/efivars")
LOADER = "\\EFI\\BOOT\\BOOTX64.EFI"
# linux/blkpg.h, linux/fs.h
BLKPG, BLKPG_ADD, BLKPG_DEL = 0x1269, 1, 2
BLKRRPART, BLKFLSBUF = 0x125F, 0x1261

Plan = dict[str, Any]


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def command(*argv: str, stdin: bytes | None = None, fine: tuple[int, ...] = (0,)) -> str:
    """Run a tool of the rescue; with a status that is not among the fine ones, its complaint becomes ours."""
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
    if done.returncode not in fine:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise GiveUp(f"{' '.join(argv)} failed (exit status {done.returncode}): {text}")
    return done.stdout.decode(errors="replace")


@contextmanager
def opened(path: str, flags: int) -> Iterator[int]:
    handle = os.open(path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def partitions(plan: Plan) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in plan["layout"]["partitions"]}


def node(plan: Plan, name: str) -> str:
    """The device of a partition: sda2, but nvme0n1p2 and mmcblk0p2."""
    disk = plan["disk"]
    return f"{disk}{'p' if disk[-1].isdigit() else ''}{partitions(plan)[name]['number']}"


def check_disk(plan: Plan, handle: int | None = None) -> None:
    """The disk is still the one that was chosen, and so is the opened one (`handle`). Read again in the breath before
    each write."""
    block = Path("/sys/block") / Path(plan["disk"]).name
    kind = facts.transport(str(block.resolve()))
    serial, wwn = facts.serial(block, kind), facts.world_wide_name(block)
    size = int(facts.read(block / "size") or 0) * SECTOR
    same = facts.same_serial(serial or "", plan["serial"] or "") and (wwn, size) == (plan["wwn"], plan["size_bytes"])
    if not serial or not same or kind == "usb":
        raise GiveUp(
            f"{plan['disk']} is {kind}, serial {serial}, world-wide name {wwn}, {size} bytes; "
            f"the plan wants serial {plan['serial']}, world-wide name {plan['wwn']}, {plan['size_bytes']} bytes"
        )
    if (sector := facts.sector_bytes(block)) != SECTOR:
        raise GiveUp(f"{plan['disk']} has sectors of {sector} bytes; the image is made for {SECTOR}")
    if handle is not None and (number := device_number(handle)) != facts.read(block / "dev"):
        raise GiveUp(f"{plan['disk']} is another disk now than the one that was looked at ({number})")


def device_number(handle: int) -> str:
    seen = os.fstat(handle).st_rdev
    return f"{os.major(seen)}:{os.minor(seen)}"


# ---- write ---------------------------------------------------------------------------------------------------


def write(plan: Plan, payload: BinaryIO) -> None:
    """Erase the old table, write every extent, read it back from the medium and compare."""
    check_disk(plan)
    if plan["keep_data"]:
        mend_data(plan)
    try:
        # O_EXCL: the kernel refuses if the disk is in use (mounted, part of a volume).
        handle = os.open(plan["disk"], os.O_RDWR | os.O_EXCL | os.O_DIRECT)
    except OSError as error:
        raise GiveUp(f"{plan['disk']} is in use or cannot be opened: {error.strerror}") from None
    try:
        check_disk(plan, handle)
        forget_table(handle, plan)
        starts = {name: part["start"] * SECTOR for name, part in partitions(plan).items()}
        total = sum(extent["length"] for extent in plan["extents"])
        with Verifier(handle, plan["digest_algorithm"]) as verifier:
            for extent, position, buffer in written(handle, plan["extents"], starts, payload):
                verifier.queue.put((extent, starts[extent["partition"]] + extent["offset"]))
                progress("write", position, total)
                if verifier.problem:
                    break
                del buffer
        os.fsync(handle)
    finally:
        os.close(handle)
    say(result="written", bytes=total, digests=len(plan["extents"]))


def forget_table(handle: int, plan: Plan) -> None:
    """Overwrite both copies of the old partition table, and make the kernel forget its partitions.

    The mark comes first: from here on nobody but its run may know what the disk holds.
    """
    zeros = mmap.mmap(-1, MIB)
    leave_mark(handle, plan)
    size = plan["size_bytes"]
    start = size - MIB
    if plan["keep_data"]:
        last = partitions(plan)["hlp-srv"]  # it may reach up to the backup table
        start = max(start, (last["start"] + last["sectors"]) * SECTOR)
    start, end = -(-start // DIRECT_UNIT) * DIRECT_UNIT, size // DIRECT_UNIT * DIRECT_UNIT
    after = facts.UNFINISHED_AT + DIRECT_UNIT
    os.pwrite(handle, memoryview(zeros)[: facts.UNFINISHED_AT], 0)
    os.pwrite(handle, memoryview(zeros)[: MIB - after], after)
    os.pwrite(handle, memoryview(zeros)[: end - start], start)
    if rest := size - end:
        with opened(plan["disk"], os.O_RDWR) as buffered:
            os.pwrite(buffered, bytes(rest), end)
            os.fsync(buffered)
    os.fsync(handle)
    for attempt in range(20):
        try:
            fcntl.ioctl(handle, BLKRRPART)
            return
        except OSError:
            time.sleep(0.1 * attempt)
    raise GiveUp(f"the kernel holds on to the old partitions of {plan['disk']}")


def leave_mark(handle: int, plan: Plan) -> None:
    """Say on the disk whose unfinished write this is, and which data it keeps."""
    data = partitions(plan)["hlp-srv"]
    keep = {name: data[name] for name in ("start", "sectors", "uuid")} if plan["keep_data"] else None
    block = mmap.mmap(-1, DIRECT_UNIT)
    block.write(facts.unfinished_mark(plan["run"], plan["host"], keep))
    os.pwrite(handle, block, facts.UNFINISHED_AT)
    os.fsync(handle)


_last_said = 0.0


def progress(stage: str, done: int, total: int) -> None:
    global _last_said
    if done == total or time.monotonic() - _last_said > 0.5:
        _last_said = time.monotonic()
        say(stage=stage, done=done, total=total)


def mend_data(plan: Plan) -> None:
    """See that the file system that is kept is whole, while nothing has been written yet.

    A host that lost its power left its journal to be replayed (status 1: something was mended).
    """
    with kernel_partitions(plan):
        try:
            command("e2fsck", "-p", node(plan, "hlp-srv"), fine=(0, 1))
        except GiveUp as failed:
            raise GiveUp(f"the data that shall be kept is damaged, so nothing was written: {failed}") from None


# ---- personalise ---------------------------------------------------------------------------------------------


def personalise(plan: Plan, identity: BinaryIO) -> None:
    """Grow root to its partition, make the data file system, and unpack the host's identity into root."""
    check_disk(plan)
    root, data = node(plan, "hlp-root"), node(plan, "hlp-srv")
    with kernel_partitions(plan):
        say(stage="grow root")
        ROOT_MOUNT.mkdir(parents=True, exist_ok=True)
        command("mount", "-t", "ext4", root, str(ROOT_MOUNT))
        try:
            command("resize2fs", root)
            say(stage="put the identity in")
            unpack(identity, ROOT_MOUNT)
        finally:
            command("umount", str(ROOT_MOUNT))
        if not plan["keep_data"]:
            say(stage="make the data file system")
            # With project quotas: whoever shares directories of it may want to limit them.
            command("mke2fs", "-q", "-F", "-t", "ext4", "-L", "hlp-srv", "-m", "1", "-O", "quota,project",
                    "-E", "nodiscard,quotatype=prjquota", data)  # fmt: skip
        flush(root, data)
    say(result="personalised")


def unpack(stream: BinaryIO, root: Path) -> None:
    """Put the files of a tar archive under `root`, each in the place of whatever stands there: a link of the image
    must not lead the file to somewhere else."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        # As the archive says, by the way that Python 3.11.2 (Debian 12) takes, too: it knows no `filter=` yet.
        archive.extraction_filter = lambda member, path: member
        for member in archive:
            place = root / member.name
            if not (place if member.isdir() else place.parent).resolve().is_relative_to(root.resolve()):
                raise GiveUp(f"{member.name} of the identity would leave the new root: the image has a link there")
            if not member.isdir():
                place.unlink(missing_ok=True)
            archive.extract(member, root)


@contextmanager
def kernel_partitions(plan: Plan) -> Iterator[None]:
    """Make the kernel know the partitions of a disk that has no table."""
    parts = plan["layout"]["partitions"]
    with opened(plan["disk"], os.O_RDWR) as handle:
        for part in parts:
            if Path(node(plan, part["name"])).exists():
                blkpg(handle, BLKPG_DEL, part)
            blkpg(handle, BLKPG_ADD, part)
        try:
            wait_for_nodes(plan)
            yield
        finally:
            for part in parts:
                blkpg(handle, BLKPG_DEL, part)


def blkpg(handle: int, operation: int, part: dict[str, Any]) -> None:
    """Add or remove one partition in the kernel: `struct blkpg_ioctl_arg` points at a `struct blkpg_partition`
    (start and length in bytes, number, two names of 64 bytes). Debian 13 has no `addpart` any more."""
    fields = struct.pack("=qqi64s64s4x", part["start"] * SECTOR, part["sectors"] * SECTOR, part["number"], b"", b"")
    description = array.array("B", fields)
    address, length = description.buffer_info()
    try:
        fcntl.ioctl(handle, BLKPG, struct.pack("iiiP", operation, 0, length, address))
    except OSError as error:
        raise GiveUp(f"the kernel does not take partition {part['number']}: {error.strerror}") from None


def wait_for_nodes(plan: Plan) -> None:
    wanted = [node(plan, name) for name in partitions(plan)]
    for _ in range(100):
        if all(Path(path).exists() for path in wanted):
            return
        time.sleep(0.05)
    raise GiveUp(f"the kernel made no device for one of {', '.join(wanted)}")


def flush(*paths: str) -> None:
    for path in paths:
        with opened(path, os.O_RDWR) as handle:
            os.fsync(handle)
            fcntl.ioctl(handle, BLKFLSBUF)


# ---- commit --------------------------------------------------------------------------------------------------


def commit(plan: Plan, _: BinaryIO) -> None:
    """Write the partition table, the last thing that the disk needs to boot, and make the firmware choose it."""
    check_disk(plan)
    flush(plan["disk"])
    command("sfdisk", "--quiet", "--wipe", "never", plan["disk"], stdin=plan["layout"]["sfdisk_script"].encode())
    flush(plan["disk"])
    table = json.loads(command("sfdisk", "--json", plan["disk"]))["partitiontable"]
    found = [(part.get("name"), part["start"], part["size"]) for part in table["partitions"]]
    wanted = [(part["name"], part["start"], part["sectors"]) for part in plan["layout"]["partitions"]]
    if found != wanted:
        raise GiveUp(f"the partition table reads {found}, it should read {wanted}")
    # The last of an unfinished write: now the table tells what the disk holds.
    with opened(plan["disk"], os.O_RDWR) as handle:
        os.pwrite(handle, bytes(DIRECT_UNIT), facts.UNFINISHED_AT)
        os.fsync(handle)
    say(result="committed", table=table["id"], boot_entry=boot_entry(plan))


def boot_entry(plan: Plan) -> str | None:
    """One entry of ours in the firmware, first in order, and chosen for the next start. The removable path boots
    without it, so a firmware that takes none is no error."""
    if not any(EFIVARS.glob("Boot*")):
        return None
    label = plan["boot_label"]
    try:
        for number, text in entries():
            if text in (label, *plan["stale_labels"]):
                command("efibootmgr", "--quiet", "--bootnum", number, "--delete-bootnum")
        command(
            "efibootmgr",
            "--quiet",
            "--create",
            "--disk",
            plan["disk"],
            "--part",
            "1",
            "--label",
            label,
            "--loader",
            LOADER,
        )
        made = next(number for number, text in entries() if text == label)
        command("efibootmgr", "--quiet", "--bootnext", made)
    except (GiveUp, StopIteration) as problem:
        say(warning=f"the firmware takes no boot entry: {problem}")
        return None
    return made


def entries() -> list[tuple[str, str]]:
    """The boot entries of the firmware: number and label, from lines like `Boot0001* label<TAB>path`."""
    lines = command("efibootmgr").splitlines()
    found = [
        line.partition("\t")[0] for line in lines if line[:4] == "Boot" and line[4:8].isalnum() and line[8:9] in "* "
    ]
    return [(line[4:8], line[9:].strip()) for line in found]


STEPS = {"write": write, "personalise": personalise, "commit": commit}


def main(arguments: list[str]) -> int:
    name, plan_file = arguments
    plan = json.loads(Path(plan_file).read_text())
    try:
        STEPS[name](plan, sys.stdin.buffer)
    except GiveUp as problem:
        say(error=str(problem))
        return 1
    except OSError as problem:
        say(error=f"{name}: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
