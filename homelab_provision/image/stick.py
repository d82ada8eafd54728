"""Make the medium that boots the rescue system: a disk image for a USB stick, real or virtual.

Firmware loads Debian's signed shim from the removable path, shim the signed GRUB beside it, and that GRUB reads
`/EFI/debian/grub.cfg` (the prefix built into the signed binary) from the partition it came from.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from homelab_provision.doors import process
from homelab_provision.image import esp
from homelab_provision.image.layout import ALIGNMENT, ESP_TYPE, MIB, SECTOR
from homelab_provision.image.medium import KERNEL_COMMAND_LINE
from homelab_provision.image.rescue import Rescue

LABEL = "HLP-RESCUE"
PARTITION_NAME = "hlp-rescue"
DEADLINE = 60.0
# FAT32 wants at least 65525 clusters, here of one sector each.
MINIMUM_BYTES = 48 * MIB

GRUB_CONFIG = f"""\
linux /rescue/vmlinuz {KERNEL_COMMAND_LINE}
initrd /rescue/rescue.img /rescue/site.img
boot
echo "The rescue system could not be started; trying the next boot device."
sleep 10
exit
"""


def build_stick(rescue: Rescue, personalisation: bytes, output: Path) -> None:
    """Write the bootable medium to a file (mode 0600), replacing it only when complete."""
    files: dict[str, Path | bytes] = {
        **{f"EFI/BOOT/{file.name}": file for file in rescue.boot_chain},
        "EFI/debian/grub.cfg": GRUB_CONFIG.encode(),
        "rescue/vmlinuz": rescue.kernel,
        "rescue/rescue.img": rescue.initrd,
        "rescue/site.img": personalisation,
    }
    content = sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in files.values())
    esp_bytes = max(MINIMUM_BYTES, (content * 11 // 10 // MIB + 2) * MIB)
    draft = output.with_name(f".{output.name}.part")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.truncate(ALIGNMENT * SECTOR + esp_bytes + MIB)
        process.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", draft],
                    deadline=DEADLINE, input=partition_table(esp_bytes, rescue.digest))  # fmt: skip
        process.run(
            esp.mkfs_argv(draft, esp_bytes // 1024, label=LABEL, serial=rescue.digest[:8], offset_sectors=ALIGNMENT),
            deadline=DEADLINE,
            env=esp.ENVIRONMENT,
        )
        esp.fill(draft, files, offset_bytes=ALIGNMENT * SECTOR)
        draft.rename(output)
    finally:
        draft.unlink(missing_ok=True)


def partition_table(esp_bytes: int, digest: str) -> str:
    """The `sfdisk` script of the medium: one ESP, identifiers that follow from the rescue's digest."""
    disk, part = (str(uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} {what}")).upper() for what in ("disk", "esp"))
    return (
        f"label: gpt\nlabel-id: {disk}\nunit: sectors\nsector-size: {SECTOR}\n\n"
        f'1 : start={ALIGNMENT}, size={esp_bytes // SECTOR}, type={ESP_TYPE}, uuid={part}, name="{PARTITION_NAME}"\n'
    )
