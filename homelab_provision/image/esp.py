"""Make a FAT file system with files in it, without mounting anything (mkfs.vfat and mtools)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from homelab_provision.doors import process
from homelab_provision.image.mmdebstrap import SOURCE_DATE_EPOCH
from homelab_provision.paths import folders_above

DEADLINE = 120.0
# What firmware starts, by its name in `EFI/BOOT`, and what Debian brings it as: shim, its manager of keys, GRUB.
BOOT_CHAIN = {
    "BOOTX64.EFI": "usr/lib/shim/shimx64.efi.signed",
    "mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
    "grubx64.efi": "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
}
# What firmware starts over the network in GRUB's place: the same, with what it needs for that built in.
NET_LOADER = {"grubnetx64.efi": "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"}
# mtools takes the time of a file from here; without it the same content would give other bytes every second.
ENVIRONMENT = {"SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}


def mkfs_argv(
    image: Path, kib: int, *, label: str, serial: str, offset_sectors: int = 0, sectors_per_cluster: int = 1
) -> list[str]:
    """The command that formats `kib` KiB of `image` from a sector on.

    `serial` is the volume's id, eight hex digits; `--invariant` (fixed times) overrules it from behind.
    """
    return [
        "mkfs.vfat", "--invariant", "-F", "32", "-s", str(sectors_per_cluster), "-n", label, "-i", serial,
        f"--offset={offset_sectors}", "-h", str(offset_sectors), str(image), str(kib),
    ]  # fmt: skip


def fill(image: Path, files: Mapping[str, Path | bytes], *, offset_bytes: int = 0) -> None:
    """Put files into the file system; bytes are handed over through a pipe and never lie on the disk beside it."""
    drive = f"{image}@@{offset_bytes}"
    if folders := folders_above(files):
        process.run(["mmd", "-i", drive, *(f"::{folder}" for folder in folders)], deadline=DEADLINE, env=ENVIRONMENT)
    for name, content in files.items():
        source: list[str | Path] = ["-"] if isinstance(content, bytes) else [content]
        data = content if isinstance(content, bytes) else None
        process.run(["mcopy", "-i", drive, *source, f"::{name}"], deadline=DEADLINE, env=ENVIRONMENT, input=data)
