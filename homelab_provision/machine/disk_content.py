"""What stands on a disk that the rescue saw: nothing, our own, or somebody else's.

"Nothing" has to be shown: every partition table was read whole and lists nothing, no signature was found, and samples
of all of the disk are empty. Whatever cannot be shown is content.
"""

from __future__ import annotations

from collections.abc import Iterator

from homelab_provision.image.layout import DATA, ESP, ROOT
from homelab_provision.machine.facts import SeenDisk, SeenPartition, SeenTable, Signature, UnfinishedWrite
from homelab_provision.site.sizes import format_size

# The partitions that a flash makes, and what it puts into them.
OWN_LAYOUT = {ESP: {"vfat"}, ROOT: {"ext4"}, DATA: {"ext4"}}
_OWN_MUST = {ESP, ROOT}
_TABLES = frozenset({"gpt", "pmbr", "dos"})
_PLAIN_NAMES = {
    "lvm2_member": "LVM physical volume",
    "crypto_luks": "LUKS encrypted volume",
    "zfs_member": "member of a ZFS pool",
    "linux_raid_member": "member of a Linux RAID",
    "ddf_raid_member": "member of a RAID (DDF)",
    "isw_raid_member": "member of a RAID (Intel)",
    "bcache": "bcache device",
    "drbd": "DRBD device",
    "swap": "swap space",
    "mac": "Apple partition map",
    "bsd": "BSD disklabel",
    "sun": "Sun disklabel",
    "sgi": "SGI disklabel",
}


def is_own_layout(disk: SeenDisk) -> bool:
    """Whether the disk holds what a flash makes of it, and nothing besides: no partition that only a table knows."""
    names = [partition.name or "" for partition in disk.partitions]
    whole = [table for table in disk.tables if table.type == "gpt" and not table.problem]
    return (
        len(names) == len(set(names))
        and _OWN_MUST <= set(names) <= OWN_LAYOUT.keys()
        and bool(whole)
        and all(table.partitions == len(names) for table in whole)
        and not any(table.partitions for table in disk.tables if table.type == "dos")
        and not list(_volumes(disk))
        and all(
            {signature.type for signature in partition.signatures} <= OWN_LAYOUT[partition.name or ""]
            for partition in disk.partitions
        )
    )


def may_go_on(disk: SeenDisk, run: str | None, *, keep_data: bool) -> bool:
    """Whether the disk holds nothing but a write of our own that was not finished.

    Its own run goes on with it, also where the old table was not quite gone yet. Any other run may take the disk if
    nothing of a table is left (somebody may have installed a system since, and lost the first copy of its table), and
    if the write was to leave nothing on it, or if it keeps the same data.
    """
    mark = disk.unfinished
    if mark is None or list(_volumes(disk)):
        return False
    if mark.run == run:
        return mark.alone or not (disk.partitions or any(table.partitions for table in disk.tables if _leads(table)))
    return mark.alone and not disk.tables and (mark.keep is None or keep_data)


def _leads(table: SeenTable) -> bool:
    """Whether a kernel reads this table, and not one that only has an erased one's backup to go by."""
    return not table.problem and table.copy_ != "backup"


def content(disk: SeenDisk) -> Iterator[str]:
    """What stands on a disk, a line each; nothing for an empty one: its tables, if it has any, were read whole and list
    nothing, and samples of all of it found nothing.

    Some things show twice (a FAT has two marks), and so do their lines.
    """
    mark = disk.unfinished if disk.unfinished and disk.unfinished.alone else None
    if mark:
        yield f"{disk.name}  the unfinished write of run {mark.run} (`{mark.host}`)"
        yield from _kept_by_mark(disk, mark)
    volumes = list(_volumes(disk))
    for signature in volumes:
        yield f"{disk.name}  {_called(signature)}, on the whole disk ({format_size(disk.size_bytes)})"
    for partition in disk.partitions:
        yield from _partition_content(disk, partition)
    yield from (f"{disk.name}  {line}" for line in _table_troubles(disk))
    if not volumes and not disk.partitions and not mark:
        yield from (f"{disk.name}  {line}" for line in _found_by_sampling(disk))


def kept_content(disk: SeenDisk) -> Iterator[str]:
    """The lines of `content` that stay with `--keep-data`."""
    for partition in disk.partitions:
        if partition.name == DATA:
            yield from _partition_content(disk, partition)
    if disk.unfinished:
        yield from _kept_by_mark(disk, disk.unfinished)


def _kept_by_mark(disk: SeenDisk, mark: UnfinishedWrite) -> Iterator[str]:
    if mark.keep:
        size = format_size(mark.keep.sectors * 512)
        yield f"{disk.name}  the data of `{mark.host}`, which that write keeps ({size})"


def _volumes(disk: SeenDisk) -> Iterator[Signature]:
    """What stands on the disk as a whole, but for the partition tables that are read by themselves."""
    return (signature for signature in disk.signatures if signature.type.lower() not in _TABLES)


def _table_troubles(disk: SeenDisk) -> Iterator[str]:
    """Why the partition tables do not tell what the disk holds."""
    copies = {table.copy_: table for table in disk.tables if table.type == "gpt" and not table.problem}
    first, backup = copies.get("first"), copies.get("backup")
    for table in disk.tables:
        if table.problem:
            place = f"the {table.copy_} copy at byte {table.offset}"
            yield f"a partition table that cannot be read: {place}, {table.problem}"
        elif table.type == "dos" and not any(_volumes(disk)):  # (a file system's first sector looks like one)
            yield from _dos_troubles(disk, table, gpt=first is not None)
    if first and backup and first.list_ != backup.list_:
        yield "a GPT whose two copies list different partitions"
    elif first and first.partitions > len(disk.partitions):
        yield f"a GPT with {_count(first.partitions)}, of which the kernel shows {len(disk.partitions)}"
    if backup and not first:
        yield f"backup of a partition table whose first copy is lost ({_count(backup.partitions)})"
    elif first and not backup and not disk.partitions:
        yield "a GPT whose backup copy is lost"


def _dos_troubles(disk: SeenDisk, table: SeenTable, *, gpt: bool) -> Iterator[str]:
    if table.protective and not gpt:
        yield "the mark of a GPT (protective table) whose first copy is lost"
    if table.partitions and (gpt or not disk.partitions):
        beside = "beside the GPT" if gpt else "that the kernel does not show"
        yield f"a DOS partition table with {_count(table.partitions)} {beside}"
    if table.boot_code and not disk.partitions:
        yield "boot code in the first sector"


def _found_by_sampling(disk: SeenDisk) -> Iterator[str]:
    if disk.sampled is None:
        yield "content that nobody looked at"
    elif disk.sampled.at is not None:
        yield f"content without a signature: byte {disk.sampled.at} and what follows is not empty"


def _count(partitions: int) -> str:
    return f"{partitions} partition{'s' * (partitions != 1)}"


def _partition_content(disk: SeenDisk, partition: SeenPartition) -> Iterator[str]:
    node = f"{disk.name}{'p' if disk.name[-1].isdigit() else ''}{partition.number}"
    name = f", partition `{partition.name}`" if partition.name else ""
    size = f" ({format_size(partition.size_bytes)})"
    if not partition.signatures:
        yield f"{node}  a partition with unknown content{name}{size}"
    for signature in partition.signatures:
        yield f"{node}  {_called(signature)}{name}{size}"


def _called(signature: Signature) -> str:
    kind = _PLAIN_NAMES.get(signature.type.lower(), signature.type)
    return f"{kind} `{signature.label}`" if signature.label else kind
